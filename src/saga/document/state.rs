//! The record of one document's saga. Stored with strict bincode: see `store::records` before any change.
//!
//! **Frozen layout.** [`DocumentSaga`] and [`Delivery`] are version 3 of the stored record; the earlier ones live in the
//! store's history (`store::document_v1`, `document_v2`), and share the other types of this file and of [`super::files`]. Enums grow only at
//! the end; a struct is never changed in place: a new version gets a new struct, the old one moves to the history.
//! The golden bytes in the store's tests fail when this is forgotten.

pub use super::files::{DeliveredFile, SourceFile};
use super::own_signature::{OwnSignature, OwnSigner};
use crate::domain::{AttemptToken, CrmItem, FileDigest, PortalId, SagaId, SpoolFile, Text, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a document stands. Append-only: the order is the stored code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step {
    /// The CRM item that triggered us is being read, to learn whether a rule wants it and which file.
    ReadItem,
    /// The file's facts and bytes are being fetched.
    FetchSource,
    /// The document is being created at the signing service.
    Create,
    /// The outcome of a create is unknown: we look for the document, or wait for its callback.
    FindDocument,
    /// People sign. Waiting for a callback, asking where the service can be asked.
    AwaitSignature,
    /// The signed file is being downloaded.
    FetchSigned,
    /// The folder is read, so that an upload can be recognised afterwards.
    ScanFolder,
    /// The signed file is being put into the folder.
    Upload,
    /// The outcome of an upload is unknown: the folder is searched for it.
    FindUpload,
    /// The CRM item's timeline gets a comment.
    Comment,
    /// The outcome of a comment is unknown: the timeline is searched for our mark.
    FindComment,
    /// People are told.
    Notify,
    /// Finished: signed, delivered, announced.
    Delivered,
    /// Finished: refused by a participant, announced.
    Refused,
    /// Finished: no rule wants it, it is our own copy, or another saga has it.
    Ignored,
    /// Finished: a person cancelled or discarded it.
    Cancelled,
    /// A dead letter: waits for a person (or a late callback).
    Parked,
    /// The portal is still making the PDF of a generated document: it is asked again and again.
    AwaitPdf,
    /// The file field of the CRM item is read, so that a file of ours can be recognised afterwards.
    ScanField,
    /// The signed file is being put into the file field.
    AttachField,
    /// The outcome of that is unknown: the field is searched for the file.
    FindFieldFile,
    /// The CRM item is moved to another stage, if nobody has moved it meanwhile.
    MoveStage,
    /// Everything else is done; a workflow of the portal waits for our word.
    AnswerRobot,
    /// The file is being uploaded to a service where our own signer signs first.
    UploadBlob,
    /// The draft is being created there.
    CreateDraft,
    /// The outcome of that is unknown: the drafts are searched for its number.
    FindDraft,
    /// The service is told who signs.
    SetRoute,
    /// The content to sign is made and fetched.
    PrepareContent,
    /// Our signer is told, with the link.
    TellSigner,
    /// Our own signer has to sign.
    AwaitSigner,
    /// The signature is being uploaded.
    SendSignature,
    /// The signature is being saved: the document goes to the counterparty.
    SaveSignature,
    /// The outcome of that is unknown: the status is read.
    FindSave,
    /// The archive of original and signatures is being fetched.
    FetchArchive,
    /// The outcome of setting the route is unknown: the document is read with its route.
    FindRoute,
    /// File and signature are sent together, to a service that knows no drafts (iDocs V1): created and sent at once.
    SendSigned,
    /// The outcome of that is unknown, and nothing over there finds it: a late answer is waited for, then a person asked.
    FindSent,
    /// The service has taken it, and is asked again and again which document has become of it.
    AwaitProcess,
}

impl Step {
    /// Every step, in stored order.
    pub const ALL: [Self; 38] = [
        Self::ReadItem,
        Self::FetchSource,
        Self::Create,
        Self::FindDocument,
        Self::AwaitSignature,
        Self::FetchSigned,
        Self::ScanFolder,
        Self::Upload,
        Self::FindUpload,
        Self::Comment,
        Self::FindComment,
        Self::Notify,
        Self::Delivered,
        Self::Refused,
        Self::Ignored,
        Self::Cancelled,
        Self::Parked,
        Self::AwaitPdf,
        Self::ScanField,
        Self::AttachField,
        Self::FindFieldFile,
        Self::MoveStage,
        Self::AnswerRobot,
        Self::UploadBlob,
        Self::CreateDraft,
        Self::FindDraft,
        Self::SetRoute,
        Self::PrepareContent,
        Self::TellSigner,
        Self::AwaitSigner,
        Self::SendSignature,
        Self::SaveSignature,
        Self::FindSave,
        Self::FetchArchive,
        Self::FindRoute,
        Self::SendSigned,
        Self::FindSent,
        Self::AwaitProcess,
    ];
    /// The stored code, one byte, for index keys.
    pub fn code(self) -> u8 {
        self as u8
    }
    /// The inverse of [`Step::code`].
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
    /// Stable name for metrics, logs, filters and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadItem => "read_item",
            Self::FetchSource => "fetch_source",
            Self::Create => "create",
            Self::FindDocument => "find_document",
            Self::AwaitSignature => "await_signature",
            Self::FetchSigned => "fetch_signed",
            Self::ScanFolder => "scan_folder",
            Self::Upload => "upload",
            Self::FindUpload => "find_upload",
            Self::Comment => "comment",
            Self::FindComment => "find_comment",
            Self::Notify => "notify",
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Ignored => "ignored",
            Self::Cancelled => "cancelled",
            Self::Parked => "parked",
            Self::AwaitPdf => "await_pdf",
            Self::ScanField => "scan_field",
            Self::AttachField => "attach_field",
            Self::FindFieldFile => "find_field_file",
            Self::MoveStage => "move_stage",
            Self::AnswerRobot => "answer_robot",
            Self::UploadBlob => "upload_blob",
            Self::CreateDraft => "create_draft",
            Self::FindDraft => "find_draft",
            Self::SetRoute => "set_route",
            Self::PrepareContent => "prepare_content",
            Self::TellSigner => "tell_signer",
            Self::AwaitSigner => "await_signer",
            Self::SendSignature => "send_signature",
            Self::SaveSignature => "save_signature",
            Self::FindSave => "find_save",
            Self::FetchArchive => "fetch_archive",
            Self::FindRoute => "find_route",
            Self::SendSigned => "send_signed",
            Self::FindSent => "find_sent",
            Self::AwaitProcess => "await_process",
        }
    }
    /// The inverse of [`Step::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
    /// Whether nothing more will happen by itself or by a person.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Delivered | Self::Refused | Self::Ignored | Self::Cancelled)
    }
    /// Whether the saga works or waits, and so must have a timer.
    pub fn is_live(self) -> bool {
        !self.is_finished() && self != Self::Parked
    }
}

/// Where the file to sign is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// A file of the Drive.
    DriveFile {
        /// Drive id of the file.
        file_id: u64,
    },
    /// A CRM item whose file is not known yet.
    CrmItem {
        /// The item.
        item: CrmItem,
    },
    /// A file in a file field of a CRM item.
    CrmFile {
        /// The item.
        item: CrmItem,
        /// The field, as `crm.item.get` spells it.
        field: String,
        /// The file's id within the field.
        file_id: u64,
    },
    /// The PDF of a document that the CRM's document generator made.
    Generated {
        /// The generator's id of the document.
        document_id: u64,
    },
    /// Something of a CRM item that must be picked first: the item itself says which file it is.
    OfItem {
        /// The item.
        item: CrmItem,
        /// How to pick.
        pick: ItemPick,
    },
}

/// How the file to sign is picked from a CRM item. Append-only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ItemPick {
    /// The files of this field, as `crm.item.get` spells it.
    Field(String),
    /// The newest document that the document generator made for the item.
    LatestGenerated,
}

/// Whether a copy of the signed file goes into a Drive folder. Append-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DriveCopy {
    /// It does.
    #[default]
    Wanted,
    /// It does not: the file field or the comment has it.
    NotWanted,
}

/// Whether the comment in the timeline carries the signed file. Append-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum CommentFile {
    /// Words only.
    #[default]
    None,
    /// With the file.
    Attached,
}

/// How a rule wants the document to be handled; a copy, so that a later change of the configuration does not
/// change documents that are under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Delivery {
    /// Id of the rule in the configuration.
    pub rule: String,
    /// Route of approval and signing at the signing service.
    pub route_id: String,
    /// Folder for the signed copy; none = the folder of the original.
    pub folder_id: Option<u64>,
    /// What is put between the stem and `.pdf` of the signed copy's name.
    pub suffix: String,
    /// Whether the timeline of the CRM item gets a comment.
    pub comment: bool,
    /// Whom to tell, in order; responsible and creator are already resolved to user ids.
    pub notify: Vec<u64>,
    /// What they are told of.
    pub notify_on: Vec<Occasion>,
    /// Whether a copy goes to the Drive.
    pub drive: DriveCopy,
    /// The file field of the CRM item that gets the signed file.
    pub field: Option<String>,
    /// Whether the comment carries the signed file.
    pub comment_file: CommentFile,
    /// The stage that the item is moved to when the document is signed.
    pub stage_on_signed: Option<String>,
    /// The stage that the item is moved to when the document is refused.
    pub stage_on_refused: Option<String>,
    /// Stages besides [`Delivery::item_stage`] that the item may be moved out of.
    pub stages_from: Vec<String>,
    /// The stage in which the item stood when its file was taken up, if it was read then.
    pub item_stage: Option<String>,
    /// Who of ours signs first, where the service wants that (iDocs); none = EasyDocs, whose participants sign there.
    pub signer: Option<Box<OwnSigner>>,
}

/// The token by which a workflow of the portal recognises our answer. A key to that one answer: never shown.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EventToken(String);

impl EventToken {
    /// Wraps what the robot's request carried.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }
    /// The token, for the answer only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EventToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Whether a workflow stands still until we answer. Append-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RobotWait {
    /// Until the document has come to its end.
    UntilTheEnd,
    /// It went on as soon as the document was taken up.
    No,
}

/// A robot in a workflow of the portal that ordered this document, and what became of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RobotOrder {
    /// The workflow's instance.
    pub workflow_id: String,
    /// What the answer must carry.
    pub event_token: EventToken,
    /// Whether it waits.
    pub waits: RobotWait,
    /// When it was answered, or found not to be listening any more.
    pub answered_at: Option<Timestamp>,
}

impl RobotOrder {
    /// Whether the workflow stands still because of us.
    pub fn is_pending(&self) -> bool {
        self.waits == RobotWait::UntilTheEnd && self.answered_at.is_none()
    }
}

/// How a document ends once the workflows that wait for it are answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// The finished step.
    pub step: Step,
    /// Code of the history line.
    pub code: String,
    /// In words.
    pub reason: Text,
}

/// What people are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Occasion {
    /// The signed copy is in its place.
    Signed,
    /// A participant refused.
    Refused,
    /// It has been waiting for long.
    Reminder,
}

/// What the signing service's answers amount to. The first terminal one wins (SG-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing final was heard.
    Open,
    /// The whole route is passed and signed.
    Signed,
    /// A participant refused.
    Refused,
}

/// Whether an effect is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Nothing is under way; the timer says when something will be.
    Idle,
    /// The step's effect was ordered.
    InFlight {
        /// Its fence.
        token: AttemptToken,
        /// When it was ordered.
        since: Timestamp,
    },
}

/// What the one timer of a live saga means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TimerKind {
    /// An attempt must have answered by now; if not, its outcome is unknown.
    Lease,
    /// Start the step's effect (again).
    Start,
    /// The nearest of: next poll, next reminder, deadline of the signature.
    Wait,
    /// A create of unknown outcome has waited long enough for its callback.
    Grace,
}

/// The one timer of a live saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// When it fires.
    pub due: Timestamp,
    /// What it means.
    pub kind: TimerKind,
}

/// The clockwork of [`Step::AwaitSignature`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// When the waiting began.
    pub since: Timestamp,
    /// When the service is asked next, where it can be asked.
    pub next_poll_at: Option<Timestamp>,
    /// How often it was asked.
    pub polls: u32,
    /// When people are reminded next.
    pub next_reminder_at: Option<Timestamp>,
    /// How often they were.
    pub reminders: u32,
    /// When a person must look at it.
    pub deadline_at: Option<Timestamp>,
    /// What the present attempt in this step is for.
    pub doing: WaitWork,
}

/// What an effect during the wait is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaitWork {
    /// Nothing is under way.
    Nothing,
    /// The status is being asked.
    Poll,
    /// A reminder is being sent.
    Reminder,
    /// Somebody is told that our signer does not sign.
    Escalation,
}

/// Why a saga stopped and what a person can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Since when.
    pub at: Timestamp,
    /// The step that could not go on.
    pub from: Step,
    /// Stable code.
    pub code: String,
    /// What happened, in words.
    pub reason: Text,
    /// What to do, in words.
    pub next_action: Text,
    /// The beginning of the remote's last answer; secrets cut.
    pub answer: Option<String>,
}

/// The last failure of the present step, for "why is it standing still".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    /// When.
    pub at: Timestamp,
    /// Stable code.
    pub code: String,
    /// In words.
    pub reason: Text,
}

/// Everything that is known of one document on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentSaga {
    /// Its id.
    pub id: SagaId,
    /// Number of committed transitions; also the number of the next history entry.
    pub revision: u64,
    /// When the trigger was accepted.
    pub created_at: Timestamp,
    /// When the last transition was decided.
    pub updated_at: Timestamp,
    /// When the present step was entered.
    pub step_since: Timestamp,
    /// Where it stands.
    pub step: Step,
    /// Whether an effect is under way.
    pub work: Work,
    /// The one timer (SG-1).
    pub timer: Option<Timer>,
    /// The token of the last attempt; grows by one with each.
    pub last_token: u64,
    /// Failed attempts of the present step that count.
    pub tries: u32,
    /// How often the present write came to an unknown outcome and was looked for.
    pub rounds: u32,
    /// How often the present look found nothing.
    pub looks: u32,
    /// The portal it belongs to.
    pub portal: PortalId,
    /// Where the file is.
    pub source: Source,
    /// Which triggers arrived again while the item was being read (the read must be repeated).
    pub read_again: u32,
    /// How the rule wants it handled; empty until a rule is chosen.
    pub delivery: Delivery,
    /// The CRM item known at sending time.
    pub crm_item: Option<CrmItem>,
    /// The file, once fetched.
    pub file: Option<SourceFile>,
    /// Our id at the signing service.
    pub external_id: String,
    /// The signing service's id.
    pub provider_document: Option<String>,
    /// What its answers amount to.
    pub outcome: Outcome,
    /// The last status name it used.
    pub provider_status: Option<String>,
    /// The clockwork of the wait.
    pub waiting: Option<Waiting>,
    /// The signed file, in our spool.
    pub signed: Option<SpoolFile>,
    /// The highest file id in the folder before our upload; later ids may be ours.
    pub folder_baseline: Option<u64>,
    /// The name under which the copy is to be uploaded.
    pub upload_name: Option<String>,
    /// The signed copy in the portal.
    pub delivered: Option<DeliveredFile>,
    /// The comment in the timeline.
    pub comment_id: Option<u64>,
    /// How many of `delivery.notify` were told.
    pub notified: u32,
    /// Why it stopped, if it is a dead letter.
    pub dead_letter: Option<DeadLetter>,
    /// Why the present step has not succeeded yet.
    pub last_failure: Option<LastFailure>,
    /// The ids of the files that were in the file field before ours; others may be ours.
    pub field_baseline: Option<Vec<u64>>,
    /// The signed file in the file field of the CRM item.
    pub field_file: Option<u64>,
    /// Robots that ordered this document, in the order in which they asked.
    pub robots: Vec<RobotOrder>,
    /// How it ends once the robots are answered.
    pub ending: Option<Ending>,
    /// How far our own signature has come, where one is wanted.
    pub own: Option<Box<OwnSignature>>,
}

impl DocumentSaga {
    /// The files that it needs in the spool while it is live; a file may be named twice.
    pub fn spool_files(&self) -> impl Iterator<Item = SpoolFile> + '_ {
        let own = self.own.as_deref();
        let content = own.and_then(|own| own.unit.as_ref()).map(|unit| unit.content);
        let source = self.file.as_ref().map(|file| file.bytes);
        let signature = own.and_then(|own| own.cms);
        let archive = own.and_then(|own| own.archive);
        [source, self.signed, content, signature, archive].into_iter().flatten()
    }
}

/// One line of a saga's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When.
    pub at: Timestamp,
    /// The step after it.
    pub step: Step,
    /// Stable code of what happened.
    pub what: String,
    /// In words.
    pub text: Text,
}

/// `Kind("name")`: what the first versions wrote, for ever.
fn lasting(kind: &str, name: &str) -> String {
    format!("{kind}(\"{}\")", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A name that belongs to one saga; the store keeps the index, and tells when it is taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Claim {
    /// The source file: one saga per source, for ever. Exclusive.
    Source(String),
    /// A CRM item is being read by this saga; released when it is read. Exclusive.
    Reading(String),
    /// Our id at the signing service. Exclusive.
    External(String),
    /// The signing service's id. Exclusive.
    ProviderDocument(String),
    /// A signed copy of this (normalised) name will appear in this folder: not a trigger. Not exclusive.
    EchoName {
        /// The portal.
        portal: PortalId,
        /// The folder.
        folder_id: u64,
        /// Normalised name: see [`super::rule::normalised_name`].
        name: String,
    },
    /// This file of the Drive was made by us: not a trigger. Not exclusive.
    EchoFile {
        /// The portal.
        portal: PortalId,
        /// The file.
        file_id: u64,
    },
    /// These bytes were put into a file field of this item by us: not a trigger. A field tells no names, so that
    /// only the content can be recognised. Not exclusive.
    EchoBytes {
        /// The portal.
        portal: PortalId,
        /// The item.
        item: CrmItem,
        /// What the bytes are.
        digest: FileDigest,
    },
    /// This workflow of the portal ordered the document by a robot. Not exclusive.
    Workflow {
        /// The portal.
        portal: PortalId,
        /// The workflow's instance.
        workflow_id: String,
    },
}

impl Claim {
    /// The claim in words that never change: lasting ids are made from them.
    pub fn lasting_text(&self) -> String {
        match self {
            Self::Source(name) => lasting("Source", name),
            Self::Reading(name) => lasting("Reading", name),
            Self::External(id) => lasting("External", id),
            Self::ProviderDocument(id) => lasting("ProviderDocument", id),
            Self::EchoName { portal, folder_id, name } => {
                lasting("EchoName", &format!("{portal}/{folder_id}/{name}"))
            }
            Self::EchoFile { portal, file_id } => lasting("EchoFile", &format!("{portal}/{file_id}")),
            Self::EchoBytes { portal, item, digest } => {
                lasting("EchoBytes", &format!("{portal}/{item}/{}", digest.to_hex()))
            }
            Self::Workflow { portal, workflow_id } => lasting("Workflow", &format!("{portal}/{workflow_id}")),
        }
    }

    /// Whether a second saga must not have it too.
    pub fn is_exclusive(&self) -> bool {
        match self {
            Self::Source(_) | Self::Reading(_) | Self::External(_) | Self::ProviderDocument(_) => true,
            Self::EchoName { .. }
            | Self::EchoFile { .. }
            | Self::EchoBytes { .. }
            | Self::Workflow { .. } => false,
        }
    }
}
