//! Units that track something a person can name, with an honest account of chance.
//!
//! 1. On the first half of the text, for each feature the unit with the largest |correlation| is *chosen*.
//! 2. On the second half its correlation is *measured*: choosing has not seen it.
//! 3. The feature is shifted around that half [`SHIFTS`] times, in a short text as often as there are shifts. Each shift leaves
//!    text, unit and feature as smooth as they are and destroys what they have to do with each other. p is the share of shifts whose
//!    |correlation| reaches the measured one. The other units have no part in it: that the best of many was chosen is to be seen on
//!    the first half alone.
//! 4. Over the features, those are *claimed* that keep the false-discovery rate at [`RATE`] (Benjamini & Hochberg 1995).

use std::ops::Range;

use serde::Serialize;

use super::features::Feature;
use crate::dot::dot;
use crate::rng::{Rng, Stream};

/// The best unit for a feature.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The feature.
    pub feature: &'static str,
    /// Layer of the unit.
    pub layer: usize,
    /// Its number in the layer.
    pub unit: usize,
    /// Correlation on the second half.
    pub correlation: f64,
    /// What the |correlation| of the same unit exceeds in 5 % of the shifts.
    pub chance: f64,
    /// How often a shift reaches |correlation|.
    pub p: f64,
    /// Whether it may be claimed.
    pub claimed: bool,
}

/// Units and features of one text.
///
/// `layers` are (values `[T, H]`, H). Features that hold for less than 1 % of a half are left out. The findings come with the
/// surest first.
///
/// # Panics
/// A length differs from T, or H is 0.
pub fn find_units(layers: &[(&[f32], usize)], features: &[Feature], seed: u64) -> Vec<Finding> {
    let Some(steps) = features.first().map(|f| f.values.len()) else {
        return Vec::new();
    };
    for Feature { name, values } in features {
        assert_eq!(values.len(), steps, "values of the feature {name}");
    }
    let half = steps / 2;
    let mut halves = Vec::new();
    for (layer, (values, hidden)) in layers.iter().enumerate() {
        assert_eq!(values.len(), steps * hidden, "values of layer {layer}");
        let (first, second) = values.split_at(half * hidden);
        halves.push((FirstHalf::of(first, *hidden), second));
    }
    let mut rng = Rng::new(seed, Stream::Check);
    let mut findings = Vec::new();
    for feature in features {
        let (first, second) = feature.values.split_at(half);
        let (Some(first), Some(second)) = (usable(first), usable(second)) else {
            continue;
        };
        let fits = halves.iter().enumerate().flat_map(|(layer, (values, _))| {
            let fits = values.correlations(&first).into_iter().enumerate();
            fits.map(move |(unit, fit)| (layer, unit, fit.abs()))
        });
        let Some((layer, unit, _)) = fits.max_by(|a, b| a.2.total_cmp(&b.2)) else {
            continue;
        };
        let held_out = column(halves[layer].1, layers[layer].1, unit);
        let held_out = standardised(&held_out);
        let fit = |feature: &[f64]| held_out.as_ref().map_or(0.0, |unit| dot(unit, feature));
        let measured = fit(&second);
        let mut by_chance: Vec<f64> = shifts(second.len(), &mut rng)
            .into_iter()
            .map(|by| {
                let mut shifted = second.clone();
                shifted.rotate_left(by);
                fit(&shifted).abs()
            })
            .collect();
        by_chance.sort_by(f64::total_cmp);
        let reached = by_chance.iter().filter(|c| **c >= measured.abs()).count();
        findings.push(Finding {
            feature: feature.name,
            layer,
            unit,
            correlation: measured,
            chance: by_chance[by_chance.len() * 95 / 100],
            p: (1 + reached) as f64 / (1 + by_chance.len()) as f64,
            claimed: false,
        });
    }
    claim(&mut findings);
    findings
}

/// Shifts that a text of so many symbols is judged by: [`SHIFTS`], or all that its second half has.
pub fn shift_count(symbols: usize) -> usize {
    distinct_shifts(symbols - symbols / 2).len().min(SHIFTS)
}

/// The shifts around a half of so many symbols. Not close to where it was: a smooth feature would still fit.
fn distinct_shifts(half: usize) -> Range<usize> {
    let least = (half / 10).max(1);
    least..half.saturating_sub(least)
}

/// [`SHIFTS`] at random; where there are not more, each of them once, since a repetition is no further evidence.
fn shifts(half: usize, rng: &mut Rng) -> Vec<usize> {
    let all = distinct_shifts(half);
    if all.len() <= SHIFTS {
        return all.collect();
    }
    let draw = |_| all.start + rng.below(all.len() as u64) as usize;
    (0..SHIFTS).map(draw).collect()
}

/// Sorts by p and claims the first k for the largest k with p_k ≤ k/m · rate.
fn claim(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        let surplus = |f: &Finding| f.correlation.abs() - f.chance;
        a.p.total_cmp(&b.p).then(surplus(b).total_cmp(&surplus(a)))
    });
    let count = findings.len() as f64;
    let holds = |(k, f): (usize, &Finding)| f.p <= (k + 1) as f64 / count * RATE;
    let claimed = findings
        .iter()
        .enumerate()
        .rposition(holds)
        .map_or(0, |k| k + 1);
    for finding in &mut findings[..claimed] {
        finding.claimed = true;
    }
}

/// A layer on the first half of the text.
struct FirstHalf<'a> {
    /// `[T/2, H]`.
    values: &'a [f32],
    /// Of each unit, `[H]`.
    means: Vec<f64>,
    /// Of what is left of each unit without its mean, `[H]`.
    norms: Vec<f64>,
}

impl<'a> FirstHalf<'a> {
    fn of(values: &'a [f32], hidden: usize) -> Self {
        let steps = (values.len() / hidden) as f64;
        let mut half = Self {
            values,
            means: vec![0.0; hidden],
            norms: vec![0.0; hidden],
        };
        half.means = half.sums(|_, x| x).into_iter().map(|s| s / steps).collect();
        half.norms = half.sums(|_, x| x * x).into_iter().map(f64::sqrt).collect();
        half
    }

    /// Of every unit with a standardised feature, `[H]`: 0 if it does not vary.
    fn correlations(&self, feature: &[f64]) -> Vec<f64> {
        let products = self.sums(|t, x| x * feature[t]).into_iter();
        let products = products.zip(&self.norms);
        products
            .map(|(product, norm)| if *norm > STILL { product / norm } else { 0.0 })
            .collect()
    }

    /// Over the steps t, of a term of t and the value of a unit without its mean, `[H]`.
    fn sums(&self, term: impl Fn(usize, f64) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.means.len()];
        for (t, row) in self.values.chunks_exact(self.means.len()).enumerate() {
            for ((sum, value), mean) in sums.iter_mut().zip(row).zip(&self.means) {
                *sum += term(t, f64::from(*value) - mean);
            }
        }
        sums
    }
}

/// The values of a unit, of those of its layer.
fn column(values: &[f32], hidden: usize, unit: usize) -> Vec<f64> {
    let column = values.iter().skip(unit).step_by(hidden);
    column.map(|v| f64::from(*v)).collect()
}

/// Mean 0 and norm 1; `None` if it does not vary.
fn standardised(values: &[f64]) -> Option<Vec<f64>> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let norm = values
        .iter()
        .map(|v| (v - mean).powi(2))
        .sum::<f64>()
        .sqrt();
    (norm > STILL).then(|| values.iter().map(|v| (v - mean) / norm).collect())
}

/// A feature that is there often enough to be judged, standardised.
fn usable(values: &[f64]) -> Option<Vec<f64>> {
    let there = values.iter().filter(|v| **v != 0.0).count();
    let least = (values.len() / 100).max(5);
    let enough = (least..values.len().saturating_sub(least)).contains(&there);
    // A count is nearly always there.
    let counts = values.iter().any(|v| *v > 1.0) && there >= least;
    if enough || counts {
        standardised(values)
    } else {
        None
    }
}

/// Shifts of a feature; the least p is 1/300, so that a single unit can be claimed among 15 features. A text of fewer than some
/// 750 symbols has fewer, and so a larger least p.
pub const SHIFTS: usize = 299;
/// The share of false claims among all, on average.
pub const RATE: f64 = 0.05;
/// Norm of what does not vary.
const STILL: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::features::features;

    const HIDDEN: usize = 24;

    /// Lines of random words, some of them quoted.
    fn text(rng: &mut Rng) -> Vec<char> {
        let mut text = Vec::new();
        while text.len() < 2400 {
            let quoted = rng.below(3) == 0;
            let words = 1 + rng.below(6);
            text.extend(quoted.then_some('"'));
            for _ in 0..words {
                let letters = 1 + rng.below(7);
                text.extend((0..letters).map(|_| char::from(b'a' + rng.below(26) as u8)));
                text.push(' ');
            }
            text.extend(quoted.then_some('"'));
            text.push(if rng.below(3) == 0 { '\n' } else { ' ' });
        }
        text.truncate(2400);
        text
    }

    /// Units that wander with a memory of about ten symbols, like those of a network, and know nothing of the text.
    fn noise(rng: &mut Rng, steps: usize) -> Vec<f32> {
        let mut state = [0.0f64; HIDDEN];
        let mut values = Vec::new();
        for _ in 0..steps {
            for s in &mut state {
                *s = 0.9 * *s + rng.normal();
                values.push((*s / 2.0).tanh() as f32);
            }
        }
        values
    }

    #[test]
    fn planted_units_are_found_first() {
        let mut rng = Rng::new(1, Stream::Data);
        let text = text(&mut rng);
        let features = features(&text);
        let mut values = noise(&mut rng, text.len());
        for (name, unit, scale) in [
            ("inside double quotes", 5, 1.0),
            ("position in the line", 17, 0.02),
        ] {
            for feature in features.iter().filter(|f| f.name == name) {
                for (t, v) in feature.values.iter().enumerate() {
                    values[t * HIDDEN + unit] = (v * scale + 0.2 * rng.normal()).tanh() as f32;
                }
            }
        }
        let found = find_units(&[(&values, HIDDEN)], &features, 0);
        let first: Vec<_> = found[..2]
            .iter()
            .map(|f| (f.feature, f.unit, f.claimed))
            .collect();
        assert!(
            first.contains(&("inside double quotes", 5, true)),
            "{found:?}"
        );
        assert!(
            first.contains(&("position in the line", 17, true)),
            "{found:?}"
        );
        assert!(
            found[..2].iter().all(|f| f.correlation > 2.0 * f.chance),
            "{found:?}"
        );
    }

    /// Twenty networks of noise. If each had a claim with probability 5 %, more than three would with probability 1.6 %.
    #[test]
    fn noise_is_not_claimed_to_track_anything() {
        let mut networks = 0;
        for seed in 0..20 {
            let mut rng = Rng::new(seed, Stream::Data);
            let text = text(&mut rng);
            let values = noise(&mut rng, text.len());
            let found = find_units(&[(&values, HIDDEN)], &features(&text), seed);
            assert!(found.len() >= 4);
            networks += usize::from(found.iter().any(|f| f.claimed));
        }
        assert!(
            networks <= 3,
            "{networks} of 20 networks of noise have a claim"
        );
    }

    /// However many features there are to choose from, and be only one of them tracked.
    #[test]
    fn one_unit_can_be_claimed_among_all_features() {
        let least = 1.0 / (1 + SHIFTS) as f64;
        let all = features(&[]).into_iter();
        let mut findings: Vec<Finding> = all
            .map(|feature| Finding {
                feature: feature.name,
                layer: 0,
                unit: 0,
                correlation: 0.0,
                chance: 0.1,
                p: 1.0,
                claimed: false,
            })
            .collect();
        let last = findings.len() - 1;
        (findings[last].p, findings[last].correlation) = (least, 1.0);
        claim(&mut findings);
        let claimed = findings.iter().filter(|f| f.claimed).count();
        assert!(findings[0].claimed && claimed == 1, "{findings:?}");
    }

    /// 120 symbols have 48 shifts, from a tenth of their half to nine tenths: no p can be below 1/49, however well a unit fits.
    #[test]
    fn a_short_text_is_judged_by_the_shifts_it_has() {
        let mut rng = Rng::new(0, Stream::Check);
        assert_eq!(shifts(60, &mut rng), (6..54).collect::<Vec<_>>());
        assert_eq!(shift_count(120), 48);
        let mut rng = Rng::new(2, Stream::Data);
        let text = &text(&mut rng)[..120];
        let features = features(text);
        let word = features.iter().find(|f| f.name == "inside a word");
        let values: Vec<f32> = word
            .map(|f| f.values.iter().map(|v| *v as f32).collect())
            .unwrap_or_default();
        let found = find_units(&[(&values, 1)], &features, 0);
        let found = found.iter().find(|f| f.feature == "inside a word");
        let found = found.map(|f| (f.p, f.correlation > 0.999, f.chance < 0.999));
        assert_eq!(found, Some((1.0 / 49.0, true, true)));
    }

    /// The draws of a long text are part of what it gives for a seed.
    #[test]
    fn a_long_text_draws_its_shifts() {
        let draws = shifts(1200, &mut Rng::new(3, Stream::Check));
        let mut rng = Rng::new(3, Stream::Check);
        let expected: Vec<usize> = (0..SHIFTS).map(|_| 120 + rng.below(960) as usize).collect();
        assert_eq!(draws, expected);
        for (symbols, shifts) in [(0, 0), (10, 3), (744, 298), (748, 299), (1200, 299)] {
            assert_eq!(shift_count(symbols), shifts, "{symbols}");
        }
    }

    #[test]
    #[should_panic(expected = "values of the feature digit")]
    fn a_feature_of_another_length_is_refused() {
        let mut features = features(&['a'; 50]);
        if let Some(digit) = features.iter_mut().find(|f| f.name == "digit") {
            digit.values.pop();
        }
        find_units(&[(&[0.5; 50], 1)], &features, 0);
    }

    #[test]
    fn nothing_comes_of_nothing() {
        assert_eq!(find_units(&[], &features(&[]), 0), []);
        let still = features(&['a'; 50]);
        assert!(
            find_units(&[(&[0.5; 50], 1)], &still, 0)
                .iter()
                .all(|f| !f.claimed)
        );
    }
}
