//! Did everything end right? Pure: what was planned is compared with what the witness saw in the emulated world.
//!
//! edobridge is not asked: its own word counts for nothing here. Invariants: a check that has nothing to look at is
//! wrong, not right; what nobody planned (a second document, a stray file) is found too.

use super::scenario::{Ending, SUFFIX, TWO_STEP_ABOVE_BYTES, Trouble, split};
use crate::domain::{CrmItem, FileDigest, Text};
use crate::sandbox::LedgerEntry;
use crate::sandbox::views::{CommentView, DocumentView, FileView, NoticeView};
use serde_json::Value;

/// What is expected of one document.
#[derive(Debug, Clone)]
pub struct Expectation {
    /// Name of its file.
    pub name: String,
    /// SHA-256 of the original.
    pub sha256: FileDigest,
    /// Id of the original: on the Drive, or within the deal's field.
    pub source_id: u64,
    /// The folder of the original, if it lies on the Drive.
    pub original_in: Option<u64>,
    /// The folder for the signed copy.
    pub signed_into: u64,
    /// The deal, if it came from one.
    pub deal: Option<CrmItem>,
    /// What was done to it.
    pub trouble: Trouble,
}

/// What the witness saw.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// All documents of the signing service.
    pub documents: Vec<DocumentView>,
    /// All files of the folders that matter.
    pub files: Vec<FileView>,
    /// All notices that anybody sees.
    pub notices: Vec<NoticeView>,
    /// All comments.
    pub comments: Vec<CommentView>,
    /// Everything that was asked and done, in order.
    pub ledger: Vec<LedgerEntry>,
}

/// One thing that had to be so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Stable name.
    pub code: &'static str,
    /// Whether it is so.
    pub right: bool,
    /// What was seen, in words.
    pub seen: Text,
}

/// The verdict over one document.
#[derive(Debug, Clone)]
pub struct DocumentVerdict {
    /// Everything that was checked.
    pub checks: Vec<Check>,
    /// How it ended, as the world shows it; none if it has not.
    pub ended: Option<Ending>,
    /// SHA-256 that the signing service's signed copy has.
    pub service_sha256: Option<FileDigest>,
    /// SHA-256 of the signed copy in the portal.
    pub portal_sha256: Option<FileDigest>,
    /// Calls about this document that the two services saw.
    pub calls: usize,
    /// Those of them whose answer never reached edobridge.
    pub answers_lost: usize,
}

impl DocumentVerdict {
    /// Whether everything is as it had to be.
    pub fn is_right(&self) -> bool {
        self.checks.iter().all(|check| check.right)
    }
}

/// The verdict over everything.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// One per expectation, in their order.
    pub documents: Vec<DocumentVerdict>,
    /// About the world as a whole: nothing there that nobody planned.
    pub world: Vec<Check>,
}

impl Verdict {
    /// Whether everything is as it had to be.
    pub fn is_right(&self) -> bool {
        self.documents.iter().all(DocumentVerdict::is_right) && self.world.iter().all(|check| check.right)
    }
}

/// Compares what was expected with what was seen.
pub fn judge(expectations: &[Expectation], evidence: &Evidence) -> Verdict {
    Verdict {
        documents: expectations.iter().map(|expected| Case { expected, evidence }.judge()).collect(),
        world: judge_world(expectations, evidence),
    }
}

fn judge_world(expectations: &[Expectation], evidence: &Evidence) -> Vec<Check> {
    let signed = expectations.iter().filter(|e| e.trouble.ending() == Ending::Signed).count();
    let originals = expectations.iter().filter(|e| e.original_in.is_some()).count();
    let deals = expectations.iter().filter(|e| e.deal.is_some()).count();
    vec![
        count(
            "documents_in_all",
            ("документов в EasyDocs всего", "documents in EasyDocs in all"),
            evidence.documents.len(),
            expectations.len(),
        ),
        count(
            "files_in_all",
            ("файлов в папках всего", "files in the folders in all"),
            evidence.files.len(),
            originals + signed,
        ),
        count(
            "notices_in_all",
            ("уведомлений всего", "notices in all"),
            evidence.notices.len(),
            expectations.len(),
        ),
        count("comments_in_all", ("комментариев всего", "comments in all"), evidence.comments.len(), deals),
        fact(
            "retry_happened",
            evidence.ledger.iter().any(|e| e.call == "easydocs.download" && e.fault == Some("status")),
            (
                "первое скачивание получило 503 и было повторено",
                "the first download got a 503 and was repeated",
            ),
            ("первое скачивание не получило 503", "the first download got no 503"),
        ),
    ]
}

fn count(code: &'static str, (ru, en): (&str, &str), seen: usize, expected: usize) -> Check {
    let text = if seen == expected {
        Text::new(format!("{ru}: {seen}"), format!("{en}: {seen}"))
    } else {
        Text::new(format!("{ru}: {seen}, а нужно {expected}"), format!("{en}: {seen} instead of {expected}"))
    };
    Check { code, right: seen == expected, seen: text }
}

fn fact(code: &'static str, right: bool, yes: (&str, &str), no: (&str, &str)) -> Check {
    let (ru, en) = if right { yes } else { no };
    Check { code, right, seen: Text::new(ru, en) }
}

/// One document and everything that was seen.
struct Case<'a> {
    expected: &'a Expectation,
    evidence: &'a Evidence,
}

impl<'a> Case<'a> {
    fn judge(&self) -> DocumentVerdict {
        let mut checks = vec![
            count(
                "one_document",
                ("документов в EasyDocs", "documents in EasyDocs"),
                self.documents().count(),
                1,
            ),
            self.arrived_intact(),
            self.signed_copies(),
            self.right_bytes(),
            count("one_notice", ("уведомлений", "notices"), self.notices(), 1),
            count(
                "comments",
                ("комментариев в сделке", "comments in the deal"),
                self.comments(),
                usize::from(self.expected.deal.is_some()),
            ),
            self.trouble_happened(),
        ];
        checks.extend(self.original_kept());
        let (calls, answers_lost) = self.calls();
        DocumentVerdict {
            checks,
            ended: self.ended(),
            service_sha256: self.service_sha256(),
            portal_sha256: self.copies().next().map(|file| file.sha256),
            calls,
            answers_lost,
        }
    }

    fn documents(&self) -> impl Iterator<Item = &'a DocumentView> + use<'a> {
        let (expected, evidence) = (self.expected, self.evidence);
        evidence.documents.iter().filter(move |d| d.file_name == expected.name)
    }

    fn document(&self) -> Option<&'a DocumentView> {
        self.documents().next()
    }

    fn is_signed(&self) -> bool {
        self.expected.trouble.ending() == Ending::Signed
    }

    fn service_sha256(&self) -> Option<FileDigest> {
        self.document().filter(|d| d.status == "signed").map(|d| d.signed_sha256)
    }

    /// Files that look like signed copies of this document, by name: right bytes or wrong.
    fn copies(&self) -> impl Iterator<Item = &'a FileView> + use<'a> {
        let begins = format!("{}{SUFFIX}", split(&self.expected.name).0);
        let folder = self.expected.signed_into;
        self.evidence.files.iter().filter(move |f| f.folder_id == folder && f.name.starts_with(&begins))
    }

    fn arrived_intact(&self) -> Check {
        let right = self.document().is_some_and(|d| d.sha256 == self.expected.sha256);
        fact(
            "arrived_intact",
            right,
            ("EasyDocs получил те же байты", "EasyDocs got the same bytes"),
            ("EasyDocs получил не те байты", "EasyDocs did not get the same bytes"),
        )
    }

    fn signed_copies(&self) -> Check {
        let expected = usize::from(self.is_signed());
        count("signed_files", ("подписанных файлов", "signed files"), self.copies().count(), expected)
    }

    fn right_bytes(&self) -> Check {
        let service = self.service_sha256();
        let right = if self.is_signed() {
            service.is_some()
                && self.copies().all(|file| Some(file.sha256) == service)
                && self.copies().next().is_some()
        } else {
            service.is_none()
        };
        fact(
            "right_bytes",
            right,
            ("байты подписи те, что создал EasyDocs", "the signed bytes are those that EasyDocs made"),
            ("подписанные байты не те или их нет", "the signed bytes are wrong or missing"),
        )
    }

    /// Signed and delivered, or refused; what is between is no end.
    fn ended(&self) -> Option<Ending> {
        match self.document()?.status.as_str() {
            "signed" if self.copies().next().is_some() => Some(Ending::Signed),
            "rejected" | "declined" => Some(Ending::Refused),
            _ => None,
        }
    }

    /// Notices quote the name of the file.
    fn notices(&self) -> usize {
        let quoted = [format!("«{}»", self.expected.name), format!("\"{}\"", self.expected.name)];
        let about = |text: &str| quoted.iter().any(|name| text.contains(name.as_str()));
        self.evidence.notices.iter().filter(|n| about(&n.text)).count()
    }

    fn comments(&self) -> usize {
        self.evidence.comments.iter().filter(|c| Some(c.item) == self.expected.deal).count()
    }

    /// The person's own file is where it was and as it was.
    fn original_kept(&self) -> Option<Check> {
        let folder = self.expected.original_in?;
        let kept = self.evidence.files.iter().any(|f| {
            f.folder_id == folder && f.id == self.expected.source_id && f.sha256 == self.expected.sha256
        });
        Some(fact(
            "original_kept",
            kept,
            ("исходный файл на месте", "the original is in its place"),
            ("исходный файл изменён или пропал", "the original was changed or is gone"),
        ))
    }

    /// A demo that shows troubles has to prove that they happened.
    fn trouble_happened(&self) -> Check {
        let right = match self.expected.trouble {
            Trouble::Nothing => self.document().is_some(),
            Trouble::Large => self.came_in_two_steps(),
            Trouble::Refused => self.document().is_some_and(|d| d.status == "rejected"),
            Trouble::AnswerLost => self.creates().any(|entry| entry.effect && entry.status.is_none()),
            Trouble::CallbackThrice => self.document().is_some_and(|d| d.callbacks_acknowledged >= 3),
            Trouble::CallbackEarly => self.callback_came_first(),
            Trouble::SignedWhileDead => self.callbacks().any(|entry| entry.status.is_none()),
            Trouble::KilledInCreate => {
                self.creates().any(|entry| entry.effect && entry.fault == Some("slow"))
            }
        };
        let words = self.expected.trouble.words();
        let seen = if right {
            words
        } else {
            Text::new(format!("не случилось: {}", words.ru), format!("did not happen: {}", words.en))
        };
        Check { code: "trouble_happened", right, seen }
    }

    fn creates(&self) -> impl Iterator<Item = &'a LedgerEntry> + use<'a> {
        let name = Value::from(self.expected.name.as_str());
        let ledger = self.evidence.ledger.iter();
        ledger.filter(move |e| e.call == "easydocs.create" && e.facts.get("name") == Some(&name))
    }

    fn callbacks(&self) -> impl Iterator<Item = &'a LedgerEntry> + use<'a> {
        let id = self.document().map(|d| Value::from(d.id.as_str()));
        let ledger = self.evidence.ledger.iter();
        ledger.filter(move |e| {
            e.call == "callback" && id.is_some() && e.facts.get("document_id") == id.as_ref()
        })
    }

    fn callback_came_first(&self) -> bool {
        let created = self.creates().find(|e| e.effect).map(|e| e.n);
        let called =
            self.callbacks().find(|e| e.status.is_some_and(|s| (200..300).contains(&s))).map(|e| e.n);
        created.zip(called).is_some_and(|(created, called)| called < created)
    }

    fn came_in_two_steps(&self) -> bool {
        let Some(service) = self.service_sha256().map(FileDigest::to_hex) else { return false };
        self.evidence.ledger.iter().any(|e| {
            let size = e.facts.get("size").and_then(Value::as_u64).unwrap_or(0);
            e.call == "upload.second_step"
                && e.effect
                && e.facts.get("sha256") == Some(&Value::from(service.as_str()))
                && size > TWO_STEP_ABOVE_BYTES as u64
        })
    }

    /// Calls about this document, and those of them whose answer was lost.
    fn calls(&self) -> (usize, usize) {
        let mut known: Vec<(&str, Value)> = vec![("name", self.expected.name.as_str().into())];
        // files of the CRM have numbers of their own, which may be those of other files on the Drive
        known.push(match self.expected.deal {
            Some(deal) => ("item_id", deal.id.into()),
            None => ("file_id", self.expected.source_id.into()),
        });
        for document in self.documents() {
            known.push(("document_id", document.id.as_str().into()));
            known.push(("external_id", document.external_id.as_str().into()));
        }
        known.extend(self.copies().map(|copy| ("name", copy.name.as_str().into())));
        let about = |e: &&LedgerEntry| known.iter().any(|(fact, value)| e.facts.get(fact) == Some(value));
        let ours = |e: &&LedgerEntry| e.call != "callback" && e.call != "event";
        let calls: Vec<&LedgerEntry> = self.evidence.ledger.iter().filter(ours).filter(about).collect();
        // a slow answer is the one during which the process was killed
        let lost = calls.iter().filter(|e| e.status.is_none() || e.fault == Some("slow")).count();
        (calls.len(), lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Side;
    use std::collections::BTreeMap;

    const FOLDER: u64 = 10;

    fn digest(n: u8) -> FileDigest {
        FileDigest([n; 32])
    }

    fn expectation(name: &str, trouble: Trouble) -> Expectation {
        Expectation {
            name: name.into(),
            sha256: digest(1),
            source_id: 100,
            original_in: Some(FOLDER),
            signed_into: FOLDER,
            deal: None,
            trouble,
        }
    }

    fn document(name: &str, status: &str) -> DocumentView {
        DocumentView {
            id: "ed-1".into(),
            external_id: "b24-1".into(),
            name: name.into(),
            file_name: name.into(),
            route_id: "17".into(),
            status: status.into(),
            sha256: digest(1),
            signed_sha256: digest(2),
            created_ms: 0,
            downloads: 1,
            callbacks_sent: 1,
            callbacks_acknowledged: 1,
        }
    }

    fn file(id: u64, name: &str, sha256: FileDigest) -> FileView {
        FileView { id, folder_id: FOLDER, name: name.into(), size: 1, sha256, created_by: 1 }
    }

    fn notice(name: &str) -> NoticeView {
        NoticeView { id: 1, user_id: 1, text: format!("Документ «{name}» подписан.") }
    }

    fn entry(n: u64, call: &str, facts: &[(&'static str, Value)]) -> LedgerEntry {
        LedgerEntry {
            n,
            at_ms: 0,
            side: Side::EasyDocs,
            call: call.into(),
            facts: facts.iter().cloned().collect::<BTreeMap<_, _>>(),
            effect: true,
            fault: None,
            status: Some(201),
        }
    }

    /// A world in which `a.pdf` went the whole way.
    fn good() -> Evidence {
        let tripped =
            LedgerEntry { fault: Some("status"), status: Some(503), ..entry(2, "easydocs.download", &[]) };
        Evidence {
            documents: vec![document("a.pdf", "signed")],
            files: vec![file(100, "a.pdf", digest(1)), file(101, "a_signed.pdf", digest(2))],
            notices: vec![notice("a.pdf")],
            comments: Vec::new(),
            ledger: vec![entry(1, "easydocs.create", &[("name", "a.pdf".into())]), tripped],
        }
    }

    fn wrong(trouble: Trouble, evidence: &Evidence) -> Vec<&'static str> {
        let verdict = judge(&[expectation("a.pdf", trouble)], evidence);
        let documents = verdict.documents.iter().flat_map(|d| d.checks.iter());
        documents.chain(&verdict.world).filter(|c| !c.right).map(|c| c.code).collect()
    }

    #[test]
    fn a_document_that_went_the_whole_way_is_right() {
        assert_eq!(wrong(Trouble::Nothing, &good()), [""; 0]);
        let verdict = judge(&[expectation("a.pdf", Trouble::Nothing)], &good());
        assert!(verdict.is_right());
        let document = &verdict.documents[0];
        assert_eq!((document.ended, document.calls, document.answers_lost), (Some(Ending::Signed), 1, 0));
        assert_eq!(document.portal_sha256, document.service_sha256);
    }

    #[test]
    fn an_empty_world_is_wrong() {
        let found = wrong(Trouble::Nothing, &Evidence::default());
        for code in [
            "one_document",
            "arrived_intact",
            "signed_files",
            "right_bytes",
            "one_notice",
            "trouble_happened",
        ] {
            assert!(found.contains(&code), "{code} in {found:?}");
        }
    }

    #[test]
    fn a_second_document_is_found() {
        let mut world = good();
        world.documents.push(document("a.pdf", "pending"));
        assert_eq!(wrong(Trouble::Nothing, &world), ["one_document", "documents_in_all"]);
    }

    #[test]
    fn a_second_copy_and_a_copy_with_other_bytes_are_found() {
        let mut world = good();
        world.files.push(file(102, "a_signed (1).pdf", digest(2)));
        assert_eq!(wrong(Trouble::Nothing, &world), ["signed_files", "files_in_all"]);
        let mut world = good();
        world.files[1].sha256 = digest(3);
        assert_eq!(wrong(Trouble::Nothing, &world), ["right_bytes"]);
    }

    #[test]
    fn a_copy_in_the_wrong_folder_is_no_copy() {
        let mut world = good();
        world.files[1].folder_id = FOLDER + 1;
        assert_eq!(wrong(Trouble::Nothing, &world), ["signed_files", "right_bytes"]);
    }

    #[test]
    fn a_missing_and_a_doubled_notice_are_found() {
        let mut world = good();
        world.notices.push(notice("a.pdf"));
        assert_eq!(wrong(Trouble::Nothing, &world), ["one_notice", "notices_in_all"]);
        world.notices.clear();
        assert_eq!(wrong(Trouble::Nothing, &world), ["one_notice", "notices_in_all"]);
        world.notices.push(notice("aa.pdf"));
        assert_eq!(wrong(Trouble::Nothing, &world), ["one_notice"]);
    }

    #[test]
    fn a_changed_original_is_found() {
        let mut world = good();
        world.files[0].sha256 = digest(9);
        assert_eq!(wrong(Trouble::Nothing, &world), ["original_kept"]);
    }

    #[test]
    fn a_refused_document_has_a_notice_and_no_file() {
        let mut world = good();
        world.documents[0].status = "rejected".into();
        assert_eq!(wrong(Trouble::Refused, &world), ["signed_files", "files_in_all"]);
        world.files.pop();
        assert_eq!(wrong(Trouble::Refused, &world), [""; 0]);
        world.ledger.pop();
        assert_eq!(wrong(Trouble::Refused, &world), ["retry_happened"]);
    }

    #[test]
    fn a_deal_wants_exactly_one_comment() {
        let deal = CrmItem { entity_type_id: 2, id: 501 };
        let mut expected = expectation("a.pdf", Trouble::Nothing);
        (expected.deal, expected.original_in) = (Some(deal), None);
        let mut world = good();
        world.files.remove(0);
        assert!(!judge(&[expected.clone()], &world).is_right());
        world.comments.push(CommentView { id: 1, item: deal, text: String::new() });
        assert!(judge(&[expected.clone()], &world).is_right());
        world.comments.push(CommentView { id: 2, item: deal, text: String::new() });
        assert!(!judge(&[expected], &world).is_right());
    }

    #[test]
    fn a_trouble_that_did_not_happen_is_wrong_and_one_that_did_is_right() {
        let missing = ["trouble_happened"];
        for trouble in [
            Trouble::AnswerLost,
            Trouble::KilledInCreate,
            Trouble::CallbackThrice,
            Trouble::CallbackEarly,
            Trouble::SignedWhileDead,
            Trouble::Large,
        ] {
            assert_eq!(wrong(trouble, &good()), missing, "{trouble:?}");
        }
        let callback =
            |n, status| LedgerEntry { status, ..entry(n, "callback", &[("document_id", "ed-1".into())]) };
        let mut world = good();
        world.ledger[0].status = None;
        assert_eq!(wrong(Trouble::AnswerLost, &world), [""; 0]);
        world.ledger[0].fault = Some("slow");
        assert_eq!(wrong(Trouble::KilledInCreate, &world), [""; 0]);
        world.documents[0].callbacks_acknowledged = 3;
        assert_eq!(wrong(Trouble::CallbackThrice, &world), [""; 0]);
        world.ledger.push(callback(3, None));
        assert_eq!(wrong(Trouble::SignedWhileDead, &world), [""; 0]);
        world.ledger.push(callback(4, Some(200)));
        assert_eq!(wrong(Trouble::CallbackEarly, &world), missing, "it came after the answer");
        world.ledger[0].n = 9;
        assert_eq!(wrong(Trouble::CallbackEarly, &world), [""; 0]);
        let size = Value::from(TWO_STEP_ABOVE_BYTES as u64 + 1);
        world.ledger.push(entry(
            11,
            "upload.second_step",
            &[("sha256", digest(2).to_hex().into()), ("size", size)],
        ));
        assert_eq!(wrong(Trouble::Large, &world), [""; 0]);
    }
}
