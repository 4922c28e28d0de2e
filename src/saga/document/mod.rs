//! The life of one document: from a trigger to the signed copy in the folder of origin.
//!
//! ```text
//! ReadItem ──▶ FetchSource ──▶ Create ──────▶ AwaitSignature ──▶ FetchSigned ──▶ ScanFolder ──▶ Upload ──▶ Comment ──▶ Notify ──▶ Delivered
//!    │             │            │   ▲             │  (refused)                                    │  ▲         │  ▲         │
//!    └─▶ Ignored ◀─┘            ▼   │             └──────────────────────────────▶ Comment        ▼  │         ▼  │         └────▶ Refused
//!                             FindDocument                                                     FindUpload   FindComment
//! any live step ──▶ Parked (dead letter) ──▶ back by a person, or by a late callback;  any ──▶ Cancelled by a person
//! ```

pub mod effect;
pub mod event;
pub mod rule;
pub mod state;
pub mod transition;
pub mod words;

pub use state::{
    Claim, DeadLetter, Delivery, DocumentSaga, HistoryEntry, Outcome, Source, SourceFile, Step, Timer,
    TimerKind, Work,
};
