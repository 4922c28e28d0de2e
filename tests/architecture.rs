//! The house rules that a compiler cannot keep: who may use whom, and which words belong to which folder.
//!
//! The tests read the source text. Comments and string literals are blanked out first, so that prose may name
//! anything; what remains is code. The table of arrows is that of the design, section 3.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and reports to the console"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A top module, and the top modules that it may use besides itself.
const ARROWS: [(&str, &[&str]); 12] = [
    ("limits", &[]),
    ("domain", &[]),
    ("saga", &["domain", "limits"]),
    ("telemetry", &["domain", "limits"]),
    ("config", &["domain", "limits"]),
    ("store", &["saga", "domain", "limits", "telemetry"]),
    ("providers", &["domain", "limits", "telemetry"]),
    ("actors", &["store", "providers", "saga", "domain", "limits", "telemetry", "config"]),
    ("pages", &["actors", "store", "providers", "saga", "domain", "limits", "telemetry", "config"]),
    ("http", &["pages", "actors", "store", "providers", "saga", "domain", "limits", "telemetry", "config"]),
    // it shares no wire code with `providers`: a field spelled wrongly in both places would go unnoticed
    ("sandbox", &["domain", "limits"]),
    (
        "commands",
        &[
            "http",
            "pages",
            "actors",
            "store",
            "providers",
            "saga",
            "domain",
            "limits",
            "telemetry",
            "config",
            "sandbox",
        ],
    ),
];

/// What `main.rs` may use of the library.
const ARROWS_OF_MAIN: &[&str] = &["commands", "config", "telemetry", "domain"];

/// Words that must not occur in the code of a folder.
const FORBIDDEN: [(&str, &[&str]); 9] = [
    ("domain", PURE),
    ("saga", PURE),
    ("config", &["actix", "actix_web", "tokio", "sled", "bincode", "reqwest"]),
    ("telemetry", &["actix", "actix_web", "tokio", "sled", "bincode", "reqwest"]),
    ("providers", &["actix", "actix_web", "sled", "bincode"]),
    ("actors", &["sled", "bincode"]),
    ("http", &["sled", "bincode", "reqwest"]),
    ("commands", &["sled", "bincode"]),
    ("sandbox", &["sled", "bincode"]),
];

/// No clock, no randomness, no IO, no runtime.
const PURE: &[&str] = &[
    "SystemTime",
    "Instant::now",
    "rand",
    "tokio",
    "actix",
    "actix_web",
    "sled",
    "bincode",
    "reqwest",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
];

/// Actors lose messages sent this way, so the place says why it does not matter.
const DO_SEND_EXCUSE: &str = "loss is repaired";

struct Source {
    /// Relative to the root of the package.
    path: PathBuf,
    raw: String,
    /// `raw` with comments and literals blanked, the same lines.
    code: String,
}

impl Source {
    fn new(path: impl Into<PathBuf>, raw: &str) -> Self {
        Self { path: path.into(), raw: raw.to_owned(), code: blank(raw) }
    }

    /// The modules on the way to this file: `["store", "keys"]` for `src/store/keys.rs`.
    fn modules(&self) -> Vec<String> {
        let below = self.path.strip_prefix("src").unwrap_or(&self.path).with_extension("");
        let mut modules: Vec<String> =
            below.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        if modules.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
            modules.pop();
        }
        modules
    }

    fn at(&self, offset: usize) -> String {
        let line = self.code[..offset].matches('\n').count() + 1;
        format!("{}:{line}", self.path.display())
    }
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let raw = std::fs::read_to_string(&path).unwrap();
                found.push(Source::new(path.strip_prefix(root).unwrap(), &raw));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no sources in {folders:?}");
    found
}

/// Blanks comments, strings and character literals; keeps newlines and the length of the rest.
fn blank(raw: &str) -> String {
    let chars: Vec<char> = raw.chars().collect();
    let mut code = String::with_capacity(raw.len());
    let mut at = 0;
    while at < chars.len() {
        let length = literal_length(&chars, at);
        if length == 0 {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..at + length].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at += length;
        }
    }
    code
}

/// How many characters the comment or literal that begins at `at` takes; 0 if none begins there.
fn literal_length(chars: &[char], at: usize) -> usize {
    let next = |offset: usize| chars.get(at + offset).copied().unwrap_or('\0');
    match (chars[at], next(1)) {
        ('/', '/') => chars[at..].iter().take_while(|c| **c != '\n').count(),
        ('/', '*') => block_comment_length(&chars[at..]),
        ('"', _) => string_length(&chars[at..]),
        ('r', '"' | '#') if !continues_a_name(chars, at) => raw_string_length(&chars[at..]),
        ('b', 'r') if !continues_a_name(chars, at) && matches!(next(2), '"' | '#') => {
            1 + raw_string_length(&chars[at + 1..])
        }
        // 'x' and '\n' are characters, 'a without a closing quote is a lifetime
        ('\'', '\\') => {
            let after_escape = (at + 3).min(chars.len());
            let tail = chars[after_escape..].iter().take_while(|c| **c != '\'').count() + 1;
            (3 + tail).min(chars.len() - at)
        }
        ('\'', _) if next(2) == '\'' => 3,
        _ => 0,
    }
}

fn continues_a_name(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn block_comment_length(chars: &[char]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    chars.len()
}

fn string_length(chars: &[char]) -> usize {
    let mut at = 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// The length of `r#"…"#`; 0 if this is a raw identifier such as `r#type`.
fn raw_string_length(chars: &[char]) -> usize {
    let hashes = chars[1..].iter().take_while(|c| **c == '#').count();
    if chars.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let mut at = 2 + hashes;
    while at < chars.len() {
        let closes =
            chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        if closes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    chars.len()
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Offsets where `word` stands as a word of its own. A path (`std::fs`) may go on with `::`.
fn words(code: &str, word: &str) -> Vec<usize> {
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(|at| !code[..*at].ends_with(is_name) && !code[at + word.len()..].starts_with(is_name))
        .collect()
}

/// Top modules that a file names, with the offset of each: `crate::x`, `crate::{x, y::z}`, `super::super::x`.
fn references(source: &Source) -> Vec<(usize, String)> {
    let depth = source.modules().len();
    let mut found = Vec::new();
    for at in words(&source.code, "crate") {
        if source.code[..at].ends_with('$') {
            continue;
        }
        collect_first_names(&source.code, at + "crate".len(), &mut found);
    }
    for at in words(&source.code, "super") {
        // only the first of a chain
        if source.code[..at].trim_end().ends_with("::") {
            continue;
        }
        let mut end = at + "super".len();
        let mut supers = 1;
        while source.code[end..].starts_with("::super") {
            end += "::super".len();
            supers += 1;
        }
        if supers >= depth {
            collect_first_names(&source.code, end, &mut found);
        }
    }
    if source.path.ends_with("src/main.rs") {
        for at in words(&source.code, "edobridge") {
            collect_first_names(&source.code, at + "edobridge".len(), &mut found);
        }
    }
    found.retain(|(_, name)| is_top_module(name));
    found
}

fn is_top_module(name: &str) -> bool {
    ARROWS.iter().any(|(module, _)| *module == name)
}

/// The first names of the path or of the group of paths that follows `::` at `from`.
fn collect_first_names(code: &str, from: usize, found: &mut Vec<(usize, String)>) {
    let Some(rest) = code[from..].strip_prefix("::") else { return };
    let start = from + "::".len();
    if !rest.starts_with('{') {
        let name: String = rest.chars().take_while(|c| is_name(*c)).collect();
        found.push((start, name));
        return;
    }
    let mut depth = 0_usize;
    let mut expects_name = false;
    for (offset, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return;
        }
        if depth == 1 && matches!(c, '{' | ',') {
            expects_name = true;
        } else if expects_name && is_name(c) {
            let name: String = rest[offset..].chars().take_while(|c| is_name(*c)).collect();
            found.push((start + offset, name));
            expects_name = false;
        }
    }
}

/// Arrows in `source` that the table does not have.
fn wrong_arrows(source: &Source) -> Vec<String> {
    let modules = source.modules();
    let (from, allowed) = match modules.first() {
        None if source.path.ends_with("src/main.rs") => ("main", ARROWS_OF_MAIN),
        // lib.rs declares the modules
        None => return Vec::new(),
        Some(top) => match ARROWS.iter().find(|(module, _)| module == top) {
            Some((module, allowed)) => (*module, *allowed),
            None => {
                return vec![format!("{}: the module `{top}` is not in the table", source.path.display())];
            }
        },
    };
    references(source)
        .into_iter()
        .filter(|(_, to)| to != from && !allowed.contains(&to.as_str()))
        .map(|(at, to)| format!("{}: `{from}` must not use `{to}`", source.at(at)))
        .collect()
}

fn forbidden_words(source: &Source) -> Vec<String> {
    let modules = source.modules();
    let Some(top) = modules.first() else { return Vec::new() };
    let forbidden = FORBIDDEN.iter().find(|(module, _)| module == top).map_or(&[][..], |(_, words)| *words);
    forbidden
        .iter()
        .flat_map(|word| words(&source.code, word).into_iter().map(move |at| (at, *word)))
        .map(|(at, word)| format!("{}: `{word}` must not occur in `{top}`", source.at(at)))
        .collect()
}

fn silent_sends(source: &Source) -> Vec<String> {
    let lines = source.code.lines().zip(source.raw.lines()).enumerate();
    lines
        .filter(|(_, (code, raw))| {
            let comment = raw.rsplit_once("//").map_or("", |(_, comment)| comment);
            code.contains("do_send(") && !comment.contains(DO_SEND_EXCUSE)
        })
        .map(|(index, _)| {
            let path = source.path.display();
            format!(
                "{path}:{}: do_send loses messages; if the `{DO_SEND_EXCUSE}`, say so on the line",
                index + 1
            )
        })
        .collect()
}

fn ignored_tests(source: &Source) -> Vec<String> {
    source
        .code
        .match_indices("#[ignore")
        .map(|(at, _)| format!("{}: a test that is not run proves nothing", source.at(at)))
        .collect()
}

fn missing_header(source: &Source) -> Vec<String> {
    let first = source.raw.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
    match first {
        Some(line) if line.starts_with("//!") => Vec::new(),
        Some(_) | None => {
            vec![format!(
                "{}:1: a file begins with `//!`: what it is for, what it does not know",
                source.path.display()
            )]
        }
    }
}

#[track_caller]
fn expect_none(what: &str, found: impl Iterator<Item = String>) {
    let found: Vec<String> = found.collect();
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn arrows_between_modules_go_one_way() {
    expect_none("wrong arrows", sources(&["src"]).iter().flat_map(wrong_arrows));
}

#[test]
fn words_stay_in_the_folders_where_they_belong() {
    expect_none("words in the wrong folder", sources(&["src"]).iter().flat_map(forbidden_words));
}

#[test]
fn a_message_may_be_lost_only_where_the_loss_is_repaired() {
    expect_none("silent sends", sources(&["src"]).iter().flat_map(silent_sends));
}

#[test]
fn no_test_is_ignored() {
    expect_none("ignored tests", sources(&["src", "tests", "benches"]).iter().flat_map(ignored_tests));
}

#[test]
fn every_file_says_what_it_is_for() {
    expect_none(
        "files without a header",
        sources(&["src", "tests", "benches"]).iter().flat_map(missing_header),
    );
}

#[test]
fn the_table_of_arrows_has_no_cycle() {
    // each module may be used only by modules further down the table
    for (index, (module, allowed)) in ARROWS.iter().enumerate() {
        for used in *allowed {
            let place = ARROWS.iter().position(|(name, _)| name == used).unwrap();
            assert!(place < index, "`{module}` uses `{used}`, which does not stand above it");
        }
    }
}

/// Public fields of the structs in `source`, with their offsets.
fn public_fields(source: &Source) -> Vec<(usize, String)> {
    let fields = source.code.match_indices("    pub ").filter_map(|(at, indent)| {
        let rest = &source.code[at + indent.len()..];
        let name: String = rest.chars().take_while(|c| is_name(*c)).collect();
        rest[name.len()..].starts_with(": ").then_some((at + indent.len(), name))
    });
    fields.collect()
}

/// Keys whose whole effect is what `validate` allows.
const READ_BY_VALIDATION: &[&str] = &["dangerous_allow_http"];

/// A key that nothing reads would be a lie to whoever sets it.
#[test]
fn every_key_of_the_configuration_is_read_by_somebody() {
    let (config, others): (Vec<Source>, Vec<Source>) =
        sources(&["src"]).into_iter().partition(|source| source.path.starts_with("src/config"));
    if !others.iter().any(|source| source.path.ends_with("commands/wiring.rs")) {
        println!("skipped: src/commands/wiring.rs, which reads the configuration, is not here");
        return;
    }
    let sections = ["server.rs", "portal.rs", "easydocs.rs", "retry.rs", "rule.rs"];
    let sections = config.iter().filter(|source| sections.iter().any(|name| source.path.ends_with(name)));
    let sections = sections.filter(|source| !source.path.starts_with("src/config/validate"));
    let unread = sections.flat_map(|section| {
        let unread = public_fields(section).into_iter().filter(|(_, field)| {
            let read = |source: &Source| {
                words(&source.code, field).iter().any(|at| source.code[..*at].trim_end().ends_with('.'))
            };
            !READ_BY_VALIDATION.contains(&field.as_str()) && !others.iter().any(read)
        });
        unread.map(|(at, field)| format!("{}: nothing reads `{field}`", section.at(at))).collect::<Vec<_>>()
    });
    expect_none("keys of the configuration that have no effect", unread);
}

mod the_reader_itself {
    use super::*;

    fn arrows_of(path: &str, code: &str) -> String {
        wrong_arrows(&Source::new(path, code)).into_iter().fold(String::new(), |mut all, line| {
            let _ = writeln!(all, "{line}");
            all
        })
    }

    #[test]
    fn sees_every_way_to_name_a_module() {
        for code in [
            "use crate::store::Store;",
            "use crate::{domain::Text, store::Store};",
            "use crate::{\n    domain::{Text, Failure},\n    store,\n};",
            "fn f() { crate::store::open() }",
            "use super::super::store;",
        ] {
            let found = arrows_of("src/saga/document/state.rs", code);
            let expected = code.starts_with("use super");
            // `super::super` of src/saga/document/state.rs is `saga`, not the crate
            assert_eq!(found.is_empty(), expected, "{code}: {found}");
        }
        assert!(arrows_of("src/saga/mod.rs", "use super::store::Store;").contains("src/saga/mod.rs:1"));
        assert!(arrows_of("src/saga/retry.rs", "\nuse super::super::store;").contains("src/saga/retry.rs:2"));
        assert!(
            arrows_of("src/main.rs", "use edobridge::store::Store;").contains("`main` must not use `store`")
        );
        assert!(arrows_of("src/gadgets/mod.rs", "").contains("not in the table"));
    }

    #[test]
    fn lets_pass_what_is_allowed_or_no_code() {
        for code in [
            "use crate::domain::Text;",
            "use crate::saga::retry; use super::state::State;",
            "// use crate::store::Store;",
            "/* crate::store /* nested */ crate::store */",
            "const S: &str = \"crate::store\"; const R: &str = r#\"crate::\"store\"#;",
            "fn f<'a>(x: &'a str) { let c = '\"'; let d = '\\''; }",
            "use crate::domain::{Store, store};",
            "let r#store = 1;",
        ] {
            assert_eq!(arrows_of("src/saga/document/state.rs", code), "", "{code}");
        }
    }

    #[test]
    fn keeps_lines_when_blanking() {
        let raw = "a \"x\ny\" b // c\n'\\n' d /* e\n */ f\nr##\"g\"# \"## h 'i' b\"j\" \u{451}";
        let code = blank(raw);
        assert_eq!(code.lines().count(), raw.lines().count());
        let left: Vec<&str> = code.split_whitespace().collect();
        assert_eq!(left, ["a", "b", "d", "f", "h", "b", "\u{451}"]);
    }

    #[test]
    fn finds_words_but_not_parts_of_words() {
        let of = |path: &str, code: &str| forbidden_words(&Source::new(path, code)).len();
        assert_eq!(of("src/saga/a.rs", "let x = rand::random(); let operand = brand;"), 1);
        assert_eq!(of("src/saga/a.rs", "use std::fs::File; let t = Instant::now();"), 2);
        assert_eq!(of("src/actors/a.rs", "use sled::Db; // sled"), 1);
        assert_eq!(of("src/store/a.rs", "use sled::Db; use bincode;"), 0);
    }

    #[test]
    fn finds_silent_sends_ignored_tests_and_absent_headers() {
        let source = Source::new(
            "src/actors/a.rs",
            "a.do_send(M);\na.do_send(M); // a hint: loss is repaired by the sweep\n",
        );
        assert_eq!(silent_sends(&source).len(), 1);
        assert_eq!(
            ignored_tests(&Source::new("tests/a.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}")).len(),
            1
        );
        assert_eq!(missing_header(&Source::new("src/a.rs", "use x;")).len(), 1);
        assert_eq!(missing_header(&Source::new("src/a.rs", "#![allow(x)]\n//! Purpose.\nuse x;")).len(), 0);
    }
}
