//! Stopping in order, and a second process on the same store.

use super::service::{assert_whole, is_idle, stop};
use super::support::{self, Binary, DEAL, Setting, Stage, get, pdf, wait_for};
use edobridge::sandbox::{Fault, FaultKind};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Work under way ends, and the next start goes on with the rest.
pub fn sigterm() {
    let stage = Stage::new(&Setting::default());
    let slow = Fault::first("easydocs.create", 2, FaultKind::SlowBefore(700));
    stage.world.add_fault(slow).expect("there is room for a fault");
    let binary = Binary::start(&stage);
    let files: Vec<u64> =
        (0..6).map(|n| stage.drop_file(&format!("storm-{n:05}.pdf"), pdf(n, 3_000))).collect();
    wait_for("a create under way", || stage.world.calls().get("easydocs.create").is_some_and(|n| *n >= 2));
    let since = Instant::now();
    let status = stop(binary);
    assert_eq!(status.code(), Some(0), "{}", support::tail(&stage.dir.path().join("edobridge.log")));
    assert!(since.elapsed() < Duration::from_secs(25), "the stop took {:?}", since.elapsed());
    // Callbacks that found no listener come again; events do not, and all six were acknowledged before the signal or
    // were sent to a process that still answered.
    let is_ours = |data: &Value| data["FIELDS"]["ID"].as_u64().is_some_and(|id| files.contains(&id));
    let events = stage.world.ledger_of("event");
    let acknowledged =
        events.iter().filter(|e| e.status == Some(200) && e.facts.get("data").is_some_and(is_ours)).count();
    assert!(acknowledged >= 2, "two creates were under way: {events:#?}");
    let binary = Binary::start(&stage);
    wait_for("every acknowledged document ends", || stage.world.all_notices().len() >= acknowledged);
    wait_for("the process has nothing left to do", || is_idle(&stage));
    assert_eq!(stage.world.documents().len(), acknowledged);
    assert_eq!(stage.signed_copies().len(), acknowledged);
    assert_eq!(stage.world.comments(DEAL).len(), acknowledged);
    assert_eq!(stage.world.all_notices().len(), acknowledged);
    assert!(stop(binary).success());
    assert_whole(&stage, 0);
}

/// Refused, in both languages, and the first goes on.
pub fn second_process() {
    let stage = Stage::new(&Setting::default());
    let first = Binary::start(&stage);
    for (lang, words) in [
        ("en_US.UTF-8", "already open in another edobridge process"),
        ("ru_RU.UTF-8", "уже открыто другим процессом"),
    ] {
        let second = Command::new(env!("CARGO_BIN_EXE_edobridge"))
            .args(["--config".as_ref(), stage.config_path.as_os_str(), "serve".as_ref()])
            .env("LANG", lang)
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts");
        let said = String::from_utf8_lossy(&second.stderr);
        assert_eq!(second.status.code(), Some(1), "{said}");
        assert!(said.contains(words), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    assert_eq!(get(stage.operator, "/health/ready").map(|(status, _)| status), Some(200));
    stage.drop_file("storm-00001.pdf", pdf(1, 2_000));
    wait_for("the first goes on", || stage.signed_copies().len() == 1);
    assert!(stop(first).success());
}
