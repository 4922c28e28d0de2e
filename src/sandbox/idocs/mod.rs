//! The emulated iDocs: its Integration API V3 and its webhooks. Source: `signing-providers.md` (c), the sample
//! bodies and the shape file; what nobody knows is a switch in [`IDocsOptions`].
//!
//! | file | subject |
//! |---|---|
//! | `wire` | request bodies, answer styles, errors |
//! | `account` | blobs, documents, routes, content to sign, signatures |
//! | `statuses`, `zip`, `cms` | names and numbers; archives; a look at a signature |
//! | `blobs`, `sending`, `queries`, `bulk`, `webhooks` | the calls by family |
//! | `life`, `views`, `buttons` | what people do, what a witness sees, the same over HTTP |
//!
//! Not there: incoming and internal documents beyond an empty inbox.
//!
//! Invariants: every call needs the bearer token; unknown members are refused; nothing but a good save sends a
//! document.

mod account;
mod blobs;
mod bulk;
pub(super) mod buttons;
mod cms;
mod life;
mod options;
mod queries;
mod sending;
mod statuses;
mod views;
mod webhooks;
mod wire;
mod zip;

pub(crate) use account::Account;
pub use account::NodeState;
pub use options::{
    BulkNames, Company, Employee, IDocsOptions, LinkForm, OlderUnits, Presence, RIGHT_TO_CREATE,
    RIGHT_TO_SIGN, RepeatedRoute, RepeatedSave, RouteShape, SameNumber, SignatureCheck, StatusForm,
};
pub use views::{IDocsDocument, IDocsFile, IDocsNode, IDocsSignature, IDocsView};
pub use webhooks::WebhookSpec;
pub use wire::AnswerStyle;
pub(crate) use wire::error_reply;

use super::front::{Head, Reply, Request};
use super::world::{World, now_ms};
use account::BlobKind;
use life::{Step, perform};
use options::LinkForm as Form;
use sending::RouteKind;
use std::sync::Arc;
use wire::{ErrorCode, Outcome, Refused, body};

/// One call of the API, by method and path.
enum Call<'a> {
    Upload(BlobKind),
    Step(Step),
    Content(&'a str),
    Status(&'a str),
    PrintForm(&'a str),
    Archive(&'a str),
    Single(&'a str),
    List,
    InboxSingle,
    InboxList,
    Token,
    Employees,
    Rights(&'a str),
    Push(Step),
    Ask(Step),
    Operations,
    Subscribe,
    Subscription,
    Unsubscribe,
    History(&'a str),
    Period,
    Unknown,
}

impl<'a> Call<'a> {
    fn of(method: &str, segments: &[&'a str]) -> Self {
        match segments {
            ["api", "v3", "sync", rest @ ..] => Self::sync(method, rest),
            ["api", "v3", "async", rest @ ..] if method == "POST" => match rest {
                [rest @ .., "status"] => Self::pushed(rest).map_or(Self::Unknown, Self::Ask),
                rest => Self::pushed(rest).map_or(Self::Unknown, Self::Push),
            },
            ["api", "1", "webhooks", "document-events", rest @ ..] => Self::webhooks(method, rest),
            _ => Self::Unknown,
        }
    }

    fn sync(method: &str, path: &[&'a str]) -> Self {
        match (method, path) {
            ("POST", ["blobs", "document-content"]) => Self::Upload(BlobKind::Document),
            ("POST", ["blobs", "document-signature-content"]) => Self::Upload(BlobKind::Signature),
            ("POST", ["external", "outbox", step @ ..]) => Self::step(step).map_or(Self::Unknown, Self::Step),
            ("GET", ["sign-content", "download", id]) => Self::Content(id),
            ("GET", ["single", "document", "GetDocumentStatusByDocumentId", id]) => Self::Status(id),
            ("GET", ["single", "document", "GetDocumentPrintFormByDocumentId", id]) => Self::PrintForm(id),
            ("GET", ["single", "document", "GetDocumentArchiveByDocumentId", id]) => Self::Archive(id),
            ("GET", ["external", "documents-query", "single", "outbox", id]) => Self::Single(id),
            ("GET", ["external", "documents-query", "single", "inbox", _]) => Self::InboxSingle,
            ("POST", ["external", "documents-query", "outbox"]) => Self::List,
            ("POST", ["external", "documents-query", "inbox"]) => Self::InboxList,
            ("POST", ["references", "company-token"]) => Self::Token,
            ("POST", ["references", "company-employees"]) => Self::Employees,
            ("GET", ["references", "company-employees", "permission", id]) => Self::Rights(id),
            ("POST", ["bulk", "operations"]) => Self::Operations,
            _ => Self::Unknown,
        }
    }

    fn step(path: &[&str]) -> Option<Step> {
        match path {
            ["document", "create"] => Some(Step::Create),
            ["route", "quick-route", "create"] => Some(Step::Route(RouteKind::Quick)),
            ["route", "create"] => Some(Step::Route(RouteKind::Full)),
            ["signature", "content-to-sign", "generate"] => Some(Step::Content),
            ["signature", "quick-sign", "save"] => Some(Step::Save),
            _ => None,
        }
    }

    fn pushed(path: &[&str]) -> Option<Step> {
        match path {
            ["bulk", "external", "outbox", step @ ..] => Self::step(step),
            ["documents", "download", "bulk-download"] => Some(Step::Download),
            _ => None,
        }
    }

    fn webhooks(method: &str, path: &[&'a str]) -> Self {
        match (method, path) {
            ("POST", ["subscription", "document-status-changed-event"]) => Self::Subscribe,
            ("GET", ["subscription", "document-status-changed-event"]) => Self::Subscription,
            ("DELETE", ["subscription", "document-status-changed-event"]) => Self::Unsubscribe,
            ("GET", ["document-status-changed-event", id]) => Self::History(id),
            ("GET", ["document-status-changed-event"]) => Self::Period,
            _ => Self::Unknown,
        }
    }

    /// Its name for faults and ledger.
    fn name(&self) -> String {
        let name = match self {
            Self::Upload(BlobKind::Document) => "idocs.blob.document",
            Self::Upload(BlobKind::Signature) => "idocs.blob.signature",
            Self::Step(step) => step.call(),
            Self::Content(_) => "idocs.content.download",
            Self::Status(_) => "idocs.status",
            Self::PrintForm(_) => "idocs.print_form",
            Self::Archive(_) => "idocs.archive",
            Self::Single(_) => "idocs.single",
            Self::List => "idocs.list",
            Self::InboxSingle => "idocs.inbox.single",
            Self::InboxList => "idocs.inbox.list",
            Self::Token => "idocs.token",
            Self::Employees => "idocs.employees",
            Self::Rights(_) => "idocs.permissions",
            Self::Push(step) => return format!("{}.push", step.call()),
            Self::Ask(step) => return format!("{}.push.status", step.call()),
            Self::Operations => "idocs.operations",
            Self::Subscribe => "idocs.subscribe",
            Self::Subscription => "idocs.subscription",
            Self::Unsubscribe => "idocs.unsubscribe",
            Self::History(_) => "idocs.history",
            Self::Period => "idocs.events",
            Self::Unknown => "idocs.unknown",
        };
        name.to_owned()
    }
}

/// The call's name for faults and ledger.
pub(crate) fn call_name(head: &Head) -> String {
    Call::of(&head.method, &head.segments()).name()
}

/// Answers one request.
pub(crate) async fn answer(world: &Arc<World>, request: &Request) -> Reply {
    let (style, refusal_status) =
        world.with_idocs(|account| (account.options.answers, account.options.refusal_status));
    let key = request.head.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if key != Some(world.idocs_token()) {
        let refused = Refused::new(ErrorCode::PermissionError, "not authorised").with_status(401);
        return wire::reply(style, refusal_status, Err(refused));
    }
    wire::reply(style, refusal_status, called(world, request).await)
}

async fn called(world: &Arc<World>, request: &Request) -> Outcome {
    let segments = request.head.segments();
    match Call::of(&request.head.method, &segments) {
        Call::Upload(kind) => {
            let upload = blobs::received(request, kind).await.map_err(|refused| refused.with_status(400))?;
            world.with_idocs(|account| blobs::keep(account, kind, upload, now_ms()))
        }
        Call::Step(step) => perform(world, step, body(request)?, request.deliveries).await,
        Call::Content(id) => content(world, &request.head, id),
        Call::Push(step) => bulk::push(world, step, body(request)?),
        Call::Ask(step) => bulk::ask(world, step, body(request)?),
        Call::Operations => bulk::list(world, &body(request)?),
        Call::Status(id) => world.with_idocs(|account| queries::status(account, id)),
        Call::PrintForm(id) => world.with_idocs(|account| queries::print_form(account, id)),
        Call::Archive(id) => world.with_idocs(|account| queries::archive(account, id)),
        Call::Single(id) => world.with_idocs(|account| queries::single(account, id)),
        Call::List => {
            let asked = body(request)?;
            world.with_idocs(|account| queries::list(account, &asked))
        }
        Call::InboxList => {
            let asked = body(request)?;
            world.with_idocs(|account| queries::inbox(account, &asked))
        }
        Call::Token => world.with_idocs(|account| queries::company(account)),
        Call::Employees => {
            let asked = body(request)?;
            world.with_idocs(|account| queries::employees(account, &asked))
        }
        Call::Rights(id) => world.with_idocs(|account| queries::rights(account, id)),
        Call::Subscribe => {
            let asked = body(request)?;
            world.with_idocs(|account| webhooks::subscribe(account, &asked))
        }
        Call::Subscription => world.with_idocs(|account| webhooks::subscription(account)),
        Call::Unsubscribe => world.with_idocs(webhooks::unsubscribe),
        Call::History(id) => world.with_idocs(|account| webhooks::history(account, id)),
        Call::Period => world.with_idocs(|account| webhooks::period(account, &request.head)),
        Call::InboxSingle | Call::Unknown => Err(Refused::not_found("the path").with_status(404)),
    }
}

/// The bytes behind a download link, if the link has the form that works.
fn content(world: &World, head: &Head, id: &str) -> Outcome {
    let as_given = head.path.contains("/download//");
    world.with_idocs(|account| {
        let works = match account.options.link_form {
            Form::Both => true,
            Form::AsGiven => as_given,
            Form::Collapsed => !as_given,
        };
        if !works {
            return Err(Refused::not_found("the path").with_status(404));
        }
        sending::download(account, &id.to_ascii_lowercase(), now_ms())
    })
}
