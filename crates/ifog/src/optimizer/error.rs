//! A constant out of its range, or a state of another optimiser.

/// A constant out of its range, or a state of another optimiser.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OptimizerError {
    /// A constant out of its range.
    #[error("the {method} constant {name} = {value} is out of range: it must be {range}")]
    Constant {
        /// Method.
        method: &'static str,
        /// Name of the constant.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        range: &'static str,
    },
    /// A stored buffer is not the one this method keeps.
    #[error(
        "the stored optimiser state has {found}, but {method} with {parameters} parameters keeps \
         {expected}: resume with the method and model that the state was saved from"
    )]
    State {
        /// Method.
        method: &'static str,
        /// Number of parameters.
        parameters: usize,
        /// What was given.
        found: String,
        /// What is needed.
        expected: String,
    },
    /// A stored value is NaN or infinite, or a sum of squares is negative.
    #[error(
        "the stored optimiser state has the value {value} at {index} of '{buffer}': restore it from an older save"
    )]
    Value {
        /// Name of the buffer.
        buffer: &'static str,
        /// Index of the value.
        index: usize,
        /// The value.
        value: f32,
    },
}
