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
    let clean = |t: usize| 50.0 + 0.02 * t as f64 + 5.0 * season(t);
    Example {
        values: (0..rows).map(|t| clean(t) + rng.normal()).collect(),
        best: (1..=rows).map(clean).collect(),
    }
}

/// sin(2πt/24), from square roots: the same bits on every machine.
fn season(t: usize) -> f64 {
    let [two, three, six] = [2.0, 3.0, 6.0].map(f64::sqrt);
    let quarter = [
        0.0,
        (six - two) / 4.0,
        0.5,
        two / 2.0,
        three / 2.0,
        (six + two) / 4.0,
        1.0,
    ];
    let place = t % 12;
    let size = quarter[place.min(12 - place)];
    if t % 24 < 12 { size } else { -size }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_season_is_a_sine() {
        for t in 0..100 {
            let sine = (t as f64 * std::f64::consts::TAU / 24.0).sin();
            // The argument of the sine, up to 26, is rounded to 2⁻⁵³ of itself.
            assert!((season(t) - sine).abs() < 1e-13, "{t}");
        }
    }
}
