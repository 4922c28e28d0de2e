//! The service under test as seen from outside and, once it is stopped, from within its store.
//!
//! The store is looked at only to see that it is whole; what happened to documents is the witness's matter.

use super::support::{Binary, PATIENCE, Stage};
use super::wire;
use edobridge::commands::wiring;
use edobridge::config::{Config, Environment};
use edobridge::sandbox::SandboxOptions;
use edobridge::sandbox::callbacks::CallbackPolicy;
use edobridge::store::{DocumentFilter, InvariantReport, Store, ViewFate};
use serde_json::json;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// A sandbox that signs quickly and repeats its callbacks often enough for a process that lives half a second.
pub fn stormy() -> SandboxOptions {
    let callback_policy = CallbackPolicy {
        interval: Duration::from_millis(300),
        attempts_max: 10_000,
        timeout: Duration::from_secs(5),
    };
    SandboxOptions { callback_policy, ..SandboxOptions::default() }
}

/// Whether no document is live and no notice waits, as the operator sees it.
pub fn is_idle(stage: &Stage) -> bool {
    let Some(heard) = wire::admin(stage.operator, &stage.secrets().operator, "counts") else { return false };
    let counts = heard.json();
    let finished = ["delivered", "refused", "ignored", "cancelled"];
    let live = counts["steps"].as_array().into_iter().flatten().filter(|step| {
        !finished.contains(&step["step"].as_str().unwrap_or_default()) && step["count"] != json!(0)
    });
    live.count() == 0 && counts["notices"] == json!(0) && counts["in_flight"] == json!(0)
}

struct Opened {
    view: ViewFate,
    invariants: InvariantReport,
    unfinished: Vec<String>,
    waiting_notices: usize,
    parked_notices: usize,
    spool_bytes: u64,
}

/// Opens the store by the library, reads everything, closes it.
fn open_store(stage: &Stage) -> Opened {
    let loaded = Config::load(Some(&stage.config_path), &Environment::of([("", ""); 0]));
    let loaded = loaded.unwrap_or_else(|errors| panic!("the test's configuration: {:#?}", errors.problems));
    let (store, report) = Store::open(wiring::store_options(&loaded.config), &mut |_| {})
        .expect("the store opens by the library");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let opened = runtime.block_on(async {
        let mut unfinished = Vec::new();
        let mut place = None;
        loop {
            let page = store.list(DocumentFilter::default(), place, 500).await.expect("the store lists");
            let open = page.items.iter().filter(|saga| !saga.step.is_finished());
            unfinished.extend(open.map(|saga| format!("{} {:?} {:?}", saga.id, saga.step, saga.dead_letter)));
            place = page.next;
            if place.is_none() {
                break;
            }
        }
        Opened {
            view: report.view,
            invariants: store.check_invariants().await.expect("the store can be checked"),
            unfinished,
            waiting_notices: store.notices(None, 10).await.expect("the inbox can be read").len(),
            parked_notices: store.parked_notices(None, 10).await.expect("parked notices can be read").len(),
            spool_bytes: store.spool().bytes(),
        }
    });
    store.close_blocking().expect("the store closes");
    opened
}

/// Clean and empty; finished but for so many documents that are stopped for a person.
pub fn assert_whole(stage: &Stage, stopped: usize) {
    let opened = open_store(stage);
    assert_eq!(opened.view, ViewFate::Trusted, "after a graceful stop nothing needs to be rebuilt");
    let violations: Vec<String> = opened.invariants.violations.iter().map(ToString::to_string).collect();
    assert!(opened.invariants.is_clean(), "{violations:#?}");
    assert!(opened.invariants.sagas > 0, "there is something in the store");
    assert_eq!(opened.unfinished.len(), stopped, "every other saga is finished: {:#?}", opened.unfinished);
    assert_eq!(opened.waiting_notices, 0, "nothing waits in the inbox");
    assert_eq!(opened.parked_notices, 0, "nothing is left for a person");
    assert!(stopped > 0 || opened.spool_bytes == 0, "no file is kept longer than needed");
}

/// SIGTERM, and the end of the process.
pub fn stop(mut binary: Binary) -> ExitStatus {
    let pid = rustix::process::Pid::from_child(&binary.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the process lives");
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = binary.child.try_wait().expect("the process can be asked") {
            return status;
        }
        assert!(Instant::now() < until, "SIGTERM does not end it:\n{}", binary.log_tail());
        std::thread::sleep(Duration::from_millis(20));
    }
}
