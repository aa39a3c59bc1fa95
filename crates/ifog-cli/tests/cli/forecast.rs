//! `ifog forecast`.

use std::fmt::Write;

use crate::command::Folder;

/// A saw-tooth, which anybody who remembers two rows can forecast.
fn saw(rows: usize) -> String {
    let mut csv = String::from("Date,Close\n");
    for t in 0..rows {
        let _ = writeln!(
            csv,
            "{}-{:02}-{:02},{}",
            2000 + t / 336,
            t / 28 % 12 + 1,
            t % 28 + 1,
            10 + [0, 3, 1, 6][t % 4]
        );
    }
    csv
}

#[test]
fn a_series_is_learnt_kept_and_used_again() {
    let folder = Folder::new();
    folder.file("saw.csv", saw(300));
    let trained = folder
        .ifog([
            "forecast", "saw.csv", "--seeds", "2", "--epochs", "40", "--hidden", "12", "--lr",
            "1e-2",
        ])
        .args(["--save", "saw.safetensors", "--out", "saw.svg", "--json"])
        .run()
        .json();
    assert_eq!(
        (&trained["rows"], &trained["test_rows"]),
        (&300.into(), &60.into())
    );
    // Persistence errs by 3, 2, 5 and 6.
    let persistence = trained["methods"][0]["rmse"].as_f64().unwrap();
    assert!((persistence - (74f64 / 4.0).sqrt()).abs() < 1e-9);
    assert!(
        trained["verdict"]
            .as_str()
            .unwrap()
            .starts_with("The network beats persistence"),
        "{}",
        trained["verdict"]
    );
    assert_eq!(trained["seeds"]["rmse"].as_array().unwrap().len(), 2);
    let again = folder
        .ifog([
            "forecast",
            "saw.csv",
            "--model",
            "saw.safetensors",
            "--json",
        ])
        .run()
        .json();
    assert_eq!(again, trained["next"]);
    assert!(folder.path("saw.svg").exists());
    folder.file("other.csv", "Date,Open\n2000-01-01,1\n");
    let other = folder
        .ifog(["forecast", "other.csv", "--model", "saw.safetensors"])
        .run();
    other.refused(1, &["other.csv", "no column 'Close'", "Open"]);
    let wrong = folder
        .ifog(["forecast", "saw.csv", "--model", "saw.csv"])
        .run();
    wrong.refused(1, &["saw.csv cannot be used", "--save"]);
}

#[test]
fn bad_files_each_get_a_sentence() {
    let folder = Folder::new();
    for (content, part) in [
        ("a,b\n1,2\n2,3\n3,4\n", "rows"),
        ("a,b\n1,x\n2,y\n", "no column 'c'"),
    ] {
        folder.file("bad.csv", content);
        let column = if part == "rows" { "a" } else { "c" };
        let bad = folder
            .ifog(["forecast", "bad.csv", "--column", column])
            .run();
        assert_eq!(bad.code, 1);
        assert!(bad.stderr.contains(part), "{}", bad.stderr);
    }
    let far = folder.ifog(["forecast", "--horizon", "600"]).run();
    assert_eq!(far.code, 1);
    assert!(far.stderr.contains("1200 training rows"), "{}", far.stderr);
    let wide = folder.ifog(["forecast", "--hidden", "9999999"]).run();
    assert_eq!(wide.code, 2);
    assert!(wide.stderr.contains("hidden = 9999999"), "{}", wide.stderr);
    folder
        .ifog(["forecast", "none.csv"])
        .run()
        .refused(1, &["none.csv"]);
}
