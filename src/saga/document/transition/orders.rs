//! From a record to the order of its present step: nothing is remembered of an order but what the record holds,
//! so that the same order can be given again after a crash.

use super::super::effect::{self, Effect, NamedFile};
use super::super::state::{CommentFile, DocumentSaga, Outcome, Source, Step, WaitWork};
use super::super::{rule, words};
use super::destination::{folder_of, may_leave, wanted_stage};
use super::own_signature::{archive_end, escalation_user, file_in_delivery, name_in_delivery, own_effect_of};
use super::{Context, IllegalEvent, missing};

/// The effect of the saga's present step, from what the record holds.
///
/// # Errors
/// [`IllegalEvent::Incomplete`] when the record lacks what the step needs, [`IllegalEvent::WrongAnswer`] never.
pub fn effect_of(saga: &DocumentSaga, cx: Context<'_>) -> Result<Effect, IllegalEvent> {
    let document = || saga.provider_document.clone().ok_or_else(|| missing(saga, "the document's id"));
    let item = || saga.crm_item.ok_or_else(|| missing(saga, "the CRM item"));
    let signed = || saga.signed.ok_or_else(|| missing(saga, "the signed file"));
    let in_delivery = || file_in_delivery(saga).ok_or_else(|| missing(saga, "the signed file"));
    let field = || saga.delivery.field.clone().ok_or_else(|| missing(saga, "the file field"));
    let upload_name = || saga.upload_name.clone().ok_or_else(|| missing(saga, "the name of the copy"));
    let language = cx.policy.language;
    let effect = match saga.step {
        Step::ReadItem => match saga.source {
            Source::CrmItem { item } => Effect::ReadItem { item },
            Source::OfItem { item, ref pick } => {
                Effect::PickSource { item, pick: pick.clone(), rule: saga.delivery.rule.clone() }
            }
            Source::DriveFile { .. } | Source::CrmFile { .. } | Source::Generated { .. } => {
                return Err(missing(saga, "a CRM item as its source"));
            }
        },
        Step::FetchSource | Step::AwaitPdf => Effect::FetchSource {
            source: saga.source.clone(),
            rule: Some(saga.delivery.rule.clone()).filter(|r| !r.is_empty()),
        },
        Step::Create => Effect::CreateDocument {
            file: saga.file.clone().ok_or_else(|| missing(saga, "the file"))?,
            route_id: saga.delivery.route_id.clone(),
            external_id: saga.external_id.clone(),
        },
        Step::FindDocument => Effect::FindDocument { external_id: saga.external_id.clone() },
        Step::AwaitSignature => match saga.waiting.as_ref().map(|w| w.doing) {
            Some(WaitWork::Reminder) => Effect::Notify {
                user_id: *saga.delivery.notify.first().ok_or_else(|| missing(saga, "a person to remind"))?,
                text: words::reminder(saga, cx.now, language),
                tag: format!("edobridge|{}|reminder", saga.id.short()),
            },
            Some(WaitWork::Poll | WaitWork::Nothing | WaitWork::Escalation) | None if saga.own.is_some() => {
                Effect::Own(own_effect_of(saga, cx)?)
            }
            Some(WaitWork::Poll | WaitWork::Nothing | WaitWork::Escalation) | None => {
                Effect::ReadStatus { document_id: document()? }
            }
        },
        Step::FetchSigned if saga.own.is_some() => Effect::Own(own_effect_of(saga, cx)?),
        Step::FetchSigned => Effect::FetchSigned { document_id: document()? },
        Step::ScanFolder => Effect::ScanFolder {
            folder_id: folder_of(saga)?,
            wanted_name: name_in_delivery(saga, copy_name(saga)?, cx),
        },
        Step::Upload => {
            Effect::Upload { folder_id: folder_of(saga)?, name: upload_name()?, bytes: in_delivery()? }
        }
        Step::FindUpload => Effect::FindUpload {
            folder_id: folder_of(saga)?,
            name: upload_name()?,
            bytes: in_delivery()?,
            above_id: saga.folder_baseline.unwrap_or(0),
        },
        Step::Comment => {
            let mark = effect::comment_mark(saga);
            Effect::AddComment {
                item: item()?,
                text: words::comment(saga, &mark, language),
                files: comment_files(saga, cx)?,
            }
        }
        Step::FindComment => Effect::FindComment { item: item()?, mark: effect::comment_mark(saga) },
        Step::Notify => {
            let told = saga.notified as usize;
            let user_id = *saga.delivery.notify.get(told).ok_or_else(|| missing(saga, "a person to tell"))?;
            Effect::Notify {
                user_id,
                text: words::notice(saga, language),
                // By person, not by place in the list: the list may be mended.
                tag: format!("edobridge|{}|{user_id}", saga.id.short()),
            }
        }
        Step::ScanField => Effect::ScanField { item: item()?, field: field()? },
        Step::AttachField => Effect::AttachField { item: item()?, field: field()?, file: signed_copy(saga)? },
        Step::FindFieldFile => Effect::FindFieldFile {
            item: item()?,
            field: field()?,
            bytes: signed()?,
            known: saga.field_baseline.clone().unwrap_or_default(),
        },
        Step::MoveStage => Effect::MoveStage {
            item: item()?,
            to: wanted_stage(saga).map(str::to_owned).ok_or_else(|| missing(saga, "the wanted stage"))?,
            from: may_leave(saga),
        },
        Step::AwaitSigner => match saga.waiting.as_ref().map(|w| w.doing) {
            Some(WaitWork::Escalation) => {
                let user_id = escalation_user(saga)?;
                Effect::Notify {
                    user_id,
                    text: words::escalation(saga, cx.now, language),
                    tag: format!("edobridge|{}|escalation|{user_id}", saga.id.short()),
                }
            }
            Some(WaitWork::Poll | WaitWork::Nothing | WaitWork::Reminder) | None => {
                Effect::Own(own_effect_of(saga, cx)?)
            }
        },
        Step::UploadBlob
        | Step::CreateDraft
        | Step::FindDraft
        | Step::SetRoute
        | Step::FindRoute
        | Step::PrepareContent
        | Step::TellSigner
        | Step::SendSignature
        | Step::SaveSignature
        | Step::FindSave
        | Step::FetchArchive
        | Step::SendSigned
        | Step::AwaitProcess => Effect::Own(own_effect_of(saga, cx)?),
        Step::AnswerRobot => {
            let order = saga.robots.iter().find(|robot| robot.is_pending());
            let order = order.ok_or_else(|| missing(saga, "a robot that waits"))?;
            let reply = super::robots::reply_of(saga, language);
            Effect::AnswerRobot { event_token: order.event_token.clone(), reply }
        }
        // Nothing over there finds what was sent: a late answer and a person are waited for.
        Step::FindSent | Step::Delivered | Step::Refused | Step::Ignored | Step::Cancelled | Step::Parked => {
            return Err(missing(saga, "anything to do"));
        }
    };
    Ok(super::doubt::widened(effect, saga, cx))
}

/// The name that the signed copy should have.
fn copy_name(saga: &DocumentSaga) -> Result<String, IllegalEvent> {
    let original = saga.file.as_ref().ok_or_else(|| missing(saga, "the file"))?;
    Ok(rule::signed_name(&original.name, &saga.delivery.suffix))
}

/// The signed file under the name that the Drive gave it, or that it should have.
fn signed_copy(saga: &DocumentSaga) -> Result<NamedFile, IllegalEvent> {
    let name = match &saga.delivered {
        Some(delivered) => delivered.name.clone(),
        None => copy_name(saga)?,
    };
    Ok(NamedFile { name, bytes: saga.signed.ok_or_else(|| missing(saga, "the signed file"))? })
}

/// What goes with the comment: the signed files where the rule wants them, nothing before the end or after a refusal.
fn comment_files(saga: &DocumentSaga, cx: Context<'_>) -> Result<Vec<NamedFile>, IllegalEvent> {
    match (saga.delivery.comment_file, saga.outcome) {
        (CommentFile::Attached, Outcome::Signed) => {
            let signed = signed_copy(saga)?;
            let archive = archive_copy(saga, cx).filter(|archive| archive.bytes != signed.bytes);
            Ok([signed].into_iter().chain(archive).collect())
        }
        (CommentFile::Attached, Outcome::Refused | Outcome::Open) | (CommentFile::None, _) => Ok(Vec::new()),
    }
}

/// The archive of original and signatures, where the service gives one.
fn archive_copy(saga: &DocumentSaga, cx: Context<'_>) -> Option<NamedFile> {
    let own = saga.own.as_deref()?;
    let name = match &own.archive_delivered {
        Some(delivered) => delivered.name.clone(),
        None => format!("{}.{}", rule::split_name(&copy_name(saga).ok()?).0, archive_end(own, cx)),
    };
    Some(NamedFile { name, bytes: own.archive? })
}
