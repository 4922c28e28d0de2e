//! How EasyDocs is spoken to: plain values that the configuration fills in.
//!
//! Defaults are what the EasyDocs guide says, and where it is silent, what is most likely; every such guess can be
//! changed without a new binary.

use crate::domain::Secret;
use crate::providers::url_rules::Origin;
use serde_json::{Map, Value};

/// Everything about one EasyDocs account.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the interface lies; a path in it is kept.
    pub base_url: String,
    /// How requests prove who we are.
    pub auth: Auth,
    /// Creating a document.
    pub create: Create,
    /// Fetching the signed file.
    pub download: Download,
    /// A path that answers 2xx to a valid key (the guide: "`GET /api/v1/me` or similar"); none switches the check off.
    pub health_path: Option<String>,
    /// Asking for a document's status. The guide documents none.
    pub status: Option<Status>,
    /// Searching by our own id. The guide documents none.
    pub search: Option<Search>,
    /// What callbacks look like.
    pub callback: CallbackShape,
    /// How callbacks are signed.
    pub signature: Signature,
    /// Bounds.
    pub limits: Limits,
}

/// How requests prove who we are (the guide: `Authorization: Bearer <api key>`).
#[derive(Debug, Clone)]
pub struct Auth {
    /// The header's name.
    pub header: String,
    /// The word before the key; empty for the bare key.
    pub scheme: String,
    /// The key from the integration's set-up.
    pub api_key: Secret,
}

/// The form of the body that creates a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CreateMode {
    /// A JSON object with the file as a Base64 string (the guide's form).
    #[default]
    JsonBase64,
    /// multipart/form-data with the file as a part of its own.
    Multipart,
}

/// Creating a document.
#[derive(Debug, Clone)]
pub struct Create {
    /// HTTP method.
    pub method: String,
    /// Path under the base.
    pub path: String,
    /// The body's form.
    pub mode: CreateMode,
    /// Names of its members or parts.
    pub fields: CreateFields,
    /// Further members with fixed values: a signatory, a document type. They never replace a named field.
    pub extra: Map<String, Value>,
    /// JSON pointer to the document's id in the answer.
    pub response_id: String,
    /// JSON pointer to its status in the answer.
    pub response_status: String,
    /// Statuses that mean "created".
    pub success_codes: Vec<u16>,
}

/// Names of the members of the create request; an empty one is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateFields {
    /// The document's name.
    pub name: String,
    /// The file.
    pub file_content: String,
    /// The file's name.
    pub file_name: String,
    /// The route of approval and signing.
    pub route_id: String,
    /// Our own id.
    pub external_id: String,
    /// Where notices go.
    pub callback_url: String,
}

/// Which address the signed file is fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DownloadFrom {
    /// The path template: nothing from outside is trusted.
    #[default]
    Template,
    /// The address in the callback, if it is at an allowed origin and names the document; else the template.
    CallbackMember,
}

/// Fetching the signed file.
#[derive(Debug, Clone)]
pub struct Download {
    /// Path under the base; `{id}` is the document's id.
    pub path: String,
    /// Where else the file may lie and the key may be sent; the base's own origin always counts.
    pub allowed_origins: Vec<Origin>,
    /// Which address is used.
    pub prefer: DownloadFrom,
}

/// Asking for a document's status.
#[derive(Debug, Clone)]
pub struct Status {
    /// Path under the base; `{id}` is the document's id.
    pub path: String,
    /// JSON pointer to the status.
    pub status: String,
    /// JSON pointer to our id, to check the answer by; empty if it is not there.
    pub external_id: String,
    /// JSON pointer to the signed file's address; empty if it is not there.
    pub file_url: String,
}

/// Searching documents by our own id.
#[derive(Debug, Clone)]
pub struct Search {
    /// Path and query under the base; `{external_id}` is our id.
    pub path: String,
    /// JSON pointer to the list of documents; empty if the answer is the list.
    pub items: String,
    /// JSON pointer within an item to its id.
    pub id: String,
    /// JSON pointer within an item to our id; compared exactly, whatever the service filtered.
    pub external_id: String,
    /// JSON pointer within an item to its status; empty if it is not there.
    pub status: String,
}

/// What callbacks look like.
#[derive(Debug, Clone)]
pub struct CallbackShape {
    /// JSON pointer to the event's name.
    pub event: String,
    /// JSON pointer to the document's id.
    pub document_id: String,
    /// JSON pointer to our id.
    pub external_id: String,
    /// JSON pointer to the status.
    pub status: String,
    /// JSON pointer to the signed file's address.
    pub file_url: String,
    /// JSON pointer to the time.
    pub timestamp: String,
    /// Names of events that are acted on.
    pub events: Vec<String>,
    /// Statuses that mean "signed by everybody", matched exactly.
    pub success: Vec<String>,
    /// Statuses that mean "refused", matched exactly.
    pub refused: Vec<String>,
    /// What we answer to a notice that was stored.
    pub answer_code: u16,
    /// The body of that answer.
    pub answer_body: String,
}

/// The hash under the HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// HMAC-SHA256.
    #[default]
    HmacSha256,
    /// HMAC-SHA1, for old senders.
    HmacSha1,
    /// HMAC-SHA512.
    HmacSha512,
}

/// How the signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// Hex digits of either case.
    #[default]
    Hex,
    /// Standard Base64, padded or not.
    Base64,
    /// Base64 of the URL alphabet, padded or not.
    Base64Url,
    /// Whatever of these it is, told by its length.
    Auto,
}

/// What the signature is over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SignedContent {
    /// The bytes of the body as they came.
    #[default]
    RawBody,
    /// Pieces one after another.
    Template(Vec<SignedPart>),
}

/// A piece of what is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedPart {
    /// These characters.
    Literal(String),
    /// The bytes of the body as they came.
    Body,
    /// The value of a header, which must be there exactly once.
    Header(String),
}

/// A template of signed content that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not `raw_body` or a template of `{{body}}` and `{{header:Name}}`")]
pub struct BadSignedContent(pub String);

impl std::str::FromStr for SignedContent {
    type Err = BadSignedContent;

    /// `raw_body`, or a template as `{header:X-Timestamp}.{body}`. A template without the body is refused: it would
    /// sign nothing of what is read.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "raw_body" {
            return Ok(SignedContent::RawBody);
        }
        let bad = || BadSignedContent(text.to_owned());
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, tail)) = rest.split_once('{') {
            push_literal(literal, &mut parts);
            let (name, after) = tail.split_once('}').ok_or_else(bad)?;
            parts.push(match name.strip_prefix("header:") {
                Some(header) if !header.is_empty() => SignedPart::Header(header.to_owned()),
                None if name == "body" => SignedPart::Body,
                Some(_) | None => return Err(bad()),
            });
            rest = after;
        }
        push_literal(rest, &mut parts);
        if parts.contains(&SignedPart::Body) { Ok(SignedContent::Template(parts)) } else { Err(bad()) }
    }
}

fn push_literal(text: &str, parts: &mut Vec<SignedPart>) {
    if !text.is_empty() {
        parts.push(SignedPart::Literal(text.to_owned()));
    }
}

/// How callbacks are signed. The guide names the header and "HMAC"; the rest is our most likely reading.
#[derive(Debug, Clone)]
pub struct Signature {
    /// The header with the signature.
    pub header: String,
    /// The hash.
    pub algorithm: Algorithm,
    /// How it is written.
    pub encoding: Encoding,
    /// What stands before it, as `sha256=`.
    pub prefix: String,
    /// What it is over.
    pub signed_content: SignedContent,
    /// Any of these may match, so that a secret can be changed without losing notices. Empty: nothing is accepted.
    pub secrets: Vec<Secret>,
}

/// Bounds, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Body of a callback.
    pub callback_bytes: u64,
    /// The signed file.
    pub download_bytes: u64,
    /// The file to be signed.
    pub upload_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base_url: "https://internal-api.easydocs.ru/".into(),
            auth: Auth::default(),
            create: Create::default(),
            download: Download::default(),
            health_path: Some("/api/v1/me".into()),
            status: None,
            search: None,
            callback: CallbackShape::default(),
            signature: Signature::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self { header: "Authorization".into(), scheme: "Bearer".into(), api_key: Secret::new("") }
    }
}

impl Default for Create {
    fn default() -> Self {
        Self {
            method: "POST".into(),
            path: "/api/v1/documents".into(),
            mode: CreateMode::default(),
            fields: CreateFields::default(),
            extra: Map::new(),
            response_id: "/id".into(),
            response_status: "/status".into(),
            success_codes: vec![200, 201, 202],
        }
    }
}

impl Default for CreateFields {
    fn default() -> Self {
        Self {
            name: "name".into(),
            file_content: "file_content".into(),
            file_name: "file_name".into(),
            route_id: "route_id".into(),
            external_id: "external_id".into(),
            callback_url: "callback_url".into(),
        }
    }
}

impl Default for Download {
    fn default() -> Self {
        Self {
            path: "/documents/{id}/download".into(),
            allowed_origins: Vec::new(),
            prefer: DownloadFrom::default(),
        }
    }
}

impl Default for Status {
    fn default() -> Self {
        Self {
            path: "/api/v1/documents/{id}".into(),
            status: "/status".into(),
            external_id: "/external_id".into(),
            file_url: "/signed_file_url".into(),
        }
    }
}

impl Default for Search {
    fn default() -> Self {
        Self {
            path: "/api/v1/documents?external_id={external_id}".into(),
            items: String::new(),
            id: "/id".into(),
            external_id: "/external_id".into(),
            status: "/status".into(),
        }
    }
}

impl Default for CallbackShape {
    fn default() -> Self {
        Self {
            event: "/event".into(),
            document_id: "/document_id".into(),
            external_id: "/external_id".into(),
            status: "/status".into(),
            file_url: "/signed_file_url".into(),
            timestamp: "/timestamp".into(),
            events: vec!["document.status_changed".into()],
            success: vec!["signed".into()],
            refused: vec!["rejected".into(), "declined".into()],
            answer_code: 200,
            answer_body: r#"{"ok":true}"#.into(),
        }
    }
}

impl Default for Signature {
    fn default() -> Self {
        Self {
            header: "X-EasyDocs-Signature".into(),
            algorithm: Algorithm::default(),
            encoding: Encoding::default(),
            prefix: String::new(),
            signed_content: SignedContent::default(),
            secrets: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { callback_bytes: 64 * 1024, download_bytes: 50 * 1024 * 1024, upload_bytes: 10 * 1024 * 1024 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_of_signed_content_reads() {
        assert_eq!("raw_body".parse(), Ok(SignedContent::RawBody));
        let expected = SignedContent::Template(vec![
            SignedPart::Literal("v0:".into()),
            SignedPart::Header("X-Time".into()),
            SignedPart::Literal(":".into()),
            SignedPart::Body,
        ]);
        assert_eq!("v0:{header:X-Time}:{body}".parse(), Ok(expected));
        for bad in ["", "body", "{header:X-Time}", "{body", "{header:}{body}", "{member}{body}"] {
            assert!(bad.parse::<SignedContent>().is_err(), "{bad}");
        }
    }
}
