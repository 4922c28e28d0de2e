//! `edobridge backup …`: one file with everything, made while the service runs or not; checked; brought back.

use super::console::{Console, Style, bytes};
use super::exit::ExitStatus;
use super::offline_store;
use super::output::Format;
use super::running_service::{Presence, RunningService};
use super::{Context, problem_view};
use crate::config::Config;
use crate::domain::Text;
use crate::http::maintenance::{BackupRequest, BackupView, InvariantsView, backup_text};
use crate::store::{BackupProgress, Store, VerifyReport, restore_backup, verify_backup};
use clap::{Args, Subcommand};
use serde_json::json;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

/// Directory for backups within the data directory, unless another file is named.
const BACKUPS: &str = "backups";

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
#[derive(Debug, Clone, Args)]
pub struct CreateArgs {
    /// The new file; by default `backups/edobridge-TIME.backup` in the data directory.
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// The same as `--to`.
    #[arg(value_name = "FILE", conflicts_with = "to")]
    pub file: Option<PathBuf>,
}

/// Options of `backup verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// The backup.
    pub file: PathBuf,
}

/// Options of `backup restore`.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// The backup.
    pub file: PathBuf,
    /// The new data directory; must be absent or empty.
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
}

/// Does what was asked.
pub async fn run(args: BackupArgs, context: Context) -> ExitStatus {
    let console = Console::new(&context);
    let outcome = match args.verb {
        BackupVerb::Create(create) => {
            let (loaded, console) = match problem_view::load(&context, console) {
                Ok(ready) => ready,
                Err(status) => return status,
            };
            return told(made(&create, &loaded.config, &console).await, &console, print_made);
        }
        BackupVerb::Verify(verify) => verified(&verify.file, &console).await,
        BackupVerb::Restore(restore) => {
            return told(restored(&restore, &console).await, &console, |view, console| {
                print_restored(view, &restore.to, console);
            });
        }
    };
    told(outcome, &console, print_verified)
}

/// Prints a result, or why there is none.
fn told<V>(outcome: Result<V, Text>, console: &Console, print: impl FnOnce(&V, &Console)) -> ExitStatus {
    match outcome {
        Ok(view) => {
            print(&view, console);
            ExitStatus::Fine
        }
        Err(text) => {
            console.fail(&text);
            ExitStatus::ProblemFound
        }
    }
}

async fn made(create: &CreateArgs, config: &Config, console: &Console) -> Result<BackupView, Text> {
    let service = RunningService::of(config);
    match service.presence().await {
        Presence::Running(_) => online(&service, target(create, config)?, console).await,
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
    let outcome = match target(create, config) {
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

/// The absolute path of the new file. The default directory is made, for the user of the service.
fn target(create: &CreateArgs, config: &Config) -> Result<PathBuf, Text> {
    let Some(file) = create.to.as_ref().or(create.file.as_ref()) else {
        return default_target(config);
    };
    let file = std::path::absolute(file).map_err(|error| unusable(file, &error))?;
    if file.starts_with(config.data_dir.join("store")) {
        return Err(Text::new(
            "Файл копии не может лежать внутри самого хранилища: назовите другой каталог.",
            "The backup cannot lie within the store itself: name another directory.",
        ));
    }
    Ok(file)
}

fn default_target(config: &Config) -> Result<PathBuf, Text> {
    let dir = std::path::absolute(config.data_dir.join(BACKUPS))
        .map_err(|error| unusable(&config.data_dir, &error))?;
    if !dir.is_dir() {
        make_for_owner(&dir, &config.data_dir).map_err(|error| unusable(&dir, &error))?;
    }
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    Ok(dir.join(format!("edobridge-{now}.backup")))
}

/// Makes a directory that belongs to whom `like` belongs, even if root makes it.
fn make_for_owner(dir: &Path, like: &Path) -> std::io::Result<()> {
    let owner = std::fs::metadata(like)?;
    DirBuilder::new().mode(0o700).create(dir)?;
    if owner.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    chown(dir, Some(owner.uid()), Some(owner.gid()))
}

fn unusable(path: &Path, error: &std::io::Error) -> Text {
    let path = path.display();
    Text::new(
        format!("{path} не подходит: {error}. Назовите файл сами: --to /каталог/имя."),
        format!("{path} cannot be used: {error}. Name a file yourself: --to /directory/name."),
    )
}

fn print_made(view: &BackupView, console: &Console) {
    if console.format() == Format::Json {
        return console.json(view);
    }
    let path = view.path.display();
    let done = Text::new(format!("Копия готова: {path}"), format!("The backup is made: {path}"));
    console.line(console.paint(Style::Good, console.word(&done)));
    print_contents(view, console);
    console.say(&Text::new(
        format!("Проверьте её (`edobridge backup verify {path}`) и унесите на другой диск."),
        format!("Verify it (`edobridge backup verify {path}`) and copy it to another disk."),
    ));
}

fn print_contents(view: &BackupView, console: &Console) {
    let rows = [
        (Text::new("документов", "documents"), view.documents.to_string()),
        (Text::new("записей", "entries"), view.entries.to_string()),
        (Text::new("файлов", "files"), view.files.to_string()),
        (Text::new("размер", "size"), bytes(view.bytes)),
        (Text::new("запись журнала", "journal entry"), view.sequence.to_string()),
        (Text::new("SHA-256", "SHA-256"), view.sha256.clone()),
    ];
    console.line(console.table(&[], rows.map(|(name, value)| [console.word(&name).to_owned(), value])));
}

async fn verified(file: &Path, console: &Console) -> Result<VerifyReport, Text> {
    let reading = Text::new("чтение и пробное восстановление", "reading and restoring aside");
    let file = file.to_owned();
    blocking(console, &reading, move || verify_backup(&file)).await
}

async fn restored(restore: &RestoreArgs, console: &Console) -> Result<BackupView, Text> {
    let target = &restore.to;
    if holds_anything(target) {
        let dir = target.clone();
        return Err(backup_text(&crate::store::BackupError::TargetNotEmpty { dir }));
    }
    let restoring = Text::new("восстановление", "restoring");
    DirBuilder::new().mode(0o700).recursive(true).create(target).map_err(|error| unusable(target, &error))?;
    let (file, store) = (restore.file.clone(), target.join("store"));
    blocking(console, &restoring, move || restore_backup(&file, &store)).await.map(BackupView::from)
}

/// Whether there is anything at the path that a restore could damage or mix with.
fn holds_anything(dir: &Path) -> bool {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// Runs `work` beside the event loop, with a moving line.
async fn blocking<T: Send + 'static>(
    console: &Console,
    what: &Text,
    work: impl FnOnce() -> Result<T, crate::store::BackupError> + Send + 'static,
) -> Result<T, Text> {
    let bar = console.spinner(console.word(what).to_owned());
    let outcome = tokio::task::spawn_blocking(work).await;
    bar.finish_and_clear();
    match outcome {
        Ok(outcome) => outcome.map_err(|error| backup_text(&error)),
        Err(panic) => {
            let words = panic.to_string();
            Err(Text::new(words.clone(), words))
        }
    }
}

fn print_verified(report: &VerifyReport, console: &Console) {
    let (view, rules) = (BackupView::from(report.backup.clone()), InvariantsView::from(&report.invariants));
    if console.format() == Format::Json {
        return console.json(&json!({ "backup": view, "store_check": rules }));
    }
    let done = Text::new(
        "Копия цела: она восстановлена рядом, открыта и проверена.",
        "The backup is whole: it was restored aside, opened and checked.",
    );
    console.line(console.paint(Style::Good, console.word(&done)));
    print_contents(&view, console);
}

fn print_restored(view: &BackupView, dir: &Path, console: &Console) {
    let next = next_steps(dir);
    if console.format() == Format::Json {
        return console.json(&json!({ "backup": view, "data_dir": dir, "next": next }));
    }
    let done = Text::new(
        format!("Копия восстановлена в {}.", dir.display()),
        format!("The backup is restored in {}.", dir.display()),
    );
    console.line(console.paint(Style::Good, console.word(&done)));
    print_contents(view, console);
    let heading = Text::new("Что дальше", "What comes next");
    console.line(console.paint(Style::Heading, console.word(&heading)));
    for (number, step) in next.iter().enumerate() {
        console.line(format!("{}. {}", number + 1, console.word(step)));
    }
}

/// What a person has to do before the restored store may work.
fn next_steps(dir: &Path) -> Vec<Text> {
    let dir = dir.display();
    vec![
        Text::new(
            "Убедитесь, что старая служба остановлена: два хранилища с одними порталами отправят документы дважды.",
            "Make sure that the old service is stopped: two stores with the same portals send documents twice.",
        ),
        Text::new(
            "Всё, что произошло после копии, хранилищу неизвестно. Файлы, отправленные позже неё, покажутся новыми: уберите их из наблюдаемых папок или временно отключите правила, пока не сверите их с кабинетом EasyDocs.",
            "Whatever happened after the backup is unknown to the store. Files that were sent later will look new: take them out of the watched folders, or switch the rules off, until they are compared with the EasyDocs account.",
        ),
        Text::new(
            format!(
                "Укажите data_dir = \"{dir}\" и отдайте каталог пользователю службы: chown -R edobridge: {dir}"
            ),
            format!(
                "Set data_dir = \"{dir}\" and give the directory to the user of the service: chown -R edobridge: {dir}"
            ),
        ),
        Text::new(
            "Проверьте: edobridge doctor. Токен оператора будет создан заново при запуске.",
            "Check it: edobridge doctor. The operator token is made anew at the start.",
        ),
        Text::new(
            "Запустите: edobridge serve. Документы продолжатся с того места, где были при копировании.",
            "Start it: edobridge serve. Documents go on from where they were when the backup was made.",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> (tempfile::TempDir, Config) {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::defaults();
        config.data_dir = dir.path().to_owned();
        (dir, config)
    }

    #[test]
    fn without_a_name_the_backup_lies_in_the_data_directory_for_its_owner_only() {
        let (dir, config) = config();
        let file = target(&CreateArgs { to: None, file: None }, &config).unwrap();
        assert_eq!(file.parent(), Some(dir.path().join(BACKUPS).as_path()));
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with("edobridge-20") && name.ends_with("Z.backup"), "{name}");
        assert_eq!(std::fs::metadata(dir.path().join(BACKUPS)).unwrap().mode() & 0o777, 0o700);
        assert!(!file.exists(), "only the place is made");
    }

    #[test]
    fn a_backup_within_the_store_is_refused() {
        let (dir, config) = config();
        let inside = CreateArgs { to: Some(dir.path().join("store/x.backup")), file: None };
        assert!(target(&inside, &config).is_err());
        let outside = CreateArgs { to: None, file: Some("x.backup".into()) };
        assert!(target(&outside, &config).unwrap().is_absolute());
    }

    #[test]
    fn only_an_absent_or_empty_directory_is_restored_into() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!holds_anything(dir.path()) && !holds_anything(&dir.path().join("absent")));
        std::fs::write(dir.path().join("x"), "").unwrap();
        assert!(holds_anything(dir.path()));
        assert!(holds_anything(&dir.path().join("x")), "a file is not an empty directory");
    }

    #[tokio::test]
    async fn a_refused_restore_leaves_the_directory_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("precious"), "x").unwrap();
        let (env, language, format) = (Default::default(), Default::default(), Default::default());
        let context = Context { config_path: None, env, language, format };
        let console = Console::new(&context);
        let restore = RestoreArgs { file: "absent.backup".into(), to: dir.path().to_owned() };
        assert!(restored(&restore, &console).await.unwrap_err().en.contains("not empty"));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
