//! HTML pages that are complete in themselves: one file, no network, light and dark, usable by keyboard and, but for
//! what only a script can do, without one.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::chart::Chart;
use crate::failure::Failure;

/// A page.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    /// In the window's title and as heading.
    pub(crate) title: &'a str,
    /// One paragraph: what is seen here.
    pub(crate) lead: &'a str,
    /// The content, below the heading.
    pub(crate) body: Markup,
    /// Rules beside those of every page.
    pub(crate) style: &'a str,
    /// What runs when the page is there; empty for none.
    pub(crate) script: &'a str,
}

impl Page<'_> {
    /// The file.
    ///
    /// The policy in its head forbids every connection, so that a page can be opened or passed on without a thought.
    pub(crate) fn render(&self) -> String {
        let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(policy);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) (PreEscaped(self.style)) }
                }
                body {
                    main {
                        h1 { (self.title) }
                        p.lead { (self.lead) }
                        (self.body)
                    }
                    @if !self.script.is_empty() {
                        script { (PreEscaped(self.script)) }
                    }
                }
            }
        };
        page.into_string()
    }
}

/// A table with a heading row; columns after the first are numbers.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table {
                thead { tr { @for name in heading { th scope="col" { (name) } } } }
                tbody {
                    @for row in rows {
                        tr { @for cell in row { td { (cell) } } }
                    }
                }
            }
        }
    }
}

/// A chart with its title and caption as text; on a narrow screen it can be scrolled rather than be too small to read.
pub(crate) fn figure(chart: &Chart) -> Result<Markup, Failure> {
    let picture = picture(chart)?;
    Ok(html! {
        figure {
            (picture)
            figcaption { strong { (chart.title) ". " } (chart.caption) }
        }
    })
}

/// A chart alone, on a page that is named and explained by the chart's title and caption.
pub(crate) fn picture(chart: &Chart) -> Result<Markup, Failure> {
    let svg = PreEscaped(chart.picture()?);
    Ok(html! { div.scroll tabindex="0" { (svg) } })
}

/// The rules of every page; `var(--…)` are the colours of light and dark.
const STYLE: &str = "\
:root{--paper:#fff;--ink:#1b1f24;--dim:#5a626b;--line:#d5dae0;--accent:#2f6fae}
@media(prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e6e8ea;--dim:#9aa2ab;--line:#343a41;--accent:#6db0f2}}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:62rem;margin:0 auto;padding:1rem 1.25rem 4rem}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem}h3{font-size:1rem;margin:1rem 0 .25rem}
.lead{color:var(--dim);max-width:46rem}
figure{margin:1.5rem 0}
figcaption{color:var(--dim);max-width:46rem;font-size:.9rem}figcaption strong{color:var(--ink)}
.scroll{overflow-x:auto}.scroll svg.chart{display:block;min-width:40rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .75rem;border-top:1px solid var(--line);text-align:right;white-space:nowrap}
th{border-top:0}tr:has(>td:first-child:empty)>td{border-top-color:transparent}
th:first-child,td:first-child{text-align:left;padding-left:0}
th{color:var(--dim);font-weight:600;white-space:normal;vertical-align:bottom}
pre{white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid var(--line);border-radius:4px;padding:.75rem}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_complete_and_escapes_its_words() {
        let page = Page {
            title: "<b>",
            lead: "a & b",
            body: table(
                &["name", "n"],
                &[vec!["<script>".to_owned(), "1".to_owned()]],
            ),
            style: "p{margin:0}",
            script: "",
        };
        let html = page.render();
        assert!(html.starts_with("<!DOCTYPE html>"));
        for part in [
            "<title>&lt;b&gt;</title>",
            "a &amp; b",
            "&lt;script&gt;",
            "p{margin:0}",
        ] {
            assert!(html.contains(part), "{part}");
        }
        for part in ["<script", "://", "src=\"", "<link"] {
            assert!(!html.contains(part), "{part}");
        }
    }
}
