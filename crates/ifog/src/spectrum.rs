//! The two numbers of a square matrix that bound how a linear recurrence grows.

use crate::dot::dot;

/// The spectral radius ρ(A): the largest absolute value of an eigenvalue. `a` is `[n, n]`.
///
/// By Gelfand's formula, ρ = lim ‖Aᵐ‖^(1/m), with m = 2²⁰ reached by squaring. For the Frobenius norm,
/// ρ ≤ ‖Aᵐ‖^(1/m) ≤ (√n · m^(n−1) · c)^(1/m) ρ, so that even a defective matrix is met to about n · 1e-5.
///
/// # Panics
/// `a` has not n² elements.
pub fn spectral_radius(a: &[f64], n: usize) -> f64 {
    assert_eq!(a.len(), n * n, "a square matrix");
    let mut power = a.to_vec();
    // ln ‖Aᵐ‖/m, with the powers kept at norm 1.
    let mut log_norm = 0.0;
    let mut share = 1.0;
    for doubling in 0..=DOUBLINGS {
        let norm = frobenius(&power);
        if norm == 0.0 || !norm.is_finite() {
            return norm;
        }
        log_norm += share * norm.ln();
        if doubling == DOUBLINGS {
            break;
        }
        share /= 2.0;
        power.iter_mut().for_each(|x| *x /= norm);
        power = product(&power, &power, n);
    }
    log_norm.exp()
}

/// The largest singular value σ(A) = max ‖A x‖/‖x‖, by power iteration on AᵀA. `a` is `[n, n]`.
///
/// # Panics
/// `a` has not n² elements.
pub fn largest_singular_value(a: &[f64], n: usize) -> f64 {
    assert_eq!(a.len(), n * n, "a square matrix");
    // No row of a weight matrix is orthogonal to a vector whose entries have nothing to do with it.
    let mut x: Vec<f64> = (0..n)
        .map(|i| 1.0 + ((i * 7919) % 101) as f64 / 101.0)
        .collect();
    let mut sigma = 0.0;
    for _ in 0..ITERATIONS {
        let y: Vec<f64> = a.chunks_exact(n).map(|row| dot(row, &x)).collect();
        let mut z = vec![0.0; n];
        for (row, y) in a.chunks_exact(n).zip(&y) {
            z.iter_mut().zip(row).for_each(|(z, a)| *z += a * y);
        }
        let norm = frobenius(&x);
        let before = sigma;
        sigma = frobenius(&y) / norm;
        let scale = frobenius(&z);
        if scale == 0.0 || !scale.is_finite() || (sigma - before).abs() <= 1e-12 * sigma {
            break;
        }
        x = z.into_iter().map(|z| z / scale).collect();
    }
    sigma
}

fn product(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    let mut c = vec![0.0; n * n];
    for (row, to) in a.chunks_exact(n).zip(c.chunks_exact_mut(n)) {
        for (a, b) in row.iter().zip(b.chunks_exact(n)) {
            to.iter_mut().zip(b).for_each(|(c, b)| *c += a * b);
        }
    }
    c
}

fn frobenius(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

const DOUBLINGS: u32 = 20;
const ITERATIONS: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_with_known_values() {
        // A rotation by 1 rad times 1.5: complex eigenvalues, both norms 1.5.
        let (s, c) = 1f64.sin_cos();
        let rotation = [1.5 * c, -1.5 * s, 1.5 * s, 1.5 * c];
        // Not normal: eigenvalues 0.5 and 0.25, but a large singular value.
        let sheared = [0.5, 8.0, 0.0, 0.25];
        // σ² is the larger root of x² − (0.25 + 64 + 0.0625) x + (0.5 · 0.25)².
        let trace: f64 = 0.25 + 64.0 + 0.0625;
        let sigma = ((trace + (trace * trace - 4.0 * 0.015_625).sqrt()) / 2.0).sqrt();
        for (a, radius, largest) in [(rotation, 1.5, 1.5), (sheared, 0.5, sigma)] {
            assert!((spectral_radius(&a, 2) / radius - 1.0).abs() < 2e-5);
            assert!((largest_singular_value(&a, 2) / largest - 1.0).abs() < 1e-9);
        }
        assert_eq!(spectral_radius(&[0.0; 9], 3), 0.0);
        assert_eq!(largest_singular_value(&[0.0; 9], 3), 0.0);
        // Nilpotent: radius 0, singular value 2.
        assert_eq!(spectral_radius(&[0.0, 2.0, 0.0, 0.0], 2), 0.0);
        assert_eq!(largest_singular_value(&[0.0, 2.0, 0.0, 0.0], 2), 2.0);
    }
}
