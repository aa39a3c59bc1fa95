//! What a check found.

use std::fmt;

/// The outcome of a [`Check`](crate::Check), a row for each tensor.
///
/// Its `Display` is a table and a sentence that names the worst coordinate.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[must_use = "a report nobody looks at checks nothing: call `assert` or `ok`"]
pub struct Report {
    /// The tensors in the order they were named; at least one.
    pub tensors: Vec<TensorReport>,
    /// The step that was used.
    pub step: f64,
    /// The bound on the normalised error.
    pub bound: f64,
    /// Whether the differences were extrapolated.
    pub richardson: bool,
    /// Whether every value of the function was exactly an `f32`. In a failed check that is
    /// the mark of a function that computes in `f32`, whose differences are useless.
    pub values_fit_f32: bool,
}

/// What was found for one tensor.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TensorReport {
    /// The tensor's name.
    pub name: String,
    /// Its number of elements.
    pub len: usize,
    /// How many of them were checked.
    pub checked: usize,
    /// The checked coordinate with the largest absolute error, as index into the flat vector.
    pub worst_coordinate: usize,
    /// The same coordinate as index into the tensor.
    pub worst_index: usize,
    /// The analytic gradient there.
    pub analytic: f64,
    /// The difference quotient there.
    pub numeric: f64,
    /// `|analytic − numeric|` there.
    pub max_abs_error: f64,
    /// `max |g|`, over all analytic and all computed numeric gradients of the tensor.
    pub scale: f64,
    /// The absolute error below which the tensor passes at any scale; see
    /// [`Check::floor`](crate::Check::floor).
    pub floor: f64,
    /// The normalised error: `max_abs_error / max(scale, floor / bound)`.
    pub max_error: f64,
    /// Whether `max_error ≤ bound`.
    pub ok: bool,
}

impl Report {
    /// Whether every tensor is within the bound.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.tensors.iter().all(|tensor| tensor.ok)
    }

    /// The tensor with the largest normalised error.
    #[must_use]
    pub fn worst(&self) -> &TensorReport {
        self.tensors
            .iter()
            .max_by(|a, b| a.max_error.total_cmp(&b.max_error))
            .expect("a check has at least one tensor")
    }

    /// Ends a test that must not go on with a wrong gradient.
    ///
    /// # Panics
    ///
    /// With the report's `Display`, if a tensor exceeds the bound.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.ok(), "the gradient is wrong\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |cells: &mut dyn Iterator<Item = usize>, title: &str| {
            cells.fold(title.len(), |widest, cell| widest.max(cell))
        };
        let name = width(
            &mut self.tensors.iter().map(|t| t.name.chars().count()),
            "tensor",
        );
        let checked: Vec<String> = self
            .tensors
            .iter()
            .map(|t| format!("{}/{}", t.checked, t.len))
            .collect();
        let count = width(&mut checked.iter().map(String::len), "checked");

        writeln!(
            f,
            "{:name$}  {:>count$}  {:>9}  {:>9}  {:>8}  {:>16}  {:>16}  {:>8}",
            "tensor", "checked", "max error", "abs error", "max |g|", "analytic", "numeric", "at"
        )?;
        for (t, checked) in self.tensors.iter().zip(&checked) {
            writeln!(
                f,
                "{:name$}  {:>count$}  {:>9.1e}  {:>9.1e}  {:>8.1e}  {:>16.9e}  {:>16.9e}  {:>8}  {}",
                t.name,
                checked,
                t.max_error,
                t.max_abs_error,
                t.scale,
                t.analytic,
                t.numeric,
                format!("[{}]", t.worst_index),
                if t.ok { "ok" } else { "FAILED" }
            )?;
        }
        self.write_verdict(f)
    }
}

impl Report {
    fn write_verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worst = self.worst();
        let failed = self.tensors.iter().filter(|t| !t.ok).count();
        if failed == 0 {
            return write!(
                f,
                "ok: every tensor is within {:e}; the largest error is {:.1e}, at {}[{}] (coordinate {}).",
                self.bound, worst.max_error, worst.name, worst.worst_index, worst.worst_coordinate
            );
        }
        write!(
            f,
            "FAILED: {failed} of {} tensors exceed {:e}; the worst coordinate is {}[{}] (coordinate {}): analytic {:.9e}, numeric {:.9e}",
            self.tensors.len(),
            self.bound,
            worst.name,
            worst.worst_index,
            worst.worst_coordinate,
            worst.analytic,
            worst.numeric
        )?;
        if worst.analytic != 0.0 && worst.numeric != 0.0 {
            write!(f, ", their ratio {:.6}", worst.analytic / worst.numeric)?;
        }
        write!(f, ".")?;
        if self.values_fit_f32 {
            write!(
                f,
                " Every value of the function was exactly an f32: if it computes in f32, check an f64 version of it."
            )?;
        }
        Ok(())
    }
}
