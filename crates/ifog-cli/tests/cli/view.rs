//! `ifog view`.

use std::fs;

use crate::command::{Folder, rhyme};

#[test]
fn a_page_is_complete_and_the_units_are_listed() {
    let folder = Folder::new();
    folder.small_model();
    let viewed = folder
        .ifog([
            "view",
            "run",
            "rhyme.txt",
            "--length",
            "140",
            "--unit",
            "3",
            "--layer",
            "1",
        ])
        .run();
    viewed.succeeded();
    assert!(
        viewed.stdout.contains("first in a line"),
        "{}",
        viewed.stdout
    );
    let page = fs::read_to_string(folder.path("view.html")).unwrap();
    assert_eq!(page.matches("background:rgba(").count(), 140);
    assert!(page.contains("\"layer\":1,\"quantity\":0,\"unit\":3"));
    assert!(page.contains("Saturated gates of layer 1"));
    // Without the script too the controls and the legend say what is shown, and what would be empty is not.
    for part in [
        "<option value=\"1\" selected>1</option>",
        "<option value=\"0\" selected>h</option>",
        "max=\"15\" step=\"1\" value=\"3\" disabled",
        "−1.0</span>",
        "linear-gradient(90deg,rgb(38,100,220),transparent,rgb(220,50,47))",
        "+1.0</span>",
        "<section class=\"scripted\"><h2>All units of the layer</h2>",
        ":root:not(.scripts) .scripted{display:none}",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // Nothing is fetched: the only addresses are names of formats.
    let addresses = page.matches("://").count();
    assert_eq!(
        addresses,
        page.matches("http://www.w3.org/2000/svg").count()
    );
    let json = folder
        .ifog([
            "view",
            "run",
            "rhyme.txt",
            "--json",
            "--length",
            "140",
            "--quantity",
            "o",
        ])
        .run()
        .json();
    assert_eq!(
        (&json["shifts"], &json["quantity"]),
        (&299.into(), &"o".into())
    );
    let lengths = ["values", "next"].map(|key| json[key].as_array().unwrap().len());
    assert_eq!(lengths, [140, 140]);
    assert_eq!(json["text"].as_str(), Some(&rhyme()[..140]));
    assert_eq!(json["values"][7].as_array().unwrap().len(), 16);
    // i, f and o of both layers.
    assert_eq!(json["saturation"].as_array().unwrap().len(), 6);
}

/// What is not shown may be anything.
#[test]
fn a_text_is_read_as_far_as_it_is_shown() {
    let folder = Folder::new();
    folder.small_model();
    folder.file("more.txt", rhyme() + "§ is no letter of the rhyme");
    let view = |length: usize| {
        let length = length.to_string();
        let view = [
            "view", "run", "more.txt", "--json", "--search", "50", "--length", &length,
        ];
        folder.ifog(view).run()
    };
    view(rhyme().chars().count()).json();
    view(rhyme().chars().count() + 1).refused(1, &["§"]);
}

/// A text without a feature, and one with fewer shifts than a long one.
#[test]
fn short_texts_are_not_said_to_show_much() {
    let folder = Folder::new();
    folder.small_model();
    // Every symbol the first in its line.
    folder.file("plain.txt", "\n".repeat(60));
    let view = |text: &str, length: &str| {
        let view = ["view", "run", text, "--search", length, "--length", length];
        folder.ifog(view)
    };
    let nothing = "The text has no feature that could be judged.";
    let plain = view("plain.txt", "60").run();
    assert!(plain.succeeded().stdout.starts_with(nothing));
    assert!(!plain.stdout.contains("correlation"), "{}", plain.stdout);
    let page = fs::read_to_string(folder.path("view.html")).unwrap();
    assert!(page.contains(nothing));

    let told = "only 48 shifts differ";
    let short = view("rhyme.txt", "120").run();
    assert!(short.succeeded().stdout.contains(told), "{}", short.stdout);
    let page = fs::read_to_string(folder.path("view.html")).unwrap();
    assert!(page.contains(told));
    let json = view("rhyme.txt", "120").args(["--json"]).run().json();
    assert_eq!(json["shifts"], 48);
    let units = json["units"].as_array().unwrap();
    let least = 1.0 / 49.0 - 1e-9;
    assert!(units.iter().all(|unit| unit["p"].as_f64() >= Some(least)));
}

#[test]
fn the_terminal_is_painted() {
    let folder = Folder::new();
    folder.small_model();
    let ansi = || {
        folder.ifog([
            "view",
            "run",
            "rhyme.txt",
            "--ansi",
            "--layer",
            "1",
            "--unit",
            "2",
            "--length",
            "80",
        ])
    };
    let painted = ansi().env("NO_COLOR", "").run();
    assert_eq!(painted.succeeded().stdout.matches("48;2;").count(), 79);
    let plain = ansi().env("NO_COLOR", "1").run();
    assert!(!plain.succeeded().stdout.contains('\u{1b}'));
    assert!(plain.stdout.contains("the fog comes in"));
    // One line says what is painted, and how to read it.
    let header = |stdout: &str| stdout.lines().next().unwrap().to_owned();
    let colours = "layer 1, unit 2, h: blue down to -1.0, white 0, red up to 1.0; ";
    assert!(header(&painted.stdout).starts_with(colours));
    let signs = "layer 1, unit 2, h: + above 0.5, - below -0.5; ";
    assert!(header(&plain.stdout).starts_with(signs), "{}", plain.stdout);
    // Black or white letters.
    assert!(painted.stdout.contains("38;2;0;0;0;48;2;"));
}

#[test]
fn layers_of_different_widths_are_viewed() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let small = ["train", "rhyme.txt", "--out", "run", "--hidden", "12,8"];
    let short = ["--steps", "2", "--batch", "4", "--quiet"];
    folder.ifog(small).args(short).run().succeeded();
    let view = |options: [&str; 4]| {
        let view = ["view", "run", "rhyme.txt", "--length", "40"];
        folder.ifog(view).args(options).run()
    };
    view(["--layer", "0", "--unit", "11"]).succeeded();
    let page = fs::read_to_string(folder.path("view.html")).unwrap();
    assert!(page.contains("lstm: layers of 12 and 8 units"));
    assert!(page.contains("\"hidden\":12") && page.contains("\"hidden\":8"));
    let refused = view(["--layer", "1", "--unit", "11"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("0 to 7"), "{}", refused.stderr);
}

#[test]
fn what_is_not_there_cannot_be_viewed() {
    let folder = Folder::new();
    folder.small_model();
    for (option, value, part) in [
        ("--unit", "16", "0 to 15"),
        ("--layer", "2", "0 to 1"),
        ("--quantity", "z", "h, c, i, f, o, g"),
    ] {
        let refused = folder
            .ifog(["view", "run", "rhyme.txt", option, value])
            .run();
        assert_eq!(refused.code, 2);
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
}
