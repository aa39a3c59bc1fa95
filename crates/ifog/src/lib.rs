//! Placeholder.
#![forbid(unsafe_code)]

pub mod atomic_file;
pub mod checkpoint;
pub mod clip;
pub mod config;
pub mod corpus;
pub mod dropout;
pub mod gradcheck;
pub mod init;
pub mod language_model;
pub mod loss;
pub mod network;
pub mod optimizer;
pub mod parameters;
pub mod pool;
pub mod rng;
pub mod safetensors;
pub mod sampling;
pub mod train;
pub mod vocabulary;

pub use ifog_kernels::{Cell, Level, Threads};
