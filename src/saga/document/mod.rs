//! The life of one document: from a trigger to the signed copy in the folder of origin.
//!
//! ```text
//! ReadItem ──▶ FetchSource ──▶ Create ──────▶ AwaitSignature ──▶ FetchSigned ──▶ ScanFolder ──▶ Upload ──▶ Comment ──▶ Notify ──▶ Delivered
//!    │             │            │   ▲             │  (refused)                                    │  ▲         │  ▲         │
//!    └─▶ Ignored ◀─┘            ▼   │             └──────────────────────────────▶ Comment        ▼  │         ▼  │         └────▶ Refused
//!                             FindDocument                                                     FindUpload   FindComment
//! FindUpload ──▶ ScanFolder where the name turns out to be taken by somebody else's file
//! any live step ──▶ Parked (dead letter) ──▶ back by a person, or by a late callback;  any ──▶ Cancelled by a person
//! ```

pub mod effect;
pub mod event;
pub mod files;
pub mod invariant;
pub mod own_signature;
pub mod rule;
pub mod stage;
pub mod state;
pub mod transition;
pub mod words;

#[cfg(test)]
mod tests;

pub use effect::{Effect, NamedFile, RobotReply, RobotStatus};
pub use event::{
    Announcement, Answer, CallbackStatus, Event, Mend, OperatorAction, RobotHeard, StageKept, WantedFile,
};
pub use files::{DeliveredFile, SourceFile};
pub use own_signature::{OwnAnswer, OwnEffect, OwnEvent, OwnSignature, OwnSigner, OwnStatus};
pub use rule::{Rule, SourceFacts};
pub use state::{
    Claim, CommentFile, DeadLetter, Delivery, DocumentSaga, DriveCopy, Ending, EventToken, HistoryEntry,
    ItemPick, Occasion, Outcome, RobotOrder, RobotWait, Source, Step, Timer, TimerKind, Work,
};
pub use transition::{
    Context, IllegalEvent, Next, Policy, RobotWishes, Spawn, begin, begin_for_robot, transition,
};
