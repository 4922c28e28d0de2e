//! From the configuration to the rules, and to the folders that they want watched.

use crate::actors::folder_watch::{Existing, WatchedFolder};
use crate::config::{self, Config};
use crate::domain::CrmItem;
use crate::saga::document::own_signature::{Counterparty, CounterpartyKind, OwnSigner};
use crate::saga::document::rule::{Addressee, IntoItem, ItemRule, OwnSignerRule, Rule, Trigger};
use crate::saga::document::{CommentFile, DriveCopy, Occasion};

/// The rules, as the flow reads them.
pub fn rules(config: &Config) -> Vec<Rule> {
    config.rules.iter().map(|one| rule(config, one)).collect()
}

/// Who of ours signs first: only where the rule names iDocs.
fn own_signer(config: &Config, rule: &config::RuleConfig) -> Option<OwnSignerRule> {
    if !rule.service.capabilities().needs_signing_page() {
        return None;
    }
    let known = config.idocs.as_ref().and_then(|idocs| idocs.signer(&rule.signer));
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let kind = if rule.counterparty_is_individual {
        CounterpartyKind::Individual
    } else {
        CounterpartyKind::Company
    };
    Some(OwnSignerRule {
        signer: OwnSigner {
            name: rule.signer.clone(),
            employee_id: known.map(|signer| signer.employee_id.clone()).unwrap_or_default(),
            user: known.and_then(|signer| signer.bitrix_user),
            escalate_to: known.map(|signer| signer.escalate_to.clone()).unwrap_or_default(),
            group: rule.document_group.clone(),
            counterparty: Counterparty {
                bin: rule.counterparty_bin.clone(),
                email: rule.counterparty_email.clone(),
                kind,
            },
        },
        bin_field: given(&rule.counterparty_bin_field),
        email_field: given(&rule.counterparty_email_field),
    })
}

fn rule(config: &Config, rule: &config::RuleConfig) -> Rule {
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
            config::Delivery::Same | config::Delivery::Nowhere => None,
            config::Delivery::Folder(id) => Some(id),
        },
        suffix: rule.suffix.clone(),
        comment: rule.comment,
        notify: rule.notify.iter().map(addressee).collect(),
        notify_on: rule.notify_on.iter().map(occasion).collect(),
        item: item(&rule.crm_item),
        drive: match rule.deliver_to {
            config::Delivery::Nowhere => DriveCopy::NotWanted,
            config::Delivery::Same | config::Delivery::Folder(_) => DriveCopy::Wanted,
        },
        into_item: into_item(rule),
        signer: own_signer(config, rule),
    }
}

fn into_item(rule: &config::RuleConfig) -> IntoItem {
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    IntoItem {
        field: given(&rule.into_field),
        comment_file: if rule.comment_file { CommentFile::Attached } else { CommentFile::None },
        stage_on_signed: given(&rule.stage_on_signed),
        stage_on_refused: given(&rule.stage_on_refused),
        stages_from: rule.stages_from.clone(),
    }
}

fn trigger(trigger: &config::Trigger) -> Trigger {
    match trigger {
        config::Trigger::Robot => Trigger::Robot,
        config::Trigger::Folder { folder_id, .. } => Trigger::Folder { folder_id: *folder_id },
        config::Trigger::FileEvent { folders: config::Folders::Any } => {
            Trigger::FileEvent { folders: Vec::new() }
        }
        config::Trigger::FileEvent { folders: config::Folders::Only(ids) } => {
            Trigger::FileEvent { folders: ids.clone() }
        }
        config::Trigger::DealStage { entity_type_id, stages, file_field } => Trigger::Stage {
            entity_type_id: *entity_type_id,
            stages: stages.clone(),
            file_field: file_field.clone(),
        },
        config::Trigger::GeneratedDocument { templates, entity_types } => {
            Trigger::Generated { template_ids: templates.clone(), entity_type_ids: entity_types.clone() }
        }
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
        config::Trigger::FileEvent { .. }
        | config::Trigger::DealStage { .. }
        | config::Trigger::GeneratedDocument { .. }
        | config::Trigger::Robot => None,
    };
    let mut all: Vec<WatchedFolder> = Vec::new();
    for folder in config.rules.iter().filter_map(watch) {
        // Two rules may share a folder: it is polled once, as often as the more eager rule wants.
        match all
            .iter_mut()
            .find(|known| known.portal == folder.portal && known.folder_id == folder.folder_id)
        {
            Some(known) => known.interval_ms = known.interval_ms.min(folder.interval_ms),
            None => all.push(folder),
        }
    }
    all
}
