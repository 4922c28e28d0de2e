//! What the rules of a portal want of CRM items: which types, stages and fields are to be asked for, and whether an
//! item that was read is wanted.
//!
//! Asks the store who has a file already; changes nothing.

use super::{Parts, own_write};
use crate::domain::{CrmItem, PortalId};
use crate::providers::bitrix24::crm::Item;
use crate::providers::bitrix24::item_pages::Listed;
use crate::saga::document::Source;
use crate::saga::document::rule::{self, Trigger};
use crate::saga::document::transition::source_claim;
use crate::store::StoreError;
use std::collections::BTreeSet;

/// Whether an item that was read starts work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A rule wants a file of it that no document has.
    Wanted,
    /// No rule wants its stage, or the field is empty.
    NotWanted,
    /// Every file that a rule wants has its document.
    AllTaken,
    /// A rule wants it, but nobody has changed it since our own last write: an echo.
    OwnWrite,
    /// A rule names a field that the item does not show: a document is started, which then says so to a person.
    NoSuchField,
}

/// Types of items that rules of the portal listen to.
pub fn types(parts: &Parts, portal: &PortalId) -> BTreeSet<u32> {
    let of = |trigger: &Trigger| match trigger {
        Trigger::Stage { entity_type_id, .. } => Some(*entity_type_id),
        _ => None,
    };
    parts.rules.iter().filter(|rule| rule.is_for(portal)).filter_map(|rule| of(&rule.trigger)).collect()
}

/// The stages and the file fields that rules of the portal name for a type.
pub fn wishes(parts: &Parts, portal: &PortalId, type_id: u32) -> (Vec<String>, Vec<String>) {
    let (mut wanted_stages, mut fields) = (BTreeSet::new(), BTreeSet::new());
    for rule in parts.rules.iter().filter(|rule| rule.is_for(portal)) {
        if let Trigger::Stage { entity_type_id, stages, file_field } = &rule.trigger
            && *entity_type_id == type_id
        {
            wanted_stages.extend(stages.iter().cloned());
            fields.insert(file_field.clone());
        }
    }
    (wanted_stages.into_iter().collect(), fields.into_iter().collect())
}

/// Whether a rule wants a file of this item that nobody has, and the change was not ours.
///
/// # Errors
/// When the store cannot tell who has a file.
pub async fn judge(parts: &Parts, portal: &PortalId, row: &Listed) -> Result<Verdict, StoreError> {
    let verdict = judge_files(parts, portal, &row.item).await?;
    let ours = verdict == Verdict::Wanted
        && own_write::is_last(parts, portal, row.item.item, row.updated_at(), row.updated_by).await?;
    Ok(if ours { Verdict::OwnWrite } else { verdict })
}

async fn judge_files(parts: &Parts, portal: &PortalId, item: &Item) -> Result<Verdict, StoreError> {
    let stage = item.stage_id.as_deref().unwrap_or_default();
    let type_id = item.item.entity_type_id;
    let mut verdict = Verdict::NotWanted;
    for (_, field) in rule::rules_for_item(&parts.rules, portal, type_id, stage) {
        let Some(files) = item.files(field) else { return Ok(Verdict::NoSuchField) };
        for file in files {
            if !is_taken(parts, portal, item.item, field, file.id).await? {
                return Ok(Verdict::Wanted);
            }
            verdict = Verdict::AllTaken;
        }
    }
    Ok(verdict)
}

async fn is_taken(
    parts: &Parts,
    portal: &PortalId,
    item: CrmItem,
    field: &str,
    file_id: u64,
) -> Result<bool, StoreError> {
    let source = Source::CrmFile { item, field: field.to_owned(), file_id };
    Ok(parts.store.claimed(&source_claim(portal, &source)).await?.is_some())
}

/// Whether rules of the portal listen to generated documents.
pub fn listens_to_generated(parts: &Parts, portal: &PortalId) -> bool {
    let of = |trigger: &Trigger| matches!(trigger, Trigger::Generated { .. });
    parts.rules.iter().any(|rule| rule.is_for(portal) && of(&rule.trigger))
}
