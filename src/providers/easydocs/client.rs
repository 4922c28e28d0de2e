//! Calls to EasyDocs: create, download, and where configured status, search and health.
//!
//! Repeats nothing. Whether a create that went unanswered made a document is the saga's question; this module only
//! says that it is not known.

use super::callback::{self, CallbackStatus};
use super::error::{self, misconfigured, misshapen};
use super::settings::{CreateMode, DownloadFrom, Settings};
use crate::domain::{Failure, FailureClass, FailureKind, Text};
use crate::providers::http_client::{Accept, Answer, HttpClient, Opened, WireError};
use crate::providers::redaction::Redactor;
use crate::providers::remote::{Nature, Remote};
use crate::providers::spool_io::{Coding, FileSource, FramedFile, Received};
use crate::providers::url_rules::{AllowedOrigins, Origin, UrlRefused, checked, encode_segment};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Url};
use serde_json::{Map, Value};
use tokio::io::AsyncWrite;

/// Longest JSON answer that is read.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// How much of a refusal is read.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// Redirects within allowed origins that a download follows.
const REDIRECTS_MAX: usize = 3;
/// How many documents one search may return for one id of ours.
const FOUND_MAX: usize = 100;

/// A document to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateRequest {
    /// Its name as people see it.
    pub name: String,
    /// The file's name with extension.
    pub file_name: String,
    /// The route of approval and signing.
    pub route_id: String,
    /// Our id, by which callbacks and searches find it.
    pub external_id: String,
    /// Where notices go; none if it is set in the account.
    pub callback_url: Option<String>,
    /// The file.
    pub source: FileSource,
}

/// A document that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its id, of a form that is safe in a path.
    pub document_id: String,
    /// Its first status, if the answer had one.
    pub status: Option<String>,
}

/// What a document's status is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteStatus {
    /// What it means.
    pub status: CallbackStatus,
    /// As it was written.
    pub raw_status: String,
    /// Our id, if the answer had it.
    pub external_id: Option<String>,
    /// The signed file's address, untrusted.
    pub file_url: Option<String>,
}

/// A document that a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundDocument {
    /// Its id.
    pub document_id: String,
    /// What its status means, if the answer had one.
    pub status: Option<CallbackStatus>,
}

/// Settings that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The base address breaks the rules for addresses.
    #[error("the base address of EasyDocs is not usable")]
    BaseUrl(#[source] UrlRefused),
    /// The name of the authorization header, the key or the method cannot stand in a request.
    #[error("`{0}` of EasyDocs cannot be sent in a request")]
    Unsendable(&'static str),
}

/// One EasyDocs account.
#[derive(Debug)]
pub struct Client {
    http: HttpClient,
    settings: Settings,
    base: String,
    auth: (HeaderName, HeaderValue),
    method: Method,
    allowed: AllowedOrigins,
    redactor: Redactor,
}

impl Client {
    /// A client for these settings.
    ///
    /// # Errors
    /// [`SettingsError`]; never quotes the key.
    pub fn new(http: HttpClient, settings: Settings) -> Result<Self, SettingsError> {
        let base = checked(&settings.base_url).map_err(SettingsError::BaseUrl)?;
        let own = Origin::of(&base).ok_or(SettingsError::BaseUrl(UrlRefused::Unreadable))?;
        let unsendable = SettingsError::Unsendable;
        let header = settings.auth.header.parse().map_err(|_| unsendable("auth.header"))?;
        let value = format!("{} {}", settings.auth.scheme, settings.auth.api_key.expose());
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| unsendable("auth.api_key"))?;
        value.set_sensitive(true);
        let method = settings.create.method.parse().map_err(|_| unsendable("create.method"))?;
        let extra = settings.download.allowed_origins.iter().cloned();
        Ok(Self {
            http,
            base: base.as_str().trim_end_matches('/').to_owned(),
            auth: (header, value),
            method,
            allowed: AllowedOrigins::new(std::iter::once(own).chain(extra)),
            redactor: Redactor::new(
                settings.signature.secrets.iter().cloned().chain([settings.auth.api_key.clone()]),
            ),
            settings,
        })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether a document's status can be asked for.
    pub fn can_ask_status(&self) -> bool {
        self.settings.status.is_some()
    }

    /// Whether documents can be searched by our id.
    pub fn can_search(&self) -> bool {
        self.settings.search.is_some()
    }

    /// Creates a document. Class `probe`, or worse: nothing says that a repeat makes no second document.
    ///
    /// # Errors
    /// Ambiguous whenever a document may exist: no answer, 5xx, HTML, an answer without an id.
    pub async fn create(&self, request: &CreateRequest) -> Result<Created, Failure> {
        let max = self.settings.limits.upload_bytes;
        if request.source.facts.size_bytes > max {
            return Err(Remote::EasyDocs.too_large(max));
        }
        let (content_type, framed) = self.create_body(request)?;
        let url = self.address(&self.settings.create.path)?;
        let builder =
            self.signed(self.http.request(self.method.clone(), url)).header(CONTENT_TYPE, content_type);
        let answer = self
            .http
            .upload(builder, &framed, ANSWER_BYTES_MAX)
            .await
            .map_err(|error| error.failure(Remote::EasyDocs, Nature::Write))?;
        self.created_of(&answer)
    }

    fn created_of(&self, answer: &Answer) -> Result<Created, Failure> {
        let create = &self.settings.create;
        if !create.success_codes.contains(&answer.status) {
            return Err(error::of_answer(answer, Nature::Write, &self.redactor));
        }
        let unclear = |code| misshapen(code, answer, Nature::Write, &self.redactor);
        let body: Value = serde_json::from_slice(&answer.body).map_err(|_| unclear("garbled_answer"))?;
        let id = text_at(&body, &create.response_id).ok_or_else(|| unclear("no_document_id"))?;
        if !callback::is_document_id(&id) {
            return Err(unclear("bad_document_id"));
        }
        Ok(Created { document_id: id, status: text_at(&body, &create.response_status) })
    }

    /// Fetches the signed file into a sink.
    ///
    /// `file_url` is the address from a callback or a status; it is used only if the settings prefer it, it is at an
    /// allowed origin and its path names the document. Otherwise the path template is.
    ///
    /// # Errors
    /// Never ambiguous. What does not begin with `%PDF-` is transient: it may be a page of a proxy.
    pub async fn download(
        &self,
        document_id: &str,
        file_url: Option<&str>,
        sink: &mut (dyn AsyncWrite + Unpin + Send),
    ) -> Result<Received, Failure> {
        let mut place = self.place_of_file(document_id, file_url)?;
        for _ in 0..=REDIRECTS_MAX {
            let opened = self.open(place.clone()).await?;
            if let (300..=399, Some(location)) = (opened.head.status, opened.head.location.as_deref()) {
                let next = place.join(location).map_err(|_| self.refusal(&opened.head))?;
                let allowed = self.allowed.check(next.as_str());
                place = allowed.map_err(|refused| Remote::EasyDocs.refused_url(&refused))?;
                continue;
            }
            return self.receive(opened, sink).await;
        }
        Err(Remote::EasyDocs.not_executed(302))
    }

    async fn open(&self, place: Url) -> Result<Opened, Failure> {
        let request = self.signed(self.http.get(place)).header(ACCEPT, "application/pdf, */*;q=0.5");
        let opened = self.http.open(request, 0).await;
        opened.map_err(|error| error.failure(Remote::EasyDocs, Nature::Read))
    }

    async fn receive(
        &self,
        opened: Opened,
        sink: &mut (dyn AsyncWrite + Unpin + Send),
    ) -> Result<Received, Failure> {
        if opened.head.status != 200 {
            let answer = self.http.read_beginning(opened, REFUSAL_BYTES_MAX).await;
            return Err(self.refusal(&answer));
        }
        let accept = Accept { bytes_max: self.settings.limits.download_bytes, starts_with: b"%PDF-" };
        match self.http.receive(opened, sink, accept).await {
            Ok(file) => Ok(file),
            Err(WireError::Unexpected(beginning)) => Err(self.not_a_pdf(&beginning)),
            Err(error) => Err(error.failure(Remote::EasyDocs, Nature::Read)),
        }
    }

    fn refusal(&self, answer: &Answer) -> Failure {
        error::of_answer(answer, Nature::Read, &self.redactor)
    }

    fn not_a_pdf(&self, beginning: &[u8]) -> Failure {
        let reason = Text::new(
            "EasyDocs отдал вместо подписанного файла что-то, что не похоже на PDF. Запрос повторится; если это не \
             пройдёт, проверьте документ в личном кабинете.",
            "EasyDocs gave something that is not a PDF instead of the signed file. The request is repeated; if it does \
             not pass, look at the document in the account.",
        );
        let end = beginning.len().min(REFUSAL_BYTES_MAX);
        Failure::new(FailureClass::Transient, FailureKind::Garbled, "not_a_pdf", reason)
            .answer(&self.redactor.cut_bytes(&beginning[..end]))
    }

    fn place_of_file(&self, document_id: &str, file_url: Option<&str>) -> Result<Url, Failure> {
        let id = checked_id(document_id)?;
        if let (DownloadFrom::CallbackMember, Some(text)) = (self.settings.download.prefer, file_url)
            && let Ok(url) = self.file_url_of(document_id, text)
        {
            return Ok(url);
        }
        self.address(&self.settings.download.path.replace("{id}", &id))
    }

    /// Judges an address from a callback: an allowed origin, and a path that names the document.
    ///
    /// # Errors
    /// [`UrlRefused`] says why it is not used; the history should show it.
    pub fn file_url_of(&self, document_id: &str, text: &str) -> Result<Url, UrlRefused> {
        let url = self.allowed.check(text)?;
        let id = encode_segment(document_id);
        let named = url.path_segments().is_some_and(|mut segments| segments.any(|segment| segment == id));
        if named { Ok(url) } else { Err(UrlRefused::ForeignPath) }
    }

    /// Asks for a document's status.
    ///
    /// # Errors
    /// `no_status_path` if the settings have none.
    pub async fn status(&self, document_id: &str) -> Result<RemoteStatus, Failure> {
        let Some(rules) = &self.settings.status else { return Err(no_capability("no_status_path")) };
        let id = checked_id(document_id)?;
        let answer = self.ask(&rules.path.replace("{id}", &id)).await?;
        let unclear = |code| misshapen(code, &answer, Nature::Read, &self.redactor);
        let body: Value = serde_json::from_slice(&answer.body).map_err(|_| unclear("garbled_answer"))?;
        let raw_status = text_at(&body, &rules.status).ok_or_else(|| unclear("no_status"))?;
        Ok(RemoteStatus {
            status: callback::meaning(&self.settings.callback, &raw_status),
            raw_status,
            external_id: text_at(&body, &rules.external_id),
            file_url: text_at(&body, &rules.file_url),
        })
    }

    /// Searches documents by our id; what the service returns besides is left out. In the service's order.
    ///
    /// # Errors
    /// `no_search_path` if the settings have none.
    pub async fn search(&self, external_id: &str) -> Result<Vec<FoundDocument>, Failure> {
        let Some(rules) = &self.settings.search else { return Err(no_capability("no_search_path")) };
        let answer = self.ask(&rules.path.replace("{external_id}", &encode_segment(external_id))).await?;
        let unclear = |code| misshapen(code, &answer, Nature::Read, &self.redactor);
        let body: Value = serde_json::from_slice(&answer.body).map_err(|_| unclear("garbled_answer"))?;
        let items = body.pointer(&rules.items).and_then(Value::as_array);
        let mut found = Vec::new();
        for item in items.ok_or_else(|| unclear("no_list"))? {
            if text_at(item, &rules.external_id).as_deref() != Some(external_id) {
                continue;
            }
            let id = text_at(item, &rules.id).filter(|id| callback::is_document_id(id));
            let document_id = id.ok_or_else(|| unclear("bad_document_id"))?;
            let status = text_at(item, &rules.status);
            let status = status.map(|name| callback::meaning(&self.settings.callback, &name));
            found.push(FoundDocument { document_id, status });
            if found.len() >= FOUND_MAX {
                break;
            }
        }
        Ok(found)
    }

    /// Checks the key by the health path; fine without one.
    ///
    /// # Errors
    /// Auth if the key is refused.
    pub async fn health(&self) -> Result<(), Failure> {
        match &self.settings.health_path {
            Some(path) => self.ask(path).await.map(|_| ()),
            None => Ok(()),
        }
    }

    async fn ask(&self, path: &str) -> Result<Answer, Failure> {
        let request = self.signed(self.http.get(self.address(path)?)).header(ACCEPT, "application/json");
        let answer = self.http.exchange(request, ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(|error| error.failure(Remote::EasyDocs, Nature::Read))?;
        if answer.is_success() { Ok(answer) } else { Err(self.refusal(&answer)) }
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        request.header(self.auth.0.clone(), self.auth.1.clone())
    }

    /// A path of the settings under the base. The result is at the base's origin whatever the path is.
    fn address(&self, path: &str) -> Result<Url, Failure> {
        let text = format!("{}/{}", self.base, path.trim_start_matches('/'));
        self.allowed.check(&text).map_err(|_| {
            misconfigured(
                "bad_path",
                "Путь EasyDocs в настройках не складывается в адрес. Исправьте его.",
                "A path of EasyDocs in the configuration makes no address. Correct it.",
            )
        })
    }

    fn create_body(&self, request: &CreateRequest) -> Result<(String, FramedFile), Failure> {
        if self.settings.create.fields.file_content.is_empty() {
            return Err(misconfigured(
                "no_file_field",
                "В настройках EasyDocs пусто имя поля файла (create.fields.file_content). Впишите его.",
                "The name of the file's field (create.fields.file_content) is empty. Fill it in.",
            ));
        }
        Ok(match self.settings.create.mode {
            CreateMode::JsonBase64 => ("application/json".to_owned(), self.json_body(request)),
            CreateMode::Multipart => {
                let boundary = format!("edobridge-{}", uuid::Uuid::new_v4().simple());
                let body = self.multipart_body(request, &boundary);
                (format!("multipart/form-data; boundary={boundary}"), body)
            }
        })
    }

    /// All members but the file, in one map; a fixed member never replaces a named one.
    fn members(&self, request: &CreateRequest) -> Map<String, Value> {
        let fields = &self.settings.create.fields;
        let mut members = self.settings.create.extra.clone();
        members.remove(&fields.file_content);
        let named = [
            (&fields.name, Some(&request.name)),
            (&fields.file_name, Some(&request.file_name)),
            (&fields.route_id, Some(&request.route_id)),
            (&fields.external_id, Some(&request.external_id)),
            (&fields.callback_url, request.callback_url.as_ref()),
        ];
        for (field, value) in named {
            if let (false, Some(value)) = (field.is_empty(), value) {
                members.insert(field.clone(), Value::String(value.clone()));
            }
        }
        members
    }

    fn json_body(&self, request: &CreateRequest) -> FramedFile {
        let members = Value::Object(self.members(request)).to_string();
        // The file comes last, so everything else can be written before the first byte of it is read.
        let open = members.strip_suffix('}').unwrap_or("{");
        let comma = if open == "{" { "" } else { "," };
        let file = Value::String(self.settings.create.fields.file_content.clone());
        FramedFile {
            prefix: format!("{open}{comma}{file}:\"").into(),
            file: request.source.clone(),
            coding: Coding::Base64,
            suffix: "\"}".into(),
            then: None,
        }
    }

    fn multipart_body(&self, request: &CreateRequest, boundary: &str) -> FramedFile {
        let mut prefix = String::new();
        for (name, value) in self.members(request) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let name = header_text(&name);
            prefix.push_str(&format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            ));
        }
        let name = header_text(&self.settings.create.fields.file_content);
        let file_name = header_text(&request.file_name);
        let kind = if file_name.to_lowercase().ends_with(".pdf") {
            "application/pdf"
        } else {
            "application/octet-stream"
        };
        prefix.push_str(&format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file_name}\"\r\n\
             Content-Type: {kind}\r\n\r\n"
        ));
        FramedFile {
            prefix: prefix.into(),
            file: request.source.clone(),
            coding: Coding::Raw,
            suffix: format!("\r\n--{boundary}--\r\n").into(),
            then: None,
        }
    }
}

/// A text that stands inside quotes in a part's header.
fn header_text(text: &str) -> String {
    text.chars().map(|c| if c == '"' || c == '\\' || c.is_control() { '_' } else { c }).collect()
}

fn checked_id(document_id: &str) -> Result<String, Failure> {
    if callback::is_document_id(document_id) {
        return Ok(encode_segment(document_id));
    }
    Err(misconfigured(
        "bad_document_id",
        "Номер документа EasyDocs имеет недопустимый вид, запрос не отправлен.",
        "The EasyDocs document id has a form that is not allowed, nothing was sent.",
    ))
}

fn no_capability(code: &str) -> Failure {
    misconfigured(
        code,
        "Этот запрос к EasyDocs не настроен: руководство его не описывает. Узнайте путь у EasyDocs и впишите его.",
        "This request to EasyDocs is not configured: the guide does not describe it. Ask EasyDocs for the path and \
         fill it in.",
    )
}

/// A filled text or a number at a pointer; an empty pointer is nothing.
fn text_at(body: &Value, pointer: &str) -> Option<String> {
    let text = match body.pointer(pointer).filter(|_| !pointer.is_empty())? {
        Value::String(text) => text.clone(),
        Value::Number(n) => n.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::super::settings::{Search, Status};
    use super::*;
    use crate::domain::Secret;
    use crate::providers::http_client::HttpSettings;
    use crate::providers::spool_io::tests::{pattern, source_of};
    use crate::providers::test_server::{Reply, TestServer};
    use base64::Engine as _;
    use serde_json::json;
    use std::time::Duration;

    const KEY: &str = "s3cretkey";

    fn settings(server: &TestServer) -> Settings {
        let mut settings = Settings { base_url: server.url("/"), ..Settings::default() };
        settings.auth.api_key = Secret::new(KEY);
        settings
    }

    fn client(settings: Settings) -> Client {
        let http = HttpSettings { read_timeout: Duration::from_millis(400), ..HttpSettings::default() };
        Client::new(HttpClient::new(&http).unwrap(), settings).unwrap()
    }

    fn request(source: FileSource) -> CreateRequest {
        CreateRequest {
            name: "Договор №1".into(),
            file_name: "договор \"1\".pdf".into(),
            route_id: "route-1".into(),
            external_id: "b24-file-9043".into(),
            callback_url: Some("https://m.example/easydocs/callback".into()),
            source,
        }
    }

    #[tokio::test]
    async fn a_create_streams_the_guides_json() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = pattern(250_000);
        let server = TestServer::start(vec![Reply::status(
            201,
            "",
            r#"{"id":"ed-doc-uuid-1234","status":"pending","name":"x","created_at":"2025-06-01T10:00:00Z"}"#,
        )]);
        let mut settings = settings(&server);
        settings.create.extra = json!({"signer": "director", "route_id": "evil", "file_content": "evil"})
            .as_object()
            .unwrap()
            .clone();
        let created = client(settings).create(&request(source_of(&dir, &bytes))).await.unwrap();
        assert_eq!(
            created,
            Created { document_id: "ed-doc-uuid-1234".into(), status: Some("pending".into()) }
        );
        let seen = server.requests().remove(0);
        assert_eq!(seen.line(), "POST /api/v1/documents HTTP/1.1");
        assert_eq!(seen.header("authorization").unwrap(), format!("Bearer {KEY}"));
        assert_eq!(seen.header("content-type").unwrap(), "application/json");
        assert_eq!(seen.header("content-length").unwrap(), seen.body.len().to_string());
        let body = crate::providers::strict_json::parse(&seen.body).unwrap();
        let sent = base64::engine::general_purpose::STANDARD.decode(body["file_content"].as_str().unwrap());
        assert_eq!(sent.unwrap(), bytes);
        let mut rest = body.as_object().unwrap().clone();
        rest.remove("file_content");
        let expected = json!({"name": "Договор №1", "file_name": "договор \"1\".pdf", "route_id": "route-1",
            "external_id": "b24-file-9043", "callback_url": "https://m.example/easydocs/callback",
            "signer": "director"});
        assert_eq!(Value::Object(rest), expected);
    }

    #[tokio::test]
    async fn names_can_be_changed_and_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let server = TestServer::start(vec![Reply::ok(r#"{"data":{"doc":{"id":77}}}"#)]);
        let mut settings = settings(&server);
        let fields = &mut settings.create.fields;
        for name in [
            &mut fields.name,
            &mut fields.file_name,
            &mut fields.route_id,
            &mut fields.external_id,
            &mut fields.callback_url,
        ] {
            name.clear();
        }
        fields.file_content = "data".into();
        settings.create.response_id = "/data/doc/id".into();
        settings.auth = super::super::settings::Auth {
            header: "X-Api-Key".into(),
            scheme: String::new(),
            api_key: Secret::new(KEY),
        };
        let created = client(settings).create(&request(source_of(&dir, b"abc"))).await.unwrap();
        assert_eq!(created.document_id, "77");
        let seen = server.requests().remove(0);
        assert_eq!(seen.json(), json!({"data": "YWJj"}));
        assert_eq!(seen.header("x-api-key").as_deref(), Some(KEY));
        assert_eq!(seen.header("authorization"), None);
    }

    #[tokio::test]
    async fn a_create_as_multipart_has_every_part() {
        let dir = tempfile::tempdir().unwrap();
        let server = TestServer::start(vec![Reply::ok(r#"{"id":"d"}"#)]);
        let mut settings = settings(&server);
        settings.create.mode = CreateMode::Multipart;
        settings.create.extra = json!({"copies": 2}).as_object().unwrap().clone();
        client(settings).create(&request(source_of(&dir, b"%PDF-abc"))).await.unwrap();
        let seen = server.requests().remove(0);
        let kind = seen.header("content-type").unwrap();
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        let body = String::from_utf8(seen.body.clone()).unwrap();
        assert_eq!(seen.header("content-length").unwrap(), body.len().to_string());
        assert!(body.ends_with(&format!("\r\n--{boundary}--\r\n")));
        for part in [
            "name=\"route_id\"\r\n\r\nroute-1\r\n",
            "name=\"copies\"\r\n\r\n2\r\n",
            "name=\"file_content\"; filename=\"договор _1_.pdf\"\r\nContent-Type: application/pdf\r\n\r\n%PDF-abc\r\n",
        ] {
            assert!(body.contains(part), "{part}\n{body}");
        }
    }

    #[tokio::test]
    async fn a_create_is_certain_only_when_the_service_says_so() {
        use FailureClass::{Ambiguous, Auth, Permanent, Throttled};
        let dir = tempfile::tempdir().unwrap();
        let source = source_of(&dir, b"abc");
        let echo = format!("<html>Bearer {KEY} ?token=t0ken</html>");
        let cases = vec![
            (Reply::Close, Ambiguous, "connection_cut"),
            (Reply::hold(Duration::from_secs(2)), Ambiguous, "timeout"),
            (Reply::status(500, "", &echo), Ambiguous, "http_500"),
            (Reply::status(502, "", &echo), Ambiguous, "http_502"),
            (Reply::status(200, "", &echo), Ambiguous, "garbled_answer"),
            (Reply::status(201, "", r#"{"id":"d"#), Ambiguous, "garbled_answer"),
            (Reply::status(200, "", "{}"), Ambiguous, "no_document_id"),
            (Reply::status(200, "", r#"{"id":"../x"}"#), Ambiguous, "bad_document_id"),
            (Reply::status(204, "", ""), Ambiguous, "http_204"),
            (Reply::status(303, "Location: /d/1\r\n", ""), Ambiguous, "http_303"),
            (
                Reply::raw(b"HTTP/1.1 201 X\r\nContent-Length: 90\r\n\r\n{\"id\":"),
                Ambiguous,
                "connection_cut",
            ),
            (Reply::status(400, "", r#"{"error":"validation_error"}"#), Permanent, "http_400"),
            (Reply::status(401, "", &echo), Auth, "http_401"),
            (Reply::status(429, "Retry-After: 7\r\n", ""), Throttled, "http_429"),
        ];
        let (replies, expected): (Vec<_>, Vec<_>) = cases.into_iter().map(|(r, c, k)| (r, (c, k))).unzip();
        let server = TestServer::start(replies);
        let client = client(settings(&server));
        for (class, code) in expected {
            let failure = client.create(&request(source.clone())).await.unwrap_err();
            assert_eq!((failure.class, failure.code.as_str()), (class, code), "{failure:?}");
            let shown = format!("{failure:?} {client:?}");
            assert!(!shown.contains(KEY) && !shown.contains("t0ken"), "{shown}");
        }
    }

    #[tokio::test]
    async fn a_file_beyond_the_limit_is_not_sent() {
        let dir = tempfile::tempdir().unwrap();
        let server = TestServer::start(vec![]);
        let mut settings = settings(&server);
        settings.limits.upload_bytes = 2;
        let failure = client(settings).create(&request(source_of(&dir, b"abc"))).await.unwrap_err();
        assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Permanent, "file_too_large"));
        assert!(server.requests().is_empty());
    }

    #[tokio::test]
    async fn a_signed_file_is_fetched_by_the_template() {
        let server = TestServer::start(vec![Reply::ok("%PDF-1.7 signed")]);
        let mut sink = Vec::new();
        let url = "https://evil.example/documents/ed-1/download";
        let file = client(settings(&server)).download("ed-1", Some(url), &mut sink).await.unwrap();
        assert_eq!((file.size_bytes, sink.as_slice()), (15, b"%PDF-1.7 signed".as_slice()));
        let seen = server.requests().remove(0);
        assert_eq!(seen.line(), "GET /documents/ed-1/download HTTP/1.1");
        assert_eq!(seen.header("authorization").unwrap(), format!("Bearer {KEY}"));
    }

    #[tokio::test]
    async fn a_callbacks_address_is_used_only_at_home_and_for_its_document() {
        let stranger = TestServer::start(vec![Reply::ok("%PDF-evil")]);
        let pdf = || Reply::ok("%PDF-ok");
        let server = TestServer::start(vec![pdf(), pdf(), pdf(), pdf(), pdf()]);
        let mut settings = settings(&server);
        settings.download.prefer = DownloadFrom::CallbackMember;
        let client = client(settings);
        for (url, line) in [
            (server.url("/files/ed-1/signed.pdf?v=2"), "GET /files/ed-1/signed.pdf?v=2 HTTP/1.1"),
            (server.url("/files/ed-2/signed.pdf"), "GET /documents/ed-1/download HTTP/1.1"),
            (stranger.url("/files/ed-1/signed.pdf"), "GET /documents/ed-1/download HTTP/1.1"),
            (
                server.url("/files/ed-1/").replace("http://", "http://u@"),
                "GET /documents/ed-1/download HTTP/1.1",
            ),
            ("http://169.254.169.254/ed-1/".into(), "GET /documents/ed-1/download HTTP/1.1"),
        ] {
            client.download("ed-1", Some(&url), &mut Vec::new()).await.unwrap();
            assert_eq!(server.requests().last().unwrap().line(), line, "{url}");
        }
        assert!(stranger.requests().is_empty());
    }

    #[tokio::test]
    async fn the_key_never_follows_a_redirect_abroad() {
        let stranger = TestServer::start(vec![Reply::ok("%PDF-evil")]);
        let away = format!("Location: {}\r\n", stranger.url("/steal"));
        let server = TestServer::start(vec![
            Reply::status(302, "Location: /storage/ed-1\r\n", ""),
            Reply::ok("%PDF-ok"),
            Reply::status(302, &away, ""),
            Reply::status(302, &away, ""),
        ]);
        let client = client(settings(&server));
        assert!(client.download("ed-1", None, &mut Vec::new()).await.is_ok());
        let failure = client.download("ed-1", None, &mut Vec::new()).await.unwrap_err();
        assert_eq!(failure.code, "address_not_allowed");
        assert_eq!(client.health().await.unwrap_err().code, "http_302");
        assert!(stranger.requests().is_empty());
    }

    #[tokio::test]
    async fn what_is_no_signed_pdf_is_told_apart() {
        use FailureClass::{Auth, Permanent, Transient};
        let cases = vec![
            (Reply::ok("<html>maintenance</html>"), Transient, "not_a_pdf"),
            (Reply::ok(""), Transient, "not_a_pdf"),
            (
                Reply::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n%PDF-half"),
                Transient,
                "connection_cut",
            ),
            (Reply::status(500, "", ""), Transient, "http_500"),
            (Reply::status(404, "", "{}"), Permanent, "http_404"),
            (Reply::status(403, "", "{}"), Auth, "http_403"),
            (Reply::ok(&format!("%PDF-{}", "x".repeat(100))), Permanent, "file_too_large"),
        ];
        let (replies, expected): (Vec<_>, Vec<_>) = cases.into_iter().map(|(r, c, k)| (r, (c, k))).unzip();
        let server = TestServer::start(replies);
        let mut settings = settings(&server);
        settings.limits.download_bytes = 60;
        let client = client(settings);
        for (class, code) in expected {
            let failure = client.download("ed-1", None, &mut Vec::new()).await.unwrap_err();
            assert_eq!((failure.class, failure.code.as_str()), (class, code), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn an_id_that_is_a_path_is_not_sent() {
        let server = TestServer::start(vec![]);
        let client = client(settings(&server));
        for id in ["../admin", "a/b", "", ".."] {
            let failure = client.download(id, None, &mut Vec::new()).await.unwrap_err();
            assert_eq!(failure.code, "bad_document_id");
        }
        assert!(server.requests().is_empty());
    }

    #[tokio::test]
    async fn status_and_search_work_where_they_are_configured() {
        let server = TestServer::start(vec![
            Reply::ok(r#"{"id":"ed-1","status":"signed","external_id":"b24 1","signed_file_url":"u"}"#),
            Reply::ok(r#"{"status":5}"#),
            Reply::ok(r#"{"nothing":1}"#),
            Reply::ok(
                r#"{"items":[{"id":"a","external_id":"b24 1x"},{"id":"b","external_id":"b24 1","status":"rejected"}]}"#,
            ),
            Reply::ok(r#"{"items":[]}"#),
            Reply::ok(r#"{"items":5}"#),
        ]);
        let bare = client(settings(&server));
        assert!(!bare.can_ask_status() && !bare.can_search());
        assert_eq!(bare.status("ed-1").await.unwrap_err().code, "no_status_path");
        assert_eq!(bare.search("b24 1").await.unwrap_err().code, "no_search_path");
        let mut settings = settings(&server);
        settings.status = Some(Status::default());
        settings.search = Some(Search { items: "/items".into(), ..Search::default() });
        let client = client(settings);
        let status = client.status("ed-1").await.unwrap();
        assert_eq!((status.status, status.external_id.as_deref()), (CallbackStatus::Signed, Some("b24 1")));
        assert_eq!(client.status("ed-1").await.unwrap().raw_status, "5");
        let failure = client.status("ed-1").await.unwrap_err();
        assert_eq!((failure.class, failure.code.as_str()), (FailureClass::Transient, "no_status"));
        let found = client.search("b24 1").await.unwrap();
        let expected = FoundDocument { document_id: "b".into(), status: Some(CallbackStatus::Refused) };
        assert_eq!(found, vec![expected]);
        assert!(client.search("b24 1").await.unwrap().is_empty());
        assert_eq!(client.search("b24 1").await.unwrap_err().code, "no_list");
        let lines: Vec<_> = server.requests().iter().map(|r| r.line().to_owned()).collect();
        assert_eq!(lines[0], "GET /api/v1/documents/ed-1 HTTP/1.1");
        assert_eq!(lines[3], "GET /api/v1/documents?external_id=b24%201 HTTP/1.1");
    }

    #[tokio::test]
    async fn health_tells_a_refused_key() {
        let server = TestServer::start(vec![Reply::ok("anything"), Reply::status(401, "", "")]);
        let with_path = client(settings(&server));
        assert_eq!(with_path.health().await, Ok(()));
        assert_eq!(with_path.health().await.unwrap_err().class, FailureClass::Auth);
        let off = client(Settings { health_path: None, ..settings(&server) });
        assert_eq!(off.health().await, Ok(()));
        assert_eq!(server.requests().len(), 2);
    }

    #[test]
    fn settings_that_cannot_work_are_refused_without_the_key() {
        let http = HttpClient::new(&HttpSettings::default()).unwrap();
        let try_it = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            settings.auth.api_key = Secret::new(KEY);
            change(&mut settings);
            Client::new(http.clone(), settings).map(|_| ()).map_err(|error| format!("{error:?}"))
        };
        assert!(try_it(|_| {}).is_ok());
        for change in [
            (|s: &mut Settings| s.base_url = "http://internal-api.easydocs.ru/".into()) as fn(&mut Settings),
            |s| s.auth.header = "bad header".into(),
            |s| s.auth.api_key = Secret::new("s3cretkey\nX: y"),
            |s| s.create.method = "NO WAY".into(),
        ] {
            assert!(!try_it(change).unwrap_err().contains(KEY));
        }
    }
}
