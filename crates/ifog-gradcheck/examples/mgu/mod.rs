//! A minimal gated unit over `T` steps with a squared loss, and its backpropagation by hand.
//!
//! ```text
//! f_t = σ(x_t Wf + h_{t−1} Uf + bf)              forget gate
//! z_t = f_t ⊙ h_{t−1}
//! c_t = tanh(x_t Wh + z_t Uh + bh)               candidate
//! h_t = (1 − f_t) ⊙ h_{t−1} + f_t ⊙ c_t
//! L   = ½ Σ_t ‖h_t − y_t‖²
//! ```
//!
//! Zhou, Wu, Zhang, Zhou, "Minimal gated unit for recurrent neural networks", International
//! Journal of Automation and Computing 13(3), 2016. Row vectors; `W: [I, H]`, `U: [H, H]`, `b: [H]`.

#![allow(
    dead_code,
    reason = "each example and test uses its own part of the cell"
)]

use std::ops::Range;

/// The cell, its length of unrolling, and the targets of its loss.
pub(crate) struct Mgu {
    inputs: usize,
    hidden: usize,
    steps: usize,
    /// `y`, `[T, H]`.
    targets: Vec<f64>,
}

/// Mistakes that are easily made in [`Mgu::gradient`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// `dh ⊙ (1 − f)` is not carried to the step before.
    LostCarry,
    /// The gate's second use, in `z = f ⊙ h`, is forgotten.
    GateUsedOnce,
    /// The slope of tanh is written `1 − c` for `1 − c²`.
    TanhSlope,
    /// The weights get nothing from step 0.
    FirstStepSkipped,
    /// The gradient is divided by `T`, the loss is not.
    MeanForSum,
}

impl Bug {
    pub(crate) const ALL: [(&'static str, Bug); 5] = [
        ("lost-carry", Bug::LostCarry),
        ("gate-used-once", Bug::GateUsedOnce),
        ("tanh-slope", Bug::TanhSlope),
        ("first-step-skipped", Bug::FirstStepSkipped),
        ("mean-for-sum", Bug::MeanForSum),
    ];
}

/// What the forward pass keeps for the backward pass; each `[T, H]` but `h`, `[T + 1, H]` with `h0` first.
struct Tape {
    f: Vec<f64>,
    z: Vec<f64>,
    c: Vec<f64>,
    h: Vec<f64>,
}

impl Mgu {
    pub(crate) fn new(inputs: usize, hidden: usize, steps: usize) -> Self {
        Mgu {
            inputs,
            hidden,
            steps,
            targets: wave(steps * hidden, 0.9, 2.3),
        }
    }

    /// Everything that is differentiated, as ranges of one flat vector.
    pub(crate) fn tensors(&self) -> [(&'static str, Range<usize>); 8] {
        let (i, h, t) = (self.inputs, self.hidden, self.steps);
        let mut end = 0;
        [
            ("Wf", i * h),
            ("Uf", h * h),
            ("bf", h),
            ("Wh", i * h),
            ("Uh", h * h),
            ("bh", h),
            ("h0", h),
            ("x", t * i),
        ]
        .map(|(name, len)| {
            let start = end;
            end += len;
            (name, start..end)
        })
    }

    /// A point to check at: numbers of mixed sign, large enough that no gate sits at ½.
    pub(crate) fn point(&self) -> Vec<f64> {
        let [.., (_, last)] = self.tensors();
        wave(last.end, 0.6, 1.7)
    }

    /// The loss `L` at `theta`.
    pub(crate) fn loss(&self, theta: &[f64]) -> f64 {
        let tape = self.forward(theta);
        let outputs = &tape.h[self.hidden..];
        let squared = outputs
            .iter()
            .zip(&self.targets)
            .map(|(h, y)| (h - y).powi(2));
        0.5 * squared.sum::<f64>()
    }

    /// `∂L/∂theta`: the forward pass read upside down; `d` + name is the gradient of name.
    pub(crate) fn gradient(&self, theta: &[f64], planted: Option<Bug>) -> Vec<f64> {
        let without = |bug: Bug| planted != Some(bug);
        let (i, n) = (self.inputs, self.hidden);
        let [wf, uf, _, wh, uh, _, _, x] = self.parts(theta);
        let Tape { f, z, c, h } = self.forward(theta);
        let [
            mut dwf,
            mut duf,
            mut dbf,
            mut dwh,
            mut duh,
            mut dbh,
            _,
            mut dx,
        ] = self.tensors().map(|(_, range)| vec![0.0; range.len()]);

        let mut dh = vec![0.0; n]; // ∂L/∂h_t as far as the steps after t go
        let (mut da_f, mut da_h) = (vec![0.0; n], vec![0.0; n]);
        for t in (0..self.steps).rev() {
            let x = &x[t * i..][..i];
            let dx = &mut dx[t * i..][..i];
            let (h_prev, h_next) = (&h[t * n..][..n], &h[(t + 1) * n..][..n]);
            let (f, z, c) = (&f[t * n..][..n], &z[t * n..][..n], &c[t * n..][..n]);
            let y = &self.targets[t * n..][..n];

            for j in 0..n {
                dh[j] += h_next[j] - y[j];
                let slope = if without(Bug::TanhSlope) {
                    1.0 - c[j] * c[j]
                } else {
                    1.0 - c[j]
                };
                da_h[j] = dh[j] * f[j] * slope;
            }
            let mut dz = vec![0.0; n];
            add_product_transposed(&mut dz, &da_h, uh);

            let mut dh_prev = vec![0.0; n];
            for j in 0..n {
                let mut df = dh[j] * (c[j] - h_prev[j]);
                if without(Bug::GateUsedOnce) {
                    df += dz[j] * h_prev[j];
                }
                da_f[j] = df * f[j] * (1.0 - f[j]);
                dh_prev[j] = dz[j] * f[j];
                if without(Bug::LostCarry) {
                    dh_prev[j] += dh[j] * (1.0 - f[j]);
                }
            }
            add_product_transposed(&mut dh_prev, &da_f, uf);
            add_product_transposed(dx, &da_f, wf);
            add_product_transposed(dx, &da_h, wh);

            if t > 0 || without(Bug::FirstStepSkipped) {
                add_outer(&mut dwf, x, &da_f);
                add_outer(&mut duf, h_prev, &da_f);
                add_outer(&mut dbf, &[1.0], &da_f);
                add_outer(&mut dwh, x, &da_h);
                add_outer(&mut duh, z, &da_h);
                add_outer(&mut dbh, &[1.0], &da_h);
            }
            dh = dh_prev;
        }

        let mut gradient = [dwf, duf, dbf, dwh, duh, dbh, dh, dx].concat();
        if !without(Bug::MeanForSum) {
            gradient.iter_mut().for_each(|g| *g /= self.steps as f64);
        }
        gradient
    }

    fn forward(&self, theta: &[f64]) -> Tape {
        let n = self.hidden;
        let [wf, uf, bf, wh, uh, bh, h0, x] = self.parts(theta);
        let mut tape = Tape {
            f: Vec::new(),
            z: Vec::new(),
            c: Vec::new(),
            h: h0.to_vec(),
        };
        for (t, x) in x.chunks_exact(self.inputs).enumerate() {
            let h = tape.h[t * n..].to_vec();

            let mut a_f = bf.to_vec();
            add_product(&mut a_f, x, wf);
            add_product(&mut a_f, &h, uf);
            let f: Vec<f64> = a_f.iter().map(|a| 1.0 / (1.0 + (-a).exp())).collect();
            let z: Vec<f64> = f.iter().zip(&h).map(|(f, h)| f * h).collect();

            let mut a_h = bh.to_vec();
            add_product(&mut a_h, x, wh);
            add_product(&mut a_h, &z, uh);
            let c: Vec<f64> = a_h.iter().map(|a| a.tanh()).collect();

            let next = (0..n).map(|j| (1.0 - f[j]) * h[j] + f[j] * c[j]);
            tape.h.extend(next);
            tape.f.extend(f);
            tape.z.extend(z);
            tape.c.extend(c);
        }
        tape
    }

    fn parts<'a>(&self, theta: &'a [f64]) -> [&'a [f64]; 8] {
        self.tensors().map(|(_, range)| &theta[range])
    }
}

/// `out += v W`; `v: [K]`, `W: [K, N]`, `out: [N]`.
fn add_product(out: &mut [f64], v: &[f64], w: &[f64]) {
    for (v, row) in v.iter().zip(w.chunks_exact(out.len())) {
        for (out, w) in out.iter_mut().zip(row) {
            *out += v * w;
        }
    }
}

/// `out += v Wᵀ`; `v: [N]`, `W: [K, N]`, `out: [K]`.
fn add_product_transposed(out: &mut [f64], v: &[f64], w: &[f64]) {
    for (out, row) in out.iter_mut().zip(w.chunks_exact(v.len())) {
        *out += v.iter().zip(row).map(|(v, w)| v * w).sum::<f64>();
    }
}

/// `dW += uᵀ v`; `u: [K]`, `v: [N]`, `dW: [K, N]`.
fn add_outer(dw: &mut [f64], u: &[f64], v: &[f64]) {
    for (u, row) in u.iter().zip(dw.chunks_exact_mut(v.len())) {
        for (dw, v) in row.iter_mut().zip(v) {
            *dw += u * v;
        }
    }
}

/// `n` numbers of mixed sign within ± `amplitude`, the same on every run.
fn wave(n: usize, amplitude: f64, frequency: f64) -> Vec<f64> {
    (0..n)
        .map(|k| amplitude * (frequency * k as f64 + 0.5).sin())
        .collect()
}
