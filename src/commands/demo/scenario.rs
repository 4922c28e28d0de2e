//! Which documents the demo sends, what is done to each, and what is expected of it. Data, and nothing else.
//!
//! Knows nothing of processes, sockets and screens. Invariants: no two documents have the same stem, no stem ends
//! like a signed copy, and no name can be taken for another one's, because the witness recognises documents by name.

use super::pdf;
use crate::domain::{FileDigest, Language, Text};
use crate::sandbox::{Chosen, Outcome, Script};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Put between stem and `.pdf` of a signed copy; the demo's rules say the same.
pub const SUFFIX: &str = "_signed";
/// Above this the two-step upload is used (the EasyDocs guide: 10 MB).
pub const TWO_STEP_ABOVE_BYTES: usize = 10 * 1024 * 1024;
/// Size of the generated large file: above the bound, but not so much that a debug build is slow.
const LARGE_BYTES: usize = 11 * 1024 * 1024;
/// Own files at most: a demo is watched, and a screen has so many lines.
pub const FILES_MAX: usize = 40;
/// Largest own file: what the configuration sends at most.
const FILE_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// Own files together: the emulated world keeps them in memory, together with their signed copies.
const FILES_BYTES_MAX: u64 = 400 * 1024 * 1024;
/// Characters of a name: longer ones are cut in notices, by which the witness recognises documents.
const NAME_CHARS_MAX: usize = 100;

/// Everything that is going to happen.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The documents, in the order in which they enter.
    pub documents: Vec<Planned>,
    /// One more, which our own side signs first; not with a person's own files.
    pub own_signature: Option<Planned>,
    /// Whether the process is killed in the middle.
    pub kill: Kill,
    /// How long people take to sign.
    pub sign_after: Duration,
}

/// Whether the process is killed in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// With SIGKILL, while documents are under way.
    InTheMiddle,
    /// It is left alone.
    Never,
}

/// One document.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Name of its file in the portal.
    pub name: String,
    /// Its bytes.
    pub bytes: Bytes,
    /// SHA-256 of them.
    pub sha256: FileDigest,
    /// How it gets to edobridge.
    pub entrance: Entrance,
    /// What is done to it.
    pub trouble: Trouble,
}

/// How a document gets to edobridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// Its file is put into a watched folder of the Drive.
    Folder,
    /// Its file is in a field of a deal, whose stage is then changed: the portal sends an event.
    Deal,
}

/// What is done to a document on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    Nothing,
    /// Its file is too large for an upload in one step.
    Large,
    /// A participant refuses to sign.
    Refused,
    /// It is created, and the answer that says so is lost.
    AnswerLost,
    /// Each callback comes three times, although each was acknowledged.
    CallbackThrice,
    /// The callback comes before the answer to the create.
    CallbackEarly,
    /// It is signed while edobridge is dead.
    SignedWhileDead,
    /// edobridge is killed when the document was created and the answer was still under way.
    KilledInCreate,
}

impl Trouble {
    /// Stable name, for JSON.
    pub fn code(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Large => "large_file",
            Self::Refused => "refused",
            Self::AnswerLost => "create_answer_lost",
            Self::CallbackThrice => "callback_three_times",
            Self::CallbackEarly => "callback_before_answer",
            Self::SignedWhileDead => "signed_while_dead",
            Self::KilledInCreate => "killed_during_create",
        }
    }

    /// A few words for the screen.
    pub fn words(self) -> Text {
        match self {
            Self::Nothing => Text::new("без помех", "nothing special"),
            Self::Large => Text::new("больше 10 МБ", "over 10 MB"),
            Self::Refused => Text::new("участник отказал", "a participant refuses"),
            Self::AnswerLost => Text::new("потерян ответ на создание", "create answer is lost"),
            Self::CallbackThrice => Text::new("уведомление трижды", "callback comes three times"),
            Self::CallbackEarly => Text::new("уведомление раньше ответа", "callback before the answer"),
            Self::SignedWhileDead => Text::new("подписан, пока мы лежали", "signed while we are dead"),
            Self::KilledInCreate => Text::new("SIGKILL посреди создания", "SIGKILL during the create"),
        }
    }

    /// How the document has to end.
    pub fn ending(self) -> Ending {
        match self {
            Self::Refused => Ending::Refused,
            Self::Nothing
            | Self::Large
            | Self::AnswerLost
            | Self::CallbackThrice
            | Self::CallbackEarly
            | Self::SignedWhileDead
            | Self::KilledInCreate => Ending::Signed,
        }
    }

    /// What the emulated signing service is told to do with it.
    pub fn script(self, sign_after: Duration) -> Script {
        let after_ms = u64::try_from(sign_after.as_millis()).ok();
        let script = Script { after_ms, ..Script::default() };
        match self {
            Self::Nothing | Self::Large | Self::KilledInCreate => script,
            Self::Refused => Script { outcome: Outcome::Rejected, ..script },
            Self::AnswerLost => Script { lose_create_answer: Chosen::Yes, ..script },
            Self::CallbackThrice => Script { callback_copies: 3, ..script },
            Self::CallbackEarly => Script { early_callback: Chosen::Yes, ..script },
            // The demo presses the button itself, at the right moment.
            Self::SignedWhileDead => Script { outcome: Outcome::Never, ..script },
        }
    }
}

/// How a document ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Signed, and the signed copy is in the portal.
    Signed,
    /// Refused: people are told, and there is no file.
    Refused,
}

impl Ending {
    /// Stable name, for JSON.
    pub fn code(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Refused => "refused",
        }
    }
    /// One word for the screen.
    pub fn word(self) -> Text {
        match self {
            Self::Signed => Text::new("подписан", "signed"),
            Self::Refused => Text::new("отказ", "refused"),
        }
    }
}

/// The person's files cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file cannot be read.
    #[error("reading {} failed", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is empty, too large, or no file.
    #[error("{} is no file of 1 byte to 100 MiB", .0.display())]
    Unfit(PathBuf),
    /// Too many files, or too many bytes.
    #[error("too many files or bytes")]
    TooMany,
}

impl FilesError {
    /// The sentence for a person.
    pub fn text(&self) -> Text {
        match self {
            Self::Unreadable { path, source } => Text::new(
                format!("Файл {} не прочитан ({source}): проверьте имя и права.", path.display()),
                format!(
                    "The file {} cannot be read ({source}): check its name and permissions.",
                    path.display()
                ),
            ),
            Self::Unfit(path) => Text::new(
                format!("{} не подходит: нужен обычный файл размером от 1 байта до 100 МиБ.", path.display()),
                format!("{} does not fit: give an ordinary file of 1 byte to 100 MiB.", path.display()),
            ),
            Self::TooMany => Text::new(
                format!("Файлов слишком много: дайте не больше {FILES_MAX} и не больше 400 МиБ вместе."),
                format!("These are too many files: give at most {FILES_MAX} and at most 400 MiB together."),
            ),
        }
    }
}

impl Scenario {
    /// The default set: one document per trouble.
    pub fn default_set(kill: Kill, sign_after: Duration, language: Language) -> Self {
        let documents = default_documents(kill)
            .into_iter()
            .map(|(name, entrance, trouble)| {
                planned(name.get(language), default_bytes(trouble), entrance, trouble)
            })
            .collect();
        let name = Text::new("Акт для Казахстана.pdf", "Deed for Kazakhstan.pdf");
        let bytes = default_bytes(Trouble::Nothing);
        let own = planned(name.get(language), bytes, Entrance::Folder, Trouble::Nothing);
        Self { documents, own_signature: Some(own), kill, sign_after }
    }

    /// The person's own files; each after the first suffers something, in turn. None of them is refused.
    ///
    /// # Errors
    /// [`FilesError`]: a file is missing, empty or too large, or there are too many.
    pub fn own_files(paths: &[PathBuf], kill: Kill, sign_after: Duration) -> Result<Self, FilesError> {
        if paths.len() > FILES_MAX {
            return Err(FilesError::TooMany);
        }
        let mut bytes_total: u64 = 0;
        let mut documents: Vec<Planned> = Vec::with_capacity(paths.len());
        for (index, path) in paths.iter().enumerate() {
            let bytes = read(path)?;
            bytes_total += bytes.len() as u64;
            if bytes_total > FILES_BYTES_MAX {
                return Err(FilesError::TooMany);
            }
            let name = portal_name(path, &documents);
            let trouble = own_trouble(index, paths.len(), kill, bytes.len());
            documents.push(planned(&name, bytes, Entrance::Folder, trouble));
        }
        Ok(Self { documents, own_signature: None, kill, sign_after })
    }

    /// The document during whose creation the process is killed.
    pub fn victim(&self) -> Option<&Planned> {
        self.documents.iter().find(|d| d.trouble == Trouble::KilledInCreate)
    }
}

fn planned(name: &str, bytes: Vec<u8>, entrance: Entrance, trouble: Trouble) -> Planned {
    let sha256 = FileDigest(Sha256::digest(&bytes).into());
    Planned { name: name.to_owned(), bytes: bytes.into(), sha256, entrance, trouble }
}

fn default_documents(kill: Kill) -> Vec<(Text, Entrance, Trouble)> {
    let folder = |ru: &str, en: &str, trouble| (Text::new(ru, en), Entrance::Folder, trouble);
    let mut documents = vec![
        folder("Договор поставки № 17.pdf", "Supply contract 17.pdf", Trouble::Nothing),
        folder("Проектная документация.pdf", "Design drawings.pdf", Trouble::Large),
        folder("Дополнительное соглашение.pdf", "Amendment.pdf", Trouble::Refused),
        folder("Акт сверки.pdf", "Reconciliation report.pdf", Trouble::AnswerLost),
        folder("Спецификация.pdf", "Specification.pdf", Trouble::CallbackThrice),
        folder("Счёт-фактура 204.pdf", "Invoice 204.pdf", Trouble::CallbackEarly),
        (Text::new("Коммерческое предложение.pdf", "Commercial offer.pdf"), Entrance::Deal, Trouble::Nothing),
    ];
    if kill == Kill::InTheMiddle {
        documents.extend([
            folder("Доверенность.pdf", "Power of attorney.pdf", Trouble::SignedWhileDead),
            folder("Акт выполненных работ.pdf", "Certificate of completion.pdf", Trouble::KilledInCreate),
        ]);
    }
    documents
}

fn default_bytes(trouble: Trouble) -> Vec<u8> {
    let text = trouble.words().en;
    let lines = ["edobridge demo", text.as_str()];
    match trouble {
        Trouble::Large => pdf::padded(&lines, LARGE_BYTES),
        Trouble::Nothing
        | Trouble::Refused
        | Trouble::AnswerLost
        | Trouble::CallbackThrice
        | Trouble::CallbackEarly
        | Trouble::SignedWhileDead
        | Trouble::KilledInCreate => pdf::small(&lines),
    }
}

/// The last file is the one during whose creation the process is killed, the first one waits meanwhile.
fn own_trouble(index: usize, count: usize, kill: Kill, size: usize) -> Trouble {
    let turns = [Trouble::AnswerLost, Trouble::CallbackThrice, Trouble::CallbackEarly];
    match kill {
        Kill::InTheMiddle if index + 1 == count => Trouble::KilledInCreate,
        Kill::InTheMiddle if index == 0 => Trouble::SignedWhileDead,
        Kill::InTheMiddle | Kill::Never if size > TWO_STEP_ABOVE_BYTES => Trouble::Large,
        Kill::Never if index == 0 => Trouble::Nothing,
        Kill::InTheMiddle | Kill::Never => turns[(index - 1) % turns.len()],
    }
}

fn read(path: &Path) -> Result<Vec<u8>, FilesError> {
    let unreadable = |source| FilesError::Unreadable { path: path.to_owned(), source };
    let meta = std::fs::metadata(path).map_err(unreadable)?;
    if !meta.is_file() || meta.len() == 0 || meta.len() > FILE_BYTES_MAX {
        return Err(FilesError::Unfit(path.to_owned()));
    }
    std::fs::read(path).map_err(unreadable)
}

/// The name under which a file goes into the portal: its own, changed only where the witness could mistake it.
fn portal_name(path: &Path, others: &[Planned]) -> String {
    let own = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let plain: String = own.chars().filter(|c| !c.is_control()).map(harmless).collect();
    let plain = plain.replace(SUFFIX, "-signed");
    let (stem, extension) = split(&plain);
    let stem: String = stem.trim().chars().take(NAME_CHARS_MAX).collect();
    let stem = if stem.is_empty() { "file".to_owned() } else { stem };
    let taken =
        |candidate: &str| others.iter().any(|o| split(&o.name).0.to_lowercase() == candidate.to_lowercase());
    // not ` (2)`: the Drive numbers its own copies like that
    let free = std::iter::once(stem.clone()).chain((2..).map(|n| format!("{stem}-{n}"))).find(|c| !taken(c));
    let extension: String = extension.chars().take(NAME_CHARS_MAX).collect();
    format!("{}{extension}", free.unwrap_or(stem))
}

/// Square brackets and quotation marks have a meaning in messages of the portal.
fn harmless(c: char) -> char {
    match c {
        '[' => '(',
        ']' => ')',
        '«' | '»' | '"' | '<' | '>' | '/' | '\\' | '|' | ':' | '*' | '?' => '-',
        other => other,
    }
}

/// Stem and extension, the latter with its dot.
pub fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 => name.split_at(dot),
        Some(_) | None => (name, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(names: &[&str], kill: Kill) -> Vec<(String, Trouble)> {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = names
            .iter()
            .enumerate()
            .map(|(n, name)| {
                // each in a folder of its own, so that names may repeat
                let folder = dir.path().join(n.to_string());
                std::fs::create_dir(&folder).unwrap();
                std::fs::write(folder.join(name), b"x").unwrap();
                folder.join(name)
            })
            .collect();
        let scenario = Scenario::own_files(&paths, kill, Duration::ZERO).unwrap();
        scenario.documents.into_iter().map(|d| (d.name, d.trouble)).collect()
    }

    #[test]
    fn the_default_set_has_every_trouble_and_one_large_file() {
        let scenario = Scenario::default_set(Kill::InTheMiddle, Duration::ZERO, Language::Ru);
        for trouble in [
            Trouble::Nothing,
            Trouble::Large,
            Trouble::Refused,
            Trouble::AnswerLost,
            Trouble::CallbackThrice,
            Trouble::CallbackEarly,
            Trouble::SignedWhileDead,
            Trouble::KilledInCreate,
        ] {
            let found = scenario.documents.iter().filter(|d| d.trouble == trouble);
            for document in found.clone() {
                let large = document.bytes.len() > TWO_STEP_ABOVE_BYTES;
                assert_eq!(large, trouble == Trouble::Large, "{}", document.name);
            }
            assert!(found.count() >= 1, "{trouble:?}");
        }
        assert!(scenario.documents.iter().any(|d| d.entrance == Entrance::Deal));
    }

    #[test]
    fn no_default_name_is_a_part_of_another_one() {
        for language in [Language::Ru, Language::En] {
            let names: Vec<String> = Scenario::default_set(Kill::InTheMiddle, Duration::ZERO, language)
                .documents
                .into_iter()
                .map(|d| d.name)
                .collect();
            for (i, one) in names.iter().enumerate() {
                assert!(
                    names.iter().enumerate().all(|(j, other)| i == j || !other.contains(one.as_str())),
                    "{one}"
                );
            }
        }
    }

    #[test]
    fn own_files_keep_their_names_unless_they_could_be_mistaken() {
        let names: Vec<String> = own(&["a.pdf", "A.docx", "b_signed.pdf", "[c] «d».pdf"], Kill::Never)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["a.pdf", "A-2.docx", "b-signed.pdf", "(c) -d-.pdf"]);
    }

    #[test]
    fn with_a_kill_the_last_own_file_is_the_victim_and_the_first_one_waits() {
        let troubles =
            |names: &[&str], kill| own(names, kill).into_iter().map(|(_, t)| t).collect::<Vec<_>>();
        assert_eq!(troubles(&["a.pdf"], Kill::InTheMiddle), [Trouble::KilledInCreate]);
        assert_eq!(
            troubles(&["a.pdf", "b.pdf", "c.pdf"], Kill::InTheMiddle),
            [Trouble::SignedWhileDead, Trouble::AnswerLost, Trouble::KilledInCreate]
        );
        assert_eq!(troubles(&["a.pdf", "b.pdf"], Kill::Never), [Trouble::Nothing, Trouble::AnswerLost]);
    }

    #[test]
    fn an_empty_or_missing_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.pdf");
        std::fs::write(&empty, b"").unwrap();
        let refused = |path: &Path| {
            Scenario::own_files(&[path.to_owned()], Kill::Never, Duration::ZERO).unwrap_err().text().en
        };
        assert!(refused(&empty).contains("empty.pdf"));
        assert!(refused(&dir.path().join("missing.pdf")).contains("missing.pdf"));
    }
}
