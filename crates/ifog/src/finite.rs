//! Whether values are numbers: neither NaN nor infinite.

/// Whether all are. Without a way out of the loop, so that it becomes vector code.
#[inline(always)]
pub(crate) fn all_finite(values: &[f32]) -> bool {
    values
        .iter()
        .fold(true, |finite, value| finite & value.is_finite())
}

/// Where the first stands that is not.
pub(crate) fn first_non_finite(values: &[f32]) -> Option<usize> {
    values.iter().position(|value| !value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_found() {
        let mut values = [1.0; 37];
        assert!(all_finite(&values) && first_non_finite(&values).is_none());
        values[36] = f32::NEG_INFINITY;
        assert!(!all_finite(&values));
        assert_eq!(first_non_finite(&values), Some(36));
        values[7] = f32::NAN;
        assert_eq!(first_non_finite(&values), Some(7));
    }
}
