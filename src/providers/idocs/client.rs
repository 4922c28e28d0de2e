//! The client of one iDocs account: addresses, the token, one exchange at a time. What is asked lies in its neighbours.
//!
//! Repeats nothing.

use super::answer::{self, Body};
use super::error;
use super::settings::{Settings, Version};
use crate::domain::Failure;
use crate::providers::http_client::{Accept, Answer, HttpClient, WireError};
use crate::providers::redaction::Redactor;
use crate::providers::remote::{Nature, Remote};
use crate::providers::spool_io::{FramedFile, Received};
use crate::providers::url_rules::{AllowedOrigins, Origin, UrlRefused, checked};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder, Url};
use serde_json::Value;
use tokio::io::AsyncWrite;

/// Longest answer that is read: a page of documents with their routes.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How much of a refusal is read instead of a file.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// Redirects within allowed origins that a download follows.
const REDIRECTS_MAX: usize = 3;

/// What can be asked of iDocs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// The company behind the token.
    CheckToken,
    /// The employees.
    Employees,
    /// The rights of an employee.
    Permissions,
    /// Upload of a file.
    UploadBlob,
    /// A draft.
    CreateDraft,
    /// Search of a document by its number.
    FindDraft,
    /// The route of a draft.
    CreateRoute,
    /// A document with its route.
    OutboxDocument,
    /// Bytes to be signed.
    GenerateContent,
    /// Upload of a signature.
    UploadSignature,
    /// A signature over those bytes.
    SaveSignature,
    /// The status of a document.
    Status,
    /// The print form.
    PrintForm,
    /// The original with its signatures.
    Archive,
    /// Operations on many documents.
    Bulk,
    /// Document and signature in one call (V1).
    SendSigned,
    /// What became of that call (V1).
    Process,
}

impl Call {
    /// Stable word for metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Call::CheckToken => "check_token",
            Call::Employees => "employees",
            Call::Permissions => "permissions",
            Call::UploadBlob => "upload_blob",
            Call::CreateDraft => "create_draft",
            Call::FindDraft => "find_draft",
            Call::CreateRoute => "create_route",
            Call::OutboxDocument => "outbox_document",
            Call::GenerateContent => "generate_content",
            Call::UploadSignature => "upload_signature",
            Call::SaveSignature => "save_signature",
            Call::Status => "status",
            Call::PrintForm => "print_form",
            Call::Archive => "archive",
            Call::Bulk => "bulk",
            Call::SendSigned => "send_signed",
            Call::Process => "process",
        }
    }

    /// Whether this version of the interface has it, as far as it is documented.
    pub const fn is_in(self, version: Version) -> bool {
        match (version, self) {
            (Version::V3, Call::SendSigned | Call::Process) => false,
            (Version::V3, _) => true,
            (
                Version::V1,
                Call::SendSigned | Call::Process | Call::Status | Call::PrintForm | Call::Archive,
            ) => true,
            (Version::V1, _) => false,
        }
    }
}

/// The interface that the company was given has no such call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("iDocs {} has no call {}", version.name(), call.name())]
pub struct NotSupported {
    /// What was wanted.
    pub call: Call,
    /// The interface.
    pub version: Version,
}

impl From<NotSupported> for Failure {
    fn from(error: NotSupported) -> Self {
        let (call, version) = (error.call.name(), error.version.name());
        error::local(
            NotSupported::CODE,
            format!("Интерфейс iDocs {version} не умеет этого ({call}). Проверьте idocs.api_version."),
            format!("The interface iDocs {version} cannot do this ({call}). Check idocs.api_version."),
        )
    }
}

impl NotSupported {
    /// The code of its failure.
    pub const CODE: &'static str = "not_supported";
}

/// Settings that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A base address breaks the rules for addresses.
    #[error("{key} is not usable as an address")]
    Address {
        /// Which one.
        key: &'static str,
        /// What is wrong.
        #[source]
        source: UrlRefused,
    },
    /// The token or a content type cannot stand in a request.
    #[error("`{0}` of iDocs cannot be sent in a request")]
    Unsendable(&'static str),
}

/// One iDocs account.
#[derive(Debug)]
pub struct Client {
    pub(super) http: HttpClient,
    pub(super) settings: Settings,
    pub(super) redactor: Redactor,
    base: String,
    webhooks: String,
    auth: HeaderValue,
    content_type: HeaderValue,
    /// Where files may be fetched from.
    pub(super) files: AllowedOrigins,
    /// Where requests may go.
    own: AllowedOrigins,
}

/// Under which of the two base addresses a path lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The interface itself; its version goes before the path.
    Interface,
    /// The interface for webhooks.
    Webhooks,
}

impl Client {
    /// A client for these settings.
    ///
    /// # Errors
    /// [`SettingsError`]; never quotes the token.
    pub fn new(http: HttpClient, settings: Settings) -> Result<Self, SettingsError> {
        let base = base_of("idocs.base_url", &settings.base_url)?;
        let webhooks = base_of("idocs.webhooks_base_url", &settings.webhooks_base_url)?;
        let unsendable = SettingsError::Unsendable;
        let mut auth = HeaderValue::from_str(format!("Bearer {}", settings.token.expose()).trim())
            .map_err(|_| unsendable("token"))?;
        auth.set_sensitive(true);
        let content_type =
            HeaderValue::from_str(&settings.content_type).map_err(|_| unsendable("content_type"))?;
        let extra = settings.download_origins.iter().cloned();
        Ok(Self {
            http,
            base: format!("{}{}", base.0, settings.version.prefix()),
            webhooks: webhooks.0,
            auth,
            content_type,
            files: AllowedOrigins::new(std::iter::once(base.1.clone()).chain(extra)),
            own: AllowedOrigins::new([base.1, webhooks.1]),
            redactor: Redactor::new([settings.token.clone()]),
            settings,
        })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether the interface has this call.
    ///
    /// # Errors
    /// [`NotSupported`], which is also the failure of the call itself.
    pub fn require(&self, call: Call) -> Result<(), NotSupported> {
        let version = self.settings.version;
        if call.is_in(version) { Ok(()) } else { Err(NotSupported { call, version }) }
    }

    /// Asks with GET.
    pub(super) async fn get(&self, path: &str) -> Result<Body, Failure> {
        let request = self.request(Method::GET, self.address(Place::Interface, path)?);
        self.answer(request, Nature::Read).await
    }

    /// Sends JSON with POST.
    pub(super) async fn post(&self, path: &str, body: &Value, nature: Nature) -> Result<Body, Failure> {
        self.post_to(Place::Interface, path, body, nature).await
    }

    /// The same under either base.
    pub(super) async fn post_to(
        &self,
        place: Place,
        path: &str,
        body: &Value,
        nature: Nature,
    ) -> Result<Body, Failure> {
        let request = self.request(Method::POST, self.address(place, path)?);
        let request = request.header(CONTENT_TYPE, self.content_type.clone()).body(body.to_string());
        self.answer(request, nature).await
    }

    /// Sends an empty POST, as the token check wants it.
    pub(super) async fn post_nothing(&self, path: &str) -> Result<Body, Failure> {
        let request = self.request(Method::POST, self.address(Place::Interface, path)?);
        self.answer(request.header(CONTENT_LENGTH, 0), Nature::Read).await
    }

    /// Sends a body with a file in it.
    pub(super) async fn send_file(
        &self,
        path: &str,
        content_type: &str,
        framed: &FramedFile,
        nature: Nature,
    ) -> Result<Body, Failure> {
        let request = self.request(Method::POST, self.address(Place::Interface, path)?);
        let request = request.header(CONTENT_TYPE, content_type);
        let answer = self.http.upload(request, framed, ANSWER_BYTES_MAX).await;
        answer::read(&answer.map_err(|error| wire(error, nature))?, nature, &self.redactor)
    }

    /// Asks with GET at an address of either base.
    pub(super) async fn get_from(&self, place: Place, path: &str) -> Result<Body, Failure> {
        let request = self.request(Method::GET, self.address(place, path)?);
        self.answer(request, Nature::Read).await
    }

    async fn answer(&self, request: RequestBuilder, nature: Nature) -> Result<Body, Failure> {
        let answer = self.http.exchange(request, ANSWER_BYTES_MAX).await;
        answer::read(&answer.map_err(|error| wire(error, nature))?, nature, &self.redactor)
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url).header(AUTHORIZATION, self.auth.clone());
        request.header(ACCEPT, "application/json, text/plain;q=0.9, */*;q=0.5")
    }

    /// A path under a base. The result is at the base's origin whatever the path is.
    pub(super) fn address(&self, place: Place, path: &str) -> Result<Url, Failure> {
        let base = match place {
            Place::Interface => &self.base,
            Place::Webhooks => &self.webhooks,
        };
        let text = format!("{base}/{}", path.trim_start_matches('/'));
        self.own.check(&text).map_err(|_| {
            error::local(
                "bad_path",
                "Путь iDocs в настройках не складывается в адрес. Исправьте его.",
                "A path of iDocs in the configuration makes no address. Correct it.",
            )
        })
    }

    /// Fetches a file into a sink; none if the service says that it is not there. The token goes to allowed origins only.
    pub(super) async fn fetch(
        &self,
        mut place: Url,
        accept: Accept,
        sink: &mut (dyn AsyncWrite + Unpin + Send),
    ) -> Result<Option<Received>, Failure> {
        for _ in 0..=REDIRECTS_MAX {
            let request = self.http.get(place.clone()).header(AUTHORIZATION, self.auth.clone());
            let opened = self.http.open(request.header(ACCEPT, "*/*"), 0).await;
            let opened = opened.map_err(|error| wire(error, Nature::Read))?;
            let head = opened.head.clone();
            match (head.status, head.location.as_deref()) {
                // where a file has no known beginning, a page would pass for one
                (200, _) if head.content_type == "text/html" => {
                    let answer = self.http.read_beginning(opened, REFUSAL_BYTES_MAX).await;
                    return Err(self.refusal(&answer));
                }
                (200, _) => {
                    return match self.http.receive(opened, sink, accept).await {
                        Ok(file) if file.size_bytes == 0 => {
                            Err(error::misshapen("empty_file", &head, Nature::Read, &self.redactor))
                        }
                        Ok(file) => Ok(Some(file)),
                        Err(WireError::Unexpected(beginning)) => {
                            Err(answer::instead_of_file(&head, &beginning, &self.redactor))
                        }
                        Err(error) => Err(wire(error, Nature::Read)),
                    };
                }
                (300..=399, Some(location)) => place = self.next_place(&place, location, &head)?,
                // a page says that something between us and the service does not know the way
                (404 | 410, _) if head.content_type != "text/html" => return Ok(None),
                _ => {
                    let answer = self.http.read_beginning(opened, REFUSAL_BYTES_MAX).await;
                    return Err(self.refusal(&answer));
                }
            }
        }
        Err(Remote::Idocs.not_executed(302))
    }

    fn next_place(&self, place: &Url, location: &str, head: &Answer) -> Result<Url, Failure> {
        let next = place.join(location).map_err(|_| self.refusal(head))?;
        self.files.check(next.as_str()).map_err(|refused| Remote::Idocs.refused_url(&refused))
    }

    fn refusal(&self, answer: &Answer) -> Failure {
        match answer::read(answer, Nature::Read, &self.redactor) {
            Err(failure) => failure,
            Ok(_) => error::misshapen("unexpected_answer", answer, Nature::Read, &self.redactor),
        }
    }
}

fn base_of(key: &'static str, text: &str) -> Result<(String, Origin), SettingsError> {
    let refused = |source| SettingsError::Address { key, source };
    let url = checked(text).map_err(refused)?;
    let origin = Origin::of(&url).ok_or_else(|| refused(UrlRefused::Unreadable))?;
    Ok((url.as_str().trim_end_matches('/').to_owned(), origin))
}

fn wire(error: WireError, nature: Nature) -> Failure {
    error.failure(Remote::Idocs, nature)
}

/// A failure of an answer that came, was a success, and lacks what it must hold.
pub(super) fn lacking(code: &str, nature: Nature, body: &Value, redactor: &Redactor) -> Failure {
    answer::unclear(code, nature).answer(&redactor.cut(&body.to_string()))
}
