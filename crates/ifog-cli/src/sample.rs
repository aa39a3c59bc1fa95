//! `ifog sample`.

use ifog::language_model::LanguageModel;

use crate::args::Sample;
use crate::failure::Failure;
use crate::level::level;
use crate::output::print_bytes;

/// What to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// Symbols after the prime.
    pub(crate) length: usize,
    /// Divides the logits.
    pub(crate) temperature: f64,
    /// How many of the most likely symbols to choose from; `None` for all.
    pub(crate) top_k: Option<usize>,
    /// Text to continue.
    pub(crate) prime: &'a str,
    /// Where the choices come from.
    pub(crate) seed: u64,
}

/// The sample that ends a training run.
impl Default for Request<'_> {
    fn default() -> Self {
        Self {
            length: 400,
            temperature: 0.8,
            top_k: None,
            prime: "",
            seed: 0,
        }
    }
}

/// Samples from a stored model.
pub(crate) fn run(args: &Sample) -> Result<(), Failure> {
    level()?;
    let model = LanguageModel::load(&args.model)?;
    // A text in LaTeX has backslashes of its own.
    let backslash = model.vocabulary().encode(b"\\").is_ok();
    let prime = match backslash {
        true => args.prime.clone(),
        false => args.prime.replace("\\n", "\n").replace("\\t", "\t"),
    };
    let request = Request {
        length: args.length,
        temperature: args.temperature,
        top_k: args.top_k,
        prime: &prime,
        seed: args.seed,
    };
    write(&model, &request)
}

/// Writes the prime, what the model continues it with, and a line end to standard output, symbol by symbol.
pub(crate) fn write(model: &LanguageModel, request: &Request) -> Result<(), Failure> {
    let mut generator = model.generator(request.seed, request.temperature, request.top_k)?;
    generator.feed(request.prime.as_bytes())?;
    print_bytes(request.prime.as_bytes())?;
    for _ in 0..request.length {
        print_bytes(generator.next_symbol()?)?;
    }
    print_bytes(b"\n")
}
