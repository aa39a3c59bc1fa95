//! So many calls of one case, for a tool that counts instructions: `calls infer lstm 4 64 3` is B = 4, H = 64, three calls of
//! four steps.

use ifog::bench::{Case, Pass, Workload};
use ifog::{Cell, Level};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [pass, cell, batch, hidden, calls] = &arguments[..] else {
        return Err("give PASS CELL B H CALLS".into());
    };
    let pass = [Pass::Infer, Pass::Step, Pass::Train]
        .into_iter()
        .find(|known| known.name() == pass)
        .ok_or("the pass is infer, step or train")?;
    let hidden = hidden.parse()?;
    let case = Case {
        pass,
        cell: Cell::named(cell).ok_or("the cell is lstm, gru, gru-after or rnn")?,
        batch: batch.parse()?,
        steps: if pass == Pass::Step { 1 } else { 4 },
        input: hidden,
        hidden,
        threads: 1,
    };
    Workload::new(case, Level::detect()?)?.time(calls.parse()?);
    Ok(())
}
