//! Help and usage errors.

use crate::command::Folder;

#[test]
fn every_command_explains_itself_with_an_example() {
    let folder = Folder::new();
    for command in [
        "train",
        "sample",
        "eval",
        "gradcheck",
        "bench",
        "info",
        "flow",
        "task",
        "forecast",
        "view",
        "compare",
    ] {
        let help = folder.ifog([command, "--help"]).run();
        help.succeeded();
        let example = format!("  ifog {command}");
        assert!(
            help.stdout.contains("Example"),
            "{command}: {}",
            help.stdout
        );
        assert!(
            help.stdout.lines().any(|line| line.starts_with(&example)),
            "{}",
            help.stdout
        );
        assert_eq!(help.stderr, "");
    }
    let help = folder.ifog(["--help"]).run();
    assert!(help.succeeded().stdout.contains("  ifog train"));
    let version = folder.ifog(["--version"]).run();
    assert_eq!(
        version.succeeded().stdout,
        format!("ifog {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn the_options_of_the_contract_exist() {
    let folder = Folder::new();
    let contract = [
        (
            "train",
            "--cell --hidden --layers --batch --seq-len --epochs --steps --max-seconds --optimizer --lr \
                   --clip-norm --dropout --split --val --test --seed --threads --out --resume --json",
        ),
        ("sample", "--length --temperature --prime --seed"),
        ("eval", "--split-part --json"),
        ("gradcheck", "--cell --layers --json"),
        (
            "bench",
            "--cell --pass --batch --hidden --steps --threads --quick --json",
        ),
        ("info", "--json"),
    ];
    for (command, options) in contract {
        let help = folder.ifog([command, "--help"]).run().stdout;
        for option in options.split_whitespace() {
            // At the beginning of its line, behind a short form: not in the name or the text of another.
            let named = help.lines().any(|line| {
                let words: Vec<&str> = line.split_whitespace().take(2).collect();
                let name = |word: &str| word.split(['=', '[', ',']).next() == Some(option);
                words.first().is_some_and(|word| name(word))
                    || words
                        .first()
                        .is_some_and(|word| word.len() == 3 && word.ends_with(','))
                        && words.get(1).is_some_and(|word| name(word))
            });
            assert!(named, "{command} {option}");
        }
    }
}

#[test]
fn no_colour_where_no_terminal_is() {
    let folder = Folder::new();
    let help = folder.ifog(["train", "--help"]).env("NO_COLOR", "1").run();
    let error = folder
        .ifog(["train", "--hidden", "0"])
        .env("NO_COLOR", "1")
        .run();
    assert!(!help.stdout.contains('\x1b') && !error.stderr.contains('\x1b'));
}

#[test]
fn wrong_usage_has_code_2() {
    let folder = Folder::new();
    folder.file("text.txt", "some text");
    let refused = |arguments: &[&str], parts: &[&str]| {
        folder.ifog(arguments).run().refused(2, parts);
    };
    refused(
        &["train", "text.txt", "--hidden", "0"],
        &["--hidden", "at least 1"],
    );
    refused(
        &["train", "text.txt", "--lr", "nan"],
        &["--lr", "finite number above 0"],
    );
    refused(
        &["train", "text.txt", "--lr", "-1"],
        &["-1", "--lr", "finite number above 0"],
    );
    refused(
        &["train", "text.txt", "--hidden", "-3"],
        &["-3", "--hidden", "at least 1"],
    );
    refused(
        &["task", "copy", "--clip-norm", "-1"],
        &["--clip-norm", "finite number above 0"],
    );
    refused(
        &["train", "text.txt", "--cell", "lstn"],
        &["lstn", "--cell"],
    );
    refused(
        &["train", "text.txt", "--batch", "0"],
        &["--batch", "at least 1"],
    );
    refused(
        &["train", "text.txt", "--dropout", "1"],
        &["--dropout", "below 1"],
    );
    refused(
        &["train", "text.txt", "--val", "0.6", "--test", "0.6"],
        &["0.6", "below 1"],
    );
    refused(&["train", "text.txt", "--steps", "0"], &["--steps"]);
    refused(
        &["train", "text.txt", "--max-seconds", "inf"],
        &["--max-seconds"],
    );
    refused(
        &["train", "text.txt", "--steps", "5", "--epochs", "5"],
        &["--steps", "--epochs"],
    );
    refused(
        &["train", "text.txt", "--clip-norm", "1", "--clip-value", "1"],
        &["--clip-norm"],
    );
    refused(
        &[
            "train",
            "text.txt",
            "--optimizer",
            "sgd",
            "--weight-decay",
            "1",
        ],
        &["weight_decay", "Adam"],
    );
    refused(
        &["train", "text.txt", "--hidden", "99999999999"],
        &["hidden", "too large"],
    );
    refused(&["flow", "--toy", "--steps", "1000000"], &["--steps"]);
    refused(
        &["task", "copy", "--budget", "2 days"],
        &["--budget", "90s, 10m or 1.5h"],
    );
    refused(&["flow", "--layers", "65"], &["layers = 65"]);
    refused(&["compare", "--layers", "65"], &["layers = 65"]);
    refused(&["forecast", "--test", "0"], &["--test", "above 0"]);
    refused(
        &["view", "run", "--out", "view.svg"],
        &["view.svg", ".html"],
    );
    refused(&["view", "run", "--ansi", "--json"], &["--ansi", "--json"]);
    refused(&["sample", "run", "--temperature", "-1"], &["-1"]);
    refused(&["sample", "run", "--top-k", "0"], &["--top-k"]);
    refused(&["eval", "run"], &["required"]);
    refused(&["gradcheck", "--layers", "0"], &["--layers"]);
    refused(&["fly"], &["fly"]);
    assert_eq!(folder.ifog([] as [&str; 0]).run().code, 2);
}

/// What would be passed over in silence.
#[test]
fn options_that_would_do_nothing_are_refused() {
    let folder = Folder::new();
    folder.file("text.txt", "some text");
    for (arguments, parts) in [
        (
            "train text.txt --lr-decay 0.97",
            ["--lr-decay", "--lr-schedule step or plateau"],
        ),
        (
            "train text.txt --lr-schedule step --lr-min 1e-4",
            ["--lr-min", "--lr-schedule cosine or plateau"],
        ),
        (
            "train text.txt --variational",
            ["--variational", "--dropout"],
        ),
        (
            "train text.txt --overfit-one-batch --epochs 5",
            ["--overfit-one-batch", "--epochs"],
        ),
        ("flow --steps 500", ["required", "not provided"]),
        ("flow run --hidden 64", ["--hidden", "cannot be used"]),
        ("flow --toy --lags 5", ["--lags", "cannot be used"]),
        ("forecast --column Close", ["required", "not provided"]),
        (
            "forecast a.csv --model kept --horizon 24",
            ["--horizon", "cannot be used"],
        ),
        ("bench --pass step --batch 8", ["--batch", "--pass infer"]),
    ] {
        let arguments = arguments.split_whitespace();
        folder.ifog(arguments).run().refused(2, &parts);
    }
}

#[test]
fn a_level_that_cannot_be_had_is_named() {
    let folder = Folder::new();
    folder.file("text.txt", "some text");
    let train = |level: &str| {
        folder
            .ifog(["train", "text.txt", "--steps", "1"])
            .env("IFOG_ISA", level)
            .run()
    };
    train("nonsense").refused(2, &["IFOG_ISA", "portable"]);
    let foreign = if cfg!(target_arch = "x86_64") {
        "neon"
    } else {
        "avx2"
    };
    train(foreign).refused(2, &["IFOG_ISA", foreign, "lacks"]);
}
