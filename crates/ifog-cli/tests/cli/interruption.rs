//! Runs that are stopped or killed lose nothing: resumed, they end with the bytes of a run that was left alone.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::command::{Folder, Ifog, json_lines, rhyme};

/// A second or so in all. `--keep 2`, so that old states are removed under fire, too.
const STEPS: u64 = 400;

fn train(folder: &Folder, arguments: &[&str]) -> Ifog {
    folder.ifog(["train"]).args(arguments).args(["--quiet"])
}

fn new_run(out: &str) -> Vec<&str> {
    let settings = "rhyme.txt --steps 400 --hidden 12 --batch 4 --seq-len 16 --dropout 0.1 --threads 1 \
                    --save-every 7steps --keep 2 --out";
    settings.split_whitespace().chain([out]).collect()
}

fn spawn(ifog: Ifog) -> Child {
    let mut command = ifog.command();
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    let process = child.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &process]).status();
    assert!(sent.unwrap().success());
}

/// Waits until metrics.jsonl has so many lines, or the process has ended.
fn wait_for_lines(child: &mut Child, run: &Path, lines: usize) {
    let metrics = run.join("metrics.jsonl");
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
        let text = fs::read(&metrics).unwrap_or_default();
        if text.iter().filter(|byte| **byte == b'\n').count() >= lines {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn end(mut child: Child) -> (ExitStatus, String) {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut text).unwrap();
    assert!(!text.contains("panicked"), "{text}");
    (child.wait().unwrap(), text)
}

/// Lines of metrics.jsonl to wait for, and microseconds after that: from a linear congruential generator.
fn moments(seed: u64, count: usize) -> Vec<(usize, u64)> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    (0..count)
        .map(|_| ((next() % 390) as usize, next() % 3000))
        .collect()
}

#[test]
fn stopped_and_killed_runs_end_with_the_same_bytes() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    train(&folder, &new_run("whole")).run().succeeded();
    let whole = fs::read(folder.path("whole/model.safetensors")).unwrap();
    let signals = ["INT", "TERM", "KILL"].into_iter().cycle();
    let mut stopped = 0;
    for (number, (name, (lines, micros))) in signals.zip(moments(4, 6)).enumerate() {
        let out = format!("run{number}");
        let run = folder.path(&out);
        let mut child = spawn(train(&folder, &new_run(&out)));
        wait_for_lines(&mut child, &run, lines);
        std::thread::sleep(Duration::from_micros(micros));
        signal(&child, name);
        let (status, stderr) = end(child);
        match (name, status.code()) {
            // It was done before the signal came.
            (_, Some(0)) => {}
            ("KILL", None) => stopped += 1,
            ("INT", Some(130)) | ("TERM", Some(143)) => {
                stopped += 1;
                let hint = format!("ifog train --resume {out}");
                assert!(
                    stderr.contains(&hint) && stderr.lines().count() == 1,
                    "{stderr}"
                );
            }
            (_, code) => panic!("{name}: {code:?} {stderr}"),
        }
        train(&folder, &["--resume", &out]).run().succeeded();
        let resumed = fs::read(run.join("model.safetensors")).unwrap();
        assert!(resumed == whole, "{name} after {lines} lines");
        // Every step once, in order.
        let metrics = json_lines(&run.join("metrics.jsonl"));
        let steps = metrics.iter().filter(|line| line.get("loss").is_some());
        assert!(
            steps
                .map(|line| line["step"].as_u64().unwrap())
                .eq(1..=STEPS)
        );
    }
    assert!(stopped >= 4, "only {stopped} runs were stopped in time");
}

/// The terminal goes: a run is saved, unless it was started by `nohup`, and goes on.
#[cfg(target_os = "linux")]
#[test]
fn a_hangup_stops_what_does_not_ignore_it() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    if ignored.is_none_or(|mask| !mask.ends_with(['0', '2', '4', '6', '8', 'a', 'c', 'e'])) {
        println!("skipped: this test itself was started by nohup");
        return;
    }
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let hang_up = |mut command: Command, out: &str| {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        wait_for_lines(&mut child, &folder.path(out), 20);
        signal(&child, "HUP");
        end(child).0.code()
    };
    let alone = train(&folder, &new_run("alone")).command();
    let mut deaf = Command::new("sh");
    deaf.args(["-c", r#"trap '' HUP; exec "$@""#, "sh"])
        .arg(alone.get_program())
        .args(train(&folder, &new_run("deaf")).command().get_args())
        .current_dir(folder.path(""));
    assert_eq!(hang_up(deaf, "deaf"), Some(0));
    assert_eq!(hang_up(alone, "alone"), Some(129));
    train(&folder, &["--resume", "alone"]).run().succeeded();
    let model = |run: &str| fs::read(folder.path(run).join("model.safetensors")).unwrap();
    assert!(model("alone") == model("deaf"));
}

#[test]
fn a_second_signal_ends_at_once() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme().repeat(60));
    // A step of seconds.
    let child = spawn(train(
        &folder,
        &[
            "rhyme.txt",
            "--hidden",
            "256",
            "--batch",
            "40",
            "--seq-len",
            "2000",
            "--steps",
            "3",
            "--out",
            "run",
        ],
    ));
    let mut child = child;
    wait_for_lines(&mut child, &folder.path("run"), 1);
    // Behind the validation of the fresh model its state is saved, and then the first step begins.
    let state = folder.path("run/training-000000000.safetensors");
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline && !state.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(100));
    let before = Instant::now();
    signal(&child, "INT");
    std::thread::sleep(Duration::from_millis(400));
    signal(&child, "INT");
    let (status, stderr) = end(child);
    assert_eq!(status.code(), Some(130));
    assert!(
        before.elapsed() < Duration::from_millis(950),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(stderr, "");
}

/// A validation of seconds is given up, and made up for.
#[test]
fn a_signal_ends_a_validation() {
    let folder = Folder::new();
    // Three fifths of it are for validation.
    folder.file("rhymes.txt", rhyme().repeat(500));
    let settings =
        "--hidden 96 --batch 4 --seq-len 16 --threads 1 --val 0.6 --steps 2 --val-every 1";
    let settings: Vec<&str> = settings.split_whitespace().collect();
    let run = |out: &str| {
        let files = ["rhymes.txt", "--out", out];
        train(&folder, &[&files[..], &settings].concat())
    };
    let mut child = spawn(run("run"));
    // The first validation, which is short, and a step; then comes the second, of all.
    wait_for_lines(&mut child, &folder.path("run"), 2);
    std::thread::sleep(Duration::from_millis(200));
    let before = Instant::now();
    signal(&child, "INT");
    let (status, stderr) = end(child);
    assert_eq!(status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("stopped after step 1,"), "{stderr}");
    let stopping = before.elapsed();
    let before = Instant::now();
    train(&folder, &["--resume", "run"]).run().succeeded();
    // Two validations and a step; starting and reading the text beside them.
    assert!(before.elapsed() > 3 * stopping, "{stopping:?}");
    run("whole").run().succeeded();
    let model = |run: &str| fs::read(folder.path(run).join("model.safetensors")).unwrap();
    assert!(model("run") == model("whole"));
}

/// As `timeout` does: to its child, and to the group that the child is in.
#[test]
fn a_signal_that_comes_twice_is_one() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let endless = "rhyme.txt --steps 100000000 --hidden 12 --batch 4 --seq-len 16 --threads 1 --val 0.2 --out run";
    let settings: Vec<&str> = endless.split_whitespace().collect();
    let mut child = spawn(train(&folder, &settings));
    wait_for_lines(&mut child, &folder.path("run"), 5);
    signal(&child, "TERM");
    signal(&child, "TERM");
    let (status, stderr) = end(child);
    assert_eq!(status.code(), Some(143), "{stderr}");
    assert!(stderr.contains("everything is saved"), "{stderr}");
    // It was stopped long before its first validation.
    let info = folder.ifog(["info", "run", "--json"]).run().json();
    assert!(info["training"].get("val_loss").is_none(), "{info}");
    folder.ifog(["sample", "run"]).run().succeeded();
}

#[test]
fn a_resumed_run_finds_its_text_and_its_end() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let settings =
        "rhyme.txt --steps 30 --hidden 8 --batch 4 --seq-len 16 --lr-schedule cosine --out run";
    let settings: Vec<&str> = settings.split_whitespace().collect();
    train(&folder, &settings).run().succeeded();
    let read = |name: &str| fs::read(folder.path(name)).unwrap();
    let (model, config) = (read("run/model.safetensors"), read("run/config.toml"));
    // A length that lies behind it would leave a record that is not true.
    let refused = train(&folder, &["--resume", "run", "--steps", "20"]).run();
    refused.refused(2, &["30 steps", "--steps"]);
    let over = folder.ifog(["train", "--resume", "run"]).run();
    over.succeeded();
    assert!(over.stderr.contains("which is its end"), "{}", over.stderr);
    // The length that it had may be given again.
    train(&folder, &["--resume", "run", "--steps", "30"])
        .run()
        .succeeded();
    assert!(read("run/model.safetensors") == model && read("run/config.toml") == config);
    // A limit of time joins that of steps, and takes no other schedule.
    let timed = train(
        &folder,
        &["--resume", "run", "--max-seconds", "1h", "--json"],
    )
    .run();
    assert_eq!(timed.json()["steps"].as_u64(), Some(30));
    let notes = timed.json()["notes"].to_string();
    assert!(notes.contains("which is its end"), "{notes}");
    assert!(read("run/model.safetensors") == model);
    // From anywhere.
    fs::create_dir(folder.path("below")).unwrap();
    let mut elsewhere = folder
        .ifog(["train", "--resume", "../run", "--steps", "40", "--quiet"])
        .command();
    elsewhere.current_dir(folder.path("below"));
    assert!(elsewhere.status().unwrap().success());
    train(&folder, &["--resume", "run", "--steps", "50"])
        .run()
        .succeeded();
    fs::rename(folder.path("rhyme.txt"), folder.path("moved.txt")).unwrap();
    let moved = train(&folder, &["--resume", "run", "--steps", "60"]).run();
    moved.refused(1, &["rhyme.txt", "ifog train TEXT --resume RUN"]);
    train(&folder, &["moved.txt", "--resume", "run", "--steps", "60"])
        .run()
        .succeeded();
}

#[test]
fn resuming_falls_back_to_the_state_before_a_damaged_one() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    train(&folder, &new_run("run")).run().succeeded();
    let run = folder.path("run");
    let model = fs::read(run.join("model.safetensors")).unwrap();
    let mut states: Vec<_> = fs::read_dir(&run)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("training-"))
        .collect();
    states.sort();
    assert_eq!(states.len(), 2, "{states:?}");
    let newest = states.last().unwrap();
    let mut bytes = fs::read(newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(newest, &bytes).unwrap();
    let resumed = folder
        .ifog(["train", "--resume", "run", "--no-samples"])
        .run();
    resumed.succeeded();
    assert!(
        resumed
            .stderr
            .contains("training-000000400.safetensors is not a usable training state")
    );
    assert!(
        resumed.stderr.contains("resuming after step 39"),
        "{}",
        resumed.stderr
    );
    assert!(fs::read(run.join("model.safetensors")).unwrap() == model);

    for state in states {
        fs::write(state, "").unwrap();
    }
    train(&folder, &["--resume", "run"])
        .run()
        .refused(1, &["run", "no usable training state"]);
    train(&folder, &["--resume", "absent"])
        .run()
        .refused(1, &["absent", "no run"]);
}

#[test]
fn a_resumed_run_may_be_longer_but_not_another() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    train(&folder, &new_run("run")).run().succeeded();
    let longer = train(&folder, &["--resume", "run", "--steps", "420", "--json"]).run();
    assert_eq!(longer.json()["steps"].as_u64(), Some(420));
    let metrics = json_lines(&folder.path("run/metrics.jsonl"));
    let steps = metrics.iter().filter(|line| line.get("loss").is_some());
    assert!(steps.map(|line| line["step"].as_u64().unwrap()).eq(1..=420));
    let refused =
        |arguments: &[&str], parts: &[&str]| train(&folder, arguments).run().refused(1, parts);
    refused(
        &["--resume", "run", "--hidden", "13"],
        &["hidden is 13 here and 12"],
    );
    folder.file("rhyme.txt", rhyme().to_uppercase());
    refused(&["--resume", "run"], &["the same corpus"]);
    let usage = train(&folder, &["--resume", "run", "--out", "other"]).run();
    usage.refused(2, &["--resume", "--out"]);
}

#[test]
fn a_configuration_file_is_overridden_by_flags() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let small = [
        "rhyme.txt",
        "--hidden",
        "8",
        "--steps",
        "20",
        "--lr-schedule",
        "cosine",
        "--out",
        "a",
    ];
    train(&folder, &small).run().succeeded();
    train(&folder, &["--config", "a/config.toml", "--out", "b"])
        .run()
        .succeeded();
    let read = |name: &str| fs::read(folder.path(name)).unwrap();
    assert!(read("a/model.safetensors") == read("b/model.safetensors"));
    assert_eq!(read("a/config.toml"), read("b/config.toml"));
    let other = train(
        &folder,
        &[
            "--config",
            "a/config.toml",
            "--steps",
            "5",
            "--seed",
            "1",
            "--out",
            "c",
            "--json",
        ],
    );
    let other = other.run().json();
    assert_eq!(
        (other["steps"].as_u64(), other["seed"].as_u64()),
        (Some(5), Some(1))
    );
    folder.file("bad.toml", "[training]\nhiden = 5\n");
    let bad = train(&folder, &["rhyme.txt", "--config", "bad.toml"]).run();
    bad.refused(2, &["bad.toml", "'hiden'", "did you mean 'hidden'"]);
    train(&folder, &["--config", "absent.toml"])
        .run()
        .refused(1, &["absent.toml"]);
}

#[test]
fn the_largest_numbers_are_resumed_or_refused() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let largest = u64::MAX.to_string();
    let settings = "rhyme.txt --hidden 8 --dropout 0.1 --no-report --seed";
    let settings: Vec<&str> = settings.split_whitespace().chain([&*largest]).collect();
    let run =
        |steps: &[&str], from: &[&str]| train(&folder, from).args(steps).args(["--json"]).run();
    let whole = run(&["--steps", "6", "--out", "whole"], &settings).json();
    assert_eq!(whole["seed"].as_u64(), Some(u64::MAX));
    run(&["--steps", "3", "--out", "run"], &settings).json();
    let resumed = run(&["--steps", "6"], &["--resume", "run"]).json();
    assert_eq!(resumed["seed"].as_u64(), Some(u64::MAX));
    let read = |name: &str| {
        let text = fs::read_to_string(folder.path(name)).unwrap();
        text.lines()
            .filter(|line| line.starts_with("seed"))
            .collect::<String>()
    };
    assert_eq!(read("run/config.toml"), format!("seed = \"{largest}\""));
    for flag in [
        "--steps",
        "--warmup",
        "--checkpoint-every",
        "--keep",
        "--batch",
        "--chrono",
    ] {
        let refused = run(&[flag, &largest, "--out", "none"], &["rhyme.txt"]);
        refused.refused(2, &[&largest, flag, "9223372036854775807"]);
    }
    assert!(!folder.path("none").exists());
}
