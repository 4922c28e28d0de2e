//! Documents as the admin API shows them: plain JSON, times in RFC 3339 (UTC), words in both languages.
//!
//! Apart from the stored record on purpose: that one is frozen for the disk, this one is a contract with programs.
//! The command line reads the same structs back.

use crate::domain::{SagaId, SpoolFile, Text, Timestamp};
use crate::saga::document::{
    DocumentSaga, HistoryEntry, ItemPick, Outcome, Source, Step, TimerKind, Work, words,
};
use serde::{Deserialize, Serialize};

/// A moment as text: `2026-02-03T04:05:06.789Z`.
pub fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| at.0.to_string(), |moment| format!("{moment:.3}"))
}

/// A document in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentLine {
    /// Its id.
    pub id: String,
    /// Name of its file; before the file is known, where it comes from.
    pub name: String,
    /// Its portal.
    pub portal: String,
    /// The rule that wants it; empty until one is chosen.
    pub rule: String,
    /// [`Step::name`].
    pub step: String,
    /// What the step does.
    pub step_text: Text,
    /// When the step was entered.
    pub step_since: String,
    /// When the trigger was accepted.
    pub created_at: String,
    /// When something was decided last.
    pub updated_at: String,
    /// "Why is it standing still?", in one sentence.
    pub why: Text,
    /// Code of the dead letter.
    pub dead_letter_code: Option<String>,
}

/// A document with everything that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentCard {
    /// What a list shows.
    #[serde(flatten)]
    pub line: DocumentLine,
    /// Number of decisions.
    pub revision: u64,
    /// Where the file is, as words: `drive file 9043`.
    pub source: String,
    /// The CRM item: `deal:501`.
    pub crm_item: Option<String>,
    /// Route at the signing service.
    pub route_id: String,
    /// Folder for the signed copy; none = that of the original.
    pub folder_id: Option<u64>,
    /// The file, once fetched.
    pub file: Option<FileView>,
    /// Our id at the signing service.
    pub external_id: String,
    /// The signing service's id.
    pub provider_document: Option<String>,
    /// The signing service's last word.
    pub provider_status: Option<String>,
    /// `open`, `signed` or `refused`.
    pub outcome: String,
    /// The one timer.
    pub timer: Option<TimerView>,
    /// Since when an effect is under way.
    pub in_flight_since: Option<String>,
    /// Failed attempts of the present step.
    pub tries: u32,
    /// The wait for signatures.
    pub waiting: Option<WaitingView>,
    /// The signed file, as long as we keep it.
    pub signed: Option<FileView>,
    /// The signed copy in the portal.
    pub delivered: Option<DeliveredView>,
    /// The comment in the timeline.
    pub comment_id: Option<u64>,
    /// Users to be told.
    pub notify: Vec<u64>,
    /// How many of them were told.
    pub notified: u32,
    /// Why it stopped.
    pub dead_letter: Option<DeadLetterView>,
    /// Why the present step has not succeeded yet.
    pub last_failure: Option<FailureView>,
    /// The last [`HISTORY_MAX`] entries, oldest first.
    pub history: Vec<HistoryView>,
}

/// How many history entries a card shows.
pub const HISTORY_MAX: usize = 500;

/// A file that we know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileView {
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Its size.
    pub size_bytes: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

/// The one timer of a live document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerView {
    /// When it fires.
    pub due: String,
    /// `lease`, `start`, `wait` or `grace`.
    pub kind: String,
}

/// The wait for signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingView {
    /// Since when.
    pub since: String,
    /// How often the service was asked.
    pub polls: u32,
    /// How often people were reminded.
    pub reminders: u32,
    /// When a person must look at it.
    pub deadline_at: Option<String>,
}

/// The signed copy in the portal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveredView {
    /// Drive id.
    pub file_id: u64,
    /// Its name.
    pub name: String,
    /// Its folder.
    pub folder_id: u64,
}

/// Why a document stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterView {
    /// Since when.
    pub at: String,
    /// The step that could not go on.
    pub from: String,
    /// Stable code.
    pub code: String,
    /// What happened.
    pub reason: Text,
    /// What to do.
    pub next_action: Text,
    /// The beginning of the remote's last answer, secrets cut.
    pub answer: Option<String>,
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureView {
    /// When.
    pub at: String,
    /// Stable code.
    pub code: String,
    /// In words.
    pub reason: Text,
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryView {
    /// When.
    pub at: String,
    /// The step after it.
    pub step: String,
    /// Stable code.
    pub what: String,
    /// In words.
    pub text: Text,
}

impl DocumentLine {
    /// The line of `saga` as of `now`.
    pub fn new(saga: &DocumentSaga, now: Timestamp) -> Self {
        Self {
            id: saga.id.to_string(),
            name: display_name(saga),
            portal: saga.portal.to_string(),
            rule: saga.delivery.rule.clone(),
            step: saga.step.name().to_owned(),
            step_text: words::step(saga.step),
            step_since: rfc3339(saga.step_since),
            created_at: rfc3339(saga.created_at),
            updated_at: rfc3339(saga.updated_at),
            why: words::why(saga, now),
            dead_letter_code: saga.dead_letter.as_ref().map(|dead| dead.code.clone()),
        }
    }
    /// The id, as a value.
    pub fn saga_id(&self) -> Option<SagaId> {
        self.id.parse().ok()
    }
    /// The step, as a value.
    pub fn step(&self) -> Option<Step> {
        Step::from_name(&self.step)
    }
}

impl DocumentCard {
    /// The card of `saga` as of `now`.
    pub fn new(saga: &DocumentSaga, history: &[HistoryEntry], now: Timestamp) -> Self {
        Self {
            line: DocumentLine::new(saga, now),
            revision: saga.revision,
            source: source_words(&saga.source),
            crm_item: saga.crm_item.map(|item| item.to_string()),
            route_id: saga.delivery.route_id.clone(),
            folder_id: saga.delivery.folder_id,
            file: saga.file.as_ref().map(|file| file_view(Some(&file.name), file.bytes)),
            external_id: saga.external_id.clone(),
            provider_document: saga.provider_document.clone(),
            provider_status: saga.provider_status.clone(),
            outcome: outcome_name(saga.outcome).to_owned(),
            timer: saga
                .timer
                .map(|timer| TimerView { due: rfc3339(timer.due), kind: timer_name(timer.kind).to_owned() }),
            in_flight_since: match saga.work {
                Work::Idle => None,
                Work::InFlight { since, .. } => Some(rfc3339(since)),
            },
            tries: saga.tries,
            waiting: waiting_view(saga),
            signed: saga.signed.map(|bytes| file_view(None, bytes)),
            delivered: saga.delivered.as_ref().map(|file| DeliveredView {
                file_id: file.file_id,
                name: file.name.clone(),
                folder_id: file.folder_id,
            }),
            comment_id: saga.comment_id,
            notify: saga.delivery.notify.clone(),
            notified: saga.notified,
            dead_letter: dead_letter_view(saga),
            last_failure: saga.last_failure.as_ref().map(|failure| FailureView {
                at: rfc3339(failure.at),
                code: failure.code.clone(),
                reason: failure.reason.clone(),
            }),
            history: history.iter().map(HistoryView::new).collect(),
        }
    }
}

impl HistoryView {
    fn new(entry: &HistoryEntry) -> Self {
        Self {
            at: rfc3339(entry.at),
            step: entry.step.name().to_owned(),
            what: entry.what.clone(),
            text: entry.text.clone(),
        }
    }
}

/// What a person recognises the document by.
pub fn display_name(saga: &DocumentSaga) -> String {
    saga.file.as_ref().map_or_else(|| source_words(&saga.source), |file| file.name.clone())
}

fn source_words(source: &Source) -> String {
    match source {
        Source::DriveFile { file_id } => format!("drive file {file_id}"),
        Source::CrmItem { item } => format!("{item}"),
        Source::CrmFile { item, field, file_id } => format!("{item} {field} file {file_id}"),
        Source::Generated { document_id } => format!("generated document {document_id}"),
        Source::OfItem { item, pick: ItemPick::Field(field) } => format!("{item} {field}"),
        Source::OfItem { item, pick: ItemPick::LatestGenerated } => format!("{item} generated document"),
    }
}

fn file_view(name: Option<&str>, file: SpoolFile) -> FileView {
    FileView { name: name.map(str::to_owned), size_bytes: file.size_bytes, sha256: file.digest.to_hex() }
}

fn waiting_view(saga: &DocumentSaga) -> Option<WaitingView> {
    saga.waiting.as_ref().map(|waiting| WaitingView {
        since: rfc3339(waiting.since),
        polls: waiting.polls,
        reminders: waiting.reminders,
        deadline_at: waiting.deadline_at.map(rfc3339),
    })
}

fn dead_letter_view(saga: &DocumentSaga) -> Option<DeadLetterView> {
    saga.dead_letter.as_ref().map(|dead| DeadLetterView {
        at: rfc3339(dead.at),
        from: dead.from.name().to_owned(),
        code: dead.code.clone(),
        reason: dead.reason.clone(),
        next_action: dead.next_action.clone(),
        answer: dead.answer.clone(),
    })
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Open => "open",
        Outcome::Signed => "signed",
        Outcome::Refused => "refused",
    }
}

fn timer_name(kind: TimerKind) -> &'static str {
    match kind {
        TimerKind::Lease => "lease",
        TimerKind::Start => "start",
        TimerKind::Wait => "wait",
        TimerKind::Grace => "grace",
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{live_saga, stopped_saga};
    use super::*;

    #[test]
    fn a_card_is_json_that_reads_back_and_says_why() {
        let saga = stopped_saga("Договор.pdf", "HTTP 422");
        let entry = HistoryEntry {
            at: Timestamp(1),
            step: Step::Create,
            what: "created".into(),
            text: Text::new("создан", "created"),
        };
        let card = DocumentCard::new(&saga, &[entry], Timestamp(90_000));
        let json = serde_json::to_value(&card).unwrap();
        assert_eq!(json["id"], "0198f00d-dead-beef-0123-456789abcdef");
        assert_eq!(json["step"], "parked");
        assert_eq!(json["dead_letter"]["code"], "http_422");
        assert_eq!(json["why"]["en"], "Stopped: HTTP 422 HTTP 422");
        assert_eq!(json["updated_at"], "1970-01-01T00:01:00.000Z");
        assert_eq!(json["history"][0]["step"], "create");
        assert_eq!(serde_json::from_value::<DocumentCard>(json).unwrap(), card);
    }

    #[test]
    fn a_live_document_shows_its_timer_and_one_without_a_file_its_source() {
        let mut saga = live_saga(Step::FetchSource);
        saga.file = None;
        let card = DocumentCard::new(&saga, &[], Timestamp(60_000));
        assert_eq!(card.line.name, "drive file 9043");
        assert_eq!(card.timer.unwrap().kind, "start");
        assert!(card.line.why.en.contains("30 s"), "{}", card.line.why.en);
    }
}
