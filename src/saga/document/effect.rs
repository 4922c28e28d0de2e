//! Orders outward, in the imperative. Each is safe to repeat or has a look step before its repeat.

use super::own_signature::{OwnEffect, Telling};
use super::state::{DeliveredFile, DocumentSaga, EventToken, ItemPick, Source, SourceFile};
use crate::domain::{CrmItem, PortalId, SagaId, SpoolFile};
use crate::saga::step::StepClass;

/// One call (or a short chain of reads) to a remote system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Read the CRM item and match it against the rules.
    ReadItem {
        /// The item.
        item: CrmItem,
    },
    /// Read the file's facts, match them against the rules, fetch the bytes.
    FetchSource {
        /// Where the file is.
        source: Source,
        /// Whether a rule is already chosen (a CRM file), so that only the bytes are missing.
        rule: Option<String>,
    },
    /// Create the document at the signing service.
    CreateDocument {
        /// The file.
        file: SourceFile,
        /// The route.
        route_id: String,
        /// Our id.
        external_id: String,
    },
    /// Search the document at the signing service by our id.
    FindDocument {
        /// Our id.
        external_id: String,
    },
    /// Ask the status.
    ReadStatus {
        /// The service's id.
        document_id: String,
    },
    /// Fetch the signed file.
    FetchSigned {
        /// The service's id.
        document_id: String,
    },
    /// Read the folder: the highest file id, and a free name.
    ScanFolder {
        /// The folder.
        folder_id: u64,
        /// The name we would like.
        wanted_name: String,
    },
    /// Put the signed copy into the folder.
    Upload {
        /// The folder.
        folder_id: u64,
        /// The name.
        name: String,
        /// The bytes.
        bytes: SpoolFile,
    },
    /// Look whether an upload of unknown outcome worked.
    FindUpload {
        /// The folder.
        folder_id: u64,
        /// The name it was uploaded under; empty = under any.
        name: String,
        /// The bytes that were sent.
        bytes: SpoolFile,
        /// Only files with a higher id can be ours.
        above_id: u64,
    },
    /// Write a comment into the timeline.
    AddComment {
        /// The item.
        item: CrmItem,
        /// What it says; contains the mark.
        text: String,
        /// The files that go with it.
        files: Vec<NamedFile>,
    },
    /// Look whether a comment of unknown outcome stands there.
    FindComment {
        /// The item.
        item: CrmItem,
        /// Our mark.
        mark: String,
    },
    /// Tell a person.
    Notify {
        /// The user.
        user_id: u64,
        /// What, with BB codes.
        text: String,
        /// A notice with the same tag replaces the earlier one: the idempotency key.
        tag: String,
    },
    /// Pick the file to sign from a CRM item.
    PickSource {
        /// The item.
        item: CrmItem,
        /// How.
        pick: ItemPick,
        /// The rule that says how it is handled.
        rule: String,
    },
    /// Read which files are in the file field.
    ScanField {
        /// The item.
        item: CrmItem,
        /// The field.
        field: String,
    },
    /// Put the signed file into the file field, beside those that are there.
    AttachField {
        /// The item.
        item: CrmItem,
        /// The field.
        field: String,
        /// The file.
        file: NamedFile,
    },
    /// Look whether a file of unknown outcome is in the file field.
    FindFieldFile {
        /// The item.
        item: CrmItem,
        /// The field.
        field: String,
        /// The bytes that were sent.
        bytes: SpoolFile,
        /// The files that were there before.
        known: Vec<u64>,
    },
    /// Move the item to a stage, unless it was moved by others or would go backwards. Looks before it writes, so
    /// that a repeat is harmless.
    MoveStage {
        /// The item.
        item: CrmItem,
        /// The wanted stage.
        to: String,
        /// The stages that it may be moved out of.
        from: Vec<String>,
    },
    /// Answer a workflow that waits.
    AnswerRobot {
        /// What it recognises the answer by: the idempotency key.
        event_token: EventToken,
        /// The answer.
        reply: RobotReply,
    },
    /// An order about our own signature.
    Own(OwnEffect),
}

/// A file under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// The name.
    pub name: String,
    /// The bytes.
    pub bytes: SpoolFile,
}

/// What a workflow is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RobotReply {
    /// What became of the document.
    pub status: RobotStatus,
    /// The signed copy on the Drive.
    pub file: Option<DeliveredFile>,
    /// In words, for people: why it ended so.
    pub reason: String,
    /// Our id of the document, if there is one.
    pub document: Option<SagaId>,
}

/// What became of a document, for workflows. The words are a contract: conditions of templates compare them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RobotStatus {
    /// Taken up; nothing final is known.
    Accepted,
    /// People have been asked to sign and have not yet.
    Waiting,
    /// Signed and delivered.
    Signed,
    /// A participant refused.
    Refused,
    /// A person stopped the work.
    Cancelled,
    /// It was not sent: no rule wants it, or the file is gone.
    NotSent,
    /// A person must look at it.
    Stopped,
    /// There is no document for what was asked.
    Unknown,
}

impl RobotStatus {
    /// The word for the workflow.
    pub fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Waiting => "waiting",
            Self::Signed => "signed",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::NotSent => "not_sent",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        }
    }
}

impl Effect {
    /// What may be done after an unknown outcome.
    pub fn class(&self) -> StepClass {
        match self {
            Self::ReadItem { .. }
            | Self::FetchSource { .. }
            | Self::FindDocument { .. }
            | Self::ReadStatus { .. }
            | Self::FetchSigned { .. }
            | Self::ScanFolder { .. }
            | Self::FindUpload { .. }
            | Self::FindComment { .. }
            | Self::PickSource { .. }
            | Self::ScanField { .. }
            | Self::FindFieldFile { .. } => StepClass::Read,
            Self::CreateDocument { .. }
            | Self::Upload { .. }
            | Self::AddComment { .. }
            | Self::AttachField { .. } => StepClass::Probe,
            Self::Notify { .. } | Self::MoveStage { .. } | Self::AnswerRobot { .. } => StepClass::Keyed,
            Self::Own(own) => match own {
                OwnEffect::CreateDraft(_) | OwnEffect::SetRoute { .. } | OwnEffect::SaveSignature { .. } => {
                    StepClass::Probe
                }
                OwnEffect::UploadBlob { .. }
                | OwnEffect::TellSigner { .. }
                | OwnEffect::SendSignature { .. } => StepClass::Keyed,
                OwnEffect::FindDraft { .. }
                | OwnEffect::FindRoute { .. }
                | OwnEffect::PrepareContent { .. }
                | OwnEffect::ReadStatus { .. }
                | OwnEffect::FetchPrintForm { .. }
                | OwnEffect::FetchArchive { .. }
                | OwnEffect::ReadProcess { .. } => StepClass::Read,
                OwnEffect::SendSigned(_) => StepClass::Blind,
            },
        }
    }
    /// Stable name for metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ReadItem { .. } => "read_item",
            Self::FetchSource { .. } => "fetch_source",
            Self::CreateDocument { .. } => "create_document",
            Self::FindDocument { .. } => "find_document",
            Self::ReadStatus { .. } => "read_status",
            Self::FetchSigned { .. } => "fetch_signed",
            Self::ScanFolder { .. } => "scan_folder",
            Self::Upload { .. } => "upload",
            Self::FindUpload { .. } => "find_upload",
            Self::AddComment { .. } => "add_comment",
            Self::FindComment { .. } => "find_comment",
            Self::Notify { .. } => "notify",
            Self::PickSource { .. } => "pick_source",
            Self::ScanField { .. } => "scan_field",
            Self::AttachField { .. } => "attach_field",
            Self::FindFieldFile { .. } => "find_field_file",
            Self::MoveStage { .. } => "move_stage",
            Self::AnswerRobot { .. } => "answer_robot",
            Self::Own(own) => own.name(),
        }
    }
    /// Whether the signing service is asked (else the portal).
    pub fn is_for_signing_service(&self) -> bool {
        match self {
            Self::CreateDocument { .. }
            | Self::FindDocument { .. }
            | Self::ReadStatus { .. }
            | Self::FetchSigned { .. } => true,
            Self::Own(own) => own.is_for_signing_service(),
            _ => false,
        }
    }
}

/// Our id at the signing service: stable, unique per saga, never parsed back.
pub fn external_id(portal: &PortalId, source: &Source, saga: SagaId) -> String {
    let what = match source {
        Source::DriveFile { file_id } => format!("file-{file_id}"),
        Source::CrmItem { item } | Source::OfItem { item, .. } => {
            format!("{}-{}", item.timeline_type(), item.id)
        }
        Source::Generated { document_id } => format!("generated-{document_id}"),
        Source::CrmFile { item, file_id, .. } => format!("{}-{}-{file_id}", item.timeline_type(), item.id),
    };
    format!("b24-{portal}-{what}-{}", saga.short())
}

/// The mark by which our comment is recognised in a timeline.
///
/// No mark is a part of another: each comment of a document must be found by its own.
pub fn comment_mark(saga: &DocumentSaga) -> String {
    let which = match saga.own.as_deref().map_or(Telling::TheEnd, |own| own.telling) {
        Telling::TheEnd => "",
        Telling::OurTurn => "-our-turn",
        Telling::TheirTurn => "-their-turn",
    };
    format!("edobridge{which}:{}", saga.id.short())
}
