//! What is to blame when training leaves the finite numbers.

use crate::train::Trainer;

impl Trainer {
    /// What is not finite: in the order of the computation, a weight, the output of a layer, the loss, the gradient of a
    /// tensor.
    pub(super) fn non_finite(&self, loss: f64) -> String {
        let tensors = self.model.layout.tensors();
        let first = |values: &[f32]| {
            let mut tensors = tensors.iter();
            let tensor = tensors.find(|(_, range)| has_non_finite(&values[range.clone()]));
            tensor.map(|(name, _)| name.clone())
        };
        if let Some(name) = first(&self.model.parameters) {
            return format!("weight tensor {name}");
        }
        let layers = 0..self.model.config().layers;
        let mut outputs = layers.filter(|layer| !self.learner.output_is_finite(*layer));
        if let Some(layer) = outputs.next() {
            return format!("output of layer {layer}");
        }
        if !loss.is_finite() {
            return "loss".to_owned();
        }
        let gradient = first(&self.learner.gradient);
        gradient.map_or("norm of the gradient".to_owned(), |name| {
            format!("gradient of {name}")
        })
    }
}

/// Without a way out of the loop, so that it becomes vector code.
pub(super) fn has_non_finite(values: &[f32]) -> bool {
    values.iter().fold(false, |bad, x| bad | !x.is_finite())
}
