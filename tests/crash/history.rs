//! What an outside witness can know of a storm: what was put into folders, who was told and answered, every call that
//! the emulated world got, and what was there in the end.
//!
//! One record a line of JSON, so that a run can be judged again later. It knows nothing of edobridge's store, and
//! nothing of how a storm is made.
//!
//! Invariants: what is tried is written before it is tried; the last record of a whole history is `closed`.

use edobridge::sandbox::LedgerEntry;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// The signing service that a document goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    EasyDocs,
    IDocs,
}

/// What the people at the signing service do with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    Signed,
    Refused,
}

/// Whether EasyDocs can be asked for a document by our id. Without that an unknown outcome needs a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Search {
    On,
    Off,
}

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Record {
    /// The storm begins.
    Began { at_ms: i64, seed: u64, kills: usize, search: Search },
    /// A file was put into a folder; nobody was told yet.
    Source(Source),
    /// An event that tells of the file is about to be sent.
    Tried { at_ms: i64, stem: String },
    /// An event that tells of the file was answered with 200.
    Acknowledged { at_ms: i64, stem: String },
    /// A forged event that tells of the file was sent, and what was answered.
    Forged { at_ms: i64, stem: String, status: Option<u16> },
    /// What was done to the process, its disk or the remotes: for people who read the history.
    Happened { at_ms: i64, event: String },
    /// A call that the emulated world got or made.
    Call(Call),
    /// A person did what a dead letter asks for. The code is what the operator's API said.
    Helped { at_ms: i64, document: String, name: String, code: String, remedy: String },
    /// A document at a signing service, in the end.
    Document(Document),
    /// A file with signatures in a folder of the portal, in the end.
    Copy(Copy),
    /// A notice that its receiver still sees, in the end.
    Notice { id: u64, user: u64, text: String },
    /// A comment in a timeline, in the end.
    Comment { id: u64, text: String },
    /// A document that the operator's API calls stopped for a person, in the end.
    DeadLetter { document: String, name: String, code: String },
    /// Everything was looked at.
    Closed { at_ms: i64 },
}

/// A file in a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    pub at_ms: i64,
    /// Name up to its number: `storm-00007`.
    pub stem: String,
    pub file_id: u64,
    pub service: Service,
    pub fate: Fate,
    /// In hex.
    pub sha256: String,
}

/// A line of the sandbox's ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Position in the ledger, from 1, without gaps.
    pub n: u64,
    pub at_ms: i64,
    pub side: String,
    pub call: String,
    #[serde(default)]
    pub facts: Map<String, Value>,
    /// Whether the world was changed by it.
    pub effect: bool,
    pub fault: Option<String>,
    pub status: Option<u16>,
}

/// A document at a signing service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    pub service: Service,
    pub id: String,
    pub name: String,
    pub created_ms: i64,
    /// Of what was sent to be signed, in hex.
    pub sha256: String,
    /// Of the files with signatures that the service gives out, in hex.
    pub signed: Vec<String>,
}

/// A file with signatures in a folder of the portal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Copy {
    pub file_id: u64,
    pub name: String,
    /// In hex.
    pub sha256: String,
}

/// Writes a history, line by line.
pub struct Recorder {
    path: PathBuf,
    file: BufWriter<File>,
    /// Position in the ledger up to which it is written.
    seen: u64,
    faults: BTreeMap<&'static str, u64>,
}

impl Recorder {
    /// Begins a history in this file, in place of whatever it held.
    pub fn create(path: &Path) -> Self {
        let file = File::create(path).unwrap_or_else(|e| panic!("{} cannot be made: {e}", path.display()));
        Self { path: path.to_owned(), file: BufWriter::new(file), seen: 0, faults: BTreeMap::new() }
    }

    pub fn write(&mut self, record: &Record) {
        serde_json::to_writer(&mut self.file, record).expect("a record is JSON and there is room for it");
        self.file.write_all(b"\n").expect("there is room for the history");
    }

    /// Where the ledger was left off; what follows is given to [`Recorder::calls`].
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Takes over further lines of the ledger.
    pub fn calls(&mut self, entries: &[LedgerEntry]) {
        for entry in entries {
            let value = serde_json::to_value(entry).expect("a ledger entry is JSON");
            let call = serde_json::from_value(value).expect("a ledger entry has the members of a call");
            self.write(&Record::Call(call));
            self.seen = entry.n;
            if let Some(name) = entry.fault {
                *self.faults.entry(name).or_default() += 1;
            }
        }
    }

    /// Calls struck by faults so far, by the fault's name.
    pub fn faults(&self) -> &BTreeMap<&'static str, u64> {
        &self.faults
    }

    /// Ends the history and tells where it is.
    pub fn close(mut self) -> PathBuf {
        self.write(&Record::Closed { at_ms: now_ms() });
        self.file.flush().expect("there is room for the history");
        self.path
    }
}

/// Reads a history.
///
/// # Errors
/// The file cannot be read, or a line is no record, in words.
pub fn read(path: &Path) -> Result<Vec<Record>, String> {
    let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut records = Vec::new();
    for (n, line) in BufReader::new(file).lines().enumerate() {
        let at = || format!("{}, line {}", path.display(), n + 1);
        let line = line.map_err(|e| format!("{}: {e}", at()))?;
        records.push(serde_json::from_str(&line).map_err(|e| format!("{}: {e}", at()))?);
    }
    Ok(records)
}

/// The present, UTC milliseconds.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// What stands before the number in the names of a storm's files.
const STEM: &str = "storm-";
/// Digits of the number.
const STEM_DIGITS: usize = 5;

/// The name of a file up to its number.
pub fn stem(number: usize) -> String {
    format!("{STEM}{number:0STEM_DIGITS$}")
}

/// The stem that a name or a text speaks of.
pub fn stem_in(text: &str) -> Option<&str> {
    let at = text.find(STEM)?;
    text.get(at..at + STEM.len() + STEM_DIGITS)
}
