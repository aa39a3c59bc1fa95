//! The `ifog` command: reads its arguments, runs one command, and says with its exit code how that ended.
#![forbid(unsafe_code)]

mod args;
mod bench;
mod chart;
mod compare;
mod dry_run;
mod embedded;
mod eval;
mod failure;
mod flow;
mod forecast;
mod gradcheck;
mod info;
mod interrupt;
mod level;
mod memory;
mod model_text;
mod output;
mod page;
mod picture_file;
mod progress;
mod report;
mod run_config;
mod run_directory;
mod sample;
mod session;
mod summary;
mod task;
mod train;
mod view;

use std::process::ExitCode;

use args::{Cli, Command};

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output with code 0, errors to standard error with code 2.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let done = match &cli.command {
        Command::Train(args) => train::run(args),
        Command::Sample(args) => sample::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Gradcheck(args) => gradcheck::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Info(args) => info::run(args),
        Command::Flow(args) => flow::run(args),
        Command::Task(args) => task::run(args),
        Command::Forecast(args) => forecast::run(args),
        Command::View(args) => view::run(args),
        Command::Compare(args) => compare::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                // It may quote a file.
                output::log(format_args!(
                    "ifog: {}",
                    output::printable(message.as_bytes())
                ));
            }
            failure.code()
        }
    }
}
