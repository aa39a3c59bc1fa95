//! Whatever the text, the settings of a run are refused, or come back as they were written, and build a trainer or a sentence.
#![no_main]

use ifog::train::{TrainConfig, Trainer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(file) = text.parse::<toml::Table>() else {
        return;
    };
    // A configuration file, or its settings alone.
    let settings = match file.get("training") {
        Some(settings) => settings.clone(),
        None => toml::Value::Table(file),
    };
    let Ok(config) = settings.try_into::<TrainConfig>() else {
        return;
    };
    let written = toml::to_string(&config).expect("what was read from TOML fits it");
    let again: TrainConfig = toml::from_str(&written).expect("what was written can be read");
    // A NaN is not equal to itself, but looks the same.
    assert_eq!(format!("{again:?}"), format!("{config:?}"));
    let widths = config
        .widths
        .iter()
        .chain([&config.hidden, &config.embedding]);
    let small = widths.into_iter().all(|width| *width <= 64) && config.layers <= 4;
    if !small || config.threads > 2 {
        return;
    }
    match Trainer::new(config, b"the fog comes in on little feet") {
        Ok(mut trainer) => drop(trainer.step()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
