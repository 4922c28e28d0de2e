//! The metrics as Prometheus sees them.

use super::*;
use crate::domain::{FailureKind, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;

fn second() -> Duration {
    Duration::from_secs(1)
}

/// Every metric touched once, so that all of them have a sample.
fn busy() -> Metrics {
    let m = Metrics::new();
    m.notice(NoticeSource::Bitrix24, NoticeOutcome::Accepted, Duration::from_millis(3));
    m.refused(NoticeSource::Easydocs, RefusalReason::Forged);
    m.triggered(TriggerKind::Folder, TriggerOutcome::Healed);
    m.http("/bitrix/webhook", 200, Duration::from_millis(3));
    m.committed(Duration::from_millis(2));
    m.synced(Duration::from_millis(1), 12);
    m.set_journal_bytes(1);
    m.set_view_lag_records(2);
    m.set_checkpoint_age(second());
    m.set_snapshot_age(second());
    m.set_inbox_pending(3);
    m.set_outbox_pending(4);
    m.set_spool(5, 6);
    m.set_disk_free_bytes(u64::MAX);
    m.set_writable(true);
    m.view_rebuilt();
    m.set_documents("awaiting_signature", 7, second());
    m.transition("awaiting_signature", "signed");
    m.set_timer_lag(second());
    m.set_dead_letters(1);
    m.dead_lettered("permanent");
    m.invariant_violated("SG-1");
    m.called(Provider::Easydocs, "create", CallOutcome::Ok, second());
    m.will_retry(Provider::Bitrix24, FailureKind::Garbled);
    m.set_running("easydocs", 2);
    m.set_circuit("easydocs", CircuitState::Open);
    m.portal_request("main", RequestKind::Batch);
    m.batched(17);
    m.set_bucket("main", 12.5);
    m.waited_for_budget("main", second());
    m.set_operating("main", "disk.file.get", 1.5);
    m.set_waiting_calls("main", 3);
    m.set_portal_blocked("main", false);
    m.token_renewed(TokenOutcome::Renewed);
    m.set_installations("active", 2);
    m.set_owner_concerns("main", 0);
    m.set_portal_features_off("main", 1);
    m.set_portal_features_otherwise("main", 2);
    m.gap_healed("main", HealingChannel::Sweep, GapCause::Lost, Some(second()));
    m.channel_looked("main", HealingChannel::Sweep);
    m.channel_failed("main", HealingChannel::OfflineQueue);
    m.items_read("main", CallOutcome::Ok, 50);
    m.set_items_waiting("main", 4);
    m.set_started(Timestamp(1_766_000_000_000));
    m.panicked();
    m
}

#[test]
fn what_happens_is_counted_under_its_labels() {
    let text = busy().encode();
    for line in [
        r#"edobridge_ingress_notices_total{source="bitrix24",outcome="accepted"} 1"#,
        r#"edobridge_ingress_refused_total{source="easydocs",reason="forged"} 1"#,
        r#"edobridge_ingress_refused_total{source="easydocs",reason="rate"} 0"#,
        r#"edobridge_trigger_files_total{trigger="folder",outcome="healed"} 1"#,
        r#"edobridge_http_requests_total{route="/bitrix/webhook",status="200"} 1"#,
        r#"edobridge_effect_calls_total{provider="easydocs",call="create",outcome="ok"} 1"#,
        r#"edobridge_effect_circuit_state{remote="easydocs"} 2"#,
        r#"edobridge_portal_bucket_requests{portal="main"} 12.5"#,
        "edobridge_process_panics_total 1",
        "edobridge_store_writable 1",
        "edobridge_process_start_time_seconds 1766000000.0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[test]
fn every_metric_has_a_sample_a_help_text_and_a_type_under_its_own_name() {
    let text = busy().encode();
    let declared = |what: &str| -> BTreeSet<String> {
        text.lines()
            .filter_map(|line| line.strip_prefix(what))
            .filter_map(|rest| rest.split_once(' '))
            .map(|(name, rest)| {
                assert!(rest.len() > 3, "{name}");
                name.to_owned()
            })
            .collect()
    };
    let (helps, types) = (declared("# HELP "), declared("# TYPE "));
    assert_eq!(helps, types);
    let samples: BTreeSet<String> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap_or_default())
        .map(|name| {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            base.filter(|base| types.contains(*base)).unwrap_or(name).to_owned()
        })
        .collect();
    assert_eq!(samples, types, "samples and declarations differ");
}

#[test]
fn the_resident_memory_is_read_when_asked() {
    let text = Metrics::new().encode();
    let line = text.lines().find(|line| line.starts_with("edobridge_process_resident_memory_bytes "));
    let bytes: u64 = line.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap();
    assert!(bytes > 1 << 20, "{bytes}");
}

/// `promtool` is part of Prometheus; where it is absent the test says so, and in CI it must be there.
#[test]
fn promtool_accepts_the_metrics() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match started {
        Ok(child) => child,
        Err(err) => {
            #[expect(clippy::disallowed_methods, reason = "CI tells itself by the environment")]
            let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
            assert!(!in_ci, "promtool is needed in CI: {err}");
            println!("skipped: promtool is not installed ({err})");
            return;
        }
    };
    promtool.stdin.take().unwrap().write_all(busy().encode().as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "promtool says:\n{said}");
}
