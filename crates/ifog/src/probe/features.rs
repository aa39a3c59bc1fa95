//! Things in a text that a person can name, as a number for each symbol.

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Feature {
    /// What it is, to be read after "tracks" or "follows".
    pub name: &'static str,
    /// `[T]`: 1 where it holds, else 0, or a count.
    pub values: Vec<f64>,
}

/// All features of a text. Bytes that are no characters may be given as any.
pub fn features(text: &[char]) -> Vec<Feature> {
    let mut reader = Reader::default();
    let rows: Vec<[f64; NAMES.len()]> = text
        .iter()
        .enumerate()
        .map(|(t, &c)| reader.read(c, text.get(t + 1).copied()))
        .collect();
    let speakers = speakers(text);
    let column = |(number, name): (usize, &&'static str)| Feature {
        name,
        values: rows.iter().map(|row| row[number]).collect(),
    };
    let mut all: Vec<Feature> = NAMES.iter().enumerate().map(column).collect();
    all.push(Feature {
        name: "speaker's name",
        values: speakers,
    });
    all
}

/// The state of a reader who knows what quotes, brackets and comments are.
#[derive(Default)]
struct Reader {
    /// Until a blank line at the latest: a quote too few must not turn the rest of a text inside out.
    quoted: bool,
    /// Whether the symbol before was a backslash that is not escaped itself.
    escaped: bool,
    depth: u32,
    comment: Comment,
    position: u32,
    indentation: u32,
    at_indentation: bool,
    in_word: bool,
    before: Option<char>,
}

#[derive(Default, PartialEq)]
enum Comment {
    #[default]
    None,
    Line,
    /// With the symbols read of it: the star that opens it cannot close it.
    Block(u32),
}

impl Reader {
    fn read(&mut self, c: char, next: Option<char>) -> [f64; NAMES.len()] {
        let new_line = self.before.is_none_or(|c| c == '\n');
        if new_line {
            (self.position, self.indentation, self.at_indentation) = (0, 0, true);
            if self.comment == Comment::Line {
                self.end_comment();
            }
        }
        let blank_line = self.at_indentation && matches!(c, '\n' | '\r');
        let literal = self.before == Some('\'') && next == Some('\'');
        if blank_line {
            self.quoted = false;
        } else if c == '"' && !self.escaped && !literal {
            self.quoted = !self.quoted;
        }
        self.escaped = c == '\\' && !self.escaped;
        match (&mut self.comment, c, next) {
            (Comment::Block(read), ..) => *read = read.saturating_add(1),
            (Comment::None, '/', Some('/')) if !self.quoted => self.comment = Comment::Line,
            (Comment::None, '/', Some('*')) if !self.quoted => self.comment = Comment::Block(1),
            _ => {}
        }
        match c {
            '(' => self.depth += 1,
            ')' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        match c {
            ' ' if self.at_indentation => self.indentation += 1,
            '\t' if self.at_indentation => self.indentation += 8,
            _ => self.at_indentation = false,
        }
        let word = c.is_alphanumeric() || c == '_';
        let starts = word && !self.in_word;
        let flag = |holds: bool| f64::from(u8::from(holds));
        let row = [
            flag(self.quoted),
            flag(self.depth > 0),
            flag(self.comment != Comment::None),
            f64::from(self.position),
            f64::from(self.indentation),
            flag(starts),
            flag(word),
            flag(new_line),
            flag(c.is_ascii_digit()),
            flag(c.is_uppercase()),
        ];
        // The shortest has four symbols.
        let closes = matches!(self.comment, Comment::Block(4..));
        if closes && self.before == Some('*') && c == '/' {
            self.end_comment();
        }
        self.in_word = word;
        self.position += 1;
        self.before = Some(c);
        row
    }

    /// A quote that is opened in a comment does not outlast it.
    fn end_comment(&mut self) {
        (self.comment, self.quoted) = (Comment::None, false);
    }
}

/// 1 in lines that are a name and a colon, as in plays.
fn speakers(text: &[char]) -> Vec<f64> {
    let mut values = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|c| *c == '\n') {
        let name: Vec<char> = line.iter().copied().filter(|c| *c != '\n').collect();
        let speaks = name.len() <= LONGEST_NAME
            && name.first().is_some_and(|c| c.is_uppercase())
            && name.last() == Some(&':')
            && name[..name.len() - 1]
                .iter()
                .all(|c| c.is_alphabetic() || *c == ' ');
        values.extend(line.iter().map(|_| f64::from(u8::from(speaks))));
    }
    values
}

const NAMES: [&str; 10] = [
    "inside double quotes",
    "inside parentheses",
    "inside a comment",
    "position in the line",
    "indentation",
    "word start",
    "inside a word",
    "first in a line",
    "digit",
    "capital letter",
];
const LONGEST_NAME: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, text: &str) -> String {
        let text: Vec<char> = text.chars().collect();
        let found = features(&text).into_iter().find(|f| f.name == name);
        let values = found.map(|f| f.values).unwrap_or_default();
        values.iter().map(|v| format!("{v}")).collect()
    }

    #[test]
    fn features_are_what_their_names_say() {
        assert_eq!(of("inside double quotes", "a\"b\"c"), "01100");
        assert_eq!(of("inside parentheses", "a(b(c)d)e"), "011111100");
        assert_eq!(
            of("inside a comment", "a//b\nc/*d*/e"),
            "0111".to_owned() + "1" + "0111110"
        );
        assert_eq!(of("position in the line", "ab\nc"), "0120");
        assert_eq!(of("indentation", "  a\nb"), "122".to_owned() + "2" + "0");
        assert_eq!(of("word start", "ab c1"), "10010");
        assert_eq!(of("first in a line", "a\n\nb"), "1011");
        assert_eq!(
            of("speaker's name", "ROMEO:\nO, she:\n"),
            "1111111".to_owned() + "00000000"
        );
    }

    #[test]
    fn a_quotation_goes_on_over_lines_and_ends_with_its_paragraph() {
        let quoted = |text| of("inside double quotes", text);
        assert_eq!(quoted("\"a\nb\" c"), "1111000");
        assert_eq!(quoted("\"a\n\nb"), "11100");
        assert_eq!(quoted("\"a\n \t\nb"), "1111100");
        assert_eq!(quoted("\"a\r\n\r\nb"), "1111000");
    }

    #[test]
    fn escaped_and_literal_quotes_open_and_close_nothing() {
        let quoted = |text| of("inside double quotes", text);
        assert_eq!(quoted(r#""a\"b"c"#), "1111100");
        assert_eq!(quoted(r#""a\\"c"#), "111100");
        assert_eq!(quoted(r#"'"'a"b""#), "0000110");
    }

    #[test]
    fn comments_begin_outside_of_strings_and_do_not_close_themselves() {
        let comment = |text| of("inside a comment", text);
        assert_eq!(comment("\"//\"a"), "00000");
        assert_eq!(comment("\"/*\"a"), "00000");
        assert_eq!(comment("/*/a*/b"), "1111110");
        assert_eq!(comment("/**/b"), "11110");
        assert_eq!(comment("/* \"*/b/*c"), "1111110111");
        let quoted = of("inside double quotes", "//\"a\nb");
        assert_eq!(quoted, "001110");
    }
}
