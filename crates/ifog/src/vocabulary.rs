//! The symbols of a corpus and their token numbers.
//!
//! A vocabulary is a sorted list of distinct symbols, bytes or characters; a token is an index into
//! it. Nothing is normalised: a byte-order mark, a carriage return or a control character is a
//! symbol like any other, so that decoding an encoded text gives it back exactly.

use serde::{Deserialize, Serialize};

use symbol::{character, symbol_of_code};

pub use error::VocabularyError;
pub use symbol::{Kind, Symbol};

mod error;
mod symbol;

/// The most symbols a vocabulary can have.
pub const MAX_SYMBOLS: usize = 65_536;

/// How a text is to be cut into symbols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Characters if the text is valid UTF-8, bytes otherwise.
    #[default]
    Auto,
    /// One symbol a byte; any data will do.
    Bytes,
    /// One symbol a Unicode code point; the text must be UTF-8.
    Characters,
}

/// Distinct symbols sorted by code; a symbol's position is its token.
///
/// ```
/// use ifog::vocabulary::{Mode, Vocabulary};
///
/// let vocabulary = Vocabulary::of_text("où, où".as_bytes(), Mode::Auto)?;
/// assert_eq!(vocabulary.len(), 4); // ' '  ','  'o'  'ù'
/// let tokens = vocabulary.encode("où".as_bytes())?;
/// assert_eq!(tokens, [2, 3]);
/// assert_eq!(vocabulary.decode(&tokens)?, "où".as_bytes());
/// # Ok::<(), ifog::vocabulary::VocabularyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    kind: Kind,
    /// Byte values or code points, strictly ascending.
    codes: Vec<u32>,
    /// Token of every code below 256, or [`ABSENT`].
    low: [u16; 256],
}

impl Vocabulary {
    /// The distinct symbols of `text`.
    ///
    /// # Errors
    ///
    /// [`TooFewSymbols`](VocabularyError::TooFewSymbols), [`TooManySymbols`](VocabularyError::TooManySymbols);
    /// [`NotUtf8`](VocabularyError::NotUtf8) with [`Mode::Characters`];
    /// [`Binary`](VocabularyError::Binary) with [`Mode::Auto`] for data that are not UTF-8 and hold
    /// a NUL byte.
    pub fn of_text(text: &[u8], mode: Mode) -> Result<Self, VocabularyError> {
        let kind = match (mode, std::str::from_utf8(text)) {
            (Mode::Bytes, _) => Kind::Bytes,
            (_, Ok(_)) => Kind::Characters,
            (Mode::Characters, Err(error)) => return Err(not_utf8(text, error)),
            (Mode::Auto, Err(error)) => match text.iter().position(|&byte| byte == 0) {
                Some(nul) => {
                    return Err(VocabularyError::Binary {
                        nul,
                        position: error.valid_up_to(),
                    });
                }
                None => Kind::Bytes,
            },
        };
        let codes = distinct_codes(text, kind)?;
        if codes.len() < 2 {
            return Err(VocabularyError::TooFewSymbols { found: codes.len() });
        }
        if codes.len() > MAX_SYMBOLS {
            return Err(VocabularyError::TooManySymbols { found: codes.len() });
        }
        Ok(Self::from_sorted(kind, codes))
    }

    /// Whether the symbols are bytes or characters.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Number of symbols V, from 2 to [`MAX_SYMBOLS`].
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a vocabulary is never empty")]
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// The symbol of a token, `None` from [`len`](Self::len) on.
    #[must_use]
    pub fn symbol(&self, token: u32) -> Option<Symbol> {
        let code = *self.codes.get(token as usize)?;
        Some(symbol_of_code(self.kind, code))
    }

    /// All symbols in the order of their tokens.
    pub fn symbols(&self) -> impl ExactSizeIterator<Item = Symbol> + '_ {
        self.codes
            .iter()
            .map(|&code| symbol_of_code(self.kind, code))
    }

    /// The token of a symbol, `None` if the vocabulary lacks it or holds the other kind.
    #[must_use]
    pub fn token(&self, symbol: Symbol) -> Option<u32> {
        match (self.kind, symbol) {
            (Kind::Bytes, Symbol::Byte(byte)) => self.token_of_code(u32::from(byte)),
            (Kind::Characters, Symbol::Character(c)) => self.token_of_code(u32::from(c)),
            _ => None,
        }
    }

    /// The tokens of a text, one a symbol.
    ///
    /// # Errors
    ///
    /// [`UnknownSymbol`](VocabularyError::UnknownSymbol) for the first symbol that the vocabulary
    /// lacks, [`NotUtf8`](VocabularyError::NotUtf8) if it holds characters and the text is not UTF-8.
    pub fn encode(&self, text: &[u8]) -> Result<Vec<u32>, VocabularyError> {
        self.encode_first(text, usize::MAX)
    }

    /// The tokens of the first `most` symbols of a text; what follows is not looked up.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_first(&self, text: &[u8], most: usize) -> Result<Vec<u32>, VocabularyError> {
        let unknown = |code, position| VocabularyError::UnknownSymbol {
            symbol: symbol_of_code(self.kind, code),
            position,
            line: line_of(text, position),
            size: self.len(),
        };
        match self.kind {
            Kind::Bytes => {
                let text = &text[..most.min(text.len())];
                let codes = text.iter().map(|&byte| u32::from(byte)).enumerate();
                self.tokens(codes, text.len(), unknown)
            }
            Kind::Characters => {
                let text = std::str::from_utf8(text).map_err(|error| not_utf8(text, error))?;
                let codes = text.char_indices().map(|(at, c)| (at, u32::from(c)));
                let count = text.chars().take(most).count();
                self.tokens(codes.take(most), count, unknown)
            }
        }
    }

    /// Of places and codes. There is room for all at once: growing would take up to three times as much.
    fn tokens(
        &self,
        codes: impl Iterator<Item = (usize, u32)>,
        count: usize,
        unknown: impl Fn(u32, usize) -> VocabularyError,
    ) -> Result<Vec<u32>, VocabularyError> {
        let mut tokens = Vec::with_capacity(count);
        for (at, code) in codes {
            tokens.push(self.token_of_code(code).ok_or_else(|| unknown(code, at))?);
        }
        Ok(tokens)
    }

    /// The text of some tokens. With a byte vocabulary it need not be UTF-8.
    ///
    /// # Errors
    ///
    /// [`UnknownToken`](VocabularyError::UnknownToken) for a token outside the vocabulary.
    pub fn decode(&self, tokens: &[u32]) -> Result<Vec<u8>, VocabularyError> {
        let mut text = Vec::with_capacity(tokens.len());
        for &token in tokens {
            self.decode_onto(token, &mut text)?;
        }
        Ok(text)
    }

    /// Appends the bytes of one token to `text`: for output that grows symbol by symbol.
    ///
    /// # Errors
    ///
    /// [`UnknownToken`](VocabularyError::UnknownToken) for a token outside the vocabulary.
    pub fn decode_onto(&self, token: u32, text: &mut Vec<u8>) -> Result<(), VocabularyError> {
        match self.symbol(token) {
            Some(Symbol::Byte(byte)) => text.push(byte),
            Some(Symbol::Character(c)) => {
                text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            None => {
                return Err(VocabularyError::UnknownToken {
                    token,
                    size: self.len(),
                });
            }
        }
        Ok(())
    }

    /// The vocabulary as one line of JSON, `{"kind":"bytes","symbols":[10,32,…]}` or
    /// `{"kind":"characters","symbols":"\n abc…"}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let stored = match self.kind {
            Kind::Bytes => Stored::Bytes {
                symbols: self.codes.iter().map(|&code| code as u8).collect(),
            },
            Kind::Characters => Stored::Characters {
                symbols: self.codes.iter().map(|&code| character(code)).collect(),
            },
        };
        serde_json::to_string(&stored).expect("bytes and strings have a JSON form")
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    ///
    /// [`Damaged`](VocabularyError::Damaged) for anything that is not such a line with 2 to
    /// [`MAX_SYMBOLS`] strictly ascending symbols: a missing, doubled or unknown key, too.
    pub fn from_json(json: &str) -> Result<Self, VocabularyError> {
        let damaged = |reason: String| VocabularyError::Damaged { reason };
        let stored = serde_json::from_str(json).map_err(|error| damaged(error.to_string()))?;
        let (kind, codes): (_, Vec<u32>) = match stored {
            Stored::Bytes { symbols } => {
                (Kind::Bytes, symbols.into_iter().map(u32::from).collect())
            }
            Stored::Characters { symbols } => {
                (Kind::Characters, symbols.chars().map(u32::from).collect())
            }
        };
        if !(2..=MAX_SYMBOLS).contains(&codes.len()) {
            return Err(damaged(format!(
                "it has {} symbols, not 2 to {MAX_SYMBOLS}",
                codes.len()
            )));
        }
        if let Some(at) = codes.windows(2).position(|pair| pair[0] >= pair[1]) {
            return Err(damaged(format!(
                "symbol {} is not above the one before it",
                at + 1
            )));
        }
        Ok(Self::from_sorted(kind, codes))
    }

    /// `codes`: strictly ascending, at most [`MAX_SYMBOLS`].
    fn from_sorted(kind: Kind, codes: Vec<u32>) -> Self {
        let mut low = [ABSENT; 256];
        for (token, &code) in codes.iter().enumerate() {
            // Ascending codes: one below 256 has fewer than 256 before it.
            if let Some(slot) = low.get_mut(code as usize) {
                *slot = token as u16;
            }
        }
        Self { kind, codes, low }
    }

    fn token_of_code(&self, code: u32) -> Option<u32> {
        match self.low.get(code as usize) {
            Some(&ABSENT) => None,
            Some(&token) => Some(u32::from(token)),
            None => Some(self.codes.binary_search(&code).ok()? as u32),
        }
    }
}

/// The form of a vocabulary in a checkpoint's metadata.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Stored {
    Bytes { symbols: Vec<u8> },
    Characters { symbols: String },
}

/// The distinct codes of a text in ascending order.
fn distinct_codes(text: &[u8], kind: Kind) -> Result<Vec<u32>, VocabularyError> {
    // One flag a code point: 1.1 MB for characters, whatever the text.
    let mut seen = match kind {
        Kind::Bytes => vec![false; 256],
        Kind::Characters => vec![false; char::MAX as usize + 1],
    };
    match kind {
        Kind::Bytes => text.iter().for_each(|&byte| seen[usize::from(byte)] = true),
        Kind::Characters => std::str::from_utf8(text)
            .map_err(|error| not_utf8(text, error))?
            .chars()
            .for_each(|c| seen[c as usize] = true),
    }
    Ok((0..)
        .zip(seen)
        .filter_map(|(code, seen)| seen.then_some(code))
        .collect())
}

fn not_utf8(text: &[u8], error: std::str::Utf8Error) -> VocabularyError {
    let position = error.valid_up_to();
    VocabularyError::NotUtf8 {
        position,
        line: line_of(text, position),
    }
}

/// The line, from 1, of the byte at `position`.
fn line_of(text: &[u8], position: usize) -> usize {
    1 + text[..position]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count()
}

/// Marks a code without a token. Tokens of codes below 256 are below 256, so it is never a token.
const ABSENT: u16 = u16::MAX;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn modes_choose_the_kind() {
        let utf8 = "naïve".as_bytes();
        let latin1 = b"na\xefve";
        let kind = |text, mode| Vocabulary::of_text(text, mode).map(|v| v.kind());
        assert_eq!(kind(utf8, Mode::Auto), Ok(Kind::Characters));
        assert_eq!(kind(utf8, Mode::Bytes), Ok(Kind::Bytes));
        assert_eq!(kind(latin1, Mode::Auto), Ok(Kind::Bytes));
        assert_eq!(
            kind(b"ab\nc\xefd", Mode::Characters),
            Err(VocabularyError::NotUtf8 {
                position: 4,
                line: 2
            })
        );
        // NUL alone is a fine character; NUL in what is not UTF-8 looks like a binary file.
        assert_eq!(kind(b"a\0b", Mode::Auto), Ok(Kind::Characters));
        let error = Vocabulary::of_text(b"\xef\0b", Mode::Auto).unwrap_err();
        assert_eq!(
            error,
            VocabularyError::Binary {
                nul: 1,
                position: 0
            }
        );
        assert!(error.to_string().contains("--vocab bytes"), "{error}");
        assert_eq!(kind(b"\xef\0b", Mode::Bytes), Ok(Kind::Bytes));
    }

    #[test]
    fn symbols_are_sorted_and_a_byte_order_mark_is_kept() {
        let text = "\u{feff}bäa€😀b".as_bytes();
        let vocabulary = Vocabulary::of_text(text, Mode::Auto).unwrap();
        let symbols: String = vocabulary.symbols().map(|s| s.to_string()).collect();
        assert_eq!(symbols, "abä€\\u{feff}😀");
        assert_eq!(vocabulary.token(Symbol::Character('€')), Some(3));
        assert_eq!(vocabulary.token(Symbol::Byte(b'a')), None);
        assert_eq!(vocabulary.symbol(6), None);
        let tokens = vocabulary.encode(text).unwrap();
        assert_eq!(tokens, [4, 1, 2, 0, 3, 5, 1]);
        assert_eq!(vocabulary.decode(&tokens).unwrap(), text);
    }

    #[test]
    fn every_byte_survives() {
        let text: Vec<u8> = (0..=255).rev().collect();
        let vocabulary = Vocabulary::of_text(&text, Mode::Bytes).unwrap();
        assert_eq!(vocabulary.len(), 256);
        let tokens = vocabulary.encode(&text).unwrap();
        assert_eq!(tokens[0], 255);
        assert_eq!(vocabulary.decode(&tokens).unwrap(), text);
    }

    #[test]
    fn one_symbol_is_too_few() {
        for (text, found) in [("", 0), ("aaaa", 1)] {
            for mode in [Mode::Auto, Mode::Bytes, Mode::Characters] {
                assert_eq!(
                    Vocabulary::of_text(text.as_bytes(), mode),
                    Err(VocabularyError::TooFewSymbols { found })
                );
            }
        }
    }

    #[test]
    fn too_many_characters_are_refused_and_the_most_allowed_work() {
        let text: String = ('\u{1}'..).take(MAX_SYMBOLS + 1).collect();
        assert_eq!(
            Vocabulary::of_text(text.as_bytes(), Mode::Auto),
            Err(VocabularyError::TooManySymbols {
                found: MAX_SYMBOLS + 1
            })
        );
        let text: String = text.chars().skip(1).collect();
        let vocabulary = Vocabulary::of_text(text.as_bytes(), Mode::Auto).unwrap();
        assert_eq!(vocabulary.len(), MAX_SYMBOLS);
        let tokens = vocabulary.encode(text.as_bytes()).unwrap();
        assert!(tokens.iter().copied().eq(0..MAX_SYMBOLS as u32));
        assert_eq!(Vocabulary::from_json(&vocabulary.to_json()), Ok(vocabulary));
    }

    #[test]
    fn an_unknown_symbol_is_named_with_its_place() {
        let characters = Vocabulary::of_text(b"ab\n", Mode::Auto).unwrap();
        let error = characters.encode("ab\na\tb".as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the symbol '\\t' at byte 4 (line 2) is not among the 3 symbols of the vocabulary: \
             remove it from the text, or train on a text that has it"
        );
        assert!(matches!(
            characters.encode("aé".as_bytes()),
            Err(VocabularyError::UnknownSymbol {
                symbol: Symbol::Character('é'),
                ..
            })
        ));
        assert!(matches!(
            characters.encode("a€".as_bytes()),
            Err(VocabularyError::UnknownSymbol {
                symbol: Symbol::Character('€'),
                ..
            })
        ));
        assert_eq!(
            characters.encode(b"a\n\xff"),
            Err(VocabularyError::NotUtf8 {
                position: 2,
                line: 2
            })
        );
        let bytes = Vocabulary::of_text(b"ab", Mode::Bytes).unwrap();
        let error = bytes.encode(b"ab\xfe").unwrap_err().to_string();
        assert!(error.contains("'\\xfe' at byte 2 (line 1)"), "{error}");
        let error = bytes.decode(&[0, 2]).unwrap_err().to_string();
        assert_eq!(
            error,
            "the token 2 is outside the vocabulary of 2 symbols (0 to 1)"
        );
    }

    #[test]
    fn json_round_trip() {
        let bytes = Vocabulary::of_text(b"\xff\0a", Mode::Bytes).unwrap();
        assert_eq!(bytes.to_json(), r#"{"kind":"bytes","symbols":[0,97,255]}"#);
        assert_eq!(Vocabulary::from_json(&bytes.to_json()), Ok(bytes));
        let characters = Vocabulary::of_text("\"\n€".as_bytes(), Mode::Auto).unwrap();
        assert_eq!(
            characters.to_json(),
            r#"{"kind":"characters","symbols":"\n\"€"}"#
        );
        assert_eq!(Vocabulary::from_json(&characters.to_json()), Ok(characters));
    }

    #[test]
    fn damaged_json_is_refused() {
        let damaged = [
            "",
            "null",
            r#"{"kind":"bytes"}"#,
            r#"{"symbols":[1,2]}"#,
            r#"{"kind":"words","symbols":[1,2]}"#,
            r#"{"kind":"bytes","symbols":[]}"#,
            r#"{"kind":"bytes","symbols":[1]}"#,
            r#"{"kind":"bytes","symbols":[1,1]}"#,
            r#"{"kind":"bytes","symbols":[2,1]}"#,
            r#"{"kind":"bytes","symbols":[1,256]}"#,
            r#"{"kind":"bytes","symbols":[-1,2]}"#,
            r#"{"kind":"bytes","symbols":"ab"}"#,
            r#"{"kind":"bytes","symbols":[1,2],"symbols":[1,3]}"#,
            r#"{"kind":"bytes","kind":"bytes","symbols":[1,2]}"#,
            r#"{"kind":"bytes","symbols":[1,2],"more":0}"#,
            r#"{"kind":"bytes","symbols":[1,2]} x"#,
            r#"{"kind":"characters","symbols":[97,98]}"#,
            r#"{"kind":"characters","symbols":"ba"}"#,
            r#"{"kind":"characters","symbols":"aa"}"#,
            r#"{"kind":"characters","symbols":"a\ud800"}"#,
        ];
        for json in damaged {
            assert!(
                matches!(
                    Vocabulary::from_json(json),
                    Err(VocabularyError::Damaged { .. })
                ),
                "{json}"
            );
        }
    }
}
