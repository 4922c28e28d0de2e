//! The HTML of the page. Names, numbers and counterparties are strangers' texts: all of it goes through `Html`.

use super::super::document_view::rfc3339;
use super::super::pages::Html;
use super::{SigningSettings, status_of, words};
use crate::domain::signing::{Encapsulation, SigningRefusal, SigningTask, TaskState};
use crate::domain::{Language, SignerLanguage, SignerText, Timestamp};
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, VARY};

/// Scripts and style are our own files, connections go to us and to the signing agent, and nothing else happens.
fn policy(settings: &SigningSettings) -> String {
    let agent = settings.agent_url.origin().ascii_serialization();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' {agent}; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    )
}

/// A page under construction.
struct Page<'s> {
    html: Html,
    settings: &'s SigningSettings,
    language: SignerLanguage,
    token: &'s str,
}

impl<'s> Page<'s> {
    fn new(settings: &'s SigningSettings, language: SignerLanguage, token: &'s str) -> Self {
        let html = Html {
            out: String::with_capacity(8 * 1024),
            language: Language::Ru,
            zone: jiff::tz::TimeZone::UTC,
        };
        Self { html, settings, language, token }
    }

    fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.html.markup(markup);
        self
    }
    fn text(&mut self, text: &str) -> &mut Self {
        self.html.text(text);
        self
    }
    fn words(&mut self, words: &SignerText) -> &mut Self {
        let language = self.language;
        self.text(words.get(language))
    }

    fn begin(&mut self, title: &SignerText) {
        let code = self.language.code();
        self.markup("<!doctype html>\n<html lang=\"").text(code);
        self.markup("\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")
            .markup("<meta name=\"robots\" content=\"noindex\"><title>")
            .words(title)
            .markup("</title><link rel=\"stylesheet\" href=\"assets/page.css\">")
            .markup("<script type=\"module\" src=\"assets/page.js\"></script></head><body><header><h1>")
            .words(title)
            .markup("</h1>");
        self.languages();
        self.markup("</header>");
    }

    fn languages(&mut self) {
        let settings = self.settings;
        if settings.languages.len() < 2 {
            return;
        }
        self.markup("<nav aria-label=\"").words(&words::LANGUAGES).markup("\"><ul>");
        for language in &settings.languages {
            self.markup("<li><a lang=\"")
                .text(language.code())
                .markup("\" hreflang=\"")
                .text(language.code());
            self.markup("\" href=\"?lang=").text(language.code()).markup("\"");
            if *language == self.language {
                self.markup(" aria-current=\"true\"");
            }
            self.markup(">").text(language.own_name()).markup("</a></li>");
        }
        self.markup("</ul></nav>");
    }

    fn status(&mut self) {
        self.markup("<div id=\"status\" role=\"status\" aria-live=\"polite\" tabindex=\"-1\" hidden>")
            .markup("<p class=\"text\"></p><p class=\"detail\" hidden></p></div>");
    }

    /// Offered at once by a page whose link is over, and by the script when the link ends while the page is open.
    fn renew_box(&mut self, hidden: &'static str) {
        self.markup("<section id=\"renew-box\" class=\"plain\"").markup(hidden).markup("><p>");
        self.words(&words::RENEW_OFFER)
            .markup("</p><p><button id=\"renew\" type=\"button\">")
            .words(&words::RENEW)
            .markup("</button></p></section>");
    }

    fn lead(&mut self, signer: &str) {
        self.markup("<p class=\"lead\">");
        if !signer.is_empty() {
            self.words(&words::SIGNER).markup("<strong>").text(signer).markup("</strong>");
        }
        self.markup("</p>");
    }

    fn task(&mut self, task: &SigningTask, is_only: bool) {
        let id = task.unit.document.to_string();
        let (is_signed, state) = match task.state {
            TaskState::Open => (false, "open"),
            TaskState::Signed { .. } => (true, "signed"),
        };
        let encapsulate = match task.encapsulate {
            Encapsulation::Attached => "attached",
            Encapsulation::Detached => "detached",
        };
        self.markup("<article class=\"doc\" data-document=\"").text(&id);
        self.markup("\" data-unit=\"").text(&task.unit.number.to_string());
        self.markup("\" data-digest=\"").text(&task.unit.content.digest.to_hex());
        self.markup("\" data-encapsulate=\"")
            .text(encapsulate)
            .markup("\" data-state=\"")
            .text(state)
            .markup("\">");
        self.heading(task, is_only, is_signed);
        self.facts(task);
        if !is_signed {
            self.markup("<a class=\"view\" download href=\"");
            let token = self.token;
            self.text(token).markup("/content/").text(&id).markup("\">").words(&words::VIEW).markup("</a>");
        }
        self.markup("<p class=\"outcome");
        if is_signed {
            self.markup(" ok\" role=\"status\">").words(&words::SIGNED);
        } else {
            self.markup("\" role=\"status\">");
        }
        self.markup("</p></article>");
    }

    fn heading(&mut self, task: &SigningTask, is_only: bool, is_signed: bool) {
        if is_only {
            self.markup("<h2>").text(&task.name).markup("</h2>");
            return;
        }
        self.markup("<label><input type=\"checkbox\"");
        self.markup(if is_signed { " disabled" } else { " checked" });
        self.markup("><h2>").text(&task.name).markup("</h2></label>");
    }

    fn facts(&mut self, task: &SigningTask) {
        self.markup("<dl>");
        self.fact(&words::NUMBER, &task.document_number);
        self.fact(&words::COUNTERPARTY, &task.counterparty);
        let size = size_text(task.unit.content.size_bytes, self.language);
        self.fact(&words::SIZE, &size);
        self.markup("<dt>").words(&words::DIGEST).markup("</dt><dd class=\"digest\">");
        self.text(&task.unit.content.digest.to_hex())
            .markup("</dd><dt>")
            .words(&words::UNTIL)
            .markup("</dt><dd>");
        self.moment(task.unit.expires_at);
        self.markup("</dd></dl>");
    }

    fn fact(&mut self, name: &SignerText, value: &str) {
        if !value.is_empty() {
            self.markup("<dt>").words(name).markup("</dt><dd>").text(value).markup("</dd>");
        }
    }

    /// In UTC; the script writes it anew as the reader's own clock shows it.
    fn moment(&mut self, at: Timestamp) {
        let shown = jiff::Timestamp::from_millisecond(at.0)
            .map_or_else(|_| String::new(), |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string());
        self.markup("<time datetime=\"").text(&rfc3339(at)).markup("\">").text(&shown).markup("</time>");
    }

    fn help(&mut self) {
        self.markup("<details><summary>").words(&words::HELP).markup("</summary><ol>");
        for step in [&words::HELP_START, &words::HELP_PRESS, &words::HELP_CHOOSE] {
            self.markup("<li>").words(step).markup("</li>");
        }
        self.markup("</ol></details>");
    }

    fn answer(mut self, status: StatusCode) -> HttpResponse {
        self.markup("<footer><p>").words(&words::FOOTER).markup("</p></footer></body></html>\n");
        HttpResponse::build(status)
            .content_type("text/html; charset=utf-8")
            .insert_header((CONTENT_LANGUAGE, self.language.code()))
            .insert_header((VARY, "Accept-Language"))
            .insert_header((CONTENT_SECURITY_POLICY, policy(self.settings)))
            .body(self.html.out)
    }
}

/// The page of a link that opens `tasks`; there is at least one.
pub(super) fn tasks(
    settings: &SigningSettings,
    language: SignerLanguage,
    token: &str,
    tasks: &[SigningTask],
) -> HttpResponse {
    let mut page = Page::new(settings, language, token);
    page.begin(if tasks.len() == 1 { &words::TITLE } else { &words::TITLE_MANY });
    let first = tasks.first();
    let identity = first.map(|task| task.signer.clone()).unwrap_or_default();
    page.markup("<main data-agent=\"").text(settings.agent_url.as_str());
    page.markup("\" data-iin=\"").text(identity.iin.as_deref().unwrap_or_default());
    page.markup("\" data-bin=\"").text(identity.bin.as_deref().unwrap_or_default()).markup("\">");
    page.lead(first.map(|task| task.signer_name.as_str()).unwrap_or_default());
    for task in tasks {
        page.task(task, tasks.len() == 1);
    }
    if tasks.iter().any(|task| task.state == TaskState::Open) {
        page.markup("<noscript><p class=\"plain\">").words(&words::NO_SCRIPT).markup("</p></noscript>");
        page.markup("<button id=\"sign\" type=\"button\" disabled>").words(&words::SIGN).markup("</button>");
        page.status();
        page.renew_box(" hidden");
        page.help();
    } else {
        page.markup("<p class=\"plain\">").words(&words::ALL_SIGNED).markup("</p>");
    }
    page.markup("</main>");
    page.answer(StatusCode::OK)
}

/// The page of a link that opens nothing. It tells why, and nothing of any document.
pub(super) fn refused(
    settings: &SigningSettings,
    language: SignerLanguage,
    token: &str,
    refusal: SigningRefusal,
) -> HttpResponse {
    let mut page = Page::new(settings, language, token);
    page.begin(&words::TITLE_REFUSED);
    page.markup("<main data-refusal=\"")
        .text(words::refusal_code(refusal))
        .markup("\"><section class=\"plain\"><p>");
    page.words(&words::refusal(refusal)).markup("</p></section>");
    if refusal == SigningRefusal::Expired {
        page.renew_box("");
        page.status();
    }
    page.markup("</main>");
    page.answer(status_of(refusal))
}

/// A size as people say it, with the exact one behind it.
fn size_text(bytes: u64, language: SignerLanguage) -> String {
    let unit = words::BYTES.get(language).to_owned();
    let tenths = |unit_bytes: u64| {
        let tenths = bytes.saturating_mul(10) / unit_bytes;
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    match bytes {
        0..=9_999 => format!("{bytes} {unit}"),
        10_000..=999_999 => format!("{} KB ({bytes} {unit})", tenths(1_000)),
        1_000_000.. => format!("{} MB ({bytes} {unit})", tenths(1_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_roughly_and_exactly() {
        assert_eq!(size_text(812, SignerLanguage::En), "812 bytes");
        assert_eq!(size_text(24_650, SignerLanguage::Ru), "24.6 KB (24650 байт)");
        assert_eq!(size_text(14_999_999, SignerLanguage::Kk), "14.9 MB (14999999 байт)");
    }
}
