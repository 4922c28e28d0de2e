//! How much a proof has looked at, as the README says it: a number on disk for each count, which the test that counts
//! holds against what it has just counted. A figure that is no longer true fails.
//!
//! `EDOBRIDGE_WRITE_COUNTS=1` writes what is counted instead.
#![allow(dead_code, reason = "each executable uses a part of it")]

use edobridge::config::Environment;
use std::path::PathBuf;

fn place(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/counts").join(name)
}

/// What stands in the README for `name`.
///
/// # Panics
/// Nothing does.
pub fn told(name: &str) -> u64 {
    let path = place(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim().parse().unwrap_or_else(|_| panic!("{}: not a number", path.display()))
}

/// Holds `counted` against what the README says, where the count is the same in every run.
///
/// # Panics
/// They differ.
pub fn hold(name: &str, counted: u64) {
    if !is_written(name, counted) {
        let told = told(name);
        assert_eq!(counted, told, "{name}: the README says {told}; {REMEDY}");
    }
}

/// The same where the count depends a little on how the run goes: the README says a round number that is exceeded.
///
/// # Panics
/// It is not exceeded, or by so much that the README is out of date.
pub fn hold_above(name: &str, counted: u64) {
    if !is_written(name, counted * 19 / 20 / 100 * 100) {
        let told = told(name);
        let is_told = told <= counted && counted <= told + told / 2 + 100;
        assert!(is_told, "{name}: the README says more than {told}, it was {counted}; {REMEDY}");
    }
}

const REMEDY: &str = "run this test with EDOBRIDGE_WRITE_COUNTS=1, then \
                      `EDOBRIDGE_WRITE_README=1 cargo test --test guarantees`";

fn is_written(name: &str, number: u64) -> bool {
    let wanted = Environment::of_process().get("EDOBRIDGE_WRITE_COUNTS").is_some();
    if wanted {
        std::fs::write(place(name), format!("{number}\n")).expect("the count is written");
    }
    wanted
}
