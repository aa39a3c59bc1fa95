//! Series whose best possible forecast is known.

use crate::rng::{Rng, Stream};

/// A series, and the error that nobody can avoid.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The values.
    pub values: Vec<f64>,
    /// For each row the best forecast of the row after it, by one who knows how the series is made.
    pub best: Vec<f64>,
}

/// A trend with a season of 24 rows and noise: 50 + 0.02 t + 5 sin(2πt/24) + e, e normal with deviation 1.
pub fn noisy_sine(rows: usize, seed: u64) -> Example {
    let mut rng = Rng::new(seed, Stream::Data);
    let clean =
        |t: usize| 50.0 + 0.02 * t as f64 + 5.0 * (t as f64 * std::f64::consts::TAU / 24.0).sin();
    Example {
        values: (0..rows).map(|t| clean(t) + rng.normal()).collect(),
        best: (1..=rows).map(clean).collect(),
    }
}

/// An autoregression: y_t = 1.2 y_{t−1} − 0.5 y_{t−2} + e, e normal with deviation 1.
pub fn ar2(rows: usize, seed: u64) -> Example {
    let mut rng = Rng::new(seed, Stream::Data);
    let (mut before, mut now) = (0.0, 0.0);
    let mut example = Example {
        values: Vec::new(),
        best: Vec::new(),
    };
    for _ in 0..rows {
        let next = 1.2 * now - 0.5 * before + rng.normal();
        (before, now) = (now, next);
        example.values.push(now);
        example.best.push(1.2 * now - 0.5 * before);
    }
    example
}
