//! `ifog forecast`.

use std::fmt::Write;
use std::fs;
use std::process::Stdio;

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
            "forecast", "saw.csv", "--seeds", "2", "--steps", "150", "--hidden", "12",
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
    let mut again = folder
        .ifog([
            "forecast",
            "saw.csv",
            "--model",
            "saw.safetensors",
            "--json",
        ])
        .run()
        .json();
    let told = again.as_object_mut().unwrap();
    assert_eq!(told.remove("column").unwrap(), trained["column"]);
    assert!(told.remove("notes").unwrap().is_array());
    assert_eq!(again, trained["next"]);
    assert!(folder.path("saw.svg").exists());
    folder.file(
        "gap.csv",
        saw(300).trim_end().to_owned() + "\n2030-01-01,\n",
    );
    let kept = ["forecast", "gap.csv", "--model", "saw.safetensors"];
    let noted = folder.ifog(kept).run();
    assert!(
        noted.succeeded().stderr.contains("1 of 301 rows"),
        "{}",
        noted.stderr
    );
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

/// A random walk, which nobody can forecast.
fn walk(rows: usize) -> String {
    walk_of(rows, 1)
}

fn walk_of(rows: usize, seed: u64) -> String {
    let mut csv = String::from("y\n");
    let (mut state, mut y) = (seed, 0i64);
    for _ in 0..rows {
        // Knuth's generator; the upper bits are the good ones.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        y += i64::try_from(state >> 54).unwrap() - 512;
        let _ = writeln!(csv, "{y}");
    }
    csv
}

/// The least training that is one.
const QUICK: [&str; 6] = ["--seeds", "1", "--steps", "2", "--hidden", "4"];

#[test]
fn what_cannot_be_forecast_is_said_to_be_so() {
    let folder = Folder::new();
    folder.file("walk.csv", walk(600));
    let report = folder
        .ifog(["forecast", "walk.csv", "--seeds", "2", "--steps", "100"])
        .run();
    let stdout = &report.succeeded().stdout;
    assert!(
        stdout.contains("The network does not beat persistence"),
        "{stdout}"
    );
    assert!(stdout.contains("the 80 % interval holds "), "{stdout}");
}

#[test]
fn networks_that_learnt_nothing_are_said_to_have() {
    let folder = Folder::new();
    // Of this walk whatever is learnt is wrong of the rows that choose when to stop.
    folder.file("walk.csv", walk_of(300, 4));
    let trained = ["forecast", "walk.csv", "--seeds", "3", "--steps", "100"];
    let kept = ["--save", "kept.safetensors", "--out", "walk.html"];
    let report = folder.ifog(trained).args(kept).run();
    let stdout = &report.succeeded().stdout;
    let note = "3 of 3 networks learnt nothing beyond persistence and forecast just that";
    assert!(stdout.contains(note), "{stdout}");
    assert!(
        stdout.contains("The networks learnt nothing beyond persistence"),
        "{stdout}"
    );
    let json = folder.ifog(trained).args(["--json"]).run().json();
    assert_eq!(json["seeds"]["unlearnt"], 3);
    let page = fs::read_to_string(folder.path("walk.html")).unwrap();
    assert!(page.contains(note));
    let used = folder
        .ifog(["forecast", "walk.csv", "--model", "kept.safetensors"])
        .run();
    assert!(used.succeeded().stderr.contains(note), "{}", used.stderr);
}

#[test]
fn a_page_has_all_that_is_printed_and_says_which_rows_it_shows() {
    let folder = Folder::new();
    folder.file("walk.csv", walk(1500));
    let drawn = folder
        .ifog(["forecast", "walk.csv", "--out", "walk.html"])
        .args(QUICK)
        .run();
    let page = fs::read_to_string(folder.path("walk.html")).unwrap();
    let printed = drawn.succeeded().stdout.lines();
    // The spread and the next value; notes stand in a list.
    let lines = printed.filter(|line| line.contains(": RMSE ") || line.contains("with 80 %"));
    let lines: Vec<&str> = lines.map(|l| l.split(';').next().unwrap()).collect();
    assert_eq!(lines.len(), 2);
    let notes = ["1 network on its own", "it has no column of dates"];
    let shown = "The last 250 of 300 test rows.";
    for part in lines
        .into_iter()
        .chain(notes)
        .chain([shown, "80 % interval<", "y, 1 row ahead"])
    {
        assert!(page.replace('\n', "").contains(part), "{part}");
    }
}

#[test]
fn a_kept_forecaster_does_not_grow_with_the_rows() {
    let folder = Folder::new();
    let size = |rows: usize| {
        folder.file("walk.csv", walk(rows));
        let trained = folder
            .ifog(["forecast", "walk.csv", "--save", "kept.safetensors"])
            .args(QUICK)
            .run();
        trained.succeeded();
        folder.path("kept.safetensors").metadata().unwrap().len()
    };
    // Numbers of the metadata have up to 25 digits: nine of them.
    assert!(size(100_000).abs_diff(size(100)) < 9 * 25);
}

#[test]
fn files_that_cannot_be_written_are_noticed_before_training() {
    let folder = Folder::new();
    folder.file("saw.csv", saw(100));
    fs::create_dir(folder.path("folder.svg")).unwrap();
    for (option, path, part) in [
        ("--save", "absent/kept.safetensors", "choose a directory"),
        ("--out", "absent/saw.svg", "choose a directory"),
        ("--out", "folder.svg", "choose a path that is no directory"),
    ] {
        let lost = folder.ifog(["forecast", "saw.csv", option, path]).run();
        lost.refused(1, &[path, part]);
    }
}

#[test]
fn what_is_to_be_kept_does_not_need_a_reader_of_the_report() {
    let folder = Folder::new();
    folder.file("saw.csv", saw(100));
    let mut command = folder
        .ifog(["forecast", "saw.csv", "--save", "kept.safetensors"])
        .args(["--out", "saw.svg", "--json"])
        .args(QUICK)
        .command();
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    assert!(folder.path("kept.safetensors").exists() && folder.path("saw.svg").exists());
}

#[test]
fn networks_are_kept_in_the_place_of_nothing_else() {
    let folder = Folder::new();
    folder.file("saw.csv", saw(100));
    let save = |name: &str| {
        let command = ["forecast", "saw.csv", "--save", name];
        folder.ifog(command).args(QUICK).run()
    };
    save("saw.csv").refused(1, &["saw.csv is there", "no forecaster"]);
    assert_eq!(
        fs::read_to_string(folder.path("saw.csv")).unwrap(),
        saw(100)
    );
    save("kept").succeeded();
    save("kept").succeeded();
    let both = folder
        .ifog(["forecast", "saw.csv", "--save", "a.svg", "--out", "a.svg"])
        .args(QUICK)
        .run();
    both.refused(2, &["--save and --out both name a.svg"]);
}

#[test]
fn a_kept_forecaster_that_forecasts_no_number_is_refused() {
    let folder = Folder::new();
    folder.file("saw.csv", saw(100));
    let kept = folder
        .ifog(["forecast", "saw.csv", "--save", "kept.safetensors"])
        .args(QUICK)
        .run();
    kept.succeeded();
    let mut bytes = fs::read(folder.path("kept.safetensors")).unwrap();
    let (length, rest) = bytes.split_first_chunk_mut().unwrap();
    let header = usize::try_from(u64::from_le_bytes(*length)).unwrap();
    // Each is a number, but not their sum.
    for parameter in rest[header..].chunks_exact_mut(4) {
        parameter.copy_from_slice(&3e38f32.to_le_bytes());
    }
    // As files were before they had a checksum.
    let name = b"\"digest\"";
    let at = bytes.windows(name.len()).position(|w| w == name).unwrap();
    bytes[at + 1] = b'D';
    folder.file("kept.safetensors", bytes);
    let used = folder
        .ifog(["forecast", "saw.csv", "--model", "kept.safetensors"])
        .run();
    used.refused(1, &["kept.safetensors cannot be used", "not a number"]);
}

#[test]
fn odd_files_work() {
    let folder = Folder::new();
    let lines = |line: &dyn Fn(usize) -> String| (0..60).map(line).collect::<String>();
    for (content, note) in [
        // A mark at the start, quotes, CRLF, semicolons and decimal commas.
        (
            "\u{feff}\"Day\";\"Price, EUR\"\r\n".to_owned()
                + &lines(&|t| format!("{};\"{},5\"\r\n", 2000 + t, t * t % 7)),
            "",
        ),
        ("y\n".to_owned() + &lines(&|_| "5\n".to_owned()), ""),
        (
            "y\n".to_owned()
                + &lines(&|t| {
                    if t == 9 {
                        "NaN\n".into()
                    } else {
                        format!("{t}\n")
                    }
                }),
            "1 of 60 rows have missing values",
        ),
        (lines(&|t| format!("{}\n", t % 5)), "no heading"),
        (
            "y\n".to_owned() + &lines(&|t| format!("{}e59\n", t % 5)),
            "",
        ),
    ] {
        folder.file("odd.csv", &content);
        let report = folder.ifog(["forecast", "odd.csv"]).args(QUICK).run();
        let stdout = &report.succeeded().stdout;
        assert!(stdout.contains(note), "{stdout}");
        assert!(
            !stdout.contains("NaN") && !stdout.contains("inf"),
            "{stdout}"
        );
    }
}

#[test]
fn bad_files_each_get_a_sentence() {
    let folder = Folder::new();
    for (content, parts) in [
        ("", ["bad.csv", "no rows"]),
        ("Date,Close\n", ["no rows", "give a file"]),
        ("a,b\n1,x\n2,y\n", ["no column 'c'", "name one of a, b"]),
        ("c\n1\n2\n3\n", ["training rows are too few", "at least 22"]),
        ("c\n1\n", ["0 training rows are too few", "at least 22"]),
        ("c\n1\ntwo\n", ["line 3: 'two' in column c", "write it as"]),
        ("c\n1\ninf\n", ["line 3: 'inf' in column c", "write it as"]),
        ("c\n1\n1e308\n", ["line 3: '1e308' in column c", "1e60"]),
        (
            "date,c\n2020-01-02,1\n2020-01-01,1\n2020-01-03,1\n",
            ["line 3 has an earlier date", "sort"],
        ),
        (
            "date,c\n2020-01-02,1\n2020-01-02,1\n",
            ["line 3 has the same date", "one row a date"],
        ),
        ("b,c\n1,2\n1\n", ["line 3 has 1 fields", "correct it"]),
        ("c\nNA\n\"\"\n", ["no row has a value", "name others"]),
        ("c,c\n1,2\n", ["2 columns called 'c'", "a name of its own"]),
        (
            "c\n1\n\"a\n\u{1b}[2J\"\n",
            ["'a\u{fffd}\u{fffd}[2J' in", "write it as"],
        ),
    ] {
        folder.file("bad.csv", content);
        let bad = folder.ifog(["forecast", "bad.csv", "--column", "c"]).run();
        bad.refused(1, &parts);
    }
    folder.file("bad.csv", b"\xff\xfec\0\n\0");
    let bad = folder.ifog(["forecast", "bad.csv"]).run();
    bad.refused(1, &["bad.csv", "UTF-8"]);
    let far = folder.ifog(["forecast", "--horizon", "1200"]).run();
    far.refused(1, &["2000 training rows", "horizon"]);
    let wide = folder.ifog(["forecast", "--hidden", "9999999"]).run();
    wide.refused(2, &["hidden = 9999999"]);
    folder
        .ifog(["forecast", "none.csv"])
        .run()
        .refused(1, &["none.csv"]);
}
