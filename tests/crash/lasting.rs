//! What stops a document when a fault of the storms lasts. The witness must know each of these stops by its code, or a
//! storm in which the last try meets a fault would be taken for a fault of ours.

use super::history::{Search, stem};
use super::people::{Director, Operator};
use super::storm::{Ground, Plan, Rules, SetAtEnd, ground};
use super::support::{Binary, get, pdf, wait_for};
use super::witness;
use edobridge::sandbox::{Echo, Fault, FaultKind};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a fault lasts at most: above the tries of every schedule but that of an outage, which is no stop.
const LASTS: Duration = Duration::from_secs(6);
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Calls that are ours to answer, or that no document depends on.
const NOT_ASKED: [&str; 4] = ["callback", "event", "idocs.subscribe", "idocs.webhook"];
/// What a run of nothing but these faults must have met at least, or it has proved nothing.
const MET_AT_LEAST: [&str; 4] = ["garbled_answer", "no_file_http_200", "not_a_pdf", "no_blob_id"];

/// The answers without a status of their own: what they stop is named by each call for itself.
pub fn stops_are_lawful() {
    let codes: BTreeSet<String> = std::thread::scope(|scope| {
        let kinds = [FaultKind::EmptyBody, FaultKind::HtmlAfter(200)];
        let threads = kinds.map(|kind| scope.spawn(move || stops_of(&kind)));
        threads.into_iter().flat_map(|thread| thread.join().expect("every call is tried")).collect()
    });
    println!("crash: answers that are none stop documents with {codes:?}");
    let unlawful: Vec<&String> = codes.iter().filter(|code| !witness::is_lawful(code, Search::On)).collect();
    assert!(unlawful.is_empty(), "the witness would not explain {unlawful:?}");
    for code in MET_AT_LEAST {
        assert!(codes.contains(code), "`{code}` has not stopped anything: {codes:?}");
    }
}

/// The codes of all stops while this fault lasts, at one call after the other.
fn stops_of(kind: &FaultKind) -> BTreeSet<String> {
    let plan = Plan { number: 0, seed: 5, kills: 0, search: Search::On, rules: Rules::Kept };
    let Ground { stage, disk: _mounted, kazakh, director } = ground(plan);
    // The echo of a signed copy would count as a document.
    stage.world.set_echo(Echo::Off);
    let _binary = Binary::spawn(&stage, &[]);
    wait_for("it is ready", || get(stage.operator, "/health/ready").is_some_and(|(status, _)| status == 200));
    let operator = Operator::new(&stage, Search::On);
    let is_calm = || operator.business().is_some_and(|business| business.live == 0);
    let files = AtomicUsize::new(0);
    let drop_two = || {
        for folder in [stage.folder, kazakh] {
            let number = files.fetch_add(1, Ordering::SeqCst);
            let dropped =
                stage.world.drop_file(folder, &format!("{}.pdf", stem(number)), pdf(number as u64, 2_000));
            dropped.expect("a name that is not there yet");
        }
        let known = files.load(Ordering::SeqCst) as u64;
        wait_for("the portal has told of them", || operator.known() >= Some(known));
    };
    let over = AtomicBool::new(false);
    let mut codes = BTreeSet::new();
    std::thread::scope(|scope| {
        let _over = SetAtEnd(&over);
        scope.spawn(|| {
            let mut director = Director::new(&stage, director);
            while !over.load(Ordering::SeqCst) {
                director.look();
                std::thread::sleep(LOOK_PAUSE);
            }
        });
        drop_two();
        wait_for("two documents without any fault come to their end", is_calm);
        let calls: Vec<String> = stage.world.calls().into_keys().collect();
        for call in calls.iter().filter(|call| !NOT_ASKED.contains(&call.as_str())) {
            let fault = Fault::always(call.clone(), kind.clone());
            stage.world.add_fault(fault).expect("it is the only one");
            drop_two();
            let until = Instant::now() + LASTS;
            while Instant::now() < until && !is_calm() {
                std::thread::sleep(LOOK_PAUSE);
            }
            let stopped = operator.dead_letters().expect("the list can be read");
            codes.extend(stopped.into_iter().map(|stopped| stopped.code));
            stage.world.clear_faults();
            wait_for("what has stopped is helped to its end", || {
                for stopped in operator.dead_letters().unwrap_or_default() {
                    operator.help(&stopped);
                }
                is_calm() && operator.business().is_some_and(|business| business.stopped == 0)
            });
        }
    });
    codes
}
