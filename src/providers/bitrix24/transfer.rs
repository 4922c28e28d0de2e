//! Files between a portal and the spool, streamed in both directions.
//!
//! `api-reference/files`, `api-reference/disk`, `general-principles.md#headers`. These requests never go in a batch;
//! each counts in the portal's bucket, and the caller has asked it before. Links carry tokens: they are used once,
//! never logged, and called only at the portal itself or at an origin that the configuration allows.

use super::client::{Call, Caller, Client, Observed, Payload};
use super::envelope;
use super::error;
use super::wire;
use crate::domain::{Failure, FailureClass, FailureKind, Secret, Text};
use crate::providers::http_client::{Accept, Answer, HttpClient, Opened, WireError};
use crate::providers::redaction::Redactor;
use crate::providers::remote::{Nature, Remote};
use crate::providers::spool_io::{Coding, FileSource, FramedFile, Received};
use crate::providers::url_rules::{AllowedOrigins, Origin};
use reqwest::Url;
use reqwest::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap, REFERER};
use serde_json::{Value, json};
use tokio::io::AsyncWrite;
use zeroize::Zeroizing;

/// Above this the two-step upload is used (the EasyDocs guide: "up to about 10 MB" in one step).
pub const SMALL_FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Redirects within allowed origins that a download follows.
const REDIRECTS_MAX: usize = 3;
/// How much of a refusal is read.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// How much of an upload's answer is read.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// Longest file name that is taken from a header, in bytes; the limit of most file systems.
const NAME_BYTES_MAX: usize = 255;

/// A file that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// What came into the sink.
    pub file: Received,
    /// The name that the portal gave it, without any path.
    pub name: Option<String>,
}

/// A file that was put on the Drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedFile {
    /// Its id on the Drive.
    pub id: u64,
    /// Its name; the portal may have made it unique.
    pub name: String,
    /// Its size as the portal says.
    pub size_bytes: Option<u64>,
}

/// The outcome of an upload, and what was learned of the portal.
#[derive(Debug, Clone, PartialEq)]
pub struct Uploaded {
    /// The file; an ambiguous failure means: look into the folder before repeating.
    pub result: Result<UploadedFile, Failure>,
    /// What was learned.
    pub observed: Observed,
}

/// Where the second step of a large upload goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadSlot {
    /// The name of the form part.
    pub field: String,
    /// The address; carries a token.
    pub url: Secret,
}

/// The places that a portal's files are fetched from and sent to.
pub fn allowed_at(portal: &Origin, extra: impl IntoIterator<Item = Origin>) -> AllowedOrigins {
    AllowedOrigins::new(std::iter::once(portal.clone()).chain(extra))
}

/// Fetches a file by a link from `disk.file.get` (`DOWNLOAD_URL`) or a CRM field (`urlMachine`).
///
/// # Errors
/// Never ambiguous. Transient for a dead link: get a new one. Permanent for a file above `bytes_max` or a link to a
/// foreign place.
pub async fn download(
    client: &Client,
    url: &Secret,
    allowed: &AllowedOrigins,
    sink: &mut (dyn AsyncWrite + Unpin + Send),
    bytes_max: u64,
) -> Result<Downloaded, Failure> {
    let refuse = |refused| Remote::Portal.refused_url(&refused);
    let portal = client.origin();
    let mut place = allowed.check(&absolute(url, &portal)).map_err(refuse)?;
    for _ in 0..=REDIRECTS_MAX {
        let opened = open(client.http(), &place, &portal).await?;
        if let (300..=399, Some(location)) = (opened.head.status, opened.head.location.as_deref()) {
            let next = place.join(location).map_err(|_| Remote::Portal.not_executed(opened.head.status))?;
            place = allowed.check(next.as_str()).map_err(refuse)?;
            continue;
        }
        return receive(client, opened, sink, bytes_max).await;
    }
    Err(Remote::Portal.not_executed(302))
}

/// Some fields give a link without its host; that is the portal's.
fn absolute(url: &Secret, portal: &Origin) -> Zeroizing<String> {
    let text = url.expose();
    let at_home = text.starts_with('/') && !text.starts_with("//");
    Zeroizing::new(if at_home { format!("{portal}{text}") } else { text.to_owned() })
}

async fn open(http: &HttpClient, place: &Url, portal: &Origin) -> Result<Opened, Failure> {
    // Without these headers the portal's web server answers 404 or a login page.
    let request = http
        .get(place.clone())
        .header(ACCEPT, "*/*")
        .header(ACCEPT_LANGUAGE, "ru,en;q=0.8")
        .header(REFERER, format!("{portal}/"));
    http.open(request, 0).await.map_err(|error| error.failure(Remote::Portal, Nature::Read))
}

async fn receive(
    client: &Client,
    opened: Opened,
    sink: &mut (dyn AsyncWrite + Unpin + Send),
    bytes_max: u64,
) -> Result<Downloaded, Failure> {
    let named = opened.headers.contains_key(CONTENT_DISPOSITION);
    let page = matches!(opened.head.content_type.as_str(), "text/html" | "application/json");
    if opened.head.status != 200 || (page && !named) {
        let answer = client.http().read_beginning(opened, REFUSAL_BYTES_MAX).await;
        return Err(no_file(&answer, client.redactor()));
    }
    let name = file_name(&opened.headers);
    let head = opened.head.clone();
    let accept = Accept { bytes_max, starts_with: b"" };
    match client.http().receive(opened, sink, accept).await {
        // Nothing with a 200 is what a broken proxy gives; an empty file could not be signed either.
        Ok(file) if file.size_bytes == 0 => Err(dead_link(&head, client.redactor())),
        Ok(file) => Ok(Downloaded { file, name }),
        Err(error) => Err(error.failure(Remote::Portal, Nature::Read)),
    }
}

/// An answer to a download that is not the file: mostly a link whose time is over.
fn no_file(answer: &Answer, redactor: &Redactor) -> Failure {
    let failure = match envelope::open(answer, redactor).outcome {
        Err(failure) if failure.kind != FailureKind::Garbled => failure,
        Err(_) | Ok(_) => dead_link(answer, redactor),
    };
    let expired = failure.kind == FailureKind::Credentials;
    Nature::Read.judge(if expired { dead_link(answer, redactor) } else { failure })
}

fn dead_link(answer: &Answer, redactor: &Redactor) -> Failure {
    let reason = Text::new(
        "Портал не отдал файл по ссылке: ссылка устарела или файл закрыт. Ссылка будет взята заново; если это \
         повторяется, проверьте права сотрудника, от имени которого работает вебхук.",
        "The portal did not give the file: the link is too old or the file is closed to us. A new link will be taken; \
         if it happens again, check the rights of the user behind the webhook.",
    );
    Failure::new(
        FailureClass::Transient,
        FailureKind::Garbled,
        format!("no_file_http_{}", answer.status),
        reason,
    )
    .answer(&redactor.cut_bytes(&answer.body))
}

/// Uploads a file of up to [`SMALL_FILE_BYTES_MAX`] in one request: Base64 inside JSON, streamed.
///
/// The portal makes a taken name unique (`generateUniqueName`). Not safe to repeat: class `probe`.
pub async fn upload_small(client: &Client, folder_id: u64, name: &str, source: &FileSource) -> Uploaded {
    const METHOD: &str = "disk.folder.uploadfile";
    let mut observed = Observed::default();
    let framed = small_body(folder_id, name, source);
    let result = client
        .request(METHOD, Payload::Framed(&framed), &mut observed)
        .await
        .map_err(name_taken_is_worth_a_look)
        .and_then(|value| uploaded_of(&value).ok_or_else(|| error::misshapen(METHOD)));
    Uploaded { result, observed }
}

fn small_body(folder_id: u64, name: &str, source: &FileSource) -> FramedFile {
    let name = Value::String(name.to_owned());
    let prefix = format!(
        r#"{{"id":{folder_id},"data":{{"NAME":{name}}},"generateUniqueName":true,"fileContent":[{name},""#
    );
    FramedFile {
        prefix: prefix.into(),
        file: source.clone(),
        coding: Coding::Base64,
        suffix: r#""]}"#.into(),
        then: None,
    }
}

/// The first step of a large upload: asks where to send the file. Changes nothing, may be repeated.
///
/// # Errors
/// `error_not_found` if the folder is gone, `access_denied` without rights.
pub async fn upload_slot(caller: &dyn Caller, folder_id: u64, name: &str) -> Result<UploadSlot, Failure> {
    const METHOD: &str = "disk.folder.uploadfile";
    let params = json!({ "id": folder_id, "data": { "NAME": name }, "generateUniqueName": true });
    let answer = caller.call(Call::new(METHOD, params)).await.map_err(|f| Nature::Read.judge(f))?;
    let text = |name| wire::member(&answer, name).and_then(wire::filled);
    match (text("field"), text("uploadUrl")) {
        (Some(field), Some(url)) if is_plain(&field) => Ok(UploadSlot { field, url: Secret::new(url) }),
        _ => Err(Nature::Read.judge(error::misshapen(METHOD))),
    }
}

/// Part names stand inside a quoted header value.
fn is_plain(field: &str) -> bool {
    field.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'[' | b']'))
}

/// The second step of a large upload: the file as multipart/form-data, streamed. Not safe to repeat: class `probe`.
///
/// # Errors
/// Ambiguous after an unknown outcome: look into the folder.
pub async fn upload_large(
    client: &Client,
    slot: &UploadSlot,
    allowed: &AllowedOrigins,
    name: &str,
    source: &FileSource,
) -> Result<UploadedFile, Failure> {
    let place = allowed.check(slot.url.expose()).map_err(|refused| Remote::Portal.refused_url(&refused))?;
    let boundary = format!("edobridge-{}", uuid::Uuid::new_v4().simple());
    let framed = multipart_body(&boundary, &slot.field, name, source);
    let request = client
        .http()
        .post(place)
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}"));
    let answer = client
        .http()
        .upload(request, &framed, ANSWER_BYTES_MAX)
        .await
        .map_err(|error: WireError| error.failure(Remote::Portal, Nature::Write))?;
    stored_of(&answer, client.redactor())
}

/// The answer is the file object, in an envelope or bare.
fn stored_of(answer: &Answer, redactor: &Redactor) -> Result<UploadedFile, Failure> {
    let bare = serde_json::from_slice::<Value>(&answer.body).ok().filter(|_| answer.is_success());
    if let Some(file) = bare.as_ref().and_then(uploaded_of) {
        return Ok(file);
    }
    let result = envelope::open(answer, redactor).outcome.map_err(name_taken_is_worth_a_look)?;
    uploaded_of(&result)
        .ok_or_else(|| error::misshapen("disk.folder.uploadfile").answer(&redactor.cut_bytes(&answer.body)))
}

fn multipart_body(boundary: &str, field: &str, name: &str, source: &FileSource) -> FramedFile {
    // PHP reads `filename` as raw UTF-8 and knows no `filename*`; quotes and line ends would break the header.
    let name: String =
        name.chars().map(|c| if c == '"' || c == '\\' || c.is_control() { '_' } else { c }).collect();
    let prefix = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    FramedFile {
        prefix: prefix.into(),
        file: source.clone(),
        coding: Coding::Raw,
        suffix: format!("\r\n--{boundary}--\r\n").into(),
        then: None,
    }
}

/// The name is taken although it should have been made unique: it may be taken by our own earlier attempt.
fn name_taken_is_worth_a_look(mut failure: Failure) -> Failure {
    if failure.code == "disk_obj_22000" {
        failure.class = FailureClass::Ambiguous;
    }
    failure
}

fn uploaded_of(value: &Value) -> Option<UploadedFile> {
    Some(UploadedFile {
        id: wire::member(value, "ID").and_then(wire::id)?,
        name: wire::member(value, "NAME").and_then(wire::filled)?,
        size_bytes: wire::member(value, "SIZE").and_then(wire::number),
    })
}

/// The name in `Content-Disposition`: `filename*=utf-8''…` first, else `filename="…"`, raw or percent-encoded.
fn file_name(headers: &HeaderMap) -> Option<String> {
    let value = String::from_utf8_lossy(headers.get(CONTENT_DISPOSITION)?.as_bytes()).into_owned();
    let lower = value.to_ascii_lowercase();
    let encoded = lower.find("filename*=utf-8''").map(|at| &value[at + 17..]);
    let quoted = lower.find("filename=\"").and_then(|at| value[at + 10..].split('"').next());
    let bare = lower.find("filename=").map(|at| &value[at + 9..]);
    let raw = encoded.or(quoted).or(bare)?;
    let raw = if quoted == Some(raw) { raw } else { raw.split(';').next().unwrap_or_default().trim() };
    let decoded = percent_decoded(raw).unwrap_or_else(|| raw.to_owned());
    base_name(&decoded)
}

/// Percent-decoding as in a query, but `+` stays.
fn percent_decoded(text: &str) -> Option<String> {
    let kept = text.replace('+', "%2B");
    let (decoded, _) = form_urlencoded::parse(format!("x={}", kept.replace('&', "%26")).as_bytes())
        .next()
        .map(|(_, value)| (value.into_owned(), ()))?;
    (!decoded.contains('\u{fffd}')).then_some(decoded)
}

/// Only the last part of a path, without control characters, bounded.
fn base_name(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control()).collect();
    let clean = clean.trim();
    if matches!(clean, "" | "." | "..") {
        return None;
    }
    let mut end = clean.len().min(NAME_BYTES_MAX);
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    Some(clean[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::account::tests::Scripted;
    use super::super::client::tests::{SECRET, client_of};
    use super::*;
    use crate::providers::spool_io::tests::{pattern, source_of};
    use crate::providers::test_server::{Reply, TestServer};
    use base64::Engine as _;

    async fn fetch(server: &TestServer, url: &str, max: u64) -> (Result<Downloaded, Failure>, Vec<u8>) {
        let client = client_of(server);
        let mut sink = Vec::new();
        let allowed = allowed_at(&client.origin(), []);
        let outcome = download(&client, &Secret::new(url), &allowed, &mut sink, max).await;
        (outcome, sink)
    }

    #[tokio::test]
    async fn a_download_looks_like_a_browser_and_keeps_its_name() {
        let server = TestServer::start(vec![Reply::status(
            200,
            "Content-Disposition: attachment; filename=\"x.pdf\"; filename*=utf-8''%D0%94%20%2B1.pdf\r\n",
            "%PDF-bytes",
        )]);
        let (outcome, sink) = fetch(&server, &server.url("/dl/?token=t0ken&x=%20a"), 100).await;
        let got = outcome.unwrap();
        assert_eq!((got.name.as_deref(), got.file.size_bytes), (Some("Д +1.pdf"), 10));
        assert_eq!(sink, b"%PDF-bytes");
        let seen = server.requests().remove(0);
        assert_eq!(seen.line(), "GET /dl/?token=t0ken&x=%20a HTTP/1.1", "the query must not change");
        assert_eq!(seen.header("referer"), Some(server.url("/")));
        assert_eq!(seen.header("accept").as_deref(), Some("*/*"));
        assert!(seen.header("accept-language").is_some() && seen.header("user-agent").is_some());
        assert_eq!(seen.header("authorization"), None);
    }

    #[tokio::test]
    async fn a_foreign_link_is_not_called() {
        let stranger = TestServer::start(vec![Reply::ok("evil")]);
        let server = TestServer::start(vec![]);
        for url in [stranger.url("/x?auth=t0ken"), "https://elsewhere.example/x?auth=t0ken".into()] {
            let failure = fetch(&server, &url, 100).await.0.unwrap_err();
            assert_eq!(
                (failure.class, failure.code.as_str()),
                (FailureClass::Permanent, "address_not_allowed")
            );
            assert!(!format!("{failure:?}").contains("t0ken"));
        }
        assert!(stranger.requests().is_empty());
    }

    #[tokio::test]
    async fn a_redirect_is_followed_at_home_only() {
        let stranger = TestServer::start(vec![Reply::ok("evil")]);
        let away = format!("Location: {}\r\n", stranger.url("/steal"));
        let server = TestServer::start(vec![
            Reply::status(302, "Location: /real?token=a\r\n", ""),
            Reply::ok("bytes"),
            Reply::status(302, &away, ""),
        ]);
        let (outcome, sink) = fetch(&server, &server.url("/a"), 100).await;
        assert!(outcome.is_ok());
        assert_eq!(sink, b"bytes");
        assert_eq!(server.requests()[1].line(), "GET /real?token=a HTTP/1.1");
        let failure = fetch(&server, &server.url("/a"), 100).await.0.unwrap_err();
        assert_eq!(failure.code, "address_not_allowed");
        assert!(stranger.requests().is_empty());
    }

    #[tokio::test]
    async fn a_link_without_a_host_is_the_portals() {
        let server = TestServer::start(vec![Reply::ok("bytes")]);
        assert!(fetch(&server, "/dl?token=a", 100).await.0.is_ok());
        let failure = fetch(&server, "//evil.example/dl", 100).await.0.unwrap_err();
        assert_eq!(failure.code, "address_not_allowed");
    }

    #[tokio::test]
    async fn a_circle_of_redirects_ends() {
        let hops = (0..5).map(|_| Reply::status(302, "Location: /again\r\n", "")).collect();
        let server = TestServer::start(hops);
        let failure = fetch(&server, &server.url("/a"), 100).await.0.unwrap_err();
        assert_eq!(failure.class, FailureClass::Transient);
        assert_eq!(server.requests().len(), REDIRECTS_MAX + 1);
    }

    #[tokio::test]
    async fn what_is_not_the_file_is_told_apart() {
        let html = "Content-Type: text/html; charset=utf-8\r\n";
        let json = "Content-Type: application/json\r\n";
        let server = TestServer::start(vec![
            Reply::status(404, "", "<html>"),
            Reply::status(200, html, "<html>login ?token=t0ken"),
            Reply::status(401, json, r#"{"error":"expired_token"}"#),
            Reply::status(503, json, r#"{"error":"QUERY_LIMIT_EXCEEDED"}"#),
            Reply::status(400, json, r#"{"error":"ERROR_NOT_FOUND"}"#),
            Reply::status(502, html, "<html>"),
            Reply::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf"),
            Reply::ok("0123456789"),
            Reply::ok(""),
        ]);
        for (max, class, code) in [
            (9, FailureClass::Transient, "no_file_http_404"),
            (9, FailureClass::Transient, "no_file_http_200"),
            (9, FailureClass::Transient, "no_file_http_401"),
            (9, FailureClass::Throttled, "query_limit_exceeded"),
            (9, FailureClass::Permanent, "error_not_found"),
            (9, FailureClass::Transient, "http_502"),
            (99, FailureClass::Transient, "connection_cut"),
            (9, FailureClass::Permanent, "file_too_large"),
            (9, FailureClass::Transient, "no_file_http_200"),
        ] {
            let failure = fetch(&server, &server.url("/a?token=t0ken"), max).await.0;
            let failure = match failure {
                Err(failure) => failure,
                Ok(file) => panic!("{code}: {file:?}"),
            };
            assert_eq!((failure.class, failure.code.as_str()), (class, code));
            assert!(!format!("{failure:?}").contains("t0ken"));
        }
    }

    #[tokio::test]
    async fn a_json_or_html_document_is_a_file_like_any_other() {
        let headers =
            "Content-Type: application/json\r\nContent-Disposition: attachment; filename=\"a.json\"\r\n";
        let server = TestServer::start(vec![Reply::status(200, headers, "{}")]);
        let (outcome, sink) = fetch(&server, &server.url("/a"), 9).await;
        assert_eq!(outcome.unwrap().name.as_deref(), Some("a.json"));
        assert_eq!(sink, b"{}");
    }

    #[tokio::test]
    async fn a_small_upload_is_one_streamed_json() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = pattern(200_001);
        let server = TestServer::start(vec![Reply::ok(
            r#"{"result":{"ID":9011,"NAME":"a (1).pdf","SIZE":"200001","DOWNLOAD_URL":"x"},"time":{"operating":1}}"#,
        )]);
        let uploaded =
            upload_small(&client_of(&server), 8996, "договор \"1\".pdf", &source_of(&dir, &bytes)).await;
        let expected = UploadedFile { id: 9011, name: "a (1).pdf".into(), size_bytes: Some(200_001) };
        assert_eq!(uploaded.result, Ok(expected));
        assert_eq!(uploaded.observed.requests, 1);
        assert_eq!(uploaded.observed.operating[0].method, "disk.folder.uploadfile");
        let seen = server.requests().remove(0);
        assert_eq!(seen.line(), format!("POST /rest/17/{SECRET}/disk.folder.uploadfile.json HTTP/1.1"));
        let length: usize = seen.header("content-length").unwrap().parse().unwrap();
        assert_eq!(length, seen.body.len());
        let json = seen.json();
        assert_eq!((json["id"].clone(), json["generateUniqueName"].clone()), (json!(8996), json!(true)));
        assert_eq!(json["data"]["NAME"], "договор \"1\".pdf");
        assert_eq!(json["fileContent"][0], "договор \"1\".pdf");
        let sent = base64::engine::general_purpose::STANDARD.decode(json["fileContent"][1].as_str().unwrap());
        assert_eq!(sent.unwrap(), bytes);
    }

    #[tokio::test]
    async fn a_small_upload_follows_a_rename_with_its_whole_body() {
        let dir = tempfile::tempdir().unwrap();
        let new = TestServer::start(vec![Reply::ok(r#"{"result":{"ID":1,"NAME":"a"}}"#)]);
        let location = format!("Location: {}\r\n", new.url("/"));
        let old = TestServer::start(vec![Reply::status(302, &location, "")]);
        let uploaded = upload_small(&client_of(&old), 1, "a", &source_of(&dir, &pattern(100_000))).await;
        assert!(uploaded.result.is_ok());
        assert_eq!(uploaded.observed.moved_to, Some(new.url("")));
        assert_eq!(old.requests()[0].body, new.requests()[0].body);
    }

    #[tokio::test]
    async fn an_upload_with_an_unknown_outcome_or_a_taken_name_is_looked_into() {
        let dir = tempfile::tempdir().unwrap();
        let source = source_of(&dir, b"abc");
        let server = TestServer::start(vec![
            Reply::Close,
            Reply::status(200, "", "<html>"),
            Reply::ok(r#"{"result":true}"#),
            Reply::status(400, "", r#"{"error":"DISK_OBJ_22000"}"#),
            Reply::status(400, "", r#"{"error":"ERROR_NOT_FOUND"}"#),
        ]);
        let client = client_of(&server);
        for class in [
            FailureClass::Ambiguous,
            FailureClass::Ambiguous,
            FailureClass::Ambiguous,
            FailureClass::Ambiguous,
            FailureClass::Permanent,
        ] {
            let failure = upload_small(&client, 1, "a", &source).await.result.unwrap_err();
            assert_eq!(failure.class, class, "{failure:?}");
        }
    }

    #[tokio::test]
    async fn a_missing_spool_file_sends_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut source = source_of(&dir, b"abc");
        source.path = dir.path().join("gone");
        let server = TestServer::start(vec![]);
        let uploaded = upload_small(&client_of(&server), 1, "a", &source).await;
        assert_eq!(uploaded.result.unwrap_err().kind, FailureKind::Local);
        assert!(server.requests().is_empty());
    }

    #[tokio::test]
    async fn a_large_upload_asks_for_a_place_first() {
        let portal = Scripted::ok([
            json!({"field": "file", "uploadUrl": "https://p/rest/upload.json?token=t0ken"}),
            json!({"field": "fi\"le", "uploadUrl": "https://p/"}),
            json!({"ID": 5}),
        ]);
        let slot = upload_slot(&portal, 8996, "a.pdf").await.unwrap();
        assert_eq!(slot.field, "file");
        assert!(!format!("{slot:?}").contains("t0ken"));
        for _ in 0..2 {
            let failure = upload_slot(&portal, 8996, "a.pdf").await.unwrap_err();
            assert_eq!(failure.class, FailureClass::Transient);
        }
        let expected = json!({"id": 8996, "data": {"NAME": "a.pdf"}, "generateUniqueName": true});
        assert_eq!(portal.calls()[0].params, expected);
    }

    #[tokio::test]
    async fn a_large_upload_streams_the_file_as_one_part() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = pattern(400_000);
        let source = source_of(&dir, &bytes);
        let server = TestServer::start(vec![
            Reply::ok(r#"{"result":{"ID":"7","NAME":"Д.pdf","SIZE":400000}}"#),
            Reply::ok(r#"{"ID":8,"NAME":"bare"}"#),
            Reply::status(200, "", "<html>"),
            Reply::status(403, "", r#"{"error":"expired_token"}"#),
        ]);
        let client = client_of(&server);
        let allowed = allowed_at(&client.origin(), []);
        let slot = UploadSlot { field: "file".into(), url: Secret::new(server.url("/up?token=t0ken")) };
        let send = || upload_large(&client, &slot, &allowed, "Д\"\r\nX: y.pdf", &source);
        assert_eq!(send().await.unwrap().id, 7);
        assert_eq!(send().await.unwrap().id, 8);
        assert_eq!(send().await.unwrap_err().class, FailureClass::Ambiguous);
        let refused = send().await.unwrap_err();
        assert_eq!(refused.class, FailureClass::Auth);
        assert!(!format!("{refused:?}").contains("t0ken"));
        let seen = server.requests().remove(0);
        assert_eq!(seen.header("content-length").unwrap(), seen.body.len().to_string());
        let head = "name=\"file\"; filename=\"Д___X: y.pdf\"\r\n".as_bytes();
        assert!(seen.body.windows(head.len()).any(|w| w == head));
        assert!(seen.body.windows(bytes.len()).any(|w| w == bytes.as_slice()));
        let foreign = UploadSlot { field: "file".into(), url: Secret::new("https://evil.example/?t=t0ken") };
        let refused = upload_large(&client, &foreign, &allowed, "a", &source).await.unwrap_err();
        assert_eq!(refused.code, "address_not_allowed");
    }

    #[test]
    fn names_from_headers_are_only_names() {
        for (value, expected) in [
            ("attachment; filename=\"a b.pdf\"", Some("a b.pdf")),
            ("attachment; filename=\"%D0%94.pdf\"", Some("Д.pdf")),
            ("attachment; filename=a.pdf; x=y", Some("a.pdf")),
            ("attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            ("attachment; filename=\"C:\\x\\a.pdf\"", Some("a.pdf")),
            ("attachment; filename=\"..\"", None),
            ("attachment; filename=\"100%.pdf\"", Some("100%.pdf")),
            ("attachment; filename=\"a+b & c.pdf\"", Some("a+b & c.pdf")),
            ("attachment", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_DISPOSITION, value.parse().unwrap());
            assert_eq!(file_name(&headers).as_deref(), expected, "{value}");
        }
    }
}
