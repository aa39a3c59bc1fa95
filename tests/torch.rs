//! The kernels against PyTorch's `nn.LSTM`, `nn.GRU` and `nn.RNN`, and against autograd on the equations of the GRU
//! that resets before the product: outputs, final states and every gradient, one layer and two.
//!
//! The rule: `max |ours − theirs| ≤ bound · max(1, max |theirs|)` over each tensor. Both sides compute the same sums in
//! another order: at most 23 products a step (I + H), 7 steps, 2 layers, forward and back, about 650 roundings of ε/2
//! one way. That is 7e-14 in f64, for which the bound 1e-10 leaves three decades, and 4e-5 in f32 if all pointed the same
//! way; roundings of either sign add up to its root, 2e-6, and the bound is 1e-5.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use ifog_kernels::{
    Backprop, Cell, Element, Input, Level, MatMut, MatRef, PackedCell, Record, Shape, Tape,
    Threads, Uses,
};
use ifog_tests::fixture::Fixture;

#[test]
fn torch_cells_in_double_precision() {
    let cases = Fixture::open("torch_cells.json").list("cases");
    assert_eq!(cases.len(), 15);
    cases
        .iter()
        .for_each(|case| compare::<f64>(case, "f64", 1e-10));
}

#[test]
fn torch_cells_in_single_precision() {
    let cases = Fixture::open("torch_cells.json").list("cases");
    cases
        .iter()
        .for_each(|case| compare::<f32>(case, "f32", 1e-5));
}

#[test]
fn gru_that_resets_before_the_product() {
    let cases = Fixture::open("gru_before.json").list("cases");
    assert_eq!(cases.len(), 5);
    cases
        .iter()
        .for_each(|case| compare::<f64>(case, "f64", 1e-10));
    // There are no f32 results; the f64 ones are as good a truth for f32.
    cases
        .iter()
        .for_each(|case| compare::<f32>(case, "f64", 1e-5));
}

/// Runs a case on every level and compares everything that the fixture has.
fn compare<E: Element>(case: &Fixture, precision: &str, bound: f64) {
    let sizes = Sizes::of(case);
    let inputs = case.at("inputs");
    let expected = case.at(precision);
    let expected_gradients = expected.at("grad");
    for level in Level::available() {
        let what = format!("{} in {} at {level}", case.text("name"), E::NAME);
        let result = run::<E>(&sizes, case, &inputs, level);
        let near = |ours: &[f64], theirs: &Fixture, key: &str, shape: &[usize]| {
            assert_near(
                ours,
                &theirs.tensor(key, shape),
                bound,
                &format!("{key} of {what}"),
            );
        };
        let (steps, batch, hidden) = (sizes.steps, sizes.batch, sizes.hidden);
        near(&result.output, &expected, "output", &[steps, batch, hidden]);
        let states = [sizes.layers, batch, hidden];
        near(&result.h, &expected, "hn", &states);
        near(
            &result.x,
            &expected_gradients,
            "x",
            &[steps, batch, sizes.input],
        );
        near(&result.dh, &expected_gradients, "h0", &states);
        if sizes.cell.has_memory() {
            near(&result.c, &expected, "cn", &states);
            near(&result.dc, &expected_gradients, "c0", &states);
        }
        for (layer, gradient) in result.params.iter().enumerate() {
            for (name, shape, ours) in sizes.weights(layer).to_fixture(gradient) {
                near(&ours, &expected_gradients, &name, &shape);
            }
        }
        let dot = |a: &[f64], key: &str, shape: &[usize]| -> f64 {
            a.iter()
                .zip(inputs.tensor(key, shape))
                .map(|(a, b)| a * b)
                .sum()
        };
        let mut loss =
            dot(&result.output, "dy", &[steps, batch, hidden]) + dot(&result.h, "dhn", &states);
        if sizes.cell.has_memory() {
            loss += dot(&result.c, "dcn", &states);
        }
        assert_near(
            &[loss],
            &[expected.number("loss")],
            bound,
            &format!("loss of {what}"),
        );
    }
}

/// Results of a stack of layers, widened to f64.
struct Outcome {
    /// Of the last layer, `[T, B, H]`.
    output: Vec<f64>,
    /// Final states, `[layers, B, H]`.
    h: Vec<f64>,
    c: Vec<f64>,
    /// Gradients of W, U and b in our layout, by layer.
    params: Vec<Vec<f64>>,
    /// Gradient of the input, `[T, B, I]`.
    x: Vec<f64>,
    /// Gradients of the initial states, `[layers, B, H]`.
    dh: Vec<f64>,
    dc: Vec<f64>,
}

/// Forward through the layers, each fed with the outputs of the one below, then back from the top: the input gradient of a
/// layer is the upstream gradient of the one below.
fn run<E: Element>(sizes: &Sizes, case: &Fixture, inputs: &Fixture, level: Level) -> Outcome {
    let (steps, batch, hidden) = (sizes.steps, sizes.batch, sizes.hidden);
    let (rows, state, threads) = (steps * batch, batch * hidden, Threads::SINGLE);
    let memory = if sizes.cell.has_memory() { state } else { 0 };
    let states = |key: &str| {
        let absent = key.contains('c') && memory == 0;
        let all = if absent {
            Vec::new()
        } else {
            inputs.tensor(key, &[sizes.layers, batch, hidden])
        };
        narrow::<E>(&all)
    };
    let (h0, c0, dhn, dcn) = (states("h0"), states("c0"), states("dhn"), states("dcn"));

    // What enters each layer, and what leaves the last.
    let mut between = vec![narrow::<E>(
        &inputs.tensor("x", &[steps, batch, sizes.input]),
    )];
    let mut layers = Vec::new();
    let (mut h, mut c) = (Vec::new(), Vec::new());
    for layer in 0..sizes.layers {
        let weights = sizes.weights(layer);
        let shape = weights.shape;
        let mut cell = PackedCell::new(
            level,
            shape,
            Uses {
                dense_input: true,
                backward: true,
            },
        )
        .unwrap();
        cell.pack(
            shape
                .split(&narrow::<E>(&weights.load(&case.at("weights"))))
                .unwrap(),
        );
        let mut tape = Tape::new(shape, steps, batch).unwrap();
        let mut scratch = vec![E::ZERO; cell.forward_scratch_len(steps, batch)];
        cell.forward(
            Record {
                steps,
                batch,
                input: dense(&between[layer], rows),
                h: &h0[layer * state..][..state],
                c: &c0[layer * memory..][..memory],
                tape: &mut tape,
                scratch: &mut scratch,
            },
            threads,
        );
        h.extend_from_slice(tape.h(steps));
        c.extend_from_slice(tape.c(steps));
        between.push(
            (0..rows)
                .flat_map(|row| tape.output().row(row).to_vec())
                .collect(),
        );
        layers.push((cell, tape));
    }

    let output = widen(&between[sizes.layers]);
    let mut upstream = narrow::<E>(&inputs.tensor("dy", &[steps, batch, hidden]));
    let (mut dh, mut dc) = (dhn, dcn);
    let mut params = Vec::new();
    for (layer, (cell, tape)) in layers.iter_mut().enumerate().rev() {
        let shape = cell.shape();
        let mut gradient = vec![E::ZERO; shape.param_len()];
        let mut dx = vec![E::ZERO; rows * shape.input()];
        let mut scratch = vec![E::ZERO; cell.backward_scratch_len(batch, threads)];
        cell.backward(
            Backprop {
                input: dense(&between[layer], rows),
                tape,
                dout: MatRef::new(&upstream, rows, hidden).unwrap(),
                dh: &mut dh[layer * state..][..state],
                dc: &mut dc[layer * memory..][..memory],
                grads: shape.split_mut(&mut gradient).unwrap(),
                dx: Some(MatMut::new(&mut dx, rows, shape.input()).unwrap()),
                scratch: &mut scratch,
            },
            threads,
        );
        params.insert(0, widen(&gradient));
        upstream = dx;
    }
    Outcome {
        output,
        h: widen(&h),
        c: widen(&c),
        params,
        x: widen(&upstream),
        dh: widen(&dh),
        dc: widen(&dc),
    }
}

/// The sizes of a case.
struct Sizes {
    cell: Cell,
    layers: usize,
    /// T.
    steps: usize,
    /// B.
    batch: usize,
    /// I.
    input: usize,
    /// H.
    hidden: usize,
}

impl Sizes {
    fn of(case: &Fixture) -> Self {
        Self {
            cell: Cell::named(&case.text("cell")).unwrap(),
            layers: case.size("layers"),
            steps: case.size("T"),
            batch: case.size("B"),
            input: case.size("I"),
            hidden: case.size("H"),
        }
    }

    fn weights(&self, layer: usize) -> Weights {
        let input = if layer == 0 { self.input } else { self.hidden };
        Weights {
            shape: Shape::new(self.cell, input, self.hidden).unwrap(),
            layer,
        }
    }
}

/// How the weights of a layer stand in the fixture: transposed and in PyTorch's gate order, or as ours.
struct Weights {
    shape: Shape,
    layer: usize,
}

impl Weights {
    /// Place of each of our gates among PyTorch's: LSTM i, f, o, g of i, f, g, o; GRU r, z, n the same.
    fn torch_gates(&self) -> &'static [usize] {
        match self.shape.cell() {
            Cell::Rnn => &[0],
            Cell::Lstm => &[0, 1, 3, 2],
            Cell::GruAfter => &[0, 1, 2],
            Cell::Gru => panic!("PyTorch has no GRU that resets before the product"),
        }
    }

    /// Names and shapes in the fixture; the order is W, U and the biases.
    fn names(&self) -> Vec<(String, Vec<usize>)> {
        let (input, hidden, columns) = (
            self.shape.input(),
            self.shape.hidden(),
            self.shape.columns(),
        );
        let layer = self.layer;
        match self.shape.cell() {
            Cell::Gru => vec![
                (format!("W_l{layer}"), vec![input, columns]),
                (format!("U_l{layer}"), vec![hidden, columns]),
                (format!("b_l{layer}"), vec![columns]),
            ],
            _ => vec![
                (format!("weight_ih_l{layer}"), vec![columns, input]),
                (format!("weight_hh_l{layer}"), vec![columns, hidden]),
                (format!("bias_ih_l{layer}"), vec![columns]),
                (format!("bias_hh_l{layer}"), vec![columns]),
            ],
        }
    }

    /// W, U and b in our layout. The two biases are one, but for b_hn of GRU reset-after, which r multiplies.
    fn load(&self, weights: &Fixture) -> Vec<f64> {
        let tensors: Vec<_> = self
            .names()
            .iter()
            .map(|(name, shape)| weights.tensor(name, shape))
            .collect();
        let [w, u, biases @ ..] = tensors.as_slice() else {
            panic!("W and U are missing");
        };
        let [bias_input, bias_hidden] = biases else {
            return tensors.concat();
        };
        let hidden = self.shape.hidden();
        let mut ours = self.transposed(w, self.shape.input());
        ours.extend(self.transposed(u, hidden));
        let bias_input = self.transposed(bias_input, 1);
        let bias_hidden = self.transposed(bias_hidden, 1);
        let apart = if self.shape.cell() == Cell::GruAfter {
            2 * hidden
        } else {
            self.shape.columns()
        };
        let summed = bias_input.iter().zip(&bias_hidden).take(apart);
        ours.extend(summed.map(|(a, b)| a + b));
        ours.extend(&bias_input[apart..]);
        ours.extend(&bias_hidden[apart..]);
        ours
    }

    /// `[k, G·H]` in our gate order from `[G·H, k]` in PyTorch's.
    fn transposed(&self, theirs: &[f64], k: usize) -> Vec<f64> {
        let hidden = self.shape.hidden();
        let mut ours = Vec::with_capacity(theirs.len());
        for k_ in 0..k {
            for gate in self.torch_gates() {
                ours.extend((0..hidden).map(|unit| theirs[(gate * hidden + unit) * k + k_]));
            }
        }
        ours
    }

    /// The gradient of W, U and b under the fixture's names, shapes and order of gates.
    fn to_fixture(&self, gradient: &[f64]) -> Vec<(String, Vec<usize>, Vec<f64>)> {
        let hidden = self.shape.hidden();
        let parts = self.shape.split(gradient).unwrap();
        let tensors = if self.shape.cell() == Cell::Gru {
            vec![parts.w.to_vec(), parts.u.to_vec(), parts.b.to_vec()]
        } else {
            // Each bias has the gradient of the pre-activation that it is part of.
            let columns = self.shape.columns();
            let mut bias_hidden = parts.b[..columns].to_vec();
            if self.shape.cell() == Cell::GruAfter {
                bias_hidden[2 * hidden..].copy_from_slice(&parts.b[3 * hidden..]);
            }
            vec![
                self.transposed_back(parts.w, self.shape.input()),
                self.transposed_back(parts.u, hidden),
                self.transposed_back(&parts.b[..columns], 1),
                self.transposed_back(&bias_hidden, 1),
            ]
        };
        self.names()
            .into_iter()
            .zip(tensors)
            .map(|((name, shape), tensor)| (name, shape, tensor))
            .collect()
    }

    /// The inverse of [`Weights::transposed`].
    fn transposed_back(&self, ours: &[f64], k: usize) -> Vec<f64> {
        let (hidden, columns) = (self.shape.hidden(), self.shape.columns());
        let mut theirs = vec![0.0; ours.len()];
        for (position, gate) in self.torch_gates().iter().enumerate() {
            for unit in 0..hidden {
                for k_ in 0..k {
                    theirs[(gate * hidden + unit) * k + k_] =
                        ours[k_ * columns + position * hidden + unit];
                }
            }
        }
        theirs
    }
}

fn dense<E: Element>(x: &[E], rows: usize) -> Input<'_, E> {
    Input::Dense(MatRef::new(x, rows, x.len() / rows).unwrap())
}

fn narrow<E: Element>(values: &[f64]) -> Vec<E> {
    values.iter().map(|value| E::from_f64(*value)).collect()
}

fn widen<E: Element>(values: &[E]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

fn assert_near(ours: &[f64], theirs: &[f64], bound: f64, what: &str) {
    assert_eq!(ours.len(), theirs.len(), "length of {what}");
    let scale = theirs.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
    for (k, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!(
            (a - b).abs() <= bound * scale,
            "[{k}] is {a:e}, not {b:e}: {what}"
        );
    }
}
