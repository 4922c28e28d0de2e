//! The real binary in storms of events and faults, killed at random moments: what was acknowledged ends exactly once.
//!
//! The judge is a witness that reads only what the outside world shows (`crash/witness.rs`, where the laws are).
//!
//! ```text
//! cargo test --test crash                              50 kills, the usual run
//! cargo test --test crash -- --kills 10000             a night
//! cargo test --test crash -- --kills 50 --seed 7       the same choices again (the timing is the machine's)
//! cargo test --test crash -- --kills 50 --seed 7 --storm 1    only this storm of that run
//! cargo test --test crash -- --kills 10000 --at-once 5    more storms at one time: most of each is waiting
//! cargo test --test crash -- --keep FOLDER             keeps the histories of storms in which nothing is wrong, too
//! cargo test --test crash -- --judge FILE              judges a history again
//! ```
//! `EDOBRIDGE_CRASH_KILLS` and `EDOBRIDGE_CRASH_SEED` do the same as `--kills` and `--seed`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking; its numbers are for people"
)]

mod support;
mod wire;

#[path = "crash/disk.rs"]
mod disk;
#[path = "crash/harness.rs"]
mod harness;
#[path = "crash/history.rs"]
mod history;
#[path = "crash/lasting.rs"]
mod lasting;
#[path = "crash/people.rs"]
mod people;
#[path = "crash/service.rs"]
mod service;
#[path = "crash/stopping.rs"]
mod stopping;
#[path = "crash/storm.rs"]
mod storm;
#[path = "crash/weather.rs"]
mod weather;
#[path = "crash/witness.rs"]
mod witness;
#[path = "crash/witness_trials.rs"]
mod witness_trials;

use edobridge::config::Environment;
use harness::{Orders, Trial};
use history::Search;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use storm::{Plan, Report, Rules};
use witness::{Law, Tally};

/// Kills by default: what continuous integration runs.
const KILLS: usize = 50;
/// Kills of one storm at most: its world is in memory, and its folders are read page by page.
const KILLS_OF_A_STORM: usize = 100;
/// Storms at one time, unless ordered otherwise: most of each is waiting.
const STORMS_AT_ONCE: usize = 2;
/// How often a long run says how far it is.
const PROGRESS_KILLS: usize = 100;

/// Every test of this executable.
const TRIALS: [Trial; 25] = [
    ("every_acknowledged_event_ends_once_however_often_the_process_is_killed", storms),
    ("doubles_of_a_service_that_is_told_a_lie_are_seen_by_the_witness", doubles),
    ("events_that_a_service_is_made_to_forget_are_seen_by_the_witness", losses),
    ("sigterm_lets_work_under_way_end_and_the_next_start_goes_on_with_the_rest", |_| stopping::sigterm()),
    ("a_second_process_on_the_same_store_is_refused_with_a_clear_sentence", |_| stopping::second_process()),
    ("a_nearly_full_disk_stops_the_intake_and_nothing_else", |_| disk::nearly_full()),
    ("a_full_disk_loses_nothing_and_recovers_by_itself", |_| disk::full()),
    ("a_start_on_a_full_disk_can_be_read_takes_nothing_and_goes_on_by_itself", |_| disk::start_on_full()),
    ("a_start_on_a_read_only_disk_says_which_directory_and_what_to_do", |_| disk::start_on_read_only()),
    ("what_a_lasting_fault_of_a_storm_stops_is_lawful_to_the_witness", |_| lasting::stops_are_lawful()),
    ("a_deck_brings_every_weather_and_its_faults_end", |_| weather::deck()),
    ("the_witness_finds_nothing_in_a_good_history", |_| witness_trials::good_history()),
    ("w0_a_history_with_gaps_or_without_an_end_is_not_believed", |_| witness_trials::w0()),
    ("w1_an_acknowledged_event_without_a_trace_is_lost", |_| witness_trials::w1()),
    ("w2_a_second_document_route_or_sending_is_seen", |_| witness_trials::w2()),
    ("w3_a_second_signed_file_is_seen_even_if_it_was_removed_again", |_| witness_trials::w3()),
    ("w4_a_second_notice_or_comment_is_seen", |_| witness_trials::w4()),
    ("w5_effects_that_nobody_asked_for_are_seen", |_| witness_trials::w5()),
    ("w6_other_bytes_are_seen_on_the_way_out_and_on_the_way_back", |_| witness_trials::w6()),
    ("w7_effects_in_an_impossible_order_are_seen", |_| witness_trials::w7()),
    ("w8_a_document_that_is_neither_done_nor_stopped_is_seen", |_| witness_trials::w8()),
    ("w9_a_dead_letter_that_nothing_explains_is_seen", |_| witness_trials::w9()),
    ("a_history_is_read_back_as_it_was_written", |_| witness_trials::read_back()),
    ("the_harness_understands_what_people_and_cargo_say", |_| harness::arguments()),
    ("a_test_that_fails_fails_the_run", |_| harness::failure()),
];

fn main() -> ExitCode {
    let orders = match Orders::parse(std::env::args().skip(1)) {
        Ok(orders) => with_environment(orders),
        Err(problem) => {
            println!("crash: {problem}");
            return ExitCode::from(2);
        }
    };
    if let Some(path) = &orders.judge {
        return judge_again(path);
    }
    harness::run(&TRIALS, &orders)
}

fn with_environment(mut orders: Orders) -> Orders {
    let number = |name: &str| -> Option<u64> { Environment::of_process().get(name)?.parse().ok() };
    orders.kills = orders.kills.or_else(|| number("EDOBRIDGE_CRASH_KILLS").map(|n| n as usize));
    orders.seed = orders.seed.or_else(|| number("EDOBRIDGE_CRASH_SEED"));
    orders
}

fn judge_again(path: &Path) -> ExitCode {
    let history = match history::read(path) {
        Ok(history) => history,
        Err(problem) => {
            println!("crash: {problem}");
            return ExitCode::from(2);
        }
    };
    let findings = witness::judge(&history);
    for finding in &findings {
        println!("{finding}");
    }
    println!("crash: {} findings; {:?}", findings.len(), witness::tally(&history));
    if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// ---- storms ------------------------------------------------------------------------------------------------------

/// The storms of a run: every second one without a search at the signing service.
fn plans(kills: usize, seed: u64) -> Vec<Plan> {
    let storms = kills.div_ceil(KILLS_OF_A_STORM).max(STORMS_AT_ONCE.min(kills));
    let of = |number: usize| Plan {
        number,
        seed: seed.wrapping_add((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        kills: kills / storms + usize::from(number < kills % storms),
        search: if number.is_multiple_of(2) { Search::On } else { Search::Off },
        rules: Rules::Kept,
    };
    (0..storms).map(of).collect()
}

/// What came of a run so far.
#[derive(Default)]
struct Outcome {
    report: Report,
    tally: Tally,
    problems: Vec<String>,
}

fn storms(orders: &Orders) {
    let kills = orders.kills.unwrap_or(KILLS);
    let seed = orders.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    println!("crash: --seed {seed} --kills {kills}");
    let plans: Vec<Plan> = plans(kills, seed)
        .into_iter()
        .filter(|plan| orders.storm.is_none_or(|only| only == plan.number))
        .collect();
    let (next, killed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let outcome = Mutex::new(Outcome::default());
    let began = Instant::now();
    let progress = || {
        let so_far = killed.fetch_add(1, Ordering::SeqCst) + 1;
        if so_far.is_multiple_of(PROGRESS_KILLS) {
            println!("crash: {so_far} kills in {} s", began.elapsed().as_secs());
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..orders.at_once.unwrap_or(STORMS_AT_ONCE).max(1) {
            scope.spawn(|| {
                while let Some(plan) = plans.get(next.fetch_add(1, Ordering::SeqCst)) {
                    one_storm(*plan, orders.keep.as_deref(), &progress, &outcome);
                }
            });
        }
    });
    let outcome = outcome.into_inner().expect("no thread dies with the lock");
    tell(&outcome);
    let again = format!("again: cargo test --test crash -- --seed {seed} --kills {kills} every_acknowledged");
    assert!(outcome.problems.is_empty(), "{again}\n{}", outcome.problems.join("\n"));
    let whole = orders.storm.is_none();
    let acknowledged = outcome.tally.acknowledged;
    assert!(
        !whole || acknowledged >= kills / 2,
        "too few events got through to prove anything: {acknowledged}"
    );
}

fn one_storm(plan: Plan, keep: Option<&Path>, progress: &(dyn Fn() + Sync), outcome: &Mutex<Outcome>) {
    let folder = storm::folder_of_histories(keep);
    // A panic writes itself to standard error; the other storms of the run are told all the same.
    let played = catch_unwind(AssertUnwindSafe(|| storm::play(plan, &folder, progress)));
    let Ok((path, report)) = played else {
        let mut outcome = outcome.lock().expect("no thread dies with the lock");
        outcome
            .problems
            .push(format!("--storm {} has not come to its end, see above ({plan:?})", plan.number));
        return;
    };
    // From the file, so that what `--judge` reads is what was judged.
    let history = storm::read_back(&path);
    let (findings, tally) = (witness::judge(&history), witness::tally(&history));
    let mut outcome = outcome.lock().expect("no thread dies with the lock");
    outcome.report.add(&report);
    outcome.tally.add(tally);
    if findings.is_empty() {
        if keep.is_none() {
            let _ = std::fs::remove_file(&path);
        }
        return;
    }
    outcome.problems.push(format!("--storm {} ({plan:?}), --judge {}:", plan.number, path.display()));
    outcome.problems.extend(findings.iter().map(ToString::to_string));
}

fn tell(outcome: &Outcome) {
    let Outcome { report, tally, .. } = outcome;
    println!(
        "crash: {} kills, {} stops, {} full disks ({} starts refused, {} events turned away), {} outages",
        report.kills,
        report.stops,
        report.full_disks,
        report.refused_starts,
        report.turned_away,
        report.outages,
    );
    let faults: Vec<String> = report.faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
    println!("crash: calls struck: {}", faults.join(", "));
    println!(
        "crash: {} events in {} attempts, {} only forged, {} acknowledged; {} signed, {} refused ({} at iDocs), \
         {} dead letters left, {} mended",
        report.events,
        report.attempts,
        report.forged,
        tally.acknowledged,
        tally.signed,
        tally.refused,
        tally.at_idocs,
        tally.dead_letters,
        tally.helped,
    );
    println!("crash: {} starts, the longest took {} ms", report.starts, report.longest_start.as_millis());
}

// ---- the instrument on trial -------------------------------------------------------------------------------------

fn doubles(_: &Orders) {
    assert_seen(Rules::Doubled, Law::SecondDocument);
}

fn losses(_: &Orders) {
    assert_seen(Rules::Forgotten, Law::Lost);
}

/// A service that is made to break its promise: the witness must see just that, in a history of the real binary.
fn assert_seen(rules: Rules, law: Law) {
    let plan = Plan { number: 0, seed: 1, kills: 0, search: Search::On, rules };
    let folder = tempfile::tempdir().expect("a directory for the test");
    let (path, _) = storm::play(plan, folder.path(), || {});
    let findings = witness::judge(&storm::read_back(&path));
    let all = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(!findings.is_empty(), "{rules:?}, and the witness has seen nothing");
    assert!(findings.iter().all(|finding| finding.law == law), "{all}");
}
