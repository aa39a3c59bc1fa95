//! The four cells in f64 straight from their equations: loops over one element at a time, `std`'s exp and
//! tanh, no packing, no fused operation. Row vectors: a = x W + h U + b.

use ifog_kernels::Cell;

use crate::problem::{Problem, States};

/// Runs every step of the problem from its dense inputs.
pub(crate) fn forward(problem: &Problem) -> States<f64> {
    let (batch, hidden) = (problem.batch, problem.shape.hidden());
    let mut states = States {
        out: Vec::new(),
        h: problem.h.clone(),
        c: problem.c.clone(),
    };
    for t in 0..problem.steps {
        let (h, c) = (states.h.clone(), states.c.clone());
        for b in 0..batch {
            let row = b * hidden..(b + 1) * hidden;
            let before = Row {
                problem,
                x: &problem.x[(t * batch + b) * problem.shape.input()..][..problem.shape.input()],
                h: &h[row.clone()],
            };
            for j in 0..hidden {
                let at = row.start + j;
                match problem.shape.cell() {
                    Cell::Rnn => states.h[at] = before.a(0, j).tanh(),
                    Cell::Lstm => {
                        let (i, f) = (sigmoid(before.a(0, j)), sigmoid(before.a(1, j)));
                        let (o, g) = (sigmoid(before.a(2, j)), before.a(3, j).tanh());
                        states.c[at] = f * c[at] + i * g;
                        states.h[at] = o * states.c[at].tanh();
                    }
                    Cell::Gru => {
                        let z = sigmoid(before.a(0, j));
                        let reset = |k: usize| sigmoid(before.a(1, k)) * h[row.start + k];
                        let candidate = (before.input(2, j) + before.recurrent(2, j, reset)).tanh();
                        states.h[at] = (1.0 - z) * h[at] + z * candidate;
                    }
                    Cell::GruAfter => {
                        let (r, z) = (sigmoid(before.a(0, j)), sigmoid(before.a(1, j)));
                        let q = before.recurrent(2, j, |k| h[row.start + k]) + before.bias(3, j);
                        let n = (before.input(2, j) + r * q).tanh();
                        states.h[at] = (1.0 - z) * n + z * h[at];
                    }
                }
            }
        }
        states.out.extend_from_slice(&states.h);
    }
    states
}

/// One batch row at one step, before the step.
struct Row<'a> {
    problem: &'a Problem,
    /// `[I]`.
    x: &'a [f64],
    /// `[H]`.
    h: &'a [f64],
}

impl Row<'_> {
    /// The pre-activation of unit j of a gate.
    fn a(&self, gate: usize, j: usize) -> f64 {
        self.input(gate, j) + self.recurrent(gate, j, |k| self.h[k])
    }

    /// (x W + b) of unit j of a gate.
    fn input(&self, gate: usize, j: usize) -> f64 {
        let shape = self.problem.shape;
        let column = gate * shape.hidden() + j;
        let product: f64 = (0..shape.input())
            .map(|k| self.x[k] * self.problem.params[k * shape.columns() + column])
            .sum();
        product + self.bias(gate, j)
    }

    /// (left U) of unit j of a gate.
    fn recurrent(&self, gate: usize, j: usize, left: impl Fn(usize) -> f64) -> f64 {
        let shape = self.problem.shape;
        let u = &self.problem.params[shape.input() * shape.columns()..];
        let column = gate * shape.hidden() + j;
        (0..shape.hidden())
            .map(|k| left(k) * u[k * shape.columns() + column])
            .sum()
    }

    fn bias(&self, gate: usize, j: usize) -> f64 {
        let shape = self.problem.shape;
        let b = &self.problem.params[shape.param_len() - shape.bias_len()..];
        b[gate * shape.hidden() + j]
    }
}

fn sigmoid(a: f64) -> f64 {
    1.0 / (1.0 + (-a).exp())
}
