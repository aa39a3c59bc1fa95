//! Tied embeddings: one matrix reads and predicts the symbols (Press & Wolf, "Using the output embedding to improve language
//! models", 2017).
//!
//! Both places keep a copy, so that neither the kernels nor the file need to know. The gradient is gathered at the
//! embedding; the decoder follows after each step.

use crate::parameters::Layout;

/// The decoder's W `[H, V]` becomes the embedding's E `[V, H]` transposed.
pub(super) fn tie(layout: &Layout, params: &mut [f32]) {
    let (hidden, symbols) = (layout.config().hidden, layout.config().outputs);
    let decoder = layout.decoder_weight();
    let (front, decoder) = params[..decoder.end].split_at_mut(decoder.start);
    let embedding = &front[layout.embedding()];
    for (v, row) in embedding.chunks_exact(hidden).enumerate() {
        for (h, e) in row.iter().enumerate() {
            decoder[h * symbols + v] = *e;
        }
    }
}

/// The gradient of tied weights stands at the embedding: dE + dWᵀ; the decoder's becomes 0.
pub(super) fn fold_tied(layout: &Layout, gradient: &mut [f32]) {
    let (hidden, symbols) = (layout.config().hidden, layout.config().outputs);
    let decoder = layout.decoder_weight();
    let (front, decoder) = gradient[..decoder.end].split_at_mut(decoder.start);
    let embedding = &mut front[layout.embedding()];
    for (v, row) in embedding.chunks_exact_mut(hidden).enumerate() {
        for (h, e) in row.iter_mut().enumerate() {
            *e += std::mem::take(&mut decoder[h * symbols + v]);
        }
    }
}
