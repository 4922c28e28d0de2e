//! Rules that concern more than one key, or the meaning of a value. Each is a sentence with its remedy.
//!
//! Pure: it sees only typed values. Rules about a secret's value apply only where it could be read.

mod apps;
mod easydocs;
mod idocs;
mod portals;
mod rules;
mod server;
mod signing_page;

use super::{Config, Period, Severity, Size};
use crate::domain::Text;
use std::ops::RangeInclusive;
use url::{Host, Url};

/// One broken rule, before its place is looked up.
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) key: String,
    pub(super) text: Text,
}

/// Checks everything.
pub(super) fn validate(config: &Config) -> Vec<Finding> {
    let mut report = Report::default();
    server::check(config, &mut report);
    apps::check(config, &mut report);
    portals::check(config, &mut report);
    easydocs::check(config, &mut report);
    idocs::check(config, &mut report);
    signing_page::check(config, &mut report);
    rules::check(config, &mut report);
    report.findings
}

/// Collects what is found.
#[derive(Default)]
struct Report {
    findings: Vec<Finding>,
}

impl Report {
    fn error(&mut self, key: impl Into<String>, ru: impl Into<String>, en: impl Into<String>) {
        self.add(Severity::Error, key, Text::new(ru, en));
    }
    fn warning(&mut self, key: impl Into<String>, ru: impl Into<String>, en: impl Into<String>) {
        self.add(Severity::Warning, key, Text::new(ru, en));
    }
    fn skipped(&mut self, key: impl Into<String>, ru: impl Into<String>, en: impl Into<String>) {
        self.add(Severity::Skipped, key, Text::new(ru, en));
    }
    fn add(&mut self, severity: Severity, key: impl Into<String>, text: Text) {
        self.findings.push(Finding { severity, key: key.into(), text });
    }

    /// A period within bounds.
    fn period(&mut self, key: impl Into<String>, value: Period, bounds: RangeInclusive<Period>) {
        if !bounds.contains(&value) {
            let (from, to) = bounds.into_inner();
            self.out_of_bounds(key, &value, &from, &to);
        }
    }
    /// A size within bounds.
    fn size(&mut self, key: impl Into<String>, value: Size, bounds: RangeInclusive<Size>) {
        if !bounds.contains(&value) {
            let (from, to) = bounds.into_inner();
            self.out_of_bounds(key, &value, &from, &to);
        }
    }
    /// A number within bounds.
    fn number(&mut self, key: impl Into<String>, value: u64, bounds: RangeInclusive<u64>) {
        if !bounds.contains(&value) {
            let (from, to) = bounds.into_inner();
            self.out_of_bounds(key, &value, &from, &to);
        }
    }
    fn out_of_bounds<T: std::fmt::Display>(&mut self, key: impl Into<String>, value: &T, from: &T, to: &T) {
        self.error(
            key,
            format!("{value} вне допустимого: укажите от {from} до {to}"),
            format!("{value} is out of bounds: give something from {from} to {to}"),
        );
    }

    /// A schedule: between 1 and 50 pauses, each within bounds.
    fn schedule(&mut self, key: &str, pauses: &[Period], bounds: &RangeInclusive<Period>) {
        if pauses.is_empty() || pauses.len() > SCHEDULE_LEN_MAX {
            self.error(
                key,
                format!("в списке должно быть от 1 до {SCHEDULE_LEN_MAX} промежутков"),
                format!("the list must have 1 to {SCHEDULE_LEN_MAX} lengths of time"),
            );
        }
        for (index, pause) in pauses.iter().take(SCHEDULE_LEN_MAX).enumerate() {
            self.period(format!("{key}[{index}]"), *pause, bounds.clone());
        }
    }

    /// An address of a service: https, or http to loopback where that was asked for; no user, query or fragment.
    fn service_url(&mut self, key: &str, url: &Url, http: PlainHttp) {
        if let Some((ru, en)) = scheme_complaint(url, http) {
            self.error(key, ru, en);
        }
        if !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
        {
            self.error(
                key,
                "в адресе не должно быть имени пользователя, пароля, `?` и `#`: оставьте https://хост/путь",
                "the address must have no user name, password, `?` or `#`: leave https://host/path",
            );
        }
    }

    /// An origin: scheme, host and port, nothing more.
    fn origin(&mut self, key: &str, url: &Url, http: PlainHttp) {
        self.service_url(key, url, http);
        if url.path() != "/" {
            self.error(
                key,
                "здесь нужен только источник: https://хост, без пути",
                "only an origin is wanted here: https://host, without a path",
            );
        }
    }

    /// The name of an HTTP header.
    fn header_name(&mut self, key: &str, name: &str) {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            self.error(
                key,
                "это не имя заголовка HTTP: допустимы латинские буквы, цифры и дефис",
                "this is no name of an HTTP header: use letters, digits and hyphens",
            );
        }
    }

    /// A path below a base address, with placeholders that must occur exactly once.
    fn path(&mut self, key: &str, path: &str, placeholder: Option<&str>) {
        if !path.starts_with('/') || path.starts_with("//") {
            self.error(
                key,
                "путь должен начинаться с одной косой черты, например /api/v1/documents",
                "the path must begin with one slash, such as /api/v1/documents",
            );
        }
        if let Some(placeholder) = placeholder
            && path.matches(placeholder).count() != 1
        {
            self.error(
                key,
                format!("в пути должно быть ровно одно {placeholder}"),
                format!("the path must have exactly one {placeholder}"),
            );
        }
    }

    /// A JSON pointer (RFC 6901).
    fn pointer(&mut self, key: &str, pointer: &str, empty: EmptyPointer) {
        if pointer.is_empty() {
            if empty == EmptyPointer::Refused {
                self.error(
                    key,
                    "этот указатель не может быть пустым: без него ответ не понять",
                    "this pointer cannot be empty: the answer means nothing without it",
                );
            }
        } else if !pointer.starts_with('/') {
            self.error(
                key,
                format!("указатель JSON начинается с косой черты: /{pointer}"),
                format!("a JSON pointer begins with a slash: /{pointer}"),
            );
        }
    }
}

/// Schedules are read by people; a longer one is a mistake.
const SCHEDULE_LEN_MAX: usize = 50;

/// Whether `http://` to loopback was asked for by a `dangerous_allow_http`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PlainHttp {
    Refused,
    AllowedToLoopback,
    /// To anywhere: by `dangerous_http_to_box`.
    AllowedToBox,
}

impl From<bool> for PlainHttp {
    /// From the value of a key `dangerous_allow_http`.
    fn from(dangerous_allow_http: bool) -> Self {
        if dangerous_allow_http { Self::AllowedToLoopback } else { Self::Refused }
    }
}

/// Whether an empty JSON pointer has a meaning.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EmptyPointer {
    Allowed,
    Refused,
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// What is wrong with the scheme, in Russian and English; the address itself is not quoted, it may be a secret.
fn scheme_complaint(url: &Url, http: PlainHttp) -> Option<(&'static str, &'static str)> {
    match (url.scheme(), http) {
        ("https", _) if url.host().is_some() => None,
        ("http", PlainHttp::AllowedToBox) if url.host().is_some() => None,
        ("http", PlainHttp::AllowedToLoopback) if is_loopback(url) => None,
        ("http", PlainHttp::AllowedToLoopback) => Some((
            "http:// допустим только к этой же машине (127.0.0.1, localhost): для остальных укажите https://",
            "http:// may only lead to this very machine (127.0.0.1, localhost): use https:// for others",
        )),
        ("http", PlainHttp::Refused) => Some((
            "адрес должен начинаться с https:// (для песочницы на этой машине есть dangerous_allow_http)",
            "the address must begin with https:// (for a sandbox on this machine there is dangerous_allow_http)",
        )),
        (_, PlainHttp::Refused | PlainHttp::AllowedToLoopback | PlainHttp::AllowedToBox) => Some((
            "адрес должен иметь вид https://хост/путь",
            "the address must have the form https://host/path",
        )),
    }
}

/// Names that are keys of the store and labels of metrics: short, plain.
fn is_plain_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// They stand in every record of the store.
const NAME_BYTES_MAX: usize = 64;
