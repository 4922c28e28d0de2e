//! `[idocs]`: the signing service of Kazakhstan; `[signing_page]`: how long our own signers have.
//!
//! The section is optional: without it the service is off, and its defaults in `default.toml` apply as soon as a file
//! or a variable names it. What is not documented by the vendor is a key here; what each default rests on is said
//! there.

use super::secret_ref::SecretRef;
use super::signing_page::PageLanguage;
use super::units::{Period, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

/// iDocs as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdocsConfig {
    /// Which of the two interfaces the company was given.
    pub api_version: IdocsVersion,
    /// Address of the service, without `/api/v3`.
    pub base_url: Url,
    /// Address of the interface for webhooks, which is another host.
    pub webhooks_base_url: Url,
    /// The company's token, issued by the iDocs manager. Needed as soon as there is a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretRef>,
    /// `Content-Type` of JSON requests.
    pub content_type: String,
    /// Id of the employee in whose name documents are created; empty: not sent, the service decides.
    pub author_employee_id: String,
    /// Number of a document; must contain `{short}`, by which a document is found whose create went unanswered.
    pub document_number_template: String,
    /// Our people who sign.
    #[serde(default)]
    pub signers: Vec<IdocsSigner>,
    /// What the quick route looks like.
    pub route: IdocsRoute,
    /// What a signature looks like.
    pub cms: IdocsCms,
    /// What statuses mean.
    pub status: IdocsStatuses,
    /// Pauses between questions for a status while the counterparty is waited for; the last one repeats.
    pub poll: Vec<Period>,
    /// The people of the rule are reminded after the counterparty has been waited for this long, once for each entry.
    pub reminders: Vec<Period>,
    /// A document that has waited this long for the counterparty is parked for a person.
    pub deadline: Period,
    /// Pause between a write with an unknown outcome and the first look for it.
    pub settle: Period,
    /// How lists are read.
    pub query: IdocsQuery,
    /// How the bytes to be signed are fetched.
    pub download: IdocsDownload,
    /// Which files are taken.
    pub upload: IdocsUpload,
    /// Operations on many documents.
    pub bulk: IdocsBulk,
    /// Notices of changed statuses.
    pub webhook: IdocsWebhook,
    /// The past statuses of a document, if they can be read.
    pub history: IdocsHistory,
    /// What only V1 needs.
    pub v1: IdocsV1,
    /// Bounds.
    pub limits: IdocsLimits,
    /// How long we wait.
    pub timeouts: IdocsTimeouts,
    /// Allows `http://` to a loopback address, for the sandbox. Refused for any other host.
    pub dangerous_allow_http: bool,
}

impl IdocsConfig {
    /// The signer with this name.
    pub fn signer(&self, name: &str) -> Option<&IdocsSigner> {
        self.signers.iter().find(|signer| signer.name == name)
    }
}

/// Which interface of iDocs is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IdocsVersion {
    /// Integration API V3: draft, route, content to sign, signature.
    V3,
    /// The older external API V1: one call with the file and its signature.
    V1,
}

/// One of our people who sign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdocsSigner {
    /// Our name of the person, used in rules and shown to people.
    pub name: String,
    /// Their id as an employee at iDocs.
    pub employee_id: String,
    /// The 12 digits of the person in their certificate; absent: not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iin: Option<String>,
    /// The 12 digits of the company in their certificate; absent: not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bin: Option<String>,
    /// Their user in Bitrix24, who gets the link to the signing page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bitrix_user: Option<u64>,
    /// Users in Bitrix24 who are told when they do not sign in time.
    #[serde(default)]
    pub escalate_to: Vec<u64>,
}

/// What the quick route looks like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdocsRoute {
    /// Which members are sent.
    pub preset: IdocsRoutePreset,
    /// The value of `requiredActionType` in the preset `guide`.
    pub required_action_type: String,
    /// What the counterparty reads beside the document; empty: nothing.
    pub comment: String,
    /// The value of the member `route` for the preset `template`, as JSON with placeholders.
    pub template: String,
}

/// Which members of the quick route are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdocsRoutePreset {
    /// Those of the guide, with `requiredActionType`.
    Guide,
    /// Those of the snapshot of the OpenAPI document, with the booleans.
    Snapshot,
    /// The same with `isSenderPayer`.
    SnapshotPayer,
    /// Those of `template`.
    Template,
}

/// What a signature looks like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdocsCms {
    /// Whether the CMS carries the signed bytes (attached) or not (detached).
    pub encapsulate: bool,
    /// `Content-Type` of the part with the signature.
    pub part_content_type: String,
    /// File name of that part; ends in `.cms`.
    pub file_name: String,
}

/// Names of statuses, and their numbers written as text, compared exactly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdocsStatuses {
    /// It is not sent yet: our signer has not signed.
    pub not_sent: Vec<String>,
    /// It is under way.
    pub in_work: Vec<String>,
    /// Signed by everybody.
    pub success: Vec<String>,
    /// Refused by somebody.
    pub refused: Vec<String>,
    /// Taken back by our side.
    pub withdrawn: Vec<String>,
    /// Nobody knows what it means: a person is asked.
    pub unsure: Vec<String>,
}

impl IdocsStatuses {
    /// The lists with the names of their keys.
    pub fn lists(&self) -> [(&'static str, &[String]); 6] {
        [
            ("not_sent", &self.not_sent),
            ("in_work", &self.in_work),
            ("success", &self.success),
            ("refused", &self.refused),
            ("withdrawn", &self.withdrawn),
            ("unsure", &self.unsure),
        ]
    }
}

/// How lists are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdocsQuery {
    /// Entries asked for at once.
    pub page_size: u32,
    /// Pages read before a search is given up.
    pub pages_max: u32,
    /// So far before and after a document's date it is looked for.
    pub around: Period,
}

/// How the bytes to be signed are fetched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdocsDownload {
    /// Origins (`https://host`) besides that of the base address to which the token may go.
    pub allowed_origins: Vec<Url>,
}

/// Which files are taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdocsUpload {
    /// Largest file.
    pub max_bytes: Size,
    /// Ends of names, lower case, without the dot.
    pub extensions: Vec<String>,
}

/// Content to sign for many documents by one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdocsBulk {
    /// From so many documents that want their content at the same time it is made for all of them at once; 0: never.
    pub from: u32,
    /// How long a document waits for others.
    pub gather: Period,
    /// Pauses between questions for a result; the last one repeats.
    pub poll: Vec<Period>,
    /// A document whose content is not made after this time asks for it alone.
    pub deadline: Period,
}

/// Notices of changed statuses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdocsWebhook {
    /// Whether we subscribe at every start.
    pub subscribe: bool,
    /// Path of the subscription below `webhooks_base_url`.
    pub subscription_path: String,
    /// Name of the member with our address.
    pub url_field: String,
    /// Last part of our address, which nobody can guess; absent: notices are refused, polling goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_secret: Option<SecretRef>,
    /// Where a notice holds what.
    pub fields: IdocsEventFields,
}

/// JSON pointers into a notice; an empty one means that the member is not looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdocsEventFields {
    /// Id of the document.
    pub document_id: String,
    /// Its status; shown, never believed.
    pub status: String,
    /// When it happened; shown, never used for order.
    pub occurred_on: String,
}

/// The past statuses of a document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdocsHistory {
    /// Path below `webhooks_base_url` with `{id}`; empty: it cannot be read.
    pub document_path: String,
    /// Path and query below `webhooks_base_url` with `{from}` and `{to}` (seconds); empty: it cannot be read.
    pub period_path: String,
    /// JSON pointer to the list; empty: the answer itself is the list.
    pub items: String,
    /// Where an entry holds what.
    pub fields: IdocsEventFields,
    /// Pause between two questions for the events of a period.
    pub interval: Period,
    /// Each question reaches so far into the period of the one before.
    pub overlap: Period,
    /// While the events of a period are asked for, each document's own status is asked for so rarely.
    pub document_poll: Period,
}

/// What only V1 needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdocsV1 {
    /// The member `Type` of a sending; empty: not sent.
    pub document_type: String,
    /// JSON pointer to the document's id in the answer about a process.
    pub document_id: String,
}

/// Bounds towards iDocs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdocsLimits {
    /// Largest notice.
    pub callback_bytes: Size,
    /// Notices a minute from one address; more get 429.
    pub callback_per_minute: u32,
    /// Largest archive of bytes to be signed.
    pub content_bytes: Size,
    /// Largest signature.
    pub signature_bytes: Size,
    /// Largest print form.
    pub print_form_bytes: Size,
    /// Largest archive of the original and its signatures.
    pub archive_bytes: Size,
    /// Calls at one time.
    pub concurrent_calls: u32,
}

/// How long we wait for iDocs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdocsTimeouts {
    /// For a connection.
    pub connect: Period,
    /// Between two pieces of an answer.
    pub read: Period,
    /// For one call as a whole.
    pub call: Period,
    /// For one file as a whole.
    pub transfer: Period,
}

/// `[signing_page]`: how long our own signers have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SigningPageConfig {
    /// Our signer is reminded after a document has waited for them this long, once for each entry.
    pub signer_reminders: Vec<Period>,
    /// A document that our signer has not signed by then is told to whoever is named in `escalate_to`.
    pub signer_deadline: Period,
    /// How long a link to the signing page works, at most; it never outlives the bytes that it shows.
    pub link_ttl: Period,
    /// Languages that the page offers; the first one is for browsers that ask for none of them.
    pub languages: Vec<PageLanguage>,
    /// Where the IIN stands in the subject of a certificate: `attribute=form`, each `#` a digit; the first that fits.
    pub subject_iin: Vec<String>,
    /// Where the BIN stands.
    pub subject_bin: Vec<String>,
    /// The signing agent on the signer's own computer, as their browser reaches it.
    pub agent_url: Url,
    /// Submissions a minute from one address; more get 429.
    pub submissions_per_minute: u32,
    /// Largest submission: up to 20 signatures, each of which may carry its content.
    pub submission_bytes: Size,
}

/// How `service` of a rule is spelled, for the schema.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[allow(dead_code, reason = "only its schema is used")]
pub(super) enum ServiceName {
    /// EasyDocs.
    Easydocs,
    /// iDocs.
    Idocs,
}
