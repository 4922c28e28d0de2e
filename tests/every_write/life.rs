//! The life of a document through the store, deed by deed, and what is true after each: by a model that shares
//! nothing with the store but its types.

use bytes::Bytes;
use edobridge::domain::{
    AttemptToken, CrmItem, FileDigest, PortalId, SagaId, SpoolFile, Text, Timestamp, portal::PortalState,
};
use edobridge::saga::document::state::SourceFile;
use edobridge::saga::document::{
    Claim, Delivery, DocumentSaga, HistoryEntry, Outcome, Source, Step, Timer, TimerKind, Work,
};
use edobridge::store::{
    BackupError, Commit, CommitError, Cursor, Fate, NewNotice, Notice, NoticeKind, SpoolError, Store,
    StoreError, StoreOptions,
};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// The store's directory below the root of the file layer; nothing of it is there at the beginning.
pub fn store_dir(root: &Path) -> PathBuf {
    root.join("data/store")
}

/// A backup of the life below the root.
pub fn backup_path(root: &Path, name: &str) -> PathBuf {
    root.join(format!("{name}.backup"))
}

const SNAPSHOT_EVERY_BYTES: u64 = 8 << 10;
/// How often a snapshot that is due is waited for: under faults it may not come at all.
const SNAPSHOT_LOOKS: usize = 400;
const SNAPSHOT_PAUSE: Duration = Duration::from_millis(5);

/// So small that a short life fills segments and takes checkpoints and snapshots.
pub fn options(dir: PathBuf) -> StoreOptions {
    let mut options = StoreOptions::new(dir);
    options.segment_bytes = StoreOptions::SEGMENT_BYTES_MIN;
    options.checkpoint_every_bytes = 8 << 10;
    options.snapshot_every_bytes = SNAPSHOT_EVERY_BYTES;
    options.min_free_bytes = 0;
    options.view_cache_bytes = 1 << 20;
    options
}

/// One thing that is asked of the store. Its answer is an acknowledgement.
#[derive(Debug, Clone, Copy)]
pub enum Deed {
    /// Notices come, and perhaps a poll's cursor moves with them.
    Accept { labels: &'static [&'static str], cursor: Option<u64> },
    /// Of a notice nothing is to be made.
    Settle(&'static str),
    /// A notice came too early.
    Park { label: &'static str, lookup: &'static str },
    /// A document begins, with the notice that caused it.
    Begin { saga: u128, from: &'static str },
    /// A document makes a step; perhaps a file is kept for it, or it learns its name at the signing service.
    Move { saga: u128, to: Step, file: Option<&'static str>, provider: Option<&'static str> },
    /// Something is remembered of the portal.
    Portal(u64),
    /// Finished documents are forgotten.
    Forget,
    /// A backup is made while running.
    Backup(&'static str),
    /// The view is brought up to date, with a checkpoint and a snapshot if they are due.
    Tidy,
}

/// From an opening of the store to its end.
pub struct Session {
    pub boot: &'static str,
    pub deeds: Vec<Deed>,
    pub end: End,
}

/// How a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Closed,
    /// As if the process had died.
    Dropped,
}

fn accept(labels: &'static [&'static str]) -> Deed {
    Deed::Accept { labels, cursor: None }
}

fn step(saga: u128, to: Step) -> Deed {
    Deed::Move { saga, to, file: None, provider: None }
}

/// A first start, work, an end in order; a second start, work, a death; a start after the machine's restart.
pub fn whole() -> Vec<Session> {
    use Deed::{Backup, Begin, Forget, Move, Park, Portal, Settle, Tidy};
    let first = vec![
        accept(&["event-1"]),
        Begin { saga: 1, from: "event-1" },
        Deed::Accept { labels: &["event-2", "event-3"], cursor: Some(9) },
        Portal(7),
        Move { saga: 1, to: Step::Create, file: Some("contract"), provider: None },
        accept(&["callback-early"]),
        Park { label: "callback-early", lookup: "provider-1" },
        Tidy,
        Move { saga: 1, to: Step::AwaitSignature, file: None, provider: Some("provider-1") },
        accept(&["large-1", "large-2"]),
        Settle("large-1"),
        Tidy,
        Backup("first"),
    ];
    let second = vec![
        Begin { saga: 2, from: "event-2" },
        Settle("large-2"),
        accept(&["large-3", "large-4"]),
        step(1, Step::FetchSigned),
        Move { saga: 1, to: Step::Upload, file: Some("signed"), provider: None },
        Tidy,
        Settle("callback-early"),
        step(2, Step::Parked),
        step(1, Step::Delivered),
        Settle("large-3"),
    ];
    let third = vec![
        Begin { saga: 3, from: "event-3" },
        Portal(8),
        Forget,
        Deed::Accept { labels: &["event-4"], cursor: Some(10) },
        Backup("second"),
        Move { saga: 3, to: Step::Create, file: Some("another"), provider: None },
    ];
    vec![
        Session { boot: "boot-1", deeds: first, end: End::Closed },
        Session { boot: "boot-1", deeds: second, end: End::Dropped },
        Session { boot: "boot-2", deeds: third, end: End::Closed },
    ]
}

/// A short one with every kind of write, for faults that are swept in many processes.
pub fn short() -> Vec<Session> {
    use Deed::{Backup, Begin, Move, Park, Portal, Settle, Tidy};
    let first = vec![
        accept(&["event-1", "callback-early", "large-1"]),
        Begin { saga: 1, from: "event-1" },
        Move { saga: 1, to: Step::Create, file: Some("contract"), provider: None },
        Park { label: "callback-early", lookup: "provider-1" },
        Tidy,
        Move { saga: 1, to: Step::AwaitSignature, file: None, provider: Some("provider-1") },
        accept(&["large-2", "large-3"]),
        Settle("large-1"),
        Tidy,
        Backup("first"),
        Portal(7),
    ];
    let second = vec![step(1, Step::Upload), Settle("callback-early"), step(1, Step::Delivered), Tidy];
    vec![
        Session { boot: "boot-1", deeds: first, end: End::Dropped },
        Session { boot: "boot-2", deeds: second, end: End::Closed },
    ]
}

/// All deeds of a life, in order.
pub fn deeds(life: &[Session]) -> Vec<Deed> {
    life.iter().flat_map(|session| session.deeds.iter().copied()).collect()
}

// --- what the deeds are made of ----------------------------------------------------------------------------------

fn portal() -> PortalId {
    PortalId("main".into())
}

/// The notice of a label; those called large need more than one page of the disk.
fn body(label: &str) -> String {
    if label.starts_with("large") { format!("{label} {}", label.repeat(900)) } else { label.to_owned() }
}

fn notice(label: &str) -> NewNotice {
    NewNotice {
        kind: NoticeKind::BitrixEvent,
        portal: Some(portal()),
        received_at: Timestamp(1),
        content_type: "application/x-www-form-urlencoded".into(),
        body: Bytes::from(body(label)),
    }
}

fn file_bytes(name: &str) -> Vec<u8> {
    format!("%PDF {name} ").repeat(900).into_bytes()
}

fn digest(bytes: &[u8]) -> FileDigest {
    FileDigest(Sha256::digest(bytes).into())
}

fn cursor(last_id: u64) -> Cursor {
    Cursor { last_id, baseline: 3, at: Timestamp(7) }
}

fn portal_state(bucket_milli: u64) -> PortalState {
    PortalState { bucket_milli, ..PortalState::default() }
}

fn source_claim(saga: u128) -> Claim {
    Claim::Source(format!("main:{saga}"))
}

fn external_claim(saga: u128) -> Claim {
    Claim::External(format!("doc-{saga}"))
}

fn line(step: Step) -> HistoryEntry {
    HistoryEntry {
        at: Timestamp(5),
        step,
        what: format!("{step:?}"),
        text: Text::new(format!("событие {step:?}"), format!("event {step:?}")),
    }
}

/// The record of a document that has just begun.
fn newborn(number: u128) -> DocumentSaga {
    DocumentSaga {
        id: SagaId::from_u128(number),
        revision: 0,
        created_at: Timestamp(100),
        updated_at: Timestamp(100),
        step_since: Timestamp(100),
        step: Step::FetchSource,
        work: Work::Idle,
        timer: Some(Timer { due: Timestamp(1_000 + number as i64), kind: TimerKind::Start }),
        last_token: 0,
        tries: 0,
        rounds: 0,
        looks: 0,
        portal: portal(),
        source: Source::DriveFile { file_id: number as u64 },
        read_again: 0,
        delivery: Delivery::default(),
        crm_item: Some(CrmItem { entity_type_id: 2, id: 7 }),
        file: None,
        external_id: format!("doc-{number}"),
        provider_document: None,
        outcome: Outcome::Open,
        provider_status: None,
        waiting: None,
        signed: None,
        folder_baseline: None,
        upload_name: None,
        delivered: None,
        comment_id: None,
        notified: 0,
        dead_letter: None,
        last_failure: None,
        field_baseline: None,
        field_file: None,
        robots: Vec::new(),
        ending: None,
        own: None,
    }
}

/// The record after one more step.
fn moved(mut saga: DocumentSaga, to: Step, file: Option<&str>, provider: Option<&str>) -> DocumentSaga {
    saga.revision += 1;
    saga.step = to;
    saga.step_since = Timestamp(100 + 10 * saga.revision as i64);
    saga.updated_at = saga.step_since;
    saga.timer = to
        .is_live()
        .then_some(Timer { due: Timestamp(2_000 + 10 * saga.revision as i64), kind: TimerKind::Wait });
    saga.work = match to {
        Step::Create | Step::Upload => {
            Work::InFlight { token: AttemptToken(saga.revision), since: saga.step_since }
        }
        _ => Work::Idle,
    };
    if let Some(name) = file {
        let bytes = file_bytes(name);
        let bytes = SpoolFile { digest: digest(&bytes), size_bytes: bytes.len() as u64 };
        saga.file = Some(SourceFile { name: format!("{name}.pdf"), folder_id: None, version: None, bytes });
    }
    if let Some(provider) = provider {
        saga.provider_document = Some(provider.to_owned());
    }
    saga
}

// --- the model -------------------------------------------------------------------------------------------------

/// What must be true after some deeds.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pending: Vec<&'static str>,
    parked: Vec<(&'static str, &'static str)>,
    cursor: Option<u64>,
    portal: Option<u64>,
    sagas: BTreeMap<u128, (DocumentSaga, Vec<String>)>,
    claims: BTreeMap<String, u128>,
    /// The backups that were made, each with the number of deeds before it.
    pub backups: Vec<(&'static str, usize)>,
    pub deeds: usize,
}

impl Model {
    /// What is true before the first deed, after it, and so on to the last.
    pub fn after_each(deeds: &[Deed]) -> Vec<Self> {
        let mut model = Self::default();
        let mut models = vec![model.clone()];
        for deed in deeds {
            model.take(deed);
            models.push(model.clone());
        }
        models
    }

    fn take(&mut self, deed: &Deed) {
        match *deed {
            Deed::Accept { labels, cursor } => {
                self.pending.extend(labels);
                self.cursor = cursor.or(self.cursor);
            }
            Deed::Settle(label) => self.pending.retain(|l| *l != label),
            Deed::Park { label, lookup } => {
                self.pending.retain(|l| *l != label);
                self.parked.push((label, lookup));
            }
            Deed::Begin { saga, from } => {
                self.pending.retain(|l| *l != from);
                self.sagas.insert(saga, (newborn(saga), vec![format!("{:?}", Step::FetchSource)]));
                for claim in [source_claim(saga), external_claim(saga)] {
                    self.claims.insert(format!("{claim:?}"), saga);
                }
            }
            Deed::Move { saga, to, file, provider } => {
                let (record, history) = self.sagas.get_mut(&saga).expect("it has begun");
                *record = moved(record.clone(), to, file, provider);
                history.push(format!("{to:?}"));
                if let Some(provider) = provider {
                    self.claims.insert(format!("{:?}", Claim::ProviderDocument(provider.into())), saga);
                    let revived = self.parked.extract_if(.., |(_, lookup)| *lookup == provider);
                    self.pending.extend(revived.map(|(label, _)| label));
                }
            }
            Deed::Portal(bucket) => self.portal = Some(bucket),
            Deed::Forget => self.forget(),
            Deed::Backup(name) => self.backups.push((name, self.deeds)),
            Deed::Tidy => {}
        }
        self.deeds += 1;
    }

    fn forget(&mut self) {
        let finished = |saga: &DocumentSaga| matches!(saga.step, Step::Delivered);
        let gone: BTreeSet<u128> =
            self.sagas.iter().filter(|(_, (saga, _))| finished(saga)).map(|(number, _)| *number).collect();
        self.sagas.retain(|number, _| !gone.contains(number));
        self.claims.retain(|claim, saga| !gone.contains(saga) || claim.starts_with("Source"));
    }

    /// The same as sentences, each a fact.
    pub fn facts(&self) -> BTreeSet<String> {
        let mut facts = BTreeSet::new();
        facts.insert(format!("pending: {:?}", self.pending));
        facts.insert(format!("parked: {:?}", self.parked));
        facts.insert(format!("cursor: {:?}", self.cursor.map(cursor)));
        facts.insert(format!("portal: {:?}", self.portal.map(portal_state)));
        let mut due = Vec::new();
        let mut in_flight = Vec::new();
        for (number, (saga, history)) in &self.sagas {
            facts.insert(format!("saga {number}: {saga:?}"));
            facts.insert(format!("history of {number}: {history:?}"));
            // A record in flight has its timer beside it as well.
            due.extend(saga.timer.map(|timer| (timer.due, *number)));
            if matches!(saga.work, Work::InFlight { .. }) {
                in_flight.push(*number);
            }
            if let (Some(file), true) = (&saga.file, saga.step.is_live()) {
                facts.insert(file_fact(&file.bytes));
            }
        }
        due.sort_unstable();
        facts.insert(format!("due: {due:?}"));
        facts.insert(format!("in flight: {in_flight:?}"));
        facts.extend(self.claims.iter().map(|(claim, saga)| format!("{claim} is held by {saga}")));
        facts
    }
}

fn file_fact(file: &SpoolFile) -> String {
    format!("file {} of {} bytes", file.digest.to_hex(), file.size_bytes)
}

/// All claims that any deed of these makes.
fn claims_of(deeds: &[Deed]) -> Vec<Claim> {
    let mut claims = Vec::new();
    for deed in deeds {
        match deed {
            Deed::Begin { saga, .. } => claims.extend([source_claim(*saga), external_claim(*saga)]),
            Deed::Move { provider: Some(provider), .. } => {
                claims.push(Claim::ProviderDocument((*provider).to_owned()));
            }
            _ => {}
        }
    }
    claims
}

// --- the store -------------------------------------------------------------------------------------------------

/// A refusal of the store, in its own words for people.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub text: Text,
    pub detail: String,
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self { text: error.text(), detail: format!("{error:?}") }
    }
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Store(error) => error.into(),
            other => Self { text: Text::default(), detail: format!("{other:?}") },
        }
    }
}

impl From<SpoolError> for Refusal {
    fn from(error: SpoolError) -> Self {
        Self { text: error.text(), detail: format!("{error:?}") }
    }
}

impl From<BackupError> for Refusal {
    fn from(error: BackupError) -> Self {
        Self { text: edobridge::http::maintenance::backup_text(&error), detail: format!("{error:?}") }
    }
}

/// Asks the store for one thing. What it needs to know it reads first, so it can be repeated.
pub async fn perform(store: &Store, root: &Path, deed: Deed) -> Result<(), Refusal> {
    match deed {
        Deed::Accept { labels, cursor: last_id } => {
            let notices = labels.iter().map(|label| notice(label)).collect();
            let cursor = last_id.map(|last_id| ("folder:1".to_owned(), cursor(last_id)));
            store.accept_all(notices, cursor).await?;
        }
        Deed::Settle(label) => store.settle(find(store, label).await?.id, Fate::Done).await?,
        Deed::Park { label, lookup } => {
            let reason = Text::new("рано", "early");
            let fate = Fate::Parked { reason, lookup: Some(lookup.to_owned()) };
            store.settle(find(store, label).await?.id, fate).await?;
        }
        Deed::Begin { saga, from } => {
            let mut commit = Commit::new(None, newborn(saga));
            commit.consumed = Some(find(store, from).await?.id);
            commit.history = vec![line(Step::FetchSource)];
            commit.claims = vec![source_claim(saga), external_claim(saga)];
            store.commit(commit).await?;
        }
        Deed::Move { saga, to, file, provider } => {
            if let Some(name) = file {
                keep(store, &file_bytes(name)).await?;
            }
            let before = store.load(SagaId::from_u128(saga)).await?.expect("it has begun");
            let after = moved(before.saga.clone(), to, file, provider);
            let mut commit = Commit::new(Some(before), after);
            commit.history = vec![line(to)];
            commit.claims = provider.iter().map(|p| Claim::ProviderDocument((*p).to_owned())).collect();
            store.commit(commit).await?;
        }
        Deed::Portal(bucket) => store.put_portal(&portal(), portal_state(bucket)).await?,
        Deed::Forget => drop(store.forget_finished(Timestamp(i64::MAX), 100).await?),
        Deed::Backup(name) => match store.backup(backup_path(root, name), |_| {}).await {
            // Done before its answer was lost.
            Ok(_) | Err(BackupError::TargetExists { .. }) => {}
            Err(error) => return Err(error.into()),
        },
        Deed::Tidy => {
            let report = store.check_invariants().await?;
            assert!(report.is_clean(), "{:#?}", report.violations);
            // A snapshot that is due begins when the applier next looks for work, once a second.
            for _ in 0..SNAPSHOT_LOOKS {
                if store.health().journal_since_snapshot_bytes < SNAPSHOT_EVERY_BYTES {
                    break;
                }
                tokio::time::sleep(SNAPSHOT_PAUSE).await;
            }
        }
    }
    Ok(())
}

async fn find(store: &Store, label: &str) -> Result<Notice, Refusal> {
    let notices = store.notices(None, 1_000).await?;
    let wanted = body(label);
    let found = notices.into_iter().find(|notice| notice.body == wanted.as_bytes());
    Ok(found.unwrap_or_else(|| panic!("the notice {label} is pending")))
}

async fn keep(store: &Store, bytes: &[u8]) -> Result<(), Refusal> {
    let mut writer = store.spool().create().await?;
    let written = writer.write_all(bytes).await;
    written.map_err(|error| Refusal::from(SpoolError::Io(error)))?;
    writer.finish().await?;
    Ok(())
}

/// What is true in the store, in the sentences of [`Model::facts`].
///
/// # Errors
/// The store's own.
pub async fn facts_in(store: &Store, deeds: &[Deed]) -> Result<BTreeSet<String>, Refusal> {
    let label = |notice: &Notice| {
        let text = String::from_utf8_lossy(&notice.body).into_owned();
        let label = text.split(' ').next().unwrap_or_default().to_owned();
        if body(&label) == text { label } else { format!("{text} (not as it was sent)") }
    };
    let mut facts = BTreeSet::new();
    let pending: Vec<String> = store.notices(None, 1_000).await?.iter().map(label).collect();
    facts.insert(format!("pending: {pending:?}"));
    let parked = store.parked_notices(None, 1_000).await?;
    let parked: Vec<(String, String)> =
        parked.iter().map(|p| (label(&p.notice), p.lookup.clone().unwrap_or_default())).collect();
    facts.insert(format!("parked: {parked:?}"));
    facts.insert(format!("cursor: {:?}", store.cursor("folder:1").await?));
    facts.insert(format!("portal: {:?}", store.portal(&portal()).await?));
    let due = store.due(Timestamp(i64::MAX), 1_000).await?;
    let due: Vec<(Timestamp, u128)> = due.into_iter().map(|(at, saga)| (at, saga.as_u128())).collect();
    facts.insert(format!("due: {due:?}"));
    let in_flight: Vec<u128> = store.in_flight(None, 1_000).await?.iter().map(|s| s.as_u128()).collect();
    facts.insert(format!("in flight: {in_flight:?}"));
    let page = store.list(edobridge::store::DocumentFilter::default(), None, 1_000).await?;
    for saga in page.items {
        let number = saga.id.as_u128();
        let loaded = store.load(saga.id).await?.map(|stored| stored.saga);
        let saga = loaded.filter(|loaded| *loaded == saga).expect("what is listed can be loaded");
        facts.insert(format!("saga {number}: {saga:?}"));
        let history: Vec<String> =
            store.history(saga.id, 1_000).await?.into_iter().map(|entry| entry.what).collect();
        facts.insert(format!("history of {number}: {history:?}"));
        if let (Some(file), true) = (&saga.file, saga.step.is_live()) {
            let bytes =
                store.spool().readable(file.bytes.digest).await.and_then(std::fs::read).unwrap_or_default();
            let found = SpoolFile { digest: digest(&bytes), size_bytes: bytes.len() as u64 };
            facts.insert(file_fact(&found));
        }
    }
    for claim in claims_of(deeds) {
        if let Some(holder) = store.claimed(&claim).await? {
            facts.insert(format!("{claim:?} is held by {}", holder.as_u128()));
        }
    }
    Ok(facts)
}
