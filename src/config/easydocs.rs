//! `[easydocs]`: the signing service.
//!
//! The EasyDocs guide leaves much to a Swagger page that is not public, so that paths, member names and the way
//! callbacks are signed are all configurable. What a key's default rests on is said in `default.toml`.

use super::closed_network::CaFile;
use super::network::Network;
use super::secret_ref::SecretRef;
use super::units::{Period, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

/// EasyDocs as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EasydocsConfig {
    /// Address of the service; paths are appended to it.
    pub base_url: Url,
    /// The API key, issued by EasyDocs. Needed as soon as there is a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<SecretRef>,
    /// Certificates of the authority that has signed the service's own, if it is a private one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<CaFile>,
    /// Whom a document is waiting for: pauses between questions for its status where `status.path` is set.
    pub poll: Vec<Period>,
    /// Whoever the rule names is reminded after a document has waited this long, once for each entry.
    pub reminders: Vec<Period>,
    /// A document that has waited this long is parked for a person.
    pub deadline: Period,
    /// How long a create with an unknown outcome waits for a callback before a person is asked.
    pub callback_grace: Period,
    /// Pause between a create with an unknown outcome and the first search for it.
    pub settle: Period,
    /// How the key is sent.
    pub auth: AuthConfig,
    /// How a document is created.
    pub create: CreateConfig,
    /// How the signed file is fetched.
    pub download: DownloadConfig,
    /// How `doctor` tries the key.
    pub health: HealthConfig,
    /// How the status of a document is read, if it can be.
    pub status: StatusConfig,
    /// How a document is found by our id, if it can be.
    pub search: SearchConfig,
    /// Addresses from which callbacks may come. Empty: any, the signature decides.
    pub callback_from: Vec<Network>,
    /// What callbacks look like.
    pub callback: CallbackConfig,
    /// How callbacks are signed.
    pub signature: SignatureConfig,
    /// Bounds.
    pub limits: EasydocsLimits,
    /// How long we wait.
    pub timeouts: EasydocsTimeouts,
    /// Allows `http://` to a loopback address, for the sandbox. Refused for any other host.
    pub dangerous_allow_http: bool,
    /// Repeats a create after 5xx without looking first. Makes second documents if the first one was created.
    pub dangerous_repeat_create_on_5xx: bool,
}

impl EasydocsConfig {
    /// Whether the status of a document can be asked for.
    pub fn can_ask_status(&self) -> bool {
        !self.status.path.is_empty()
    }
    /// Whether a document can be looked for by our id.
    pub fn can_search(&self) -> bool {
        !self.search.path.is_empty()
    }
}

/// How the API key is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// Name of the request header.
    pub header: String,
    /// Word before the key; empty: the key alone.
    pub scheme: String,
}

/// How a document is created.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateConfig {
    /// HTTP method.
    pub method: CreateMethod,
    /// Path below the base address.
    pub path: String,
    /// Shape of the body.
    pub mode: CreateMode,
    /// Name of the file's part in multipart mode.
    pub file_part: String,
    /// Names of the members.
    pub fields: CreateFields,
    /// Further members that are sent with every document, as they are.
    pub extra: serde_json::Map<String, serde_json::Value>,
    /// Where the answer holds what.
    pub response: CreateResponse,
    /// HTTP statuses that mean success.
    pub success_codes: Vec<u16>,
    /// EasyDocs is known to return the first document when a create is repeated with the same external id.
    pub idempotent_by_external_id: bool,
}

/// HTTP method of the create call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum CreateMethod {
    /// POST.
    Post,
    /// PUT.
    Put,
}

/// Shape of the body of the create call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreateMode {
    /// JSON with the file in Base64.
    JsonBase64,
    /// multipart/form-data with the file as a part.
    Multipart,
}

/// Names of the members of the create call; an empty name means that the member is not sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateFields {
    /// The document's name as people see it.
    pub name: String,
    /// The file in Base64.
    pub file_content: String,
    /// The file's name with its extension.
    pub file_name: String,
    /// The route of approval and signing.
    pub route_id: String,
    /// Our id of the document.
    pub external_id: String,
    /// Where callbacks go.
    pub callback_url: String,
}

/// JSON pointers into the answer of the create call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateResponse {
    /// The id of the document.
    pub id: String,
    /// Its status; empty: not looked at.
    pub status: String,
}

/// How the signed file is fetched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DownloadConfig {
    /// Path below the base address; `{id}` is the document.
    pub path: String,
    /// Origins (`https://host`) besides that of the base address to which the key may go.
    pub allowed_origins: Vec<Url>,
}

/// How the key is tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthConfig {
    /// Path below the base address; empty: the key is not tried.
    pub path: String,
}

/// How the status of a document is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusConfig {
    /// Path below the base address with `{id}`; empty: it cannot be read.
    pub path: String,
    /// JSON pointer to the status.
    pub status: String,
}

/// How a document is found by our id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchConfig {
    /// Path and query below the base address with `{external_id}`; empty: it cannot be found.
    pub path: String,
    /// JSON pointer to the list; empty: the answer itself is the list.
    pub items: String,
    /// JSON pointer within an item to the document's id.
    pub id: String,
    /// JSON pointer within an item to our id, compared exactly.
    pub external_id: String,
    /// JSON pointer within an item to the status; empty: not looked at.
    pub status: String,
}

/// What callbacks look like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackConfig {
    /// Where the body holds what.
    pub fields: CallbackFields,
    /// Names of events that tell of a status; others are kept in the history.
    pub events: Vec<String>,
    /// Which status names end the wait.
    pub status: CallbackStatuses,
    /// HTTP status of our answer to an authentic callback.
    pub answer_code: u16,
    /// Body of that answer.
    pub answer_body: String,
}

/// JSON pointers into a callback; an empty one means that the member is not looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackFields {
    /// Name of the event.
    pub event: String,
    /// Id of the document at EasyDocs.
    pub document_id: String,
    /// Our id.
    pub external_id: String,
    /// Status.
    pub status: String,
    /// Address of the signed file.
    pub file_url: String,
    /// When it happened; shown, never used for order.
    pub timestamp: String,
}

/// Names of final statuses, compared exactly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackStatuses {
    /// Signed by everybody.
    pub success: Vec<String>,
    /// Refused by somebody.
    pub refused: Vec<String>,
}

/// How callbacks are signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureConfig {
    /// Name of the header with the signature.
    pub header: String,
    /// Hash of the HMAC.
    pub algorithm: SignatureAlgorithm,
    /// How the signature is written.
    pub encoding: SignatureEncoding,
    /// Text before the signature, cut before comparing.
    pub prefix: String,
    /// What is signed: `raw_body`, or a template of `{body}` and `{header:Name}`.
    pub signed_content: String,
    /// Shared secrets; any of them may match, so that they can be changed without a gap.
    pub secrets: Vec<SecretRef>,
}

/// Hash of the HMAC over a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SignatureAlgorithm {
    /// HMAC-SHA-256.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// HMAC-SHA-1.
    #[serde(rename = "hmac-sha1")]
    HmacSha1,
    /// HMAC-SHA-512.
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
}

/// How the signature of a callback is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SignatureEncoding {
    /// Hexadecimal, either letter case.
    Hex,
    /// Base64 with the standard alphabet.
    Base64,
    /// Base64 with the alphabet for URLs.
    Base64url,
    /// Whichever of these fits.
    Auto,
}

/// Bounds towards EasyDocs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EasydocsLimits {
    /// Largest callback.
    pub callback_bytes: Size,
    /// Callbacks a minute from one address; more get 429.
    pub callback_per_minute: u32,
    /// Largest file sent for signing.
    pub upload_bytes: Size,
    /// Largest signed file taken back.
    pub download_bytes: Size,
    /// Calls at one time; keeps a queue that an outage left from coming all at once.
    pub concurrent_calls: u32,
}

/// How long we wait for EasyDocs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EasydocsTimeouts {
    /// For a connection.
    pub connect: Period,
    /// Between two pieces of an answer.
    pub read: Period,
    /// For one call as a whole.
    pub call: Period,
    /// For one file (create, download) as a whole.
    pub transfer: Period,
}
