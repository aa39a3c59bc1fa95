//! Prints the logits of a model over a text as JSON, for comparison with another implementation:
//!
//! ```sh
//! cargo run --release -p ifog --example logits -- runs/book "some text" > logits.json
//! python tests/scripts/check_checkpoint.py runs/book --expect logits.json
//! ```

use std::error::Error;
use std::path::Path;

use ifog::language_model::LanguageModel;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(text)) = (args.next(), args.next()) else {
        return Err("usage: logits MODEL TEXT".into());
    };
    let model = LanguageModel::load(Path::new(&path))?;
    let tokens = model.vocabulary().encode(text.as_bytes())?;
    let mut generator = model.generator(0, 1.0, None)?;
    let mut logits = Vec::new();
    for symbol in text.chars() {
        generator.feed(symbol.to_string().as_bytes())?;
        logits.push(generator.logits().to_vec());
    }
    println!(
        "{}",
        serde_json::json!({ "tokens": tokens, "logits": logits })
    );
    Ok(())
}
