//! Whether a test that somebody names is really there, and runs. Reads the sources; shared by the executables that hold
//! a table of proofs.
#![allow(dead_code, reason = "each executable uses a part of it")]

use std::path::Path;

/// The text of a file of this package.
///
/// # Panics
/// There is no such file.
pub fn source(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether `source` has a test of this name that is not ignored: a function below an attribute that ends in `test]`, or,
/// in an executable with a runner of its own, an entry `("name", …` of its table.
pub fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let own_runner = source.contains("\nfn main()") && lines.iter().any(|line| is_entry(line, name));
    own_runner
        || (1..lines.len()).any(|n| {
            let attributes = || lines[..n].iter().rev().take_while(|line| line.starts_with("#["));
            begins(lines[n], name)
                && attributes().any(|line| line.ends_with("test]"))
                && !attributes().any(|line| line.starts_with("#[ignore"))
        })
}

/// How many tests `source` has by itself.
pub fn count_tests(source: &str) -> usize {
    let lines = source.lines().map(str::trim);
    lines.filter(|line| line.starts_with("#[") && line.ends_with("test]")).count()
}

fn begins(line: &str, name: &str) -> bool {
    let line = line.strip_prefix("async ").unwrap_or(line);
    let rest = line.strip_prefix("fn ").and_then(|rest| rest.strip_prefix(name));
    rest.is_some_and(|rest| rest.starts_with('('))
}

fn is_entry(line: &str, name: &str) -> bool {
    line.strip_prefix("(\"")
        .and_then(|rest| rest.strip_prefix(name))
        .is_some_and(|rest| rest.starts_with("\","))
}
