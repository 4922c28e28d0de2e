//! How iDocs is spoken to: plain values that the configuration fills in.

use super::route_template::RouteTemplate;
use super::status::StatusLists;
use crate::domain::Secret;
use crate::providers::url_rules::Origin;

/// Which interface is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// Integration API V3 (the guide).
    #[default]
    V3,
    /// The older external API, known from one client only.
    V1,
}

impl Version {
    /// What stands before every path.
    pub(super) const fn prefix(self) -> &'static str {
        match self {
            Version::V3 => "/api/v3",
            Version::V1 => "/api/v1",
        }
    }

    /// Its name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Version::V3 => "V3",
            Version::V1 => "V1",
        }
    }
}

/// Everything about one iDocs account.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which interface the token is for.
    pub version: Version,
    /// Where the interface lies, without `/api/v3`.
    pub base_url: String,
    /// Where webhooks are managed: another host (the guide).
    pub webhooks_base_url: String,
    /// The company's token (`Authorization: Bearer`).
    pub token: Secret,
    /// `Content-Type` of JSON requests. The guide: `application/json-patch+json`; the snapshot takes plain JSON too.
    pub content_type: String,
    /// The members of a quick route.
    pub route: RouteTemplate,
    /// How a signature is uploaded.
    pub signature: SignaturePart,
    /// What statuses mean.
    pub statuses: StatusLists,
    /// How lists are read.
    pub query: Query,
    /// Where else bytes to be signed may be fetched, with the token; the base's own origin always counts.
    pub download_origins: Vec<Origin>,
    /// Which files are taken.
    pub upload: Upload,
    /// Subscription to notices.
    pub webhook: Webhook,
    /// Past statuses; the guide says that they can be read and not where.
    pub history: Option<History>,
    /// What only V1 needs.
    pub v1: V1Settings,
    /// Bounds.
    pub limits: Limits,
}

/// How the signature's part of an upload is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignaturePart {
    /// `Content-Type` of the part.
    pub content_type: String,
    /// Its file name; must end in `.cms` (the guide).
    pub file_name: String,
}

/// How lists are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// Entries asked for at once; the most allowed is not documented.
    pub page_size: u32,
    /// Pages after which a search is given up.
    pub pages_max: u32,
    /// A document is looked for so many milliseconds before and after its date.
    pub around_ms: u64,
}

/// Which files are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Largest file in bytes. The guide: 15 MB, not defined.
    pub bytes_max: u64,
    /// Ends of names, lower case, without the dot.
    pub extensions: Vec<String>,
}

/// Subscription to notices, and their shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Path below [`Settings::webhooks_base_url`] (the guide).
    pub subscription_path: String,
    /// Name of the member with our address; only the word is documented.
    pub url_field: String,
    /// Where a notice holds what.
    pub fields: EventFields,
}

/// JSON pointers into a notice or an entry of the history; an empty one is not looked at. Not documented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFields {
    /// Id of the document.
    pub document_id: String,
    /// Its status.
    pub status: String,
    /// When it happened.
    pub occurred_on: String,
}

/// Where past statuses are read. Not documented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Path of one document below [`Settings::webhooks_base_url`], with `{id}`; empty: not there.
    pub document_path: String,
    /// Path of a period, with `{from}` and `{to}` in seconds; empty: not there.
    pub period_path: String,
    /// JSON pointer to the list; empty: the answer is the list.
    pub items: String,
    /// Where an entry holds what.
    pub fields: EventFields,
}

/// What only V1 needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V1Settings {
    /// The member `Type`, whose values nobody published; empty: not sent.
    pub document_type: String,
    /// `Position` of our signer's step, whose numbering nobody published.
    pub position: u32,
    /// JSON pointer to the document's id in the answer about a process. Not documented.
    pub document_id: String,
    /// JSON pointer to what tells that nothing comes of a process; empty: not known. Not documented.
    pub failed: String,
    /// JSON pointer to the status of a document.
    pub status: String,
    /// Whether there is a print form to be fetched.
    pub print_form: bool,
    /// Whether there is a file to be fetched.
    pub file: bool,
}

impl Default for V1Settings {
    /// As `default.toml` has it.
    fn default() -> Self {
        Self {
            document_type: String::new(),
            position: 0,
            document_id: "/DocumentId".into(),
            failed: String::new(),
            status: "/SystemDocumentStatus".into(),
            print_form: true,
            file: true,
        }
    }
}

/// Bounds in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A notice.
    pub callback_bytes: u64,
    /// The bytes to be signed.
    pub content_bytes: u64,
    /// A signature.
    pub signature_bytes: u64,
    /// A print form.
    pub print_form_bytes: u64,
    /// An archive of the original with its signatures.
    pub archive_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let fields = EventFields {
            document_id: "/documentId".into(),
            status: "/documentStatus".into(),
            occurred_on: "/occurredOn".into(),
        };
        Self {
            version: Version::default(),
            base_url: "https://ext-edo-integration.idocs.kz/".into(),
            webhooks_base_url: "https://webhooks.idocs.kz/api/1/".into(),
            token: Secret::new(""),
            content_type: "application/json".into(),
            route: RouteTemplate::snapshot(""),
            signature: SignaturePart {
                content_type: "application/octet-stream".into(),
                file_name: "signature.cms".into(),
            },
            statuses: StatusLists::default(),
            query: Query { page_size: 50, pages_max: 200, around_ms: 86_400_000 },
            download_origins: Vec::new(),
            upload: Upload {
                bytes_max: 15_000_000,
                extensions: ["doc", "docx", "xls", "xlsx", "pdf", "txt"].map(str::to_owned).to_vec(),
            },
            webhook: Webhook {
                subscription_path: "/webhooks/document-events/subscription/document-status-changed-event"
                    .into(),
                url_field: "subscriptionUrl".into(),
                fields,
            },
            history: None,
            v1: V1Settings::default(),
            limits: Limits {
                callback_bytes: 64 * 1024,
                content_bytes: 32 * 1024 * 1024,
                signature_bytes: 48 * 1024 * 1024,
                print_form_bytes: 100 * 1024 * 1024,
                archive_bytes: 250 * 1024 * 1024,
            },
        }
    }
}
