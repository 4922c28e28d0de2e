//! Request bodies, read with a bound on size and a bound on time.
//!
//! The framework bounds the head only: a sender that trickles its body would hold a connection for as long as it
//! likes, so the whole body has one deadline.

use super::error::Code;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{Bytes, BytesMut, Payload};
use actix_web::{HttpRequest, rt};
use futures_util::StreamExt as _;
use std::time::Duration;

/// First piece of memory for a body; more is taken as bytes really come, not as a header promises them.
const START_BYTES: usize = 8 * 1024;

/// How much of a `Content-Type` is kept with a notice.
const CONTENT_TYPE_BYTES_MAX: usize = 128;

/// What a body may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyBounds {
    /// Bytes.
    pub bytes_max: usize,
    /// From the first look at the request to the last byte.
    pub time_max: Duration,
}

/// Reads the whole body.
///
/// # Errors
/// [`Code::TooLarge`], [`Code::TooSlow`] or [`Code::BrokenBody`]: all the sender's.
pub async fn read(request: &HttpRequest, payload: Payload, bounds: BodyBounds) -> Result<Bytes, Code> {
    if promised_bytes(request).is_some_and(|promised| promised > bounds.bytes_max as u64) {
        return Err(Code::TooLarge);
    }
    match rt::time::timeout(bounds.time_max, collect(payload, bounds.bytes_max)).await {
        Ok(read) => read,
        Err(_elapsed) => Err(Code::TooSlow),
    }
}

fn promised_bytes(request: &HttpRequest) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn collect(mut payload: Payload, bytes_max: usize) -> Result<Bytes, Code> {
    let mut body = BytesMut::with_capacity(START_BYTES.min(bytes_max));
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(|_| Code::BrokenBody)?;
        if body.len() + piece.len() > bytes_max {
            return Err(Code::TooLarge);
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// Whether the body is compressed or otherwise encoded.
pub fn is_encoded(request: &HttpRequest) -> bool {
    request
        .headers()
        .get_all(CONTENT_ENCODING)
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// The `Content-Type` as it is kept with a notice: printable, bounded, empty if there is none or two.
pub fn content_type(request: &HttpRequest) -> String {
    let mut values = request.headers().get_all(CONTENT_TYPE);
    match (values.next(), values.next()) {
        (Some(only), None) => {
            only.to_str().unwrap_or_default().chars().take(CONTENT_TYPE_BYTES_MAX).collect()
        }
        (Some(_), Some(_)) | (None, _) => String::new(),
    }
}

/// Whether a `Content-Type` means JSON in UTF-8, the only charset that JSON has (RFC 8259).
pub fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let mut charsets = parts.filter_map(|part| part.split_once('=')).filter(|(name, _)| is(name, "charset"));
    is(essence, "application/json") && charsets.all(|(_, value)| is(value.trim_matches('"'), "utf-8"))
}

fn is(text: &str, wanted: &str) -> bool {
    text.trim().eq_ignore_ascii_case(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::FromRequest as _;
    use actix_web::test::TestRequest;

    async fn read_of(body: &'static [u8], bytes_max: usize) -> Result<Bytes, Code> {
        let (request, mut payload) = TestRequest::post().set_payload(body).to_http_parts();
        let payload = Payload::from_request(&request, &mut payload).await.unwrap();
        read(&request, payload, BodyBounds { bytes_max, time_max: Duration::from_secs(5) }).await
    }

    #[actix_web::test]
    async fn a_body_may_be_as_large_as_the_bound_and_not_a_byte_more() {
        assert_eq!(read_of(b"12345", 5).await.unwrap(), "12345");
        assert_eq!(read_of(b"123456", 5).await, Err(Code::TooLarge));
        assert_eq!(read_of(b"", 5).await.unwrap(), "");
    }

    #[actix_web::test]
    async fn a_promise_to_send_too_much_is_refused_before_anything_is_read() {
        let (request, mut payload) =
            TestRequest::post().insert_header((CONTENT_LENGTH, "999999999999999999")).to_http_parts();
        let payload = Payload::from_request(&request, &mut payload).await.unwrap();
        let bounds = BodyBounds { bytes_max: 5, time_max: Duration::from_secs(5) };
        assert_eq!(read(&request, payload, bounds).await, Err(Code::TooLarge));
    }

    #[test]
    fn only_json_in_utf8_is_json() {
        for good in
            ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""]
        {
            assert!(is_json(good), "{good}");
        }
        for bad in [
            "",
            "text/json",
            "application/jsonp",
            "application/json; charset=windows-1251",
            "text/plain, application/json",
        ] {
            assert!(!is_json(bad), "{bad}");
        }
    }

    #[test]
    fn an_encoded_body_is_recognised() {
        let encoded = |value: &str| {
            is_encoded(&TestRequest::post().insert_header((CONTENT_ENCODING, value)).to_http_request())
        };
        assert!(encoded("gzip") && encoded("br") && encoded("identity, gzip") && encoded(""));
        assert!(!encoded("Identity"));
        assert!(!is_encoded(&TestRequest::post().to_http_request()));
    }
}
