//! The guarantees in the README are made from `guarantees/promises.toml`: each promise, how it is kept, the tests that
//! prove it, and how much they look at. A promise without a test, a test that is gone, a README that says something else:
//! all fail here.
//!
//! `EDOBRIDGE_WRITE_README=1 cargo test --test guarantees` writes the sections anew.
//! It reads the sources; of edobridge it uses the environment only.

mod counts;
mod named_tests;

use edobridge::config::Environment;
use named_tests::{has_test, source};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Promises {
    promise: Vec<Promise>,
}

/// One promise, in the words of the README.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Promise {
    en: String,
    ru: String,
    how_en: String,
    how_ru: String,
    proof: Vec<Proof>,
}

/// Tests of one file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    file: String,
    /// Their names; all must be there.
    tests: Vec<String>,
    /// What they show, in a few words.
    en: String,
    ru: String,
    /// Names in `data/counts`: `{0}` in the words is the first of them.
    #[serde(default)]
    counts: Vec<String>,
}

const BEGIN: &str = "<!-- guarantees: written by tests/guarantees.rs -->";
const END: &str = "<!-- /guarantees -->";

fn promises() -> Vec<Promise> {
    let text = source("tests/guarantees/promises.toml");
    toml::from_str::<Promises>(&text).unwrap_or_else(|error| panic!("promises.toml: {error}")).promise
}

#[derive(Clone, Copy)]
enum Language {
    English,
    Russian,
}

impl Language {
    const BOTH: [Self; 2] = [Self::English, Self::Russian];

    fn pick<'a>(self, en: &'a str, ru: &'a str) -> &'a str {
        match self {
            Self::English => en,
            Self::Russian => ru,
        }
    }

    fn head(self) -> &'static str {
        self.pick("| promise | how it is kept | proof |", "| обещание | чем держится | доказательство |")
    }

    /// 1437 as `1,437` and `1 437`.
    fn number(self, number: u64) -> String {
        let digits = number.to_string();
        let mut written = String::new();
        for (n, digit) in digits.chars().enumerate() {
            if n > 0 && (digits.len() - n).is_multiple_of(3) {
                written.push_str(self.pick(",", "\u{a0}"));
            }
            written.push(digit);
        }
        written
    }
}

fn table(language: Language) -> String {
    let mut text = format!("{}\n| --- | --- | --- |\n", language.head());
    for promise in promises() {
        let proofs: Vec<String> = promise.proof.iter().map(|proof| proof_text(proof, language)).collect();
        let (what, how) =
            (language.pick(&promise.en, &promise.ru), language.pick(&promise.how_en, &promise.how_ru));
        writeln!(text, "| {what} | {how} | {} |", proofs.join("; ")).expect("a text takes everything");
    }
    text
}

fn proof_text(proof: &Proof, language: Language) -> String {
    let mut words = language.pick(&proof.en, &proof.ru).to_owned();
    for (n, name) in proof.counts.iter().enumerate() {
        let place = format!("{{{n}}}");
        assert!(words.contains(&place), "{}: the words of {name} have no {place}", proof.file);
        words = words.replace(&place, &language.number(counts::told(name)));
    }
    format!("`{}`: {words}", proof.file)
}

#[test]
fn the_readme_says_what_is_proved_and_nothing_else() {
    let readme = source("README.md");
    let parts: Vec<&str> = readme.split(BEGIN).collect();
    assert_eq!(parts.len(), 3, "the README has a table in English and one in Russian, each after `{BEGIN}`");
    let mut wanted = parts[0].to_owned();
    for (part, language) in parts[1..].iter().zip(Language::BOTH) {
        let (_, rest) = part.split_once(END).expect("each table ends with its mark");
        write!(wanted, "{BEGIN}\n\n{}\n{END}{rest}", table(language)).expect("a text takes everything");
    }
    if Environment::of_process().get("EDOBRIDGE_WRITE_README").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        std::fs::write(path, wanted).expect("the README is written");
    } else {
        assert!(readme == wanted, "run `EDOBRIDGE_WRITE_README=1 cargo test --test guarantees`");
    }
}

#[test]
fn every_promise_names_tests_that_exist() {
    let mut sources: BTreeMap<String, String> = BTreeMap::new();
    for promise in promises() {
        assert!(!promise.proof.is_empty(), "nothing proves: {}", promise.en);
        for proof in &promise.proof {
            assert!(!proof.tests.is_empty(), "{}: no test of {} is named", promise.en, proof.file);
            // The tests of a folder stand in its files or in the file beside it.
            let text = sources.entry(proof.file.clone()).or_insert_with(|| with_folder(&proof.file));
            for test in &proof.tests {
                assert!(has_test(text, test), "{}: there is no test {test} in {}", promise.en, proof.file);
            }
        }
    }
}

fn with_folder(file: &str) -> String {
    let mut text = source(file);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(file.trim_end_matches(".rs"));
    let Ok(entries) = std::fs::read_dir(folder) else { return text };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a folder can be read").path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "rs")) {
        text.push_str(&std::fs::read_to_string(path).expect("a source is text"));
    }
    text
}

#[test]
fn every_executable_of_tests_proves_a_promise() {
    // `config_env`: which variables the program reads, a convenience and no promise.
    const NO_PROMISE: [&str; 2] = ["tests/config_env.rs", "tests/guarantees.rs"];
    let named: BTreeSet<String> =
        promises().into_iter().flat_map(|p| p.proof).map(|proof| proof.file).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for entry in std::fs::read_dir(folder).expect("the tests are there") {
        let name = entry.expect("a folder can be read").file_name();
        let file = format!("tests/{}", name.to_string_lossy());
        let is_executable = file.ends_with(".rs");
        assert!(
            !is_executable || named.contains(&file) || NO_PROMISE.contains(&file.as_str()),
            "{file} proves no promise of the README: name it in tests/guarantees/promises.toml"
        );
    }
}

#[test]
fn a_name_in_a_comment_and_an_ignored_test_prove_nothing() {
    assert!(has_test("#[test]\nfn a() {}", "a") && has_test("#[tokio::test]\nasync fn a() {}", "a"));
    assert!(!has_test("// fn a()\nfn a() {}", "a") && !has_test("#[test]\nfn ab() {}", "a"));
    assert!(!has_test("#[test]\n#[ignore = \"slow\"]\nfn a() {}", "a"));
    assert!(has_test("\nfn main() {}\n    (\"a\", a),", "a") && !has_test("(\"a\", a),", "a"));
}
