//! The real binary behind the file layer, with one document from the portal's event to the signed copy.
//!
//! What it promises is read from its sockets: an answer 200 to an event or a callback promises that it is kept, and a
//! call that changes something at a remote system promises that we shall know of it. Both stand in the trace, in order
//! with the writes, before the first byte has left.

use crate::cuts::Left;
use crate::image;
use crate::judge::Verdict;
use crate::play;
use crate::support::{Binary, Ground, PATIENCE, Setting, Stage, pdf, wait_for};
use crate::trace::{self, Happened, Line};
use edobridge::commands::wiring;
use edobridge::config::{Config, Environment};
use edobridge::saga::document::{DocumentSaga, Outcome, Step, Work};
use edobridge::store::disk::Host;
use edobridge::store::{DocumentFilter, NoticeKind, Store, StoreError, StoreOptions, ViewFate};
use std::path::Path;
use std::time::Instant;
use tokio::runtime::Runtime;

/// A document that went its whole way.
pub struct Served {
    pub lines: Vec<Line>,
    pub options: StoreOptions,
}

/// Plays it.
pub fn serve() -> Served {
    let stage = Stage::new(&Setting { ground: Ground::Memory, ..Setting::default() });
    std::fs::create_dir(stage.data_dir()).expect("the data directory is made");
    let root = stage.data_dir().canonicalize().expect("it is there");
    let file = stage.dir.path().join("trace");
    let mut variables = trace::variables(&root, &file, None);
    variables.push(("EVERY_WRITE_TALK", "1".to_owned()));
    let mut binary = Binary::spawn(&stage, &variables);
    binary.wait_ready(stage.operator);
    stage.drop_file("contract.pdf", pdf(1, 20_000));
    wait_for("the document is delivered and announced", || {
        stage.signed_copies().len() == 1
            && stage.world.notices(stage.user).len() == 1
            && stage.world.all_comments().len() == 1
    });
    stop(binary);
    Served { lines: trace::read(&file), options: store_options(&stage) }
}

/// How the service of this stage opens its store.
pub fn store_options(stage: &Stage) -> StoreOptions {
    let config = Config::load(Some(&stage.config_path), &Environment::of([("", ""); 0]));
    let config = config.unwrap_or_else(|errors| panic!("{:#?}", errors.problems)).config;
    wiring::store_options(&config)
}

/// What the service has said to anyone.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// Events and callbacks answered with 200.
    answers: usize,
    /// The farthest step of which a call has left that changes something.
    call: Option<Step>,
}

/// Calls that change something at a remote system, by a part of their text.
const CALLS: [(&str, Step); 4] = [
    ("POST /api/v1/documents ", Step::Create),
    ("disk.folder.uploadfile", Step::Upload),
    ("crm.timeline.comment.add", Step::Comment),
    ("im.notify.", Step::Notify),
];

/// What our doors answer to an event or a callback that they have kept.
const KEPT: &str = "{\"ok\":true}";

impl Said {
    pub fn hear(&mut self, line: &Line) {
        let Happened::Said(bytes) = &line.what else { return };
        let text = String::from_utf8_lossy(bytes);
        self.answers += usize::from(text.starts_with("HTTP/1.1 200") && text.ends_with(KEPT));
        let calls = CALLS.iter().filter(|(part, _)| text.contains(part)).map(|(_, step)| *step);
        self.call = calls.chain(self.call).max_by_key(|step| place(*step));
    }

    /// Events and callbacks answered with 200.
    pub fn answers(&self) -> usize {
        self.answers
    }

    /// Whether the trace holds everything that such a document makes the service say.
    pub fn is_whole(&self) -> bool {
        self.answers >= 2 && self.call == Some(Step::Notify)
    }
}

/// The place of a step on a document's way.
fn place(step: Step) -> usize {
    const WAY: [Step; 13] = [
        Step::FetchSource,
        Step::Create,
        Step::FindDocument,
        Step::AwaitSignature,
        Step::FetchSigned,
        Step::ScanFolder,
        Step::Upload,
        Step::FindUpload,
        Step::Comment,
        Step::FindComment,
        Step::Notify,
        Step::Delivered,
        Step::Parked,
    ];
    WAY.iter().position(|known| *known == step).unwrap_or_else(|| panic!("{step:?} is not on this way"))
}

/// Opens what a cut has left, and compares it with what was said before the cut.
pub struct Witness {
    options: StoreOptions,
    runtime: Runtime,
}

impl Witness {
    pub fn new(options: &StoreOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { options: options.clone(), runtime }
    }

    /// # Errors
    /// What was said and is not known.
    pub fn judge(&self, left: &Left<Said>, dir: &Path) -> Result<Verdict, String> {
        image::write(&left.files, dir);
        let options = StoreOptions { dir: dir.join("store"), min_free_bytes: 0, ..self.options.clone() };
        // The real boot id is in the files: this machine, unless the power was cut.
        let host = if left.cut.is_power_cut() { play::host("after the cut") } else { Host::here() };
        let verdict = match Store::open_on(options, host, &mut |_| {}) {
            Ok((store, report)) => {
                let rebuilt = matches!(report.view, ViewFate::Rebuilt { .. });
                let facts = self.runtime.block_on(compare(&store, &left.told));
                facts.map(|facts| Verdict::Opened { facts, rebuilt })
            }
            Err(error) => Err(format!("refused: {}", error.text().en)),
        };
        std::fs::remove_dir_all(dir).expect("what was judged is removed");
        verdict
    }
}

/// Compares the store with what was said; how many sayings were checked.
async fn compare(store: &Store, said: &Said) -> Result<usize, String> {
    let failed = |error: StoreError| format!("it opens and cannot be read: {error}");
    let report = store.check_invariants().await.map_err(failed)?;
    if let Some(first) = report.violations.first() {
        return Err(format!("{} rules are broken, the first: {first}", report.violation_count));
    }
    let notices = store.notices(None, 100).await.map_err(failed)?;
    let kinds: Vec<NoticeKind> = notices.iter().map(|notice| notice.kind).collect();
    let sagas = store.list(DocumentFilter::default(), None, 100).await.map_err(failed)?.items;
    let own: Vec<&DocumentSaga> = sagas.iter().filter(|saga| saga.step != Step::Ignored).collect();
    let shown = || {
        format!("pending {kinds:?}, documents {:?}", own.iter().map(|s| (s.step, s.work)).collect::<Vec<_>>())
    };
    let saga = own.iter().copied().min_by_key(|saga| (saga.created_at, saga.id));
    // The event of our own upload makes a record that is ignored when its file has been looked at.
    let is_echo = |other: &DocumentSaga| {
        other.step == Step::FetchSource && saga.is_some_and(|first| first.source != other.source)
    };
    if own.iter().filter(|other| !is_echo(other)).count() > 1 {
        return Err(format!("one event has made several documents: {}", shown()));
    }
    let mut facts = 0;
    if said.answers >= 1 {
        facts += 1;
        if saga.is_none() && !kinds.contains(&NoticeKind::BitrixEvent) {
            return Err(format!("the event was answered with 200 and is missing: {}", shown()));
        }
    }
    // The second answer is to the callback: our own upload makes the portal's next event.
    if said.answers >= 2 {
        facts += 1;
        let is_known = saga.is_some_and(|saga| saga.outcome != Outcome::Open);
        if !is_known && !kinds.contains(&NoticeKind::EasyDocsCallback) {
            return Err(format!("the callback was answered with 200 and is missing: {}", shown()));
        }
    }
    if let Some(step) = said.call {
        facts += 1;
        let is_known = saga.is_some_and(|saga| {
            place(saga.step) > place(step) || saga.step == step && matches!(saga.work, Work::InFlight { .. })
        });
        if !is_known {
            return Err(format!("a call of {step:?} has left, and that is missing: {}", shown()));
        }
    }
    Ok(facts)
}

/// SIGTERM, and the end of the process.
pub fn stop(mut binary: Binary) {
    let pid = rustix::process::Pid::from_child(&binary.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the process lives");
    let until = Instant::now() + PATIENCE;
    while binary.child.try_wait().expect("the process can be asked").is_none() {
        assert!(Instant::now() < until, "SIGTERM does not end it:\n{}", binary.log_tail());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
