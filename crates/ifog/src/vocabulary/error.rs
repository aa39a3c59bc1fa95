//! Why a vocabulary cannot be built or read, or a text does not fit one.

use super::{MAX_SYMBOLS, Symbol};

/// Why a vocabulary could not be built, stored text could not be read as one, or a text does not
/// fit one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VocabularyError {
    /// The text has no symbol, or the same one throughout.
    #[error(
        "the text has {found} distinct symbol(s), but there is nothing to predict with fewer than \
         two: give a text with at least two different symbols"
    )]
    TooFewSymbols {
        /// Distinct symbols found: 0 or 1.
        found: usize,
    },
    /// More distinct symbols than a vocabulary can hold.
    #[error(
        "the text has {found} distinct characters and a vocabulary holds at most {MAX_SYMBOLS}: \
         read it as bytes (--vocab bytes)"
    )]
    TooManySymbols {
        /// Distinct symbols found.
        found: usize,
    },
    /// Characters were asked for, or are what the vocabulary holds, and the text is not UTF-8.
    #[error(
        "the text is not valid UTF-8 at byte {position} (line {line}): convert it to UTF-8, or use \
         a byte vocabulary (--vocab bytes)"
    )]
    NotUtf8 {
        /// Offset of the first invalid byte, from 0.
        position: usize,
        /// Its line, from 1.
        line: usize,
    },
    /// The mode was left open, and the data look like no text at all.
    #[error(
        "the data hold a NUL byte at {nul} and are not valid UTF-8 at byte {position}, so this is \
         probably not a text: ifog train --vocab bytes learns it all the same"
    )]
    Binary {
        /// Offset of the first NUL byte, from 0.
        nul: usize,
        /// Offset of the first byte that is not UTF-8, from 0.
        position: usize,
    },
    /// A text holds a symbol that the vocabulary does not.
    #[error(
        "the symbol '{symbol}' at byte {position} (line {line}) is not among the {size} symbols of \
         the vocabulary: remove it from the text, or train on a text that has it"
    )]
    UnknownSymbol {
        /// The symbol.
        symbol: Symbol,
        /// Its offset in bytes, from 0.
        position: usize,
        /// Its line, from 1.
        line: usize,
        /// Size of the vocabulary.
        size: usize,
    },
    /// A token that is no index into the vocabulary.
    #[error("the token {token} is outside the vocabulary of {size} symbols (0 to {})", size - 1)]
    UnknownToken {
        /// The token.
        token: u32,
        /// Size of the vocabulary.
        size: usize,
    },
    /// A stored vocabulary does not parse.
    #[error("the stored vocabulary is damaged: {reason}; restore the file from a copy")]
    Damaged {
        /// What is wrong with it.
        reason: String,
    },
}
