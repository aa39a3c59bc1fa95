//! Why a check could not be made.

use std::fmt;
use std::ops::Range;

/// The question put to a check is not well posed; says nothing about the gradient.
///
/// Coordinates are indices into the flat vector.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum InputError {
    /// `x` has no element.
    Empty,
    /// The gradient or the direction is not as long as `x`.
    LengthMismatch {
        /// Which slice: `gradient` or `direction`.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The length of `x`.
        expected: usize,
    },
    /// The step or the bound is not a finite positive number.
    NotPositive {
        /// Which setting: `step` or `bound`.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// The absolute floor is negative or not finite.
    Floor {
        /// Its value.
        value: f64,
    },
    /// A sample of zero coordinates was asked for.
    EmptySample,
    /// An element of `x`, of the gradient or of the direction is NaN or infinite.
    NonFinite {
        /// Which slice: `x`, `gradient` or `direction`.
        what: &'static str,
        /// Its first such coordinate.
        coordinate: usize,
        /// The value there.
        value: f64,
    },
    /// `f`, or a difference of its values, is NaN or infinite.
    NonFiniteFunction {
        /// The coordinate that was moved; `None` at `x` itself and along a direction.
        coordinate: Option<usize>,
        /// The value.
        value: f64,
    },
    /// Two evaluations of `f` at `x` differ.
    NotDeterministic {
        /// The first value.
        first: f64,
        /// The second value.
        second: f64,
    },
    /// The step is so small that `x_k + h` and `x_k − h` are the same number.
    StepLost {
        /// The coordinate.
        coordinate: usize,
        /// The value of `x` there.
        value: f64,
    },
    /// The direction is zero everywhere.
    ZeroDirection,
    /// A named tensor has no element.
    EmptyRange {
        /// Its name.
        name: String,
        /// Its range.
        range: Range<usize>,
    },
    /// A named tensor reaches beyond the vector.
    RangeOutOfBounds {
        /// Its name.
        name: String,
        /// Its range.
        range: Range<usize>,
        /// The length of the vector.
        len: usize,
    },
    /// Two named tensors share a coordinate.
    Overlap {
        /// The name of the later one.
        name: String,
        /// The first coordinate of that tensor, which an earlier one holds too.
        coordinate: usize,
    },
    /// Some coordinates belong to no named tensor.
    Gap {
        /// The first such coordinates.
        range: Range<usize>,
    },
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => {
                write!(
                    f,
                    "x is empty: pass at least one coordinate to differentiate"
                )
            }
            Self::LengthMismatch {
                what,
                len,
                expected,
            } => write!(
                f,
                "the {what} has {len} elements but x has {expected}: pass one for each coordinate of x"
            ),
            Self::NotPositive { what, value } => {
                write!(f, "the {what} is {value}: set a finite number above zero")
            }
            Self::Floor { value } => {
                write!(
                    f,
                    "the floor is {value}: set a finite number, zero or above"
                )
            }
            Self::EmptySample => {
                write!(
                    f,
                    "a sample of 0 coordinates checks nothing: ask for at least 1"
                )
            }
            Self::NonFinite {
                what,
                coordinate,
                value,
            } => write!(
                f,
                "{what} is {value} at coordinate {coordinate}: find out where it overflows before checking it"
            ),
            Self::NonFiniteFunction {
                coordinate: Some(k),
                value,
            } => write!(
                f,
                "the function or its difference is {value} with coordinate {k} moved: choose a point away from the edge of its domain"
            ),
            Self::NonFiniteFunction {
                coordinate: None,
                value,
            } => write!(
                f,
                "the function or its difference is {value} at or next to x: choose a point where it is finite"
            ),
            Self::NotDeterministic { first, second } => write!(
                f,
                "the function returned {first} and then {second} for the same x: fix its random seed inside the closure (dropout, shuffling) and its order of summation"
            ),
            Self::StepLost { coordinate, value } => write!(
                f,
                "the step vanishes in rounding beside x = {value} at coordinate {coordinate}: set a larger step"
            ),
            Self::ZeroDirection => write!(
                f,
                "the direction is zero everywhere: pass one that is not, such as rademacher(n, seed)"
            ),
            Self::EmptyRange { name, range } => write!(
                f,
                "tensor `{name}` has the empty range {range:?}: give it elements or leave it out"
            ),
            Self::RangeOutOfBounds { name, range, len } => write!(
                f,
                "tensor `{name}` has range {range:?} but x has {len} elements: correct the range"
            ),
            Self::Overlap { name, coordinate } => write!(
                f,
                "coordinate {coordinate} belongs to tensor `{name}` and to another one: make the ranges disjoint"
            ),
            Self::Gap { range } => write!(
                f,
                "coordinates {range:?} belong to no tensor and would go unchecked: name them too"
            ),
        }
    }
}

impl std::error::Error for InputError {}
