//! Input that cannot work: one sentence that says what, where and what to do, and the right exit code.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::command::{Folder, rhyme};

#[test]
fn a_corpus_that_is_none() {
    let folder = Folder::new();
    folder.file("empty.txt", "");
    folder.file("one.txt", "aaaa");
    folder.file("single.txt", "a");
    folder.file("binary.bin", b"\x7fELF\x02\0\0\xff\xfe".repeat(50));
    let train = |corpus: &str| {
        folder
            .ifog(["train", corpus, "--steps", "1", "--out", "run"])
            .run()
    };
    train("absent.txt").refused(1, &["absent.txt", "check the path"]);
    train("empty.txt").refused(1, &["empty.txt", "empty"]);
    train("one.txt").refused(1, &["1 distinct symbol", "at least two"]);
    train("single.txt").refused(1, &["1 distinct symbol", "at least two"]);
    train("binary.bin").refused(1, &["NUL", "--vocab bytes"]);
    train(".").refused(1, &["directory"]);
    // None of them left a run directory.
    assert!(!folder.path("run").exists());
}

#[test]
fn a_binary_file_is_a_corpus_if_that_is_meant() {
    let folder = Folder::new();
    folder.file("binary.bin", b"\x7fELF\x02\0\0\xff\xfe".repeat(50));
    let trained = folder
        .ifog([
            "train",
            "binary.bin",
            "--vocab",
            "bytes",
            "--steps",
            "2",
            "--hidden",
            "8",
        ])
        .args(["--out", "run", "--json"])
        .run();
    trained.json();
    folder
        .ifog(["sample", "run", "--length", "20"])
        .run()
        .succeeded();
}

#[test]
fn an_output_that_cannot_be_written_is_noticed_before_training() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    folder.file("file", "kept");
    let train = |out: &str| {
        // Years, if training were to start.
        folder
            .ifog([
                "train",
                "rhyme.txt",
                "--steps",
                "1000000000",
                "--quiet",
                "--out",
                out,
            ])
            .run()
    };
    train("file").refused(1, &["file", "--out"]);
    train("file/run").refused(1, &["file/run", "--out"]);
    if Path::new("/proc/version").exists() {
        train("/proc/run").refused(1, &["/proc/run", "--out"]);
    }
    assert_eq!(fs::read_to_string(folder.path("file")).unwrap(), "kept");
}

#[test]
fn a_model_is_not_overwritten_unasked() {
    let folder = Folder::new();
    let (_, run) = folder.small_model();
    let model = fs::read(run.join("model.safetensors")).unwrap();
    let train = |extra: &[&str]| {
        folder
            .ifog([
                "train",
                "rhyme.txt",
                "--out",
                "run",
                "--hidden",
                "8",
                "--steps",
                "1",
                "--quiet",
            ])
            .args(extra)
            .run()
    };
    train(&[]).refused(1, &["run", "--overwrite"]);
    assert_eq!(fs::read(run.join("model.safetensors")).unwrap(), model);
    train(&["--overwrite"]).succeeded();
    assert_ne!(fs::read(run.join("model.safetensors")).unwrap(), model);
}

/// Names that others use, too: a directory with a site's config.toml in it is no place for a run.
#[test]
fn files_of_others_are_not_overwritten_unasked() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    for name in ["config.toml", "metrics.jsonl", "loss.svg", "report.html"] {
        let site = folder.path(&format!("site-{name}"));
        std::fs::create_dir(&site).unwrap();
        std::fs::write(site.join(name), "title = 'mine'").unwrap();
        let arguments = [
            "train",
            "rhyme.txt",
            "--steps",
            "1",
            "--hidden",
            "4",
            "--out",
        ];
        let refused = folder.ifog(arguments).args([&site]).args(["--quiet"]).run();
        refused.refused(1, &["holds a run already", name, "--overwrite"]);
        let kept = std::fs::read_to_string(site.join(name)).unwrap();
        assert_eq!(kept, "title = 'mine'");
        assert_eq!(std::fs::read_dir(&site).unwrap().count(), 1, "{name}");
    }
}

#[test]
fn a_run_without_states_is_not_begun_anew_over_its_model() {
    let folder = Folder::new();
    let (_, run) = folder.small_model();
    let model = fs::read(run.join("model.safetensors")).unwrap();
    for entry in fs::read_dir(&run).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("training-") {
            fs::remove_file(path).unwrap();
        }
    }
    let metrics = fs::read(run.join("metrics.jsonl")).unwrap();
    let resumed = folder.ifog(["train", "--resume", "run", "--steps", "500"]);
    resumed
        .run()
        .refused(1, &["training-N.safetensors", "--config run/config.toml"]);
    assert_eq!(fs::read(run.join("model.safetensors")).unwrap(), model);
    assert_eq!(fs::read(run.join("metrics.jsonl")).unwrap(), metrics);
}

#[test]
fn a_damaged_model() {
    let folder = Folder::new();
    let (_, run) = folder.small_model();
    let model = fs::read(run.join("model.safetensors")).unwrap();
    let commands = |path: &str| {
        for arguments in [
            vec!["sample", path],
            vec!["info", path],
            vec!["eval", path, "rhyme.txt"],
        ] {
            let outcome = folder.ifog(&arguments).run();
            outcome.refused(1, &[path]);
        }
    };
    for length in [0, 1, 7, 8, 100, model.len() / 2, model.len() - 1] {
        folder.file("short.safetensors", &model[..length]);
        commands("short.safetensors");
    }
    // A flipped bit in the header, and one in the weights, which only the digest can tell.
    for at in [0, 8, 9, 60, model.len() - 3] {
        let mut flipped = model.clone();
        flipped[at] ^= 0x40;
        folder.file("flipped.safetensors", flipped);
        commands("flipped.safetensors");
    }
    folder.file("text.safetensors", "this is no model");
    commands("text.safetensors");
    commands("absent");
    fs::create_dir(folder.path("hollow")).unwrap();
    commands("hollow");
}

#[test]
fn a_forecaster_is_no_model() {
    let folder = Folder::new();
    folder
        .ifog(["forecast", "--steps", "1", "--seeds", "1", "--hidden", "2"])
        .args(["--save", "kept.safetensors"])
        .run()
        .succeeded();
    for command in ["sample", "view", "flow", "info"] {
        let refused = folder.ifog([command, "kept.safetensors"]).run();
        refused.refused(
            1,
            &["kept.safetensors", "'ifog-forecaster-2'", "give a model"],
        );
    }
}

#[test]
fn a_name_cannot_steer_the_terminal() {
    let folder = Folder::new();
    let refused = folder.ifog(["info", "\u{1b}[2J.safetensors"]).run();
    refused.refused(1, &["\u{fffd}[2J.safetensors"]);
}

#[test]
fn a_model_of_another_vocabulary() {
    let folder = Folder::new();
    folder.small_model();
    folder.file("other.txt", "fog\nQUITE ANOTHER TEXT, in capitals");
    let eval = folder.ifog(["eval", "run", "other.txt"]).run();
    eval.refused(1, &["'Q'", "line 2", "vocabulary"]);
    let sample = folder.ifog(["sample", "run", "--prime", "foG"]).run();
    sample.refused(1, &["'G'", "vocabulary"]);
}

#[test]
fn a_part_that_is_not_there() {
    let folder = Folder::new();
    folder.small_model();
    let eval = folder
        .ifog(["eval", "run", "rhyme.txt", "--split-part", "test"])
        .run();
    eval.refused(1, &["test"]);
    // Ten symbols leave a tenth of one for validation.
    folder.file("short.txt", &rhyme()[..10]);
    let eval = folder.ifog(["eval", "run", "short.txt"]).run();
    assert!(
        eval.succeeded()
            .stderr
            .contains("too short for a part for validation")
    );
    let eval = folder.ifog(["eval", "run", "rhyme.txt"]).run();
    assert_eq!(eval.succeeded().stderr, "");
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let folder = Folder::new();
    folder.small_model();
    let mut child = folder
        .ifog(["sample", "run", "--length", "100000"])
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // `| head -c 0`: the other end is closed while the model is writing.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn nobody_reading_the_progress_is_no_failure() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let mut child = folder
        .ifog([
            "train",
            "rhyme.txt",
            "--hidden",
            "8",
            "--steps",
            "30",
            "--out",
            "run",
            "--json",
        ])
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(folder.path("run/model.safetensors").exists());
}
