//! The outside witness: from the history of a storm to what is wrong with it.
//!
//! A pure function. It knows neither the store nor the code under test, and believes nothing that edobridge says of
//! itself but one thing: which documents it has stopped for a person, as its operator would read.
//!
//! | law | broken when |
//! |---|---|
//! | W0 | the history itself cannot be trusted: gaps in the ledger, no last look |
//! | W1 | an acknowledged event has left no trace at all |
//! | W2 | a second document at the signing service, a second route, a second sending |
//! | W3 | a second signed file |
//! | W4 | a second notice or comment |
//! | W5 | an effect for which nobody asked |
//! | W6 | what was sent or brought back has other bytes than it should |
//! | W7 | effects in an impossible order, or a signed file of a refused document |
//! | W8 | a document that is neither done nor a dead letter |
//! | W9 | a dead letter that nothing which happens in a storm explains |

use super::history::{Call, Copy, Document, Fate, Record, Search, Service, Source, stem_in};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The laws, see the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Law {
    Blind,
    Lost,
    SecondDocument,
    SecondFile,
    SecondWord,
    Uncalled,
    OtherBytes,
    Disorder,
    Unended,
    Unlawful,
}

impl Law {
    /// Its short name: `W1`.
    pub fn id(self) -> &'static str {
        match self {
            Self::Blind => "W0",
            Self::Lost => "W1",
            Self::SecondDocument => "W2",
            Self::SecondFile => "W3",
            Self::SecondWord => "W4",
            Self::Uncalled => "W5",
            Self::OtherBytes => "W6",
            Self::Disorder => "W7",
            Self::Unended => "W8",
            Self::Unlawful => "W9",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub law: Law,
    /// The file it is about; `history` where it is about no file.
    pub about: String,
    pub words: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.law.id(), self.about, self.words)
    }
}

/// How the documents of a history ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub acknowledged: usize,
    pub signed: usize,
    pub refused: usize,
    /// Signed or refused at iDocs: a part of both.
    pub at_idocs: usize,
    /// Stopped for a person in the end.
    pub dead_letters: usize,
    /// Stopped for a person at some time, and helped.
    pub helped: usize,
}

impl Tally {
    /// Adds that of another storm.
    pub fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.signed += other.signed;
        self.refused += other.refused;
        self.at_idocs += other.at_idocs;
        self.dead_letters += other.dead_letters;
        self.helped += other.helped;
    }
}

/// Dead letters that a storm of faults may lawfully leave: the tries or the rounds of looking are used up while the remote
/// does not answer, answers half, or answers with an error of its own, or while our own disk is full. What else stops a
/// document is a fault of ours.
const LAWFUL: [&str; 20] = [
    "unknown_outcome",
    "attempt_overdue",
    "unreachable",
    "timeout",
    "connection_cut",
    "html",
    "garbled_answer",
    "misshapen_answer",
    "unexpected_content",
    "no_result",
    "no_file_http_200",
    "no_download_link",
    "no_blob_id",
    "empty_answer",
    "not_a_pdf",
    "not_the_whole_file",
    "internal_server_error",
    "unavailable",
    "local_file",
    "spool",
];
/// And every 5xx without a code of its own.
const LAWFUL_STATUS: &str = "http_5";
/// Lawful only where the service cannot be searched.
const UNKNOWN_CREATE: &str = "create_unknown";

/// Whether a storm explains that a document stopped with this code.
pub fn is_lawful(code: &str, search: Search) -> bool {
    LAWFUL.contains(&code)
        || code.starts_with(LAWFUL_STATUS)
        || (code == UNKNOWN_CREATE && search == Search::Off)
}

/// Judges a whole history: what is wrong, in the order of the laws.
pub fn judge(history: &[Record]) -> Vec<Finding> {
    let seen = Seen::of(history);
    let mut findings = seen.blind_spots(history);
    for (stem, case) in &seen.cases {
        let mut of_case = Vec::new();
        case.doubles(&mut of_case);
        case.strangers(&mut of_case);
        case.bytes(&mut of_case);
        case.order(&mut of_case);
        case.ending(&mut of_case);
        findings.extend(of_case.into_iter().map(|(law, words)| Finding { law, about: stem.clone(), words }));
    }
    findings.extend(seen.stops());
    findings.extend(seen.nameless.iter().map(|what| Finding {
        law: Law::Uncalled,
        about: "history".to_owned(),
        words: format!("nothing that was put anywhere explains {what}"),
    }));
    findings.sort();
    findings
}

/// Counts how the documents ended.
pub fn tally(history: &[Record]) -> Tally {
    let seen = Seen::of(history);
    let mut tally = Tally::default();
    for case in seen.cases.values() {
        tally.acknowledged += usize::from(case.acknowledged);
        let done = case.source.filter(|source| case.is_done(source));
        tally.at_idocs += usize::from(done.is_some_and(|source| source.service == Service::IDocs));
        match done.map(|source| source.fate) {
            Some(Fate::Signed) => tally.signed += 1,
            Some(Fate::Refused) => tally.refused += 1,
            None => tally.dead_letters += usize::from(!case.stopped.is_empty()),
        }
    }
    let helped = history.iter().filter_map(|record| match record {
        Record::Helped { document, .. } => Some(document),
        _ => None,
    });
    tally.helped = helped.collect::<BTreeSet<_>>().len();
    tally
}

// ---- what was seen -----------------------------------------------------------------------------------------------

/// Everything about one file.
#[derive(Default)]
struct Case<'h> {
    source: Option<&'h Source>,
    tried: bool,
    acknowledged: bool,
    documents: Vec<&'h Document>,
    copies: Vec<&'h Copy>,
    /// Ids of notices of the end; invitations to sign are not among them.
    notices: Vec<u64>,
    /// Ids of comments by their mark.
    comments: BTreeMap<&'static str, Vec<u64>>,
    /// Codes of dead letters that are there in the end.
    stopped: Vec<&'h str>,
    /// When effects happened and good reads, in milliseconds, by stage.
    happened: BTreeMap<Stage, Vec<i64>>,
    /// Creates in the ledger. A create is written down when it is answered, which may be long after it: its time is
    /// that of the document.
    creates: usize,
}

/// What happens to a document, in the only order that makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Created,
    Routed,
    Sent,
    Fetched,
    Uploaded,
    Commented,
    Noticed,
}

/// Marks of comments; no mark is a part of another.
const MARKS: [&str; 3] = ["edobridge:", "edobridge-our-turn:", "edobridge-their-turn:"];
/// The comment that tells the end.
const LAST: &str = MARKS[0];

struct Seen<'h> {
    search: Search,
    cases: BTreeMap<String, Case<'h>>,
    /// What speaks of no file of the storm.
    nameless: Vec<String>,
    /// Stops of the run, mended or not: name and code.
    stops: BTreeSet<(&'h str, &'h str)>,
}

/// Which ids of the world belong to which file.
#[derive(Default)]
struct Index<'h> {
    documents: BTreeMap<&'h str, &'h str>,
    notices: BTreeMap<u64, &'h str>,
    comments: BTreeMap<u64, &'h str>,
    files: BTreeMap<u64, &'h str>,
}

impl<'h> Seen<'h> {
    fn of(history: &'h [Record]) -> Self {
        let mut seen =
            Self { search: Search::On, cases: BTreeMap::new(), nameless: Vec::new(), stops: BTreeSet::new() };
        let mut index = Index::default();
        for record in history {
            seen.note(record, &mut index);
        }
        for record in history {
            if let Record::Call(call) = record {
                seen.call(call, &index);
            }
            if let Record::DeadLetter { name, code, document } = record {
                seen.dead_letter(name, code, document, &index);
            }
        }
        seen
    }

    fn case(&mut self, stem: &str) -> &mut Case<'h> {
        self.cases.entry(stem.to_owned()).or_default()
    }

    fn named(&mut self, text: &'h str, what: &str) -> Option<&'h str> {
        let stem = stem_in(text);
        if stem.is_none() {
            self.nameless.push(format!("{what}: {text}"));
        }
        stem
    }

    fn note(&mut self, record: &'h Record, index: &mut Index<'h>) {
        match record {
            Record::Began { search, .. } => self.search = *search,
            Record::Source(source) => {
                index.files.insert(source.file_id, &source.stem);
                self.case(&source.stem).source = Some(source);
            }
            Record::Tried { stem, .. } => self.case(stem).tried = true,
            Record::Acknowledged { stem, .. } => self.case(stem).acknowledged = true,
            Record::Helped { name, code, .. } => {
                self.stops.insert((name, code));
            }
            Record::Document(document) => {
                let Some(stem) = self.named(&document.name, "a document") else { return };
                index.documents.insert(&document.id, stem);
                let case = self.case(stem);
                case.documents.push(document);
                case.happened.entry(Stage::Created).or_default().push(document.created_ms);
            }
            Record::Copy(copy) => {
                let Some(stem) = self.named(&copy.name, "a signed file") else { return };
                self.case(stem).copies.push(copy);
            }
            Record::Notice { id, text, .. } => {
                let Some(stem) = self.named(text, "a notice") else { return };
                if !text.contains("/sign/") {
                    index.notices.insert(*id, stem);
                    self.case(stem).notices.push(*id);
                }
            }
            Record::Comment { id, text } => {
                let Some(stem) = self.named(text, "a comment") else { return };
                let Some(mark) = MARKS.into_iter().find(|mark| text.contains(mark)) else {
                    self.nameless.push(format!("a comment without a mark: {text}"));
                    return;
                };
                if mark == LAST {
                    index.comments.insert(*id, stem);
                }
                self.case(stem).comments.entry(mark).or_default().push(*id);
            }
            Record::Call(_)
            | Record::DeadLetter { .. }
            | Record::Forged { .. }
            | Record::Happened { .. }
            | Record::Closed { .. } => {}
        }
    }

    fn dead_letter(&mut self, name: &'h str, code: &'h str, document: &str, index: &Index<'h>) {
        self.stops.insert((name, code));
        let of_file = || name.strip_prefix("drive file ")?.parse().ok();
        let stem = stem_in(name).or_else(|| index.files.get(&of_file()?).copied());
        match stem {
            Some(stem) => self.case(stem).stopped.push(code),
            None => self.nameless.push(format!("the dead letter {document} ({name}, {code})")),
        }
    }

    fn call(&mut self, call: &'h Call, index: &Index<'h>) {
        let fact = |name: &str| call.facts.get(name).and_then(serde_json::Value::as_str);
        let number = |name: &str| call.facts.get(name).and_then(serde_json::Value::as_u64);
        let by_document = || index.documents.get(fact("document_id")?).copied();
        let by_name = || fact("name").and_then(stem_in);
        let (stage, stem) = match (call.call.as_str(), call.effect) {
            ("easydocs.create" | "idocs.create", true) => return self.create(call, by_name()),
            ("idocs.route", true) => (Stage::Routed, by_document()),
            ("idocs.save", true) => (Stage::Sent, by_document()),
            // what is read of a document that is not ready has no size
            ("easydocs.download" | "idocs.print_form" | "idocs.archive", false)
                if number("size").is_some() =>
            {
                (Stage::Fetched, by_document())
            }
            ("disk.folder.uploadfile" | "upload.second_step", true) => (Stage::Uploaded, by_name()),
            ("crm.timeline.comment.add", true) => {
                (Stage::Commented, number("comment_id").and_then(|id| index.comments.get(&id).copied()))
            }
            (name, true) if name.starts_with("im.notify") => {
                (Stage::Noticed, number("notice_id").and_then(|id| index.notices.get(&id).copied()))
            }
            _ => return,
        };
        match stem {
            Some(stem) => self.case(stem).happened.entry(stage).or_default().push(call.at_ms),
            // a notice may be replaced, and comments in between have no place in the order
            None if matches!(stage, Stage::Commented | Stage::Noticed) => {}
            None => self.nameless.push(format!("the call {} ({})", call.n, call.call)),
        }
    }

    fn create(&mut self, call: &Call, stem: Option<&str>) {
        match stem {
            Some(stem) => self.case(stem).creates += 1,
            None => self.nameless.push(format!("the call {} ({})", call.n, call.call)),
        }
    }

    /// Whether the history can be judged at all.
    fn blind_spots(&self, history: &[Record]) -> Vec<Finding> {
        let mut spots = Vec::new();
        let mut before = 0;
        for record in history {
            if let Record::Call(call) = record {
                if call.n != before + 1 {
                    spots.push(format!("after call {before} of the ledger comes {}", call.n));
                }
                before = call.n;
            }
        }
        if !matches!(history.last(), Some(Record::Closed { .. })) {
            spots.push("it ends before the last look at the world".to_owned());
        }
        if self.cases.values().all(|case| case.source.is_none()) {
            spots.push("there is nothing in it".to_owned());
        }
        let about = || "history".to_owned();
        spots.into_iter().map(|words| Finding { law: Law::Blind, about: about(), words }).collect()
    }

    /// Stops that nothing explains, also those that a person has mended since.
    fn stops(&self) -> Vec<Finding> {
        let unlawful = self.stops.iter().filter(|(_, code)| !is_lawful(code, self.search));
        let finding = |(name, code): &(&str, &str)| Finding {
            law: Law::Unlawful,
            about: stem_in(name).unwrap_or(name).to_owned(),
            words: format!("stopped with `{code}`"),
        };
        unlawful.map(finding).collect()
    }
}

// ---- the laws ----------------------------------------------------------------------------------------------------

type Problems = Vec<(Law, String)>;

impl Case<'_> {
    fn count(&self, stage: Stage) -> usize {
        self.happened.get(&stage).map_or(0, Vec::len)
    }

    fn comments_of(&self, mark: &str) -> usize {
        self.comments.get(mark).map_or(0, Vec::len)
    }

    /// Files that come back: the signed one, from iDocs also the archive of evidence.
    fn copies_due(source: &Source) -> usize {
        match (source.fate, source.service) {
            (Fate::Refused, _) => 0,
            (Fate::Signed, Service::EasyDocs) => 1,
            (Fate::Signed, Service::IDocs) => 2,
        }
    }

    fn is_nothing(&self) -> bool {
        self.documents.is_empty()
            && self.copies.is_empty()
            && self.notices.is_empty()
            && self.comments.is_empty()
    }

    fn is_done(&self, source: &Source) -> bool {
        self.documents.len() == 1
            && self.copies.len() == Self::copies_due(source)
            && self.notices.len() == 1
            && self.comments_of(LAST) == 1
    }

    fn doubles(&self, problems: &mut Problems) {
        let documents = self.documents.len().max(self.creates);
        if documents > 1 {
            problems.push((Law::SecondDocument, format!("{documents} documents at the signing service")));
        }
        for (stage, what) in [(Stage::Routed, "routes"), (Stage::Sent, "sendings")] {
            if self.count(stage) > 1 {
                problems.push((Law::SecondDocument, format!("{} {what}", self.count(stage))));
            }
        }
        let due = self.source.map_or(1, Self::copies_due).max(1);
        let copies = self.copies.len().max(self.count(Stage::Uploaded));
        let names: BTreeSet<&str> = self.copies.iter().map(|copy| kind_of(&copy.name)).collect();
        if copies > due || names.len() < self.copies.len() {
            problems.push((Law::SecondFile, format!("{copies} signed files, {due} due")));
        }
        if self.notices.len() > 1 {
            problems.push((Law::SecondWord, format!("{} notices", self.notices.len())));
        }
        for (mark, ids) in self.comments.iter().filter(|(_, ids)| ids.len() > 1) {
            problems.push((Law::SecondWord, format!("{} comments `{mark}`", ids.len())));
        }
    }

    fn strangers(&self, problems: &mut Problems) {
        let why = match self.source {
            None => "no such file was put anywhere",
            Some(_) if !self.tried => "no genuine event has told of it",
            Some(_) => return,
        };
        let done = !self.is_nothing() || !self.happened.is_empty() || !self.stopped.is_empty();
        if done {
            problems.push((Law::Uncalled, format!("something was done although {why}")));
        }
    }

    fn bytes(&self, problems: &mut Problems) {
        for document in &self.documents {
            if self.source.is_some_and(|source| source.sha256 != document.sha256) {
                problems.push((Law::OtherBytes, format!("{} was made of other bytes", document.id)));
            }
        }
        for copy in &self.copies {
            let made = self.documents.iter().any(|document| document.signed.contains(&copy.sha256));
            if !made {
                problems.push((Law::OtherBytes, format!("nobody has signed the bytes of {}", copy.name)));
            }
        }
        let differ: BTreeSet<&str> = self.copies.iter().map(|copy| copy.sha256.as_str()).collect();
        if differ.len() < self.copies.len() {
            problems.push((Law::OtherBytes, "two signed files have the same bytes".to_owned()));
        }
    }

    fn order(&self, problems: &mut Problems) {
        let firsts: Vec<(Stage, i64)> = self
            .happened
            .iter()
            .filter_map(|(stage, places)| places.iter().min().map(|first| (*stage, *first)))
            .collect();
        for pair in firsts.windows(2) {
            let [(before, at), (after, then)] = pair else { continue };
            if at > then {
                problems.push((Law::Disorder, format!("{after:?} (at {then}) before {before:?} (at {at})")));
            }
        }
        let has = |stage| self.happened.contains_key(&stage);
        if has(Stage::Uploaded) && !has(Stage::Fetched) {
            problems
                .push((Law::Disorder, "a signed file was brought back that was never fetched".to_owned()));
        }
        if has(Stage::Noticed) && !has(Stage::Created) {
            problems.push((Law::Disorder, "the end was told of what had never begun".to_owned()));
        }
        if self.source.is_some_and(|source| source.fate == Fate::Refused) && !self.copies.is_empty() {
            problems.push((Law::Disorder, "a signed file of a refused document".to_owned()));
        }
    }

    fn ending(&self, problems: &mut Problems) {
        let Some(source) = self.source else { return };
        if self.is_done(source) || !self.stopped.is_empty() {
            return;
        }
        if self.is_nothing() {
            if self.acknowledged {
                problems.push((Law::Lost, "acknowledged, and left no trace".to_owned()));
            }
            return;
        }
        let words = format!(
            "neither done nor stopped: {} documents, {} of {} signed files, {} notices, {} last comments",
            self.documents.len(),
            self.copies.len(),
            Self::copies_due(source),
            self.notices.len(),
            self.comments_of(LAST),
        );
        // Doubles are told by their own law.
        let doubled = problems.iter().any(|(law, _)| {
            matches!(law, Law::SecondDocument | Law::SecondFile | Law::SecondWord | Law::Disorder)
        });
        if !doubled {
            problems.push((Law::Unended, words));
        }
    }
}

/// What tells the print form from the archive.
fn kind_of(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, end)| end)
}
