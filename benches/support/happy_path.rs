//! The life of a document on which nothing goes wrong, from trigger to delivery, as the pure core sees it.

use edobridge::commands::wiring;
use edobridge::config::Config;
use edobridge::domain::{CrmItem, FileDigest, PortalId, SagaId, SpoolFile, Timestamp};
use edobridge::saga::document::{
    Answer, CallbackStatus, Context, DeliveredFile, Delivery, DocumentSaga, Event, Next, Occasion, Policy,
    Source, SourceFacts, Step, Work, begin, transition,
};
use edobridge::store::{Commit, SpoolError, Store, Stored};
use std::io;
use tokio::io::AsyncWriteExt as _;

/// Some moment of 2026.
pub const NOW: Timestamp = Timestamp(1_790_000_000_000);

const FOLDER: u64 = 88;

/// What decisions depend on: the defaults of the configuration.
pub fn policy() -> Policy {
    wiring::policy(&Config::defaults())
}

/// The files that a document works with.
#[derive(Debug, Clone, Copy)]
pub struct Files {
    /// The original.
    pub source: SpoolFile,
    /// The signed copy.
    pub signed: SpoolFile,
}

impl Files {
    /// Files that exist nowhere: for what never looks at them.
    pub fn imagined() -> Self {
        let file = |byte| SpoolFile { digest: FileDigest([byte; 32]), size_bytes: 180_000 };
        Self { source: file(1), signed: file(2) }
    }
}

/// Files that lie in the spool of `store`, small ones: what is measured are records.
///
/// # Errors
/// The spool takes nothing.
pub async fn spooled(store: &Store) -> io::Result<Files> {
    Ok(Files {
        source: put(store, b"%PDF-1.4 the original").await?,
        signed: put(store, b"%PDF-1.4 the signed copy").await?,
    })
}

async fn put(store: &Store, bytes: &[u8]) -> io::Result<SpoolFile> {
    let refused = |error: SpoolError| io::Error::other(error);
    let mut file = store.spool().create().await.map_err(refused)?;
    file.write_all(bytes).await?;
    file.finish().await.map_err(refused)
}

/// What the saga's actor would commit.
pub fn commit_of(previous: Option<Stored>, next: Next) -> Commit {
    let revision = previous.as_ref().map_or(0, |stored| stored.saga.revision) + 1;
    let saga = DocumentSaga { revision, ..next.saga };
    Commit {
        history: next.history,
        claims: next.claims,
        release: next.release,
        ..Commit::new(previous, saga)
    }
}

/// The portal of every document here.
pub fn portal() -> PortalId {
    PortalId("main".to_owned())
}

/// The `number`-th document, just triggered at `now`.
pub fn first(number: u64, now: Timestamp, policy: &Policy) -> Next {
    let id = saga_id(number, now);
    let source = Source::DriveFile { file_id: number };
    begin(id, &portal(), source, None, context(now, policy)).expect("a source has what its first step needs")
}

/// What comes after `saga`; none when it is finished.
pub fn next(saga: &DocumentSaga, files: Files, now: Timestamp, policy: &Policy) -> Option<Next> {
    let event = next_event(saga, files)?;
    Some(transition(saga, &event, context(now, policy)).expect("the event fits the step"))
}

/// The id of the `number`-th document, if it was triggered at `now`.
pub fn saga_id(number: u64, now: Timestamp) -> SagaId {
    let millis = u128::from(now.0.unsigned_abs()) & 0xffff_ffff_ffff;
    // the low half scatters as random bits would
    let low = u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63);
    SagaId::from_u128(millis << 80 | 0x7 << 76 | low)
}

fn context(now: Timestamp, policy: &Policy) -> Context<'_> {
    Context { now, policy, chance: 7 }
}

fn next_event(saga: &DocumentSaga, files: Files) -> Option<Event> {
    let answer = match saga.step {
        Step::FetchSource => fetched(saga, files.source),
        Step::Create => Answer::Created { document_id: document_id(saga), raw_status: "created".to_owned() },
        Step::AwaitSignature => return Some(signed(saga)),
        Step::FetchSigned => Answer::SignedFetched { bytes: files.signed },
        Step::ScanFolder => Answer::FolderScanned { highest_id: 9_000, free_name: copy_name(saga) },
        Step::Upload => Answer::Uploaded { file: delivered(saga) },
        Step::Comment => Answer::Commented { comment_id: 77 },
        Step::Notify => Answer::Notified,
        Step::ReadItem
        | Step::AwaitPdf
        | Step::ScanField
        | Step::AttachField
        | Step::FindFieldFile
        | Step::MoveStage
        | Step::AnswerRobot
        | Step::FindDocument
        | Step::FindUpload
        | Step::FindComment
        | Step::UploadBlob
        | Step::CreateDraft
        | Step::FindDraft
        | Step::SetRoute
        | Step::FindRoute
        | Step::SendSigned
        | Step::FindSent
        | Step::AwaitProcess
        | Step::PrepareContent
        | Step::TellSigner
        | Step::AwaitSigner
        | Step::SendSignature
        | Step::SaveSignature
        | Step::FindSave
        | Step::FetchArchive
        | Step::Delivered
        | Step::Refused
        | Step::Ignored
        | Step::Cancelled
        | Step::Parked => return None,
    };
    match saga.work {
        Work::InFlight { token, .. } => Some(Event::Answered { token, answer }),
        Work::Idle => None,
    }
}

fn document_id(saga: &DocumentSaga) -> String {
    format!("doc-{:032x}", saga.id.as_u128())
}

fn signed(saga: &DocumentSaga) -> Event {
    Event::CallbackArrived {
        document_id: document_id(saga),
        external_id: Some(saga.external_id.clone()),
        status: CallbackStatus::Signed,
        raw_status: "signed".to_owned(),
    }
}

fn fetched(saga: &DocumentSaga, bytes: SpoolFile) -> Answer {
    Answer::SourceFetched {
        facts: SourceFacts {
            name: format!("Договор поставки № {}.pdf", saga.id.short()),
            folder_id: Some(FOLDER),
            size_bytes: Some(bytes.size_bytes),
            version: Some(1),
            created_by: Some(1),
        },
        bytes,
        delivery: Delivery {
            rule: "contracts".to_owned(),
            route_id: "route-1".to_owned(),
            folder_id: None,
            suffix: "_signed".to_owned(),
            comment: true,
            notify: vec![1],
            notify_on: vec![Occasion::Signed, Occasion::Refused, Occasion::Reminder],
            ..Delivery::default()
        },
        crm_item: Some(CrmItem { entity_type_id: 2, id: 501 }),
    }
}

fn copy_name(saga: &DocumentSaga) -> String {
    format!("Договор поставки № {}_signed.pdf", saga.id.short())
}

fn delivered(saga: &DocumentSaga) -> DeliveredFile {
    DeliveredFile { file_id: 9_001, name: copy_name(saga), folder_id: FOLDER }
}
