//! Whatever the bytes, a file is refused or holds a forecaster that forecasts and is written as it was read.
#![no_main]

use std::sync::OnceLock;

use ifog::forecast::{ForecastConfig, Forecaster, example};
use ifog::safetensors::{SafeTensors, Tensor, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    load(data);
    // Most mutations of random bytes die in the header: so what a valid file holds is changed, too.
    let [what, which, rest @ ..] = data else {
        return;
    };
    let file = SafeTensors::read(valid()).expect("a forecaster made it");
    let mut metadata = file.metadata().clone();
    let mut values: Vec<Vec<f32>> = file.tensors().iter().map(|t| t.to_vec()).collect();
    let tensor = usize::from(*which) % values.len();
    match what % 4 {
        0 => {
            let text = String::from_utf8_lossy(rest).into_owned();
            drop(metadata.insert("description".to_owned(), text));
        }
        1 => edit(
            metadata.get_mut("description").expect("it is written"),
            rest,
        ),
        2 => {
            let bits = rest.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
            for (value, bits) in values[tensor].iter_mut().zip(bits) {
                *value = f32::from_le_bytes(bits);
            }
        }
        _ => values[tensor].truncate(rest.len()),
    }
    let shapes: Vec<[usize; 1]> = values.iter().map(|values| [values.len()]).collect();
    let tensors: Vec<Tensor<'_>> = (file.tensors().iter().zip(&values).zip(&shapes))
        .map(|((view, values), shape)| Tensor {
            name: view.name(),
            shape,
            values,
        })
        .collect();
    load(&write(&metadata, &tensors).expect("the edits keep within the format"));
});

fn load(bytes: &[u8]) {
    let (forecaster, names) = match Forecaster::from_bytes(bytes) {
        Ok(read) => read,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let again = forecaster
        .to_bytes(&names)
        .expect("what was read fits the format");
    let again = Forecaster::from_bytes(&again).expect("what was written can be read");
    assert_eq!(again, (forecaster, names));
    let (forecaster, names) = again;
    if names.len() > 8 {
        return;
    }
    let series = example::ar2(40, 2).values;
    let columns = vec![series; names.len()];
    let forecasts = forecaster.forecasts(&columns).expect("the columns fit");
    assert_eq!(forecasts.len(), 40);
    for forecast in forecasts {
        // What is not finite is a sentence of the command line.
        let ends = [forecast.low, forecast.value, forecast.high];
        assert!(
            ends.is_sorted() || ends.iter().any(|y| !y.is_finite()),
            "{ends:?}"
        );
    }
}

/// Replaces a character at a time, so that JSON often stays JSON.
fn edit(text: &mut String, edits: &[u8]) {
    let mut bytes = text.clone().into_bytes();
    for edit in edits.chunks_exact(2) {
        let at = usize::from(edit[0]) % bytes.len();
        bytes[at] = b"0123456789-.eE,[]{}\" :"[usize::from(edit[1]) % 22];
    }
    *text = String::from_utf8(bytes).expect("names and numbers are ASCII");
}

fn valid() -> &'static [u8] {
    static VALID: OnceLock<Vec<u8>> = OnceLock::new();
    VALID.get_or_init(|| {
        let columns = [
            example::ar2(60, 1).values,
            example::noisy_sine(60, 1).values,
        ];
        let config = ForecastConfig {
            hidden: 2,
            networks: 2,
            steps: 2,
            ..ForecastConfig::DEFAULT
        };
        let forecaster = Forecaster::train(config, &columns, 60, |_| {}).expect("it is small");
        let names = ["y".to_owned(), "x".to_owned()];
        forecaster.to_bytes(&names).expect("two names")
    })
}
