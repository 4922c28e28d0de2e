//! Callbacks: first the signature over the raw bytes, then the meaning. In this order, always.
//!
//! The guide's own sample parses before it verifies; a body that was parsed and written again has other bytes, and a
//! parser is more to attack than an HMAC.

use super::settings::{Algorithm, CallbackShape, Encoding, Settings, SignedContent, SignedPart};
use crate::domain::Secret;
use crate::providers::strict_json::{self, NotStrictJson};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq as _};

/// Longest signature header that is looked at: SHA-512 in hex with a prefix.
const SIGNATURE_BYTES_MAX: usize = 256;
/// Longest document id.
const DOCUMENT_ID_BYTES_MAX: usize = 128;
/// Longest of the other texts; addresses are judged again when they are used.
const TEXT_BYTES_MAX: usize = 4_096;

/// Headers of a request: names and raw values, repeated ones repeated.
pub type Headers<'h> = &'h [(&'h str, &'h [u8])];

/// Why a callback is not believed. Says nothing that helps a forger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// No secret is configured: nothing can be believed.
    #[error("no callback secret is configured")]
    NoSecret,
    /// There is no signature.
    #[error("no signature header")]
    NoSignature,
    /// There is more than one.
    #[error("more than one signature header")]
    SeveralSignatures,
    /// It is not what a signature looks like here.
    #[error("unreadable signature")]
    Unreadable,
    /// A header that is part of the signed content is missing or repeated.
    #[error("a signed header is missing or repeated")]
    SignedHeader,
    /// It is not the signature of this body.
    #[error("wrong signature")]
    Mismatch,
}

/// Why an authentic body cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Larger than the limit.
    #[error("the body is longer than {max} bytes")]
    TooLong {
        /// The limit in bytes.
        max: u64,
    },
    /// Not JSON, or not JSON as we accept it.
    #[error("the body is not acceptable JSON")]
    Json(#[source] NotStrictJson),
    /// JSON without a member that is needed, or with one that cannot be right.
    #[error("the member `{pointer}` is missing or unusable")]
    Member {
        /// The JSON pointer that was looked at.
        pointer: String,
    },
}

/// What a status means to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallbackStatus {
    /// The whole route is passed and signed.
    Signed,
    /// Somebody refused.
    Refused,
    /// Anything else: it is written into the history and changes nothing.
    Other(String),
}

/// What a callback says. Authentic, but not yet matched with a document of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// The event's name.
    pub event: String,
    /// The document's id at EasyDocs, of a form that is safe in a path.
    pub document_id: String,
    /// Our id, if it was sent back.
    pub external_id: Option<String>,
    /// What the status means; `Other` for an event that we do not know, whatever its status.
    pub status: CallbackStatus,
    /// The status as it was written.
    pub raw_status: String,
    /// The signed file's address, untrusted.
    pub file_url: Option<String>,
    /// The sender's time, for people only.
    pub timestamp: Option<String>,
}

/// Checks that a callback comes from EasyDocs. Time does not depend on where a wrong signature differs.
///
/// # Errors
/// [`Forged`]; the answer is 401 or 403 whatever the body is.
pub fn verify(settings: &Settings, headers: Headers<'_>, raw_body: &[u8]) -> Result<(), Forged> {
    let rules = &settings.signature;
    let mut secrets = rules.secrets.iter().filter(|secret| !secret.is_empty()).peekable();
    if secrets.peek().is_none() {
        return Err(Forged::NoSecret);
    }
    let given = signature_of(settings, headers)?;
    let pieces = signed_pieces(&rules.signed_content, headers, raw_body)?;
    let mut found = Choice::from(0);
    for secret in secrets {
        found |= mac(rules.algorithm, secret, &pieces).ct_eq(&given);
    }
    if bool::from(found) { Ok(()) } else { Err(Forged::Mismatch) }
}

fn signature_of(settings: &Settings, headers: Headers<'_>) -> Result<Vec<u8>, Forged> {
    let rules = &settings.signature;
    let mut values = values_of(headers, &rules.header);
    let value = values.next().ok_or(Forged::NoSignature)?;
    if values.next().is_some() {
        return Err(Forged::SeveralSignatures);
    }
    let text = std::str::from_utf8(value).map_err(|_| Forged::Unreadable)?.trim_matches([' ', '\t']);
    if text.len() > SIGNATURE_BYTES_MAX {
        return Err(Forged::Unreadable);
    }
    let text = text.strip_prefix(rules.prefix.as_str()).ok_or(Forged::Unreadable)?;
    let bytes = decoded(rules.encoding, rules.algorithm, text).ok_or(Forged::Unreadable)?;
    if bytes.len() == digest_len(rules.algorithm) { Ok(bytes) } else { Err(Forged::Unreadable) }
}

fn values_of<'h>(headers: Headers<'h>, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
}

fn digest_len(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::HmacSha256 => 32,
        Algorithm::HmacSha1 => 20,
        Algorithm::HmacSha512 => 64,
    }
}

fn decoded(encoding: Encoding, algorithm: Algorithm, text: &str) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Hex => from_hex(text),
        Encoding::Base64 => from_base64(&alphabet::STANDARD, text),
        Encoding::Base64Url => from_base64(&alphabet::URL_SAFE, text),
        Encoding::Auto if text.len() == digest_len(algorithm) * 2 => from_hex(text),
        Encoding::Auto => {
            from_base64(&alphabet::STANDARD, text).or_else(|| from_base64(&alphabet::URL_SAFE, text))
        }
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok())
        .collect()
}

fn from_base64(letters: &alphabet::Alphabet, text: &str) -> Option<Vec<u8>> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(letters, lenient).decode(text).ok()
}

fn signed_pieces<'p>(
    content: &'p SignedContent,
    headers: Headers<'p>,
    raw_body: &'p [u8],
) -> Result<Vec<&'p [u8]>, Forged> {
    let parts = match content {
        SignedContent::RawBody => return Ok(vec![raw_body]),
        SignedContent::Template(parts) => parts,
    };
    parts
        .iter()
        .map(|part| match part {
            SignedPart::Literal(text) => Ok(text.as_bytes()),
            SignedPart::Body => Ok(raw_body),
            SignedPart::Header(name) => {
                let mut values = values_of(headers, name);
                match (values.next(), values.next()) {
                    (Some(value), None) => Ok(value),
                    (None | Some(_), _) => Err(Forged::SignedHeader),
                }
            }
        })
        .collect()
}

fn mac(algorithm: Algorithm, secret: &Secret, pieces: &[&[u8]]) -> Vec<u8> {
    const ANY_KEY: &str = "HMAC takes keys of any length";
    let key = secret.expose().as_bytes();
    macro_rules! digest {
        ($hash:ty) => {{
            let mut mac = Hmac::<$hash>::new_from_slice(key).expect(ANY_KEY);
            pieces.iter().for_each(|piece| mac.update(piece));
            mac.finalize().into_bytes().to_vec()
        }};
    }
    match algorithm {
        Algorithm::HmacSha256 => digest!(Sha256),
        Algorithm::HmacSha1 => digest!(Sha1),
        Algorithm::HmacSha512 => digest!(Sha512),
    }
}

/// Reads a callback that was verified.
///
/// # Errors
/// [`Unreadable::TooLong`] and [`Unreadable::Json`] are 413 and 400; [`Unreadable::Member`] is authentic and is
/// parked for a person.
pub fn parse(settings: &Settings, raw_body: &[u8]) -> Result<Callback, Unreadable> {
    let max = settings.limits.callback_bytes;
    if raw_body.len() as u64 > max {
        return Err(Unreadable::TooLong { max });
    }
    let body = strict_json::parse(raw_body).map_err(Unreadable::Json)?;
    let shape = &settings.callback;
    let event = needed(&body, &shape.event)?;
    let document_id = needed(&body, &shape.document_id)?;
    if !is_document_id(&document_id) {
        return Err(Unreadable::Member { pointer: shape.document_id.clone() });
    }
    let raw_status = needed(&body, &shape.status)?;
    let known_event = shape.events.contains(&event);
    Ok(Callback {
        status: if known_event {
            meaning(shape, &raw_status)
        } else {
            CallbackStatus::Other(raw_status.clone())
        },
        external_id: optional(&body, &shape.external_id)?,
        file_url: optional(&body, &shape.file_url)?,
        timestamp: optional(&body, &shape.timestamp)?,
        event,
        document_id,
        raw_status,
    })
}

/// What a status name means: matched exactly, so `partially_signed` and `Signed` are not `signed`.
pub fn meaning(shape: &CallbackShape, status: &str) -> CallbackStatus {
    let listed = |names: &[String]| names.iter().any(|name| name == status);
    if listed(&shape.success) {
        CallbackStatus::Signed
    } else if listed(&shape.refused) {
        CallbackStatus::Refused
    } else {
        CallbackStatus::Other(status.to_owned())
    }
}

/// Whether a text may be a document's id: 1 to 128 of `A-Z a-z 0-9 . _ ~ -`, and no path step.
pub fn is_document_id(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-');
    (1..=DOCUMENT_ID_BYTES_MAX).contains(&text.len())
        && text.bytes().all(allowed)
        && !matches!(text, "." | "..")
}

fn needed(body: &Value, pointer: &str) -> Result<String, Unreadable> {
    let found = optional(body, pointer)?.filter(|text| !text.is_empty());
    found.ok_or_else(|| Unreadable::Member { pointer: pointer.to_owned() })
}

/// A text, or a number written out; `null`, absent and an empty pointer are nothing.
fn optional(body: &Value, pointer: &str) -> Result<Option<String>, Unreadable> {
    let unusable = || Unreadable::Member { pointer: pointer.to_owned() };
    let text = match body.pointer(pointer).filter(|_| !pointer.is_empty()) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(n)) => n.to_string(),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => return Err(unusable()),
    };
    if text.len() > TEXT_BYTES_MAX { Err(unusable()) } else { Ok(Some(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNATURE: &str = "X-EasyDocs-Signature";

    fn settings() -> Settings {
        let mut settings = Settings::default();
        settings.signature.secrets = vec![Secret::new("old"), Secret::new("test-secret")];
        settings
    }

    fn sample(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/data/easydocs/{name}.json", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn check(settings: &Settings, signature: &str, body: &[u8]) -> Result<(), Forged> {
        verify(settings, &[("Content-Type", b"application/json"), (SIGNATURE, signature.as_bytes())], body)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn sign(algorithm: Algorithm, secret: &str, body: &[u8]) -> Vec<u8> {
        mac(algorithm, &Secret::new(secret), &[body])
    }

    /// From the samples' index: made by another implementation.
    const SIGNED_HEX: &str = "970f1f4765dfef951246dbaa85046a4c0b3a566f2bb0084dac083496001e4540";
    const SIGNED_BASE64: &str = "lw8fR2Xf75USRtuqhQRqTAs6Vm8rsAhNrAg0lgAeRUA=";

    #[test]
    fn a_foreign_implementations_signature_is_accepted() {
        let body = sample("callback-signed");
        assert_eq!(check(&settings(), SIGNED_HEX, &body), Ok(()));
        assert_eq!(check(&settings(), &SIGNED_HEX.to_uppercase(), &body), Ok(()));
        let mut base64 = settings();
        base64.signature.encoding = Encoding::Base64;
        assert_eq!(check(&base64, SIGNED_BASE64, &body), Ok(()));
        assert_eq!(check(&base64, SIGNED_BASE64.trim_end_matches('='), &body), Ok(()));
        base64.signature.encoding = Encoding::Base64Url;
        let url_safe = SIGNED_BASE64.replace('+', "-").replace('/', "_");
        assert_eq!(check(&base64, &url_safe, &body), Ok(()));
        base64.signature.encoding = Encoding::Auto;
        for form in [SIGNED_HEX, SIGNED_BASE64, &url_safe] {
            assert_eq!(check(&base64, form, &body), Ok(()), "{form}");
        }
    }

    #[test]
    fn every_hash_and_prefix_works() {
        for algorithm in [Algorithm::HmacSha256, Algorithm::HmacSha1, Algorithm::HmacSha512] {
            let mut settings = settings();
            settings.signature.algorithm = algorithm;
            settings.signature.prefix = "v=".into();
            let good = hex(&sign(algorithm, "old", b"body"));
            assert_eq!(check(&settings, &format!("v={good}"), b"body"), Ok(()));
            assert_eq!(check(&settings, &good, b"body"), Err(Forged::Unreadable));
            assert_eq!(check(&settings, &format!("v={good}"), b"body "), Err(Forged::Mismatch));
        }
    }

    #[test]
    fn hmac_agrees_with_rfc_4231_and_2202() {
        let key = Secret::new("Jefe");
        let pieces: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex(&mac(Algorithm::HmacSha256, &key, &pieces)), expected);
        let expected = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79";
        assert_eq!(hex(&mac(Algorithm::HmacSha1, &key, &pieces)), expected);
        let long = hex(&mac(Algorithm::HmacSha512, &key, &pieces));
        assert!(long.starts_with("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"));
    }

    #[test]
    fn what_is_not_signed_once_and_right_is_forged() {
        let body = sample("callback-signed");
        let good = SIGNED_HEX.as_bytes();
        let verify = |headers: Headers<'_>| verify(&settings(), headers, &body);
        assert_eq!(verify(&[]), Err(Forged::NoSignature));
        assert_eq!(
            verify(&[(SIGNATURE, good), ("x-easydocs-signature", good)]),
            Err(Forged::SeveralSignatures)
        );
        assert_eq!(verify(&[("x-EASYDOCS-signature", good)]), Ok(()));
        for bad in ["", "00", "zz", &SIGNED_HEX[2..], &format!("{SIGNED_HEX}00"), &"0".repeat(1_000)] {
            assert_eq!(verify(&[(SIGNATURE, bad.as_bytes())]), Err(Forged::Unreadable), "{bad}");
        }
        assert_eq!(verify(&[(SIGNATURE, b"\xff\xfe")]), Err(Forged::Unreadable));
        assert_eq!(verify(&[(SIGNATURE, "0".repeat(64).as_bytes())]), Err(Forged::Mismatch));
        let foreign = hex(&sign(Algorithm::HmacSha256, "another", &body));
        assert_eq!(verify(&[(SIGNATURE, foreign.as_bytes())]), Err(Forged::Mismatch));
    }

    #[test]
    fn without_a_secret_nothing_is_believed() {
        let mut settings = settings();
        settings.signature.secrets = vec![Secret::new("")];
        let signed_with_nothing = hex(&sign(Algorithm::HmacSha256, "", b"x"));
        assert_eq!(check(&settings, &signed_with_nothing, b"x"), Err(Forged::NoSecret));
    }

    #[test]
    fn a_template_signs_headers_with_the_body() {
        let mut settings = settings();
        settings.signature.signed_content = "{header:X-Time}.{body}".parse().unwrap();
        let good = hex(&sign(Algorithm::HmacSha256, "old", b"17.body"));
        let headers = |times: &[&'static str]| {
            let mut all = vec![(SIGNATURE, good.as_bytes())];
            all.extend(times.iter().map(|time| ("x-time", time.as_bytes())));
            verify(&settings, &all, b"body")
        };
        assert_eq!(headers(&["17"]), Ok(()));
        assert_eq!(headers(&["18"]), Err(Forged::Mismatch));
        assert_eq!(headers(&[]), Err(Forged::SignedHeader));
        assert_eq!(headers(&["17", "17"]), Err(Forged::SignedHeader));
    }

    #[test]
    fn every_sample_reads_as_its_name_says() {
        use CallbackStatus::{Other, Refused, Signed};
        for (name, status) in [
            ("callback-signed", Signed),
            ("callback-signed-minimal", Signed),
            ("callback-signed-pretty", Signed),
            ("callback-signed-extra-fields", Signed),
            ("callback-signed-unicode-escapes", Signed),
            ("callback-rejected", Refused),
            ("callback-declined", Refused),
            ("callback-rejected-null-url", Refused),
            ("callback-pending", Other("pending".into())),
            ("callback-intermediate-in-approval", Other("in_approval".into())),
            ("callback-intermediate-partially-signed", Other("partially_signed".into())),
        ] {
            let callback = parse(&settings(), &sample(name)).unwrap();
            assert_eq!(callback.status, status, "{name}");
            assert!(callback.document_id.starts_with("ed-doc-uuid-"));
        }
        let minimal = parse(&settings(), &sample("callback-signed-minimal")).unwrap();
        assert_eq!((minimal.external_id, minimal.timestamp), (None, None));
        let escaped = parse(&settings(), &sample("callback-signed-unicode-escapes")).unwrap();
        let plain = parse(&settings(), &sample("callback-signed")).unwrap();
        assert_eq!(escaped.file_url, plain.file_url);
    }

    #[test]
    fn names_are_matched_exactly() {
        for status in ["Signed", "unsigned", "partially_signed", "signed ", "SIGNED", "reject"] {
            let body =
                format!(r#"{{"event":"document.status_changed","document_id":"d","status":"{status}"}}"#);
            let callback = parse(&settings(), body.as_bytes()).unwrap();
            assert_eq!(callback.status, CallbackStatus::Other(status.into()));
        }
        let body = r#"{"event":"document.deleted","document_id":"d","status":"signed"}"#;
        let callback = parse(&settings(), body.as_bytes()).unwrap();
        assert_eq!(callback.status, CallbackStatus::Other("signed".into()));
        assert_eq!(callback.event, "document.deleted");
    }

    #[test]
    fn what_cannot_be_used_says_which_member() {
        for (body, pointer) in [
            (r#"{"document_id":"d","status":"signed"}"#, "/event"),
            (r#"{"event":"e","status":"signed"}"#, "/document_id"),
            (r#"{"event":"e","document_id":"d"}"#, "/status"),
            (r#"{"event":"e","document_id":"d","status":""}"#, "/status"),
            (r#"{"event":"e","document_id":"../x","status":"s"}"#, "/document_id"),
            (r#"{"event":"e","document_id":"..","status":"s"}"#, "/document_id"),
            (r#"{"event":"e","document_id":{"a":1},"status":"s"}"#, "/document_id"),
            (r#"{"event":"e","document_id":"d","status":"s","signed_file_url":[]}"#, "/signed_file_url"),
            ("[]", "/event"),
            ("5", "/event"),
        ] {
            let expected = Unreadable::Member { pointer: pointer.into() };
            assert_eq!(parse(&settings(), body.as_bytes()), Err(expected), "{body}");
        }
        for body in ["", "{", "not json", r#"{"event":"a","event":"b"}"#, "{}{}"] {
            assert!(matches!(parse(&settings(), body.as_bytes()), Err(Unreadable::Json(_))), "{body}");
        }
        let long = vec![b' '; 64 * 1024 + 1];
        assert_eq!(parse(&settings(), &long), Err(Unreadable::TooLong { max: 65_536 }));
    }

    #[test]
    fn ids_are_safe_in_a_path() {
        for good in ["ed-doc-uuid-1234", "a", "A.b_c~d", &"x".repeat(128)] {
            assert!(is_document_id(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a%2f", "д", &"x".repeat(129)] {
            assert!(!is_document_id(bad), "{bad}");
        }
    }
}
