//! The store as its callers see it: kills, power cuts, full and failing disks, damage, backups, many at once.
#![allow(clippy::print_stdout, reason = "what was measured is shown")]

use bytes::Bytes;
use edobridge::domain::{
    AttemptToken, CrmItem, NoticeId, PortalId, SagaId, SpoolFile, Text, Timestamp, portal::PortalState,
};
use edobridge::saga::document::state::SourceFile;
use edobridge::saga::document::{
    Claim, Delivery, DocumentSaga, HistoryEntry, Outcome, Source, Step, Timer, TimerKind, Work,
};
use edobridge::store::disk::{Disk, Host};
use edobridge::store::faults::{Fault, FaultAt, FaultyDisk, Surviving};
use edobridge::store::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn variable(name: &str) -> Option<String> {
    edobridge::config::Environment::of_process().get(name).map(str::to_owned)
}

// --- what the tests are made of --------------------------------------------------------------------------------

/// A directory, a disk that can fail, and a machine that can be restarted.
struct Bench {
    dir: TempDir,
    faults: Arc<FaultyDisk>,
    boot: u32,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory for the test"), faults: Arc::default(), boot: 1 }
    }
    fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }
    fn options(&self) -> StoreOptions {
        let mut options = StoreOptions::new(self.path());
        options.segment_bytes = 256 << 10;
        options.checkpoint_every_bytes = 128 << 10;
        options.snapshot_every_bytes = 1 << 30;
        options.min_free_bytes = 1 << 20;
        options
    }
    fn host(&self) -> Host {
        Host { disk: Disk::hooked(self.faults.clone()), boot_id: Some(format!("boot-{}", self.boot)) }
    }
    fn try_open(&self, options: StoreOptions) -> Result<(Store, OpenReport), OpenError> {
        Store::open_on(options, self.host(), &mut |_| {})
    }
    fn open(&self) -> (Store, OpenReport) {
        self.try_open(self.options()).expect("the store opens")
    }
    /// The machine loses its power: what no sync has covered is gone, and the next boot is another one.
    fn cut_power(&mut self, surviving: Surviving) {
        self.faults.cut_power(surviving).expect("undone");
        self.boot += 1;
    }
}

fn id(number: u128) -> SagaId {
    SagaId::from_u128(number)
}

fn portal() -> PortalId {
    PortalId("main".into())
}

fn saga(number: u128, step: Step) -> DocumentSaga {
    let timer =
        step.is_live().then_some(Timer { due: Timestamp(1_000 + number as i64), kind: TimerKind::Start });
    DocumentSaga {
        id: id(number),
        revision: 0,
        created_at: Timestamp(100),
        updated_at: Timestamp(100),
        step_since: Timestamp(100 + number as i64),
        step,
        work: Work::Idle,
        timer,
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

/// The next record of a saga, in another step.
fn moved(before: &Stored, step: Step) -> DocumentSaga {
    let mut saga = before.saga.clone();
    saga.revision += 1;
    saga.step = step;
    saga.step_since = Timestamp(saga.step_since.0 + 10);
    saga.updated_at = saga.step_since;
    saga.timer =
        step.is_live().then_some(Timer { due: Timestamp(saga.step_since.0 + 500), kind: TimerKind::Wait });
    saga
}

fn line(what: &str) -> HistoryEntry {
    HistoryEntry {
        at: Timestamp(5),
        step: Step::FetchSource,
        what: what.into(),
        text: Text::new(format!("событие {what}"), format!("event {what}")),
    }
}

fn created(number: u128) -> Commit {
    let mut commit = Commit::new(None, saga(number, Step::FetchSource));
    commit.history = vec![line("created")];
    commit.claims = vec![Claim::Source(format!("main:{number}")), Claim::External(format!("doc-{number}"))];
    commit
}

fn notice(body: impl Into<String>) -> NewNotice {
    NewNotice {
        kind: NoticeKind::BitrixEvent,
        portal: Some(portal()),
        received_at: Timestamp(1),
        content_type: "application/x-www-form-urlencoded".into(),
        body: Bytes::from(body.into()),
    }
}

async fn make(store: &Store, number: u128) -> Stored {
    store.commit(created(number)).await.expect("created")
}

async fn keep(store: &Store, bytes: &[u8]) -> SpoolFile {
    let mut writer = store.spool().create().await.expect("begun");
    writer.write_all(bytes).await.expect("written");
    writer.finish().await.expect("kept")
}

async fn bodies(store: &Store) -> Vec<String> {
    let notices = store.notices(None, 1_000).await.expect("read");
    notices.into_iter().map(|n| String::from_utf8_lossy(&n.body).into_owned()).collect()
}

async fn assert_sound(store: &Store) {
    let report = store.check_invariants().await.expect("checked");
    assert!(report.is_clean(), "{:#?}", report.violations);
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < deadline, "it never came true: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("listed") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

fn segments(bench: &Bench) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(bench.path().join("journal")).expect("listed");
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "seg"));
    paths.sort();
    paths
}

/// Segments that hold entries: not blank.
fn used_segments(bench: &Bench) -> Vec<PathBuf> {
    let used = |path: &PathBuf| std::fs::read(path).expect("read")[..64].iter().any(|b| *b != 0);
    segments(bench).into_iter().filter(used).collect()
}

// --- the operations --------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_commit_changes_everything_that_it_says_at_once() {
    let bench = Bench::new();
    let (store, report) = bench.open();
    assert_eq!(report.view, ViewFate::Created);
    let accepted = store.accept(notice("trigger")).await.expect("accepted");
    assert!(accepted.fresh);

    let mut commit = created(1);
    commit.consumed = Some(accepted.id);
    commit.enqueue = vec![notice("child")];
    commit.saga.work = Work::InFlight { token: AttemptToken(1), since: Timestamp(9) };
    let first = store.commit(commit).await.expect("created");
    assert_eq!(store.load(id(1)).await.expect("read").map(|s| s.saga), Some(first.saga.clone()));
    assert_eq!(bodies(&store).await, ["child"]);
    assert_eq!(store.due(Timestamp(1_000), 10).await.expect("read"), []);
    assert_eq!(store.due(Timestamp(1_001), 10).await.expect("read"), [(Timestamp(1_001), id(1))]);
    assert_eq!(store.next_due().await.expect("read"), Some(Timestamp(1_001)));
    assert_eq!(store.in_flight(None, 10).await.expect("read"), [id(1)]);
    assert_eq!(store.claimed(&Claim::External("doc-1".into())).await.expect("read"), Some(id(1)));
    assert_eq!(store.counts().await.of(Step::FetchSource), 1);

    let mut second = moved(&first, Step::Parked);
    second.work = Work::Idle;
    let mut commit = Commit::new(Some(first), second);
    commit.history = vec![line("parked"), line("told")];
    commit.release = vec![Claim::External("doc-1".into())];
    store.commit(commit).await.expect("stored");
    let what: Vec<String> =
        store.history(id(1), 10).await.expect("read").into_iter().map(|h| h.what).collect();
    assert_eq!(what, ["created", "parked", "told"]);
    assert_eq!(store.history(id(1), 1).await.expect("read")[0].what, "told");
    assert_eq!(store.next_due().await.expect("read"), None);
    assert_eq!(store.in_flight(None, 10).await.expect("read"), []);
    assert_eq!(store.claimed(&Claim::External("doc-1".into())).await.expect("read"), None);
    let counts = store.counts().await;
    assert_eq!((counts.of(Step::FetchSource), counts.of(Step::Parked), counts.notices), (0, 1, 1));
    assert_eq!(counts.sagas[usize::from(Step::Parked.code())].oldest_since, Some(Timestamp(111)));
    assert_sound(&store).await;
}

#[tokio::test]
async fn an_old_record_a_used_notice_and_a_second_creation_are_stale() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let first = make(&store, 1).await;
    assert!(matches!(store.commit(created(1)).await, Err(CommitError::Stale)));
    store.commit(Commit::new(Some(first.clone()), moved(&first, Step::Create))).await.expect("stored");
    let again = store.commit(Commit::new(Some(first.clone()), moved(&first, Step::Create))).await;
    assert!(matches!(again, Err(CommitError::Stale)));

    let accepted = store.accept(notice("once")).await.expect("accepted");
    for (number, expected) in [(2, true), (3, false)] {
        let mut commit = created(number);
        commit.consumed = Some(accepted.id);
        assert_eq!(store.commit(commit).await.is_ok(), expected, "saga {number}");
    }
    assert!(store.load(id(3)).await.expect("read").is_none(), "a stale commit leaves nothing");
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_record_that_breaks_the_timer_rule_or_skips_a_revision_is_not_written() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let mut live = created(1);
    live.saga.timer = None;
    let mut finished = created(1);
    finished.saga.step = Step::Delivered;
    for commit in [live, finished] {
        assert!(matches!(store.commit(commit).await, Err(CommitError::Store(StoreError::Broken { .. }))));
    }
    let first = make(&store, 1).await;
    let mut skipped = moved(&first, Step::Create);
    skipped.revision += 1;
    let skipped = store.commit(Commit::new(Some(first), skipped)).await;
    assert!(matches!(skipped, Err(CommitError::Store(StoreError::Broken { .. }))));
}

#[tokio::test]
async fn an_exclusive_claim_has_one_holder_and_the_others_hear_who() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let echo = Claim::EchoName { portal: portal(), folder_id: 3, name: "a_signed.pdf".into() };
    let first = make(&store, 1).await;
    let mut second = created(2);
    second.claims.push(Claim::Source("main:1".into()));
    match store.commit(second).await {
        Err(CommitError::ClaimTaken { claim, by }) => {
            assert_eq!((claim, by), (Claim::Source("main:1".into()), id(1)));
        }
        other => panic!("{other:?}"),
    }
    assert!(store.load(id(2)).await.expect("read").is_none(), "a refused commit leaves nothing");
    assert_eq!(store.claimed(&Claim::External("doc-2".into())).await.expect("read"), None);

    // Its own again is fine; a claim that is not exclusive has several holders.
    let mut again = Commit::new(Some(first.clone()), moved(&first, Step::Upload));
    again.claims = vec![Claim::Source("main:1".into()), echo.clone()];
    store.commit(again).await.expect("stored");
    let mut other = created(3);
    other.claims.push(echo.clone());
    let other = store.commit(other).await.expect("stored");
    assert_eq!(store.claimed(&echo).await.expect("read"), Some(id(1)));
    let mut released = Commit::new(Some(other.clone()), moved(&other, Step::Upload));
    released.release = vec![echo.clone()];
    store.commit(released).await.expect("stored");
    assert_eq!(store.claimed(&echo).await.expect("read"), Some(id(1)), "the other holder keeps it");
    assert_sound(&store).await;
}

#[tokio::test]
async fn of_many_who_claim_the_same_at_once_one_gets_it() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let attempts = (1..=32u128).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut commit = created(number);
            commit.claims = vec![Claim::Source("main:the one".into())];
            store.commit(commit).await
        })
    });
    let mut winners = Vec::new();
    let mut losers = Vec::new();
    for attempt in attempts.collect::<Vec<_>>() {
        match attempt.await.expect("no panic") {
            Ok(stored) => winners.push(stored.saga.id),
            Err(CommitError::ClaimTaken { by, .. }) => losers.push(by),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((winners.len(), losers.len()), (1, 31));
    assert!(losers.iter().all(|by| *by == winners[0]));
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_repeated_notice_is_stored_once_until_it_is_settled() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let cursor = Cursor { last_id: 9, baseline: 3, at: Timestamp(7) };
    let accepted = store
        .accept_all(vec![notice("a"), notice("b"), notice("a")], Some(("folder:1".into(), cursor)))
        .await
        .expect("accepted");
    assert_eq!(accepted.iter().map(|a| a.fresh).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(accepted[0].id, accepted[2].id);
    assert_eq!(store.cursor("folder:1").await.expect("read"), Some(cursor));
    let again = store.accept(notice("a")).await.expect("accepted");
    assert_eq!((again.id, again.fresh), (accepted[0].id, false));
    store.settle(accepted[0].id, Fate::Done).await.expect("settled");
    store.settle(accepted[0].id, Fate::Done).await.expect("twice is fine");
    assert_eq!(bodies(&store).await, ["b"]);
    let later = store.accept(notice("a")).await.expect("accepted");
    assert!(later.fresh && later.id > accepted[1].id, "numbers never repeat");
    assert_eq!(store.counts().await.notices, 2);
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_notice_that_causes_its_own_repeat_is_not_lost() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let accepted = store.accept(notice("again")).await.expect("accepted");
    let mut commit = created(1);
    commit.consumed = Some(accepted.id);
    commit.enqueue = vec![notice("again")];
    store.commit(commit).await.expect("stored");
    assert_eq!(bodies(&store).await, ["again"]);
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_parked_notice_comes_back_when_its_document_is_claimed() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let park =
        |lookup: &str| Fate::Parked { reason: Text::new("рано", "early"), lookup: Some(lookup.into()) };
    let early = store.accept(notice("early callback")).await.expect("accepted");
    store.settle(early.id, park("provider-7")).await.expect("parked");
    assert_eq!((bodies(&store).await.len(), store.counts().await.parked_notices), (0, 1));
    assert!(
        !store.accept(notice("early callback")).await.expect("accepted").fresh,
        "still known while parked"
    );
    let parked = store.parked_notices(None, 10).await.expect("read");
    assert_eq!((parked[0].reason.en.as_str(), parked[0].lookup.as_deref()), ("early", Some("provider-7")));

    let first = make(&store, 1).await;
    let mut next = moved(&first, Step::AwaitSignature);
    next.provider_document = Some("provider-7".into());
    let mut commit = Commit::new(Some(first), next);
    commit.claims = vec![Claim::ProviderDocument("provider-7".into())];
    assert_eq!(store.commit(commit).await.expect("stored").revived(), 1);
    assert_eq!(bodies(&store).await, ["early callback"]);
    assert_eq!(store.counts().await.parked_notices, 0);
    assert_sound(&store).await;

    // Parked after the claim: it must not wait for what has been; but it does not turn for ever either.
    for round in 0..5 {
        let pending = store.notices(None, 10).await.expect("read");
        let Some(one) = pending.first() else {
            assert!((2..5).contains(&round), "parked in round {round}");
            break;
        };
        store.settle(one.id, park("provider-7")).await.expect("settled");
    }
    let parked = store.parked_notices(None, 10).await.expect("read");
    assert_eq!(parked.len(), 1);
    assert!(store.discard_parked(parked[0].notice.id).await.expect("discarded"));
    assert!(!store.discard_parked(parked[0].notice.id).await.expect("discarded"));
    assert!(store.accept(notice("early callback")).await.expect("accepted").fresh);
    assert_sound(&store).await;
}

#[tokio::test]
async fn lists_go_step_by_step_newest_first_in_pages() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    for number in 1..=7 {
        let mut commit = created(number);
        commit.saga.delivery.rule = if number % 2 == 0 { "even".into() } else { "odd".into() };
        let first = store.commit(commit).await.expect("created");
        if number > 5 {
            store
                .commit(Commit::new(Some(first.clone()), moved(&first, Step::Parked)))
                .await
                .expect("parked");
        }
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.list(DocumentFilter::default(), after, 2).await.expect("listed");
        assert!(page.items.len() <= 2);
        seen.extend(page.items.iter().map(|s| s.id.as_u128()));
        let Some(next) = page.next else { break };
        after = Some(next.to_string().parse().expect("a place reads back"));
    }
    assert_eq!(seen, [5, 4, 3, 2, 1, 7, 6]);
    let even = DocumentFilter { rule: Some("even".into()), steps: vec![Step::Parked], ..Default::default() };
    let page = store.list(even, None, 10).await.expect("listed");
    assert_eq!(page.items.iter().map(|s| s.id.as_u128()).collect::<Vec<_>>(), [6]);
    let early = DocumentFilter { updated_before: Some(Timestamp(101)), ..Default::default() };
    assert_eq!(store.list(early, None, 10).await.expect("listed").items.len(), 5);
}

#[tokio::test]
async fn a_document_that_moves_while_a_list_is_read_is_listed_once() {
    const FORWARD: [Step; 4] = [Step::FetchSource, Step::Create, Step::AwaitSignature, Step::Comment];
    let bench = Bench::new();
    let (store, _) = bench.open();
    // Others between the steps, so that reading the list takes its time.
    for number in 2..200 {
        store.commit(created(number)).await.expect("created");
    }
    let moving = tokio::spawn({
        let store = store.clone();
        async move {
            for number in 1_000..1_150 {
                let mut stored = store.commit(created(number)).await.expect("created");
                for step in FORWARD.into_iter().skip(1) {
                    let next = moved(&stored, step);
                    stored = store.commit(Commit::new(Some(stored), next)).await.expect("moved");
                }
            }
        }
    });
    let mut lists = 0;
    while !moving.is_finished() {
        let page = store.list(DocumentFilter::default(), None, 1_000).await.expect("listed");
        let ids: BTreeSet<_> = page.items.iter().map(|s| s.id).collect();
        assert_eq!(ids.len(), page.items.len(), "one of them is there twice");
        lists += 1;
    }
    moving.await.expect("all moved");
    assert!(lists > 10, "only {lists} lists were read meanwhile");
}

#[tokio::test]
async fn forgetting_leaves_only_the_claim_on_the_source() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    for (number, step) in [(1, Step::Delivered), (2, Step::Delivered), (3, Step::Create)] {
        let first = make(&store, number).await;
        store.commit(Commit::new(Some(first.clone()), moved(&first, step))).await.expect("stored");
    }
    // The second was changed too late.
    assert_eq!(store.forget_finished(Timestamp(112), 10).await.expect("forgotten"), 1);
    assert!(store.load(id(1)).await.expect("read").is_none());
    assert!(store.history(id(1), 10).await.expect("read").is_empty());
    assert_eq!(store.claimed(&Claim::External("doc-1".into())).await.expect("read"), None);
    assert_eq!(store.claimed(&Claim::Source("main:1".into())).await.expect("read"), Some(id(1)));
    let mut again = created(9);
    again.claims = vec![Claim::Source("main:1".into())];
    assert!(matches!(store.commit(again).await, Err(CommitError::ClaimTaken { .. })), "signed once, ever");
    assert_eq!(store.counts().await.of(Step::Delivered), 1);
    assert_sound(&store).await;
}

#[tokio::test]
async fn what_is_remembered_of_a_portal_reads_back() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let state = PortalState { bucket_milli: 7, moved_to: Some("https://new".into()), ..Default::default() };
    store.put_portal(&portal(), state.clone()).await.expect("stored");
    drop(store);
    let (store, _) = bench.open();
    assert_eq!(store.portal(&portal()).await.expect("read"), Some(state));
    assert_eq!(store.portal(&PortalId("other".into())).await.expect("read"), None);
}

// --- files -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_file_lives_as_long_as_an_unfinished_saga_names_it() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let bytes = keep(&store, b"a document").await;
    let missing = SpoolFile { digest: edobridge::domain::FileDigest([1; 32]), size_bytes: 1 };
    let with_file = |number, bytes| {
        let mut commit = created(number);
        commit.saga.file =
            Some(SourceFile { name: "Contract.pdf".into(), folder_id: None, version: None, bytes });
        commit
    };
    let refused = store.commit(with_file(9, missing)).await;
    assert!(matches!(refused, Err(CommitError::Store(StoreError::SpoolFileMissing { .. }))));
    let first = store.commit(with_file(1, bytes)).await.expect("created");
    let second = store.commit(with_file(2, bytes)).await.expect("created");
    store.commit(Commit::new(Some(first.clone()), moved(&first, Step::Delivered))).await.expect("finished");
    assert_sound(&store).await;
    drop(store);
    let (store, report) = bench.open();
    assert_eq!(report.spool_swept, Some(0), "the second saga still names it");
    assert_eq!(store.spool().size_of(bytes.digest).expect("kept"), bytes.size_bytes);
    store.commit(Commit::new(Some(second.clone()), moved(&second, Step::Cancelled))).await.expect("finished");
    eventually("the file is removed", async || store.spool().size_of(bytes.digest).is_err()).await;
    assert_eq!(store.spool().bytes(), 0);
    assert_sound(&store).await;
}

/// The check reads the view, in which a document may live whose end is on its way there; its files must stay meanwhile.
#[tokio::test]
async fn a_check_misses_no_file_of_documents_that_end_while_it_looks() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let ending = store.clone();
    let work = tokio::spawn(async move {
        for round in 0..40_u128 {
            // Several live at any moment, so that a check always has files to look for.
            let mut live = Vec::new();
            for number in round * 20..round * 20 + 20 {
                let bytes = keep(&ending, format!("document {number}").as_bytes()).await;
                let mut commit = created(number);
                commit.saga.file =
                    Some(SourceFile { name: "Contract.pdf".into(), folder_id: None, version: None, bytes });
                live.push(ending.commit(commit).await.expect("created"));
            }
            for saga in live {
                let commit = Commit::new(Some(saga.clone()), moved(&saga, Step::Delivered));
                ending.commit(commit).await.expect("finished");
            }
        }
    });
    while !work.is_finished() {
        assert_sound(&store).await;
    }
    work.await.expect("all documents came and went");
}

// --- the end of a process --------------------------------------------------------------------------------------

#[tokio::test]
async fn a_store_that_was_dropped_has_everything_that_was_acknowledged() {
    let bench = Bench::new();
    for round in 0..4u128 {
        let (store, report) = bench.open();
        assert_eq!(report.view, if round == 0 { ViewFate::Created } else { ViewFate::Trusted });
        assert!(round == 0 || report.replayed > 0, "the journal is read after a kill");
        for number in round * 20..round * 20 + 20 {
            make(&store, number).await;
            store.accept(notice(format!("n{number}"))).await.expect("accepted");
        }
        assert_eq!(
            store.counts().await.of(Step::FetchSource),
            u64::try_from(round * 20 + 20).expect("small")
        );
        assert_eq!(bodies(&store).await.len() as u128, round * 20 + 20);
    }
    let (store, _) = bench.open();
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_store_that_was_closed_replays_nothing() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    make(&store, 1).await;
    let other = store.clone();
    store.close().await.expect("closed");
    assert!(matches!(other.accept(notice("late")).await, Err(StoreError::Closed)));
    assert!(matches!(other.check_invariants().await, Err(StoreError::Closed)));
    let (store, report) = bench.open();
    assert_eq!((report.view, report.replayed), (ViewFate::Trusted, 0));
    assert!(store.load(id(1)).await.expect("read").is_some());
}

#[test]
fn a_second_opening_of_the_same_directory_is_refused_in_one_sentence() {
    let bench = Bench::new();
    let (_store, _) = bench.open();
    let refused = bench.try_open(bench.options()).map(drop).expect_err("refused");
    assert!(matches!(refused, OpenError::Locked { .. }));
    assert!(refused.text().ru.contains("уже открыто") && refused.text().en.contains("already open"));
}

/// The child of the next test: writes and tells until it is killed.
#[test]
fn child_that_is_killed() {
    let Some(dir) = variable("STORE_TEST_DIR") else { return };
    let mut options = StoreOptions::new(dir);
    options.segment_bytes = 256 << 10;
    options.checkpoint_every_bytes = 64 << 10;
    options.snapshot_every_bytes = 256 << 10;
    options.min_free_bytes = 0;
    let (store, _) = Store::open(options, &mut |_| {}).expect("it opens");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let begin = store.counts().await.sagas.iter().map(|c| u128::from(c.count)).sum::<u128>();
        for round in 0.. {
            let wave: Vec<u128> = (begin + round * 8..begin + round * 8 + 8).collect();
            let made = wave.iter().map(|number| store.commit(created(*number)));
            for stored in futures_util::future::join_all(made).await {
                println!("stored {}", stored.expect("stored").saga.id.as_u128());
            }
        }
    });
}

#[tokio::test]
async fn after_each_of_many_kills_everything_that_was_told_is_there() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().expect("a directory for the test");
    let path = dir.path().join("store");
    let mut told = BTreeSet::new();
    for kill in 0..8u32 {
        let mut child = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child_that_is_killed", "--nocapture"])
            .env("STORE_TEST_DIR", &path)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("started");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        for line in
            lines.map_while(Result::ok).filter(|l| l.contains("stored ")).take(40 + 61 * kill as usize)
        {
            let number = line.rsplit(' ').next().and_then(|n| n.parse::<u128>().ok()).expect("a number");
            told.insert(number);
        }
        child.kill().expect("killed");
        child.wait().expect("gone");
    }
    let mut options = StoreOptions::new(&path);
    options.segment_bytes = 256 << 10;
    options.min_free_bytes = 0;
    let (store, report) = Store::open(options, &mut |_| {}).expect("it opens");
    assert_eq!(report.view, ViewFate::Trusted);
    assert!(told.len() > 300);
    for number in told {
        assert!(
            store.load(id(number)).await.expect("read").is_some(),
            "saga {number} was acknowledged and is lost"
        );
    }
    assert_sound(&store).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_in_a_power_cut_whatever_the_disk_kept() {
    for surviving in [Surviving::None, Surviving::Some(1), Surviving::Some(77), Surviving::Some(4_242)] {
        let mut bench = Bench::new();
        let mut expected = 0;
        for _ in 0..3 {
            let (store, _) = bench.open();
            for _ in 0..40 {
                make(&store, expected).await;
                expected += 1;
            }
            // One that is on its way when the power goes: it may be there or not, but not by half.
            let doomed = tokio::spawn({
                let store = store.clone();
                async move { drop(store.accept(notice("perhaps")).await) }
            });
            drop(store);
            drop(doomed.await);
            bench.cut_power(surviving);
        }
        let (store, report) = bench.open();
        assert!(matches!(report.view, ViewFate::Rebuilt { .. }));
        assert_eq!(u128::from(store.counts().await.of(Step::FetchSource)), expected, "{surviving:?}");
        assert_sound(&store).await;
    }
}

#[tokio::test]
async fn after_a_restart_of_the_machine_the_view_is_made_anew_from_snapshot_and_journal() {
    let mut bench = Bench::new();
    let mut options = bench.options();
    options.snapshot_every_bytes = 256 << 10;
    let (store, _) = bench.try_open(options.clone()).expect("it opens");
    let snapshots = bench.path().join("snapshots");
    let large = "x".repeat(20 << 10);
    // Many enough that a snapshot takes a while, during which more is applied.
    for begin in (0..1_500).step_by(50) {
        let made = (begin..begin + 50).map(|number| make(&store, number));
        futures_util::future::join_all(made).await;
    }
    let mut number = 1_499;
    // Until two snapshots are kept and the journal's first segment is gone.
    let deadline = Instant::now() + Duration::from_secs(60);
    let first = bench.path().join("journal/00000000000000000001.seg");
    while first.exists() {
        assert!(Instant::now() < deadline, "the journal is never shortened");
        number += 1;
        make(&store, number).await;
        let accepted = store.accept(notice(format!("{number} {large}"))).await.expect("accepted");
        store.settle(accepted.id, Fate::Done).await.expect("settled");
    }
    let kept = |path: PathBuf| path.extension().is_some_and(|e| e == "snap");
    let kept =
        std::fs::read_dir(&snapshots).expect("listed").filter(|e| kept(e.as_ref().expect("an entry").path()));
    assert_eq!(kept.count(), 2);
    drop(store);
    bench.boot += 1;
    let mut told = Vec::new();
    let (store, report) = Store::open_on(options, bench.host(), &mut |p| told.push(p)).expect("it opens");
    assert!(matches!(report.view, ViewFate::Rebuilt { .. }));
    assert!(told.iter().any(|p| matches!(p, OpenProgress::LoadingSnapshot { done } if *done > 0)));
    assert_eq!(u128::from(store.counts().await.of(Step::FetchSource)), number + 1);
    assert_sound(&store).await;
    drop(store);
    let (_, report) = bench.open();
    assert_eq!(report.view, ViewFate::Trusted, "made anew once");
}

// --- damage ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_view_that_is_lost_or_damaged_is_made_anew() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("removed", |view| std::fs::remove_dir_all(view).expect("removed")),
        ("emptied", |view| {
            std::fs::write(view.join("db"), b"").expect("emptied");
        }),
        ("overwritten", |view| {
            let mut bytes = std::fs::read(view.join("db")).expect("read");
            bytes.iter_mut().for_each(|b| *b ^= 0x5A);
            std::fs::write(view.join("db"), bytes).expect("written");
        }),
        ("with a foreign configuration", |view| std::fs::write(view.join("conf"), [7; 64]).expect("written")),
    ];
    for (name, damage) in damages {
        let bench = Bench::new();
        let (store, _) = bench.open();
        for number in 0..50 {
            make(&store, number).await;
        }
        store.close().await.expect("closed");
        damage(&bench.path().join("view"));
        let (store, report) = bench.open();
        assert!(matches!(report.view, ViewFate::Rebuilt { .. }), "{name}: {report:?}");
        assert_eq!(store.counts().await.of(Step::FetchSource), 50, "{name}");
        assert_sound(&store).await;
    }
}

#[tokio::test]
async fn a_leftover_of_an_interrupted_start_is_removed() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    make(&store, 1).await;
    store.close().await.expect("closed");
    std::fs::write(bench.path().join("view/snap.00000000FFFFFFFF.generating"), b"half").expect("planted");
    let (store, report) = bench.open();
    assert_eq!((report.leftovers_removed, report.view), (1, ViewFate::Trusted));
    assert!(store.load(id(1)).await.expect("read").is_some());
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_counted() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    make(&store, 1).await;
    drop(store);
    let segment = used_segments(&bench).pop().expect("one is used");
    let mut bytes = std::fs::read(&segment).expect("read");
    let end = bytes.iter().rposition(|b| *b != 0).expect("not blank").next_multiple_of(8);
    bytes[end..end + 5].copy_from_slice(b"EBF1\x07");
    std::fs::write(&segment, bytes).expect("planted");
    let (store, report) = bench.open();
    assert_eq!(report.torn_bytes, 5);
    make(&store, 2).await;
    drop(store);
    let (store, report) = bench.open();
    assert_eq!(report.torn_bytes, 0);
    assert_eq!(store.counts().await.of(Step::FetchSource), 2);
}

#[tokio::test]
async fn a_damaged_middle_of_the_journal_stops_the_start_and_is_named() {
    let mut bench = Bench::new();
    let (store, _) = bench.open();
    for number in 0..3 {
        make(&store, number).await;
    }
    drop(store);
    bench.boot += 1;
    let segment = used_segments(&bench).pop().expect("one is used");
    let mut bytes = std::fs::read(&segment).expect("read");
    bytes[100] ^= 1;
    std::fs::write(&segment, bytes).expect("planted");
    let refused = bench.try_open(bench.options()).map(drop).expect_err("refused");
    assert!(
        matches!(&refused, OpenError::DamagedJournal { segment: s, offset: 64, .. } if *s == segment),
        "{refused}"
    );
    assert!(refused.text().en.contains("00000000000000000001.seg"));
}

#[tokio::test]
async fn lost_journal_files_are_missed() {
    let mut bench = Bench::new();
    let (store, _) = bench.open();
    for number in 0..400 {
        make(&store, number).await;
        store.accept(notice(format!("{number} {}", "y".repeat(2_000)))).await.expect("accepted");
    }
    store.close().await.expect("closed");
    let used = used_segments(&bench);
    assert!(used.len() >= 3);
    let spare = bench.dir.path().join("spare");
    copy_dir(&bench.path(), &spare);

    // The last ones: the view knows more than the journal.
    for path in used.iter().skip(1) {
        std::fs::remove_file(path).expect("removed");
    }
    let refused = bench.try_open(bench.options()).map(drop).expect_err("refused");
    assert!(matches!(&refused, OpenError::ViewAhead { segment, .. } if *segment == used[1]), "{refused}");

    // The first one, when the view cannot be believed: the journal does not reach back.
    std::fs::remove_dir_all(bench.path()).expect("removed");
    copy_dir(&spare, &bench.path());
    std::fs::remove_file(&used[0]).expect("removed");
    std::fs::write(bench.path().join("OPEN"), "another boot").expect("planted");
    bench.boot += 1;
    let refused = bench.try_open(bench.options()).map(drop).expect_err("refused");
    assert!(matches!(&refused, OpenError::MissingJournal { needed: 1, .. }), "{refused}");
}

#[tokio::test]
async fn a_store_of_a_newer_program_is_left_untouched() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    make(&store, 1).await;
    store.close().await.expect("closed");
    let path = bench.path().join("FORMAT");
    let text = std::fs::read_to_string(&path).expect("read").replace("kind 1 3\n", "kind 1 9\n");
    let body = text.rsplit_once("crc ").expect("a checksum").0.to_owned();
    std::fs::write(&path, format!("{body}crc {:08x}\n", crc32fast::hash(body.as_bytes()))).expect("planted");
    let before = std::fs::metadata(bench.path().join("journal")).expect("there").modified().expect("a time");
    let refused = bench.try_open(bench.options()).map(drop).expect_err("refused");
    assert!(matches!(&refused, OpenError::Newer { found: 9, known: 3, .. }), "{refused}");
    assert!(!bench.path().join("OPEN").exists());
    let after = std::fs::metadata(bench.path().join("journal")).expect("there").modified().expect("a time");
    assert_eq!(before, after);
}

// --- a disk that fails -----------------------------------------------------------------------------------------

#[tokio::test]
async fn on_a_nearly_full_disk_nothing_new_is_taken_and_what_was_begun_goes_on() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let first = make(&store, 1).await;
    bench.faults.set_free_bytes(Some(100));
    eventually("the disk is found to be low", async || store.health().readiness != Readiness::Ready).await;
    match store.accept(notice("new")).await {
        Err(StoreError::Unavailable { reason }) => assert!(reason.en.contains("MiB left"), "{}", reason.en),
        other => panic!("{other:?}"),
    }
    assert!(matches!(store.spool().create().await.map(drop), Err(SpoolError::DiskLow)));
    store
        .commit(Commit::new(Some(first.clone()), moved(&first, Step::Parked)))
        .await
        .expect("what was begun goes on");
    assert!(store.load(id(1)).await.expect("reads go on").is_some());
    bench.faults.set_free_bytes(None);
    eventually("it recovers by itself", async || store.health().readiness == Readiness::Ready).await;
    store.accept(notice("new")).await.expect("accepted again");
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_full_disk_keeps_nobody_from_opening_as_long_as_the_reserve_is_there() {
    let bench = Bench::new();
    let reserve = bench.path().join("journal/reserve.spare");
    let (store, _) = bench.open();
    make(&store, 1).await;
    eventually("the reserve is there", async || reserve.exists()).await;
    drop(store);
    bench.faults.set_free_bytes(Some(0));
    // What the reserve does not make room for is refused; the rest of the opening must need no more than marks.
    bench.faults.plan(Fault::always(FaultAt::Write, ".preparing", ENOSPC));
    let (store, report) = bench.open();
    assert_eq!(report.view, ViewFate::Trusted);
    assert!(!reserve.exists(), "it made the room");
    assert_ne!(store.health().readiness, Readiness::Ready);
    assert!(store.load(id(1)).await.expect("reads work").is_some());
    assert!(matches!(store.accept(notice("new")).await, Err(StoreError::Unavailable { .. })));
    bench.faults.clear();
    bench.faults.set_free_bytes(None);
    eventually("it recovers by itself", async || store.health().readiness == Readiness::Ready).await;
    eventually("the reserve is there again", async || reserve.exists()).await;
    store.accept(notice("new")).await.expect("accepted again");
    assert_sound(&store).await;
}

#[tokio::test]
async fn on_a_full_disk_nobody_is_told_that_it_worked_and_it_recovers_by_itself() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    eventually("the reserve is there", async || bench.path().join("journal/reserve.spare").exists()).await;
    bench.faults.plan(Fault::always(FaultAt::Create, "", ENOSPC));
    let large = "z".repeat(20 << 10);
    let mut accepted = Vec::new();
    let refused = loop {
        match store.accept(notice(format!("{} {large}", accepted.len()))).await {
            Ok(one) => accepted.push(one.id),
            Err(error) => break error,
        }
        assert!(accepted.len() < 1_000, "the disk is full and everything is taken");
    };
    assert!(matches!(refused, StoreError::Unavailable { .. }));
    assert_ne!(store.health().readiness, Readiness::Ready);
    assert_eq!(bodies(&store).await.len(), accepted.len(), "reads go on, and show what was acknowledged");
    // The reserve is for what was begun.
    make(&store, 1).await;
    bench.faults.clear();
    eventually("it recovers by itself", async || store.health().readiness == Readiness::Ready).await;
    store.accept(notice("after")).await.expect("accepted again");
    let count = bodies(&store).await.len();
    drop(store);
    let (store, _) = bench.open();
    assert_eq!((count, bodies(&store).await.len()), (accepted.len() + 1, accepted.len() + 1));
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_group_whose_sync_failed_is_refused_and_never_comes_back() {
    for fault in [
        Fault::once(FaultAt::Sync, ".seg", EIO),
        Fault::once(FaultAt::Write, ".seg", EIO),
        Fault { torn_bytes: 40, ..Fault::once(FaultAt::Write, ".seg", ENOSPC) },
    ] {
        let mut bench = Bench::new();
        let (store, _) = bench.open();
        let first = make(&store, 1).await;
        // The keeper prepares segments meanwhile; the fault is for the writer.
        eventually("segments are prepared", async || segments(&bench).len() == 2).await;
        bench.faults.plan(fault.clone());
        let failed = store.commit(Commit::new(Some(first.clone()), moved(&first, Step::Create))).await;
        assert!(matches!(failed, Err(CommitError::Store(StoreError::Unavailable { .. }))), "{fault:?}");
        assert_eq!(store.load(id(1)).await.expect("read").expect("there").saga.step, Step::FetchSource);
        assert_eq!(store.health().failed_groups, 1);
        store
            .commit(Commit::new(Some(first.clone()), moved(&first, Step::Parked)))
            .await
            .expect("the next one works");
        assert_eq!(store.health().readiness, Readiness::Ready);
        drop(store);
        bench.cut_power(Surviving::Some(3));
        let (store, _) = bench.open();
        assert_eq!(store.load(id(1)).await.expect("read").expect("there").saga.step, Step::Parked);
        assert_sound(&store).await;
    }
}

#[tokio::test]
async fn a_journal_that_cannot_be_mended_refuses_until_it_can() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let first = make(&store, 1).await;
    bench.faults.plan(Fault::always(FaultAt::Sync, "journal", EIO));
    bench.faults.plan(Fault::always(FaultAt::Create, "journal", EIO));
    for number in 2..5 {
        let refused = store.commit(created(number)).await;
        assert!(matches!(refused, Err(CommitError::Store(StoreError::Unavailable { .. }))));
    }
    assert_ne!(store.health().readiness, Readiness::Ready);
    assert!(store.load(id(1)).await.expect("reads go on").is_some());
    bench.faults.clear();
    eventually("it mends itself", async || store.health().readiness == Readiness::Ready).await;
    store.commit(Commit::new(Some(first.clone()), moved(&first, Step::Create))).await.expect("stored");
    drop(store);
    let (store, _) = bench.open();
    assert_eq!(store.counts().await.sagas.iter().map(|c| c.count).sum::<u64>(), 1);
    assert_sound(&store).await;
}

#[tokio::test]
async fn a_view_whose_files_cannot_be_synced_is_made_anew_while_running() {
    for (errno, name) in [(ENOSPC, "full"), (EIO, "failing")] {
        let bench = Bench::new();
        let (store, _) = bench.open();
        make(&store, 1_000_000_000).await;
        bench.faults.plan(Fault::once(FaultAt::Sync, "view", errno));
        let mut number = 0;
        eventually("the view is opened again", async || {
            for _ in 0..50 {
                match store.commit(created(number + 1)).await {
                    Ok(_) => number += 1,
                    Err(CommitError::Store(StoreError::Unavailable { .. })) => break,
                    Err(other) => panic!("{other:?}"),
                }
            }
            store.health().view_reopened > 0
        })
        .await;
        assert_eq!(u128::from(store.counts().await.of(Step::FetchSource)), number + 1, "{name}");
        eventually("it is ready", async || store.health().readiness == Readiness::Ready).await;
        for number in 1..=number {
            assert!(store.load(id(number)).await.expect("read").is_some(), "{name}: saga {number}");
        }
        assert_sound(&store).await;
    }
}

#[tokio::test]
async fn a_notice_that_rested_beside_a_view_made_anew_is_settled_once_and_for_all() {
    for (errno, name) in [(ENOSPC, "full"), (EIO, "failing")] {
        let bench = Bench::new();
        let (store, _) = bench.open();
        bench.faults.plan(Fault::once(FaultAt::Sync, "view", errno));
        let (mut number, mut pending) = (0, Vec::new());
        eventually("the view is opened again", async || {
            for _ in 0..25 {
                number += 1;
                if let Ok(accepted) = store.accept(notice(format!("{number}"))).await {
                    pending.push(accepted.id);
                }
                drop(store.commit(created(number)).await);
            }
            // Some are settled while they rest, before and after the rest was carried.
            let some = pending.split_off(pending.len() / 2);
            if store.settle_done(some.clone()).await.is_err() {
                pending.extend(some);
            }
            store.health().view_reopened > 0
        })
        .await;
        eventually("it is ready", async || store.health().readiness == Readiness::Ready).await;
        pending.push(store.accept(notice("the last")).await.expect("accepted").id);
        let rest = pending.split_off(pending.len() / 2);
        store.settle_done(rest).await.expect("settled");
        let found = async |store: &Store| -> Vec<NoticeId> {
            store.notices(None, PAGE_MAX).await.expect("read").iter().map(|n| n.id).collect()
        };
        pending.sort_unstable();
        assert_eq!(found(&store).await, pending, "{name}");
        assert_sound(&store).await;
        drop(store);
        let (store, _) = bench.open();
        assert_eq!(found(&store).await, pending, "{name}, after the end of the process");
        assert_sound(&store).await;
        store.close().await.expect("closed");
        let (store, _) = bench.open();
        assert_eq!(found(&store).await, pending, "{name}, after an orderly stop");
        assert_sound(&store).await;
    }
}

// --- many at once ----------------------------------------------------------------------------------------------

#[tokio::test]
async fn sixty_four_callers_at_once_are_all_durable() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let callers = (0..64u128).map(|caller| {
        let store = store.clone();
        tokio::spawn(async move {
            for round in 0..10 {
                let first = make(&store, caller * 100 + round).await;
                let accepted = store.accept(notice(format!("{caller}.{round}"))).await.expect("accepted");
                let mut next = Commit::new(Some(first.clone()), moved(&first, Step::Create));
                next.consumed = (round % 2 == 0).then_some(accepted.id);
                store.commit(next).await.expect("stored");
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("no panic");
    }
    assert_sound(&store).await;
    drop(store);
    let (store, _) = bench.open();
    let counts = store.counts().await;
    assert_eq!((counts.of(Step::Create), counts.notices), (640, 320));
    assert_sound(&store).await;
}

// --- backup ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_backup_made_while_writing_is_sound_and_restores_everything() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    let bytes = keep(&store, &vec![42; 600 << 10]).await;
    let mut commit = created(1);
    commit.saga.file = Some(SourceFile { name: "a.pdf".into(), folder_id: None, version: None, bytes });
    let first = store.commit(commit).await.expect("created");
    for number in 100..400 {
        make(&store, number).await;
    }
    // When the backup has read the sagas it waits here, and much is written and applied meanwhile.
    let (begun, begin) = std::sync::mpsc::channel();
    let (go_on, goes_on) = std::sync::mpsc::channel();
    let mut waited = false;
    let progress = move |so_far: BackupProgress| {
        if so_far.entries > 300 && !std::mem::replace(&mut waited, true) {
            begun.send(()).expect("the test waits");
            goes_on.recv().expect("the test goes on");
        }
    };
    let target = bench.dir.path().join("backup.edo");
    let making = tokio::spawn({
        let (store, target) = (store.clone(), target.clone());
        async move { store.backup(target, progress).await }
    });
    tokio::task::spawn_blocking(move || begin.recv()).await.expect("no panic").expect("it begins");
    for number in 400..500 {
        let made = make(&store, number).await;
        store.commit(Commit::new(Some(made.clone()), moved(&made, Step::Parked))).await.expect("stored");
        store.accept(notice(format!("{number} {}", "x".repeat(30 << 10)))).await.expect("accepted");
    }
    store.commit(Commit::new(Some(first.clone()), moved(&first, Step::Create))).await.expect("stored");
    go_on.send(()).expect("the backup waits");
    let report = making.await.expect("no panic").expect("made");
    assert_eq!((report.sagas, report.files), (401, 1), "what was applied while it was made is in it");
    assert!(matches!(store.backup(target.clone(), |_| {}).await, Err(BackupError::TargetExists { .. })));
    store.close().await.expect("closed");

    let verified = tokio::task::spawn_blocking({
        let target = target.clone();
        move || verify_backup(&target, None)
    });
    let verified = verified.await.expect("no panic").expect("sound");
    assert_eq!((verified.backup.sequence, verified.backup.sha256.clone()), (report.sequence, report.sha256));
    assert!(verified.invariants.is_clean() && verified.invariants.sagas == 401);

    let restored = bench.dir.path().join("restored");
    restore_backup(&target, &restored).expect("restored");
    assert!(matches!(restore_backup(&target, &restored), Err(BackupError::TargetNotEmpty { .. })));
    let mut options = bench.options();
    options.dir = restored;
    let (store, _) = Store::open_on(options.clone(), bench.host(), &mut |_| {}).expect("it opens");
    assert_eq!(std::fs::read(store.spool().path(bytes.digest)).expect("there"), vec![42; 600 << 10]);
    for number in (100..500).chain([1]) {
        assert!(store.load(id(number)).await.expect("read").is_some(), "saga {number}");
    }
    assert_sound(&store).await;
    make(&store, 50_000).await;
    drop(store);
    let (store, _) = Store::open_on(options, bench.host(), &mut |_| {}).expect("it opens again");
    assert!(store.load(id(50_000)).await.expect("read").is_some());
}

#[tokio::test]
async fn a_damaged_backup_is_refused() {
    let bench = Bench::new();
    let (store, _) = bench.open();
    make(&store, 1).await;
    let target = bench.dir.path().join("backup.edo");
    store.backup(target.clone(), |_| {}).await.expect("made");
    let whole = std::fs::read(&target).expect("read");
    for at in [0, 20, whole.len() / 2, whole.len() - 1] {
        let mut wrong = whole.clone();
        wrong[at] ^= 1;
        std::fs::write(&target, wrong).expect("planted");
        let restored = bench.dir.path().join(format!("restored-{at}"));
        assert!(matches!(restore_backup(&target, &restored), Err(BackupError::Damaged { .. })), "byte {at}");
    }
}

#[tokio::test]
async fn a_finished_notice_number_is_not_given_again_after_a_restart() {
    let bench = Bench::new();
    let mut last = NoticeId(0);
    for round in 0..3 {
        let (store, _) = bench.open();
        let one = store.accept(notice(format!("{round}"))).await.expect("accepted");
        assert!(one.id > last);
        last = one.id;
        store.settle(one.id, Fate::Done).await.expect("settled");
        if round == 1 {
            store.close().await.expect("closed");
        }
    }
}

#[tokio::test]
async fn what_a_store_makes_is_nobody_elses_to_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let around = tempfile::tempdir().expect("a directory for the test");
    let data = around.path().join("data");
    let (store, _) = Store::open(StoreOptions::new(data.join("store")), &mut |_| {}).expect("it opens");
    for dir in [data.clone(), data.join("store")] {
        let mode = std::fs::metadata(&dir).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{}", dir.display());
    }
    store.close().await.expect("closed");
}

// --- large stores ----------------------------------------------------------------------------------------------

/// Resident memory of this process, bytes.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this test runs on Linux");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("a line for the memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// The child of the next test: fills a store and dies, or opens it and tells what that costs.
#[test]
fn child_with_many_documents() {
    let (Some(dir), Some(count)) = (variable("STORE_TEST_DIR"), variable("STORE_TEST_FILL")) else {
        return;
    };
    let count: u128 = count.parse().expect("a number");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let began = Instant::now();
    let (store, report) = Store::open(StoreOptions::new(dir), &mut |_| {}).expect("it opens");
    if report.view == ViewFate::Created {
        runtime.block_on(async {
            for begin in (0..count).step_by(64) {
                let lives = (begin..count.min(begin + 64)).map(|number| wait_for_signature(&store, number));
                futures_util::future::join_all(lives).await;
            }
        });
        std::process::abort();
    }
    println!("opened {} ms, replayed {}", began.elapsed().as_millis(), report.replayed);
    std::thread::sleep(Duration::from_secs(3));
    println!("resident {} bytes", resident_bytes());
    assert_eq!(
        runtime.block_on(store.counts()).of(Step::AwaitSignature),
        u64::try_from(count).expect("small")
    );
}

/// A document's way until people sign: three commits, three claims, three lines of history.
async fn wait_for_signature(store: &Store, number: u128) {
    let number = number << 64 | number.wrapping_mul(0x9E37_79B9_7F4A_7C15) & u128::from(u64::MAX);
    let mut stored = make(store, number).await;
    for step in [Step::Create, Step::AwaitSignature] {
        let mut commit = Commit::new(Some(stored.clone()), moved(&stored, step));
        commit.history = vec![line("step")];
        if step == Step::AwaitSignature {
            commit.claims = vec![Claim::ProviderDocument(format!("provider-{number:x}"))];
        }
        stored = store.commit(commit).await.expect("stored");
    }
}

/// What it costs to open a store.
struct Opening {
    ms: u64,
    resident_bytes: u64,
}

/// Fills a store with waiting documents in one process, which dies, and opens it in another.
fn opening_with(count: u64) -> Opening {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let child = || {
        std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "child_with_many_documents", "--nocapture"])
            .env("STORE_TEST_DIR", dir.path().join("store"))
            .env("STORE_TEST_FILL", count.to_string())
            .output()
            .expect("run")
    };
    assert!(!child().status.success(), "the first one dies when all is written");
    let told = child();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let number = |what: &str| -> u64 {
        let words = told.lines().find_map(|l| l.split_once(what)).map(|(_, rest)| rest).expect("it told");
        words.split_whitespace().next().and_then(|w| w.parse().ok()).expect("a number")
    };
    let opening = Opening { ms: number("opened "), resident_bytes: number("resident ") };
    println!(
        "{count} dormant documents: opened in {} ms, resident {} KiB",
        opening.ms,
        opening.resident_bytes >> 10
    );
    opening
}

/// Documents of the two stores of the ordinary run: with fewer, caches that have a bound are still filling up, and so
/// are the allocator's pages for each size of block (47 MB with 2,000, 58 with 7,000, 66 with 20,000).
const DORMANT: [u64; 2] = [5_000, 20_000];
/// Bytes of memory that one more waiting document may take (the promised figures for 100,000 of them are measured by
/// `benches/memory.rs`). About 900 were measured, which 100,000 of them may take
/// beside an idle service; a copy of each record in memory would double it.
const DORMANT_BYTES_MAX: u64 = 1_600;

#[test]
fn dormant_documents_cost_little_memory() {
    let [few, many] = DORMANT.map(|count| opening_with(count).resident_bytes);
    let each = many.saturating_sub(few) / (DORMANT[1] - DORMANT[0]);
    println!("each takes {each} bytes of memory");
    assert!(each < DORMANT_BYTES_MAX, "{each} bytes of memory for each waiting document");
}
