//! `ifog bench`.

use crate::command::{Folder, json_lines};

const CASE: [&str; 11] = [
    "bench", "--quick", "--cell", "lstm", "--pass", "infer", "--hidden", "8", "--steps", "2",
    "--json",
];

#[test]
fn a_case_is_measured_and_compared_with_itself() {
    let folder = Folder::new();
    let case = || folder.ifog(CASE).args(["--batch", "2"]);
    let measured = case().run();
    let line = measured.json();
    for key in ["case", "cell", "isa"] {
        assert!(line[key].is_string(), "{key}: {line}");
    }
    for (key, value) in [("B", 2), ("T", 2), ("I", 8), ("H", 8), ("threads", 1)] {
        assert_eq!(line[key], value, "{key}");
    }
    let number = |key: &str| line[key].as_f64().unwrap();
    let (ms, bound) = (number("ms"), number("roofline_ms"));
    assert!(0.0 < number("ms_min") && number("ms_min") <= ms, "{line}");
    // 2 T B G H (I + H); figures are printed in full.
    let flops = (2 * 2 * 2 * 4 * 8 * (8 + 8)) as f64;
    assert!((number("gflops") / (flops / ms / 1e6) - 1.0).abs() < 1e-9);
    assert!((number("roofline_fraction") / (bound / ms) - 1.0).abs() < 1e-9);

    let before = folder.file("before.jsonl", &measured.stdout);
    let compared = case().args(["--compare", "before.jsonl"]).run();
    folder.file("now.jsonl", &compared.succeeded().stdout);
    let lines = json_lines(&folder.path("now.jsonl"));
    assert_eq!(lines.len(), 2);
    let ratio = lines[0]["ms"].as_f64().unwrap() / ms;
    assert!((lines[1]["ratio"].as_f64().unwrap() / ratio - 1.0).abs() < 1e-9);
    assert!(lines[1]["verdict"].is_string() && before.exists());
}

/// Files of before have no such figure, and can be compared with.
#[test]
fn several_threads_are_put_beside_one() {
    let folder = Folder::new();
    let case = |threads: &str| {
        let case = folder
            .ifog(CASE)
            .args(["--batch", "2", "--threads", threads]);
        case.run().json()
    };
    assert!(case("2")["speed_up"].as_f64().unwrap() > 0.0);
    assert!(case("1")["speed_up"].is_null());
    let table = folder
        .ifog(&CASE[..10])
        .args(["--batch", "2", "--threads", "2"])
        .run();
    assert!(table.succeeded().stdout.contains("  speed-up\n"));
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let folder = Folder::new();
    let compare = |file: &str| {
        let case = folder.ifog(CASE).args(["--batch", "2", "--compare", file]);
        case.run()
    };
    folder.file("text.jsonl", "fast\n");
    compare("text.jsonl").refused(1, &["text.jsonl", "line 1", "ifog bench --json"]);
    compare("absent.jsonl").refused(1, &["absent.jsonl"]);
}

/// Each of them a sentence: no panic, no abort, no waiting for threads that never start.
#[test]
fn more_than_a_machine_has_is_refused() {
    let folder = Folder::new();
    let bench = |arguments: &[&str]| folder.ifog(["bench", "--json"]).args(arguments).run();
    bench(&["--threads", "100000"]).refused(2, &["'100000'", "from 1 to 1024"]);
    for pass in ["infer", "train"] {
        let huge = ["--pass", pass, "--hidden", "8", "--steps", "1"];
        let huge = [&huge[..], &["--batch", "288230376151711744"]].concat();
        bench(&huge).refused(1, &["MiB"]);
        bench(&["--pass", pass, "--hidden", "1000000"]).refused(1, &["MiB"]);
    }
}

/// Three series over H, three over B and one over T, each point with what its neighbours say, and then the verdict.
#[test]
fn a_sweep_ends_with_a_verdict() {
    let folder = Folder::new();
    let sweep = folder.ifog(["bench", "--sweep", "--quick", "--pass", "infer"]);
    let sweep = sweep.args(["--hidden", "12,4,8", "--batch", "8,16,32", "--steps", "2"]);
    folder.file(
        "sweep.jsonl",
        &sweep.args(["--json"]).run().succeeded().stdout,
    );
    let mut lines = json_lines(&folder.path("sweep.jsonl"));
    let verdict = lines.pop().unwrap();
    assert_eq!(verdict["cases"], lines.len());
    let judged: Vec<_> = lines.iter().filter(|l| !l["ratio"].is_null()).collect();
    assert_eq!(verdict["judged"], judged.len());
    // 3 · (3 − 2) over H and as many over B, 9 − 2 over T.
    assert_eq!((lines.len(), judged.len()), (9 + 9 + 9, 3 + 3 + 7));
    let number = |line: &serde_json::Value, key: &str| line[key].as_f64().unwrap();
    for window in lines.windows(3) {
        let [left, line, right] = window else {
            unreachable!()
        };
        let axis = line["axis"].as_str().unwrap();
        if line["ratio"].is_null() {
            continue;
        }
        let [a, at, b] = [left, line, right].map(|line| number(line, axis).ln());
        let share = (at - a) / (b - a);
        let fraction = |line| number(line, "roofline_fraction");
        let expected = fraction(left) * (1.0 - share) + fraction(right) * share;
        assert!((number(line, "expected_fraction") / expected - 1.0).abs() < 1e-9);
        let ratio = fraction(line) / expected;
        assert!((number(line, "ratio") / ratio - 1.0).abs() < 1e-9);
        assert_eq!(line["cliff"], ratio < 0.8);
    }
    let cliffs = lines.iter().filter(|line| line["cliff"] == true).count();
    assert_eq!(verdict["cliffs"].as_array().unwrap().len(), cliffs);
    let lowest = judged.iter().map(|line| number(line, "ratio"));
    assert_eq!(
        number(&verdict["worst"], "ratio"),
        lowest.fold(f64::INFINITY, f64::min)
    );
    // A line for each width over B, and one over T.
    let fits = verdict["fits"].as_array().unwrap();
    assert_eq!(fits.len(), 3 + 1);
    for fit in fits {
        assert!(
            number(fit, "slope_ms") > 0.0 && number(fit, "r2") <= 1.0,
            "{fit}"
        );
    }
}
