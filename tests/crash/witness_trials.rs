//! The witness on trial: histories made by hand, a good one and a bad one for every law.

use super::history::{self, Call, Copy, Document, Fate, Record, Recorder, Search, Service, Source, stem};
use super::witness::{Finding, Law, Tally, judge, tally};
use serde_json::{Map, Value, json};

/// Files of the good history.
const SIGNED: usize = 1;
const REFUSED: usize = 2;
const KAZAKH: usize = 3;
const UNHEARD: usize = 4;
const STOPPED: usize = 5;

/// A history under construction; the ledger's numbers grow by themselves.
struct Play {
    records: Vec<Record>,
    calls: u64,
}

impl Play {
    fn new(search: Search) -> Self {
        Self { records: vec![Record::Began { at_ms: 0, seed: 1, kills: 1, search }], calls: 0 }
    }

    fn add(&mut self, record: Record) {
        self.records.push(record);
    }

    fn source(&mut self, number: usize, service: Service, fate: Fate) {
        let (stem, sha256) = (stem(number), format!("original-{number}"));
        self.add(Record::Source(Source {
            at_ms: 1,
            stem,
            file_id: 100 + number as u64,
            service,
            fate,
            sha256,
        }));
    }

    fn tried(&mut self, number: usize) {
        self.add(Record::Tried { at_ms: 2, stem: stem(number) });
    }

    fn acknowledged(&mut self, number: usize) {
        self.tried(number);
        self.add(Record::Acknowledged { at_ms: 3, stem: stem(number) });
    }

    fn call(&mut self, name: &str, effect: bool, facts: Value) {
        self.calls += 1;
        let facts: Map<String, Value> = facts.as_object().cloned().unwrap_or_default();
        let (call, side) = (name.to_owned(), "any".to_owned());
        let (n, at_ms, status) = (self.calls, self.calls as i64, Some(200));
        self.add(Record::Call(Call { n, at_ms, side, call, facts, effect, fault: None, status }));
    }

    /// The calls of a document up to its sending.
    fn begun(&mut self, number: usize, service: Service) {
        let id = format!("doc-{number}");
        match service {
            Service::EasyDocs => {
                self.call("easydocs.create", true, json!({"name": file(number), "document_id": id}));
            }
            Service::IDocs => {
                self.call("idocs.create", true, json!({"name": stem(number), "document_id": id}));
                self.call("idocs.route", true, json!({"document_id": id}));
                self.call("idocs.save", true, json!({"document_id": id}));
            }
        }
    }

    fn brought(&mut self, number: usize, service: Service) {
        let id = format!("doc-{number}");
        let fetch = if service == Service::EasyDocs { "easydocs.download" } else { "idocs.print_form" };
        self.call(fetch, false, json!({"document_id": id, "size": 7}));
        self.call("disk.folder.uploadfile", true, json!({"name": copy_name(number, "pdf")}));
        if service == Service::IDocs {
            self.call("disk.folder.uploadfile", true, json!({"name": copy_name(number, "zip")}));
        }
    }

    fn told(&mut self, number: usize) {
        self.call("crm.timeline.comment.add", true, json!({"comment_id": 200 + number}));
        self.call("im.notify.system.add", true, json!({"notice_id": 300 + number}));
    }

    /// What is there in the end.
    fn there(&mut self, number: usize, service: Service, fate: Fate) {
        let created_ms = self.created_ms(number);
        let signed = vec![format!("pdf-{number}"), format!("zip-{number}")];
        let (id, sha256) = (format!("doc-{number}"), format!("original-{number}"));
        self.add(Record::Document(Document { service, id, name: file(number), created_ms, sha256, signed }));
        let due = match (fate, service) {
            (Fate::Refused, _) => &[][..],
            (Fate::Signed, Service::EasyDocs) => &["pdf"],
            (Fate::Signed, Service::IDocs) => &["pdf", "zip"],
        };
        for kind in due {
            let sha256 = format!("{kind}-{number}");
            self.add(Record::Copy(Copy { file_id: 400, name: copy_name(number, kind), sha256 }));
        }
        let text = format!("Документ «{}» подписан.", file(number));
        self.add(Record::Notice { id: 300 + number as u64, user: 1, text: text.clone() });
        self.add(Record::Comment { id: 200 + number as u64, text: format!("{text}\nedobridge:abc") });
    }

    /// When its create was called.
    fn created_ms(&self, number: usize) -> i64 {
        let of_this = |record: &&Record| {
            matches!(record, Record::Call(call) if call.call.ends_with(".create")) && is_about(record, number)
        };
        match self.records.iter().find(of_this) {
            Some(Record::Call(call)) => call.at_ms,
            _ => panic!("a document that is there was created"),
        }
    }

    fn whole(&mut self, number: usize, service: Service, fate: Fate) {
        self.source(number, service, fate);
        self.acknowledged(number);
        self.begun(number, service);
        if fate == Fate::Signed {
            self.brought(number, service);
        }
        self.told(number);
        self.there(number, service, fate);
    }

    fn close(&mut self) {
        self.add(Record::Closed { at_ms: 9 });
    }
}

fn file(number: usize) -> String {
    format!("{}.pdf", stem(number))
}

fn copy_name(number: usize, kind: &str) -> String {
    format!("{}_signed.{kind}", stem(number))
}

/// One of each: signed, refused, with our own signature, never heard of, stopped.
fn good() -> Vec<Record> {
    let mut play = Play::new(Search::Off);
    play.whole(SIGNED, Service::EasyDocs, Fate::Signed);
    play.whole(REFUSED, Service::EasyDocs, Fate::Refused);
    play.whole(KAZAKH, Service::IDocs, Fate::Signed);
    play.source(UNHEARD, Service::EasyDocs, Fate::Signed);
    play.tried(UNHEARD);
    play.source(STOPPED, Service::EasyDocs, Fate::Signed);
    play.acknowledged(STOPPED);
    play.call("callback", false, json!({"document_id": "doc-1"}));
    play.add(dead_letter(&file(STOPPED), "create_unknown"));
    play.close();
    play.records
}

fn dead_letter(name: &str, code: &str) -> Record {
    Record::DeadLetter { document: "0198".into(), name: name.into(), code: code.into() }
}

/// The good history without the records that fit.
fn without(unwanted: impl Fn(&Record) -> bool) -> Vec<Record> {
    renumbered(good().into_iter().filter(|record| !unwanted(record)).collect())
}

/// The good history with one record more, before its end.
fn with(record: Record) -> Vec<Record> {
    let mut history = good();
    history.insert(history.len() - 1, record);
    renumbered(history)
}

/// With every record changed by `change`.
fn changed(change: impl Fn(&mut Record)) -> Vec<Record> {
    let mut history = good();
    history.iter_mut().for_each(change);
    renumbered(history)
}

/// A ledger without gaps.
fn renumbered(mut history: Vec<Record>) -> Vec<Record> {
    let calls = history.iter_mut().filter_map(|record| match record {
        Record::Call(call) => Some(call),
        _ => None,
    });
    for (n, call) in calls.enumerate() {
        call.n = n as u64 + 1;
    }
    history
}

/// The first call of this name, once more.
fn again(name: &str) -> Record {
    let mut calls = good().into_iter().filter(|record| is_call(record, name));
    calls.next().expect("the good history has such a call")
}

fn is_call(record: &Record, name: &str) -> bool {
    matches!(record, Record::Call(call) if call.call == name)
}

fn time_of(record: &Record) -> i64 {
    if let Record::Call(call) = record { call.at_ms } else { 0 }
}

fn is_about(record: &Record, number: usize) -> bool {
    serde_json::to_string(record).is_ok_and(|text| {
        let calls =
            [format!("doc-{number}\""), format!("_id\":{}", 200 + number), format!("_id\":{}", 300 + number)];
        text.contains(&stem(number)) || calls.iter().any(|part| text.contains(part))
    })
}

/// Exactly this law is broken, about this file.
#[track_caller]
fn assert_broken(history: &[Record], law: Law, about: &str) {
    let findings = judge(history);
    let all = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(!findings.is_empty(), "the witness sees nothing, and {} of {about} is broken", law.id());
    let right = |finding: &Finding| finding.law == law && finding.about == about;
    assert!(findings.iter().all(right), "{} of {about} is broken, the witness says:\n{all}", law.id());
}

/// Nothing is found where nothing is wrong.
pub fn good_history() {
    assert_eq!(judge(&good()), Vec::new());
    let counted = Tally { acknowledged: 4, signed: 2, refused: 1, at_idocs: 1, dead_letters: 1, helped: 0 };
    assert_eq!(tally(&good()), counted);
}

pub fn w0() {
    let mut gap = good();
    let first = gap.iter().position(|record| is_call(record, "callback")).expect("there is one");
    gap.remove(first - 3);
    // What hangs on the missing call may be missed too; that the history is broken must be said in any case.
    assert!(gap.iter().any(|record| matches!(record, Record::Call(_))));
    let mut skipped = good();
    skipped.iter_mut().for_each(|record| {
        if let Record::Call(call) = record
            && call.call == "callback"
        {
            call.n += 1;
        }
    });
    assert_broken(&skipped, Law::Blind, "history");
    let mut cut = good();
    cut.pop();
    assert_broken(&cut, Law::Blind, "history");
    let mut nothing = Play::new(Search::On);
    nothing.close();
    assert_broken(&nothing.records, Law::Blind, "history");
}

pub fn w1() {
    let told = |record: &Record| {
        matches!(record, Record::Source(_) | Record::Tried { .. } | Record::Acknowledged { .. })
    };
    for number in [SIGNED, REFUSED, KAZAKH, STOPPED] {
        let history = without(|record| is_about(record, number) && !told(record));
        assert_broken(&history, Law::Lost, &stem(number));
    }
}

pub fn w2() {
    let (id, name) = ("doc-x".to_owned(), file(SIGNED));
    let (sha256, signed) = (format!("original-{SIGNED}"), Vec::new());
    let second = Document { service: Service::EasyDocs, id, name, created_ms: 1, sha256, signed };
    assert_broken(&with(Record::Document(second)), Law::SecondDocument, &stem(SIGNED));
    assert_broken(&with(again("easydocs.create")), Law::SecondDocument, &stem(SIGNED));
    for call in ["idocs.create", "idocs.route", "idocs.save"] {
        assert_broken(&with(again(call)), Law::SecondDocument, &stem(KAZAKH));
    }
}

pub fn w3() {
    assert_broken(&with(again("disk.folder.uploadfile")), Law::SecondFile, &stem(SIGNED));
    let name = format!("{}_signed (1).pdf", stem(SIGNED));
    let second = Copy { file_id: 401, name, sha256: format!("zip-{SIGNED}") };
    assert_broken(&with(Record::Copy(second)), Law::SecondFile, &stem(SIGNED));
}

pub fn w4() {
    let text = format!("Документ «{}» подписан.", file(SIGNED));
    let notice = Record::Notice { id: 999, user: 1, text: text.clone() };
    assert_broken(&with(notice), Law::SecondWord, &stem(SIGNED));
    let comment = Record::Comment { id: 999, text: format!("{text}\nedobridge:abc") };
    assert_broken(&with(comment), Law::SecondWord, &stem(SIGNED));
    let turn = |id| Record::Comment { id, text: format!("{}\nedobridge-our-turn:abc", file(KAZAKH)) };
    let mut history = with(turn(998));
    assert_eq!(judge(&history), Vec::new(), "the first comment in between is right");
    history.insert(history.len() - 1, turn(999));
    assert_broken(&history, Law::SecondWord, &stem(KAZAKH));
}

pub fn w5() {
    let untold = |record: &Record| {
        matches!(record, Record::Tried { .. } | Record::Acknowledged { .. }) && is_about(record, SIGNED)
    };
    assert_broken(&without(untold), Law::Uncalled, &stem(SIGNED));
    let unplaced = |record: &Record| matches!(record, Record::Source(source) if source.stem == stem(REFUSED));
    assert_broken(&without(unplaced), Law::Uncalled, &stem(REFUSED));
    let nameless = Record::Notice {
        id: 999, user: 1, text: "Документ «чужой.pdf» подписан.".into()
    };
    assert_broken(&with(nameless), Law::Uncalled, "history");
}

pub fn w6() {
    let sent = changed(|record| {
        if let Record::Document(document) = record
            && document.id == "doc-2"
        {
            document.sha256 = "original-1".into();
        }
    });
    assert_broken(&sent, Law::OtherBytes, &stem(REFUSED));
    let brought = changed(|record| {
        if let Record::Copy(copy) = record
            && copy.sha256 == "pdf-1"
        {
            copy.sha256 = "original-1".into();
        }
    });
    assert_broken(&brought, Law::OtherBytes, &stem(SIGNED));
    let twice = changed(|record| {
        if let Record::Copy(copy) = record
            && copy.sha256 == "zip-3"
        {
            copy.sha256 = "pdf-3".into();
        }
    });
    assert_broken(&twice, Law::OtherBytes, &stem(KAZAKH));
}

pub fn w7() {
    let swapped = |one: &'static str, other: &'static str, number: usize| {
        let mut history = good();
        let place = |name: &str| {
            let found = history.iter().position(|record| is_call(record, name) && is_about(record, number));
            found.expect("the good history has such a call")
        };
        let (a, b) = (place(one), place(other));
        let (first, second) = (time_of(&history[a]), time_of(&history[b]));
        for (place, at) in [(a, second), (b, first)] {
            if let Record::Call(call) = &mut history[place] {
                call.at_ms = at;
            }
        }
        history
    };
    let late = changed(|record| {
        if let Record::Document(document) = record
            && document.id == "doc-1"
        {
            document.created_ms = 1_000;
        }
    });
    assert_broken(&late, Law::Disorder, &stem(SIGNED));
    for (one, other) in [
        ("easydocs.download", "disk.folder.uploadfile"),
        ("disk.folder.uploadfile", "crm.timeline.comment.add"),
        ("crm.timeline.comment.add", "im.notify.system.add"),
    ] {
        assert_broken(&swapped(one, other, SIGNED), Law::Disorder, &stem(SIGNED));
    }
    assert_broken(&swapped("idocs.route", "idocs.save", KAZAKH), Law::Disorder, &stem(KAZAKH));
    assert_broken(&swapped("idocs.save", "idocs.print_form", KAZAKH), Law::Disorder, &stem(KAZAKH));
    let unfetched = without(|record| is_call(record, "easydocs.download"));
    assert_broken(&unfetched, Law::Disorder, &stem(SIGNED));
    let name = copy_name(REFUSED, "pdf");
    let copy = Copy { file_id: 401, name, sha256: format!("pdf-{REFUSED}") };
    assert_broken(&with(Record::Copy(copy)), Law::Disorder, &stem(REFUSED));
}

pub fn w8() {
    let no_word = |record: &Record| matches!(record, Record::Notice { .. }) && is_about(record, SIGNED);
    assert_broken(&without(no_word), Law::Unended, &stem(SIGNED));
    let no_archive = |record: &Record| matches!(record, Record::Copy(copy) if copy.sha256 == "zip-3");
    assert_broken(&without(no_archive), Law::Unended, &stem(KAZAKH));
    // Never acknowledged, but begun all the same: then it has to be brought to its end.
    let unheard = |record: &Record| {
        matches!(record, Record::Acknowledged { .. } | Record::Comment { .. }) && is_about(record, REFUSED)
    };
    assert_broken(&without(unheard), Law::Unended, &stem(REFUSED));
}

pub fn w9() {
    assert_broken(&with(dead_letter(&file(STOPPED), "panic")), Law::Unlawful, &stem(STOPPED));
    let helped = Record::Helped {
        at_ms: 5,
        document: "0198".into(),
        name: file(SIGNED),
        code: "identity_conflict".into(),
        remedy: "retry".into(),
    };
    assert_broken(&with(helped), Law::Unlawful, &stem(SIGNED));
    let searchable = changed(|record| {
        if let Record::Began { search, .. } = record {
            *search = Search::On;
        }
    });
    assert_broken(&searchable, Law::Unlawful, &stem(STOPPED));
    let before_its_name_is_known = changed(|record| {
        if let Record::DeadLetter { name, .. } = record {
            *name = format!("drive file {}", 100 + STOPPED);
        }
    });
    assert_eq!(judge(&before_its_name_is_known), Vec::new());
}

pub fn read_back() {
    let dir = tempfile::tempdir().expect("a directory for the test");
    let path = dir.path().join("history.jsonl");
    let mut recorder = Recorder::create(&path);
    let written = good();
    for record in &written[..written.len() - 1] {
        recorder.write(record);
    }
    let path = recorder.close();
    let read = history::read(&path).expect("it was just written");
    assert_eq!(read[..read.len() - 1], written[..written.len() - 1]);
    assert_eq!(judge(&read), Vec::new());
    std::fs::write(&path, "{\"what\":\"closed\",\"at_ms\":1}\n{\"what\":\"clo").expect("a torn history");
    let torn = history::read(&path).expect_err("a torn line is no record");
    assert!(torn.contains("line 2"), "{torn}");
}
