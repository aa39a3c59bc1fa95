//! `ifog task`.

use crate::command::Folder;

#[test]
fn order_is_solved_and_the_seed_decides() {
    let folder = Folder::new();
    let run = |threads: &str| {
        let task = [
            "task",
            "order",
            "--length",
            "20",
            "--hidden",
            "24",
            "--sequences",
            "8000",
        ];
        folder
            .ifog(task)
            .args([
                "--lr",
                "1e-2",
                "--threads",
                threads,
                "--json",
                "--out",
                "order.svg",
            ])
            .run()
            .json()
    };
    let (one, two) = (run("1"), run("2"));
    assert_eq!(one["solved"], true, "{one}");
    assert_eq!(
        (&one["sequences"], &one["curve"]),
        (&two["sequences"], &two["curve"])
    );
    assert!(folder.path("order.svg").exists());
}

#[test]
fn a_length_that_makes_no_sense_is_refused() {
    let folder = Folder::new();
    folder
        .ifog(["task", "adding", "--length", "3"])
        .run()
        .refused(2, &["at least 20"]);
    folder
        .ifog(["task", "order", "--chrono", "2"])
        .run()
        .refused(2, &["chrono", "at least 3"]);
    folder
        .ifog(["task", "copy", "--hidden", "1000000"])
        .run()
        .refused(1, &["MiB"]);
}
