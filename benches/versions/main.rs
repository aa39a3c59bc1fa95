//! Two versions of ifog in one program, in turns: `versions SECONDS CASE…`, a case being `PASS,CELL,B,T,H,THREADS`.
//!
//! `versions.py` builds it: `before` and `now` are the crate `ifog` of two commits. A pair is a block of calls of each, the first
//! to go changing from pair to pair; what counts is the quotient of the two, so that a clock that moves, or a neighbour who comes, meets both.

use std::time::{Duration, Instant};

/// Least time of a block.
const BLOCK: Duration = Duration::from_millis(1);
/// However long a call is.
const FEWEST_PAIRS: usize = 9;

macro_rules! version {
    ($version:ident) => {
        mod $version {
            use $version::bench::{Case, Pass, Workload};
            use $version::{Cell, Level};

            pub(crate) fn workload(case: &str) -> Result<Workload, Box<dyn std::error::Error>> {
                let fields: Vec<&str> = case.split(',').collect();
                let [pass, cell, sizes @ ..] = &fields[..] else {
                    return Err("a case is PASS,CELL,B,T,H,THREADS".into());
                };
                let sizes = sizes.iter().map(|size| size.parse());
                let sizes = sizes.collect::<Result<Vec<usize>, _>>()?;
                let [batch, steps, hidden, threads] = sizes[..] else {
                    return Err("the sizes are B,T,H,THREADS".into());
                };
                let pass = [Pass::Infer, Pass::Step, Pass::Train]
                    .into_iter()
                    .find(|known| known.name() == *pass)
                    .ok_or("the pass is infer, step or train")?;
                let case = Case {
                    pass,
                    cell: Cell::named(cell).ok_or("the cell is lstm, gru, gru-after or rnn")?,
                    batch,
                    steps,
                    input: hidden,
                    hidden,
                    threads,
                };
                let workload = Workload::new(case, Level::detect()?)?;
                workload.check()?;
                Ok(workload)
            }
        }
    };
}

version!(before);
version!(now);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds: f64 = arguments.next().ok_or("give SECONDS CASE…")?.parse()?;
    println!(
        "{:<34} {:>11} {:>11}   now / before: median, quartiles, of pairs",
        "case", "before, us", "now, us"
    );
    for case in arguments {
        let mut before = before::workload(&case)?;
        let mut now = now::workload(&case)?;
        let call = before
            .time(1)
            .min(now.time(1))
            .min(before.time(1))
            .max(Duration::from_nanos(10));
        let calls = (BLOCK.as_secs_f64() / call.as_secs_f64()).ceil() as u64;
        // The block before was the other version's: caches and threads are made ready again.
        let warm = u64::from(calls > 1);
        let mut times = Vec::new();
        let start = Instant::now();
        while times.len() < FEWEST_PAIRS || start.elapsed().as_secs_f64() < seconds {
            let mut first = || {
                before.time(warm);
                before.time(calls).as_secs_f64() / calls as f64
            };
            let mut second = || {
                now.time(warm);
                now.time(calls).as_secs_f64() / calls as f64
            };
            times.push(match times.len() % 2 {
                0 => (first(), second()),
                _ => {
                    let now = second();
                    (first(), now)
                }
            });
        }
        let median = |of: fn(&(f64, f64)) -> f64, share: f64| {
            let mut all: Vec<f64> = times.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all[((all.len() - 1) as f64 * share).round() as usize]
        };
        let quotient = |&(before, now): &(f64, f64)| now / before;
        println!(
            "{case:<34} {:>11.3} {:>11.3}   {:.3}  {:.3} – {:.3}  {}",
            median(|pair| pair.0, 0.5) * 1e6,
            median(|pair| pair.1, 0.5) * 1e6,
            median(quotient, 0.5),
            median(quotient, 0.25),
            median(quotient, 0.75),
            times.len()
        );
    }
    Ok(())
}
