//! What the benches share: knobs, figures and their targets, a limit to compare with, a load, numbers of processes.
//!
//! Every figure is printed beside its limit, measured in the same run on the same machine. A missed target is said,
//! and fails the bench only where `EDOBRIDGE_BENCH_STRICT` is set: a shared machine must not fail a build.
#![allow(dead_code, reason = "each bench uses a part of it")]
#![allow(clippy::print_stdout, reason = "a bench reports to the console")]

pub mod figures;
pub mod group_log;
pub mod happy_path;
pub mod knobs;
pub mod load;
pub mod process;
pub mod remotes;
