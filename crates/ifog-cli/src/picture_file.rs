//! What is done with a report: `--json`, and the file of `--out`, a chart alone or a page around it.

use std::path::{Path, PathBuf};

use clap::Args;
use ifog::atomic_file::{check_writable, write_atomically};
use serde::Serialize;

use crate::args::seed;
use crate::chart::Chart;
use crate::failure::Failure;
use crate::output::{log, print_json};
use crate::page::{Page, picture};

/// Options of the commands that measure and report.
#[derive(Debug, Args)]
pub(crate) struct ReportOptions {
    /// Where every random choice comes from.
    #[arg(long, default_value_t = 0, value_parser = seed, value_name = "N")]
    pub(crate) seed: u64,
    /// Chart to write: .svg, or .html for a page with the figures below it.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

impl ReportOptions {
    /// Refuses an `--out` that cannot be written. To be asked before any work is done.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        Kind::check(self.out.as_deref())
    }

    /// Says the figures and draws the picture, if and as they were asked for: either whatever becomes of the other.
    pub(crate) fn deliver(
        &self,
        report: &impl Serialize,
        draw: impl FnOnce(&Path) -> Result<(), Failure>,
        print: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let printed = if self.json {
            print_json(report)
        } else {
            print()
        };
        let drawn = self.out.as_deref().map_or(Ok(()), draw);
        // That nobody reads the figures is no failure, so it must not hide one.
        drawn.and(printed)
    }
}

/// What `--out` asks for by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `.svg`: the chart alone.
    Chart,
    /// `.html`: a page.
    Page,
}

impl Kind {
    /// By the end of the name. To be asked before any work is done.
    pub(crate) fn of(path: &Path) -> Result<Self, Failure> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("svg") => Ok(Self::Chart),
            Some("html") => Ok(Self::Page),
            _ => Err(Failure::usage(format!(
                "--out {} has no known kind of picture: give a name that ends in .svg or .html",
                path.display()
            ))),
        }
    }

    /// Refuses a picture of no kind, or in a place that cannot be written to.
    pub(crate) fn check(path: Option<&Path>) -> Result<(), Failure> {
        let Some(path) = path else { return Ok(()) };
        Self::of(path)?;
        Ok(check_writable(path)?)
    }

    /// Refuses what is no page, or in a place that cannot be written to.
    pub(crate) fn check_page(path: &Path) -> Result<(), Failure> {
        if Self::of(path).ok() != Some(Self::Page) {
            return Err(Failure::usage(format!(
                "--out {} is no page: give a name that ends in .html",
                path.display()
            )));
        }
        Ok(check_writable(path)?)
    }
}

/// Writes `chart` as SVG or, if the name ends in `.html`, as a page with `table` below it.
pub(crate) fn write_chart(path: &Path, chart: &Chart, table: &maud::Markup) -> Result<(), Failure> {
    let content = match Kind::of(path)? {
        Kind::Chart => chart.svg()?,
        Kind::Page => {
            let page = Page {
                title: &chart.title,
                lead: &chart.caption,
                body: maud::html! { (picture(chart)?) (table) },
                style: "",
                script: "",
            };
            page.render()
        }
    };
    write_picture(path, &content)
}

/// Writes a finished picture or page and says where it is.
pub(crate) fn write_picture(path: &Path, content: &str) -> Result<(), Failure> {
    write_atomically(path, content.as_bytes())?;
    log(format_args!("wrote {}", path.display()));
    Ok(())
}
