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
//! inside commits, power cuts, a clock that is turned, weeks of waiting, records of older releases. Then faults stop,
//! people do their part, and everything must come to its end. The laws are in `simulation/laws.rs`.
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
use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Seeds of every run of CI: 1 to this.
const FIXED_SEEDS: u64 = 120;
/// New ones, other ones each time.
const NEW_SEEDS: u64 = 12;
/// Within how many seeds a sabotage must be noticed.
const SABOTAGE_SEEDS: u64 = 60;

/// One named test, as `cargo test` filters and lists them.
struct Trial {
    name: &'static str,
    run: fn() -> Result<String, String>,
}

const TRIALS: [Trial; 3] = [
    Trial { name: "every_law_holds_for_fixed_and_new_seeds", run: every_law_holds },
    Trial { name: "a_seed_replays_exactly", run: a_seed_replays_exactly },
    Trial { name: "every_sabotage_is_noticed", run: every_sabotage_is_noticed },
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
            for trial in TRIALS.iter().filter(|trial| arguments.wants(trial.name)) {
                println!("{}: test", trial.name);
            }
            ExitCode::SUCCESS
        }
        Wanted::One(seed) => report(&[(seed, one(seed, None, true))], Instant::now()),
        Wanted::Many { first, count } => many(first, count),
        Wanted::Trials => trials(&arguments),
    }
}

fn trials(arguments: &Arguments) -> ExitCode {
    let wanted: Vec<&Trial> = TRIALS.iter().filter(|trial| arguments.wants(trial.name)).collect();
    println!("\nrunning {} tests", wanted.len());
    let mut failed = 0;
    for trial in &wanted {
        match (trial.run)() {
            Ok(told) => println!("test {} ... ok\n{told}", trial.name),
            Err(told) => {
                failed += 1;
                println!("test {} ... FAILED\n{told}", trial.name);
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
    let next = AtomicU64::new(0);
    let ends = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).expect("few seeds");
                    let Some(seed) = seeds.get(at) else { break };
                    let end = one(*seed, None, false);
                    ends.lock().expect("no run panics while it holds this").push((*seed, end));
                }
            });
        }
    });
    let mut ends = ends.into_inner().expect("no run panics while it holds this");
    ends.sort_by_key(|(seed, _)| *seed);
    ends
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
         {} commits, {} calls, {} faults, {} kills, {} power cuts ({} of both inside a write), {} notices,\n  \
         {} turns of the clock, {} healings by people, {} records written as an older release did",
        total.seeds,
        total.seeds as f64 / seconds.max(0.001),
        total.virtual_ms as f64 / plan::DAY as f64,
        total.documents,
        total.delivered,
        total.refused,
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
    println!("{}\n  trace {:016x}", told(&total(ends), began), trace_of(ends));
    for failure in &failed {
        println!("{failure}");
    }
    println!("{} of {} seeds keep every law", ends.len() - failed.len(), ends.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

fn trace_of(ends: &[(u64, End)]) -> u64 {
    ends.iter().fold(0, |sum: u64, (_, end)| sum.rotate_left(1) ^ end.trace)
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

fn every_law_holds() -> Result<String, String> {
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
        ("turns of the clock", sum.clock_jumps),
        ("older records", sum.older_records),
        ("healings", sum.healings),
    ];
    match met.iter().find(|(_, count)| *count < 10) {
        Some((what, count)) => Err(format!("  only {count} {what} in all seeds")),
        None => Ok(told(&sum, began)),
    }
}

fn a_seed_replays_exactly() -> Result<String, String> {
    let mut told = Vec::new();
    for seed in 1..=6 {
        let (first, second) = (one(seed, None, false), one(seed, None, false));
        if first.trace != second.trace {
            return Err(format!("  seed {seed} is another run the second time"));
        }
        told.push(format!("{:016x}", first.trace));
    }
    let mut different = told.clone();
    different.sort();
    different.dedup();
    if different.len() != told.len() {
        return Err(format!("  two seeds are one run: {told:?}"));
    }
    Ok(format!("  traces of seeds 1 to 6: {}", told.join(" ")))
}

fn every_sabotage_is_noticed() -> Result<String, String> {
    let (mut told, mut missed) = (Vec::new(), Vec::new());
    for sabotage in Sabotage::ALL {
        match noticed(sabotage) {
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
    for seed in 1..=SABOTAGE_SEEDS {
        if let Some(broken) = one(seed, Some(sabotage), false).broken {
            if sabotage.caught_by().contains(&broken.law) {
                return Ok((seed, broken));
            }
            others.push(broken.law);
        }
    }
    Err(others)
}
