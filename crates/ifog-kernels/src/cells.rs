//! The cells: what a tile does at each step, forward and backward.

pub(crate) mod backward;
pub(crate) mod forward;
pub(crate) mod gru;
pub(crate) mod gru_after;
pub(crate) mod lstm;
pub(crate) mod rnn;
pub(crate) mod step;
