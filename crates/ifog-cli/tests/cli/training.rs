//! What training leaves behind, and that the other commands agree with it.

use std::fs;
use std::path::Path;

use crate::command::{Folder, json_lines, rhyme};

#[test]
fn the_summary_has_the_fields_of_the_contract() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let trained = folder
        .ifog([
            "train",
            "rhyme.txt",
            "--hidden",
            "16",
            "--batch",
            "4",
            "--seq-len",
            "16",
        ])
        .args([
            "--steps",
            "60",
            "--seed",
            "7",
            "--threads",
            "1",
            "--out",
            "run",
            "--json",
        ])
        .run();
    let summary = trained.json();
    let number = |field: &str| summary[field].as_f64().unwrap_or_else(|| panic!("{field}"));
    assert_eq!(summary.as_object().unwrap().len(), 16);
    assert!(number("best_val_loss") < number("initial_val_loss"));
    assert!(number("final_train_loss") > 0.0);
    assert!(number("chars_per_s") > 0.0 && number("seconds") > 0.0 && number("epochs") > 0.0);
    assert!(number("parameters") > 1000.0);
    assert_eq!(number("steps"), 60.0);
    assert_eq!((number("seed"), number("threads")), (7.0, 1.0));
    assert!(!summary["isa"].as_str().unwrap().is_empty());
    assert_eq!(summary["out"], "run");
    let digest = summary["digest"].as_str().unwrap();
    assert_eq!(digest.len(), 64, "SHA-256 in hexadecimal: {digest}");

    // metrics.jsonl: a line a step, and the validations.
    let metrics = json_lines(&folder.path("run/metrics.jsonl"));
    let steps: Vec<_> = metrics
        .iter()
        .filter(|line| line.get("loss").is_some())
        .collect();
    assert_eq!(steps.len(), 60);
    for (line, step) in steps.iter().zip(1..) {
        assert_eq!(line["step"].as_u64(), Some(step));
        for field in [
            "epoch",
            "loss",
            "grad_norm",
            "clip_rate",
            "lr",
            "seconds",
            "chars_per_s",
        ] {
            assert!(line[field].is_f64(), "{field}: {line}");
        }
    }
    let validations: Vec<f64> = metrics
        .iter()
        .filter_map(|line| line["val_loss"].as_f64())
        .collect();
    assert!(validations.len() >= 20, "{validations:?}");
    let best = validations.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(best, number("best_val_loss"));

    // config.toml: the resolved configuration.
    let config: toml::Table = fs::read_to_string(folder.path("run/config.toml"))
        .unwrap()
        .parse()
        .unwrap();
    // From the root, so that the run goes on from any directory.
    let corpus = Path::new(config["corpus"].as_str().unwrap());
    assert!(corpus.is_absolute() && corpus.ends_with("rhyme.txt"));
    let training = config["training"].as_table().unwrap();
    assert_eq!(training["cell"].as_str(), Some("lstm"));
    assert_eq!(training["hidden"].as_integer(), Some(16));
    assert_eq!(training["steps"].as_integer(), Some(60));
    assert_eq!(training["optimizer"].as_str(), Some("adam"));

    // info knows the same model.
    let info = folder.ifog(["info", "run", "--json"]).run().json();
    assert_eq!(info["digest"], summary["digest"]);
    assert_eq!(info["parameters"], summary["parameters"]);
    assert_eq!(
        (&info["cell"], &info["hidden"], &info["layers"]),
        (&"lstm".into(), &16.into(), &2.into())
    );
    let text = folder.ifog(["info", "run/model.safetensors"]).run();
    assert!(text.succeeded().stdout.contains(digest));
}

#[test]
fn eval_reproduces_the_validation_loss_of_training() {
    for split in ["contiguous", "streams"] {
        for cell in ["lstm", "gru", "gru-after", "rnn"] {
            let folder = Folder::new();
            folder.file("rhyme.txt", rhyme());
            let summary = folder
                .ifog([
                    "train",
                    "rhyme.txt",
                    "--hidden",
                    "16",
                    "--batch",
                    "5",
                    "--seq-len",
                    "11",
                ])
                .args([
                    "--steps", "40", "--split", split, "--cell", cell, "--val", "0.2",
                ])
                .args(["--out", "run", "--json"])
                .run()
                .json();
            let report = folder
                .ifog(["eval", "run", "rhyme.txt", "--json"])
                .run()
                .json();
            let number = |field: &str| report[field].as_f64().unwrap();
            let trained = summary["best_val_loss"].as_f64().unwrap();
            let loss = number("loss");
            assert!(
                (loss - trained).abs() <= 5e-7 * trained,
                "{cell} {split}: {loss} {trained}"
            );
            assert!((number("bits_per_char") - loss / std::f64::consts::LN_2).abs() < 1e-12);
            assert!((number("perplexity") - loss.exp()).abs() < 1e-12);
            assert!(number("chars") > 100.0);
        }
    }
}

#[test]
fn layers_of_different_widths() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let train = |extra: &[&str]| {
        let arguments = [
            "train",
            "rhyme.txt",
            "--hidden",
            "16,8,12",
            "--steps",
            "20",
            "--out",
            "run",
        ];
        folder
            .ifog(arguments)
            .args(["--quiet", "--json"])
            .args(extra)
            .run()
    };
    let summary = train(&["--dropout", "0.1"]).json();
    let info = folder.ifog(["info", "run", "--json"]).run().json();
    assert_eq!(info["widths"], serde_json::json!([16, 8, 12]));
    assert_eq!((&info["hidden"], &info["layers"]), (&12.into(), &3.into()));
    let text = folder.ifog(["info", "run"]).run();
    assert!(
        text.succeeded().stdout.contains("3 layer(s) of 16, 8, 12"),
        "{}",
        text.stdout
    );
    let report = folder
        .ifog(["eval", "run", "rhyme.txt", "--json"])
        .run()
        .json();
    let (loss, trained) = (
        report["loss"].as_f64().unwrap(),
        summary["best_val_loss"].as_f64().unwrap(),
    );
    assert!((loss - trained).abs() <= 5e-7 * trained, "{loss} {trained}");
    train(&["--overwrite", "--layers", "2"]).refused(2, &["layers = 2", "widths"]);
}

#[test]
fn hello() {
    let folder = Folder::new();
    folder.file("hello.txt", "hello");
    let trained = folder.ifog(["train", "hello.txt"]).run();
    trained.succeeded();
    assert!(
        trained.stderr.contains("batch 1 and sequence length 4"),
        "{}",
        trained.stderr
    );
    assert!(
        trained.stdout.contains("best validation loss"),
        "{}",
        trained.stdout
    );
    let sample = folder
        .ifog([
            "sample",
            "runs/hello",
            "--prime",
            "h",
            "--length",
            "4",
            "--temperature",
            "0",
        ])
        .run();
    assert_eq!(sample.succeeded().stdout, "hello\n");
    // The second run of the same corpus does not take the place of the first.
    let again = folder
        .ifog(["train", "hello.txt", "--steps", "3", "--json"])
        .run()
        .json();
    assert_eq!(again["out"], "runs/hello-2");
}

#[test]
fn text_of_any_script() {
    let folder = Folder::new();
    folder.file("text.txt", "Žluťoučký kůň — 霧が出る。\n".repeat(40));
    folder
        .ifog([
            "train",
            "text.txt",
            "--hidden",
            "16",
            "--embedding",
            "5",
            "--steps",
            "20",
            "--out",
            "run",
        ])
        .run()
        .succeeded();
    let sample = |extra: &[&str]| {
        let outcome = folder
            .ifog(["sample", "run", "--prime", "霧", "--length", "30"])
            .args(extra)
            .run();
        outcome.succeeded();
        outcome.stdout
    };
    let text = sample(&[]);
    assert!(text.starts_with('霧'));
    assert_eq!(text.chars().count(), 1 + 30 + 1, "prime, sample, line end");
    assert_eq!(text, sample(&[]), "the same seed");
    assert_ne!(text, sample(&["--seed", "1", "--temperature", "2"]));
    assert_eq!(sample(&["--top-k", "1"]), sample(&["--temperature", "0"]));
}

#[test]
fn a_run_limited_by_the_clock_ends_in_time() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let summary = folder
        .ifog([
            "train",
            "rhyme.txt",
            "--hidden",
            "16",
            "--max-seconds",
            "1.5",
            "--out",
            "run",
            "--json",
        ])
        .run()
        .json();
    let seconds = summary["seconds"].as_f64().unwrap();
    // One step and one validation of this model take milliseconds.
    assert!((1.0..3.0).contains(&seconds), "{seconds}");
    // Of two limits, the first.
    for limits in [
        "--steps 3 --max-seconds 5m",
        "--epochs 1e9 --max-seconds 0.5s",
    ] {
        let train = folder.ifog([
            "train",
            "rhyme.txt",
            "--hidden",
            "16",
            "--out",
            "run",
            "--overwrite",
            "--json",
        ]);
        let summary = train.args(limits.split_whitespace()).run().json();
        assert!(summary["seconds"].as_f64().unwrap() < 3.0, "{limits}");
    }
}

#[test]
fn without_a_corpus_it_learns_the_sources() {
    let folder = Folder::new();
    let summary = folder
        .ifog([
            "train", "--hidden", "32", "--layers", "1", "--steps", "60", "--json",
        ])
        .run()
        .json();
    assert_eq!(summary["out"], "runs/ifog-sources");
    let (best, initial) = (&summary["best_val_loss"], &summary["initial_val_loss"]);
    assert!(
        best.as_f64().unwrap() < 0.9 * initial.as_f64().unwrap(),
        "{summary}"
    );
}

#[test]
fn progress_and_samples_go_to_standard_error() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let train = |extra: &[&str]| {
        let outcome = folder
            .ifog([
                "train",
                "rhyme.txt",
                "--hidden",
                "8",
                "--max-seconds",
                "1",
                "--out",
                "run",
                "--overwrite",
            ])
            .args(["--json", "--sample-every", "0.2"])
            .args(extra)
            .run();
        outcome.json();
        outcome.stderr
    };
    let loud = train(&[]);
    for part in ["chars/s", "nats", "bits", "sample at step"] {
        assert!(loud.contains(part), "{part}: {loud}");
    }
    assert!(!loud.contains('\x1b') && !loud.contains('\r'), "{loud}");
    assert!(!train(&["--no-samples"]).contains("sample at step"));
    assert_eq!(train(&["--quiet"]), "");
    let lines = json_lines(&folder.path("run/metrics.jsonl"));
    assert!(lines.iter().any(|line| line.get("sample").is_some()));
}

/// File names are bytes on Unix.
#[cfg(target_os = "linux")]
#[test]
fn a_corpus_whose_name_is_no_text() {
    use std::os::unix::ffi::OsStrExt;

    let folder = Folder::new();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.txt");
    std::fs::write(folder.path("").join(name), rhyme()).unwrap();
    let arguments = ["--hidden", "4", "--steps", "1", "--quiet", "--out", "run"];
    let trained = folder.ifog(["train"]).args([name]).args(arguments).run();
    trained.succeeded();
}

/// The model is found by the name that the run's directory has, and what is to be typed is one word.
#[cfg(target_os = "linux")]
#[test]
fn a_directory_whose_name_is_no_word() {
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    for name in [&b"two words"[..], b"caf\xe9"] {
        let arguments = [
            "train",
            "rhyme.txt",
            "--steps",
            "2",
            "--hidden",
            "4",
            "--quiet",
            "--out",
        ];
        let name = std::ffi::OsStr::from_bytes(name);
        let trained = folder.ifog(arguments).args([name]).run();
        let told = &trained.succeeded().stdout;
        assert!(told.contains("ifog sample '"), "{told}");
    }
}

/// A time limit joins those of a file; a recipe's relative corpus is found again from elsewhere.
#[test]
fn a_recipe_keeps_its_length_and_its_text() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    folder.file(
        "recipe.toml",
        "corpus = 'rhyme.txt'\n[training]\nhidden = 8\nlayers = 1\nbatch = 4\nseq_len = 16\nsteps = 3\n",
    );
    let arguments = [
        "train",
        "--config",
        "recipe.toml",
        "--max-seconds",
        "50",
        "--out",
        "run",
    ];
    let first = folder.ifog(arguments).args(["--json", "--quiet"]).run();
    assert_eq!(first.json()["steps"], 3);
    let run = folder.path("run");
    let elsewhere = Folder::new();
    let more = ["--steps", "5", "--json", "--quiet"];
    let resumed = elsewhere
        .ifog(["train", "--resume"])
        .args([&run])
        .args(more);
    assert_eq!(resumed.run().json()["steps"], 5);
    let both = ["--dry-run", "--steps", "1000000000", "--json"];
    let limited = folder.ifog(arguments).args(both).run().json();
    assert_eq!(limited["seconds_in_all"], 50.0);
}

/// Short notes on what was done otherwise than asked are in the figures, too.
#[test]
fn figures_say_what_they_are_of() {
    let folder = Folder::new();
    let (corpus, run) = folder.small_model();
    let eval = |part: &str| {
        let arguments = ["eval", "--json", "--split-part", part];
        folder.ifog(arguments).args([&run, &corpus]).run().json()
    };
    for part in ["val", "all"] {
        assert_eq!(eval(part)["part"], part);
    }
    assert!(eval("all")["chars"].as_u64() > eval("val")["chars"].as_u64());
    folder.file("short.txt", "hello");
    let arguments = [
        "train",
        "short.txt",
        "--steps",
        "2",
        "--hidden",
        "4",
        "--json",
        "--quiet",
    ];
    let summary = folder.ifog(arguments).run().json();
    let notes = summary["notes"].as_array().unwrap();
    assert!(!notes.is_empty(), "{summary}");
}

#[test]
fn schedules_and_early_stops_end_a_run() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let arguments = "train rhyme.txt --hidden 8 --layers 1 --batch 4 --seq-len 16 --json --quiet --no-report \
                     --no-samples --overwrite --out run --lr 3 --steps 400";
    let train = |extra: &str| {
        let arguments = arguments.split_whitespace().chain(extra.split_whitespace());
        folder.ifog(arguments).run().json()
    };
    // A rate at which nothing is learnt for long.
    let stopped = train("--early-stop 3");
    assert!(stopped["steps"].as_u64() < Some(400), "{stopped}");
    train("--lr-schedule plateau --lr-patience 1");
    let metrics = std::fs::read_to_string(folder.path("run/metrics.jsonl")).unwrap();
    let rates = metrics.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["lr"].as_f64()
    });
    // Halved, and not less.
    let lowest = rates.fold(f64::INFINITY, f64::min);
    assert!(
        (lowest / 3.0).log2().fract() == 0.0 && lowest < 1.0,
        "{lowest}"
    );
}

#[test]
fn a_prime_may_have_line_ends() {
    let folder = Folder::new();
    let sample = |run: &str| {
        folder
            .ifog(["sample", run, "--prime", "fog\\n", "--length", "1"])
            .run()
    };
    folder.small_model();
    let text = sample("run");
    text.succeeded();
    assert!(text.stdout.starts_with("fog\n"), "{}", text.stdout);
    // In LaTeX a backslash is one.
    folder.file("fog.tex", rhyme().replace("in on", "\\newline on"));
    let settings = "fog.tex --steps 2 --hidden 8 --batch 4 --seq-len 16 --quiet --out tex";
    let trained = folder.ifog(["train"]).args(settings.split_whitespace());
    trained.run().succeeded();
    assert!(sample("tex").stdout.starts_with("fog\\n"));
}

#[test]
fn one_batch_is_learnt_whatever_works_against_it() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let settings = "rhyme.txt --hidden 32 --layers 1 --batch 2 --seq-len 12 --dropout 0.8 --warmup 100000 --lr 0.01 \
                    --overfit-one-batch --json";
    let known = folder
        .ifog(["train"])
        .args(settings.split_whitespace())
        .run()
        .json();
    assert_eq!(known["known"].as_bool(), Some(true), "{known}");
}

/// Another training of a trained model begins where that ended, and is resumed like any.
#[test]
fn a_trained_model_can_be_trained_on() {
    let folder = Folder::new();
    folder.small_model();
    let eval = folder.ifog(["eval", "run", "rhyme.txt", "--json"]).run();
    let trained = eval.json()["loss"].as_f64();
    let settings = "--init-from run --batch 4 --seq-len 16 --quiet --dropout 0.1 --ema 0";
    let train = |out: &str, steps: &str| {
        let settings = settings.split_whitespace();
        let settings = settings.chain(["--out", out, "--steps", steps]);
        folder.ifog(["train", "rhyme.txt"]).args(settings)
    };
    train("again", "30").run().succeeded();
    let lines = json_lines(&folder.path("again/metrics.jsonl"));
    assert_eq!(lines[0]["val_loss"].as_f64(), trained);
    let config = fs::read_to_string(folder.path("again/config.toml")).unwrap();
    assert!(
        config.contains("hidden = 16") && config.contains("init_from = "),
        "{config}"
    );
    // A part of it, then the rest, from elsewhere and without naming the model.
    train("parts", "11").run().succeeded();
    let rest = ["train", "--resume", "parts", "--steps", "30", "--quiet"];
    folder.ifog(rest).run().succeeded();
    // A shorter run validates at other steps; the parameters are the same.
    let last = |run: &str| {
        let lines = json_lines(&folder.path(run).join("metrics.jsonl"));
        lines
            .iter()
            .rev()
            .find_map(|line| line["loss"].as_f64())
            .unwrap()
    };
    assert_eq!(last("parts"), last("again"));
    // Symbols that it does not know, and settings that are the model's.
    folder.file("other.txt", "naïve texts have other symbols. ".repeat(40));
    let begin = |more: [&str; 3]| {
        folder
            .ifog(["train", "--init-from", "run"])
            .args(more)
            .run()
    };
    begin(["other.txt", "--ema", "0"]).refused(1, &["'ï'"]);
    begin(["rhyme.txt", "--hidden", "32"]).refused(2, &["--hidden"]);
    fs::remove_dir_all(folder.path("run")).unwrap();
    // What the run began with is kept in it.
    let resumed = ["train", "--resume", "parts", "--steps", "40", "--quiet"];
    folder.ifog(resumed).run().succeeded();
    let copied = ["train", "rhyme.txt", "--config", "again/config.toml"];
    folder.ifog(copied).run().refused(1, &["run"]);
}

/// The model that a run begins with is not lost by it, decides its shape, and is what is kept if nothing better comes.
#[test]
fn a_model_to_begin_with_is_kept_and_obeyed() {
    let folder = Folder::new();
    folder.small_model();
    let begin = |more: &[&str]| {
        let small = [
            "train",
            "rhyme.txt",
            "--init-from",
            "run",
            "--batch",
            "4",
            "--seq-len",
            "16",
        ];
        folder.ifog(small).args(more).run()
    };
    begin(&["--out", "run", "--overwrite"]).refused(2, &["choose another --out"]);
    begin(&["--out", "run/../run", "--overwrite"]).refused(2, &["choose another --out"]);
    // A rate that only makes it worse.
    let worse = begin(&["--out", "worse", "--lr", "2", "--steps", "20", "--json"]);
    let report = worse.json();
    assert_eq!(report["best_val_loss"], report["initial_val_loss"]);
    assert!(
        worse.stderr.contains("no validation was better"),
        "{}",
        worse.stderr
    );
    let weights = |run: &str| folder.ifog(["info", run, "--json"]).run().json()["digest"].clone();
    assert_eq!(weights("worse"), weights("run"));
    let page = fs::read_to_string(folder.path("worse/report.html")).unwrap();
    assert!(
        page.contains("at step 0"),
        "the report names the model it began with"
    );
    // From a configuration as from the command line.
    let again = [
        "train",
        "--config",
        "worse/config.toml",
        "--steps",
        "5",
        "--out",
        "again",
    ];
    folder
        .ifog(again)
        .args(["--cell", "gru"])
        .run()
        .refused(2, &["--cell"]);
    let config = fs::read_to_string(folder.path("worse/config.toml")).unwrap();
    folder.file("gru.toml", config.replace("\"lstm\"", "\"gru\""));
    let other = folder
        .ifog([
            "train", "--config", "gru.toml", "--steps", "5", "--out", "other",
        ])
        .run();
    assert!(
        other.succeeded().stderr.contains("not as configured: cell"),
        "{}",
        other.stderr
    );
    // Killed before anything but the model was written.
    for entry in fs::read_dir(folder.path("worse")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("training-")
        {
            fs::remove_file(path).unwrap();
        }
    }
    let quiet = ["train", "--resume", "worse", "--quiet", "--no-samples"];
    folder.ifog(quiet).run().succeeded();
    assert_eq!(weights("worse"), weights("run"));
}
