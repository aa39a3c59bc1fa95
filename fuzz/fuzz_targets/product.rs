//! The packed product on every level against the definition: equal to the bit where the level is fused.
#![no_main]

use ifog_kernels::{Level, MatMut, MatRef, PackedMatrix, Threads};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [rows, k, n, bias, rest @ ..] = data else {
        return;
    };
    let (rows, k, n) = (
        usize::from(rows % 20) + 1,
        usize::from(k % 48) + 1,
        usize::from(*n) + 1,
    );
    if rest.is_empty() {
        return;
    }
    let value = |k: usize| f32::from(rest[k % rest.len()] as i8) * 0.173;
    let x: Vec<f32> = (0..rows * k).map(value).collect();
    let w: Vec<f32> = (0..k * n).map(|i| value(i * 7 + 3)).collect();
    let b: Vec<f32> = (0..n).map(|i| value(i * 5 + 1)).collect();
    let bias = (bias % 2 == 1).then_some(&b[..]);
    let expected: Vec<f32> = (0..rows * n)
        .map(|at| {
            let (r, c) = (at / n, at % n);
            let start = bias.map_or(0.0, |bias| bias[c]);
            (0..k).fold(start, |sum, i| x[r * k + i].mul_add(w[i * n + c], sum))
        })
        .collect();
    for level in Level::available() {
        let mut packed = PackedMatrix::new(level, k, n).expect("sizes are at least 1");
        packed.pack(MatRef::new(&w, k, n).expect("made to measure"));
        let mut out = vec![f32::NAN; rows * n];
        let x = MatRef::new(&x, rows, k).expect("made to measure");
        let to = MatMut::new(&mut out, rows, n).expect("made to measure");
        packed.multiply(x, bias, to, Threads::SINGLE);
        for (ours, expected) in out.iter().zip(&expected) {
            if level.is_fused() {
                assert_eq!(ours.to_bits(), expected.to_bits(), "{level}");
            } else {
                // Each of k products and sums rounds once more: |x·w| ≤ 485, 2k roundings of 2⁻²⁴.
                let bound = 2.0 * k as f32 * 485.0 * (k + 1) as f32 * f32::EPSILON;
                assert!(
                    (ours - expected).abs() <= bound,
                    "{level}: {ours} {expected}"
                );
            }
        }
    }
});
