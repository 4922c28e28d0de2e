//! What sets documents of the emulated iDocs in motion: the steps of their sender, the counterparty by itself or by
//! hand, and what a witness asks.
//!
//! Invariants: a change by hand is reported as the service reports it; what a script or the mode ordered stops at
//! the first final status; the lock of the world is never held while something is sent.

use super::account::Document;
use super::options::IDocsOptions;
use super::sending::{self, RouteKind, Saved};
use super::statuses::{FINISHED, RECALLED, RECEIVED, REFUSED, REFUSED_BY_COMPANY, SENT};
use super::views::{IDocsDocument, IDocsView};
use super::webhooks::{WebhookSpec, deliver};
use super::wire::{Content, Done, Outcome as Answer, Refused, parsed};
use crate::sandbox::Mode;
use crate::sandbox::documents::{Chosen, Outcome, Script};
use crate::sandbox::front::Site;
use crate::sandbox::ledger::Note;
use crate::sandbox::world::{World, WorldError, missing, now_ms};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// How long a save waits for its own early webhook to be answered.
const EARLY_WEBHOOK_WAIT: Duration = Duration::from_secs(5);
/// Why the counterparty refuses when a script makes it: the words of the sample.
const REASON: &str = "Неверная сумма";

/// A step that a single call or a pushed operation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Create,
    Route(RouteKind),
    Content,
    Save,
    Download,
}

impl Step {
    /// The name of the single call.
    pub(super) fn call(self) -> &'static str {
        match self {
            Self::Create => "idocs.create",
            Self::Route(RouteKind::Quick) => "idocs.route",
            Self::Route(RouteKind::Full) => "idocs.route.full",
            Self::Content => "idocs.content",
            Self::Save => "idocs.save",
            Self::Download => "idocs.download",
        }
    }
}

/// Takes one step.
pub(super) async fn perform(world: &Arc<World>, step: Step, data: Value, deliveries: u32) -> Answer {
    match step {
        Step::Create => create(world, data),
        Step::Route(kind) => {
            let asked = parsed(data)?;
            world.with_idocs(|account| sending::route(account, asked, kind))
        }
        Step::Content => {
            let asked = parsed(data)?;
            let origin = world.origin(Site::IDocs);
            world.with_idocs(|account| sending::generate(account, &asked, origin, now_ms()))
        }
        Step::Save => save(world, data, deliveries).await,
        Step::Download => download(world, data),
    }
}

fn create(world: &World, data: Value) -> Answer {
    let asked = parsed(data)?;
    let names = world.with_idocs(|account| sending::names(account, &asked));
    let script = world.with_documents(|all| names.iter().find_map(|name| all.script_for(name)));
    world.with_idocs(|account| sending::create(account, asked, script, now_ms()))
}

async fn save(world: &Arc<World>, data: Value, deliveries: u32) -> Answer {
    let asked: super::wire::SaveSignature = parsed(data)?;
    let (saved, done) = world.with_idocs(|account| sending::save(account, &asked, now_ms()))?;
    let id = asked.document_id.to_ascii_lowercase();
    if let (Saved::Sent, Some(document)) = (saved, world.with_idocs(|account| account.document(&id).cloned()))
    {
        world.with_idocs(|account| account.remember(&id, SENT, now_ms()));
        let copies = document.script.as_ref().map_or(1, |s| s.callback_copies).saturating_mul(deliveries);
        world.tell(&id, WebhookSpec { copies, ..WebhookSpec::of_status(SENT) });
        set_going(world, &document, copies).await;
    }
    Ok(done)
}

/// A pushed download: a link to the archive, which nothing but the snapshot describes.
fn download(world: &World, data: Value) -> Answer {
    let id = data["documentId"].as_str().unwrap_or_default().to_ascii_lowercase();
    let dispose_s = world.with_idocs(|account| {
        let life_s = i64::try_from(account.options.unit_life().as_secs()).unwrap_or(i64::MAX);
        let there = account.document(&id).is_some_and(|document| document.save.is_some());
        there.then(|| now_ms().div_euclid(1_000).saturating_add(life_s))
    });
    let dispose_s = dispose_s.ok_or_else(|| Refused::not_found("the document"))?;
    let link = format!(
        "{}/api/v3/sync/single/document/GetDocumentArchiveByDocumentId/{id}",
        world.origin(Site::IDocs)
    );
    let body = json!({"documentId": id, "downloadLink": link, "disposeOn": dispose_s});
    Ok(Done::new(Content::Bare(body), Note::read().fact("document_id", id)))
}

/// Lets the script, or else the mode, decide what becomes of a sent document.
pub(super) async fn set_going(world: &Arc<World>, document: &Document, copies: u32) {
    let receipt = world.with_idocs(|account| Duration::from_millis(account.options.receipt_delay_ms));
    let (script, delay) = match (document.script.clone(), world.mode()) {
        (Some(script), Mode::Auto { sign_after, .. }) => (script, sign_after),
        (Some(script), Mode::Explicit) => (script, Duration::ZERO),
        (None, Mode::Auto { sign_after, .. }) => (Script::default(), sign_after),
        (None, Mode::Explicit) => (Script { outcome: Outcome::Never, ..Script::default() }, Duration::ZERO),
    };
    let mut steps = vec![(receipt, RECEIVED.to_owned())];
    if document.nodes.iter().any(|node| node.sign_required) {
        steps.extend(later_steps(&script, delay));
    } else {
        // Whoever only has to be informed is done when he is.
        steps.push((Duration::ZERO, FINISHED.to_owned()));
    }
    let id = document.id.clone();
    match script.early_callback {
        Chosen::No => drop(world.spawn(play(Arc::clone(world), id, steps, copies))),
        Chosen::Yes => {
            let Some((_, last)) = steps.pop() else { return };
            let reason = (last != FINISHED).then_some(REASON);
            world.change(&id, RECEIVED, None);
            world.change(&id, &last, reason);
            let spec = WebhookSpec { copies, ..WebhookSpec::of_status(last) };
            let delivery = world.spawn(deliver(Arc::clone(world), id, spec));
            // Too late or never answered: the save is answered all the same, the repeats go on.
            let _ = tokio::time::timeout(EARLY_WEBHOOK_WAIT, delivery).await;
        }
    }
}

/// What a script orders after the receipt, as pauses one after another.
fn later_steps(script: &Script, default_delay: Duration) -> Vec<(Duration, String)> {
    let whole = script.after_ms.map_or(default_delay, Duration::from_millis);
    let last = match script.outcome {
        Outcome::Signed => Some(FINISHED),
        Outcome::Rejected => Some(REFUSED),
        Outcome::Declined => Some(REFUSED_BY_COMPANY),
        Outcome::Never => None,
    };
    let statuses: Vec<String> = script.intermediate.iter().cloned().chain(last.map(str::to_owned)).collect();
    let pause = whole / u32::try_from(statuses.len().max(1)).unwrap_or(u32::MAX);
    statuses.into_iter().map(|status| (pause, status)).collect()
}

/// Walks a document through its steps, unless somebody ended it by hand before.
async fn play(world: Arc<World>, id: String, steps: Vec<(Duration, String)>, copies: u32) {
    for (pause, status) in steps {
        tokio::time::sleep(pause).await;
        let goes_on = world.with_idocs(|account| {
            let status_now = account.document(&id).filter(|document| !document.is_ended());
            // A receipt that comes after something else was done by hand would be a step back.
            status_now.is_some_and(|document| status != RECEIVED || document.status == SENT)
        });
        if !goes_on {
            return;
        }
        let reason = super::statuses::is_refusal(&status).then_some(REASON);
        world.change(&id, &status, reason);
        world.tell(&id, WebhookSpec { copies, ..WebhookSpec::of_status(status) });
    }
}

impl World {
    /// Sets a status, lets the route follow, notes it in the history; nobody is told.
    fn change(&self, id: &str, status: &str, reason: Option<&str>) {
        self.with_idocs(|account| {
            let now_ms = now_ms();
            if let Some(document) = account.document_mut(id) {
                document.become_(status, reason, now_ms);
                account.remember(id, status, now_ms);
            }
        });
    }

    fn tell(self: &Arc<Self>, id: &str, spec: WebhookSpec) {
        drop(self.spawn(deliver(Arc::clone(self), id.to_owned(), spec)));
    }

    fn known_to_idocs(&self, id: &str) -> Result<(), WorldError> {
        let known = self.with_idocs(|account| account.document(id).is_some());
        known.then_some(()).ok_or_else(|| missing("document of iDocs", id))
    }
}

/// iDocs, as its people and the counterparty use it.
impl World {
    /// `http://host:port/` of the emulated iDocs: the base of its V3.
    pub fn idocs_url(&self) -> Url {
        self.site_url(Site::IDocs)
    }
    /// `http://host:port/api/1/`: the base of its webhooks.
    pub fn idocs_webhooks_url(&self) -> Url {
        self.idocs_url().join("api/1/").expect("a path can be joined to an origin")
    }
    /// How it behaves now.
    pub fn idocs_options(&self) -> IDocsOptions {
        self.with_idocs(|account| account.options.clone())
    }
    /// Sets how it behaves from now on.
    pub fn set_idocs(&self, options: IDocsOptions) {
        self.with_idocs(|account| account.options = options);
    }
    /// Sets where webhooks go, as a subscription does; none: nowhere.
    pub fn set_idocs_subscription(&self, url: Option<Url>) {
        self.with_idocs(|account| account.subscription = url);
    }
    /// The counterparty signs; the webhook goes out.
    ///
    /// # Errors
    ///
    /// There is no such document.
    pub fn idocs_sign(self: &Arc<Self>, id: &str) -> Result<(), WorldError> {
        self.idocs_report(id, FINISHED, None)
    }
    /// The counterparty refuses and says why; the webhook goes out.
    ///
    /// # Errors
    ///
    /// There is no such document.
    pub fn idocs_refuse(self: &Arc<Self>, id: &str, reason: &str) -> Result<(), WorldError> {
        self.idocs_report(id, REFUSED, Some(reason))
    }
    /// Our own people recall it in the cabinet (no call does it); the webhook goes out.
    ///
    /// # Errors
    ///
    /// There is no such document.
    pub fn idocs_recall(self: &Arc<Self>, id: &str) -> Result<(), WorldError> {
        self.idocs_report(id, RECALLED, None)
    }
    /// Sets any status, also one that nobody knows; the webhook goes out.
    ///
    /// # Errors
    ///
    /// There is no such document.
    pub fn idocs_report(
        self: &Arc<Self>,
        id: &str,
        status: &str,
        reason: Option<&str>,
    ) -> Result<(), WorldError> {
        self.idocs_change_quietly(id, status, reason)?;
        self.idocs_send_webhook(id, WebhookSpec::of_status(status))
    }
    /// Sets a status and tells nobody: a lost webhook.
    ///
    /// # Errors
    ///
    /// There is no such document.
    pub fn idocs_change_quietly(
        &self,
        id: &str,
        status: &str,
        reason: Option<&str>,
    ) -> Result<(), WorldError> {
        self.known_to_idocs(id)?;
        self.change(id, status, reason);
        Ok(())
    }
    /// Sends a webhook as ordered, right or wrong; the document's status stays.
    ///
    /// # Errors
    ///
    /// There is no such document.
    pub fn idocs_send_webhook(self: &Arc<Self>, id: &str, spec: WebhookSpec) -> Result<(), WorldError> {
        self.known_to_idocs(id)?;
        self.tell(id, spec);
        Ok(())
    }
    /// Ends the life of all content to sign of a document: links and tickets are dead, whatever they promised.
    ///
    /// # Errors
    ///
    /// There is no such document.
    pub fn idocs_expire_units(&self, id: &str) -> Result<(), WorldError> {
        self.known_to_idocs(id)?;
        self.with_idocs(|account| {
            if let Some(document) = account.document_mut(id) {
                document.units.iter_mut().for_each(|unit| unit.dead = true);
            }
        });
        Ok(())
    }
    /// Forgets all pushed operations: their status is `NotFound` from now on.
    pub fn idocs_forget_operations(&self) {
        self.with_idocs(|account| account.operations.forget());
    }
    /// The bytes of the newest content to sign of a document, whether it is alive or not.
    pub fn idocs_content(&self, id: &str) -> Option<Bytes> {
        self.with_idocs(|account| account.document(id)?.units.last().map(|unit| unit.bytes.clone()))
    }
    /// Puts another file in the place of a document's first one: content that is generated from now on is not what
    /// was uploaded.
    ///
    /// # Errors
    ///
    /// There is no such document.
    pub fn idocs_replace_file(&self, id: &str, bytes: impl Into<Bytes>) -> Result<(), WorldError> {
        self.known_to_idocs(id)?;
        self.with_idocs(|account| account.replace_file(id, bytes.into()));
        Ok(())
    }
    /// What a witness sees of one document.
    pub fn idocs_document(&self, id: &str) -> Option<IDocsDocument> {
        self.with_idocs(|account| account.document(id).map(IDocsDocument::of))
    }
    /// Everything a witness sees of it.
    pub fn idocs(&self) -> IDocsView {
        self.with_idocs(|account| IDocsView::of(account))
    }
}
