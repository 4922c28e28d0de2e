//! `edobridge backup …`: one file with everything, made while the service runs or not; checked; brought back.

use super::backup_contents::print_contents;
use super::backup_place::{place_of, unusable};
use super::backup_reading::blocking;
pub use super::backup_restore::RestoreArgs;
use super::console::{Console, Style, bytes};
use super::exit::ExitStatus;
use super::format::Format;
use super::offline_store;
use super::running_service::{Presence, RunningService};
use super::{Context, backup_restore, backup_retention, problem_view};
use crate::config::Config;
use crate::domain::Text;
use crate::http::maintenance::{BackupRequest, BackupView, InvariantsView, backup_text};
use crate::store::{BackupProgress, Counted, Store, VerifyReport, verify_backup};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// More backups than this in one directory are kept by no plan: two years of days.
const KEEP_MAX: i64 = 730;

/// Резервные копии: сделать, проверить, восстановить. / Back up the store, verify a backup, restore one.
#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: BackupVerb,
}

/// What can be done.
#[derive(Debug, Clone, Subcommand)]
pub enum BackupVerb {
    /// Сделать копию в один новый файл. / Write everything into one new file.
    ///
    /// If the service runs, it writes the file itself, without stopping: the path must be one that the user of the
    /// service may write to. Otherwise the store is opened here.
    ///
    /// A backup on the disk of the store is no backup: copy it away.
    Create(CreateArgs),
    /// Прочитать копию целиком и проверить. / Read a backup whole, restore it aside, and check it.
    ///
    /// Needs as much free space beside the file as a restore. Needs neither the configuration nor the service.
    Verify(VerifyArgs),
    /// Восстановить копию в новый каталог данных. / Make a new data directory from a backup.
    ///
    /// Refuses a directory that is not empty. Says what has to be done next.
    Restore(RestoreArgs),
}

/// Options of `backup create`.
#[derive(Debug, Clone, Default, Args)]
pub struct CreateArgs {
    /// The new file, or a directory in which it is named by the time; by default `backups` in the data directory.
    #[arg(long, value_name = "FILE|DIR")]
    pub to: Option<PathBuf>,
    /// The same as `--to`.
    #[arg(value_name = "FILE|DIR", conflicts_with = "to")]
    pub file: Option<PathBuf>,
    /// Verify it as `backup verify` does, before anything older is removed.
    #[arg(long)]
    pub verify: bool,
    /// Keep so many backups in the directory, this one included, and remove the oldest beyond that. Only files that
    /// were named by the time are counted and removed, and nothing is removed after a failure.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=KEEP_MAX))]
    pub keep: Option<u16>,
}

impl CreateArgs {
    /// The file or directory that was named, if one was.
    fn named(&self) -> Option<&Path> {
        self.to.as_deref().or(self.file.as_deref())
    }
}

/// Options of `backup verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// The backup.
    pub file: PathBuf,
    /// Where it is restored for the moment; by default beside the file.
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
}

/// Does what was asked.
pub async fn run(args: BackupArgs, context: Context) -> ExitStatus {
    let console = Console::new(&context);
    match args.verb {
        BackupVerb::Create(create) => {
            let (loaded, console) = match problem_view::load(&context, console) {
                Ok(ready) => ready,
                Err(status) => return status,
            };
            created(&create, &loaded.config, &console).await
        }
        BackupVerb::Verify(verify) => {
            told(verified(&verify.file, verify.scratch.as_deref(), &console).await, &console, print_verified)
        }
        BackupVerb::Restore(restore) => {
            let (data_dir, console) = match &restore.to {
                Some(dir) => (dir.clone(), console),
                None => match problem_view::load(&context, console) {
                    Ok((loaded, console)) => (loaded.config.data_dir, console),
                    Err(status) => return status,
                },
            };
            let outcome = backup_restore::restored(&restore, &data_dir, &console).await;
            told(outcome, &console, |outcome, console| backup_restore::print(outcome, &data_dir, console))
        }
    }
}

/// Prints a result, or why there is none.
fn told<V>(
    outcome: Result<V, Text>,
    console: &Console,
    print: impl FnOnce(&V, &Console) -> ExitStatus,
) -> ExitStatus {
    match outcome {
        Ok(view) => print(&view, console),
        Err(text) => failed(&text, console),
    }
}

fn failed(text: &Text, console: &Console) -> ExitStatus {
    console.fail(text);
    ExitStatus::ProblemFound
}

/// What `backup create` has done.
#[derive(Debug, Serialize)]
struct Created {
    #[serde(flatten)]
    view: BackupView,
    /// What was found when it was verified at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<VerifiedView>,
    /// Older backups that were removed.
    removed: Vec<PathBuf>,
}

async fn created(create: &CreateArgs, config: &Config, console: &Console) -> ExitStatus {
    if create.keep.is_some() && !is_named_by_time(create) {
        console.fail(&Text::new(
            "--keep считает копии в каталоге: назовите каталог, а не файл.",
            "--keep counts the backups in a directory: name a directory, not a file.",
        ));
        return ExitStatus::Misuse;
    }
    let view = match made(create, config, console).await {
        Ok(view) => view,
        Err(text) => return failed(&text, console),
    };
    let mut faults = None;
    if create.verify {
        match verified(&view.path, None, console).await {
            Ok(report) => faults = Some(VerifiedView::from(&report)),
            Err(text) => return failed(&text, console),
        }
    }
    let mut created = Created { view, verified: faults, removed: Vec::new() };
    if created.is_good()
        && let Some(keep) = create.keep
    {
        match backup_retention::thin_out(&created.view.path, usize::from(keep)) {
            Ok(removed) => created.removed = removed,
            Err(error) => return failed(&unusable(&created.view.path, &error), console),
        }
    }
    print_created(&created, console)
}

impl Created {
    fn is_good(&self) -> bool {
        self.view.damaged_files == 0 && self.verified.as_ref().is_none_or(|v| v.faults.is_empty())
    }
}

/// Whether the file gets its name from us.
fn is_named_by_time(create: &CreateArgs) -> bool {
    create.named().is_none_or(|path| path.is_dir())
}

async fn made(create: &CreateArgs, config: &Config, console: &Console) -> Result<BackupView, Text> {
    let service = RunningService::of(config);
    match service.presence().await {
        Presence::Running(_) => online(&service, place_of(create.named(), config)?, console).await,
        Presence::Absent => offline(config, create, console).await,
        Presence::Unclear(text) => Err(text),
    }
}

async fn online(service: &RunningService, to: PathBuf, console: &Console) -> Result<BackupView, Text> {
    let waiting = Text::new("служба делает копию", "the service makes the backup");
    let bar = console.spinner(console.word(&waiting).to_owned());
    let outcome = service.order("backup", &BackupRequest { to }).await;
    bar.finish_and_clear();
    outcome.map_err(|error| error.text())
}

async fn offline(config: &Config, create: &CreateArgs, console: &Console) -> Result<BackupView, Text> {
    let (store, _) = offline_store::open(config, console).await.map_err(|closed| closed.text(config))?;
    // the store is closed again whatever comes: an unclean end would make the next start slower
    let outcome = match place_of(create.named(), config) {
        Ok(to) => written(&store, to, console).await,
        Err(text) => Err(text),
    };
    let closed = store.close().await;
    let view = outcome?;
    closed.map_err(|error| error.text())?;
    Ok(view)
}

async fn written(store: &Store, to: PathBuf, console: &Console) -> Result<BackupView, Text> {
    let bar = console.spinner(String::new());
    let (shown, words) = (bar.clone(), console.clone());
    let outcome = store.backup(to, move |step| shown.set_message(progress(&step, &words))).await;
    bar.finish_and_clear();
    outcome.map(BackupView::from).map_err(|error| backup_text(&error))
}

fn progress(step: &BackupProgress, console: &Console) -> String {
    let (entries, files, size) = (step.entries, step.files, bytes(step.bytes));
    let text = Text::new(
        format!("записей: {entries}, файлов: {files}, {size}"),
        format!("entries: {entries}, files: {files}, {size}"),
    );
    console.word(&text).to_owned()
}

fn print_created(created: &Created, console: &Console) -> ExitStatus {
    let status = if created.is_good() { ExitStatus::Fine } else { ExitStatus::ProblemFound };
    if console.format() == Format::Json {
        console.json(created);
        return status;
    }
    let (view, path) = (&created.view, created.view.path.display());
    let done = Text::new(format!("Копия готова: {path}"), format!("The backup is made: {path}"));
    console.line(console.paint(Style::Good, console.word(&done)));
    print_contents(view, console);
    if view.damaged_files > 0 {
        let count = view.damaged_files;
        let missing = Text::new(
            format!(
                "Файлов, которые диск отдаёт не такими, какими получил: {count}. В копию они не вошли; их документы остановятся. Проверьте диск, затем `edobridge doctor`."
            ),
            format!(
                "Files that the disk gives back other than it was given: {count}. They are not in the backup, and their documents will stop. Check the disk, then run `edobridge doctor`."
            ),
        );
        console.line(console.paint(Style::Bad, console.word(&missing)));
    }
    for old in &created.removed {
        let old = old.display();
        console.say(&Text::new(format!("Удалена старая: {old}"), format!("Removed an older one: {old}")));
    }
    match &created.verified {
        Some(verified) => print_verdict(verified, console),
        None => console.say(&Text::new(
            format!("Проверьте её (`edobridge backup verify {path}`) и унесите на другой диск."),
            format!("Verify it (`edobridge backup verify {path}`) and copy it to another disk."),
        )),
    }
    status
}

async fn verified(file: &Path, scratch: Option<&Path>, console: &Console) -> Result<VerifyReport, Text> {
    let reading = Text::new("чтение и пробное восстановление", "reading and restoring aside");
    let (file, scratch) = (file.to_owned(), scratch.map(Path::to_owned));
    blocking(console, &reading, move || verify_backup(&file, scratch.as_deref())).await
}

/// What a verification found, for programs.
#[derive(Debug, Serialize)]
struct VerifiedView {
    /// What the backup holds.
    backup: BackupView,
    /// What there is in the store that was restored from it, beside what the backup says; null where it says nothing.
    counted: Vec<CountedView>,
    /// Files that were read again after the restore.
    hashed_files: u64,
    /// Their bytes.
    hashed_bytes: u64,
    /// The rules of the store.
    store_check: InvariantsView,
    /// What is wrong, in words for developers; empty if the backup is good.
    faults: Vec<String>,
}

/// One line of the count.
#[derive(Debug, Serialize)]
struct CountedView {
    what: String,
    backup: Option<u64>,
    restored: u64,
}

impl From<&VerifyReport> for VerifiedView {
    fn from(report: &VerifyReport) -> Self {
        let line = |line: &Counted| {
            let Counted { what, backup, restored } = line.clone();
            CountedView { what, backup, restored }
        };
        Self {
            backup: report.backup.clone().into(),
            counted: report.counted.iter().map(line).collect(),
            hashed_files: report.hashed_files,
            hashed_bytes: report.hashed_bytes,
            store_check: InvariantsView::from(&report.invariants),
            faults: report.faults(),
        }
    }
}

fn print_verified(report: &VerifyReport, console: &Console) -> ExitStatus {
    let view = VerifiedView::from(report);
    let status = if view.faults.is_empty() { ExitStatus::Fine } else { ExitStatus::ProblemFound };
    if console.format() == Format::Json {
        console.json(&view);
        return status;
    }
    print_verdict(&view, console);
    print_contents(&view.backup, console);
    status
}

fn print_verdict(view: &VerifiedView, console: &Console) {
    if view.faults.is_empty() {
        let done = Text::new(
            "Копия цела: она восстановлена рядом, открыта и проверена.",
            "The backup is whole: it was restored aside, opened and checked.",
        );
        console.line(console.paint(Style::Good, console.word(&done)));
    } else {
        let bad = Text::new(
            "Копия восстанавливается, но в ней не то, что должно быть. Возьмите другую; этот список пришлите разработчикам.",
            "The backup can be restored, but what is in it is not what should be. Take another one; send this list to the developers.",
        );
        console.line(console.paint(Style::Bad, console.word(&bad)));
        for fault in &view.faults {
            console.line(format!("  {fault}"));
        }
    }
    let rows = view.counted.iter().map(|line| {
        let then = line.backup.map_or_else(|| "—".to_owned(), |number| number.to_string());
        [line.what.clone(), then, line.restored.to_string()]
    });
    let files = ["spool_files".to_owned(), view.backup.files.to_string(), view.hashed_files.to_string()];
    let header = [
        console.word(&Text::new("чего", "of what")).to_owned(),
        console.word(&Text::new("в копии", "in the backup")).to_owned(),
        console.word(&Text::new("после восстановления", "after the restore")).to_owned(),
    ];
    let header = header.each_ref().map(String::as_str);
    console.line(console.table(&header, rows.chain([files])));
}
