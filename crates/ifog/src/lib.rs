//! Placeholder.
#![forbid(unsafe_code)]

pub mod atomic_file;
pub mod clip;
pub mod config;
pub mod corpus;
pub mod dropout;
pub mod init;
pub mod loss;
pub mod network;
pub mod optimizer;
pub mod parameters;
pub mod rng;
pub mod safetensors;
pub mod sampling;
pub mod vocabulary;

pub use ifog_kernels::{Cell, Level, Threads};
