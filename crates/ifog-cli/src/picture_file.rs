//! The file of `--out`: a chart alone, or a page around it.

use std::path::Path;

use ifog::atomic_file::write_atomically;

use crate::chart::Chart;
use crate::failure::Failure;
use crate::output::log;
use crate::page::{Page, figure};

/// Writes `chart` as SVG or, if the name ends in `.html`, as a page with `table` below it.
pub(crate) fn write_chart(path: &Path, chart: &Chart, table: &maud::Markup) -> Result<(), Failure> {
    let svg = chart.svg()?;
    let content = match path.extension().and_then(|e| e.to_str()) {
        Some("svg") => svg,
        Some("html") => {
            let page = Page {
                title: &chart.title,
                lead: &chart.caption,
                body: maud::html! { (figure(&svg)) (table) },
                style: "",
                script: "",
            };
            page.render()
        }
        _ => {
            return Err(Failure::usage(format!(
                "--out {} has no known kind of picture: give a name that ends in .svg or .html",
                path.display()
            )));
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
