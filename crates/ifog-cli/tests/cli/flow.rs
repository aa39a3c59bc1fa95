//! `ifog flow`.

use std::fs;

use crate::command::Folder;

#[test]
fn the_toy_prints_the_figures_of_the_course() {
    let folder = Folder::new();
    let report = folder
        .ifog([
            "flow", "--toy", "--inputs", "-0.5,0,1", "--json", "--out", "toy.html",
        ])
        .run()
        .json();
    let bptt = |run: usize| report["runs"][run]["bptt"].as_f64().unwrap();
    assert_eq!(bptt(0), 9.0);
    assert!((bptt(1) / 6.9e-5 - 1.0).abs() < 0.01);
    assert!((bptt(2) / 5.6e-9 - 1.0).abs() < 0.01);
    let page = fs::read_to_string(folder.path("toy.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("9.0000"));
    // The gradients that the chart shows, and the fixed points.
    let numbers = |key: &str| -> Vec<f64> {
        let numbers = report["runs"][0][key].as_array().unwrap();
        numbers.iter().map(|n| n.as_f64().unwrap()).collect()
    };
    assert_eq!(numbers("gradients"), [1.0, 3.0, 9.0]);
    assert!((numbers("log10_gradients")[2] - 9f64.log10()).abs() < 1e-12);
    assert_eq!(page.matches("attracts: here the gradient").count(), 2);
}

/// At x = −0.5 the unit stays at 0 and each step multiplies by 3.
#[test]
fn gradients_beyond_all_numbers_are_given_by_their_logarithm() {
    let folder = Folder::new();
    let toy = || folder.ifog(["flow", "--toy", "--inputs", "-0.5", "--steps", "1001"]);
    let report = toy().args(["--json"]).run().json();
    let run = &report["runs"][0];
    assert!(run["bptt"].is_null() && run["gradients"][1000].is_null());
    let log = run["log10_gradients"][1000].as_f64().unwrap();
    assert!((log - 477.121).abs() < 0.001, "{log}");
    let stdout = toy().run().succeeded().stdout.clone();
    assert!(stdout.contains("10^477.1"), "{stdout}");
}

#[test]
fn a_single_lag_has_nothing_to_be_compared_with() {
    let folder = Folder::new();
    let refused = folder.ifog(["flow", "--lags", "1"]).run();
    refused.refused(2, &["--lags 1", "at least 2"]);
}

/// The page says what the terminal says, and shows both parts of an LSTM's gradient.
#[test]
fn a_page_has_clipping_and_the_parts_of_the_state() {
    let folder = Folder::new();
    folder.small_model();
    fs::create_dir(folder.path("other")).unwrap();
    let model = fs::read(folder.path("run/model.safetensors")).unwrap();
    folder.file("other/model.safetensors", model);
    let flow = ["flow", "run", "other", "--untrained", "--text", "rhyme.txt"];
    let sizes = ["--lags", "12", "--positions", "4", "--out", "flow.html"];
    let stdout = folder
        .ifog(flow)
        .args(sizes)
        .run()
        .succeeded()
        .stdout
        .clone();
    let page = fs::read_to_string(folder.path("flow.html")).unwrap();
    let clipping = stdout.lines().find(|line| line.starts_with("  Clipping "));
    let clipping = clipping.unwrap().trim();
    assert!(
        page.contains(&format!("<p>run: {clipping}</p>")),
        "{clipping}"
    );
    for part in ["∂/∂h", "∂/∂c", "lag 12"] {
        assert!(page.contains(part), "{part}");
    }
    for name in ["run untrained", "other untrained"] {
        assert!(page.contains(name) && stdout.contains(name), "{name}");
    }
}

#[test]
fn differences_that_cannot_follow_are_explained() {
    let folder = Folder::new();
    let note = "cannot follow the gradient at x = -0.5:";
    let toy = |steps: &str| {
        let toy = ["flow", "--toy", "--steps", steps, "--out", "toy.html"];
        let stdout = folder.ifog(toy).run().succeeded().stdout.clone();
        let page = fs::read_to_string(folder.path("toy.html")).unwrap();
        (stdout, page)
    };
    let (stdout, page) = toy("10");
    assert!(stdout.contains("1.968e4"), "{stdout}");
    assert!(stdout.contains(note) && page.contains(note), "{stdout}");
    let (stdout, page) = toy("3");
    assert!(!stdout.contains("follow") && !page.contains("follow"));
    // A unit that no step moves out of saturation: both are 0.
    let still = ["flow", "--toy", "--inputs", "0", "--w-hh", "1000", "--json"];
    let still = folder.ifog(still).run().json();
    assert_eq!(still["runs"][0]["finite_difference"], 0.0);
    assert_eq!(still["runs"][0]["step_too_long"], false);
}

/// Lags that leave a single place in the text, and models of one file name.
#[test]
fn positions_are_different_and_so_are_names() {
    let folder = Folder::new();
    folder.small_model();
    for directory in ["a", "b"] {
        fs::create_dir(folder.path(directory)).unwrap();
        let model = fs::read(folder.path("run/model.safetensors")).unwrap();
        folder.file(&format!("{directory}/model.safetensors"), model);
    }
    folder.file("short.txt", "the fog comes");
    let flow = |json: &[&str]| {
        let flow = ["flow", "a/model.safetensors", "b/model.safetensors"];
        let text = ["--text", "short.txt", "--lags", "12", "--out", "flow.svg"];
        folder.ifog(flow).args(text).args(json).run()
    };
    let report = flow(&["--json"]).json();
    for (network, name) in ["a", "b"].iter().enumerate() {
        let network = &report["networks"][network];
        assert_eq!(
            (&network["name"], &network["positions"]),
            (&(*name).into(), &1.into())
        );
    }
    let text = flow(&[]).succeeded().stdout.clone();
    let few = "Measured at 1 position: the text is too short for 32.";
    assert_eq!(text.matches(few).count(), 2, "{text}");
    let chart = fs::read_to_string(folder.path("flow.svg")).unwrap();
    assert!(chart.contains("only position of the text") && !chart.contains("80 %"));
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

#[test]
fn models_and_untrained_cells_are_measured() {
    let folder = Folder::new();
    folder.small_model();
    let measured = folder
        .ifog([
            "flow",
            "run",
            "--untrained",
            "--text",
            "rhyme.txt",
            "--lags",
            "12",
        ])
        .args(["--positions", "4", "--json", "--out", "flow.svg"])
        .run();
    let report = measured.json();
    let networks = report["networks"].as_array().unwrap();
    assert_eq!(networks.len(), 2);
    assert_eq!(networks[0]["name"], "run");
    assert_eq!(networks[0]["clipping"]["steps"], 20);
    for network in networks {
        let layer = &network["layers"][1];
        assert_eq!(layer["state"].as_array().unwrap().len(), 13);
        assert_eq!(layer["gates"].as_array().unwrap().len(), 4);
        assert!(layer["gain_per_step"].as_f64().unwrap() > 0.0);
    }
    assert!(
        fs::read_to_string(folder.path("flow.svg"))
            .unwrap()
            .contains("lstm untrained")
    );

    let text = folder
        .ifog(["flow", "--hidden", "8", "--lags", "10", "--positions", "3"])
        .run();
    text.succeeded();
    for cell in ["rnn", "lstm", "gru", "gru-after"] {
        assert!(
            text.stdout
                .contains(&format!("{cell} untrained: the gradient")),
            "{}",
            text.stdout
        );
    }
    // A limit of the values says nothing about the norm.
    let by_value = ["train", "rhyme.txt", "--out", "value", "--clip-value", "1"];
    let sizes = ["--hidden", "8", "--steps", "2", "--batch", "4", "--quiet"];
    folder.ifog(by_value).args(sizes).run().succeeded();
    let record = folder
        .ifog(["info", "value", "--json"])
        .run()
        .succeeded()
        .stdout
        .clone();
    assert!(record.contains("\"clip_value\""), "{record}");
    let flow = ["flow", "value", "--text", "rhyme.txt", "--json"];
    let report = folder.ifog(flow).args(["--lags", "4"]).run().json();
    assert!(report["networks"][0]["clipping"].is_null());
    let huge = (usize::MAX / 2).to_string();
    let huge = folder.ifog(["flow", "run", "--lags", &huge]).run();
    huge.refused(1, &["MiB", "fewer lags or positions"]);
    let short = folder
        .ifog(["flow", "run", "--text", "rhyme.txt", "--lags", "9999"])
        .run();
    assert_eq!(short.code, 1);
    assert!(short.stderr.contains("fewer lags"), "{}", short.stderr);
}
