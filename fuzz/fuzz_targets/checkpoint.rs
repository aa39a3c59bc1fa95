//! Whatever the bytes, loading a model is an error or a model; a model is written and read back the same.
#![no_main]

use std::sync::OnceLock;

use ifog::Cell;
use ifog::config::{InputConfig, NetworkConfig};
use ifog::language_model::LanguageModel;
use ifog::parameters::Layout;
use ifog::vocabulary::{Mode, Vocabulary};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    load(data);
    // Most mutations of random bytes die in the header: so also edit a valid file.
    let mut bytes = valid().to_vec();
    for edit in data.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % bytes.len();
        match edit[2] % 8 {
            0 => bytes.truncate(at.max(1)),
            1 => bytes.insert(at, edit[2]),
            _ => bytes[at] = edit[2],
        }
    }
    load(&bytes);
});

fn load(bytes: &[u8]) {
    let Ok(mut model) = LanguageModel::from_bytes(bytes) else {
        return;
    };
    let again = model.to_bytes().expect("what was read fits the format");
    let again = LanguageModel::from_bytes(&again).expect("what was written can be read");
    let bits = |model: &LanguageModel| {
        model
            .weights()
            .iter()
            .map(|w| w.to_bits())
            .collect::<Vec<_>>()
    };
    // Two biases that are not numbers, or −0, add up to other bits once: compare from then on.
    if model.weights().iter().all(|w| w.is_finite() && *w != 0.0) {
        assert_eq!(bits(&model), bits(&again));
    }
}

fn valid() -> &'static [u8] {
    static VALID: OnceLock<Vec<u8>> = OnceLock::new();
    VALID.get_or_init(|| {
        let vocabulary = Vocabulary::of_text(b"abc", Mode::Auto).expect("three symbols");
        let input = InputConfig::Embedding {
            vocabulary: 3,
            width: 2,
        };
        let config = NetworkConfig {
            cell: Cell::GruAfter,
            input,
            hidden: 2,
            layers: 1,
            outputs: 3,
        };
        let len = Layout::new(config).expect("it is small").len();
        let weights = (0..len).map(|k| k as f32 + 0.5).collect();
        let mut model = LanguageModel::new(config, vocabulary, weights).expect("made to measure");
        model.to_bytes().expect("it is small")
    })
}
