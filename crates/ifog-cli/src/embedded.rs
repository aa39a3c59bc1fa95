//! The corpus inside the binary.

/// The Rust sources of this workspace, one file after the other, as they were when the command was built.
pub(crate) const SOURCES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/corpus.txt"));

/// What the corpus is called in messages and in the name of a run directory.
pub(crate) const NAME: &str = "ifog-sources";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_of_every_crate_are_in_it() {
        let text = std::str::from_utf8(SOURCES).expect("Rust sources are UTF-8");
        for line in [
            "pub enum Cell {",
            "pub struct Vocabulary {",
            "pub struct Report {",
            "pub(crate) const SOURCES: &[u8]",
        ] {
            assert!(text.contains(line), "{line}");
        }
        assert!(!text.contains('\r'));
    }
}
