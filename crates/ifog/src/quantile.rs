//! Quantiles of a sample.

/// The value that a share of the sorted values lies below: the nearest of them, NaN of none.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_value_is_taken() {
        let sorted = [1.0, 2.0, 3.0, 4.0, 50.0];
        let of = |share| quantile(&sorted, share);
        assert_eq!(
            [0.0, 0.1, 0.4, 0.5, 0.9, 1.0].map(of),
            [1.0, 1.0, 3.0, 3.0, 50.0, 50.0]
        );
        assert!(quantile(&[], 0.5).is_nan());
    }
}
