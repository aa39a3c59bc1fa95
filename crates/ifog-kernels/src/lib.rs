//! Placeholder.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod buffer;
mod cell;
mod cells;
mod dispatch;
mod element;
mod level;
pub mod math;
mod matrix;
mod outer;
mod pack;
mod packed;
mod parallel;
mod planted;
mod product;
mod simd;
mod tape;
mod tile;

pub use cell::{Cell, Params, ParamsMut, Shape};
pub use element::Element;
pub use level::{Level, LevelError};
pub use matrix::{MatMut, MatRef, ShapeError};
pub use outer::{accumulate_outer, outer_scratch_len};
pub use packed::{Backprop, Infer, Input, PackedCell, Record, TokenTable, Uses};
pub use parallel::Threads;
#[cfg(ifog_planted)]
pub use planted::{Bug, plant};
pub use product::PackedMatrix;
pub use tape::Tape;
