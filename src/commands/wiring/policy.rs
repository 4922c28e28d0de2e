//! From the configuration to what decisions depend on: pauses, deadlines, how often something is tried.

use super::idocs::{capabilities, status_poll};
use super::pauses::pauses;
use crate::actors::circuit::CircuitSettings;
use crate::config::{Config, Period};
use crate::domain::SigningService;
use crate::saga::document::Policy;
use crate::saga::document::transition::OwnPolicy;
use crate::saga::retry::Schedule;

/// What decisions depend on.
pub fn policy(config: &Config) -> Policy {
    let (easydocs, retry) = (&config.easydocs, &config.retry);
    Policy {
        server_error: Schedule::finite(pauses(&retry.easydocs_server_error)),
        portal_error: Schedule::finite(pauses(&retry.portal_error)),
        outage: Schedule::finite(stretched(&retry.outage, retry.outage_give_up)),
        jitter_percent: u32::from(retry.jitter_percent),
        settle_ms: easydocs.settle.as_ms(),
        looks: LOOKS,
        rounds_max: ROUNDS_MAX,
        search_available: easydocs.can_search(),
        poll: easydocs.can_ask_status().then(|| Schedule::endless(pauses(&easydocs.poll))),
        callback_grace_ms: easydocs.callback_grace.as_ms(),
        create_is_idempotent: easydocs.create.idempotent_by_external_id,
        repeat_create_on_server_error: easydocs.dangerous_repeat_create_on_5xx,
        reminders_ms: pauses(&easydocs.reminders),
        deadline_ms: easydocs.deadline.as_ms(),
        lease_ms: lease_ms(config),
        throttled_ms: THROTTLED_MS,
        pdf_pause_ms: retry.pdf_pause.as_ms(),
        pdf_wait_ms: retry.pdf_wait.as_ms(),
        doubt_until: None,
        language: config.language.into(),
        own: own_policy(config),
    }
}

/// Where our own signer signs first. Without the section no rule leads there.
fn own_policy(config: &Config) -> OwnPolicy {
    let idocs = config.idocs.as_ref();
    OwnPolicy {
        number_template: idocs.map_or_else(|| "{short}".to_owned(), |i| i.document_number_template.clone()),
        poll: Schedule::endless(idocs.map_or_else(|| vec![60_000], status_poll)),
        reminders_ms: pauses(&config.signing_page.signer_reminders),
        escalation_ms: config.signing_page.signer_deadline.as_ms(),
        counterparty_reminders_ms: idocs.map(|i| pauses(&i.reminders)).unwrap_or_default(),
        deadline_ms: idocs.map_or(config.easydocs.deadline, |i| i.deadline).as_ms(),
        settle_ms: idocs.map_or(config.easydocs.settle, |i| i.settle).as_ms(),
        service: idocs.map_or_else(|| SigningService::Idocs.capabilities(), capabilities),
        process: Schedule::endless(idocs.map_or_else(|| vec![60_000], |i| pauses(&i.v1.process_poll))),
        process_deadline_ms: idocs.map_or(config.easydocs.deadline, |i| i.v1.process_deadline).as_ms(),
        whole_file_end: idocs.map(|i| i.v1.file_end.clone()).unwrap_or_default(),
    }
}

/// Two looks that find nothing, with a pause between them, before a write is repeated: one alone may have come
/// before a slow request became visible.
const LOOKS: u32 = 2;

/// Unknown outcomes of one write in a row before a person is asked.
const ROUNDS_MAX: u32 = 5;

/// Pause after a limit that named none: the EasyDocs guide's ten seconds.
const THROTTLED_MS: u64 = 10_000;

/// Longer than the longest transfer, so that a lease never ends before its attempt.
fn lease_ms(config: &Config) -> u64 {
    let apps = config.apps.iter().map(|app| &app.portal);
    let portals = config.portals.iter().chain(apps).map(|p| p.timeouts.transfer.as_ms());
    let services =
        config.idocs.iter().map(|idocs| idocs.timeouts.transfer).chain([config.easydocs.timeouts.transfer]);
    portals.chain(services.map(Period::as_ms)).max().unwrap_or(0) * 2 + 60_000
}

/// The listed pauses, the last one repeated until they add up to `give_up`.
fn stretched(periods: &[Period], give_up: Period) -> Vec<u64> {
    let mut delays = pauses(periods);
    let last = delays.last().copied().unwrap_or(60_000).max(1_000);
    let mut total: u64 = delays.iter().sum();
    while total < give_up.as_ms() && delays.len() < STRETCHED_MAX {
        delays.push(last);
        total += last;
    }
    delays
}

/// Bounds the list: ten years of hourly attempts.
const STRETCHED_MAX: usize = 100_000;

/// When circuits open.
pub fn circuit(config: &Config) -> CircuitSettings {
    let circuit = &config.retry.circuit;
    CircuitSettings {
        failures_to_open: circuit.failures,
        probe_after_ms: circuit.probe_interval.as_ms(),
        probe_after_ms_max: circuit.probe_interval_max.as_ms(),
    }
}
