//! The file of `--out`: a chart alone, or a page around it.

use std::path::Path;

use ifog::atomic_file::write_atomically;

use crate::chart::Chart;
use crate::failure::Failure;
use crate::output::log;
use crate::page::{Page, figure};

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

    /// Of an option that may not be given.
    pub(crate) fn check(path: Option<&Path>) -> Result<(), Failure> {
        path.map_or(Ok(()), |path| Self::of(path).map(|_| ()))
    }

    /// Of an option that only a page can be written for.
    pub(crate) fn check_page(path: Option<&Path>) -> Result<(), Failure> {
        match path {
            Some(path) if Self::of(path).ok() != Some(Self::Page) => Err(Failure::usage(format!(
                "--out {} is no page: give a name that ends in .html",
                path.display()
            ))),
            _ => Ok(()),
        }
    }
}

/// Writes `chart` as SVG or, if the name ends in `.html`, as a page with `table` below it.
pub(crate) fn write_chart(path: &Path, chart: &Chart, table: &maud::Markup) -> Result<(), Failure> {
    let svg = chart.svg()?;
    let content = match Kind::of(path)? {
        Kind::Chart => svg,
        Kind::Page => {
            let page = Page {
                title: &chart.title,
                lead: &chart.caption,
                body: maud::html! { (figure(&svg)) (table) },
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
