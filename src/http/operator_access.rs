//! Who is the operator: the holder of one token, and for the read-only page also whoever sits at this machine.
//!
//! The page is open to a browser on the machine itself, because the listener is on loopback and the token would only
//! be copied about. "On the machine" means: the connection comes from loopback, the browser asked for a loopback name
//! (so that a stranger's web site cannot reach us by pointing its own name at 127.0.0.1), and no proxy stands between.

use crate::domain::Secret;
use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, HOST, HeaderName};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;
use subtle::ConstantTimeEq as _;

/// Headers that say that a proxy passed the request on.
const FORWARDED: [HeaderName; 3] = [
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
];

/// Checks the operator's token.
pub struct OperatorAccess {
    /// Digests have one length, so not even the length of the token shows; none if there is no token.
    digest: Option<[u8; 32]>,
}

impl OperatorAccess {
    /// An empty token opens nothing.
    pub fn new(token: &Secret) -> Self {
        let digest = (!token.is_empty()).then(|| Sha256::digest(token.expose().as_bytes()).into());
        Self { digest }
    }

    /// Whether the request carries the token as `Authorization: Bearer …`.
    pub fn has_bearer(&self, request: &HttpRequest) -> bool {
        credentials(request, "bearer").is_some_and(|token| self.matches(token.as_bytes()))
    }

    /// Whether the page may be shown: on the machine itself, or with the token as the password of a Basic login.
    pub fn may_see_page(&self, request: &HttpRequest) -> bool {
        is_on_this_machine(request) || self.has_bearer(request) || self.has_password(request)
    }

    fn has_password(&self, request: &HttpRequest) -> bool {
        let login = credentials(request, "basic").and_then(|login| BASE64_STANDARD.decode(login).ok());
        let Some(login) = login else { return false };
        let Some(colon) = login.iter().position(|byte| *byte == b':') else { return false };
        self.matches(&login[colon + 1..])
    }

    fn matches(&self, given: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        self.digest.is_some_and(|own| own.ct_eq(&given).into())
    }
}

fn credentials<'r>(request: &'r HttpRequest, scheme: &str) -> Option<&'r str> {
    let (given, rest) = request.headers().get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

fn is_on_this_machine(request: &HttpRequest) -> bool {
    request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback())
        && asked_host(request).is_some_and(is_loopback_name)
        && FORWARDED.iter().all(|name| !request.headers().contains_key(name))
}

/// The `Host` header itself: `ConnectionInfo` would believe `X-Forwarded-Host`, which a page's script can set.
fn asked_host(request: &HttpRequest) -> Option<&str> {
    let mut hosts = request.headers().get_all(HOST);
    match (hosts.next(), hosts.next()) {
        (Some(only), None) => only.to_str().ok(),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn request(peer: &str, headers: &[(&str, &str)]) -> HttpRequest {
        let mut request = TestRequest::get().peer_addr(peer.parse().unwrap());
        for (name, value) in headers {
            request = request.append_header((*name, *value));
        }
        request.to_http_request()
    }

    #[test]
    fn only_the_whole_token_opens() {
        let access = OperatorAccess::new(&Secret::new("s3cret"));
        let with = |value: &str| access.has_bearer(&request("127.0.0.1:9", &[("Authorization", value)]));
        assert!(with("Bearer s3cret") && with("bearer  s3cret"));
        for bad in ["Bearer s3cre", "Bearer s3crets", "Bearer ", "Basic s3cret", "s3cret", "Bearer"] {
            assert!(!with(bad), "{bad}");
        }
        assert!(!access.has_bearer(&request("127.0.0.1:9", &[])));
    }

    #[test]
    fn without_a_token_nobody_is_the_operator() {
        let access = OperatorAccess::new(&Secret::new(""));
        assert!(!access.has_bearer(&request("127.0.0.1:9", &[("Authorization", "Bearer ")])));
    }

    #[test]
    fn the_page_is_for_this_machine_and_for_whoever_knows_the_password() {
        let access = OperatorAccess::new(&Secret::new("s3cret"));
        let sees = |peer: &str, headers: &[(&str, &str)]| access.may_see_page(&request(peer, headers));
        assert!(sees("127.0.0.1:9", &[("Host", "localhost:9090")]));
        assert!(sees("[::1]:9", &[("Host", "[::1]:9090")]));
        assert!(!sees("127.0.0.1:9", &[("Host", "evil.example:9090")]), "a name that points at loopback");
        assert!(!sees("127.0.0.1:9", &[("Host", "evil.example"), ("X-Forwarded-Host", "localhost")]));
        assert!(!sees("127.0.0.1:9", &[]) && !sees("127.0.0.1:9", &[("Host", "127.0.0.1.evil.example")]));
        assert!(!sees("192.0.2.1:9", &[("Host", "localhost")]), "a stranger");
        assert!(!sees("127.0.0.1:9", &[("Host", "localhost"), ("X-Forwarded-For", "192.0.2.1")]), "a proxy");
        let login = format!("Basic {}", BASE64_STANDARD.encode("me:s3cret"));
        assert!(sees("192.0.2.1:9", &[("Host", "edo.example"), ("Authorization", &login)]));
        let wrong = format!("Basic {}", BASE64_STANDARD.encode("s3cret:"));
        assert!(!sees("192.0.2.1:9", &[("Host", "edo.example"), ("Authorization", &wrong)]));
    }
}
