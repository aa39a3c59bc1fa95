//! The `ifog` binary from outside: arguments in, exit code, standard output and files out.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bad_input;
mod bench;
mod command;
mod compare;
mod divergence;
mod flow;
mod forecast;
mod gradients;
mod help;
mod interruption;
mod needs;
mod same_bits;
mod task;
mod training;
mod view;
