//! The pieces of a text that are measured.

use std::collections::HashSet;

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
    /// Positions drawn from the seed, none of them twice: all that the text has if these are not more than were asked for.
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
        let starts = draw_distinct(starts, positions, seed);
        let row = |step: usize| starts.iter().map(move |start| text[start + step]);
        Ok(Self {
            batch: starts.len(),
            warm_up: (0..warm_up).flat_map(row).collect(),
            tokens: (warm_up..warm_up + lags).flat_map(row).collect(),
            targets: row(warm_up + lags).collect(),
        })
    }
}

/// `count` different numbers below `end`, or all of them.
fn draw_distinct(end: usize, count: usize, seed: u64) -> Vec<usize> {
    if end <= count {
        return (0..end).collect();
    }
    let mut rng = Rng::new(seed, Stream::Check);
    let (mut drawn, mut numbers) = (HashSet::new(), Vec::new());
    while numbers.len() < count {
        let number = rng.below(end as u64) as usize;
        if drawn.insert(number) {
            numbers.push(number);
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
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

    #[test]
    fn no_position_is_measured_twice() {
        let draw = |symbols: u32, positions| {
            let config = FlowConfig {
                lags: 10,
                positions,
                seed: 0,
            };
            // Each symbol once, so that the target says where a window is.
            Windows::draw(&(0..symbols).collect::<Vec<_>>(), config).unwrap()
        };
        let only = draw(11, 32);
        assert_eq!((only.batch, &only.targets[..]), (1, &[10][..]));
        assert_eq!(only.tokens, (0..10).collect::<Vec<_>>());
        // 30 symbols: 9 to warm up, 10 lags, and 11 places for the target.
        for (positions, measured) in [(10, 10), (11, 11), (32, 11)] {
            let windows = draw(30, positions);
            let places: HashSet<u32> = windows.targets.iter().copied().collect();
            assert_eq!((windows.batch, places.len()), (measured, measured));
            assert!(places.iter().all(|place| (19..30).contains(place)));
        }
    }

    /// The draws of a long text are part of what it gives for a seed.
    #[test]
    fn positions_are_drawn_in_turn() {
        let mut rng = Rng::new(5, Stream::Check);
        let expected: Vec<usize> = (0..32).map(|_| rng.below(1 << 40) as usize).collect();
        assert_eq!(draw_distinct(1 << 40, 32, 5), expected);
    }
}
