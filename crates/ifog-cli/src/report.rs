//! The pictures of a finished run: loss.svg, and report.html with everything on one page.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use ifog::atomic_file::write_atomically;
use ifog::language_model::LanguageModel;
use maud::{Markup, html};
use serde::Deserialize;

use crate::chart::{Axis, Chart, Mark, Series};
use crate::failure::Failure;
use crate::output::printable;
use crate::page::{Page, figure, table};
use crate::run_directory::{CONFIG, METRICS};
use crate::sample::Request;
use crate::summary::Summary;

/// What metrics.jsonl tells of a run; of its steps, which may be millions, means over pieces.
#[derive(Debug, Default)]
struct History {
    /// (step, nats).
    train: Thinned,
    /// (step, nats).
    validation: Vec<(f64, f64)>,
    /// (step, characters a second), since the start or the last resumption.
    speed: Thinned,
    /// (step, rate).
    rate: Thinned,
    /// (step, text).
    samples: Vec<(u64, String)>,
}

/// A line of metrics.jsonl.
#[derive(Deserialize)]
struct Line {
    step: u64,
    loss: Option<f64>,
    val_loss: Option<f64>,
    chars_per_s: Option<f64>,
    lr: Option<f64>,
    sample: Option<String>,
}

/// Points, of which as many neighbours become their mean as to leave [`POINTS`] at most.
#[derive(Debug, Default)]
struct Thinned {
    /// Sums.
    pieces: Vec<Piece>,
    /// Points of each piece but the last, which may have fewer; 0 before the first.
    each: usize,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    x: f64,
    y: f64,
    count: usize,
}

/// Whether a directory has both.
pub(crate) fn exist(directory: &Path) -> bool {
    [LOSS, REPORT]
        .iter()
        .all(|name| directory.join(name).exists())
}

/// Writes both into the run's directory; `log_x` spreads the early steps.
pub(crate) fn write(directory: &Path, summary: &Summary, log_x: bool) -> Result<(), Failure> {
    let unread = |name: &str| {
        let place = directory.display().to_string();
        let name = name.to_owned();
        move |error: io::Error| Failure::work(format!("cannot read {name} in {place}: {error}"))
    };
    let metrics = File::open(directory.join(METRICS)).map_err(unread(METRICS))?;
    let history = History::read(BufReader::new(metrics)).map_err(unread(METRICS))?;
    let settings = std::fs::read_to_string(directory.join(CONFIG)).map_err(unread(CONFIG))?;
    let loss = history.loss(summary.best(), log_x);
    write_atomically(&directory.join(LOSS), loss.svg()?.as_bytes())?;
    let best = LanguageModel::load(directory)?;
    let title = format!("Training run {}", directory.display());
    let page = Page {
        title: &title,
        lead: "How a character-level language model learned: loss, settings, texts and speed.",
        body: html! {
            (figure(&loss)?)
            (table(&["", ""], &summary.facts()))
            (history.texts(&text_of(&best)?))
            h2 { "Speed and learning rate" }
            (figure(&chart("Throughput", "characters/s", &history.speed.means()))?)
            (figure(&chart("Learning rate", "learning rate", &history.rate.means()))?)
            h2 { "Settings" }
            pre { (settings) }
        },
        style: "",
        script: "",
    };
    Ok(write_atomically(
        &directory.join(REPORT),
        page.render().as_bytes(),
    )?)
}

impl History {
    /// Lines that are not understood are passed over.
    fn read(metrics: impl BufRead) -> io::Result<Self> {
        let mut history = Self::default();
        for line in metrics.split(b'\n') {
            let Ok(line) = serde_json::from_slice::<Line>(&line?) else {
                continue;
            };
            let step = line.step as f64;
            let point = |y: Option<f64>| y.map(|y| (step, y));
            history.train.extend(point(line.loss));
            history.validation.extend(point(line.val_loss));
            history.speed.extend(point(line.chars_per_s));
            history.rate.extend(point(line.lr));
            history
                .samples
                .extend(line.sample.map(|text| (line.step, text)));
        }
        Ok(history)
    }

    /// `lowest` is the best validation, in nats.
    fn loss(&self, lowest: f64, log_x: bool) -> Chart {
        let best = self
            .validation
            .iter()
            .find(|(_, loss)| (loss - lowest).abs() < 1e-9);
        let at = best.map_or(String::new(), |(step, _)| format!(" at step {step}"));
        // The untrained model stands at step 0, which no logarithm has.
        Chart {
            x: if log_x {
                Axis::log("step")
            } else {
                Axis::linear("step")
            },
            series: vec![
                Series::line("training", 0, self.train.means()),
                Series::line("validation", 1, self.validation.clone()),
                Series::line("best", 2, best.copied().into_iter().collect()).drawn_as(Mark::Dots),
            ],
            caption: format!(
                "Mean cross-entropy in nats a character; the best validation is {lowest:.4} nats{at}. Training losses are \
                 means over a few thousandths of the run."
            ),
            ..chart("Loss", "nats per character", &[])
        }
    }

    fn texts(&self, last: &str) -> Markup {
        // Some ten of them, evenly spaced, the first among them.
        let every = self.samples.len().div_ceil(SAMPLES).max(1);
        html! {
            h2 { "What it wrote" }
            @for (step, text) in self.samples.iter().step_by(every) {
                h3 { "at step " (step) }
                pre { (text) }
            }
            h3 { "the best model" }
            pre { (last) }
        }
    }
}

/// A text of the model as it is now.
fn text_of(model: &LanguageModel) -> Result<String, Failure> {
    let request = Request::default();
    let mut generator = model.generator(request.seed, request.temperature, request.top_k)?;
    Ok(printable(&generator.next_symbols(request.length)?))
}

fn chart(title: &str, unit: &str, points: &[(f64, f64)]) -> Chart {
    Chart {
        title: title.to_owned(),
        caption: String::new(),
        x: Axis::linear("step"),
        y: Axis::linear(unit),
        series: vec![Series::line("", 0, points.to_vec())],
    }
}

impl Thinned {
    fn push(&mut self, (x, y): (f64, f64)) {
        self.each = self.each.max(1);
        let one = Piece { x, y, count: 1 };
        if let Some(last) = self.pieces.last_mut().filter(|last| last.count < self.each) {
            last.add(one);
            return;
        }
        if self.pieces.len() == POINTS {
            self.each *= 2;
            let pairs = self.pieces.chunks(2).map(|pair| {
                let mut sum = pair[0];
                pair[1..].iter().for_each(|piece| sum.add(*piece));
                sum
            });
            self.pieces = pairs.collect();
        }
        self.pieces.push(one);
    }

    fn means(&self) -> Vec<(f64, f64)> {
        let mean = |piece: &Piece| (piece.x / piece.count as f64, piece.y / piece.count as f64);
        self.pieces.iter().map(mean).collect()
    }
}

impl Extend<(f64, f64)> for Thinned {
    fn extend<T: IntoIterator<Item = (f64, f64)>>(&mut self, points: T) {
        points.into_iter().for_each(|point| self.push(point));
    }
}

impl Piece {
    fn add(&mut self, other: Self) {
        self.x += other.x;
        self.y += other.y;
        self.count += other.count;
    }
}

pub(crate) const LOSS: &str = "loss.svg";
pub(crate) const REPORT: &str = "report.html";
/// More than can be seen, and half as many still are enough.
const POINTS: usize = 800;
const SAMPLES: usize = 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn means_of_neighbours() {
        let thinned = |count: u32| {
            let mut thinned = Thinned::default();
            thinned.extend((1..=count).map(|k| (f64::from(k), 1.0)));
            thinned.means()
        };
        assert_eq!(
            thinned(7),
            (1..=7).map(|k| (f64::from(k), 1.0)).collect::<Vec<_>>()
        );
        assert!(thinned(0).is_empty());
        for (count, each, pieces) in [
            (800, 1, 800),
            (801, 2, 401),
            (1601, 4, 401),
            (1_000_000, 2048, 489),
        ] {
            let means = thinned(count);
            assert_eq!(means.len(), pieces, "{count}");
            assert_eq!(means[1], (f64::from(each) * 1.5 + 0.5, 1.0), "{count}");
        }
    }

    #[test]
    fn torn_lines_are_passed_over() {
        let text = "{\"step\":0,\"val_loss\":4.0}\n{\"step\":1,\"loss\":3.5}\n{\"step\":2,\"sample\":\"a\"}\n{\"st";
        let history = History::read(text.as_bytes()).unwrap();
        assert_eq!(history.validation, [(0.0, 4.0)]);
        assert_eq!(history.train.means(), [(1.0, 3.5)]);
        assert_eq!(history.samples, [(2, "a".to_owned())]);
    }
}
