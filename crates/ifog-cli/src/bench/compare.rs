//! Two runs side by side.

use std::path::Path;

use serde::Serialize;

use super::Line;
use crate::failure::Failure;
use crate::output::{print_json, print_line};

/// What became of a case.
#[derive(Serialize)]
struct Verdict<'a> {
    case: &'a str,
    cell: &'a str,
    #[serde(rename = "B")]
    batch: usize,
    #[serde(rename = "H")]
    hidden: usize,
    threads: usize,
    /// Time now over time before.
    ratio: f64,
    /// What the noise of both runs explains.
    noise: f64,
    verdict: &'static str,
}

/// The measured cases of an earlier `ifog bench --json`; its verdicts are passed over.
pub(super) fn read(path: &Path) -> Result<Vec<Line>, Failure> {
    let size = std::fs::metadata(path)
        .map_err(|error| unreadable(path, error))?
        .len();
    if size > MOST_BYTES {
        return Err(unreadable(
            path,
            format!("it has {size} bytes, more than {MOST_BYTES}"),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let lines = lines.map(|(number, line)| {
        case(line).map_err(|error| unreadable(path, format!("line {}: {error}", number + 1)))
    });
    lines.filter_map(Result::transpose).collect()
}

/// A line's case, if it has one: a verdict has no time.
fn case(line: &str) -> serde_json::Result<Option<Line>> {
    let value: serde_json::Value = serde_json::from_str(line)?;
    match value.get("ms") {
        Some(_) => serde_json::from_value(value).map(Some),
        None => Ok(None),
    }
}

fn unreadable(path: &Path, reason: impl std::fmt::Display) -> Failure {
    Failure::work(format!(
        "cannot compare with {}: {reason}; give a file that ifog bench --json wrote",
        path.display()
    ))
}

/// Prints a verdict for every case of both runs.
pub(super) fn report(before: &[Line], now: &[Line], json: bool) -> Result<(), Failure> {
    let mut found = 0;
    for line in now {
        let Some(old) = before.iter().find(|old| key(old) == key(line)) else {
            continue;
        };
        found += 1;
        let ratio = line.ms / old.ms;
        let noise = NOISE.max(2.0 * line.spread.max(old.spread));
        let verdict = Verdict {
            case: &line.case,
            cell: &line.cell,
            batch: line.batch,
            hidden: line.hidden,
            threads: line.threads,
            ratio,
            noise,
            verdict: verdict(ratio, noise),
        };
        if json {
            print_json(&verdict)?;
        } else {
            print_line(format!(
                "{:6} {:9} B={:<4} H={:<5} {:7.3} of the time before: {}",
                verdict.case, verdict.cell, verdict.batch, verdict.hidden, ratio, verdict.verdict
            ))?;
        }
    }
    if found == 0 {
        return Err(Failure::work(
            "no case of this run is in the file to compare with: ask for the same cases",
        ));
    }
    Ok(())
}

fn verdict(ratio: f64, noise: f64) -> &'static str {
    if ratio > 1.0 + noise {
        "slower"
    } else if ratio < 1.0 / (1.0 + noise) {
        "faster"
    } else {
        "the same within noise"
    }
}

fn key(line: &Line) -> (&str, &str, [usize; 5], &str) {
    let sizes = [
        line.batch,
        line.steps,
        line.input,
        line.hidden,
        line.threads,
    ];
    (&line.case, &line.cell, sizes, &line.isa)
}

/// Runs minutes apart differ by this much on a quiet machine.
const NOISE: f64 = 0.03;
/// A line has some 300 bytes.
const MOST_BYTES: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_no_verdict() {
        assert_eq!(verdict(1.04, 0.05), "the same within noise");
        assert_eq!(verdict(1.06, 0.05), "slower");
        assert_eq!(verdict(0.94, 0.05), "faster");
    }
}
