//! `ifog gradcheck`.

use serde_json::Value;

use crate::command::Folder;

#[test]
fn a_line_for_every_tensor_and_one_for_all() {
    let folder = Folder::new();
    let checked = folder
        .ifog(["gradcheck", "--cell", "gru", "--layers", "2", "--json"])
        .run();
    checked.succeeded();
    let mut lines: Vec<Value> = checked
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let total = lines.pop().unwrap();
    assert_eq!(total["ok"], true);
    assert_eq!(total["tensors"], lines.len());
    let mut worst: f64 = 0.0;
    for line in &lines {
        assert_eq!(
            (&line["cell"], &line["layers"], &line["ok"]),
            (&"gru".into(), &2.into(), &true.into())
        );
        assert!(!line["tensor"].as_str().unwrap().is_empty());
        let (error, bound) = (
            line["max_error"].as_f64().unwrap(),
            line["bound"].as_f64().unwrap(),
        );
        assert!(error <= bound, "{line}");
        worst = worst.max(error);
    }
    assert_eq!(total["worst"].as_f64(), Some(worst));
    for input in ["one-hot", "embedding", "dense"] {
        assert!(lines.iter().any(|line| line["input"] == input), "{input}");
    }
    let losses: std::collections::HashSet<_> =
        lines.iter().map(|line| line["loss"].as_str()).collect();
    assert_eq!(losses.len(), 2, "{losses:?}");
}

#[test]
fn the_table_names_the_worst() {
    let folder = Folder::new();
    let checked = folder
        .ifog(["gradcheck", "--cell", "rnn", "--layers", "1"])
        .run();
    assert!(
        checked
            .succeeded()
            .stdout
            .contains("all within their bounds")
    );
}
