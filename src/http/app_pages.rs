//! The pages that a portal shows in a frame: installation, the list of its documents, and why something did not work.
//!
//! Each may be framed by the one portal that was verified (`frame-ancestors`), loads nothing but the portal's own
//! library (`BX24`, `settings/app-installation`) where it needs it, and runs only the scripts whose digests stand in
//! its policy. Everything shown goes through `Html`.

use super::document_view::display_name;
use super::pages::{Html, duration, language_code};
use crate::domain::{InstallationStatus, Language, Text, Timestamp};
use crate::providers::url_rules::Origin;
use crate::saga::document::{DocumentSaga, words};
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

/// The portal's library for pages in frames, from the vendor's host.
const LIBRARY_ORIGIN: &str = "https://api.bitrix24.com";
/// Ends the installation: only after this are events delivered and widgets shown.
const FINISH: &str = "BX24.init(function(){BX24.installFinish();});";
const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem;color:#1c2733;background:#fff}\
h1{font-size:1.3rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #dde3ea;vertical-align:top}\
th{font-weight:600;color:#51606f}.ok{color:#146c2e}.bad{color:#a4161a}.dim{color:#51606f}";

/// Who may frame a page.
pub enum Framer<'f> {
    /// A verified portal.
    Portal(&'f Origin),
    /// The host that the browser's portal gave, for a page that says only why something did not work.
    Claimed(&'f str),
    /// Nobody: the page stands alone.
    Nobody,
}

impl Framer<'_> {
    fn source(&self) -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':');
        match self {
            Self::Portal(origin) => origin.to_string(),
            Self::Claimed(host) if !host.is_empty() && host.len() <= 255 && host.bytes().all(plain) => {
                format!("https://{host}")
            }
            Self::Claimed(_) | Self::Nobody => "'none'".to_owned(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    None,
    Finish,
}

fn digest(text: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text.as_bytes())))
}

fn policy(framer: &Framer<'_>, script: Script) -> String {
    let scripts = match script {
        Script::None => String::new(),
        Script::Finish => format!("script-src {LIBRARY_ORIGIN} {}; ", digest(FINISH)),
    };
    format!(
        "default-src 'none'; {scripts}style-src {}; frame-ancestors {}; base-uri 'none'; form-action 'none'",
        digest(STYLE),
        framer.source()
    )
}

fn page(language: Language, title: &Text) -> Html {
    let mut html = Html { out: String::with_capacity(4 * 1024), language, zone: jiff::tz::TimeZone::UTC };
    html.markup("<!doctype html><html lang=\"")
        .markup(language_code(language))
        .markup("\"><head><meta charset=\"utf-8\"><title>edobridge</title><style>")
        .markup(STYLE)
        .markup("</style></head><body><h1>")
        .both(title)
        .markup("</h1>");
    html
}

fn answer(status: StatusCode, mut html: Html, framer: &Framer<'_>, script: Script) -> HttpResponse {
    let language = language_code(html.language);
    if script == Script::Finish {
        html.markup("<script src=\"https://api.bitrix24.com/api/v1/\"></script><script>")
            .markup(FINISH)
            .markup("</script>");
    }
    html.markup("</body></html>");
    HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_LANGUAGE, language))
        .insert_header((CONTENT_SECURITY_POLICY, policy(framer, script)))
        .body(html.out)
}

/// The language that the portal names; Russian if it is none of ours.
pub fn language_of(name: &str) -> Language {
    match name {
        "en" => Language::En,
        _ => Language::Ru,
    }
}

/// The installation has worked; the page ends it.
pub fn installed(language: Language, portal: &Origin) -> HttpResponse {
    let title = Text::new("Приложение edobridge установлено", "The edobridge application is installed");
    let mut html = page(language, &title);
    html.markup("<p class=\"ok\">").words(
        "Портал подключён. События, роботы и кнопки регистрируются сами; страницу можно закрыть.",
        "The portal is connected. Events, robots and buttons register themselves; this page may be closed.",
    );
    html.markup("</p>");
    answer(StatusCode::OK, html, &Framer::Portal(portal), Script::Finish)
}

/// The authorisation outside of a frame has worked.
pub fn authorised(language: Language) -> HttpResponse {
    let title = Text::new("Доступ к порталу получен", "Access to the portal is granted");
    let mut html = page(language, &title);
    html.markup("<p class=\"ok\">")
        .words("Окно можно закрыть; работа продолжится сама.", "Close this window; work goes on by itself.")
        .markup("</p>");
    answer(StatusCode::OK, html, &Framer::Nobody, Script::None)
}

/// It did not work, and what to do.
pub fn failed(status: StatusCode, language: Language, reason: &Text, framer: &Framer<'_>) -> HttpResponse {
    let mut html = page(language, &Text::new("Не получилось", "This did not work"));
    html.markup("<p class=\"bad\">").both(reason).markup("</p>");
    answer(status, html, framer, Script::None)
}

/// The documents of one portal.
pub fn documents(
    language: Language,
    portal: &Origin,
    status: InstallationStatus,
    documents: &[DocumentSaga],
    now: Timestamp,
) -> HttpResponse {
    let mut html = page(language, &Text::new("Документы на подписании", "Documents being signed"));
    match status {
        InstallationStatus::Active => html
            .markup("<p class=\"ok\">")
            .words("Доступ к порталу работает.", "The access to the portal works."),
        InstallationStatus::NeedsAuthorisation | InstallationStatus::Uninstalled => {
            html.markup("<p class=\"bad\">").words(
                "Доступ к порталу утрачен: попросите администратора портала открыть эту страницу.",
                "The access to the portal is lost: ask an administrator of the portal to open this page.",
            )
        }
    };
    html.markup("</p>");
    if documents.is_empty() {
        html.markup("<p class=\"dim\">")
            .words("Документов пока нет.", "There are no documents yet.")
            .markup("</p>");
    } else {
        html.head_row(&[
            ("Документ", "Document"),
            ("Изменён", "Changed"),
            ("Что происходит", "What is going on"),
        ]);
        for saga in documents {
            html.markup("<tr><td>").text(&display_name(saga)).markup("</td><td>");
            html.text(&duration(now.ms_since(saga.updated_at), language)).words(" назад", " ago");
            html.markup("</td><td>").both(&words::why(saga, now)).markup("</td></tr>");
        }
        html.markup("</tbody></table>");
    }
    answer(StatusCode::OK, html, &Framer::Portal(portal), Script::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(answer: &HttpResponse) -> String {
        answer.headers().get(CONTENT_SECURITY_POLICY).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn a_page_is_framed_by_its_portal_only_and_runs_only_its_own_script() {
        let portal = Origin::parse("https://p.example/").unwrap();
        let policy = header(&installed(Language::Ru, &portal));
        assert!(policy.contains("frame-ancestors https://p.example;"), "{policy}");
        assert!(policy.contains(&digest(FINISH)) && !policy.contains("unsafe"), "{policy}");
        assert!(header(&authorised(Language::Ru)).contains("frame-ancestors 'none'"));
    }

    #[test]
    fn a_claimed_host_cannot_write_into_the_policy() {
        let text = Text::new("а", "a");
        let of =
            |host: &str| header(&failed(StatusCode::FORBIDDEN, Language::En, &text, &Framer::Claimed(host)));
        assert!(of("p.example:8443").contains("frame-ancestors https://p.example:8443;"));
        for evil in ["p.example; script-src *", "*", "p.example https://evil", ""] {
            assert!(of(evil).contains("frame-ancestors 'none'"), "{evil}");
        }
    }
}
