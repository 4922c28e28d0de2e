//! A small test harness, because a storm takes orders of its own: `--kills`, `--seed`, `--storm`, `--at-once`,
//! `--judge`.
//!
//! What `cargo test` and people commonly pass is understood (names, `--exact`, `--skip`, `--list`, `--ignored`,
//! `--test-threads`); what only concerns the look of the output is accepted and changes nothing.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

/// A test by its name: what has to hold, as a sentence.
pub type Trial = (&'static str, fn(&Orders));

/// What the command line and the environment order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orders {
    /// Kills of the whole run.
    pub kills: Option<usize>,
    /// Of all choices.
    pub seed: Option<u64>,
    /// Play only the storm with this number of a run.
    pub storm: Option<usize>,
    /// Storms at one time.
    pub at_once: Option<usize>,
    /// Judge this history instead of running anything.
    pub judge: Option<PathBuf>,
    /// Where histories are kept even if nothing is wrong with them.
    pub keep: Option<PathBuf>,
    names: Vec<String>,
    skip: Vec<String>,
    exact: bool,
    list: bool,
    only_ignored: bool,
    threads: Option<usize>,
}

/// Options of the standard harness that say nothing about what is run; the latter ones have a value.
const LOOKS: [&str; 7] =
    ["--nocapture", "--no-capture", "--show-output", "--include-ignored", "-q", "--quiet", "--test"];
const LOOKS_WITH_VALUE: [&str; 4] = ["--format", "--color", "-Z", "--logfile"];

impl Orders {
    /// Reads the arguments, without the program's name.
    ///
    /// # Errors
    /// An option that is not known or lacks its value, in words.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut orders = Self::default();
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            let (option, inline) = match argument.split_once('=') {
                Some((option, value)) if option.starts_with("--") => {
                    (option.to_owned(), Some(value.to_owned()))
                }
                _ => (argument, None),
            };
            let mut value =
                || inline.clone().or_else(|| rest.next()).ok_or(format!("{option} needs a value"));
            match option.as_str() {
                "--kills" => orders.kills = Some(number(&option, &value()?)?),
                "--seed" => orders.seed = Some(number(&option, &value()?)?),
                "--storm" => orders.storm = Some(number(&option, &value()?)?),
                "--at-once" => orders.at_once = Some(number(&option, &value()?)?),
                "--judge" => orders.judge = Some(value()?.into()),
                "--keep" => orders.keep = Some(value()?.into()),
                "--skip" => orders.skip.push(value()?),
                "--test-threads" => orders.threads = Some(number(&option, &value()?)?),
                "--exact" => orders.exact = true,
                "--list" => orders.list = true,
                "--ignored" => orders.only_ignored = true,
                known if LOOKS.contains(&known) => {}
                known if LOOKS_WITH_VALUE.contains(&known) => drop(value()?),
                strange if strange.starts_with('-') => return Err(format!("{strange} is not known here")),
                _ => orders.names.push(option),
            }
        }
        Ok(orders)
    }

    fn wants(&self, name: &str) -> bool {
        let fits = |part: &String| if self.exact { name == part } else { name.contains(part.as_str()) };
        // None of the tests here is marked as ignored.
        !self.only_ignored
            && (self.names.is_empty() || self.names.iter().any(fits))
            && !self.skip.iter().any(fits)
    }
}

fn number<N: std::str::FromStr>(option: &str, text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{option} takes a number, not `{text}`"))
}

/// Runs the tests that are wanted, several at one time, and tells how they ended.
pub fn run(trials: &[Trial], orders: &Orders) -> ExitCode {
    let wanted: Vec<&Trial> = trials.iter().filter(|(name, _)| orders.wants(name)).collect();
    if orders.list {
        for (name, _) in &wanted {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", wanted.len());
    let began = Instant::now();
    let failed = run_all(&wanted, orders, &|name, verdict| println!("test {name} ... {verdict}"));
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    if !failed.is_empty() {
        println!("\nfailures:\n    {}", failed.join("\n    "));
    }
    println!(
        "\ntest result: {verdict}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        wanted.len() - failed.len(),
        failed.len(),
        trials.len() - wanted.len(),
        began.elapsed().as_secs_f64(),
    );
    // What the standard harness ends with.
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

/// Runs them and tells how each ended; the names of those that failed.
fn run_all(wanted: &[&Trial], orders: &Orders, tell: &(dyn Fn(&str, &str) + Sync)) -> Vec<&'static str> {
    let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = orders.threads.unwrap_or(at_once).clamp(1, wanted.len().max(1));
    let queue = Mutex::new(wanted.iter().copied().collect::<VecDeque<_>>());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // A lock of its own statement: it must not be held while the test runs.
                while let Some((name, run)) = { lock(&queue).pop_front() } {
                    // A panic writes itself to standard error.
                    let ended = catch_unwind(AssertUnwindSafe(|| run(orders)));
                    tell(name, if ended.is_ok() { "ok" } else { "FAILED" });
                    if ended.is_err() {
                        lock(&failed).push(*name);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The harness on trial.
pub fn arguments() {
    let parse = |line: &str| Orders::parse(line.split_whitespace().map(str::to_owned));
    let orders = parse(
        "--kills 10000 --seed=7 --at-once 4 w1 --skip storm --nocapture --test-threads 3 --format terse",
    )
    .unwrap();
    assert_eq!((orders.kills, orders.seed, orders.threads), (Some(10_000), Some(7), Some(3)));
    assert_eq!(orders.at_once, Some(4));
    assert!(orders.wants("w1_lost") && !orders.wants("w2") && !orders.wants("w1_storm"));
    let exact = parse("--exact w1").unwrap();
    assert!(exact.wants("w1") && !exact.wants("w1_lost"));
    assert!(parse("").unwrap().wants("anything") && !parse("--ignored").unwrap().wants("anything"));
    assert_eq!(parse("--judge a.jsonl").unwrap().judge, Some("a.jsonl".into()));
    for wrong in ["--kills", "--kills many", "--frobnicate", "--seed -1"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

/// A failing test must fail the run, or all the others prove nothing.
pub fn failure() {
    let fine: Trial = ("fine", |_| {});
    // Without a panic's message, which would look like a failure of ours.
    let bad: Trial = ("bad", |_| std::panic::resume_unwind(Box::new("on purpose")));
    let orders = Orders { threads: Some(1), ..Orders::default() };
    assert_eq!(run_all(&[&fine, &bad], &orders, &|_, _| {}), ["bad"]);
    assert_eq!(run_all(&[&fine], &orders, &|_, _| {}), Vec::<&str>::new());
}
