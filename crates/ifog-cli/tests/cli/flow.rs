//! `ifog flow`.

use std::fs;

use crate::command::Folder;

#[test]
fn the_toy_prints_the_figures_of_the_course() {
    let folder = Folder::new();
    let report = folder
        .ifog(["flow", "--toy", "--json", "--out", "toy.html"])
        .run()
        .json();
    let bptt = |run: usize| report["runs"][run]["bptt"].as_f64().unwrap();
    assert_eq!(bptt(0), 9.0);
    assert!((bptt(1) / 6.9e-5 - 1.0).abs() < 0.01);
    assert!((bptt(2) / 5.6e-9 - 1.0).abs() < 0.01);
    let page = fs::read_to_string(folder.path("toy.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("9.0000"));
}

#[test]
fn a_picture_needs_a_known_kind() {
    let folder = Folder::new();
    let refused = folder.ifog(["flow", "--toy", "--out", "toy.png"]).run();
    refused.refused(2, &["toy.png", ".svg or .html"]);
    assert!(!folder.path("toy.png").exists());
    let gone = folder
        .ifog(["flow", "--toy", "--out", "none/toy.svg"])
        .run();
    gone.refused(1, &["none"]);
}
