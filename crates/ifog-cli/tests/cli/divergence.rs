//! Runs that leave the finite numbers: they stop at that step with code 3, and what was best stays as it was.

use std::fs;
use std::path::{Path, PathBuf};

use ifog::safetensors::{Metadata, SafeTensors, Tensor, data_digest, write};
use sha2::{Digest, Sha256};

use crate::command::{Folder, Outcome, json_lines, rhyme};

/// A run of 40 steps in `run`, with its last two states.
fn run_of_40_steps() -> (Folder, PathBuf) {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let settings = "rhyme.txt --steps 40 --hidden 12 --batch 4 --seq-len 16 --quiet --save-every 7steps \
                    --keep 2 --no-report --out run";
    let trained = folder.ifog(["train"]).args(settings.split_whitespace());
    trained.run().succeeded();
    let run = folder.path("run");
    (folder, run)
}

/// The states of a run, the newest first.
fn states(run: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(run)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut states: Vec<_> = files
        .filter(|path| path.to_string_lossy().contains("training-"))
        .collect();
    states.sort();
    states.reverse();
    states
}

/// Changes the values of a tensor under a checksum that is right: a fault of the computation, not of the disk.
fn plant(file: &Path, tensor: &str, change: impl Fn(&mut [f32])) {
    let bytes = fs::read(file).unwrap();
    let read = SafeTensors::read(&bytes).unwrap();
    let shapes: Vec<&[usize]> = read.tensors().iter().map(|t| t.shape()).collect();
    let mut values: Vec<Vec<f32>> = read.tensors().iter().map(|t| t.to_vec()).collect();
    let place = read.tensors().iter().position(|t| t.name() == tensor);
    change(&mut values[place.unwrap()]);
    let tensors: Vec<Tensor<'_>> = (read.tensors().iter().zip(&values).zip(shapes))
        .map(|((view, values), shape)| Tensor {
            name: view.name(),
            shape,
            values,
        })
        .collect();
    let data: Vec<u8> = values
        .iter()
        .flatten()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let mut metadata = read.metadata().clone();
    metadata.remove("digest");
    // A model without this one is of a time before it.
    metadata.remove("metadata_digest");
    let digest = match metadata["format"].as_str() {
        "ifog-training" => state_digest(&metadata, &data),
        _ => data_digest(&data),
    };
    metadata.insert("digest".to_owned(), digest);
    fs::write(file, write(&metadata, &tensors).unwrap()).unwrap();
}

/// SHA-256 of the metadata, each string behind its length, and of the values.
fn state_digest(metadata: &Metadata, data: &[u8]) -> String {
    let mut hash = Sha256::new();
    for text in metadata.iter().flat_map(|(name, value)| [name, value]) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.update(data);
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The sentence of a run that diverged.
#[track_caller]
fn sentence(outcome: &Outcome) -> String {
    outcome.refused(
        3,
        &[
            "training diverged at step",
            "is not finite",
            "lower the learning rate",
        ],
    );
    outcome.stderr.clone()
}

#[test]
fn a_state_that_is_no_number_gives_way_to_the_one_before() {
    let (folder, run) = run_of_40_steps();
    let model = fs::read(run.join("model.safetensors")).unwrap();
    plant(&states(&run)[0], "optimizer.m", |m| m[3] = f32::INFINITY);
    let resume = || {
        folder
            .ifog(["train", "--resume", "run", "--no-samples", "--no-report"])
            .run()
    };
    let first = resume();
    first.succeeded();
    assert!(
        first
            .stderr
            .contains("its tensor optimizer.m has inf for w_l0"),
        "{}",
        first.stderr
    );
    plant(&states(&run)[0], "parameters", |weights| {
        weights[3] = f32::NAN
    });
    let second = resume();
    second.succeeded();
    for part in [
        "training-000000040.safetensors is not a usable training state",
        "its tensor parameters has NaN for w_l0",
        "resuming after step 38",
    ] {
        assert!(second.stderr.contains(part), "{part}: {}", second.stderr);
    }
    assert!(fs::read(run.join("model.safetensors")).unwrap() == model);

    for state in states(&run) {
        plant(&state, "carried.c_l1", |c| c[0] = f32::NAN);
    }
    let none = folder.ifog(["train", "--resume", "run", "--quiet"]).run();
    none.refused(
        1,
        &["run has no usable training state", "carried.c_l1 has NaN"],
    );
    assert!(fs::read(run.join("model.safetensors")).unwrap() == model);
}

#[test]
fn planted_weights_stop_a_run_at_their_step() {
    let (folder, run) = run_of_40_steps();
    let model = fs::read(run.join("model.safetensors")).unwrap();
    let symbols = 20;
    plant(&states(&run)[0], "parameters", |weights| {
        // Numbers still, but their products are none: the decoder's W [12, 20] stands before its b [20].
        let (front, _) = weights.split_at_mut(weights.len() - symbols);
        let start = front.len() - 12 * symbols;
        front[start..].fill(f32::MAX);
    });
    // Again and again, and with any number of threads.
    let sentences = ["1", "1", "2", "3"].map(|threads| {
        let resumed = folder.ifog(["train", "--resume", "run", "--steps", "60", "--quiet"]);
        let outcome = resumed.args(["--threads", threads]).run();
        assert!(fs::read(run.join("model.safetensors")).unwrap() == model);
        let metrics = json_lines(&run.join("metrics.jsonl"));
        let steps = metrics.iter().filter(|line| line.get("loss").is_some());
        assert_eq!(steps.count(), 40);
        sentence(&outcome)
    });
    assert!(
        sentences[0].contains("at step 41: the loss is"),
        "{}",
        sentences[0]
    );
    assert!(
        sentences[0].contains("the best model before that"),
        "{}",
        sentences[0]
    );
    assert!(
        sentences.iter().all(|s| *s == sentences[0]),
        "{sentences:?}"
    );
}

#[test]
fn an_absurd_learning_rate_stops_a_run_at_its_step() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let train = |settings: &str, threads: &str| {
        let common = "rhyme.txt --hidden 8 --steps 400 --batch 4 --seq-len 16 --optimizer sgd --lr 1e38 \
                      --clip-norm 0 --no-report --quiet --overwrite --out run --threads";
        let arguments = common.split_whitespace().chain([threads]);
        let trained = folder.ifog(["train"]).args(arguments);
        sentence(&trained.args(settings.split_whitespace()).run())
    };
    let at_once = train("--cell rnn", "1");
    assert!(!at_once.contains("best model"), "{at_once}");
    assert!(!folder.path("run/model.safetensors").exists());
    // Growing from step to step, the rate lets some validations pass.
    let models = ["1", "2", "3"].map(|threads| {
        let sentence = train("--cell gru --warmup 60", threads);
        assert!(
            sentence.contains("the best model before that"),
            "{sentence}"
        );
        let metrics = json_lines(&folder.path("run/metrics.jsonl"));
        let validations = metrics.iter().filter(|line| line["step"] != 0);
        let validations =
            validations.filter_map(|line| Some((line["val_loss"].as_f64()?, &line["step"])));
        let best = validations.min_by(|(a, _), (b, _)| a.total_cmp(b)).unwrap();
        let info = folder.ifog(["info", "run", "--json"]).run().json();
        assert_eq!(info["training"]["step"], *best.1);
        (
            sentence,
            fs::read(folder.path("run/model.safetensors")).unwrap(),
        )
    });
    assert!(models.iter().all(|model| *model == models[0]), "{models:?}");
    // Nothing is different the second time.
    let again = folder.ifog(["train", "--resume", "run", "--quiet"]).run();
    assert_eq!(sentence(&again), models[0].0);
    assert!(fs::read(folder.path("run/model.safetensors")).unwrap() == models[0].1);
}

#[test]
fn a_model_that_is_no_number_is_refused_by_every_command() {
    let (folder, run) = run_of_40_steps();
    plant(&run.join("model.safetensors"), "rnn.weight_hh_l1", |u| {
        u[7] = f32::NAN
    });
    for arguments in [
        vec!["sample", "run"],
        vec!["eval", "run", "rhyme.txt"],
        vec!["info", "run"],
    ] {
        let outcome = folder.ifog(&arguments).run();
        outcome.refused(
            1,
            &[
                "run/model.safetensors",
                "rnn.weight_hh_l1 has NaN at 7",
                "use",
            ],
        );
    }
}

#[test]
fn a_run_that_only_got_worse_says_so() {
    let folder = Folder::new();
    folder.file("rhyme.txt", rhyme());
    let settings =
        "rhyme.txt --steps 20 --hidden 8 --batch 4 --seq-len 16 --lr 1e4 --no-samples --out run";
    let run = folder
        .ifog(["train"])
        .args(settings.split_whitespace())
        .run();
    run.succeeded();
    let sentence = "no validation was better than that before the first step";
    assert!(run.stderr.contains(sentence), "{}", run.stderr);
}
