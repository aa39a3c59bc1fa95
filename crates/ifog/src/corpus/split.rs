//! How a text is cut into parts, and what batch and window fit.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Part;

/// How the parts lie in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// nanoGPT's: the text is cut into train | val | test, in this order. Training has
    /// ⌊n·(1 − val − test)⌋ of the n tokens, validation the rest or, with a test part, ⌊n·val⌋.
    /// A pair belongs to a part if both of its tokens do. A part of fewer than two tokens has no
    /// pair; its tokens go to the part before it, and if that leaves training without one, the
    /// whole text is for training.
    #[default]
    Contiguous,
    /// char-rnn's: B parallel streams of K·T pairs each, K = ⌊(n − 1)/(B·T)⌋, stream b from position
    /// b·K·T on; the remaining tokens are not used. Of the K windows of every stream the first
    /// ⌊K·(1 − val − test)⌋, at least one, are for training, the next for validation, the last for
    /// test, by the same rule. So each part is B separate runs from all over the text, and depends on
    /// B and T. (char-rnn takes K = ⌊n/(B·T)⌋ and lets the very last target be the first token of the
    /// text; here every target is the token that follows.)
    Streams,
}

/// What [`Corpus::new`](super::Corpus::new) is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SplitConfig {
    /// How the parts lie.
    pub split: Split,
    /// Share of the validation part, 0 to 1.
    pub val: f64,
    /// Share of the test part, 0 to 1; `val + test` below 1.
    pub test: f64,
    /// Parallel streams B wanted for training.
    pub batch: usize,
    /// Steps T wanted for a window.
    pub seq_len: usize,
}

/// The (B, T) to use for `pairs` pairs: B·T ≤ `pairs`, neither above what is wanted.
///
/// T is kept as long as one stream can have it, for it is what the model can learn from; B is then
/// the largest that leaves every stream a whole window. Below T pairs there is one stream with one
/// window of all of them. The result is (0, 0) only for no pairs or if nothing is wanted.
#[must_use]
pub fn fit(batch: usize, seq_len: usize, pairs: usize) -> (usize, usize) {
    let seq_len = seq_len.min(pairs);
    match seq_len {
        0 => (0, 0),
        _ => (batch.min(pairs / seq_len), seq_len),
    }
}

/// The parts of a text before the fallbacks.
pub(super) struct Cut {
    /// Pairs that (B, T) were fitted to.
    pub(super) pairs: usize,
    pub(super) batch: usize,
    pub(super) seq_len: usize,
    pub(super) train: Part,
    pub(super) val: Option<Part>,
    pub(super) test: Option<Part>,
}

pub(super) fn cut_contiguous(len: usize, config: SplitConfig) -> Cut {
    let [mut train, mut val, mut test] = shares(len, config);
    // Without a pair, a part's tokens go to the part before it.
    if test < 2 {
        val += std::mem::take(&mut test);
    }
    if val < 2 {
        train += std::mem::take(&mut val);
    }
    if train < 2 {
        // The shares leave no training part in so short a text: all of it is training.
        (train, val, test) = (len, 0, 0);
    }
    let train_end = train;
    let val_end = train_end + val;
    let pairs = train - 1;
    let (batch, seq_len) = fit(config.batch, config.seq_len, pairs);
    Cut {
        pairs,
        batch,
        seq_len,
        train: Part::of_tokens(0..train_end).expect("training has two tokens or more"),
        val: Part::of_tokens(train_end..val_end),
        test: Part::of_tokens(val_end..val_end + test),
    }
}

pub(super) fn cut_streams(len: usize, config: SplitConfig) -> Cut {
    let pairs = len - 1;
    let (batch, seq_len) = fit(config.batch, config.seq_len, pairs);
    let windows = pairs / (batch * seq_len);
    let [train, val, test] = shares(windows, config);
    let (train, val) = match train {
        0 => (1, val.saturating_sub(1)),
        _ => (train, val),
    };
    let test = test.min(windows - train - val);
    let part = |windows_of_part: Range<usize>| {
        (!windows_of_part.is_empty()).then(|| Part {
            runs: (0..batch)
                .map(|b| {
                    let stream = b * windows * seq_len;
                    stream + windows_of_part.start * seq_len..stream + windows_of_part.end * seq_len
                })
                .collect(),
        })
    };
    Cut {
        pairs,
        batch,
        seq_len,
        train: part(0..train).expect("training has at least one window"),
        val: part(train..train + val),
        test: part(train + val..train + val + test),
    }
}

/// `total` as train, val and test: ⌊·⌋ of the training share; validation is the rest, or with a test
/// part ⌊·⌋ of its share and the test part is the rest.
fn shares(total: usize, config: SplitConfig) -> [usize; 3] {
    // 1 − 0.9 is a little below 0.1: a whole number that is missed by rounding only is meant.
    let floor = |share: f64| ((total as f64 * share + 1e-6).floor() as usize).min(total);
    let train = floor(1.0 - config.val - config.test);
    if config.test == 0.0 {
        return [train, total - train, 0];
    }
    let val = floor(config.val).min(total - train);
    [train, val, total - train - val]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fit_keeps_the_window_before_the_batch() {
        assert_eq!(fit(50, 50, 1_000_000), (50, 50));
        assert_eq!(fit(50, 50, 2500), (50, 50));
        assert_eq!(fit(50, 50, 2499), (49, 50));
        assert_eq!(fit(50, 50, 50), (1, 50));
        assert_eq!(fit(50, 50, 49), (1, 49));
        assert_eq!(fit(50, 50, 0), (0, 0));
        assert_eq!(fit(3, 1, 2), (2, 1));
    }
}
