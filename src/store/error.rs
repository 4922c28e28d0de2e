//! What can go wrong with the store, in terms that a caller can decide by and a person can act on.

use super::records::DecodeError;
use crate::domain::{FileDigest, SagaId, Text};
use crate::saga::document::Claim;
use std::path::{Path, PathBuf};

/// An operation of the store failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store cannot do this now: disk full, I/O error, view being rebuilt. It mends itself when it can.
    ///
    /// Nothing was acknowledged. After a write the outcome is *not done* in all cases but one: when the disk
    /// refuses even the removal of the unfinished group **and** the process then dies, the group may be found
    /// again at the next start. So a caller treats it as an unknown outcome and reads before repeating; every
    /// write of this store is guarded (compare-and-swap, dedupe), so a repeat is safe.
    #[error("the store is unavailable: {}", reason.en)]
    Unavailable {
        /// Why, and what to do.
        reason: Text,
    },
    /// One command is larger than the store takes.
    #[error("{what} has {bytes} bytes, the store takes {max}")]
    TooLarge {
        /// What it was.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// A record breaks a rule that every stored record must keep; it was not written.
    #[error("saga {saga} breaks a rule of the store: {rule}")]
    Broken {
        /// Whose record.
        saga: SagaId,
        /// Which rule.
        rule: &'static str,
    },
    /// A file that a record names is not in the spool; the record was not written.
    #[error("the spool does not hold file {digest:?}")]
    SpoolFileMissing {
        /// Which file.
        digest: FileDigest,
    },
    /// A stored value cannot be understood.
    #[error("a stored value cannot be read: {key}")]
    Record {
        /// Tree and key, for a person.
        key: String,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// The sentence for a person.
    pub fn text(&self) -> Text {
        match self {
            Self::Unavailable { reason } => reason.clone(),
            Self::TooLarge { bytes, max, .. } => Text::new(
                format!("Запись слишком велика: {bytes} байт при пределе {max}. Она не принята."),
                format!("The entry is too large: {bytes} bytes, the limit is {max}. It was not accepted."),
            ),
            Self::Broken { saga, rule } => Text::new(
                format!(
                    "Запись документа {saga} нарушает правило хранилища ({rule}) и не сохранена. Сообщите разработчикам."
                ),
                format!(
                    "The record of document {saga} breaks a rule of the store ({rule}) and was not saved. Please report it."
                ),
            ),
            Self::SpoolFileMissing { digest } => Text::new(
                format!("В хранилище нет файла {}. Он будет получен заново.", digest.to_hex()),
                format!("The spool does not hold file {}. It has to be fetched again.", digest.to_hex()),
            ),
            Self::Record { key, .. } => Text::new(
                format!(
                    "Запись {key} повреждена или создана более новой версией. Запустите `edobridge doctor`."
                ),
                format!("Entry {key} is damaged or was written by a newer version. Run `edobridge doctor`."),
            ),
            Self::Closed => Text::new(
                "Хранилище закрыто: программа завершается.",
                "The store is closed: the program is stopping.",
            ),
        }
    }
}

/// A commit was not done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// The saga was changed by someone else since it was read, or the notice was consumed already. Read again.
    #[error("the saga or the notice was changed meanwhile")]
    Stale,
    /// An exclusive claim is held by another saga.
    #[error("the claim {claim:?} is held by saga {by}")]
    ClaimTaken {
        /// Which claim.
        claim: Claim,
        /// Who holds it.
        by: SagaId,
    },
    /// The store itself failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The store was not opened. Nothing was changed unless the variant says so.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the store in {} is open in another process", dir.display())]
    Locked {
        /// Which directory.
        dir: PathBuf,
    },
    /// It was written by a newer program; it is left untouched.
    #[error("the store has {what} of version {found}, this program knows versions up to {known}")]
    Newer {
        /// What is newer.
        what: String,
        /// Its version.
        found: u32,
        /// The newest that we know.
        known: u32,
    },
    /// An older store could not be backed up before its upgrade; it was not changed.
    #[error("{}", .reason.en)]
    NoWayBack {
        /// Why, with the remedy.
        reason: Text,
    },
    /// An option makes no sense.
    #[error("the option {option} is {found}, it must be {expected}")]
    Option {
        /// Its name.
        option: &'static str,
        /// Its value.
        found: u64,
        /// What it must be.
        expected: String,
    },
    /// The journal is damaged in the middle: entries after the damage would be lost silently.
    #[error("the journal is damaged in {} at byte {offset}: {detail}", segment.display())]
    DamagedJournal {
        /// The file.
        segment: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What was found.
        detail: String,
    },
    /// Journal entries are missing that nothing else holds.
    #[error("the journal does not hold entry {needed}: {detail}")]
    MissingJournal {
        /// The first entry that is needed.
        needed: u64,
        /// What there is instead.
        detail: String,
    },
    /// The view knows entries that the journal does not: journal files were lost.
    #[error("the journal ends at entry {journal_end}, but entry {view_at} was already applied; {} or a later file is missing", segment.display())]
    ViewAhead {
        /// The last entry of the journal.
        journal_end: u64,
        /// The last entry that was applied.
        view_at: u64,
        /// The file that should hold it.
        segment: PathBuf,
    },
    /// A file of the store is damaged and cannot be replaced from another.
    #[error("{} is damaged: {detail}", path.display())]
    DamagedFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The view could not be made, even anew.
    #[error("the view cannot be opened: {detail}")]
    View {
        /// What it said.
        detail: String,
    },
    /// The view has to be made anew, and the disk has no room for it. What it is made from was not touched.
    #[error("there is no room in {} to make the view anew: about {needed} bytes are needed, {free} are free", dir.display())]
    NoRoom {
        /// The directory of the store.
        dir: PathBuf,
        /// About how many bytes are needed.
        needed: u64,
        /// How many there are.
        free: u64,
    },
    /// Nothing can be written where the store lies.
    #[error("{} is on a disk that is mounted read-only", dir.display())]
    ReadOnly {
        /// The directory of the store.
        dir: PathBuf,
    },
    /// The operating system refused.
    #[error("{doing} {} failed", path.display())]
    Io {
        /// What was tried, as a gerund.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
}

impl OpenError {
    /// What the operating system refused because of the disk that the store in `dir` lies on is told of that disk.
    pub(super) fn on_disk_of(self, dir: &Path) -> Self {
        match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { dir: dir.to_owned() }
            }
            other => other,
        }
    }

    /// The sentence for a person, with the remedy.
    pub fn text(&self) -> Text {
        match self {
            Self::Locked { dir } => Text::new(
                format!(
                    "Хранилище {} уже открыто другим процессом edobridge. Остановите его или укажите другой каталог.",
                    dir.display()
                ),
                format!(
                    "The store {} is already open in another edobridge process. Stop that one, or name another directory.",
                    dir.display()
                ),
            ),
            Self::Newer { what, found, known } => Text::new(
                format!(
                    "Хранилище создано более новой версией edobridge ({what}: {found}, известно до {known}). Установите ту версию; хранилище не изменено. Вернуться к этой версии: edobridge backup restore --replace КАТАЛОГ_ДАННЫХ/backups/before-upgrade-НОМЕР.backup (самая новая такая копия; что было после неё, программа проверит сама)."
                ),
                format!(
                    "The store was written by a newer edobridge ({what}: {found}, known up to {known}). Install that version; the store was not changed. To go back to this version: edobridge backup restore --replace DATA_DIR/backups/before-upgrade-NUMBER.backup (the newest of them; what came after it is looked for)."
                ),
            ),
            Self::NoWayBack { reason } => reason.clone(),
            Self::Option { option, found, expected } => Text::new(
                format!("Настройка {option} = {found} недопустима: требуется {expected}."),
                format!("The setting {option} = {found} is not allowed: it must be {expected}."),
            ),
            Self::DamagedJournal { segment, offset, detail } => Text::new(
                format!(
                    "Журнал повреждён в середине: файл {}, байт {offset} ({detail}). Восстановите файл или весь каталог из резервной копии (`edobridge backup restore`); запуск мог бы потерять принятые документы.",
                    segment.display()
                ),
                format!(
                    "The journal is damaged in the middle: file {}, byte {offset} ({detail}). Restore the file, or the whole directory from a backup (`edobridge backup restore`); starting could lose accepted documents.",
                    segment.display()
                ),
            ),
            Self::MissingJournal { needed, detail } => Text::new(
                format!(
                    "В журнале нет записи {needed} ({detail}). Верните недостающие файлы каталога journal или восстановите хранилище из резервной копии."
                ),
                format!(
                    "The journal does not hold entry {needed} ({detail}). Bring back the missing files of the directory journal, or restore the store from a backup."
                ),
            ),
            Self::ViewAhead { segment, journal_end, view_at } => Text::new(
                format!(
                    "Журнал кончается записью {journal_end}, а применена уже запись {view_at}: потерян файл {} или следующие за ним. Верните их или восстановите хранилище из резервной копии.",
                    segment.display()
                ),
                format!(
                    "The journal ends at entry {journal_end}, but entry {view_at} was applied already: the file {} or later ones are lost. Bring them back, or restore the store from a backup.",
                    segment.display()
                ),
            ),
            Self::DamagedFile { path, detail } => Text::new(
                format!(
                    "Файл {} повреждён ({detail}). Восстановите хранилище из резервной копии.",
                    path.display()
                ),
                format!(
                    "The file {} is damaged ({detail}). Restore the store from a backup.",
                    path.display()
                ),
            ),
            Self::View { detail } => Text::new(
                format!(
                    "Представление данных (каталог view) не открывается даже заново: {detail}. Проверьте диск и место на нём."
                ),
                format!(
                    "The view (directory view) cannot be opened, even anew: {detail}. Check the disk and its free space."
                ),
            ),
            Self::NoRoom { dir, needed, free } => {
                let (dir, needed, free) = (dir.display(), needed.div_ceil(1 << 20), free >> 20);
                Text::new(
                    format!(
                        "На диске с {dir} не хватает места, чтобы построить представление данных заново: нужно около {needed} МиБ, свободно {free} МиБ. Принятое не потеряно. Освободите место (каталоги view.broken-* в нём можно удалить) и запустите снова."
                    ),
                    format!(
                        "The disk of {dir} has no room to make the view anew: about {needed} MiB are needed, {free} MiB are free. Nothing accepted is lost. Free some space (directories view.broken-* in it may be removed) and start again."
                    ),
                )
            }
            Self::ReadOnly { dir } => Text::new(
                format!(
                    "Диск с {} подключён только для чтения, а хранилище должно писать. Принятое не потеряно. Так система отключает и неисправный диск: посмотрите dmesg. Подключите его для записи (mount -o remount,rw) или укажите в data_dir другой каталог, и запустите снова.",
                    dir.display()
                ),
                format!(
                    "The disk of {} is mounted read-only, and the store has to write. Nothing accepted is lost. The system does this to a failing disk as well: see dmesg. Mount it for writing (mount -o remount,rw), or name another directory in data_dir, and start again.",
                    dir.display()
                ),
            ),
            Self::Io { doing, path, source } => Text::new(
                format!(
                    "Операция «{doing}» с {} не удалась: {source}. Проверьте права, диск и место на нём.",
                    path.display()
                ),
                format!(
                    "{doing} {} failed: {source}. Check permissions, the disk and its free space.",
                    path.display()
                ),
            ),
        }
    }
}

/// A file could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The spool holds as much as it may.
    #[error("the spool holds {held} bytes, the limit is {max}")]
    Full {
        /// What it holds, with what is being written.
        held: u64,
        /// The bound.
        max: u64,
    },
    /// The disk is nearly full; nothing new is taken.
    #[error("the disk has less free space than the store wants to keep")]
    DiskLow,
    /// The operating system refused.
    #[error("a file of the spool cannot be written or read")]
    Io(#[source] std::io::Error),
}

/// An error that [`SpoolWriter`](super::SpoolWriter) gave as an `io::Error` becomes what it was.
impl From<std::io::Error> for SpoolError {
    fn from(error: std::io::Error) -> Self {
        error.downcast::<Self>().unwrap_or_else(Self::Io)
    }
}

impl From<SpoolError> for std::io::Error {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::Io(error) => error,
            full @ (SpoolError::Full { .. } | SpoolError::DiskLow) => {
                Self::new(std::io::ErrorKind::StorageFull, full)
            }
        }
    }
}

impl SpoolError {
    /// The sentence for a person.
    pub fn text(&self) -> Text {
        match self {
            Self::Full { held, max } => Text::new(
                format!(
                    "Файловое хранилище заполнено: {held} из {max} байт. Дождитесь завершения документов или увеличьте предел."
                ),
                format!(
                    "The spool is full: {held} of {max} bytes. Wait for documents to finish, or raise the limit."
                ),
            ),
            Self::DiskLow => Text::new(
                "На диске мало места: новые файлы не принимаются. Освободите место, работа продолжится сама.",
                "The disk is nearly full: no new files are taken. Free some space; the work then goes on by itself.",
            ),
            Self::Io(source) => Text::new(
                format!("Файл не удалось записать или прочитать: {source}. Проверьте диск."),
                format!("A file could not be written or read: {source}. Check the disk."),
            ),
        }
    }
}

/// A backup was not made, or is not good.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file is not a backup, or is damaged.
    #[error("{} is not a whole backup: {detail}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// It was made by a newer program.
    #[error("the backup has {what} of version {found}, this program knows versions up to {known}")]
    Newer {
        /// What is newer.
        what: String,
        /// Its version.
        found: u32,
        /// The newest that we know.
        known: u32,
    },
    /// The directory to restore into has something in it.
    #[error("{} is not empty", dir.display())]
    TargetNotEmpty {
        /// Which directory.
        dir: PathBuf,
    },
    /// The file to write exists already.
    #[error("{} exists already", path.display())]
    TargetExists {
        /// Which file.
        path: PathBuf,
    },
    /// There is not enough room to restore it.
    #[error("{} has {free} free bytes, a restore needs {needed}", dir.display())]
    NoRoom {
        /// Where.
        dir: PathBuf,
        /// How many bytes are needed.
        needed: u64,
        /// How many there are.
        free: u64,
    },
    /// The restored directory does not open.
    #[error("the restored store does not open")]
    Open(#[from] OpenError),
    /// The store failed while the backup was made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system refused.
    #[error("{doing} {} failed", path.display())]
    Io {
        /// What was tried, as a gerund.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
}
