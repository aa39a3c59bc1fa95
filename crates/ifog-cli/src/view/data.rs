//! What `ifog view --json` prints: the units found, and the numbers behind the page.

use ifog::probe::LayerTrace;
use ifog::probe::finder::{Finding, RATE, shift_count};
use serde::Serialize;

use super::Scene;
use super::page::{candidates, gates};
use crate::failure::Failure;

/// One object.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    /// Symbols that units were looked for in.
    symbols: usize,
    /// Of each feature.
    shifts: usize,
    false_discovery_rate: f64,
    units: &'a [Finding],
    layer: usize,
    unit: usize,
    quantity: &'a str,
    /// The symbols shown.
    text: String,
    /// At each symbol the selected quantity of all units of the selected layer.
    values: Vec<&'a [f32]>,
    /// At each symbol the likeliest next ones, with their probabilities in percent.
    next: Vec<Vec<(String, f64)>>,
    saturation: Vec<Gate>,
}

/// How often the units of a gate are below 0.1 and above 0.9.
#[derive(Serialize)]
struct Gate {
    layer: usize,
    gate: &'static str,
    units: Vec<(f64, f64)>,
}

impl<'a> Report<'a> {
    pub(super) fn of(scene: &'a Scene) -> Result<Self, Failure> {
        let (length, selection) = (scene.length, scene.selection);
        let layers = &scene.trace.layers;
        let layer = &layers[selection.layer];
        let quantity = &layer.quantities[selection.quantity];
        let rows = quantity.values.chunks_exact(layer.hidden);
        let next = (0..length).map(|t| candidates(scene, t));
        Ok(Self {
            symbols: scene.symbols.len(),
            shifts: shift_count(scene.symbols.len()),
            false_discovery_rate: RATE,
            units: &scene.findings,
            layer: selection.layer,
            unit: selection.unit,
            quantity: quantity.name,
            text: scene.symbols[..length].iter().collect(),
            values: rows.take(length).collect(),
            next: next.collect::<Result<_, _>>()?,
            saturation: layers.iter().enumerate().flat_map(saturation).collect(),
        })
    }
}

fn saturation((number, layer): (usize, &LayerTrace)) -> Vec<Gate> {
    let gate = |(gate, units)| Gate {
        layer: number,
        gate,
        units,
    };
    gates(layer).map(gate).collect()
}
