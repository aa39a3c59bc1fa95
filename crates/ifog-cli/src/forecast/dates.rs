//! Dates as people write them.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

/// The moments that all `texts` stand for: seconds, or the numbers themselves where the file counts. Of the forms that fit
/// every text it is the one with the most even steps, or the first of such. If there is none, the place of the first text that
/// the best form does not fit.
pub(super) fn moments<S: AsRef<str>>(texts: &[S]) -> Result<Vec<f64>, usize> {
    let mut fitted = 0;
    let mut readings = Vec::new();
    for form in FORMS {
        let read = texts.iter().map_while(|text| form.moment(text.as_ref()));
        let moments: Vec<f64> = read.collect();
        fitted = fitted.max(moments.len());
        if moments.len() == texts.len() {
            readings.push((form.unevenness(&moments), moments));
        }
    }
    let best = readings.into_iter().min_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, moments)| moments).ok_or(fitted)
}

/// Whether there are `texts` and one form of dates fits them all; plain numbers are none.
pub(super) fn are_dates<S: AsRef<str>>(texts: &[S]) -> bool {
    let fits = |form: Form| {
        !matches!(form, Form::Number)
            && texts
                .iter()
                .all(|text| form.moment(text.as_ref()).is_some())
    };
    !texts.is_empty() && FORMS.into_iter().any(fits)
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

    /// How badly the form explains these moments: their mean deviation from the usual step, in such steps. Texts that may be
    /// dates, as 20200101, are plain numbers only if they are in no order as dates.
    fn unevenness(self, moments: &[f64]) -> f64 {
        let steps = moments.windows(2).map(|pair| pair[1] - pair[0]);
        let mut steps: Vec<f64> = steps.collect();
        steps.sort_by(f64::total_cmp);
        let (Some(&usual), Some(&least), Some(&largest)) =
            (steps.get(steps.len() / 2), steps.first(), steps.last())
        else {
            return 0.0;
        };
        let ordered = least > 0.0 || largest < 0.0;
        match self {
            _ if !ordered => f64::INFINITY,
            Self::Number => f64::MAX,
            _ => {
                let deviations: f64 = steps.iter().map(|step| (step - usual).abs()).sum();
                deviations / (steps.len() as f64 * usual.abs())
            }
        }
    }
}

/// How dates may be written, for those whose dates are not read.
pub(super) const EXAMPLES: &str = "2024-12-31, 12/31/2024 or 31.12.2024";
/// The first of equally good ones is taken: 1/2/2020 is the second of January unless other rows say otherwise.
const FORMS: [Form; 26] = [
    Form::Day("%Y-%m-%d"),
    Form::Day("%m/%d/%Y"),
    Form::Day("%d/%m/%Y"),
    Form::Day("%d.%m.%Y"),
    Form::Day("%Y/%m/%d"),
    Form::Day("%Y%m%d"),
    Form::Day("%d-%B-%Y"),
    Form::Day("%B %d, %Y"),
    Form::Day("%d %B %Y"),
    Form::Time("%Y-%m-%d %H:%M:%S%.f"),
    Form::Time("%Y-%m-%dT%H:%M:%S%.f"),
    Form::Time("%Y-%m-%d %H:%M"),
    Form::Time("%Y-%m-%dT%H:%M"),
    Form::Time("%m/%d/%Y %H:%M"),
    Form::Time("%m/%d/%Y %H:%M:%S%.f"),
    Form::Time("%m/%d/%Y %I:%M %p"),
    Form::Time("%m/%d/%Y %I:%M:%S %p"),
    Form::Time("%d/%m/%Y %H:%M"),
    Form::Time("%d/%m/%Y %H:%M:%S%.f"),
    Form::Time("%d/%m/%Y %I:%M %p"),
    Form::Time("%d/%m/%Y %I:%M:%S %p"),
    Form::Time("%d.%m.%Y %H:%M"),
    Form::Time("%d.%m.%Y %H:%M:%S%.f"),
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
            "February 1, 2020",
            "1 Feb 2020",
            "01 February 2020",
            "2020-02-01 00:00:00",
            "2020-02-01T00:00:00.000",
            "2020-02-01 00:00",
            "2020-02-01T01:00:00+01:00",
            "2020-02-01T00:00:00Z",
            "2020-02",
            "2/1/2020 0:00",
            "02/01/2020 00:00:00",
            "2/1/2020 12:00 AM",
            "02/01/2020 12:00:00 am",
            "1.2.2020 00:00",
            "01.02.2020 00:00:00",
        ] {
            assert_eq!(moments(&[text]), Ok(vec![1_580_515_200.0]), "{text}");
            assert!(are_dates(&[text]), "{text}");
        }
        // The 31st is no month, so the day comes first: one o'clock in the afternoon.
        for text in [
            "31/1/2020 13:00",
            "31/01/2020 13:00:00",
            "31/1/2020 1:00 PM",
            "31/01/2020 01:00:00 pm",
        ] {
            let afternoon = 1_580_515_200.0 - 11.0 * 3600.0;
            assert_eq!(moments(&[text]), Ok(vec![afternoon]), "{text}");
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
        assert!(!are_dates(&["2020-01-01", "2/1/2020"]));
        assert!(!are_dates(&["1999", "2000"]));
        assert!(!are_dates::<&str>(&[]));
    }

    #[test]
    fn even_steps_decide_between_forms() {
        let days = |texts: &[String]| -> Vec<f64> {
            let moments = moments(texts).unwrap_or_default();
            moments
                .windows(2)
                .map(|pair| (pair[1] - pair[0]) / 86_400.0)
                .collect()
        };
        let written = |write: &dyn Fn(usize) -> String| (0..30).map(write).collect::<Vec<_>>();
        let month = |k: usize| (k % 12 + 1, 2000 + k / 12);
        // Read the other way, twelve days and a gap of almost a year follow each other.
        for first_of_month in [
            written(&|k| format!("01/{:02}/{}", month(k).0, month(k).1)),
            written(&|k| format!("{}/1/{}", month(k).0, month(k).1)),
            written(&|k| format!("01/{:02}/{} 06:00", month(k).0, month(k).1)),
        ] {
            assert_eq!(
                days(&first_of_month)[..3],
                [31.0, 29.0, 31.0],
                "{first_of_month:?}"
            );
        }
        // Of the same steps the first form is taken: January and February, not the 1st and the 2nd.
        let yearly = |text: &str| moments(&[text.to_owned() + "2001", text.to_owned() + "2002"]);
        let same = moments(&["2001-01-02", "2002-01-02"]);
        assert_eq!(yearly("1/2/"), same);
        // What is in order is preferred: twelve days of May and the first of June are no months that begin anew, although
        // their steps, 1 and 20, differ more.
        let may = (1..=12).map(|day| format!("{day:02}/05/2000"));
        let june: Vec<String> = may.chain(["01/06/2000".to_owned()]).collect();
        assert_eq!(days(&june)[10..], [1.0, 20.0]);
        // So are dates to numbers, although these are all 10,000 apart.
        let years = ["20000101", "20010101", "20020101"].map(str::to_owned);
        assert_eq!(days(&years), [366.0, 365.0]);
    }
}
