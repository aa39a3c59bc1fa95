//! The pictures of a finished run: loss.svg, and report.html with everything on one page.

use std::path::Path;

use ifog::atomic_file::write_atomically;
use ifog::language_model::LanguageModel;
use maud::{Markup, html};
use serde_json::Value;

use crate::chart::{Axis, Chart, Mark, Series};
use crate::failure::Failure;
use crate::output::printable;
use crate::page::{Page, figure, table};
use crate::run_directory::{CONFIG, METRICS};
use crate::sample::Request;

/// What metrics.jsonl tells of a run.
#[derive(Debug, Default)]
struct History {
    /// (step, nats), thinned to means over pieces.
    train: Vec<(f64, f64)>,
    /// (step, nats).
    validation: Vec<(f64, f64)>,
    /// (step, characters a second), since the start or the last resumption.
    speed: Vec<(f64, f64)>,
    /// (step, rate).
    rate: Vec<(f64, f64)>,
    /// (step, text).
    samples: Vec<(u64, String)>,
}

/// Writes both into the run's directory. `facts` are the rows of the first table; `log_x` spreads the early steps.
pub(crate) fn write(directory: &Path, facts: &[Vec<String>], log_x: bool) -> Result<(), Failure> {
    let read = |name: &str| {
        std::fs::read_to_string(directory.join(name)).map_err(|error| {
            Failure::work(format!(
                "cannot read {name} in {}: {error}",
                directory.display()
            ))
        })
    };
    let history = History::read(&read(METRICS)?);
    let loss = history.loss(log_x);
    write_atomically(&directory.join(LOSS), loss.svg()?.as_bytes())?;
    let best = LanguageModel::load(directory)?;
    let title = format!("Training run {}", directory.display());
    let page = Page {
        title: &title,
        lead: "How a character-level language model learned: loss, settings, texts and speed.",
        body: html! {
            (figure(&loss)?)
            (table(&["", ""], facts))
            (history.texts(&text_of(&best)?))
            h2 { "Speed and learning rate" }
            (figure(&chart("Throughput", "characters/s", &history.speed))?)
            (figure(&chart("Learning rate", "learning rate", &history.rate))?)
            h2 { "Settings" }
            pre { (read(CONFIG)?) }
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
    /// Lines that are not understood, and numbers that are none, are passed over.
    fn read(metrics: &str) -> Self {
        let lines: Vec<Value> = metrics
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let series = |name: &str| -> Vec<(f64, f64)> {
            let points = lines
                .iter()
                .filter_map(|line| Some((line.get("step")?.as_f64()?, line.get(name)?.as_f64()?)));
            points.collect()
        };
        let samples = lines.iter().filter_map(|line| {
            let text = line.get("sample")?.as_str()?;
            Some((line.get("step")?.as_u64()?, text.to_owned()))
        });
        Self {
            train: thinned(&series("loss")),
            validation: series("val_loss"),
            speed: thinned(&series("chars_per_s")),
            rate: thinned(&series("lr")),
            samples: samples.collect(),
        }
    }

    fn loss(&self, log_x: bool) -> Chart {
        let best = self.validation.iter().skip(1);
        let best = best.fold((0.0, f64::INFINITY), |best, point| {
            if point.1 < best.1 { *point } else { best }
        });
        // The untrained model stands at step 0, which no logarithm has.
        Chart {
            x: if log_x {
                Axis::log("step")
            } else {
                Axis::linear("step")
            },
            series: vec![
                Series::line("training", 0, self.train.clone()),
                Series::line("validation", 1, self.validation.clone()),
                Series::line("best", 2, vec![best]).drawn_as(Mark::Dots),
            ],
            caption: format!(
                "Mean cross-entropy in nats a character; the best validation is {:.4} nats at step {}. Training losses are \
                 means over a few thousandths of the run.",
                best.1, best.0
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
    let mut text = Vec::new();
    for _ in 0..request.length {
        text.extend_from_slice(generator.next_symbol()?);
    }
    Ok(printable(&text))
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

/// Means over pieces, so that there are [`POINTS`] at most.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |piece: &[(f64, f64)], value: fn(&(f64, f64)) -> f64| {
        piece.iter().map(value).sum::<f64>() / piece.len() as f64
    };
    let pieces = points.chunks(points.len().div_ceil(POINTS).max(1));
    pieces
        .map(|piece| (mean(piece, |p| p.0), mean(piece, |p| p.1)))
        .collect()
}

pub(crate) const LOSS: &str = "loss.svg";
pub(crate) const REPORT: &str = "report.html";
/// Two a pixel of a chart's width are more than can be seen.
const POINTS: usize = 400;
const SAMPLES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_keep_first_and_last_pieces() {
        let points: Vec<(f64, f64)> = (0..1000).map(|k| (f64::from(k), 1.0)).collect();
        let thin = thinned(&points);
        assert_eq!(thin.len(), 334);
        assert_eq!((thin[0], thin[333]), ((1.0, 1.0), (999.0, 1.0)));
        assert_eq!(thinned(&points[..7]), points[..7]);
        assert!(thinned(&[]).is_empty());
    }

    #[test]
    fn torn_lines_are_passed_over() {
        let text = "{\"step\":0,\"val_loss\":4.0}\n{\"step\":1,\"loss\":3.5}\n{\"step\":2,\"sample\":\"a\"}\n{\"st";
        let history = History::read(text);
        assert_eq!(history.validation, [(0.0, 4.0)]);
        assert_eq!(history.train, [(1.0, 3.5)]);
        assert_eq!(history.samples, [(2, "a".to_owned())]);
    }
}
