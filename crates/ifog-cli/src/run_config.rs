//! config.toml: what a run did, and what another can be told to do.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use ifog::train::{Interval, TrainConfig};
use serde::{Deserialize, Serialize};

use crate::args;
use crate::failure::Failure;

/// The content of a configuration file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunConfig {
    /// Path of the text: of a run from the root, so that it is found from everywhere; in a file for runs to come, relative to
    /// the working directory. Absent for the sources of ifog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) corpus: Option<String>,
    /// The trained model that the run began with, as --init-from names it; of a run from the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) init_from: Option<String>,
    /// The instruction set of the run: a note, no setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) isa: Option<String>,
    pub(crate) training: TrainConfig,
    pub(crate) saving: SavingConfig,
}

/// When to save and what to keep: without influence on the result.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SavingConfig {
    #[serde(with = "interval_text")]
    pub(crate) every: Interval,
    pub(crate) keep: usize,
}

impl Default for SavingConfig {
    fn default() -> Self {
        Self {
            every: Interval::Time(Duration::from_secs(60)),
            keep: 3,
        }
    }
}

impl RunConfig {
    /// Reads a file. A key that there is not is an error that names the nearest one there is.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = read(path).map_err(|error| {
            Failure::work(format!(
                "cannot read the configuration {}: {error}; give a file such as the config.toml of a run",
                path.display()
            ))
        })?;
        Self::parse(&text).map_err(|reason| {
            Failure::usage(format!("the configuration {}: {reason}", path.display()))
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        // The parser's message shows the line; of its several lines one is kept.
        let one_line = |error: toml::de::Error| {
            let line = error
                .span()
                .and_then(|span| Some(1 + text.get(..span.start)?.matches('\n').count()));
            let line = line.map_or(String::new(), |line| format!("line {line}: "));
            format!("{line}{}", error.message().replace('\n', " "))
        };
        let mut table: toml::Table = text.parse().map_err(one_line)?;
        check_keys(
            "",
            &table,
            &["corpus", "init_from", "isa", "training", "saving"],
        )?;
        let sections = [
            ("training", keys_of(&TrainConfig::default())),
            ("saving", keys_of(&SavingConfig::default())),
        ];
        for (section, known) in &sections {
            if let Some(toml::Value::Table(table)) = table.get(*section) {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                check_keys(section, table, &known)?;
            }
        }
        if as_on_the_command_line(&mut table)? {
            return table
                .try_into()
                .map_err(|error| error.message().replace('\n', " "));
        }
        toml::from_str(text).map_err(one_line)
    }
}

/// A file or a pipe.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path)?;
    if file.take(LARGEST + 1).read_to_string(&mut text)? as u64 > LARGEST {
        let reason = format!("it has more than {LARGEST} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(text)
}

/// Bytes of the largest file.
const LARGEST: u64 = 1 << 20;

/// Takes up what --hidden and --max-seconds understand beside a number; whether there was something of it. Refuses what --keep
/// refuses.
fn as_on_the_command_line(table: &mut toml::Table) -> Result<bool, String> {
    use toml::Value;
    if let Some(Value::Integer(..=0)) = section(table, "saving").and_then(|s| s.get("keep")) {
        return Err("keep = 0 in [saving]: give a whole number of at least 1".to_owned());
    }
    let Some(training) = section(table, "training") else {
        return Ok(false);
    };
    let widths = match training.get("hidden") {
        Some(Value::Array(widths)) => Some(widths.clone()),
        Some(Value::String(widths)) => Some(
            widths
                .split(',')
                .map(|width| match width.trim().parse() {
                    Ok(width) => Ok(Value::Integer(width)),
                    Err(_) => Err(format!("hidden = '{widths}': give widths such as 256,128")),
                })
                .collect::<Result<_, _>>()?,
        ),
        _ => None,
    };
    let time = match training.get("max_seconds") {
        Some(Value::String(time)) => Some(
            args::seconds(time).map_err(|advice| format!("max_seconds = '{time}': {advice}"))?,
        ),
        _ => None,
    };
    let found = widths.is_some() || time.is_some();
    match widths.as_deref() {
        None => {}
        // Of all layers.
        Some([width]) => {
            training.insert("hidden".to_owned(), width.clone());
        }
        Some(widths) => {
            training.remove("hidden");
            let layers = i64::try_from(widths.len()).unwrap_or(i64::MAX);
            let layers = Value::Integer(layers);
            // Another number is for the trainer to refuse.
            training.entry("layers").or_insert(layers);
            training.insert("widths".to_owned(), Value::Array(widths.to_vec()));
        }
    }
    if let Some(time) = time {
        training.insert("max_seconds".to_owned(), Value::Float(time));
    }
    Ok(found)
}

fn section<'a>(table: &'a mut toml::Table, name: &str) -> Option<&'a mut toml::Table> {
    table.get_mut(name)?.as_table_mut()
}

/// The names of a struct's fields, those that are absent included.
fn keys_of(value: &impl Serialize) -> Vec<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::Object(fields)) => fields.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

fn check_keys(section: &str, table: &toml::Table, known: &[&str]) -> Result<(), String> {
    let Some(unknown) = table.keys().find(|key| !known.contains(&key.as_str())) else {
        return Ok(());
    };
    let place = match section {
        "" => String::new(),
        section => format!(" in [{section}]"),
    };
    // A hyphen for an underscore is no distance at all.
    let plain = unknown.replace('-', "_");
    if section.is_empty() && keys_of(&TrainConfig::default()).contains(&plain) {
        return Err(format!(
            "there is no key '{unknown}' outside of a section: put it below [training]"
        ));
    }
    let plain = match ELSEWHERE.iter().find(|(theirs, _)| *theirs == plain) {
        Some((_, ours)) => (*ours).to_owned(),
        None => plain,
    };
    let distance = |key: &&&str| strsim::damerau_levenshtein(&plain, key);
    let nearest = known.iter().min_by_key(distance);
    match nearest.filter(|key| distance(key) <= 1 + unknown.len() / 3) {
        Some(key) => Err(format!(
            "there is no key '{unknown}'{place}: did you mean '{key}'?"
        )),
        None => Err(format!(
            "there is no key '{unknown}'{place}: there are {}",
            known.join(", ")
        )),
    }
}

/// What others call these settings.
const ELSEWHERE: [(&str, &str); 9] = [
    ("learning_rate", "lr"),
    ("batch_size", "batch"),
    ("hidden_size", "hidden"),
    ("rnn_size", "hidden"),
    ("num_layers", "layers"),
    ("seq_length", "seq_len"),
    ("max_epochs", "epochs"),
    ("grad_clip", "clip_norm"),
    ("weight_averaging", "ema"),
];

/// [`Interval`] as on the command line.
mod interval_text {
    use ifog::train::Interval;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(interval: &Interval, to: S) -> Result<S::Ok, S::Error> {
        match interval {
            Interval::Steps(n) => to.serialize_str(&format!("{n}steps")),
            Interval::Time(time) => to.serialize_str(&format!("{}s", time.as_secs_f64())),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Interval, D::Error> {
        super::args::interval(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn a_file_comes_back_as_it_was() {
        let config = RunConfig {
            corpus: Some("a book.txt".to_owned()),
            init_from: Some("runs/a book".to_owned()),
            isa: Some("avx2".to_owned()),
            training: TrainConfig {
                lr: 0.1 + 0.2,
                epochs: Some(1.0 / 3.0),
                seed: 1 << 60,
                ..TrainConfig::default()
            },
            saving: SavingConfig {
                every: Interval::Steps(7),
                keep: 2,
            },
        };
        let read = RunConfig::parse(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(read.training, config.training);
        assert_eq!(read.saving.every, config.saving.every);
        assert_eq!(read.corpus, config.corpus);
        assert_eq!(read.init_from, config.init_from);
        assert_eq!(
            RunConfig::parse("").unwrap().training,
            TrainConfig::default()
        );
    }

    #[test]
    fn every_seed_comes_back() {
        for seed in [0, i64::MAX as u64, 1 << 63, u64::MAX] {
            let mut config = RunConfig::default();
            config.training.seed = seed;
            let text = toml::to_string(&config).unwrap();
            assert_eq!(RunConfig::parse(&text).unwrap().training.seed, seed);
        }
        for seed in ["-1", "1.5", "'x'", "'18446744073709551616'", "[]"] {
            let refusal = RunConfig::parse(&format!("[training]\nseed = {seed}")).unwrap_err();
            let what = "a whole number from 0 to 18446744073709551615";
            assert!(
                refusal.contains("line 2") && refusal.contains(what),
                "{refusal}"
            );
        }
    }

    #[test]
    fn the_recipes_are_read() {
        let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
        let Ok(files) = fs::read_dir(&recipes) else {
            println!("skipped: {} is only in the repository", recipes.display());
            return;
        };
        let mut count = 0;
        for file in files {
            let path = file.unwrap().path();
            let config = RunConfig::read(&path).unwrap_or_else(|error| panic!("{error:?}"));
            assert!(config.corpus.is_some() && config.training != TrainConfig::default());
            count += 1;
        }
        assert!(count >= 8, "{count}");
    }

    #[test]
    fn settings_are_spelled_as_on_the_command_line() {
        for widths in ["[32, 16]", "'32,16'"] {
            let text = format!("[training]\nhidden = {widths}\nmax_seconds = '3m'\n");
            let training = RunConfig::parse(&text).unwrap().training;
            assert_eq!(training.widths, [32, 16]);
            assert_eq!((training.layers, training.max_seconds), (2, Some(180.0)));
        }
        for width in ["8", "'8'", "[8]"] {
            let text = format!("[training]\nhidden = {width}\nlayers = 3\n");
            let training = RunConfig::parse(&text).unwrap().training;
            assert_eq!(training.layer_widths(), [8; 3], "{width}");
        }
        let uneven = RunConfig::parse("[training]\nhidden = [8, 6]\nlayers = 3");
        let uneven = uneven.unwrap().training;
        assert_eq!((uneven.widths.len(), uneven.layers), (2, 3));
        for wrong in [
            "[training]\nhidden = '3,x'",
            "[training]\nhidden = [0.5]",
            "[training]\nmax_seconds = 'soon'",
            "[saving]\nkeep = 0",
            "[saving]\nevery = '0s'",
        ] {
            assert!(RunConfig::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_key_suggests_the_right_one() {
        let refusal = |text: &str| RunConfig::parse(text).unwrap_err();
        assert_eq!(
            refusal("[training]\nlearning_rate = 5"),
            "there is no key 'learning_rate' in [training]: did you mean 'lr'?"
        );
        assert_eq!(
            refusal("hidden = 5"),
            "there is no key 'hidden' outside of a section: put it below [training]"
        );
        assert_eq!(
            refusal("[training]\nhiden = 5"),
            "there is no key 'hiden' in [training]: did you mean 'hidden'?"
        );
        assert!(refusal("[training]\nmax-seconds = 5").contains("'max_seconds'?"));
        assert!(refusal("[trainig]").contains("did you mean 'training'?"));
        assert!(refusal("[saving]\nzebra = 1").contains("there are every, keep"));
        assert!(refusal("[training]\nlr = 'fast'").contains("line 2"));
        assert!(refusal("[training]\ncell = 'lstn'").contains("lstm, gru"));
        assert!(refusal("[saving]\nevery = 'often'").contains("30s"));
        assert!(refusal("x").contains("line 1"));
    }
}
