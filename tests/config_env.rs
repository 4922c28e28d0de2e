//! The real environment of a process as a source of the configuration.
//!
//! Alone in its file, since variables belong to the whole process: the test runs itself again in a child that has
//! them, so that nothing here changes the environment of other tests.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and reports to the console"
)]

use edobridge::config::{Config, Environment, Origin};
use std::path::Path;
use std::process::Command;

const NAME: &str = "variables_of_the_process_win_over_the_file";
/// Tells the child what it is, and where the file lies.
const FILE_VARIABLE: &str = "CONFIG_ENV_TEST_FILE";
const DONE: &str = "the child has checked the configuration";

#[test]
fn variables_of_the_process_win_over_the_file() {
    match Environment::of_process().get(FILE_VARIABLE) {
        Some(file) => check_as_child(Path::new(file)),
        None => run_child(),
    }
}

fn run_child() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("edobridge.toml");
    std::fs::write(&file, "language = \"en\"\n[public]\nworkers = 3\ndrain = \"9s\"\n").unwrap();
    std::fs::write(dir.path().join("operator"), "token-from-a-credential\n").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(FILE_VARIABLE, &file)
        .env("EDOBRIDGE__PUBLIC__WORKERS", "5")
        .env("EDOBRIDGE__OPERATOR__TOKEN", "{ credential = \"operator\" }")
        .env("CREDENTIALS_DIRECTORY", dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains(DONE),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn check_as_child(file: &Path) {
    let loaded = Config::load(Some(file), &Environment::of_process()).unwrap();
    assert_eq!(loaded.config.public.workers, 5);
    assert_eq!(loaded.config.public.drain.as_ms(), 9_000);
    assert_eq!(loaded.config.operator.token.unwrap().secret().expose(), "token-from-a-credential");
    assert!(matches!(loaded.origins.of("public.workers"), Origin::Env { name } if name.ends_with("WORKERS")));
    assert!(matches!(loaded.origins.of("public.drain"), Origin::File { line: 4, .. }));
    println!("{DONE}");
}
