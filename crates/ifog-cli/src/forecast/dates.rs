//! Dates as people write them.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

/// The moments that all `texts` stand for, in the first form that fits every one of them: seconds, or the numbers themselves
/// where the file counts. If there is none, the place of the first text that the best form does not fit.
pub(super) fn moments<S: AsRef<str>>(texts: &[S]) -> Result<Vec<f64>, usize> {
    let mut fitted = 0;
    for form in FORMS {
        let read = texts.iter().map_while(|text| form.moment(text.as_ref()));
        let moments: Vec<f64> = read.collect();
        if moments.len() == texts.len() {
            return Ok(moments);
        }
        fitted = fitted.max(moments.len());
    }
    Err(fitted)
}

/// How a moment is written.
#[derive(Clone, Copy)]
enum Form {
    /// A day.
    Day(&'static str),
    /// A day and a time.
    Time(&'static str),
    /// Year and month.
    Month,
    /// With its offset from universal time (RFC 3339).
    Offset,
    /// A number: a year, seconds, a count.
    Number,
}

impl Form {
    fn moment(self, text: &str) -> Option<f64> {
        let day = |text: &str, format: &str| {
            let day = NaiveDate::parse_from_str(text, format).ok()?;
            day.and_hms_opt(0, 0, 0)
        };
        let moment = match self {
            Self::Day(format) => day(text, format)?,
            Self::Month => day(&format!("{text}-01"), "%Y-%m-%d")?,
            Self::Time(format) => NaiveDateTime::parse_from_str(text, format).ok()?,
            Self::Offset => DateTime::parse_from_rfc3339(text).ok()?.naive_utc(),
            Self::Number => return text.parse().ok().filter(|x: &f64| x.is_finite()),
        };
        Some(moment.and_utc().timestamp_micros() as f64 / 1e6)
    }
}

/// In the order they are tried: 1/2/2020 is the second of January unless a later row says otherwise.
const FORMS: [Form; 17] = [
    Form::Day("%Y-%m-%d"),
    Form::Day("%m/%d/%Y"),
    Form::Day("%d/%m/%Y"),
    Form::Day("%d.%m.%Y"),
    Form::Day("%Y/%m/%d"),
    Form::Day("%Y%m%d"),
    Form::Day("%d-%b-%Y"),
    Form::Day("%b %d, %Y"),
    Form::Time("%Y-%m-%d %H:%M:%S%.f"),
    Form::Time("%Y-%m-%dT%H:%M:%S%.f"),
    Form::Time("%Y-%m-%d %H:%M"),
    Form::Time("%Y-%m-%dT%H:%M"),
    Form::Time("%m/%d/%Y %H:%M"),
    Form::Time("%d.%m.%Y %H:%M"),
    Form::Offset,
    Form::Month,
    Form::Number,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_moment_in_many_forms() {
        for text in [
            "2020-02-01",
            "2/1/2020",
            "1.2.2020",
            "2020/02/01",
            "20200201",
            "01-Feb-2020",
            "Feb 1, 2020",
            "2020-02-01 00:00:00",
            "2020-02-01T00:00:00.000",
            "2020-02-01 00:00",
            "2020-02-01T01:00:00+01:00",
            "2020-02-01T00:00:00Z",
            "2020-02",
        ] {
            assert_eq!(moments(&[text]), Ok(vec![1_580_515_200.0]), "{text}");
        }
        assert_eq!(moments(&["1999", "2000"]), Ok(vec![1999.0, 2000.0]));
        assert_eq!(moments(&["0.5"]), Ok(vec![0.5]));
    }

    #[test]
    fn all_rows_decide_on_the_form() {
        let day_first = moments(&["12/1/2020", "13/1/2020"]);
        assert!(day_first.is_ok_and(|m| m[1] - m[0] == 86_400.0));
        assert_eq!(moments(&["2020-01-01", "2020-01-02", "soon"]), Err(2));
        assert_eq!(moments(&["soon"]), Err(0));
        assert_eq!(moments::<&str>(&[]), Ok(vec![]));
    }
}
