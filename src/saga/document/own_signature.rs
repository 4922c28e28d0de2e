//! Where our own signer signs first (iDocs): what a rule wishes, how far the signature has come, and the orders, answers
//! and facts that belong to it alone.
//!
//! **Frozen layout**: [`OwnSigner`] and [`OwnSignature`] are stored inside the document's record, version 3.
//!
//! ```text
//! FetchSource ─▶ UploadBlob ─▶ CreateDraft ─▶ SetRoute ─▶ PrepareContent ─▶ TellSigner ─▶ AwaitSigner ─▶ SendSignature
//!                              │  ▲           │  ▲           ▲  ▲ (the link died, or the signature was refused)   │
//!                              ▼  │           ▼  │           │  └────────────────────────────────────────────────▼
//!                             FindDraft      FindRoute       └──────────────────────────────── FindSave ◀── SaveSignature
//!                                                                                                  └─▶ AwaitSignature ─▶ FetchSigned ─▶ FetchArchive ─▶ ScanFolder …
//! ```
//!
//! Where the service takes the file together with our signature (iDocs V1), there is no draft: what is signed is the file
//! itself, one blind call sends everything, and the document's id comes later. Such a document is *sent whole*.
//!
//! ```text
//! FetchSource ─▶ PrepareContent (ours alone) ─▶ TellSigner ─▶ AwaitSigner ─▶ SendSigned ─▶ AwaitProcess ─▶ AwaitSignature …
//!                                                                            │  ▲ (a person)     ▲
//!                                                                            ▼  │                │ (a late answer)
//!                                                                           FindSent ────────────┘
//! ```

use super::files::{DeliveredFile, SourceFile};
use crate::domain::{FileDigest, SpoolFile, Text, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Who signs on the other side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counterparty {
    /// BIN of a company or IIN of a person: 12 digits.
    pub bin: String,
    /// Where the service writes to.
    pub email: String,
    /// Which of the two it is.
    pub kind: CounterpartyKind,
}

/// Company or person. Append-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CounterpartyKind {
    /// A legal entity.
    Company,
    /// An individual.
    Individual,
}

/// What the rule wishes; a copy, as all of [`Delivery`](super::Delivery).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnSigner {
    /// Name of the signer in the configuration; links are bound to it.
    pub name: String,
    /// The service's id of the employee who signs.
    pub employee_id: String,
    /// The portal's user who is told; none = the link is only given out by the operator's API.
    pub user: Option<u64>,
    /// Who is told when the signer does not sign in time.
    pub escalate_to: Vec<u64>,
    /// The service's group of documents (iDocs: `documentGroup`).
    pub group: String,
    /// Who signs after us.
    pub counterparty: Counterparty,
}

/// The service's key to one signing (iDocs: `idempotencyTicket`). Never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket(String);

impl Ticket {
    /// Wraps what the service gave.
    pub fn new(ticket: impl Into<String>) -> Self {
        Self(ticket.into())
    }
    /// What a content has that the service does not know of: it is sent whole, with its signature.
    pub fn none() -> Self {
        Self(String::new())
    }
    /// Whether the service gave none.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }
    /// The ticket, for the service only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Bytes, ticket and life of one content to sign: a signature fits these bytes only, and its saving this ticket only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentUnit {
    /// 1, 2, … within the document; a link names it, so that an older link is dead.
    pub number: u32,
    /// What is signed.
    pub content: SpoolFile,
    /// Goes with the signature.
    pub ticket: Ticket,
    /// When it was made.
    pub made_at: Timestamp,
    /// When the service forgets it.
    pub expires_at: Timestamp,
}

/// What the comment that is being written tells. Append-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Telling {
    /// The end, as for every document.
    #[default]
    TheEnd,
    /// It waits for our signature.
    OurTurn,
    /// It waits for the counterparty.
    TheirTurn,
}

/// Which of the signed files is being delivered. Append-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SignedPart {
    /// What people read.
    #[default]
    PrintForm,
    /// Original and signatures, for evidence.
    Archive,
}

/// How far the signature has come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OwnSignature {
    /// The number of the document at the service: unique, so that a draft of unknown outcome can be found by it.
    pub number: String,
    /// The date of the document at the service; fixed with the number.
    pub dated: Timestamp,
    /// The uploaded file.
    pub blob_id: Option<String>,
    /// How many units were made.
    pub units: u32,
    /// The newest unit; the only one that may be signed.
    pub unit: Option<ContentUnit>,
    /// How often the signer was told; part of the notice's tag.
    pub told: u32,
    /// How many of `escalate_to` were told.
    pub escalated: u32,
    /// The signature that was given over the newest unit: the first one stands.
    pub cms: Option<SpoolFile>,
    /// Who gave it, as its certificate says.
    pub signed_by: Option<String>,
    /// What the service gave for the signature: the id of the uploaded one, or, of a document that is sent whole, the
    /// key of the process that makes the document.
    pub cms_blob_id: Option<String>,
    /// How often the service refused a signature.
    pub refused_saves: u32,
    /// A hint that the status has changed came while the status was being read.
    pub hinted: bool,
    /// Why the counterparty refused.
    pub refusal: Option<String>,
    /// What the comment that is being written tells.
    pub telling: Telling,
    /// Which comments were written or given up.
    pub our_turn_told: bool,
    /// Likewise for the counterparty's turn.
    pub their_turn_told: bool,
    /// The archive of original and signatures, in our spool.
    pub archive: Option<SpoolFile>,
    /// Which file is being delivered.
    pub part: SignedPart,
    /// The archive in the portal.
    pub archive_delivered: Option<DeliveredFile>,
}

impl OwnSignature {
    /// Whether the document goes to the service in one piece, file and signature together: the content that was shown to
    /// the signer is then the file itself, and the service gave no ticket for it.
    pub fn is_sent_whole(&self) -> bool {
        self.unit.as_ref().is_some_and(|unit| unit.ticket.is_none())
    }
}

/// Orders outward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnEffect {
    /// Upload the file to sign.
    UploadBlob {
        /// The file.
        file: SourceFile,
    },
    /// Create the draft.
    CreateDraft(DraftOrder),
    /// Look for a draft of unknown outcome.
    FindDraft {
        /// Its number.
        number: String,
        /// Its name.
        name: String,
        /// Its date.
        dated: Timestamp,
    },
    /// Tell the service who signs, unless it knows: the route may have been set in the service's cabinet meanwhile.
    SetRoute {
        /// The service's id.
        document_id: String,
        /// Our signer.
        employee_id: String,
        /// Theirs.
        counterparty: Counterparty,
    },
    /// Look for a route of unknown outcome.
    FindRoute {
        /// The service's id.
        document_id: String,
    },
    /// Have the content to sign made, and fetch it.
    PrepareContent {
        /// The service's id.
        document_id: String,
        /// Our signer.
        employee_id: String,
        /// What we sent: it must be inside.
        original: FileDigest,
    },
    /// Tell the signer, with the link.
    TellSigner {
        /// The portal's user.
        user_id: u64,
        /// What; [`LINK`] stands for the link.
        text: String,
        /// The idempotency key of the notice.
        tag: String,
        /// Name of the signer, to whom the link is bound.
        signer: String,
        /// The unit that the link is for.
        unit: ContentUnit,
    },
    /// Upload the signature.
    SendSignature {
        /// The CMS.
        cms: SpoolFile,
    },
    /// Save it: the document goes to the counterparty.
    SaveSignature {
        /// The service's id.
        document_id: String,
        /// Our signer.
        employee_id: String,
        /// The uploaded signature.
        blob_id: String,
        /// The unit's.
        ticket: Ticket,
    },
    /// Ask the status.
    ReadStatus {
        /// The service's id.
        document_id: String,
    },
    /// Fetch the print form.
    FetchPrintForm {
        /// The service's id.
        document_id: String,
    },
    /// Fetch the archive of original and signatures.
    FetchArchive {
        /// The service's id.
        document_id: String,
    },
    /// Create, sign and send the document in one call. Nothing over there finds it if the answer is lost.
    SendSigned(SignedOrder),
    /// Ask what became of that call.
    ReadProcess {
        /// The key that it answered.
        key: String,
    },
}

/// Stands for the link in the text of a notice: links are made where the key is.
pub const LINK: &str = "{link}";

/// A draft to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftOrder {
    /// The uploaded file.
    pub blob_id: String,
    /// Unique.
    pub number: String,
    /// For people.
    pub name: String,
    /// Its date.
    pub dated: Timestamp,
    /// The service's group of documents.
    pub group: String,
}

/// A document to send with its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedOrder {
    /// The file.
    pub file: SourceFile,
    /// The signature over its bytes.
    pub cms: SpoolFile,
    /// Unique.
    pub number: String,
    /// For people.
    pub name: String,
    /// The service's group of documents.
    pub group: String,
    /// Our signer.
    pub employee_id: String,
    /// Theirs.
    pub counterparty: Counterparty,
}

/// What became of a document that was sent whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Process {
    /// Nothing is known yet.
    Running,
    /// It is a document now.
    Document {
        /// The service's id.
        document_id: String,
    },
    /// The service says that nothing comes of it.
    Failed,
}

/// What a status of the service amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnStatus {
    /// A draft: our signature is not saved.
    NotSent,
    /// It is with the counterparty.
    InWork,
    /// Everybody has signed.
    Signed,
    /// A participant refused; with the reason, if the service tells it.
    Refused(Option<String>),
    /// It was withdrawn in the service's cabinet.
    Withdrawn,
    /// A name whose meaning nobody knows.
    Unclear,
}

/// Whether the content to sign holds what we sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// It does, byte for byte.
    Original,
    /// It does not.
    SomethingElse,
    /// Its form is not known to us: nothing is claimed.
    Unreadable,
}

/// Successful answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnAnswer {
    /// The file is uploaded.
    BlobStored {
        /// The service's id of it.
        blob_id: String,
    },
    /// The draft exists: it was created, or the look found it.
    DraftMade {
        /// The service's id.
        document_id: String,
        /// Its status word.
        raw_status: String,
    },
    /// The look found no draft.
    DraftNotFound,
    /// The route stands: it was set, or the look found it.
    RouteSet,
    /// The look found no route.
    RouteNotFound,
    /// The content to sign is in our spool.
    ContentReady {
        /// It.
        content: SpoolFile,
        /// Its ticket.
        ticket: Ticket,
        /// When the service forgets it.
        expires_at: Timestamp,
        /// Whether our file is inside.
        holds: Holds,
    },
    /// The signer was told.
    SignerTold,
    /// The signature is uploaded.
    SignatureStored {
        /// The service's id of it.
        blob_id: String,
    },
    /// The signature is saved.
    SignatureSaved,
    /// The status was read.
    StatusRead {
        /// What it amounts to.
        status: OwnStatus,
        /// The service's word.
        raw_status: String,
    },
    /// The print form is in our spool; none = the service has none.
    PrintForm(Option<SpoolFile>),
    /// The archive is in our spool; none = the service has none.
    Archive(Option<SpoolFile>),
    /// The service has taken the document with its signature.
    Sent {
        /// The key of the process that makes the document over there.
        process: String,
    },
    /// The process was asked.
    ProcessRead(Process),
}

/// Facts from people and from the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnEvent {
    /// A signature was given and passed our checks.
    SignatureGiven {
        /// The unit that it was made over.
        unit: u32,
        /// The CMS, in our spool.
        cms: SpoolFile,
        /// The certificate's subject.
        signer: String,
        /// What was checked and what was not.
        checks: Text,
    },
    /// The signer wants a new link.
    LinkAsked,
    /// The operator wants a link to hand on: the history keeps who asked, never the link.
    LinkGiven {
        /// Who, as they say.
        asked_by: String,
    },
    /// The service says that something changed: its status must be read.
    StatusHint,
    /// The content to sign is being made together with that of others, which may take long.
    MadeTogether {
        /// How many others.
        others: u32,
    },
}

impl OwnEvent {
    /// Stable name for metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SignatureGiven { .. } => "signature_given",
            Self::LinkAsked => "link_asked",
            Self::LinkGiven { .. } => "link_given",
            Self::StatusHint => "status_hint",
            Self::MadeTogether { .. } => "made_together",
        }
    }
}

impl OwnEffect {
    /// Stable name for metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::UploadBlob { .. } => "upload_blob",
            Self::CreateDraft(_) => "create_draft",
            Self::FindDraft { .. } => "find_draft",
            Self::SetRoute { .. } => "set_route",
            Self::FindRoute { .. } => "find_route",
            Self::PrepareContent { .. } => "prepare_content",
            Self::TellSigner { .. } => "tell_signer",
            Self::SendSignature { .. } => "send_signature",
            Self::SaveSignature { .. } => "save_signature",
            Self::ReadStatus { .. } => "read_own_status",
            Self::FetchPrintForm { .. } => "fetch_print_form",
            Self::FetchArchive { .. } => "fetch_archive",
            Self::SendSigned(_) => "send_signed",
            Self::ReadProcess { .. } => "read_process",
        }
    }

    /// Whether the signing service is asked (else the portal).
    pub fn is_for_signing_service(&self) -> bool {
        !matches!(self, Self::TellSigner { .. })
    }
}
