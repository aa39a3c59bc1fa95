//! What a run would need, what it needed, and the pictures it leaves.

use std::fs;

use crate::command::{Folder, rhyme};

/// Some 200 MiB.
const LARGE: &str = "rhyme.txt --hidden 400 --batch 50 --seq-len 100 --steps 2 --quiet";

#[test]
fn memory_is_predicted_within_a_tenth() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme().repeat(4));
    folder.file("book.txt", rhyme().repeat(100));
    // The first as anybody trains: some 35 MiB, with texts of the model in between and a state after each validation.
    let variants = [
        ["book.txt --steps 6 --sample-every 0.1", "--threads 2"],
        [LARGE, "--threads 1"],
        // Of the two sides of activations one is never touched, a quarter of the whole.
        [
            "book.txt --hidden 800 --layers 1 --cell rnn",
            "--batch 200 --seq-len 100 --steps 2 --quiet --threads 1",
        ],
        [
            LARGE,
            "--threads 3 --dropout 0.2 --dropout-recurrent 0.1 --ema 0.9 --embedding 64",
        ],
        [
            LARGE,
            "--threads 1 --cell gru --optimizer sgd --checkpoint-every 10",
        ],
    ];
    for variant in variants {
        let arguments = variant.iter().flat_map(|part| part.split_whitespace());
        let summary = folder
            .ifog(["train"])
            .args(arguments)
            .args(["--out", "run", "--overwrite", "--json", "--no-report"])
            .run()
            .json();
        let predicted = summary["predicted_memory"].as_f64().unwrap();
        let Some(measured) = summary["peak_memory"].as_f64() else {
            println!("skipped: this system does not say how much memory a process has");
            return;
        };
        let ratio = predicted / measured;
        assert!(
            (0.9..1.1).contains(&ratio),
            "{variant:?}: {predicted} predicted, {measured} measured"
        );
    }
}

#[test]
fn a_dry_run_measures_and_writes_nothing() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let train = |extra: &[&str]| {
        let arguments = [
            "train",
            "rhyme.txt",
            "--hidden",
            "24",
            "--batch",
            "5",
            "--seq-len",
            "16",
            "--dry-run",
        ];
        folder.ifog(arguments).args(extra).run()
    };
    let forecast = train(&["--epochs", "3", "--json"]).json();
    let number = |field: &str| {
        forecast[field]
            .as_f64()
            .unwrap_or_else(|| panic!("{field}"))
    };
    // Two layers of 4 gates: 24 inputs of the upper one, 24 hidden units of both; and the decoder of 20 symbols.
    let multiplications = 4.0 * 24.0 * (24.0 + 24.0 + 24.0) + 24.0 * 20.0;
    assert_eq!(number("flops_per_char"), 6.0 * multiplications);
    assert!(number("chars_per_s") > 0.0 && number("gflops") > 0.0);
    // At least twenty validations, evenly spaced, of which the last may come earlier.
    let steps = 3.0 * number("steps_per_epoch");
    let validations = (steps / (steps / 20.0).ceil()).ceil();
    let steps = number("seconds_in_all") - validations * number("seconds_per_validation");
    let epochs = steps / number("seconds_per_epoch");
    assert!((epochs - 3.0).abs() < 1e-6, "{epochs} {validations}");
    // 2,142 characters for training, as the time of an epoch and the speed say, too.
    let characters = number("seconds_per_epoch") * number("chars_per_s");
    assert!((characters / 2142.0 - 1.0).abs() < 0.1, "{characters}");
    assert!(forecast["memory"].as_array().unwrap().len() > 5);
    let text = train(&[]);
    for part in [
        "parameters",
        "FLOPs",
        "tape",
        "optimiser",
        "characters/s",
        "an epoch",
    ] {
        assert!(
            text.succeeded().stdout.contains(part),
            "{part}: {}",
            text.stdout
        );
    }
    assert!(!folder.path("runs").exists());
}

#[test]
fn one_batch_is_learnt_by_heart_or_not() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let train = |extra: &[&str]| {
        let arguments = [
            "train",
            "rhyme.txt",
            "--hidden",
            "32",
            "--batch",
            "4",
            "--seq-len",
            "16",
        ];
        folder
            .ifog(arguments)
            .args(["--overfit-one-batch"])
            .args(extra)
            .run()
    };
    let known = train(&["--lr", "0.01"]);
    assert!(
        known.succeeded().stdout.contains("known by heart after"),
        "{}",
        known.stdout
    );
    let object = train(&["--lr", "0.01", "--json"]).json();
    assert!(object["loss"].as_f64() < object["first_loss"].as_f64());
    let unknown = train(&["--lr", "1e-7", "--steps", "20"]);
    assert_eq!(unknown.code, 1);
    assert!(
        unknown.stderr.contains("not known by heart"),
        "{}",
        unknown.stderr
    );
    assert!(!folder.path("runs").exists());
}

#[test]
fn a_run_leaves_its_curve_and_a_page() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let arguments = "rhyme.txt --hidden 12 --steps 40 --log-x --sample-every 0.01 --out run";
    folder
        .ifog(["train"])
        .args(arguments.split_whitespace())
        .run()
        .succeeded();
    let svg = fs::read_to_string(folder.path("run/loss.svg")).unwrap();
    assert!(
        svg.starts_with("<svg") && svg.contains("nats per character") && svg.contains("validation")
    );
    let page = fs::read_to_string(folder.path("run/report.html")).unwrap();
    for part in [
        "<svg",
        "best validation loss",
        "at step",
        "hidden = 12",
        "characters/s",
        "Learning rate",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // Complete in itself; the only addresses are those of XML.
    let addresses = page.matches("://").count();
    assert_eq!(addresses, page.matches("http://www.w3.org/").count());
}
