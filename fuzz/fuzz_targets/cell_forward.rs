//! Every cell in f64 on every level against the equations.
#![no_main]

use ifog_kernels::{Cell, Infer, Input, Level, MatMut, MatRef, PackedCell, Shape, Threads, Uses};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [cell, steps, batch, input, hidden, rest @ ..] = data else {
        return;
    };
    if rest.is_empty() {
        return;
    }
    let cell = Cell::ALL[usize::from(cell % 4)];
    let (steps, batch) = (usize::from(steps % 6) + 1, usize::from(batch % 9) + 1);
    let (i, h) = (usize::from(input % 40) + 1, usize::from(hidden % 70) + 1);
    let shape = Shape::new(cell, i, h).expect("widths are at least 1");
    let value = |k: usize| f64::from(rest[k % rest.len()] as i8) / 128.0;
    let params: Vec<f64> = (0..shape.param_len()).map(value).collect();
    let x: Vec<f64> = (0..steps * batch * i).map(|k| value(3 * k + 1)).collect();
    let state: Vec<f64> = (0..batch * h).map(|k| value(5 * k + 2)).collect();
    let memory = if cell.has_memory() { batch * h } else { 0 };
    let (expected, last_c) = reference(shape, &params, &x, &state, (steps, batch));
    for level in Level::available() {
        let uses = Uses {
            dense_input: true,
            backward: false,
        };
        let mut packed = PackedCell::new(level, shape, uses).expect("it is small");
        packed.pack(shape.split(&params).expect("made to measure"));
        let (mut hs, mut cs) = (state.clone(), state[..memory].to_vec());
        let mut out = vec![f64::NAN; steps * batch * h];
        let mut scratch = vec![f64::NAN; packed.forward_scratch_len(steps, batch)];
        packed.infer(
            Infer {
                steps,
                batch,
                input: Input::Dense(MatRef::new(&x, steps * batch, i).expect("made to measure")),
                h: &mut hs,
                c: &mut cs,
                out: MatMut::new(&mut out, steps * batch, h).expect("made to measure"),
                scratch: &mut scratch,
            },
            Threads::SINGLE,
        );
        // Pre-activations are sums of at most 111 terms below 1; a step multiplies errors by at most ‖U‖ ≤ 70.
        let bound = |t: usize| 1e-12 * 70f64.powi(t as i32);
        for (k, (ours, expected)) in out.iter().zip(&expected).enumerate() {
            let t = k / (batch * h);
            assert!(
                (ours - expected).abs() <= bound(t),
                "{cell} {level} t={t}: {ours} {expected}"
            );
        }
        for (ours, expected) in cs.iter().zip(&last_c) {
            assert!(
                (ours - expected).abs() <= bound(steps),
                "{cell} {level} c: {ours} {expected}"
            );
        }
    }
});

/// Outputs `[T, B, H]` and the final c, straight from the equations.
fn reference(
    shape: Shape,
    params: &[f64],
    x: &[f64],
    state: &[f64],
    (steps, batch): (usize, usize),
) -> (Vec<f64>, Vec<f64>) {
    let (i, h, columns) = (shape.input(), shape.hidden(), shape.columns());
    let p = shape.split(params).expect("made to measure");
    let sigmoid = |a: f64| 1.0 / (1.0 + (-a).exp());
    let (mut out, mut hs, mut cs) = (Vec::new(), state.to_vec(), state.to_vec());
    for t in 0..steps {
        for b in 0..batch {
            let x = &x[(t * batch + b) * i..][..i];
            let before = hs[b * h..][..h].to_vec();
            let from_x = |column: usize| -> f64 {
                p.b[column]
                    + (0..i)
                        .map(|k| x[k] * p.w[k * columns + column])
                        .sum::<f64>()
            };
            let from_h = |h_row: &[f64], column: usize| -> f64 {
                (0..h).map(|k| h_row[k] * p.u[k * columns + column]).sum()
            };
            let a = |gate: usize, unit: usize| {
                let column = gate * h + unit;
                from_x(column) + from_h(&before, column)
            };
            let new: Vec<f64> = match shape.cell() {
                Cell::Rnn => (0..h).map(|j| a(0, j).tanh()).collect(),
                Cell::Lstm => (0..h)
                    .map(|j| {
                        let c = &mut cs[b * h + j];
                        *c = sigmoid(a(1, j)) * *c + sigmoid(a(0, j)) * a(3, j).tanh();
                        sigmoid(a(2, j)) * c.tanh()
                    })
                    .collect(),
                Cell::Gru => {
                    let reset: Vec<f64> = (0..h).map(|j| sigmoid(a(1, j)) * before[j]).collect();
                    (0..h)
                        .map(|j| {
                            let z = sigmoid(a(0, j));
                            let candidate = (from_x(2 * h + j) + from_h(&reset, 2 * h + j)).tanh();
                            (1.0 - z) * before[j] + z * candidate
                        })
                        .collect()
                }
                Cell::GruAfter => (0..h)
                    .map(|j| {
                        let (r, z) = (sigmoid(a(0, j)), sigmoid(a(1, j)));
                        let q = p.b[3 * h + j] + from_h(&before, 2 * h + j);
                        let n = (from_x(2 * h + j) + r * q).tanh();
                        (1.0 - z) * n + z * before[j]
                    })
                    .collect(),
            };
            hs[b * h..][..h].copy_from_slice(&new);
            out.extend(new);
        }
    }
    (out, cs)
}
