//! The pieces of a text that are measured.

use super::{FlowConfig, FlowError};
use crate::rng::{Rng, Stream};

/// Pieces of the text, a row of the batch each: some steps to warm up, then K steps, and the symbol after them.
pub(super) struct Windows {
    /// B.
    pub(super) batch: usize,
    /// `[steps, B]` before the K steps.
    pub(super) warm_up: Vec<u32>,
    /// `[K, B]`.
    pub(super) tokens: Vec<u32>,
    /// `[B]`.
    pub(super) targets: Vec<u32>,
}

impl Windows {
    /// Positions drawn from the seed.
    pub(super) fn draw(text: &[u32], config: FlowConfig) -> Result<Self, FlowError> {
        let FlowConfig {
            lags,
            positions,
            seed,
        } = config;
        for (what, value) in [
            ("the number of lags", lags),
            ("the number of positions", positions),
        ] {
            if value == 0 {
                return Err(FlowError::Zero(what));
            }
        }
        if text.len() < lags + 1 {
            return Err(FlowError::Short {
                symbols: text.len(),
                lags,
                needed: lags + 1,
            });
        }
        // A state as it is in the middle of a text, as far as the text allows.
        let warm_up = lags.min((text.len() - lags - 1) / 2);
        let starts = text.len() - warm_up - lags;
        let mut rng = Rng::new(seed, Stream::Check);
        let starts: Vec<usize> = (0..positions)
            .map(|_| rng.below(starts as u64) as usize)
            .collect();
        let row = |step: usize| starts.iter().map(move |start| text[start + step]);
        Ok(Self {
            batch: positions,
            warm_up: (0..warm_up).flat_map(row).collect(),
            tokens: (warm_up..warm_up + lags).flat_map(row).collect(),
            targets: row(warm_up + lags).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_measured_is_refused() {
        let draw = |symbols, lags, positions| {
            Windows::draw(
                &vec![0; symbols],
                FlowConfig {
                    lags,
                    positions,
                    seed: 0,
                },
            )
            .err()
        };
        assert!(matches!(
            draw(10, 10, 1),
            Some(FlowError::Short { needed: 11, .. })
        ));
        assert_eq!(draw(11, 10, 1), None);
        assert!(matches!(draw(11, 0, 1), Some(FlowError::Zero(_))));
        assert!(matches!(draw(11, 1, 0), Some(FlowError::Zero(_))));
    }
}
