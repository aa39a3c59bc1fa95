//! The text that a model is shown.

use std::path::Path;

use ifog::corpus::read_corpus_file;
use ifog::language_model::LanguageModel;

use crate::failure::Failure;

/// The file that was named or, without one, what the model writes itself: it knows every symbol of that.
pub(crate) fn text_for(
    model: &LanguageModel,
    file: Option<&Path>,
    symbols: usize,
    seed: u64,
) -> Result<Vec<u8>, Failure> {
    if let Some(file) = file {
        return Ok(read_corpus_file(file)?);
    }
    Ok(model.generator(seed, 1.0, None)?.next_symbols(symbols)?)
}
