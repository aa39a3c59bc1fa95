//! Tied embeddings: one matrix reads and predicts the symbols (Press & Wolf, "Using the output embedding to improve language
//! models", 2017).
//!
//! Both places keep a copy, so that neither the kernels nor the file need to know. The gradient is gathered at the
//! embedding; the decoder follows after each step.

use crate::parameters::Layout;

/// At the start the embedding's E `[V, H]` becomes the decoder's W `[H, V]` transposed, which was drawn for H inputs: for
/// [`FitConfig::tie`](super::FitConfig::tie).
///
/// # Panics
/// The layout has no embedding as wide as its last layer, or `params` are not as many as its parameters.
pub fn start_tied(layout: &Layout, params: &mut [f32]) {
    pairs(layout, params, |e, w| *e = *w);
}

/// Whether each element of E is its copy in W.
pub(super) fn is_tied(layout: &Layout, params: &[f32]) -> bool {
    let (hidden, symbols) = (layout.config().hidden, layout.config().outputs);
    let decoder = &params[layout.decoder_weight()];
    let mut rows = params[layout.embedding()].chunks_exact(hidden).enumerate();
    rows.all(|(v, row)| (0..hidden).all(|h| row[h] == decoder[h * symbols + v]))
}

/// The decoder's W becomes the embedding's E transposed.
pub(super) fn tie(layout: &Layout, params: &mut [f32]) {
    pairs(layout, params, |e, w| *w = *e);
}

/// The gradient of tied weights stands at the embedding: dE + dWᵀ; the decoder's becomes 0.
pub(super) fn fold_tied(layout: &Layout, gradient: &mut [f32]) {
    pairs(layout, gradient, |e, w| *e += std::mem::take(w));
}

/// Each element of E with its copy in W.
fn pairs(layout: &Layout, flat: &mut [f32], mut of: impl FnMut(&mut f32, &mut f32)) {
    let (hidden, symbols) = (layout.config().hidden, layout.config().outputs);
    let decoder = layout.decoder_weight();
    let (front, decoder) = flat[..decoder.end].split_at_mut(decoder.start);
    let embedding = &mut front[layout.embedding()];
    for (v, row) in embedding.chunks_exact_mut(hidden).enumerate() {
        for (h, e) in row.iter_mut().enumerate() {
            of(e, &mut decoder[h * symbols + v]);
        }
    }
}
