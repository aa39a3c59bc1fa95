//! The instruction set of a run.

use ifog::Level;

use crate::failure::Failure;

/// The level to compute with. An `IFOG_ISA` that names none, or one that this machine lacks, is a request
/// that cannot be met, and is found before any work is done.
pub(crate) fn level() -> Result<Level, Failure> {
    Level::detect().map_err(Failure::usage)
}
