//! The command line: our own words, and those with which `cargo test` and its likes speak to every test executable.

use edobridge::config::Environment;

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The names of the trials.
    List,
    /// The trials.
    Trials,
    /// One seed, told line by line.
    One(u64),
    /// Many seeds.
    Many { first: u64, count: u64 },
}

pub struct Arguments {
    pub wanted: Wanted,
    filters: Vec<String>,
    skipped: Vec<String>,
    exact: bool,
    /// Only what is ignored by default is wanted, and nothing is.
    only_ignored: bool,
}

impl Arguments {
    pub fn of_process() -> Result<Self, String> {
        let environment = Environment::of_process();
        let seeds = environment.get("EDOBRIDGE_SIMULATION_SEEDS").map(number).transpose()?;
        Self::of(std::env::args().skip(1), seeds)
    }

    fn of(words: impl Iterator<Item = String>, seeds: Option<u64>) -> Result<Self, String> {
        let (mut list, mut seed, mut count) = (false, None, seeds);
        let mut found = Self {
            wanted: Wanted::Trials,
            filters: Vec::new(),
            skipped: Vec::new(),
            exact: false,
            only_ignored: false,
        };
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            let (name, glued) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
                _ => (word.clone(), None),
            };
            let mut value = || glued.clone().or_else(|| words.next()).ok_or(format!("{name} wants a value"));
            match name.as_str() {
                "--seeds" => count = Some(number(&value()?)?),
                "--seed" => seed = Some(number(&value()?)?),
                "--list" => list = true,
                "--exact" => found.exact = true,
                "--ignored" => found.only_ignored = true,
                "--skip" => found.skipped.push(value()?),
                "--format" | "--test-threads" | "--color" | "-Z" | "--logfile" | "--shuffle-seed" => {
                    drop(value()?);
                }
                flag if flag.starts_with('-') => {}
                filter => found.filters.push(filter.to_owned()),
            }
        }
        found.wanted = match (list, seed, count) {
            (true, _, _) => Wanted::List,
            (false, first, Some(count)) => Wanted::Many { first: first.unwrap_or(1), count },
            (false, Some(seed), None) => Wanted::One(seed),
            (false, None, None) => Wanted::Trials,
        };
        Ok(found)
    }

    /// Whether a trial of this name is asked for.
    pub fn wants(&self, name: &str) -> bool {
        let fits = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        !self.only_ignored
            && (self.filters.is_empty() || self.filters.iter().any(fits))
            && !self.skipped.iter().any(fits)
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}
