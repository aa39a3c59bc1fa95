//! The gates of a layer: how often they saturate, and how far their recurrent weights can stretch a state.

use ifog_kernels::{Cell, Tape};

use crate::parameters::Layout;
use crate::spectrum::{largest_singular_value, spectral_radius};

/// How often a gate, or the candidate, of a layer is saturated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Saturation {
    /// `i`, `f`, `o`, `g`; `z`, `r`, `h~`; `r`, `z`, `n`; `h`.
    pub gate: &'static str,
    /// Share of values below 0.1, or below −0.9 for a tanh.
    pub left: f64,
    /// Share of values above 0.9.
    pub right: f64,
}

/// How far the recurrent weights of a gate can stretch a state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateSpectrum {
    /// As in [`Saturation`].
    pub gate: &'static str,
    /// Spectral radius of its block of U.
    pub radius: f64,
    /// Largest singular value of its block of U.
    pub largest_singular_value: f64,
}

impl Saturation {
    /// Of all values on the tapes of a layer, a step each; the gates in the cell's order.
    pub(super) fn of(tapes: &[Vec<Tape<f64>>], layer: usize) -> Vec<Self> {
        let Some(shape) = tapes.first().map(|step| step[layer].shape()) else {
            return Vec::new();
        };
        let (hidden, names) = (shape.hidden(), gate_names(shape.cell()));
        // Values beyond either end, and all.
        let mut counts = vec![[0u64; 3]; names.len()];
        for step in tapes {
            let tape = &step[layer];
            let rows = match shape.cell() {
                Cell::Rnn => tape.output(),
                Cell::Lstm | Cell::Gru | Cell::GruAfter => tape.gates(),
            };
            for r in 0..rows.rows() {
                let gates = rows.row(r).chunks_exact(hidden).zip(names);
                for ((gate, name), [left, right, all]) in gates.zip(&mut counts) {
                    let lowest = if is_tanh(name) { -0.9 } else { 0.1 };
                    *left += gate.iter().filter(|v| **v < lowest).count() as u64;
                    *right += gate.iter().filter(|v| **v > 0.9).count() as u64;
                    *all += hidden as u64;
                }
            }
        }
        let share = |(gate, [left, right, all]): (&&'static str, [u64; 3])| Self {
            gate,
            left: left as f64 / all as f64,
            right: right as f64 / all as f64,
        };
        names.iter().zip(counts).map(share).collect()
    }
}

/// The spectra of the gates of a layer, in the cell's order. Takes some H³ operations.
///
/// # Panics
/// `parameters` has another length than the layout, or there is no such layer.
pub fn spectra(layout: &Layout, parameters: &[f32], layer: usize) -> Vec<GateSpectrum> {
    assert_eq!(parameters.len(), layout.len(), "parameters");
    let shape = layout.shapes()[layer];
    let (hidden, columns) = (shape.hidden(), shape.columns());
    let u = layout.layer(layer).start + shape.input() * columns;
    let rows = parameters[u..u + hidden * columns].chunks_exact(columns);
    let spectrum = |(number, gate): (usize, &&'static str)| {
        let of_gate = |row: &[f32]| row[number * hidden..][..hidden].to_vec();
        let block: Vec<f64> = rows.clone().flat_map(of_gate).map(f64::from).collect();
        GateSpectrum {
            gate,
            radius: spectral_radius(&block, hidden),
            largest_singular_value: largest_singular_value(&block, hidden),
        }
    };
    let gates = gate_names(shape.cell()).iter().enumerate();
    gates.map(spectrum).collect()
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
