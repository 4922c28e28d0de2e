//! The store opened by a verb while the service does not run.
//!
//! Opening is no mere reading: it replays, and may rebuild the view. So it is done only by the user to whom the data
//! directory belongs (files made by another one would keep the service from starting), never for a store that is not
//! there, and the store is closed cleanly afterwards.

use super::console::Console;
use super::wiring;
use crate::config::Config;
use crate::domain::Text;
use crate::store::{OpenProgress, OpenReport, Store, StoreOptions};
use indicatif::ProgressBar;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Why a verb does not open the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// There is none yet.
    Absent,
    /// It belongs to another user.
    Foreign(Text),
    /// It does not open.
    Broken(Text),
}

impl Closed {
    /// The sentence for a person.
    pub fn text(&self, config: &Config) -> Text {
        match self {
            Self::Absent => {
                let dir = config.data_dir.display();
                Text::new(
                    format!("В {dir} хранилища ещё нет: его создаст первый запуск `edobridge serve`."),
                    format!("There is no store in {dir} yet: the first `edobridge serve` makes it."),
                )
            }
            Self::Foreign(text) | Self::Broken(text) => text.clone(),
        }
    }
}

/// Opens the store of `config`.
///
/// # Errors
/// [`Closed`].
pub async fn open(config: &Config, console: &Console) -> Result<(Store, OpenReport), Closed> {
    let options = wiring::store_options(config);
    if !options.dir.is_dir() {
        return Err(Closed::Absent);
    }
    if let Some(text) = foreign_owner(&options.dir) {
        return Err(Closed::Foreign(text));
    }
    let opening = Text::new("открытие хранилища", "opening the store");
    let bar = console.spinner(console.word(&opening).to_owned());
    let (shown, console) = (bar.clone(), console.clone());
    let outcome = tokio::task::spawn_blocking(move || open_blocking(options, &shown, &console)).await;
    bar.finish_and_clear();
    match outcome {
        Ok(outcome) => outcome,
        Err(panic) => {
            let words = format!("{panic}");
            Err(Closed::Broken(Text::new(words.clone(), words)))
        }
    }
}

fn open_blocking(
    options: StoreOptions,
    bar: &ProgressBar,
    console: &Console,
) -> Result<(Store, OpenReport), Closed> {
    let mut progress = |step: OpenProgress| bar.set_message(console.word(&progress_text(&step)).to_owned());
    Store::open(options, &mut progress).map_err(|error| Closed::Broken(error.text()))
}

/// What the opening of a store is doing, for people.
pub fn progress_text(step: &OpenProgress) -> Text {
    match step {
        OpenProgress::ReadingJournal { done, total } => {
            let percent = done.saturating_mul(100).checked_div(*total).unwrap_or(100);
            Text::new(format!("чтение журнала, {percent} %"), format!("reading the journal, {percent} %"))
        }
        OpenProgress::RebuildingView { reason } => {
            Text::new(format!("восстановление: {}", reason.ru), format!("rebuilding: {}", reason.en))
        }
        OpenProgress::LoadingSnapshot { done } => Text::new(
            format!("чтение снимка, записей: {done}"),
            format!("loading the snapshot, entries: {done}"),
        ),
        OpenProgress::OpeningView => Text::new("открытие представления", "opening the view"),
        OpenProgress::Counting => Text::new("подсчёт", "counting"),
        OpenProgress::KeepingWayBack => Text::new("копия перед обновлением", "a backup before the upgrade"),
    }
}

/// The complaint if `dir` belongs to another user than ours.
pub fn foreign_owner(dir: &Path) -> Option<Text> {
    let owner = std::fs::metadata(dir).ok()?.uid();
    let own = rustix::process::geteuid().as_raw();
    (owner != own).then(|| complaint(dir, owner, own))
}

fn complaint(dir: &Path, owner: u32, own: u32) -> Text {
    let dir = dir.display();
    Text::new(
        format!(
            "{dir} принадлежит пользователю {owner}, а команда запущена пользователем {own}: её файлы помешали бы службе. Запустите от имени службы: sudo -u '#{owner}' edobridge …"
        ),
        format!(
            "{dir} belongs to user {owner}, and this runs as user {own}: its files would get in the way of the service. Run it as the service does: sudo -u '#{owner}' edobridge …"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_directory_is_no_reason_to_complain_and_a_strangers_is() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(foreign_owner(dir.path()), None);
        let text = complaint(dir.path(), 991, 0);
        assert!(text.en.contains("sudo -u '#991'") && text.ru.contains("sudo -u '#991'"));
    }

    #[test]
    fn progress_through_an_empty_journal_is_whole() {
        let text = progress_text(&OpenProgress::ReadingJournal { done: 0, total: 0 });
        assert!(text.en.contains("100 %"), "{}", text.en);
    }
}
