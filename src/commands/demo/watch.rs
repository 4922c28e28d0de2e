//! What edobridge says of its documents: its admin API, asked again and again.
//!
//! A client like any other: it knows the paths and the members it needs, and nothing of how they are made. The demo
//! shows what is said here, but never judges by it.

use super::scenario::{Entrance, Planned};
use crate::domain::{Secret, Text};
use crate::saga::document::Step;
use serde::Deserialize;
use std::net::SocketAddr;
use std::time::Duration;

/// How long an answer is waited for: loopback, and small.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Documents of one page.
const PAGE: usize = 200;
/// Pages of one look: far more than the demo has documents.
const PAGES_MAX: usize = 20;
/// Events in a history that speak of something that went wrong and was mended.
const SETBACKS: [&str; 3] = ["outcome_unknown", "not_found", "parked"];

/// A client of the admin API.
#[derive(Debug, Clone)]
pub struct Watcher {
    http: reqwest::Client,
    operator: SocketAddr,
    token: Secret,
}

/// A document, as the list of the admin API has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Line {
    /// edobridge's id.
    pub id: String,
    /// Name of the file, or words for where it comes from.
    pub name: String,
    /// Name of the step.
    pub step: String,
    /// What the step does.
    pub step_text: Text,
    /// "Why is it standing still?"
    pub why: Text,
    /// More of a document that is being worked on.
    #[serde(skip)]
    pub detail: Detail,
}

/// What a list does not have: failures of the present step, and the pause before the next attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Detail {
    /// Failed attempts, as words with the last reason; none: nothing failed.
    pub hitch: Option<Text>,
    /// How long nothing is tried yet.
    pub pause: Option<Duration>,
}

impl Line {
    /// The step, if this program knows it.
    pub fn step(&self) -> Option<Step> {
        Step::from_name(&self.step)
    }
    /// Takes what the card says. It is younger than the list: with the list's step, its timer would be told as
    /// something that it is not.
    fn follow(&mut self, card: Card, now: jiff::Timestamp) {
        self.detail = card.detail(now);
        self.step = card.step;
        self.step_text = card.step_text;
        self.why = card.why;
    }
    /// Whether it is neither over nor waiting for people.
    fn is_busy(&self) -> bool {
        self.step().is_some_and(|step| step.is_live() && step != Step::AwaitSignature)
    }
    /// Whether nothing more happens to it by itself.
    pub fn is_over(&self) -> bool {
        self.step().is_some_and(|step| !step.is_live())
    }
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Line>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Card {
    step: String,
    step_text: Text,
    why: Text,
    #[serde(default)]
    history: Vec<HistoryLine>,
    tries: u32,
    in_flight_since: Option<String>,
    timer: Option<TimerLine>,
    last_failure: Option<FailureLine>,
}

#[derive(Deserialize)]
struct TimerLine {
    due: String,
    kind: String,
}

/// The timer that starts the next attempt; the others wait for somebody else.
const TIMER_OF_ATTEMPT: &str = "start";

#[derive(Deserialize)]
struct FailureLine {
    reason: Text,
}

impl Card {
    fn detail(&self, now: jiff::Timestamp) -> Detail {
        let reason = self.last_failure.as_ref().map(|failure| &failure.reason);
        let hitch = reason.map(|reason| match self.tries {
            0 => reason.clone(),
            n => Text::new(format!("неудач: {n}. {}", reason.ru), format!("failures: {n}. {}", reason.en)),
        });
        let timer = self.timer.as_ref().filter(|timer| timer.kind == TIMER_OF_ATTEMPT);
        let due = timer.and_then(|timer| timer.due.parse::<jiff::Timestamp>().ok());
        let pause = match (&self.in_flight_since, due) {
            (None, Some(due)) => Duration::try_from(due.duration_since(now)).ok(),
            (Some(_), _) | (None, None) => None,
        };
        Detail { hitch, pause }
    }
}

#[derive(Deserialize)]
struct HistoryLine {
    what: String,
}

/// edobridge did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No whole answer came.
    #[error("the admin API did not answer")]
    NoAnswer(#[source] reqwest::Error),
    /// It answered, but with an error.
    #[error("the admin API answered {0}")]
    Refused(u16),
}

impl From<reqwest::Error> for WatchError {
    fn from(error: reqwest::Error) -> Self {
        Self::NoAnswer(error)
    }
}

impl Watcher {
    /// A client for the listener at `operator`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(operator: SocketAddr, token: Secret) -> Result<Self, reqwest::Error> {
        Ok(Self { http: http_client()?, operator, token })
    }

    /// Whether edobridge says that it takes work.
    pub async fn is_ready(&self) -> bool {
        let asked = self.http.get(format!("http://{}/health/ready", self.operator)).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    }

    /// All documents.
    ///
    /// # Errors
    /// [`WatchError`], also while the process is dead.
    pub async fn lines(&self) -> Result<Vec<Line>, WatchError> {
        let mut lines = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut query = vec![("limit", PAGE.to_string())];
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            let page: Page = self.get("documents", &query).await?;
            lines.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        Ok(lines)
    }

    /// The same, with details of those that are being worked on.
    ///
    /// # Errors
    /// [`WatchError`], also while the process is dead.
    pub async fn lines_with_details(&self) -> Result<Vec<Line>, WatchError> {
        let mut lines = self.lines().await?;
        let busy = lines.iter_mut().filter(|line| line.is_busy());
        let asked = busy.map(|line| async {
            // A card that does not come now comes with the next look.
            if let Ok(card) = self.card(&line.id).await {
                line.follow(card, jiff::Timestamp::now());
            }
        });
        futures_util::future::join_all(asked).await;
        Ok(lines)
    }

    async fn card(&self, id: &str) -> Result<Card, WatchError> {
        self.get(&format!("documents/{id}"), &[]).await
    }

    /// How often something went wrong with a document and was mended, by its history.
    ///
    /// # Errors
    /// [`WatchError`].
    pub async fn setbacks(&self, id: &str) -> Result<usize, WatchError> {
        let card = self.card(id).await?;
        Ok(card.history.iter().filter(|entry| SETBACKS.contains(&entry.what.as_str())).count())
    }

    /// Brings a signature that was made elsewhere, as 1C does.
    ///
    /// # Errors
    /// [`WatchError`], also while the process is dead.
    pub async fn give_signature(&self, id: &str, cms: Vec<u8>) -> Result<(), WatchError> {
        let url = format!("http://{}/api/v1/documents/{id}/signature", self.operator);
        let request = self.http.post(url).bearer_auth(self.token.expose());
        let answer = request.header("Content-Type", "application/octet-stream").body(cms).send().await?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(WatchError::Refused(status.as_u16())),
        }
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, WatchError> {
        let url = format!("http://{}/admin/v1/{path}", self.operator);
        let answer = self.http.get(url).query(query).bearer_auth(self.token.expose()).send().await?;
        match answer.status() {
            status if status.is_success() => Ok(answer.json().await?),
            status => Err(WatchError::Refused(status.as_u16())),
        }
    }
}

/// Without the system's certificates it still reaches plain HTTP on loopback.
fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    let builder = || {
        let no_redirects = reqwest::redirect::Policy::none();
        reqwest::Client::builder().no_proxy().redirect(no_redirects).timeout(ANSWER_WITHIN)
    };
    builder().build().or_else(|_| builder().tls_certs_only([]).build())
}

/// The line that speaks of a planned document. Before its file was fetched, only the source's id is known.
pub fn line_of<'a>(lines: &'a [Line], planned: &Planned, source_id: u64) -> Option<&'a Line> {
    let begins = match planned.entrance {
        Entrance::Folder => format!("drive file {source_id}"),
        Entrance::Deal => format!("deal:{source_id}"),
    };
    let before_fetch = |line: &&Line| {
        let rest = line.name.strip_prefix(begins.as_str());
        // the reader of a deal ends when it has found the file, which then has a line of its own
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')) && !line.is_over()
    };
    lines.iter().find(|line| line.name == planned.name).or_else(|| lines.iter().find(before_fetch))
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{Kill, Scenario};
    use super::*;
    use crate::domain::Language;

    fn line(name: &str, step: &str) -> Line {
        let text = Text::default();
        let detail = Detail::default();
        Line {
            id: "1".into(),
            name: name.into(),
            step: step.into(),
            step_text: text.clone(),
            why: text,
            detail,
        }
    }

    #[test]
    fn a_document_is_found_by_its_source_first_and_by_its_name_later() {
        let documents = Scenario::default_set(Kill::Never, Duration::ZERO, Language::En).documents;
        let (folder, deal) = (&documents[0], documents.last().unwrap());
        let early = [line("drive file 70", "fetch_source"), line("drive file 7", "fetch_source")];
        assert_eq!(line_of(&early, folder, 7), Some(&early[1]));
        let late = [line("drive file 7", "fetch_source"), line(&folder.name, "create")];
        assert_eq!(line_of(&late, folder, 7), Some(&late[1]));
        let read = [line("deal:501", "ignored"), line("deal:501 ufCrmContract file 9", "fetch_source")];
        assert_eq!(line_of(&read, deal, 501), Some(&read[1]));
        assert_eq!(line_of(&read, deal, 50), None);
    }

    #[test]
    fn a_page_of_the_admin_api_is_read_with_members_we_do_not_know() {
        let text = r#"{"items": [{"id": "a", "name": "x.pdf", "portal": "demo", "rule": "folder",
            "step": "await_signature", "step_text": {"ru": "ждём", "en": "waiting"},
            "why": {"ru": "", "en": ""}, "dead_letter_code": null}], "next": null}"#;
        let page: Page = serde_json::from_str(text).unwrap();
        assert_eq!(page.items[0].step(), Some(Step::AwaitSignature));
        assert!(!page.items[0].is_over());
    }

    #[test]
    fn a_card_tells_of_failures_and_of_the_pause_before_the_next_attempt() {
        let text = r#"{"id": "a", "step": "fetch_signed", "step_text": {"ru": "", "en": ""},
            "why": {"ru": "", "en": ""},
            "tries": 2, "in_flight_since": null, "history": [{"what": "outcome_unknown"}],
            "timer": {"due": "2026-02-03T04:05:07.500Z", "kind": "start"},
            "last_failure": {"at": "2026-02-03T04:05:06.000Z", "code": "http_503", "reason": {"ru": "а", "en": "b"}}}"#;
        let card: Card = serde_json::from_str(text).unwrap();
        let detail = card.detail("2026-02-03T04:05:06Z".parse().unwrap());
        assert_eq!(detail.pause, Some(Duration::from_millis(1_500)));
        assert_eq!(detail.hitch, Some(Text::new("неудач: 2. а", "failures: 2. b")));
        assert_eq!(card.detail("2027-01-01T00:00:00Z".parse().unwrap()).pause, None, "it is due already");
    }

    #[test]
    fn a_document_that_went_on_between_list_and_card_is_shown_where_the_card_saw_it() {
        let text = r#"{"id": "1", "step": "await_signature", "step_text": {"ru": "ждём", "en": "waiting"},
            "why": {"ru": "", "en": ""}, "tries": 0, "in_flight_since": null, "last_failure": null,
            "timer": {"due": "2026-02-06T04:05:06Z", "kind": "wait"}}"#;
        let mut line = line("a.pdf", "find_document");
        line.follow(serde_json::from_str(text).unwrap(), "2026-02-03T04:05:06Z".parse().unwrap());
        assert_eq!((line.step.as_str(), line.step_text.en.as_str()), ("await_signature", "waiting"));
        assert_eq!(line.detail.pause, None, "three days to the first reminder are no pause of an attempt");
    }
}
