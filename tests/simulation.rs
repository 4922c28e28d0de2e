//! Deterministic simulation: whole lives of many documents from one number.
//!
//! What is **real**: the pure core (`saga`), the store with its journal, snapshots, view, spool and recovery, over a disk
//! that can die in the middle of a write and lose what was not synced; load, decide, commit (`actors::decision`); where
//! a notice goes (`actors::notice_way`), the decoding of events and callbacks; the budget with its payment ahead
//! (`shared_budget`). What is **modelled**: the clock (one number that jumps to the next thing), the remotes, the way of
//! a call to them (`EffectRunner` and `PortalSession`: latency, faults, one request for a call, no batches), the
//! scheduler's order (any), the item reader and the desk for robots, and people.
//!
//! A seed decides the configuration, the documents, and everything that happens: repeated triggers, callbacks that are
//! early, doubled, late, contradictory or never come, operators, faults at every call, crashes between any two steps and
//! inside commits, power cuts, a disk that fails under the living process, once or until it is mended, a clock that is
//! turned, weeks of waiting, records of older releases. The documents are those of one portal or of two, where the same
//! numbers mean other files; an item brings up to four; iDocs is spoken to by drafts, or by one call that takes file and
//! signature and that nothing finds again (V1). Then faults stop, people do their part, and everything must come to its
//! end. The laws are in `simulation/laws.rs`.
//!
//! ```text
//! cargo test --test simulation                              the seeds of CI, a few new ones, and the negative controls
//! cargo test --test simulation -- --seeds 5000              a night; --seed S begins there
//! cargo test --test simulation -- --seed 42                 one seed, told line by line
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it reports to whoever started it")]

#[path = "simulation/arguments.rs"]
mod arguments;
#[path = "simulation/calls.rs"]
mod calls;
#[path = "simulation/chance.rs"]
mod chance;
#[path = "simulation/disk.rs"]
mod disk;
#[path = "simulation/judge.rs"]
mod judge;
#[path = "simulation/laws.rs"]
mod laws;
#[path = "simulation/life.rs"]
mod life;
#[path = "simulation/people.rs"]
mod people;
#[path = "simulation/plan.rs"]
mod plan;
#[path = "simulation/sabotage.rs"]
mod sabotage;
#[path = "simulation/sent_whole.rs"]
mod sent_whole;
#[path = "simulation/trace.rs"]
mod trace;
#[path = "simulation/witness.rs"]
mod witness;
#[path = "simulation/world.rs"]
mod world;

use arguments::{Arguments, Wanted};
use laws::{Broken, Law};
use life::{End, Life, Tally};
use sabotage::Sabotage;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Seeds of every run of CI: 1 to this.
const FIXED_SEEDS: u64 = 100;
/// New ones, other ones each time.
const NEW_SEEDS: u64 = 10;
/// How many seeds are run twice and compared.
const REPLAYED_SEEDS: u64 = 10;
/// Within how many seeds a sabotage must be noticed.
const SABOTAGE_SEEDS: u64 = 60;

/// What a trial says when it is over: a few numbers, or why it failed.
type Told = Result<String, String>;
type Trial = fn() -> Told;

/// The named tests, as `cargo test` lists and filters them.
const TRIALS: [(&str, Trial); 3] = [
    ("every_law_holds_for_fixed_and_new_seeds", every_law_holds),
    ("a_seed_replays_exactly", a_seed_replays_exactly),
    ("every_sabotage_is_noticed", every_sabotage_is_noticed),
];

fn main() -> ExitCode {
    let arguments = match Arguments::of_process() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match arguments.wanted {
        Wanted::List => {
            for (name, _) in TRIALS.iter().filter(|(name, _)| arguments.wants(name)) {
                println!("{name}: test");
            }
            ExitCode::SUCCESS
        }
        Wanted::One(seed) => report(&[(seed, one(seed, None, true))], Instant::now()),
        Wanted::Many { first, count } => many(first, count),
        Wanted::Trials => trials(&arguments),
    }
}

fn trials(arguments: &Arguments) -> ExitCode {
    let wanted: Vec<_> = TRIALS.iter().filter(|(name, _)| arguments.wants(name)).collect();
    println!("\nrunning {} tests", wanted.len());
    let mut failed = 0;
    for (name, run) in &wanted {
        match run() {
            Ok(told) => println!("test {name} ... ok\n{told}"),
            Err(told) => {
                failed += 1;
                println!("test {name} ... FAILED\n{told}");
            }
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out\n",
        wanted.len() - failed,
        TRIALS.len() - wanted.len()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

// --- runs of seeds ---------------------------------------------------------------------------------------------

fn one(seed: u64, sabotage: Option<Sabotage>, loud: bool) -> End {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    runtime.block_on(Life::new(seed, sabotage, loud).lived())
}

/// Runs them on all processors; in the order of the seeds.
fn run_all(seeds: &[u64]) -> Vec<(u64, End)> {
    on_all_processors(seeds, |seed| (*seed, one(*seed, None, false)))
}

/// The results of all, in their order.
fn on_all_processors<T: Sync, R: Send>(all: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = all.get(at) else { break };
                    let result = work(one);
                    results.lock().expect("nobody panics while he holds this").push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("nobody panics while he holds this");
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

fn total(ends: &[(u64, End)]) -> Tally {
    let mut total = Tally::default();
    for (_, end) in ends {
        total.add(&end.tally);
    }
    total
}

fn told(total: &Tally, began: Instant) -> String {
    let seconds = began.elapsed().as_secs_f64();
    format!(
        "  {} seeds in {seconds:.1} s ({:.1} a second), {:.0} simulated days, {} documents ({} delivered, {} refused),\n  \
         {} delivered that were sent whole; {} sendings of unknown outcome, {} bound and {} sent again by people,\n  \
         {} of these there already and answered with an error,\n  \
         {} commits, {} calls, {} faults, {} kills, {} power cuts ({} of both inside a write), {} notices,\n  \
         {} turns of the clock, {} healings by people, {} records written as an older release did,\n  \
         {} with a bucket nearly full, {} with two portals, {} refusals by a failing disk, {} break-downs of one",
        total.seeds,
        total.seeds as f64 / seconds.max(0.001),
        total.virtual_ms as f64 / plan::DAY as f64,
        total.documents,
        total.delivered,
        total.refused,
        total.delivered_whole,
        total.unknown_sendings,
        total.bound,
        total.sent_again,
        total.refused_repeats,
        total.commits,
        total.calls,
        total.faults,
        total.kills,
        total.power_cuts,
        total.in_commits,
        total.notices,
        total.clock_jumps,
        total.healings,
        total.older_records,
        total.full_buckets,
        total.two_portals,
        total.refusals,
        total.break_downs,
    )
}

fn failures(ends: &[(u64, End)]) -> Vec<String> {
    let failed = ends.iter().filter_map(|(seed, end)| Some((seed, end.broken.as_ref()?)));
    failed
        .map(|(seed, broken)| {
            let shown: String = broken.to_string().chars().take(4_000).collect();
            format!("  seed {seed}: {shown}\n  replay: cargo test --test simulation -- --seed {seed}")
        })
        .collect()
}

fn report(ends: &[(u64, End)], began: Instant) -> ExitCode {
    let failed = failures(ends);
    let traces: Vec<u64> = ends.iter().map(|(_, end)| end.trace).collect();
    println!("{}\n  trace {:016x}", told(&total(ends), began), folded(&traces));
    for failure in &failed {
        println!("{failure}");
    }
    println!("{} of {} seeds keep every law", ends.len() - failed.len(), ends.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

fn folded(traces: &[u64]) -> u64 {
    traces.iter().fold(0, |sum: u64, trace| sum.rotate_left(1) ^ trace)
}

/// In pieces, so that a night tells how it goes.
fn many(first: u64, count: u64) -> ExitCode {
    let began = Instant::now();
    let (mut sum, mut failed) = (Tally::default(), 0);
    let mut at = first;
    while at < first + count {
        let seeds: Vec<u64> = (at..(at + 200).min(first + count)).collect();
        at += seeds.len() as u64;
        let ends = run_all(&seeds);
        sum.add(&total(&ends));
        for failure in failures(&ends) {
            failed += 1;
            println!("{failure}");
        }
        println!("{}, {failed} failed so far", told(&sum, began));
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

// --- the trials ------------------------------------------------------------------------------------------------

fn every_law_holds() -> Told {
    let began = Instant::now();
    let start = RandomState::new().hash_one("a new seed") >> 16;
    let seeds: Vec<u64> = (1..=FIXED_SEEDS).chain(start..start + NEW_SEEDS).collect();
    let ends = run_all(&seeds);
    let failed = failures(&ends);
    let sum = total(&ends);
    if !failed.is_empty() {
        return Err(failed.join("\n"));
    }
    // A simulation in which nothing goes wrong proves nothing.
    let met = [
        ("faults", sum.faults),
        ("kills", sum.kills),
        ("power cuts", sum.power_cuts),
        ("deaths inside a write", sum.in_commits),
        ("delivered documents", sum.delivered),
        ("refused documents", sum.refused),
        ("delivered documents that were sent whole", sum.delivered_whole),
        ("sendings of unknown outcome", sum.unknown_sendings),
        ("documents bound by people", sum.bound),
        ("documents sent again by people", sum.sent_again),
        ("repeated numbers that were answered with an error", sum.refused_repeats),
        ("turns of the clock", sum.clock_jumps),
        ("older records", sum.older_records),
        ("healings", sum.healings),
        ("full buckets", sum.full_buckets),
        ("refusals by the disk", sum.refusals),
        ("seeds with two portals", sum.two_portals),
    ];
    match met.iter().find(|(_, count)| *count < 10) {
        Some((what, count)) => Err(format!("  only {count} {what} in all seeds")),
        None => Ok(told(&sum, began)),
    }
}

fn a_seed_replays_exactly() -> Told {
    let seeds: Vec<u64> = (1..=REPLAYED_SEEDS).collect();
    let traces = |ends: Vec<(u64, End)>| -> Vec<u64> { ends.iter().map(|(_, end)| end.trace).collect() };
    let (first, second) = (traces(run_all(&seeds)), traces(run_all(&seeds)));
    if let Some(at) = first.iter().zip(&second).position(|(one, two)| one != two) {
        return Err(format!("  seed {} is another run the second time", seeds[at]));
    }
    let different: BTreeSet<&u64> = first.iter().collect();
    if different.len() != first.len() {
        return Err(format!("  two seeds are one run: {first:x?}"));
    }
    Ok(format!("  {REPLAYED_SEEDS} seeds, twice the same traces; together {:016x}", folded(&first)))
}

fn every_sabotage_is_noticed() -> Told {
    let found = on_all_processors(&Sabotage::ALL, |sabotage| noticed(*sabotage));
    let (mut told, mut missed) = (Vec::new(), Vec::new());
    for (sabotage, outcome) in Sabotage::ALL.iter().zip(found) {
        match outcome {
            Ok((seed, broken)) => told.push(format!("  {sabotage:?}: {:?} at seed {seed}", broken.law)),
            Err(others) => {
                missed.push(format!("  {sabotage:?} was not noticed; other laws broke: {others:?}"))
            }
        }
    }
    if missed.is_empty() { Ok(told.join("\n")) } else { Err(missed.join("\n")) }
}

/// The first seed in which a law breaks that is about this sabotage.
fn noticed(sabotage: Sabotage) -> Result<(u64, Broken), Vec<Law>> {
    let mut others = Vec::new();
    let matters = |seed: &u64| sabotage.matters_to(&plan::Plan::of(&mut chance::Chance::new(*seed)));
    for seed in (1..=SABOTAGE_SEEDS).filter(matters) {
        if let Some(broken) = one(seed, Some(sabotage), false).broken {
            if sabotage.caught_by().contains(&broken.law) {
                return Ok((seed, broken));
            }
            others.push(broken.law);
        }
    }
    Err(others)
}
