//! `edobridge backup restore`: a data directory out of a backup, in one command.

use super::ExitStatus;
use super::backup_contents::print_contents;
use super::backup_place::unusable;
use super::backup_reading::blocking;
use super::console::{Console, Style};
use super::format::Format;
use crate::domain::Text;
use crate::http::maintenance::{BackupView, backup_text};
use crate::store::restore_backup;
use clap::Args;
use serde_json::json;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The store within a data directory.
const STORE: &str = "store";
/// The lock that a store holds while it is open.
const LOCK: &str = "LOCK";

/// Options of `backup restore`.
#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// The backup.
    pub file: PathBuf,
    /// The new data directory; must be absent or empty. By default the data directory of the configuration, which must
    /// have no store in it.
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Set a store that is there aside, as `store.before-restore-TIME`. The service must not run.
    #[arg(long)]
    pub replace: bool,
}

/// What a restore has done.
pub(super) struct Restored {
    backup: BackupView,
    /// Where the store is that was there before.
    set_aside: Option<PathBuf>,
}

/// Makes a store in `data_dir`.
pub(super) async fn restored(
    restore: &RestoreArgs,
    data_dir: &Path,
    console: &Console,
) -> Result<Restored, Text> {
    let target = data_dir.join(STORE);
    // A directory that was named must be as good as new; in that of the configuration only the store matters: keys and
    // backups may well have outlived it.
    let must_be_empty = if restore.to.is_some() && !restore.replace { data_dir } else { &target };
    let mut set_aside = None;
    if holds_anything(must_be_empty) {
        if !restore.replace {
            return Err(occupied(must_be_empty));
        }
        let aside = set_store_aside(&target).map_err(|error| not_set_aside(&target, &error))?;
        set_aside = Some(aside);
    }
    let outcome = fill(restore, data_dir, &target, console).await;
    if outcome.is_err()
        && let Some(aside) = &set_aside
    {
        // Back to where we were: what was restored in part is no store.
        let put_back = remove_if_there(&target).and_then(|()| std::fs::rename(aside, &target));
        put_back.map_err(|error| unusable(aside, &error))?;
    }
    Ok(Restored { backup: outcome?, set_aside })
}

async fn fill(
    restore: &RestoreArgs,
    data_dir: &Path,
    target: &Path,
    console: &Console,
) -> Result<BackupView, Text> {
    let restoring = Text::new("восстановление", "restoring");
    let made = DirBuilder::new().mode(0o700).recursive(true).create(target);
    made.map_err(|error| unusable(data_dir, &error))?;
    let (file, store) = (restore.file.clone(), target.to_owned());
    let outcome = blocking(console, &restoring, move || restore_backup(&file, &store)).await;
    if outcome.is_err() {
        // Half a store must not be in the way of the next attempt. What it was refused for is the better message.
        let _ = remove_if_there(target);
    }
    outcome.map(BackupView::from)
}

fn remove_if_there(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Gives the store another name, if nobody has it open.
fn set_store_aside(store: &Path) -> io::Result<PathBuf> {
    if let Ok(lock) = File::options().read(true).write(true).open(store.join(LOCK)) {
        lock.try_lock().map_err(|_| io::Error::other("a running edobridge has it open"))?;
    }
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let aside = store.with_file_name(format!("{STORE}.before-restore-{now}"));
    if aside.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    std::fs::rename(store, &aside)?;
    Ok(aside)
}

/// Whether there is anything at the path that a restore could damage or mix with.
fn holds_anything(dir: &Path) -> bool {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

fn occupied(dir: &Path) -> Text {
    let refused = backup_text(&crate::store::BackupError::TargetNotEmpty { dir: dir.to_owned() });
    Text::new(
        format!("{} Чтобы отложить прежнее хранилище в сторону: --replace.", refused.ru),
        format!("{} To set the present store aside: --replace.", refused.en),
    )
}

fn not_set_aside(store: &Path, error: &io::Error) -> Text {
    let store = store.display();
    Text::new(
        format!("{store} не удалось отложить в сторону: {error}. Остановите службу и повторите."),
        format!("{store} could not be set aside: {error}. Stop the service and repeat."),
    )
}

/// Prints what was done and what comes next.
pub(super) fn print(outcome: &Restored, dir: &Path, console: &Console) -> ExitStatus {
    let next = next_steps(dir);
    if console.format() == Format::Json {
        let set_aside = &outcome.set_aside;
        console.json(
            &json!({ "backup": outcome.backup, "data_dir": dir, "set_aside": set_aside, "next": next }),
        );
        return ExitStatus::Fine;
    }
    let done = Text::new(
        format!("Копия восстановлена в {}.", dir.display()),
        format!("The backup is restored in {}.", dir.display()),
    );
    console.line(console.paint(Style::Good, console.word(&done)));
    print_contents(&outcome.backup, console);
    if let Some(aside) = &outcome.set_aside {
        let aside = aside.display();
        console.say(&Text::new(
            format!("Прежнее хранилище отложено: {aside}. Удалите его, когда всё проверите."),
            format!("The store that was there is set aside: {aside}. Remove it when all is checked."),
        ));
    }
    let heading = Text::new("Что дальше", "What comes next");
    console.line(console.paint(Style::Heading, console.word(&heading)));
    for (number, step) in next.iter().enumerate() {
        console.line(format!("{}. {}", number + 1, console.word(step)));
    }
    ExitStatus::Fine
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
            "Что произошло после копии, хранилищу неизвестно. Поэтому перед каждой записью оно сначала ищет, не сделана ли она уже: документ в EasyDocs — по нашему номеру (нужен [easydocs.search]), подписанный файл — в папке, комментарий — по метке. Что найти нельзя, станет вопросом: edobridge dead-letters list.",
            "What happened after the backup is unknown to the store. So before each write it looks whether that was done already: the document in EasyDocs by our number (this needs [easydocs.search]), the signed file in its folder, the comment by its mark. What cannot be found becomes a question: edobridge dead-letters list.",
        ),
        Text::new(
            "Приложения порталов: токен, обновлённый после копии, в ней старый. Если портал его не примет, откройте приложение в Битрикс24 один раз. Ключ seal-key в копию не входит: без него откройте приложение на каждом портале.",
            "Applications of portals: a token that was renewed after the backup is old in it. If the portal refuses it, open the application in Bitrix24 once. The file seal-key is not in a backup: without it, open the application on every portal.",
        ),
        Text::new(
            format!(
                "Каталог должен принадлежать пользователю службы: chown -R edobridge: {dir}; в настройках: data_dir = \"{dir}\""
            ),
            format!(
                "The directory must belong to the user of the service: chown -R edobridge: {dir}; in the configuration: data_dir = \"{dir}\""
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
    use super::super::Context;
    use super::*;

    fn console() -> Console {
        let (env, language, format) = (Default::default(), Default::default(), Default::default());
        Console::new(&Context { config_path: None, env, language, format })
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
        let to = Some(dir.path().to_owned());
        let restore = RestoreArgs { file: "absent.backup".into(), to, replace: false };
        let refused = restored(&restore, dir.path(), &console()).await.err().unwrap();
        assert!(refused.en.contains("not empty"), "{}", refused.en);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_replaced_stays_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(STORE)).unwrap();
        std::fs::write(dir.path().join(STORE).join("precious"), "x").unwrap();
        let mut restore = RestoreArgs { file: "absent.backup".into(), to: None, replace: false };
        assert!(
            restored(&restore, dir.path(), &console()).await.is_err(),
            "nothing is restored over a store"
        );
        restore.replace = true;
        assert!(restored(&restore, dir.path(), &console()).await.is_err(), "there is no such backup");
        assert_eq!(std::fs::read(dir.path().join(STORE).join("precious")).unwrap(), b"x");
        let held = File::create(dir.path().join(STORE).join(LOCK)).unwrap();
        held.lock().unwrap();
        let refused = restored(&restore, dir.path(), &console()).await.err().unwrap();
        assert!(refused.en.contains("Stop the service"), "{}", refused.en);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
