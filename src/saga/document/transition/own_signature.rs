//! Our own signer signs first: draft, route, content to sign, the wait for a person, the save, and both signed files.
//!
//! Here lies what these steps share: their policy, their orders, and which answer or fact goes to which of the parts.

mod our_turn;
mod preparation;
mod save;
mod sent_whole;
mod signed_files;
mod statuses;
mod timeline;

pub(super) use signed_files::{archive_end, file_in_delivery, name_in_delivery};

use super::super::own_signature::{
    ContentUnit, DraftOrder, OwnAnswer, OwnEffect, OwnEvent, OwnSignature, OwnSigner,
};
use super::super::state::{Claim, DocumentSaga, Step};
use super::super::{rule, words};
use super::{Context, Draft, IllegalEvent, missing};
use crate::domain::Capabilities;

/// Lengths of name and number (iDocs guide: 1 to 256 characters).
const NAME_CHARS_MAX: usize = 256;

/// Names of a service whose ids are unique only within it.
const ID_SPACE: &str = "idocs/";

/// The name under which a document of the service is claimed: ids are unique within one service only.
pub fn own_document_claim(document_id: &str) -> Claim {
    Claim::ProviderDocument(format!("{ID_SPACE}{document_id}"))
}

/// What depends on the configuration where our own signer signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnPolicy {
    /// The document's number at the service: `{short}` is our short id, `{name}` the stem of the file.
    pub number_template: String,
    /// When the status is asked while the counterparty has it.
    pub poll: crate::saga::retry::Schedule,
    /// Reminders to our signer, counted from the start of the wait, growing.
    pub reminders_ms: Vec<u64>,
    /// When somebody else is told that our signer does not sign.
    pub escalation_ms: u64,
    /// Reminders while the counterparty is waited for, counted from the start of that wait, growing.
    pub counterparty_reminders_ms: Vec<u64>,
    /// When a waiting document becomes a dead letter: counted for each of the two waits.
    pub deadline_ms: u64,
    /// Pause before a look, so that a request that is still being worked on can become visible.
    pub settle_ms: u64,
    /// What the service can do by the interface that is spoken: whether it knows drafts, above all.
    pub service: Capabilities,
    /// When it is asked which document has become of one that was sent whole.
    pub process: crate::saga::retry::Schedule,
    /// How long it is asked that before a person is.
    pub process_deadline_ms: u64,
    /// The end of the name (without the dot) of what the service keeps of a document that was sent whole.
    pub whole_file_end: String,
}

/// The signer and what has been done, both of which these steps need.
fn parts(saga: &DocumentSaga) -> Result<(&OwnSigner, &OwnSignature), IllegalEvent> {
    let signer = saga.delivery.signer.as_deref().ok_or_else(|| missing(saga, "who of us signs"))?;
    let own = saga.own.as_deref().ok_or_else(|| missing(saga, "its own signature"))?;
    Ok((signer, own))
}

fn draft_name(saga: &DocumentSaga) -> String {
    let name = saga.file.as_ref().map_or("", |file| rule::split_name(&file.name).0);
    let name: String = name.chars().take(NAME_CHARS_MAX).collect();
    if name.trim().is_empty() { saga.external_id.clone() } else { name }
}

/// The order of a step that belongs to our own signature.
pub(super) fn own_effect_of(saga: &DocumentSaga, cx: Context<'_>) -> Result<OwnEffect, IllegalEvent> {
    let (signer, own) = parts(saga)?;
    let document = || saga.provider_document.clone().ok_or_else(|| missing(saga, "the document's id"));
    let unit = || own.unit.clone().ok_or_else(|| missing(saga, "the content to sign"));
    Ok(match saga.step {
        Step::UploadBlob => {
            OwnEffect::UploadBlob { file: saga.file.clone().ok_or_else(|| missing(saga, "the file"))? }
        }
        Step::CreateDraft => OwnEffect::CreateDraft(DraftOrder {
            blob_id: own.blob_id.clone().ok_or_else(|| missing(saga, "the uploaded file"))?,
            number: own.number.clone(),
            name: draft_name(saga),
            dated: own.dated,
            group: signer.group.clone(),
        }),
        Step::FindDraft => {
            OwnEffect::FindDraft { number: own.number.clone(), name: draft_name(saga), dated: own.dated }
        }
        Step::SetRoute => OwnEffect::SetRoute {
            document_id: document()?,
            employee_id: signer.employee_id.clone(),
            counterparty: signer.counterparty.clone(),
        },
        Step::FindRoute => OwnEffect::FindRoute { document_id: document()? },
        Step::PrepareContent => OwnEffect::PrepareContent {
            document_id: document()?,
            employee_id: signer.employee_id.clone(),
            original: saga.file.as_ref().ok_or_else(|| missing(saga, "the file"))?.bytes.digest,
        },
        Step::TellSigner => OwnEffect::TellSigner {
            user_id: signer.user.ok_or_else(|| missing(saga, "a user to tell"))?,
            text: words::invitation(saga, cx.now, cx.policy.language),
            tag: format!("edobridge|{}|sign|{}", saga.id.short(), own.told),
            signer: signer.name.clone(),
            unit: unit()?,
        },
        Step::SendSignature => {
            OwnEffect::SendSignature { cms: own.cms.ok_or_else(|| missing(saga, "the signature"))? }
        }
        Step::SaveSignature => OwnEffect::SaveSignature {
            document_id: document()?,
            employee_id: signer.employee_id.clone(),
            blob_id: own.cms_blob_id.clone().ok_or_else(|| missing(saga, "the uploaded signature"))?,
            ticket: unit()?.ticket,
        },
        Step::FindSave | Step::AwaitSigner | Step::AwaitSignature => {
            OwnEffect::ReadStatus { document_id: document()? }
        }
        Step::FetchSigned => OwnEffect::FetchPrintForm { document_id: document()? },
        Step::FetchArchive => OwnEffect::FetchArchive { document_id: document()? },
        Step::SendSigned => OwnEffect::SendSigned(sent_whole::signed_order(saga)?),
        Step::AwaitProcess => OwnEffect::ReadProcess {
            key: own.cms_blob_id.clone().ok_or_else(|| missing(saga, "the key of the process"))?,
        },
        _ => return Err(missing(saga, "anything to sign by ourselves")),
    })
}

/// Which of the escalation's people is told now.
pub(super) fn escalation_user(saga: &DocumentSaga) -> Result<u64, IllegalEvent> {
    let (signer, own) = parts(saga)?;
    let user = signer.escalate_to.get(own.escalated as usize);
    user.copied().ok_or_else(|| missing(saga, "a person to tell"))
}

impl Draft<'_> {
    fn own(&mut self) -> Result<&mut OwnSignature, IllegalEvent> {
        if self.next.saga.own.is_none() {
            return Err(missing(&self.next.saga, "its own signature"));
        }
        Ok(self.saga().own.get_or_insert_default())
    }

    fn unit_now(&self) -> Option<&ContentUnit> {
        self.next.saga.own.as_deref().and_then(|own| own.unit.as_ref())
    }

    pub(super) fn own_answered(&mut self, answer: &OwnAnswer) -> Result<(), IllegalEvent> {
        if self.next.saga.own.is_none() {
            return Err(super::wrong_own(self.next.saga.step, answer));
        }
        match (self.next.saga.step, answer) {
            (Step::UploadBlob, OwnAnswer::BlobStored { blob_id }) => {
                self.settled();
                self.own()?.blob_id = Some(blob_id.clone());
                self.go(Step::CreateDraft)
            }
            (Step::CreateDraft | Step::FindDraft, OwnAnswer::DraftMade { document_id, raw_status }) => {
                self.drafted(document_id, raw_status)
            }
            (Step::FindDraft, OwnAnswer::DraftNotFound) => self.not_found(Step::CreateDraft),
            (Step::SetRoute | Step::FindRoute, OwnAnswer::RouteSet) => {
                self.settled();
                self.note("route_set", "Подписанты назначены в iDocs", "The signers are set in iDocs");
                self.go(Step::PrepareContent)
            }
            (Step::FindRoute, OwnAnswer::RouteNotFound) => self.not_found(Step::SetRoute),
            (Step::PrepareContent, OwnAnswer::ContentReady { content, ticket, expires_at, holds }) => {
                self.content_ready(*content, ticket, *expires_at, *holds)
            }
            (Step::TellSigner, OwnAnswer::SignerTold) => {
                self.settled();
                self.own()?.told += 1;
                self.note("signer_told", "Подписанту отправлена ссылка", "The signer was sent the link");
                self.wait_for_signer();
                Ok(())
            }
            (Step::SendSignature, OwnAnswer::SignatureStored { blob_id }) => {
                self.settled();
                self.own()?.cms_blob_id = Some(blob_id.clone());
                self.go(Step::SaveSignature)
            }
            (Step::SaveSignature, OwnAnswer::SignatureSaved) => self.saved(),
            (Step::FindSave, OwnAnswer::StatusRead { status, raw_status }) => {
                self.save_looked_for(status, raw_status)
            }
            (Step::AwaitSigner, OwnAnswer::StatusRead { status, raw_status }) => {
                self.looked_while_waiting(status, raw_status)
            }
            (Step::AwaitSignature, OwnAnswer::StatusRead { status, raw_status }) => {
                self.own_status(status, raw_status)
            }
            (Step::FetchSigned, OwnAnswer::PrintForm(file)) => self.print_form(*file),
            (Step::FetchArchive, OwnAnswer::Archive(file)) => self.archive(*file),
            (Step::SendSigned, OwnAnswer::Sent { process }) => self.sent(process),
            (Step::AwaitProcess, OwnAnswer::ProcessRead(process)) => self.process_read(process),
            (step, answer) => Err(super::wrong_own(step, answer)),
        }
    }

    /// An answer to an older attempt is worth something only where it names what exists.
    pub(super) fn own_straggler(&mut self, answer: &OwnAnswer) -> Result<(), IllegalEvent> {
        match answer {
            OwnAnswer::DraftMade { document_id, raw_status } if self.stuck_at() == Step::FindDraft => {
                self.drafted(document_id, raw_status)
            }
            OwnAnswer::Sent { process } => self.sent_late(process),
            OwnAnswer::ProcessRead(process) => self.process_read_late(process),
            _ => Ok(()),
        }
    }

    pub(super) fn own_event(&mut self, event: &OwnEvent) -> Result<(), IllegalEvent> {
        match event {
            OwnEvent::SignatureGiven { unit, cms, signer, checks } => {
                self.signature_given(*unit, *cms, signer, checks)
            }
            OwnEvent::LinkAsked => self.link_asked(),
            OwnEvent::LinkGiven { asked_by } => self.link_given(asked_by),
            OwnEvent::StatusHint => self.status_hint(),
            OwnEvent::MadeTogether { others } => {
                self.made_together(*others);
                Ok(())
            }
        }
    }

    /// Whether the service is one where our own signer signs.
    pub(super) fn signs_first(&self) -> bool {
        self.next.saga.delivery.signer.is_some()
    }
}
