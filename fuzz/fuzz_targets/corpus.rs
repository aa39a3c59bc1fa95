//! Any text and any split: symbols decode to the text, and an evaluation counts every pair once.
#![no_main]

use ifog::corpus::{Corpus, PartName, Split, SplitConfig, Window};
use ifog::vocabulary::{Mode, Vocabulary};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Vocabulary::from_json(text);
    }
    let [mode, batch, seq_len, val, test, text @ ..] = data else {
        return;
    };
    let modes = [Mode::Auto, Mode::Bytes, Mode::Characters];
    let Ok(vocabulary) = Vocabulary::of_text(text, modes[usize::from(mode % 3)]) else {
        return;
    };
    let tokens = vocabulary
        .encode(text)
        .expect("the vocabulary is that of the text");
    assert_eq!(vocabulary.decode(&tokens).expect("its own tokens"), text);
    let stored =
        Vocabulary::from_json(&vocabulary.to_json()).expect("what was written can be read");
    assert_eq!(stored, vocabulary);
    let config = SplitConfig {
        split: if mode & 4 == 0 {
            Split::Contiguous
        } else {
            Split::Streams
        },
        val: f64::from(*val) / 200.0,
        test: f64::from(*test) / 400.0,
        batch: usize::from(*batch),
        seq_len: usize::from(*seq_len),
    };
    let Ok(corpus) = Corpus::new(tokens, config) else {
        return;
    };
    let mut window = Window::default();
    let mut training = corpus.training_windows();
    for _ in 0..3 {
        training.read(corpus.tokens(), &mut window);
        assert_eq!(window.inputs.len(), window.seq_len * window.batch);
    }
    for part in [
        PartName::Train,
        PartName::Val,
        PartName::Test,
        PartName::All,
    ] {
        let Some(part) = corpus.part(part) else {
            continue;
        };
        let mut windows = part.evaluation_windows(corpus.batch(), corpus.seq_len());
        let mut counted = 0;
        while windows.read(corpus.tokens(), &mut window) {
            counted += window.counted;
        }
        assert_eq!(counted, part.pairs());
    }
});
