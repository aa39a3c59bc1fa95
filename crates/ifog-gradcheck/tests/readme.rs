//! The README shows the test that is run and the report that is printed.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is the failure of the test"
)]

#[path = "../examples/mgu/mod.rs"]
mod mgu;

use ifog_gradcheck::Check;
use mgu::{Bug, Mgu};

const README: &str = include_str!("../README.md");

#[test]
fn the_example_is_the_test_beside_this_file() {
    let example = include_str!("readme_example.rs");
    assert!(README.contains(&format!("```rust\n{example}```")));
}

#[test]
fn the_report_has_the_shape_of_a_real_one() {
    let cell = Mgu::new(3, 5, 8);
    let theta = cell.point();
    let report = Check::new(|theta: &[f64]| cell.loss(theta))
        .named(&cell.tensors())
        .run(&theta, &cell.gradient(&theta, Some(Bug::LostCarry)))
        .unwrap();
    let shown = README
        .split("```text\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    // The last digits of an error that is all rounding differ between systems; titles, names,
    // verdicts and the worst coordinate do not.
    let printed = report.to_string();
    assert_eq!(shown.lines().count(), printed.lines().count());
    assert_eq!(shown.lines().next(), printed.lines().next());
    for (shown, printed) in shown.lines().zip(printed.lines()) {
        let ends = |line: &str| {
            let mut words = line.split_whitespace();
            let first = words.next().unwrap().to_owned();
            (first, line.ends_with("FAILED"))
        };
        assert_eq!(ends(shown), ends(printed));
    }
    let sentence = printed.lines().last().unwrap();
    let named = &sentence[..sentence.find(": analytic").unwrap()];
    assert!(shown.contains(named), "{named}");
}
