//! The language model and the optimisers against PyTorch.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use ifog::checkpoint::DecodeError;
use ifog::clip::{ClipRule, Clipper};
use ifog::dropout::Dropout;
use ifog::language_model::LanguageModel;
use ifog::loss::softmax_cross_entropy;
use ifog::network::{Inputs, Learner, Packed};
use ifog::optimizer::{Optimizer, OptimizerConfig};
use ifog::safetensors::{Metadata, SafeTensors, Tensor, tensors_digest, write};
use ifog::vocabulary::{Mode, Vocabulary};
use ifog::{Level, Threads};
use ifog_tests::fixture::Fixture;

/// The file that ifog would have written for PyTorch's weights, read as a model.
fn imported(weights: &[(String, Vec<usize>, Vec<f32>)]) -> Result<LanguageModel, DecodeError> {
    let tensors: Vec<Tensor<'_>> = weights
        .iter()
        .map(|(name, shape, values)| Tensor {
            name,
            shape,
            values,
        })
        .collect();
    let vocabulary = Vocabulary::of_text(b"abcdefg", Mode::Bytes).unwrap();
    let entries = [
        ("format", "ifog"),
        ("format_version", "1"),
        ("cell", "lstm"),
        ("layers", "2"),
        ("hidden", "6"),
        ("input", "one-hot"),
        ("input_width", "7"),
        ("vocab", &vocabulary.to_json()),
        ("digest", &tensors_digest(&tensors)),
    ];
    let metadata: Metadata = entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    LanguageModel::from_bytes(&write(&metadata, &tensors).unwrap())
}

#[test]
fn two_layer_language_model_gives_pytorch_logits_loss_and_gradients() {
    let case = Fixture::open("torch_lm.json");
    let (steps, batch, symbols) = (case.size("T"), case.size("B"), case.size("V"));
    // Names and shapes are those of any model of this size.
    let names = imported_names();
    let stored = case.at("weights");
    let weights: Vec<_> = names
        .iter()
        .map(|(name, shape)| {
            let values = stored.tensor(name, shape);
            let values = values.iter().map(|w| *w as f32).collect::<Vec<f32>>();
            (name.clone(), shape.clone(), values)
        })
        .collect();
    let model = imported(&weights).unwrap();
    let level = Level::detect().unwrap();
    let parameters: Vec<f64> = model.weights().iter().map(|w| f64::from(*w)).collect();
    let mut packed = Packed::new(model.layout(), level, true).unwrap();
    packed.load(&parameters, Threads::SINGLE);
    let mut learner = Learner::new(&packed, steps, batch, Dropout::off(), Threads::SINGLE).unwrap();
    let ids = |key: &str| -> Vec<u32> {
        let ids = case.tensor(key, &[steps, batch]);
        ids.iter().map(|id| *id as u32).collect()
    };
    let (tokens, targets) = (ids("tokens"), ids("targets"));
    let rows = steps * batch;
    let mut logits = Vec::new();
    let loss = learner.learn(&packed, Inputs::Tokens(&tokens), steps, |outputs| {
        logits = outputs.to_vec();
        softmax_cross_entropy(level, outputs, symbols, &targets, rows)
    });
    let golden = case.at("f64");
    assert!((loss - golden.number("loss")).abs() <= 1e-10);
    for (ours, torch) in logits
        .iter()
        .zip(golden.tensor("logits", &[steps, batch, symbols]))
    {
        assert!((ours - torch).abs() <= 1e-10, "{ours} {torch}");
    }
    // The gradient in PyTorch's layout, by way of the checkpoint: rounded to f32 on the way, 2⁻²⁴ relative.
    let gradient: Vec<f32> = learner.gradient.iter().map(|g| *g as f32).collect();
    let vocabulary = model.vocabulary().clone();
    let mut gradient = LanguageModel::new(*model.config(), vocabulary, gradient).unwrap();
    let bytes = gradient.to_bytes().unwrap();
    let file = SafeTensors::read(&bytes).unwrap();
    let grads = golden.at("grad");
    for (name, shape) in names {
        // Ours has one bias, stored as the first of two.
        if name.contains("bias_hh") {
            continue;
        }
        let torch = grads.tensor(&name, &shape);
        let largest = torch.iter().fold(0.0f64, |max, g| max.max(g.abs()));
        for (ours, torch) in file.tensor(&name).unwrap().values().zip(torch) {
            let error = (f64::from(ours) - torch).abs();
            assert!(error <= 1e-7 * largest, "{name}: {ours} {torch}");
        }
    }
}

/// Names and shapes of the tensors of the model in `torch_lm.json`.
fn imported_names() -> Vec<(String, Vec<usize>)> {
    let mut names = Vec::new();
    for (layer, input) in [7, 6].into_iter().enumerate() {
        names.push((format!("rnn.weight_ih_l{layer}"), vec![24, input]));
        names.push((format!("rnn.weight_hh_l{layer}"), vec![24, 6]));
        names.push((format!("rnn.bias_ih_l{layer}"), vec![24]));
        names.push((format!("rnn.bias_hh_l{layer}"), vec![24]));
    }
    names.push(("decoder.weight".to_owned(), vec![7, 6]));
    names.push(("decoder.bias".to_owned(), vec![7]));
    names
}

/// f32 updates against PyTorch in f64: five steps, each with a handful of roundings of values below 4.
#[test]
fn optimisers_take_pytorch_steps() {
    let file = Fixture::open("torch_optim.json");
    let start = file.tensor("params", &[7]);
    let grads = file.tensor("grads", &[5, 7]);
    let to_f32 = |values: &[f64]| values.iter().map(|v| *v as f32).collect::<Vec<f32>>();
    for case in file.list("optimisers") {
        let (name, hyper) = (case.text("name"), case.at("hyper"));
        let lr = hyper.number("lr");
        let config = match name.as_str() {
            "sgd" => OptimizerConfig::Sgd {
                momentum: hyper.number("momentum"),
            },
            "adagrad" => OptimizerConfig::Adagrad {
                eps: hyper.number("eps"),
            },
            "rmsprop" => OptimizerConfig::RmsProp {
                decay: hyper.number("alpha"),
                eps: hyper.number("eps"),
            },
            _ => OptimizerConfig::Adam {
                beta1: 0.9,
                beta2: 0.999,
                eps: hyper.number("eps"),
                weight_decay: hyper.number("weight_decay"),
            },
        };
        let mut optimizer = Optimizer::new(config, 7).unwrap();
        let mut params = to_f32(&start);
        let golden = case.tensor("params_after", &[5, 7]);
        for (grads, golden) in grads.chunks(7).zip(golden.chunks(7)) {
            optimizer.step(&mut params, &to_f32(grads), lr);
            for (ours, torch) in params.iter().zip(golden) {
                let error = (f64::from(*ours) - torch).abs();
                assert!(error <= 4e-6, "{name}: {ours} {torch}");
            }
        }
    }
}

#[test]
fn clipping_by_global_norm_is_pytorchs() {
    let file = Fixture::open("torch_optim.json");
    for case in file.list("clip_grad_norm") {
        let max_norm = case.number("max_norm");
        let mut gradient: Vec<f32> = case
            .tensor("grad", &[7])
            .iter()
            .map(|g| *g as f32)
            .collect();
        let mut clipper = Clipper::new(ClipRule::GlobalNorm(max_norm)).unwrap();
        let norm = clipper.clip(&mut gradient);
        assert!((norm - case.number("norm")).abs() <= 1e-6 * norm);
        for (ours, torch) in gradient.iter().zip(case.tensor("clipped", &[7])) {
            // PyTorch divides by norm + 1e-6.
            assert!((f64::from(*ours) - torch).abs() <= 2e-6 * torch.abs().max(1e-3));
        }
    }
}
