//! The rules for addresses that come from outside: exact origins, https, no user in the address.
//!
//! Does not resolve names and sends nothing. The text is parsed by the same parser that the HTTP client uses, so
//! what was judged is what would be called.

use std::fmt;
use url::{Host, Url};

/// The longest address that is looked at, in bytes: Bitrix24 tokens in links stay below 1,500.
pub const URL_BYTES_MAX: usize = 4_096;

/// Scheme, host and port of an address: what "the same place" means here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

/// Why an address is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefused {
    /// It is not an absolute http(s) address with a host, is too long, or contains blanks or control characters.
    #[error("not a usable address")]
    Unreadable,
    /// It carries a user or a password.
    #[error("an address with a user in it")]
    Userinfo,
    /// It is http and not on this machine.
    #[error("plain http to `{host}`")]
    PlainHttp {
        /// The host that was named.
        host: String,
    },
    /// Its scheme, host or port is not among the allowed ones.
    #[error("the origin `{origin}` is not allowed")]
    ForeignOrigin {
        /// The origin that was named.
        origin: Origin,
    },
    /// Its path does not name the document that it was given for.
    #[error("the path does not name the document")]
    ForeignPath,
}

impl Origin {
    /// Reads an origin from an address; its path is ignored.
    ///
    /// # Errors
    /// As [`checked`].
    pub fn parse(text: &str) -> Result<Self, UrlRefused> {
        checked(text).map(|url| Self::of(&url)).and_then(|origin| origin.ok_or(UrlRefused::Unreadable))
    }

    /// As [`Origin::parse`], and http to anywhere: only for an address of the configuration whose danger was accepted.
    ///
    /// # Errors
    /// As [`checked`], but for plain http.
    pub fn parse_unencrypted(text: &str) -> Result<Self, UrlRefused> {
        readable(text).map(|url| Self::of(&url)).and_then(|origin| origin.ok_or(UrlRefused::Unreadable))
    }

    /// The origin of a parsed address; none for schemes without a host.
    pub fn of(url: &Url) -> Option<Self> {
        Some(Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str()?.to_owned(),
            port: url.port_or_known_default()?,
        })
    }

    /// Whether the other side proves by TLS who it is.
    pub fn is_https(&self) -> bool {
        self.scheme == "https"
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = matches!((self.scheme.as_str(), self.port), ("https", 443) | ("http", 80));
        if usual {
            write!(f, "{}://{}", self.scheme, self.host)
        } else {
            write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
        }
    }
}

/// The places that a file may be fetched from and a token may be sent to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowedOrigins(Vec<Origin>);

impl AllowedOrigins {
    /// Exactly these.
    pub fn new(origins: impl IntoIterator<Item = Origin>) -> Self {
        Self(origins.into_iter().collect())
    }

    /// Judges an address from outside.
    ///
    /// # Errors
    /// [`UrlRefused`] says why it is not used.
    pub fn check(&self, text: &str) -> Result<Url, UrlRefused> {
        let url = readable(text)?;
        let origin = Origin::of(&url).ok_or(UrlRefused::Unreadable)?;
        if self.0.contains(&origin) {
            // plain http as well: such an origin is in the list only where the operator has accepted its danger
            return Ok(url);
        }
        encrypted(url)?;
        Err(UrlRefused::ForeignOrigin { origin })
    }
}

/// Parses an absolute address: https, or http on loopback; no user, no blanks, bounded length.
///
/// # Errors
/// [`UrlRefused`], never `ForeignOrigin` or `ForeignPath`.
pub fn checked(text: &str) -> Result<Url, UrlRefused> {
    readable(text).and_then(encrypted)
}

/// [`checked`], and http to anywhere.
fn readable(text: &str) -> Result<Url, UrlRefused> {
    // The parser drops tabs and line ends silently and takes `\` for `/`: a person and a machine would then read
    // two different hosts.
    let odd = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
    if text.len() > URL_BYTES_MAX || text.contains(odd) {
        return Err(UrlRefused::Unreadable);
    }
    let url = Url::parse(text).map_err(|_| UrlRefused::Unreadable)?;
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none_or(str::is_empty) {
        return Err(UrlRefused::Unreadable);
    }
    if !url.username().is_empty() || url.password().is_some() || authority_has_at(text) {
        return Err(UrlRefused::Userinfo);
    }
    Ok(url)
}

fn encrypted(url: Url) -> Result<Url, UrlRefused> {
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(UrlRefused::PlainHttp { host: url.host_str().unwrap_or_default().to_owned() });
    }
    Ok(url)
}

/// Whether the address is on this machine: the sandbox.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Writes a value as one segment of a path or one value of a query: all but unreserved characters are escaped.
pub fn encode_segment(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// An empty user (`https://@host/`) leaves no trace after parsing, so the text itself is looked at.
fn authority_has_at(text: &str) -> bool {
    text.split_once("//")
        .map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default())
        .is_some_and(|authority| authority.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> AllowedOrigins {
        AllowedOrigins::new([Origin::parse("https://internal-api.easydocs.ru/").unwrap()])
    }

    #[test]
    fn only_the_exact_origin_is_allowed() {
        for good in [
            "https://internal-api.easydocs.ru/documents/1/download",
            "https://INTERNAL-API.easydocs.ru:443/x",
        ] {
            assert!(allowed().check(good).is_ok(), "{good}");
        }
        for bad in [
            "https://internal-api.easydocs.ru.evil.example/x",
            "https://evil.example/internal-api.easydocs.ru",
            "https://internal-api.easydocs.ru:8443/x",
            "https://api.easydocs.ru/x",
            "https://127.0.0.1/x",
            "http://127.0.0.1:80/x",
            "https://[::1]/x",
        ] {
            assert!(matches!(allowed().check(bad), Err(UrlRefused::ForeignOrigin { .. })), "{bad}");
        }
    }

    #[test]
    fn tricks_with_the_text_of_an_address_are_refused() {
        for bad in [
            "",
            "documents/1",
            "//internal-api.easydocs.ru/x",
            "file:///etc/passwd",
            "data:,x",
            "ftp://internal-api.easydocs.ru/",
            "https://",
            "https://internal-api.easydocs.ru\\@evil.example/",
            " https://internal-api.easydocs.ru/",
            "https://internal-api.\teasydocs.ru/",
        ] {
            assert_eq!(allowed().check(bad), Err(UrlRefused::Unreadable), "{bad}");
        }
        for bad in [
            "https://user@internal-api.easydocs.ru/",
            "https://user:pw@internal-api.easydocs.ru/",
            "https://@internal-api.easydocs.ru/",
            "https://internal-api.easydocs.ru@evil.example/",
        ] {
            assert_eq!(allowed().check(bad), Err(UrlRefused::Userinfo), "{bad}");
        }
        let plain = allowed().check("http://internal-api.easydocs.ru/");
        assert!(matches!(plain, Err(UrlRefused::PlainHttp { .. })));
    }

    #[test]
    fn http_is_for_this_machine_only() {
        for text in ["http://127.0.0.1:8080/", "http://localhost/", "http://[::1]:1/", "http://127.8.0.1/"] {
            assert!(checked(text).is_ok(), "{text}");
        }
        assert!(checked("http://127.0.0.1.example/").is_err());
    }

    #[test]
    fn a_box_whose_plain_http_was_accepted_is_one_origin_and_no_more() {
        let origin = Origin::parse_unencrypted("http://box.corp.local/rest/1/x/").unwrap();
        assert!(Origin::parse("http://box.corp.local/").is_err());
        let allowed = AllowedOrigins::new([origin]);
        assert!(allowed.check("http://box.corp.local/disk/download/?x=1").is_ok());
        assert!(matches!(allowed.check("http://other.corp.local/"), Err(UrlRefused::PlainHttp { .. })));
        assert!(matches!(allowed.check("https://box.corp.local/"), Err(UrlRefused::ForeignOrigin { .. })));
        assert_eq!(allowed.check("http://user@box.corp.local/"), Err(UrlRefused::Userinfo));
        assert_eq!(Origin::parse_unencrypted("ftp://box.corp.local/"), Err(UrlRefused::Unreadable));
    }

    #[test]
    fn an_id_stays_one_segment() {
        assert_eq!(encode_segment("a/../b?c#d%"), "a%2F..%2Fb%3Fc%23d%25");
        assert_eq!(encode_segment("ed-doc_1.~"), "ed-doc_1.~");
    }
}
