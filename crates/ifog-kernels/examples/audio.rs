//! An LSTM 1 × 16 over an audio buffer, sample by sample, as a plug-in runs it: what it costs of the time between two
//! samples.
//!
//! ```sh
//! cargo run --release -p ifog-kernels --example audio
//! ```

use std::time::Instant;

use ifog_kernels::{Cell, Level, PackedCell, Shape, Uses};

const RATE: usize = 48_000;
const HIDDEN: usize = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shape = Shape::new(Cell::Lstm, 1, HIDDEN)?;
    let uses = Uses {
        dense_input: true,
        backward: false,
    };
    let mut cell = PackedCell::new(Level::detect()?, shape, uses)?;
    // A real plug-in loads trained weights; the time does not depend on them.
    let weights: Vec<f32> = (0..shape.param_len())
        .map(|k| ((k * 37 % 101) as f32 / 50.0 - 1.0) / 4.0)
        .collect();
    cell.pack(shape.split(&weights)?);

    // One second of a sweep from 20 Hz to 20 kHz.
    let input: Vec<f32> = (0..RATE)
        .map(|n| {
            let t = n as f64 / RATE as f64;
            let cycles = 20.0 * (1000f64.powf(t) - 1.0) / 1000f64.ln();
            (cycles * std::f64::consts::TAU).sin() as f32 * 0.5
        })
        .collect();
    let mut output = vec![0.0f32; RATE];

    let mut stream = cell.stepper()?;
    let mut h = [0.0f32; HIDDEN];
    let mut nanoseconds = Vec::with_capacity(RATE);
    for (x, y) in input.iter().zip(&mut output) {
        let start = Instant::now();
        stream.step(&[*x], &mut h)?;
        // A dense layer would follow; the mean stands for it.
        *y = h.iter().sum::<f32>() / HIDDEN as f32;
        nanoseconds.push(start.elapsed().as_nanos() as u64);
    }

    let peak = output.iter().fold(0.0f32, |peak, y| peak.max(y.abs()));
    let mean = nanoseconds.iter().sum::<u64>() / RATE as u64;
    nanoseconds.sort_unstable();
    let at = |share: f64| nanoseconds[((RATE - 1) as f64 * share) as usize];
    println!("{RATE} samples, output up to {peak:.3}");
    println!(
        "a sample: mean {mean} ns, 99.9 % {} ns, worst {} ns (the clock included) of {} ns",
        at(0.999),
        at(1.0),
        1_000_000_000 / RATE
    );
    Ok(())
}
