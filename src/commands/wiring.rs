//! From the configuration to the values that the parts take: the only place where the two meet.

use crate::actors::circuit::CircuitSettings;
use crate::actors::folder_watch::{Existing, WatchedFolder};
use crate::config::{self, Config, Period};
use crate::domain::CrmItem;
use crate::saga::document::rule::{Addressee, ItemRule, Rule, Trigger};
use crate::saga::document::{Occasion, Policy};
use crate::saga::retry::Schedule;
use crate::store::StoreOptions;

/// What the store is told.
pub fn store_options(config: &Config) -> StoreOptions {
    let store = &config.store;
    StoreOptions {
        segment_bytes: store.segment_bytes.bytes(),
        checkpoint_every_bytes: store.checkpoint_every_bytes.bytes(),
        snapshot_every_bytes: store.snapshot_every_bytes.bytes(),
        keep_snapshots: store.keep_snapshots as usize,
        min_free_bytes: store.min_free_disk.bytes(),
        view_cache_bytes: store.view_cache.bytes(),
        spool_bytes_max: store.spool_max.bytes(),
        ..StoreOptions::new(config.data_dir.join("store"))
    }
}

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
        repeat_create_on_server_error: easydocs.dangerous_repeat_create_on_5xx,
        reminders_ms: pauses(&easydocs.reminders),
        deadline_ms: easydocs.deadline.as_ms(),
        lease_ms: lease_ms(config),
        throttled_ms: THROTTLED_MS,
        language: config.language.into(),
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
    let portals = config.portals.iter().map(|p| p.timeouts.transfer.as_ms());
    portals.chain([config.easydocs.timeouts.transfer.as_ms()]).max().unwrap_or(0) * 2 + 60_000
}

fn pauses(periods: &[Period]) -> Vec<u64> {
    periods.iter().map(|p| p.as_ms()).collect()
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

/// The rules, as the flow reads them.
pub fn rules(config: &Config) -> Vec<Rule> {
    config.rules.iter().map(rule).collect()
}

fn rule(rule: &config::RuleConfig) -> Rule {
    Rule {
        id: rule.id.clone(),
        portal: rule.portal.clone(),
        trigger: trigger(&rule.trigger),
        include: rule.include.iter().map(|p| p.as_str().to_owned()).collect(),
        exclude: rule.exclude.iter().map(|p| p.as_str().to_owned()).collect(),
        size_min: rule.min_size.bytes(),
        size_max: rule.max_size.bytes(),
        route_id: rule.route_id.clone(),
        deliver_to: match rule.deliver_to {
            config::Delivery::Same => None,
            config::Delivery::Folder(id) => Some(id),
        },
        suffix: rule.suffix.clone(),
        comment: rule.comment,
        notify: rule.notify.iter().map(addressee).collect(),
        notify_on: rule.notify_on.iter().map(occasion).collect(),
        item: item(&rule.crm_item),
    }
}

fn trigger(trigger: &config::Trigger) -> Trigger {
    match trigger {
        config::Trigger::Folder { folder_id, .. } => Trigger::Folder { folder_id: *folder_id },
        config::Trigger::FileEvent { folders: config::Folders::Any } => Trigger::FileEvent { folders: Vec::new() },
        config::Trigger::FileEvent { folders: config::Folders::Only(ids) } => {
            Trigger::FileEvent { folders: ids.clone() }
        }
        config::Trigger::DealStage { entity_type_id, stages, file_field } => Trigger::Stage {
            entity_type_id: *entity_type_id,
            stages: stages.clone(),
            file_field: file_field.clone(),
        },
    }
}

fn addressee(recipient: &config::Recipient) -> Addressee {
    match recipient {
        config::Recipient::Responsible => Addressee::Responsible,
        config::Recipient::Creator => Addressee::Creator,
        config::Recipient::User(id) => Addressee::User(*id),
    }
}

fn occasion(occasion: &config::Occasion) -> Occasion {
    match occasion {
        config::Occasion::Signed => Occasion::Signed,
        config::Occasion::Refused => Occasion::Refused,
        config::Occasion::Reminder => Occasion::Reminder,
    }
}

fn item(source: &config::CrmItemSource) -> ItemRule {
    match source {
        config::CrmItemSource::None => ItemRule::None,
        config::CrmItemSource::Fixed { entity_type_id, id } => {
            ItemRule::Fixed(CrmItem { entity_type_id: *entity_type_id, id: *id })
        }
        config::CrmItemSource::FromName { entity_type_id, template } => {
            ItemRule::FromName { entity_type_id: *entity_type_id, before: template.before().to_owned() }
        }
    }
}

/// The folders that are polled.
pub fn watches(config: &Config) -> Vec<WatchedFolder> {
    let watch = |rule: &config::RuleConfig| match &rule.trigger {
        config::Trigger::Folder { folder_id, interval, overlap, existing } => Some(WatchedFolder {
            portal: rule.portal.clone(),
            folder_id: *folder_id,
            interval_ms: interval.as_ms(),
            overlap: u64::from(*overlap),
            existing: match existing {
                config::Existing::Skip => Existing::Skip,
                config::Existing::Send => Existing::Send,
            },
        }),
        config::Trigger::FileEvent { .. } | config::Trigger::DealStage { .. } => None,
    };
    let mut all: Vec<WatchedFolder> = Vec::new();
    for folder in config.rules.iter().filter_map(watch) {
        // Two rules may share a folder: it is polled once, as often as the more eager rule wants.
        match all.iter_mut().find(|known| known.portal == folder.portal && known.folder_id == folder.folder_id) {
            Some(known) => known.interval_ms = known.interval_ms.min(folder.interval_ms),
            None => all.push(folder),
        }
    }
    all
}
