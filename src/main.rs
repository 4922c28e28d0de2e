//! The binary: parse, run, exit code.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    edobridge::commands::run(edobridge::commands::Cli::parse()).into()
}
