//! What the emulated iDocs takes and gives over the wire: request bodies, the three answer styles, error codes.
//! Source: `signing-providers.md` (c) and the shape file of its OpenAPI snapshot.
//!
//! Invariants: a member that neither the guide nor the snapshot nor the observed client knows is refused, so that a
//! misspelt request fails loudly (the snapshot forbids additional members; whether the real service minds is unknown).

use crate::sandbox::faults::ErrorAnswer;
use crate::sandbox::front::{Fate, Reply, Request};
use crate::sandbox::ledger::Note;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Answers are JSON whatever their content type says (the guide asks for `text/plain`).
const ANSWER_TYPE: &str = "text/plain; charset=utf-8";

/// Codes of errors, all that the snapshot knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum ErrorCode {
    UploadedFileSizeError,
    UploadedFileExtensionError,
    UploadedFileContentParsingError,
    ResourceNotFound,
    ValidationError,
    PermissionError,
    BillingError,
}

/// A call that was refused.
#[derive(Debug)]
pub(super) struct Refused {
    /// None: the status that the options set for refusals.
    pub(super) status: Option<u16>,
    pub(super) code: ErrorCode,
    pub(super) why: String,
    /// A refused call may have left a trace.
    pub(super) note: Note,
}

impl Refused {
    pub(super) fn new(code: ErrorCode, why: impl Into<String>) -> Self {
        let why = why.into();
        let note = Note::read().fact("error", json!(code)).fact("why", why.clone());
        Self { status: None, code, why, note }
    }
    pub(super) fn invalid(why: impl Into<String>) -> Self {
        Self::new(ErrorCode::ValidationError, why)
    }
    pub(super) fn not_found(what: &str) -> Self {
        Self::new(ErrorCode::ResourceNotFound, format!("{what} is not found"))
    }
    #[must_use]
    pub(super) fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }
    pub(super) fn errors(&self) -> Value {
        json!([{"errorCode": self.code, "errorDescription": self.why, "errorDocumentationLink": null}])
    }
}

/// What stands in the body of a right answer.
#[derive(Debug)]
pub(super) enum Content {
    /// `{"response": ..., "errors": null}`.
    Wrapped(Value),
    /// The object itself.
    Bare(Value),
    /// Nothing.
    Nothing,
    /// Bytes of a file with their content type.
    File(&'static str, bytes::Bytes),
    /// 404 with nothing in it.
    Absent,
}

/// A call that was done.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) content: Content,
    pub(super) note: Note,
    pub(super) fate: Fate,
}

impl Done {
    pub(super) fn new(content: Content, note: Note) -> Self {
        Self { content, note, fate: Fate::Sent }
    }
}

/// What a call comes to.
pub(super) type Outcome = Result<Done, Refused>;

/// How answers are dressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerStyle {
    /// As an integrator saw it: envelope, bare object or nothing at all, each call its own.
    #[default]
    Observed,
    /// As the snapshot declares it: where nothing was observed there is an empty object.
    Declared,
    /// Everything but files in the envelope, which nobody has seen yet.
    Enveloped,
}

/// The answer in bytes.
pub(super) fn reply(style: AnswerStyle, refusal_status: u16, outcome: Outcome) -> Reply {
    match outcome {
        Ok(done) => Reply { fate: done.fate, ..dressed(style, done.content) }.noted(done.note),
        Err(refused) => {
            let body = json!({"response": null, "errors": refused.errors()});
            text(refused.status.unwrap_or(refusal_status), &body).noted(refused.note)
        }
    }
}

fn dressed(style: AnswerStyle, content: Content) -> Reply {
    let enveloped = |value: Value| text(200, &json!({"response": value, "errors": null}));
    match (content, style) {
        (Content::File(kind, body), _) => {
            Reply { status: 200, body, ..Reply::default() }.header("Content-Type", kind)
        }
        (Content::Absent, AnswerStyle::Observed) => Reply { status: 404, ..Reply::default() },
        (Content::Absent, AnswerStyle::Declared | AnswerStyle::Enveloped) => text(404, &json!({})),
        (Content::Wrapped(value), _) | (Content::Bare(value), AnswerStyle::Enveloped) => enveloped(value),
        (Content::Bare(value), AnswerStyle::Observed | AnswerStyle::Declared) => text(200, &value),
        (Content::Nothing, AnswerStyle::Observed) => Reply { status: 200, ..Reply::default() },
        (Content::Nothing, AnswerStyle::Declared) => text(200, &json!({})),
        (Content::Nothing, AnswerStyle::Enveloped) => enveloped(json!({})),
    }
}

fn text(status: u16, body: &Value) -> Reply {
    Reply { status, body: body.to_string().into(), ..Reply::default() }.header("Content-Type", ANSWER_TYPE)
}

/// The envelope with an error that a fault ordered; with the status 200 it is the error in a right answer's clothes.
pub(crate) fn error_reply(answer: &ErrorAnswer) -> Reply {
    let error = json!({
        "errorCode": answer.error, "errorDescription": answer.description, "errorDocumentationLink": null,
    });
    let errors = if answer.error.is_empty() { Value::Null } else { json!([error]) };
    let mut reply = text(answer.status, &json!({"response": null, "errors": errors}));
    reply.headers.extend(answer.headers());
    reply.noted(Note::read().fact("error", answer.error.clone()))
}

/// The body of a call, with the members that it may have and no others.
pub(super) fn body<T: DeserializeOwned>(request: &Request) -> Result<T, Refused> {
    let kind = request.head.header("content-type").unwrap_or("").to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or("").trim();
    let any_json = kind.starts_with("application/") && kind.ends_with("+json");
    if !(any_json || kind == "application/json" || kind == "text/json") {
        return Err(Refused::invalid(format!("content type `{kind}` is not accepted")).with_status(415));
    }
    serde_json::from_slice(&request.body).map_err(|why| Refused::invalid(why.to_string()))
}

/// One member of a bulk push.
pub(super) fn parsed<T: DeserializeOwned>(data: Value) -> Result<T, Refused> {
    serde_json::from_value(data).map_err(|why| Refused::invalid(why.to_string()))
}

/// An id in the form of a UUID, in lower case.
pub(super) fn uuid(text: &str, what: &str) -> Result<String, Refused> {
    uuid::Uuid::parse_str(text)
        .map(|id| id.to_string())
        .map_err(|_| Refused::invalid(format!("{what} is not a UUID")))
}

/// `CreateIntegrationDocumentVM`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateDocument {
    pub(super) document_metadata: Metadata,
    pub(super) document_binary_contents: Vec<BlobRef>,
}

/// `DocumentMetadataVM`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) document_name: String,
    pub(super) document_number: String,
    pub(super) document_date: u64,
    pub(super) document_group: String,
    pub(super) document_author_employee_id: Option<String>,
}

/// `DocumentBinaryContentVM`, `SignatureBinaryContentVM`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BlobRef {
    pub(super) blob_id: String,
}

/// `CreateQuickRouteForExternalOutboxDocumentVM` and `CreateRouteForExternalOutboxDocumentVM`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateRoute {
    pub(super) document_id: String,
    pub(super) employee_id: String,
    pub(super) route: NewRoute,
    /// Seen in an integrator's client; where it belongs is not known.
    #[serde(default)]
    pub(super) is_sender_payer: Option<bool>,
}

/// `CreateExternalOutDocumentRouteVM`; the quick one has no internal part.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewRoute {
    pub(super) external: ExternalRoute,
    #[serde(default)]
    pub(super) internal: Option<InternalRoute>,
    #[serde(default)]
    pub(super) is_sender_payer: Option<bool>,
}

/// `CreateExternalRouteVM`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ExternalRoute {
    #[serde(default)]
    pub(super) route_order_type: Option<String>,
    #[serde(default)]
    pub(super) is_sign_required_by_sender: Option<bool>,
    #[serde(default)]
    pub(super) is_sender_payer: Option<bool>,
    pub(super) nodes: Vec<ExternalNode>,
}

/// `CreateExternalRouteNodeVM`, with the member of the guide that the snapshot lacks.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ExternalNode {
    pub(super) order: u32,
    pub(super) counterparty_bin: String,
    #[serde(default)]
    pub(super) comment: Option<String>,
    #[serde(default)]
    pub(super) is_individual: bool,
    #[serde(default)]
    pub(super) counterparty_emails: Option<Vec<String>>,
    #[serde(default)]
    pub(super) required_action_type: Option<String>,
    #[serde(default)]
    pub(super) is_sign_required_by_counterparty: Option<bool>,
    #[serde(default)]
    pub(super) org_unit_id: Option<String>,
    #[serde(default)]
    pub(super) is_sender_payer: Option<bool>,
}

/// `CreateInternalRouteVM`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct InternalRoute {
    pub(super) route_action_ordering_type: String,
    #[serde(default)]
    pub(super) nodes: Option<Vec<InternalNode>>,
}

/// `CreateInternalRouteNodeVM`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct InternalNode {
    pub(super) order: u32,
    pub(super) employee_id: String,
    pub(super) required_action: String,
}

/// `GenerateExternalDocumentSignContentVM`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GenerateContent {
    pub(super) document_id: String,
    pub(super) signed_by_employee_id: String,
}

/// `AddQuickSignatureToExternalDocumentVM`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SaveSignature {
    pub(super) document_id: String,
    pub(super) signed_by_employee_id: String,
    pub(super) signature_binary_content: BlobRef,
    pub(super) idempotency_ticket: String,
}

/// `QueryDocumentsVM`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct QueryDocuments {
    #[serde(default)]
    pub(super) document_statuses: Option<Vec<String>>,
    #[serde(default)]
    pub(super) document_date_from: i64,
    #[serde(default)]
    pub(super) document_date_to: i64,
    #[serde(default)]
    pub(super) document_author_id: Option<String>,
    #[serde(default)]
    pub(super) skip: usize,
    #[serde(default = "standard_top")]
    pub(super) top: usize,
}

/// `PaginatedQueryVM`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PageQuery {
    #[serde(default)]
    pub(super) skip: usize,
    #[serde(default = "standard_top")]
    pub(super) top: usize,
}

/// The snapshot's default.
fn standard_top() -> usize {
    10
}

/// The page of a list in the envelope's clothes; `top` is what was asked for, cut to the largest page.
pub(super) fn page(items: Vec<Value>, skip: usize, top: usize, page_max: usize) -> Content {
    let (total, top) = (items.len(), top.min(page_max));
    let items: Vec<Value> = items.into_iter().skip(skip).take(top).collect();
    Content::Wrapped(json!({"pageItems": items, "skip": skip, "top": top, "totalSize": total}))
}
