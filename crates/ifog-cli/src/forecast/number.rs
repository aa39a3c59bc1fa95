//! Numbers as people write them.

/// The number that a text is; with a decimal comma where `decimal_comma` allows it.
pub(super) fn number(text: &str, decimal_comma: bool) -> Option<f64> {
    let plain = match decimal_comma && !text.contains('.') {
        true => text.replace(',', ".").parse::<f64>(),
        false => text.parse(),
    };
    let number = plain.ok().or_else(|| grouped(text));
    number.filter(|x| !x.is_nan())
}

/// A number with its thousands parted, where that can be nothing else: 1,234.5 or 1.234,5 or 1,234,567, but not 1,234.
fn grouped(text: &str) -> Option<f64> {
    let mark = text.chars().find(|c| matches!(c, ',' | '.'))?;
    let point = if mark == ',' { '.' } else { ',' };
    let (whole, decimals) = text.split_once(point).unwrap_or((text, ""));
    let groups: Vec<&str> = whole.trim_start_matches('-').split(mark).collect();
    let (first, others) = groups.split_first()?;
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let parted = (1..=3).contains(&first.len()) && others.iter().all(|group| group.len() == 3);
    let certain = others.len() > 1 || (others.len() == 1 && !decimals.is_empty());
    if !(parted && certain && digits(&groups.concat()) && digits(decimals)) {
        return None;
    }
    format!("{}.{decimals}", whole.replace(mark, ""))
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_many_forms() {
        for (text, value) in [
            ("1234.5", 1234.5),
            ("-1e3", -1000.0),
            ("1,234.56", 1234.56),
            ("-12,345,678", -12_345_678.0),
            ("1.234,56", 1234.56),
            ("1.234.567,5", 1_234_567.5),
        ] {
            assert_eq!(number(text, false), Some(value), "{text}");
        }
        assert_eq!(number("1,234", true), Some(1.234));
        assert_eq!(number("1,234,567", true), Some(1_234_567.0));
    }

    #[test]
    fn what_may_be_something_else_is_no_number() {
        for text in [
            "1,234",
            "1,5",
            "1,23.5",
            "12,34,567",
            "1234,567.8",
            ",123.4",
            "1,234.5.6",
            "--1,234.5",
            "31.12.2019",
            "192.168.100.1",
            "$5.00",
            "5%",
            "1,a23.4",
            "NaN",
            "",
        ] {
            assert_eq!(number(text, false), None, "{text}");
        }
    }
}
