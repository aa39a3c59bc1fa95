//! What is to blame when training leaves the finite numbers.

use super::Fitter;
use crate::finite::all_finite;

impl Fitter {
    /// What is not finite: in the order of the computation, a weight, the output of a layer, the loss, the gradient of a
    /// tensor, what the optimiser keeps of it.
    pub(crate) fn non_finite(&self, parameters: &[f32], loss: f64) -> String {
        let tensors = self.layout.tensors();
        let first = |values: &[f32]| {
            let mut tensors = tensors.iter();
            let tensor = tensors.find(|(_, range)| !all_finite(&values[range.clone()]));
            tensor.map(|(name, _)| name.clone())
        };
        if let Some(name) = first(parameters) {
            return format!("weight tensor {name}");
        }
        let layers = 0..self.layout.config().layers;
        let mut outputs = layers.filter(|layer| !self.learner.output_is_finite(*layer));
        if let Some(layer) = outputs.next() {
            return format!("output of layer {layer}");
        }
        if !loss.is_finite() {
            return "loss".to_owned();
        }
        if let Some(name) = first(&self.learner.gradient) {
            return format!("gradient of {name}");
        }
        let mut buffers = self.optimizer.buffers().filter(|(_, b)| !b.is_empty());
        let kept = buffers.find_map(|(buffer, values)| Some((buffer, first(values)?)));
        kept.map_or("norm of the gradient".to_owned(), |(buffer, name)| {
            format!("optimiser's {buffer} of {name}")
        })
    }
}
