//! The gates of a layer: how often they saturate, and how far their recurrent weights can stretch a state.

use ifog_kernels::{Cell, Tape};

use crate::parameters::Layout;
use crate::spectrum::{largest_singular_value, spectral_radius};

/// A gate, or the candidate, of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct GateFlow {
    /// `i`, `f`, `o`, `g`; `z`, `r`, `h~`; `r`, `z`, `n`; `h`.
    pub name: &'static str,
    /// Share of values below 0.1, or below −0.9 for a tanh.
    pub left: f64,
    /// Share of values above 0.9.
    pub right: f64,
    /// Spectral radius of its block of U.
    pub spectral_radius: f64,
    /// Largest singular value of its block of U.
    pub largest_singular_value: f64,
}

/// Shares of values of each gate that are saturated to the left and to the right.
pub(super) fn saturation(tapes: &[Vec<Tape<f64>>], layer: usize) -> Vec<(f64, f64)> {
    let Some(shape) = tapes.first().map(|step| step[layer].shape()) else {
        return Vec::new();
    };
    let hidden = shape.hidden();
    let names = gate_names(shape.cell());
    let mut counts = vec![(0u64, 0u64, 0u64); names.len()];
    for step in tapes {
        let tape = &step[layer];
        let rows = match shape.cell() {
            Cell::Rnn => tape.output(),
            Cell::Lstm | Cell::Gru | Cell::GruAfter => tape.gates(),
        };
        for r in 0..rows.rows() {
            for ((gate, name), count) in
                rows.row(r).chunks_exact(hidden).zip(names).zip(&mut counts)
            {
                let lowest = if is_tanh(name) { -0.9 } else { 0.1 };
                for value in gate {
                    count.0 += u64::from(*value < lowest);
                    count.1 += u64::from(*value > 0.9);
                    count.2 += 1;
                }
            }
        }
    }
    let share = |(left, right, all)| (left as f64 / all as f64, right as f64 / all as f64);
    counts.into_iter().map(share).collect()
}

/// The gates of a layer with their blocks of U.
pub(super) fn gates(
    layout: &Layout,
    parameters: &[f64],
    layer: usize,
    saturation: &[(f64, f64)],
) -> Vec<GateFlow> {
    let shape = layout.shapes()[layer];
    let (hidden, columns) = (shape.hidden(), shape.columns());
    let u = layout.layer(layer).start + shape.input() * columns;
    let rows = parameters[u..u + hidden * columns].chunks_exact(columns);
    let gates = gate_names(shape.cell()).iter().zip(saturation).enumerate();
    let gate = |(gate, (name, saturation)): (usize, (&&'static str, &(f64, f64)))| {
        let block: Vec<f64> = rows
            .clone()
            .flat_map(|row| &row[gate * hidden..][..hidden])
            .copied()
            .collect();
        GateFlow {
            name,
            left: saturation.0,
            right: saturation.1,
            spectral_radius: spectral_radius(&block, hidden),
            largest_singular_value: largest_singular_value(&block, hidden),
        }
    };
    gates.map(gate).collect()
}

/// The gates of a cell in its order.
pub fn gate_names(cell: Cell) -> &'static [&'static str] {
    match cell {
        Cell::Rnn => &["h"],
        Cell::Lstm => &["i", "f", "o", "g"],
        Cell::Gru => &["z", "r", "h~"],
        Cell::GruAfter => &["r", "z", "n"],
    }
}

/// Whether values of this gate are from −1 to 1 rather than from 0 to 1.
pub fn is_tanh(gate: &str) -> bool {
    matches!(gate, "g" | "h~" | "n" | "h")
}
