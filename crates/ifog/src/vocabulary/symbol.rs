//! Bytes and characters.

use std::fmt;

/// What the symbols of a vocabulary are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes.
    Bytes,
    /// Unicode code points.
    Characters,
}

/// One symbol. Its `Display` is printable: what is not a visible character is escaped as in Rust
/// (`\n`, `\t`, `\xff`, `\u{feff}`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Symbol {
    /// A symbol of a byte vocabulary.
    Byte(u8),
    /// A symbol of a character vocabulary.
    Character(char),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes => "bytes",
            Self::Characters => "characters",
        })
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte(byte @ (b'\'' | b'"')) => write!(f, "{}", char::from(*byte)),
            Self::Byte(byte) => write!(f, "{}", byte.escape_ascii()),
            // Spaces and marks that print as nothing are told apart by their code.
            Self::Character(c) if *c != ' ' && (c.is_whitespace() || is_invisible(*c)) => match c {
                '\n' | '\r' | '\t' => write!(f, "{}", c.escape_default()),
                _ => write!(f, "{}", c.escape_unicode()),
            },
            Self::Character(c @ ('\'' | '"')) => write!(f, "{c}"),
            Self::Character(c) => write!(f, "{}", c.escape_debug()),
        }
    }
}

pub(super) fn symbol_of_code(kind: Kind, code: u32) -> Symbol {
    match kind {
        Kind::Bytes => Symbol::Byte(code as u8),
        Kind::Characters => Symbol::Character(character(code)),
    }
}

pub(super) fn character(code: u32) -> char {
    char::from_u32(code).expect("the codes of a character vocabulary come from characters")
}

/// Zero-width characters that `escape_debug` lets through.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_print_visibly() {
        let shown = [
            (Symbol::Byte(b'a'), "a"),
            (Symbol::Byte(b'\n'), "\\n"),
            (Symbol::Byte(0xe9), "\\xe9"),
            (Symbol::Character(' '), " "),
            (Symbol::Character('\n'), "\\n"),
            (Symbol::Character('\u{a0}'), "\\u{a0}"),
            (Symbol::Character('\u{200b}'), "\\u{200b}"),
            (Symbol::Character('\0'), "\\0"),
            (Symbol::Character('é'), "é"),
        ];
        for (symbol, text) in shown {
            assert_eq!(symbol.to_string(), text);
        }
    }
}
