//! Facts that happened, in the past tense. Every effect comes back as one of them, failure included.

use super::own_signature::{OwnAnswer, OwnEvent};
use super::rule::SourceFacts;
use super::state::{Claim, DeliveredFile, Delivery, RobotOrder, TimerKind};
use crate::domain::{AttemptToken, CrmItem, Failure, SagaId, SpoolFile, Text};

/// What a callback or a status query of the signing service says, normalised by its adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallbackStatus {
    /// Terminal: the whole route is passed and signed.
    Signed,
    /// Terminal: a participant refused.
    Refused,
    /// Anything else: goes to the history, changes nothing.
    Other,
}

/// A fact for a document's saga.
#[allow(
    clippy::large_enum_variant,
    reason = "made once per transition and handed on at once, never kept in number"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The same trigger arrived again.
    TriggeredAgain,
    /// An authentic notice of the signing service.
    CallbackArrived {
        /// The service's id of the document.
        document_id: String,
        /// Our id, if the notice carries one.
        external_id: Option<String>,
        /// What it says.
        status: CallbackStatus,
        /// The service's own word for it.
        raw_status: String,
    },
    /// The one timer fired.
    TimerFired {
        /// Which meaning it had when it was set; another one now means that the news is stale.
        kind: TimerKind,
    },
    /// An attempt answered.
    Answered {
        /// The attempt.
        token: AttemptToken,
        /// The answer.
        answer: Answer,
    },
    /// An attempt failed.
    Failed {
        /// The attempt.
        token: AttemptToken,
        /// How.
        failure: Failure,
    },
    /// The process that ran an attempt is gone; nobody knows whether it had its effect.
    AttemptLost {
        /// The attempt.
        token: AttemptToken,
    },
    /// An attempt takes longer than its lease, but its process is alive and still works on it.
    StillRunning {
        /// The attempt.
        token: AttemptToken,
    },
    /// A name that this saga wanted belongs to another one.
    ClaimTaken {
        /// The name.
        claim: Claim,
        /// Its owner.
        by: SagaId,
    },
    /// Handling this saga has panicked repeatedly.
    Panicked {
        /// What the panic said.
        text: String,
    },
    /// A person decided.
    Operator(OperatorAction),
    /// A robot of a workflow wants the same document.
    RobotAsked {
        /// Whom to answer.
        order: RobotOrder,
    },
    /// A fact about our own signature.
    Own(OwnEvent),
    /// The store was made from a backup: what was told meanwhile may have been told to nobody.
    Restored,
}

impl Event {
    /// Stable name for metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TriggeredAgain => "triggered_again",
            Self::CallbackArrived { .. } => "callback_arrived",
            Self::TimerFired { .. } => "timer_fired",
            Self::Answered { .. } => "answered",
            Self::Failed { .. } => "failed",
            Self::AttemptLost { .. } => "attempt_lost",
            Self::StillRunning { .. } => "still_running",
            Self::ClaimTaken { .. } => "claim_taken",
            Self::Panicked { .. } => "panicked",
            Self::Operator(_) => "operator",
            Self::RobotAsked { .. } => "robot_asked",
            Self::Own(event) => event.name(),
            Self::Restored => "restored",
        }
    }
}

/// What a person may order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorAction {
    /// Go on with the step that failed, after mending what was wrong.
    Retry(Mend),
    /// Create the document again although the first create may have worked.
    SendAgain,
    /// The document exists at the signing service under this id.
    Bind {
        /// The service's id.
        document_id: String,
    },
    /// Stop working on it.
    Cancel {
        /// Why, for the history.
        reason: String,
    },
}

/// What a person mended before a retry. Empty = nothing in the saga, something outside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mend {
    /// Deliver into this folder instead.
    pub folder_id: Option<u64>,
    /// Send along this route instead.
    pub route_id: Option<String>,
    /// Tell these people instead.
    pub notify: Option<Vec<u64>>,
    /// Go on without these.
    pub skip: Vec<Announcement>,
}

/// What a document can do without when it cannot be had: the signed file is in its place all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announcement {
    /// The comment in the timeline of the CRM item.
    Comment,
    /// Notices to people, reminders included.
    Notices,
    /// The file field of the CRM item.
    Field,
    /// The item's move to another stage.
    Stage,
    /// Answers to the workflows that wait.
    Robot,
}

impl Announcement {
    /// All of them. Names of orders: append-only.
    pub const ALL: [Self; 5] = [Self::Comment, Self::Notices, Self::Field, Self::Stage, Self::Robot];

    /// Stable name, for orders.
    pub fn name(self) -> &'static str {
        match self {
            Self::Comment => "comment",
            Self::Notices => "notices",
            Self::Field => "field",
            Self::Stage => "stage",
            Self::Robot => "robot",
        }
    }
    /// The inverse of [`Announcement::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.name() == name)
    }
}

/// A file field's file that a rule wants signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedFile {
    /// The field.
    pub field: String,
    /// The file's id in it.
    pub file_id: u64,
}

/// A successful answer to an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The CRM item was read and a rule wants files of it.
    ItemWanted {
        /// The item.
        item: CrmItem,
        /// The files, at least one.
        files: Vec<WantedFile>,
        /// How to handle them.
        delivery: Delivery,
    },
    /// The source was looked at and is nothing for us.
    NotWanted {
        /// Stable code: `no_rule`, `own_copy`, `gone`.
        code: String,
        /// In words.
        reason: Text,
    },
    /// The source file was fetched into the spool.
    SourceFetched {
        /// Its facts.
        facts: SourceFacts,
        /// Its bytes.
        bytes: SpoolFile,
        /// How to handle it.
        delivery: Delivery,
        /// The CRM item it belongs to, if a rule names one.
        crm_item: Option<CrmItem>,
    },
    /// The document exists at the signing service.
    Created {
        /// The service's id.
        document_id: String,
        /// The service's status word.
        raw_status: String,
    },
    /// The search for a document of unknown outcome found it.
    DocumentFound {
        /// The service's id.
        document_id: String,
        /// What its status amounts to.
        status: CallbackStatus,
        /// The service's status word.
        raw_status: String,
    },
    /// The search found nothing.
    DocumentNotFound,
    /// The status was read.
    StatusRead {
        /// What it amounts to.
        status: CallbackStatus,
        /// The service's word.
        raw_status: String,
    },
    /// The signed file was fetched into the spool.
    SignedFetched {
        /// Its bytes.
        bytes: SpoolFile,
    },
    /// The folder was read.
    FolderScanned {
        /// The highest file id in it (0 = empty).
        highest_id: u64,
        /// A name that is free there.
        free_name: String,
    },
    /// The signed copy is in the folder.
    Uploaded {
        /// Where.
        file: DeliveredFile,
    },
    /// The look into the folder found our copy.
    UploadFound {
        /// Where.
        file: DeliveredFile,
    },
    /// The look into the folder found nothing of ours.
    UploadNotFound,
    /// The comment stands in the timeline.
    Commented {
        /// Its id.
        comment_id: u64,
    },
    /// The look into the timeline found nothing with our mark.
    CommentNotFound,
    /// A person was told.
    Notified,
    /// A generated document of the item was picked, and is wanted.
    DocumentPicked {
        /// The generator's id of it.
        document_id: u64,
        /// How to handle it.
        delivery: Delivery,
    },
    /// The portal has not made the PDF of the generated document yet.
    PdfPending,
    /// The file field was read.
    FieldScanned {
        /// The ids of the files in it.
        file_ids: Vec<u64>,
    },
    /// The signed file is in the file field.
    FieldAttached {
        /// Its id there.
        file_id: u64,
    },
    /// The look into the file field found our file.
    FieldFileFound {
        /// Its id there.
        file_id: u64,
    },
    /// The look into the file field found nothing of ours.
    FieldFileNotFound,
    /// The item stands in the wanted stage.
    StageMoved {
        /// The stage before; the same as the wanted one if it stood there already.
        from: String,
    },
    /// The item was left where it stands.
    StageKept {
        /// Where it stands.
        stage: String,
        /// Why.
        why: StageKept,
    },
    /// The workflow has our answer, or wants none any more.
    RobotAnswered {
        /// Which of the two.
        heard: RobotHeard,
    },
    /// An answer to an order about our own signature.
    Own(OwnAnswer),
}

/// Why an item was not moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageKept {
    /// It stands in a stage that we may not move it out of: a person has moved it.
    MovedByOthers,
    /// The wanted stage comes before the one in which it stands.
    Backwards,
    /// It is in another funnel, where the wanted stage does not exist.
    OtherFunnel,
}

/// Whether a workflow took our answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RobotHeard {
    /// It did.
    Yes,
    /// The token is used or the workflow has ended: nobody waits there.
    TooLate,
}
