//! Placeholder.
#![forbid(unsafe_code)]

pub mod rng;
pub mod atomic_file;
pub mod vocabulary;
pub mod safetensors;
pub mod clip;
pub mod optimizer;
pub mod sampling;
pub mod corpus;
