//! What else the admin API shows: counts, portals, notices that wait for a person, answers to orders.

use super::document_view::{DocumentCard, DocumentLine, rfc3339};
use crate::actors::PortalView;
use crate::actors::capability_board::CapabilityView;
use crate::actors::channel_board::ChannelView;
use crate::actors::features::Shortfall;
use crate::actors::installations::InstallationView;
use crate::actors::owner_watch::{Concern, OwnerView};
use crate::actors::signing_link_order::GivenLink;
use crate::actors::workflow_watch::{Suspect, WorkflowsView};
use crate::domain::Text;
use crate::providers::redaction::Redactor;
use crate::store::{Counts, ParkedNotice};
use serde::{Deserialize, Serialize};

/// How much of a parked notice's body is shown.
pub const NOTICE_BODY_CHARS_MAX: usize = 2_048;

/// Answer of `GET /admin/v1/documents`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentList {
    /// Step by step, newest first within a step. May be short or empty although there is a next page: one call
    /// looks at a bounded number of documents.
    pub items: Vec<DocumentLine>,
    /// `cursor` of the next page; none = this was the last one.
    pub next: Option<String>,
}

/// Answer of `POST /admin/v1/documents/{id}/discard`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discarded {
    /// Everything that was known of it.
    pub dump: DocumentCard,
}

/// Answer of `POST /admin/v1/documents/{id}/sign-link`. A secret: whoever has the link may see and sign the document.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignLinkView {
    /// The document's id.
    pub id: String,
    /// Name of its file.
    pub name: String,
    /// Its number at the signing service.
    pub document_number: String,
    /// Name of the signer in the configuration.
    pub signer: String,
    /// The link.
    pub url: String,
    /// When it dies.
    pub expires_at: String,
}

impl std::fmt::Debug for SignLinkView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignLinkView")
            .field("id", &self.id)
            .field("signer", &self.signer)
            .finish_non_exhaustive()
    }
}

impl From<&GivenLink> for SignLinkView {
    fn from(given: &GivenLink) -> Self {
        let record = &given.record;
        Self {
            id: record.id.to_string(),
            name: record.file.as_ref().map(|file| file.name.clone()).unwrap_or_default(),
            document_number: record.own.as_ref().map(|own| own.number.clone()).unwrap_or_default(),
            signer: given.signer.clone(),
            url: given.url.expose().to_owned(),
            expires_at: rfc3339(given.expires_at),
        }
    }
}

/// Answer of `POST /admin/v1/documents/send`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The document's id.
    pub id: String,
}

/// Answer of `POST /admin/v1/documents/retry`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetriedMany {
    /// Whether nothing was done.
    pub dry_run: bool,
    /// What the filter matched.
    pub matched: Vec<DocumentLine>,
    /// How many of them go on now.
    pub retried: u64,
    /// Those that do not, and why.
    pub failed: Vec<RetryFailure>,
    /// Whether more match than the limit allowed.
    pub more: bool,
}

/// A document that was not retried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryFailure {
    /// Its id.
    pub id: String,
    /// Code of the error.
    pub code: String,
    /// In words.
    pub message: Text,
}

/// Answer of `GET /admin/v1/counts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountsView {
    /// Every step once, in the order of the flow.
    pub steps: Vec<StepCountView>,
    /// Notices that wait in the inbox.
    pub notices: u64,
    /// Notices that are kept for a person.
    pub parked_notices: u64,
    /// Documents with an effect under way.
    pub in_flight: u64,
}

/// The documents of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCountView {
    /// Name of the step.
    pub step: String,
    /// How many.
    pub count: u64,
    /// When the oldest of them entered it.
    pub oldest_since: Option<String>,
}

impl From<&Counts> for CountsView {
    fn from(counts: &Counts) -> Self {
        let steps = counts.sagas.iter().map(|step| StepCountView {
            step: step.step.name().to_owned(),
            count: step.count,
            oldest_since: step.oldest_since.map(rfc3339),
        });
        Self {
            steps: steps.collect(),
            notices: counts.notices,
            parked_notices: counts.parked_notices,
            in_flight: counts.in_flight,
        }
    }
}

/// Answer of `GET /admin/v1/parked-notices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedNoticeList {
    /// Oldest first.
    pub items: Vec<ParkedNoticeView>,
    /// `after` of the next page; none = this was the last one.
    pub next: Option<u64>,
}

/// An authentic notice that could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedNoticeView {
    /// Its number.
    pub id: u64,
    /// `bitrix_event`, `easydocs_callback`, …
    pub kind: String,
    /// Its portal.
    pub portal: Option<String>,
    /// When it came.
    pub received_at: String,
    /// Why it was parked.
    pub reason: Text,
    /// The id that brings it back by itself when a document claims it.
    pub lookup: Option<String>,
    /// How the body is encoded.
    pub content_type: String,
    /// Size of the body.
    pub body_bytes: u64,
    /// The beginning of the body, secrets cut.
    pub body: String,
}

impl From<&ParkedNotice> for ParkedNoticeView {
    fn from(parked: &ParkedNotice) -> Self {
        let notice = &parked.notice;
        // cut before it is shortened: half a secret is not recognised any more
        let body = Redactor::default().cut(&String::from_utf8_lossy(&notice.body));
        Self {
            id: notice.id.0,
            kind: notice.kind.name().to_owned(),
            portal: notice.portal.as_ref().map(ToString::to_string),
            received_at: rfc3339(notice.received_at),
            reason: parked.reason.clone(),
            lookup: parked.lookup.clone(),
            content_type: notice.content_type.clone(),
            body_bytes: notice.body.len() as u64,
            body: body.chars().take(NOTICE_BODY_CHARS_MAX).collect(),
        }
    }
}

/// Answer of `GET /admin/v1/portals`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortalList {
    /// In the order of the configuration.
    pub items: Vec<PortalLine>,
}

/// A portal and how it treats us.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortalLine {
    /// Its id in the configuration.
    pub id: String,
    /// Its address without the secret.
    pub address: String,
    /// Requests in the leaky bucket.
    pub bucket_level: f64,
    /// Methods that the portal has blocked.
    pub blocked_methods: Vec<BlockedMethod>,
    /// State of the circuit breaker.
    pub circuit: String,
    /// The last error.
    pub last_error: Option<Text>,
    /// The application by which it is reached; none = a webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<InstallationLine>,
    /// The person behind the credential; none before the first look.
    #[serde(default)]
    pub owner: Option<OwnerLine>,
    /// The workflows that our robots made wait; none before the first look.
    #[serde(default)]
    pub workflows: Option<WorkflowsLine>,
    /// What the portal can do; none before it is known at all.
    #[serde(default)]
    pub capability: Option<CapabilityLine>,
    /// How its second channels are doing.
    #[serde(default)]
    pub channel: Option<ChannelLine>,
}

/// Workflows that stand still because of our robots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowsLine {
    /// When the portal was asked last.
    pub checked_at: Option<String>,
    /// Those whose call was probably lost: only a person can go on with them.
    pub hanging: Vec<HangingWorkflow>,
    /// Those that were answered again since the start.
    pub released: u64,
    /// Why the last look saw nothing.
    pub unseen: Option<Text>,
}

/// A workflow whose call to us was probably lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HangingWorkflow {
    /// The workflow's instance.
    pub workflow_id: String,
    /// Its template.
    pub template_id: u64,
    /// In what it runs: `DEAL_501`.
    pub document: Option<String>,
    /// When it last moved.
    pub moved_at: String,
    /// In words, with the remedy.
    pub text: Text,
}

impl From<&Suspect> for HangingWorkflow {
    fn from(suspect: &Suspect) -> Self {
        Self {
            workflow_id: suspect.workflow_id.clone(),
            template_id: suspect.template_id,
            document: suspect.document.clone(),
            moved_at: rfc3339(suspect.moved_at),
            text: suspect.text(),
        }
    }
}

impl From<WorkflowsView> for WorkflowsLine {
    fn from(view: WorkflowsView) -> Self {
        Self {
            checked_at: view.checked_at.map(rfc3339),
            hanging: view.suspects.iter().map(HangingWorkflow::from).collect(),
            released: view.released,
            unseen: view.unseen,
        }
    }
}

/// An installation of one of our applications. No secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallationLine {
    /// The application's id in the configuration.
    pub app: String,
    /// The portal's lasting id.
    pub member_id: String,
    /// `active`, `needs_authorisation`, `uninstalled`.
    pub status: String,
    /// What to do if it does not work.
    pub advice: Option<Text>,
    /// Whose tokens are used.
    pub user_id: u64,
    /// What the application may.
    pub scopes: Vec<String>,
    /// `L`, `F`, `D`, `T`, `P`.
    pub plan: String,
    /// When it was installed.
    pub installed_at: String,
    /// When its tokens were renewed.
    pub refreshed_at: String,
    /// When it was removed from the portal.
    pub uninstalled_at: Option<String>,
    /// What is registered at the portal, as of the last look.
    pub bindings: Vec<BindingLine>,
}

/// One registration at a portal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingLine {
    /// `event ONCRMDEALADD`.
    pub what: String,
    /// Why it is not there; none = it is.
    pub problem: Option<Text>,
}

impl From<InstallationView> for InstallationLine {
    fn from(view: InstallationView) -> Self {
        let bindings = view.bindings.into_iter();
        Self {
            app: view.key.app.to_string(),
            member_id: view.key.member_id.to_string(),
            status: view.status.name().to_owned(),
            advice: view.advice,
            user_id: view.user_id,
            scopes: view.scopes,
            plan: view.plan,
            installed_at: rfc3339(view.installed_at),
            refreshed_at: rfc3339(view.refreshed_at),
            uninstalled_at: view.uninstalled_at.map(rfc3339),
            bindings: bindings.map(|one| BindingLine { what: one.label, problem: one.problem }).collect(),
        }
    }
}

/// The person behind a portal's credential, and what there is to worry about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerLine {
    /// The user as whom we act.
    pub user_id: Option<u64>,
    /// The user's name.
    pub name: Option<String>,
    /// When the portal was asked last.
    pub checked_at: Option<String>,
    /// The day on which the webhook expires, by the configuration.
    pub expires_on: Option<String>,
    /// What a person has to do something about.
    pub concerns: Vec<ConcernLine>,
    /// Why the last look saw nothing.
    pub unseen: Option<Text>,
}

/// Something that a person has to do something about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConcernLine {
    /// Stable code.
    pub code: String,
    /// In words, with the remedy.
    pub text: Text,
}

impl From<OwnerView> for OwnerLine {
    fn from(view: OwnerView) -> Self {
        let (user_id, name) = view.user.unzip();
        let line = |concern: &Concern| ConcernLine { code: concern.code().to_owned(), text: concern.text() };
        Self {
            user_id,
            name,
            checked_at: view.checked_at.map(rfc3339),
            expires_on: view.expires_on,
            concerns: view.concerns.iter().map(line).collect(),
            unseen: view.unseen,
        }
    }
}

/// The second channels of a portal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelLine {
    /// `auto`, `sweep`, `both`, `off`.
    pub mode: String,
    /// What runs: `offline_queue`, `sweep`, `push`.
    pub running: Vec<String>,
    /// Why nothing runs.
    pub idle: Option<Text>,
    /// Pause between two looks, in milliseconds.
    pub interval_ms: Option<u64>,
    /// When a channel looked last and saw.
    pub looked_at: Option<String>,
    /// When it brought something last.
    pub found_at: Option<String>,
    /// When an event or the push server woke it last.
    pub woken_at: Option<String>,
    /// Why the last look saw nothing.
    pub failure: Option<String>,
}

impl From<ChannelView> for ChannelLine {
    fn from(view: ChannelView) -> Self {
        Self {
            mode: view.mode.name().to_owned(),
            running: view.running.into_iter().map(str::to_owned).collect(),
            idle: view.idle,
            interval_ms: view.interval_ms,
            looked_at: view.looked_at.map(rfc3339),
            found_at: view.found_at.map(rfc3339),
            woken_at: view.woken_at.map(rfc3339),
            failure: view.failure,
        }
    }
}

/// What a portal can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityLine {
    /// When it was asked last and answered.
    pub checked_at: Option<String>,
    /// Features that its rules want and that do not work as they should.
    pub features: Vec<FeatureLine>,
    /// Why the last look saw nothing.
    pub unread: Option<Text>,
}

/// A feature that does not work as it should at a portal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureLine {
    /// Stable name: `items`, `timeline`, …
    pub feature: String,
    /// `off`, or `otherwise` (it works in a lesser way).
    pub state: String,
    /// What follows, why, and the remedy.
    pub text: Text,
}

impl From<CapabilityView> for CapabilityLine {
    fn from(view: CapabilityView) -> Self {
        let line = |one: Shortfall| FeatureLine {
            feature: one.feature.name().to_owned(),
            state: one.standing.name().to_owned(),
            text: one.text(),
        };
        Self {
            checked_at: view.checked_at.map(rfc3339),
            features: view.shortfalls.into_iter().map(line).collect(),
            unread: view.unread,
        }
    }
}

/// A method that the portal has blocked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedMethod {
    /// Its name.
    pub method: String,
    /// Until when.
    pub until: String,
}

impl From<PortalView> for PortalLine {
    fn from(portal: PortalView) -> Self {
        let blocked = portal.blocked_methods.into_iter();
        Self {
            id: portal.id.to_string(),
            address: portal.address,
            bucket_level: portal.bucket_level,
            blocked_methods: blocked
                .map(|(method, until)| BlockedMethod { method, until: rfc3339(until) })
                .collect(),
            circuit: portal.circuit,
            last_error: portal.last_error,
            installation: portal.installation.map(InstallationLine::from),
            owner: portal.owner.map(OwnerLine::from),
            workflows: portal.workflows.map(WorkflowsLine::from),
            capability: portal.capability.map(CapabilityLine::from),
            channel: portal.channel.map(ChannelLine::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{NoticeId, Timestamp};
    use crate::store::{Notice, NoticeKind};

    #[test]
    fn a_parked_notice_is_shown_without_its_secrets() {
        let body = r#"{"document_id":"d1","signed_file_url":"https://e/x?token=hunter2hunter2","access_token":"hunter2hunter2"}"#;
        let parked = ParkedNotice {
            notice: Notice {
                id: NoticeId(7),
                kind: NoticeKind::EasyDocsCallback,
                portal: None,
                received_at: Timestamp(0),
                content_type: "application/json".into(),
                body: body.into(),
            },
            reason: Text::new("нет документа", "no document"),
            lookup: Some("d1".into()),
        };
        let view = ParkedNoticeView::from(&parked);
        assert!(view.body.contains("d1") && !view.body.contains("hunter2"), "{}", view.body);
        assert_eq!(view.received_at, "1970-01-01T00:00:00.000Z");
    }
}
