//! `ifog compare`.

use std::fs;

use crate::command::{Folder, rhyme};

#[test]
fn four_cells_are_trained_alike_and_reported() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let report = folder
        .ifog([
            "compare",
            "rhyme.txt",
            "--hidden",
            "12",
            "--budget",
            "1.2",
            "--batch",
            "4",
            "--seq-len",
            "16",
        ])
        .args(["--json", "--out", "compare.html"])
        .run()
        .json();
    let cells = report["cells"].as_array().unwrap();
    let names: Vec<_> = cells
        .iter()
        .map(|run| run["cell"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["rnn", "lstm", "gru", "gru-after"]);
    let parameters: Vec<f64> = cells
        .iter()
        .map(|run| run["parameters"].as_f64().unwrap())
        .collect();
    assert!(
        parameters
            .iter()
            .all(|p| (p / parameters[1] - 1.0).abs() < 0.1),
        "{parameters:?}"
    );
    for run in cells {
        // The untrained cell and 2 to 8 rounds, as many as validation leaves time for.
        assert!((3..=9).contains(&run["curve"].as_array().unwrap().len()));
        assert!(run["val_loss_at_equal_time"].as_f64() < run["curve"][0]["val_loss"].as_f64());
    }
    let page = fs::read_to_string(folder.path("compare.html")).unwrap();
    assert_eq!(page.matches("<svg").count(), 2);
    // A column a cell, so that it fits.
    assert_eq!(page.matches("<th ").count(), 5);
    let each = report["seconds_each"].as_f64().unwrap();
    assert!(report["seconds"].as_f64().unwrap() > 4.0 * each);
    assert!(page.contains(report["statement"].as_str().unwrap()));
    assert_eq!(report["notes"], serde_json::json!([]));
}

/// What so few steps and parameters are not said to show.
#[test]
fn a_tiny_budget_tells_nothing() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let tiny = ["compare", "rhyme.txt", "--params", "1", "--budget", "1e-3"];
    let compared = folder.ifog(tiny).args(["--out", "tiny.html"]).run();
    let text = &compared.succeeded().stdout;
    assert!(text.contains(" s in all with validation"), "{text}");
    let page = fs::read_to_string(folder.path("tiny.html")).unwrap();
    for said in [text, &page] {
        assert!(said.contains("too short to tell"), "{said}");
        assert!(
            said.contains("no widths give all cells 1 parameter: the nearest give "),
            "{said}"
        );
        assert!(!said.contains("equal parameters"), "{said}");
        assert!(!said.contains("nats behind"), "{said}");
    }
}

#[test]
fn more_parameters_than_the_widest_has_are_refused() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let compare = ["compare", "rhyme.txt", "--params", "99999999999"];
    folder
        .ifog(compare)
        .run()
        .refused(2, &["parameters", "at most"]);
}

#[test]
fn divergence_has_code_3_and_short_texts_are_compared() {
    let folder = Folder::new();
    folder.file("short.txt", "to");
    folder.file("longer.txt", "to be or not");
    let compare = |text: &str, extra: [&str; 2]| {
        let small = [
            "compare",
            text,
            "--hidden",
            "4",
            "--budget",
            "0.04",
            "--batch",
            "1",
            "--seq-len",
            "2",
            "--json",
        ];
        folder.ifog(small).args(extra).run()
    };
    let compared = compare("short.txt", ["--lr", "1e-3"]);
    let note = "validation reads the training part";
    let notes = compared.json()["notes"].to_string();
    assert!(notes.contains(note), "{notes}");
    assert_eq!(compared.stderr.matches(note).count(), 1);
    let diverged = compare("longer.txt", ["--lr", "1e38"]);
    let sentence = diverged.stderr.lines().last().unwrap_or_default();
    assert_eq!((diverged.code, &diverged.stdout[..]), (3, ""));
    assert!(sentence.contains("rnn") && sentence.contains("diverged"));
}
