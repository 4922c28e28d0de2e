//! The operator's page: what is under way, what stands still and why. One page, no script, renewed by the browser.
//!
//! Everything on it comes from strangers in the end (file names, answers of remotes), so every text goes through
//! `Html`, and the page may load nothing but its own style (Content-Security-Policy with the style's digest).

use super::admin::Desk;
use super::budget_view::totals;
use super::document_view::display_name;
use super::error::{ApiError, Code};
use super::gap_view::{self, GapList};
use crate::actors::EngineHealth;
use crate::actors::portal_session::BudgetReport;
use crate::domain::{Language, Text, Timestamp};
use crate::saga::document::{DocumentSaga, Step, words};
use crate::store::{Counts, DocumentFilter, Store};
use actix_web::http::header::{
    ACCEPT_LANGUAGE, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, VARY, WWW_AUTHENTICATE,
};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, ResponseError as _};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

/// Seconds between two looks.
const REFRESH_S: u32 = 15;
/// Rows of each table.
const ROWS_MAX: usize = 20;
/// Hours that the requests of a portal are summed over.
const HOURS_SHOWN: u64 = 24;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1c2733;background:#fff}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #dde3ea;vertical-align:top}\
th{font-weight:600;color:#51606f}td.n{text-align:right;font-variant-numeric:tabular-nums}\
code{font-size:.85em;color:#51606f;word-break:break-all}.ok{color:#146c2e}.bad{color:#a4161a}.dim{color:#51606f}";

/// What the page shows.
pub struct Overview {
    health: EngineHealth,
    counts: Counts,
    stopped: Vec<DocumentSaga>,
    recent: Vec<DocumentSaga>,
    portals: Vec<BudgetReport>,
    gaps: GapList,
    now: Timestamp,
    zone: TimeZone,
}

/// `GET /`.
///
/// # Errors
/// `unauthorised` from another machine without the token as the password; `unavailable`.
pub async fn overview(request: HttpRequest, desk: Data<Desk>) -> Result<HttpResponse, ApiError> {
    if !desk.access().may_see_page(&request) {
        return Ok(password_wanted());
    }
    let engine = desk.engine();
    let overview = Overview {
        health: engine.health(),
        counts: engine.store().counts().await,
        stopped: newest(engine.store(), &[Step::Parked], ROWS_MAX).await?,
        recent: recent(engine.store()).await?,
        portals: engine.budgets(HOURS_SHOWN).await,
        gaps: gap_view::of_engine(engine),
        now: engine.clock().now(),
        zone: desk.zone().clone(),
    };
    let accepted = request.headers().get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let language = preferred_language(accepted.unwrap_or_default());
    Ok(HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_LANGUAGE, language_code(language)))
        .insert_header((VARY, "Accept-Language"))
        .insert_header((CONTENT_SECURITY_POLICY, policy()))
        .body(render(&overview, language)))
}

/// A browser asks its person for a password only when it hears of the Basic scheme.
fn password_wanted() -> HttpResponse {
    let mut answer = ApiError::new(Code::Unauthorised).error_response();
    let scheme = "Basic realm=\"edobridge: the operator token is the password\", charset=\"UTF-8\"";
    answer.headers_mut().insert(WWW_AUTHENTICATE, actix_web::http::header::HeaderValue::from_static(scheme));
    answer
}

async fn newest(store: &Store, steps: &[Step], limit: usize) -> Result<Vec<DocumentSaga>, ApiError> {
    let filter = DocumentFilter { steps: steps.to_vec(), ..DocumentFilter::default() };
    Ok(store.list(filter, None, limit).await?.items)
}

/// The documents that entered their step last, whatever the step; the list itself goes step by step.
async fn recent(store: &Store) -> Result<Vec<DocumentSaga>, ApiError> {
    let mut all = Vec::new();
    for step in Step::ALL {
        all.extend(newest(store, &[step], ROWS_MAX).await?);
    }
    all.sort_by_key(|saga| std::cmp::Reverse(saga.updated_at));
    all.truncate(ROWS_MAX);
    Ok(all)
}

fn policy() -> String {
    let digest = BASE64_STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
}

/// The first of our languages that the reader names, by weight; Russian if none.
fn preferred_language(accept: &str) -> Language {
    let mut best = (0_u32, Language::Ru);
    for part in accept.split(',').take(20) {
        let mut pieces = part.split(';').map(str::trim);
        let language = match pieces.next().unwrap_or_default().to_ascii_lowercase().split('-').next() {
            Some("ru") => Language::Ru,
            Some("en") => Language::En,
            _ => continue,
        };
        let weight = pieces.find_map(|piece| piece.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
        // thousandths, so that weights compare as whole numbers; a weight out of range becomes the nearest in it
        let weight = (weight.clamp(0.0, 1.0) * 1_000.0) as u32;
        if weight > best.0 {
            best = (weight, language);
        }
    }
    best.1
}

pub(super) fn language_code(language: Language) -> &'static str {
    match language {
        Language::Ru => "ru",
        Language::En => "en",
    }
}

/// HTML under construction; texts go in escaped, markup only as literals of this file.
pub(super) struct Html {
    pub(super) out: String,
    pub(super) language: Language,
    pub(super) zone: TimeZone,
}

impl Html {
    pub(super) fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.out.push_str(markup);
        self
    }
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '"' => self.out.push_str("&quot;"),
                '\'' => self.out.push_str("&#39;"),
                // what turns text around or hides it has no business in a name
                c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                    self.out.push(' ');
                }
                c => self.out.push(c),
            }
        }
        self
    }
    pub(super) fn words(&mut self, ru: &str, en: &str) -> &mut Self {
        let words = match self.language {
            Language::Ru => ru,
            Language::En => en,
        };
        self.text(words)
    }
    pub(super) fn both(&mut self, text: &Text) -> &mut Self {
        self.text(text.get(self.language))
    }
    /// A moment as the reader's clock shows it; the page's head names the zone.
    pub(super) fn moment(&mut self, at: Timestamp) -> &mut Self {
        let shown = jiff::Timestamp::from_millisecond(at.0).map_or_else(
            |_| at.0.to_string(),
            |at| at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        );
        self.text(&shown)
    }
    pub(super) fn head_row(&mut self, names: &[(&str, &str)]) -> &mut Self {
        self.markup("<table><thead><tr>");
        for (ru, en) in names {
            self.markup("<th>").words(ru, en).markup("</th>");
        }
        self.markup("</tr></thead><tbody>")
    }
}

fn render(overview: &Overview, language: Language) -> String {
    let mut html = Html { out: String::with_capacity(16 * 1024), language, zone: overview.zone.clone() };
    html.markup("<!doctype html><html lang=\"")
        .markup(language_code(language))
        .markup("\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">")
        .markup("<meta http-equiv=\"refresh\" content=\"")
        .text(&REFRESH_S.to_string())
        .markup("\"><title>edobridge</title><style>")
        .markup(STYLE)
        .markup("</style></head><body><h1>edobridge ")
        .text(env!("CARGO_PKG_VERSION"))
        .markup("</h1>");
    clock(&mut html, overview.now);
    state(&mut html, &overview.health);
    counts(&mut html, &overview.counts, overview.now);
    stopped(&mut html, &overview.stopped, overview.now);
    portals(&mut html, &overview.portals);
    recent_table(&mut html, &overview.recent, overview.now);
    gaps(&mut html, &overview.gaps);
    html.markup("</body></html>");
    html.out
}

/// Now, and in which zone: without it no moment on the page could be compared with a log.
fn clock(html: &mut Html, now: Timestamp) {
    let zone = html.zone.iana_name().unwrap_or("UTC").to_owned();
    html.markup("<p class=\"dim\">").words("Сейчас ", "It is ").moment(now);
    html.words(". Время показано в поясе ", ". Times are of the zone ").text(&zone);
    html.words(" (time.zone); в журнале и API — UTC.", " (time.zone); the log and the API have UTC.");
    html.markup("</p>");
}

fn state(html: &mut Html, health: &EngineHealth) {
    if health.ready {
        html.markup("<p class=\"ok\">")
            .words("Работает, документы принимаются.", "Working; documents are accepted.");
    } else {
        html.markup("<p class=\"bad\">").words("Документы не принимаются.", "No documents are accepted.");
    }
    for reason in &health.reasons {
        html.markup("<br>").both(reason);
    }
    html.markup("</p>");
}

fn counts(html: &mut Html, counts: &Counts, now: Timestamp) {
    html.markup("<h2>").words("Сейчас", "Now").markup("</h2>");
    html.head_row(&[("Этап", "Step"), ("Документов", "Documents"), ("Дольше всех", "Longest")]);
    for step in counts.sagas.iter().filter(|step| step.count > 0) {
        let age = step.oldest_since.filter(|_| !step.step.is_finished()).map(|since| now.ms_since(since));
        html.markup("<tr><td>").both(&words::step(step.step)).markup("</td><td class=\"n\">");
        html.text(&step.count.to_string()).markup("</td><td>");
        html.text(&age.map(|ms| duration(ms, html.language)).unwrap_or_default()).markup("</td></tr>");
    }
    html.markup("</tbody></table><p class=\"dim\">")
        .words("Уведомлений в очереди: ", "Notices waiting: ")
        .text(&counts.notices.to_string())
        .words("; отложено до решения человека: ", "; kept for a person: ")
        .text(&counts.parked_notices.to_string())
        .markup("</p>");
}

fn stopped(html: &mut Html, sagas: &[DocumentSaga], now: Timestamp) {
    html.markup("<h2>").words("Остановлены, нужен человек", "Stopped, a person is needed").markup("</h2>");
    if sagas.is_empty() {
        html.markup("<p class=\"ok\">").words("Таких нет.", "None.").markup("</p>");
        return;
    }
    html.head_row(&[
        ("Документ", "Document"),
        ("Стоит", "For"),
        ("Почему и что делать", "Why, and what to do"),
    ]);
    for saga in sagas {
        document_cell(html, saga);
        let ago = duration(now.ms_since(saga.step_since), html.language);
        html.text(&ago).markup("<br>").words("с ", "since ").moment(saga.step_since).markup("</td><td>");
        html.both(&words::why(saga, now)).markup("</td></tr>");
    }
    html.markup("</tbody></table><p class=\"dim\">")
        .words("Команды: ", "Commands: ")
        .markup("<code>edobridge dead-letters show|retry|discard</code></p>");
}

/// How the portals treat us, and who used their budgets in the last day.
fn portals(html: &mut Html, portals: &[BudgetReport]) {
    if portals.is_empty() {
        return;
    }
    html.markup("<h2>").words("Порталы", "Portals").markup("</h2>");
    html.head_row(&[
        ("Портал", "Portal"),
        ("Ждут запроса", "Waiting"),
        ("Запросов за сутки", "Requests in a day"),
        ("Больше всего", "Most of them"),
        ("Ограничения", "Limits"),
    ]);
    for portal in portals.iter().take(ROWS_MAX) {
        let used = totals(&portal.hours);
        let requests: u64 = used.iter().map(|usage| usage.requests).sum();
        let most: Vec<String> =
            used.iter().take(3).map(|usage| format!("{} {}", usage.method, usage.requests)).collect();
        html.markup("<tr><td>").text(portal.id.as_str()).markup("</td><td class=\"n\">");
        html.text(&(portal.waiting_interactive + portal.waiting_background).to_string());
        html.markup("</td><td class=\"n\">").text(&requests.to_string()).markup("</td><td>");
        html.text(&most.join(", ")).markup("</td><td>");
        portal_limits(html, portal);
        html.markup("</td></tr>");
    }
    html.markup("</tbody></table>");
}

fn portal_limits(html: &mut Html, portal: &BudgetReport) {
    if let Some(until) = portal.overload_until {
        html.markup("<span class=\"bad\">")
            .words("заблокирован поставщиком, попытка ", "blocked by the vendor, next try ");
        html.moment(until).markup("</span> ");
    }
    if let Some(until) = portal.paused_until {
        html.words("пауза до ", "paused until ").moment(until).markup(" ");
    }
    for (method, until) in &portal.blocked {
        html.text(method).words(" до ", " until ").moment(*until).markup(" ");
    }
}

fn recent_table(html: &mut Html, sagas: &[DocumentSaga], now: Timestamp) {
    html.markup("<h2>").words("Последние документы", "Last documents").markup("</h2>");
    html.head_row(&[("Документ", "Document"), ("Изменён", "Changed"), ("Состояние", "State")]);
    for saga in sagas {
        document_cell(html, saga);
        let ago = duration(now.ms_since(saga.updated_at), html.language);
        html.moment(saga.updated_at).markup("<br>").text(&ago).words(" назад", " ago").markup("</td><td>");
        html.both(&words::why(saga, now)).markup("</td></tr>");
    }
    html.markup("</tbody></table>");
}

/// Only if there is something to tell: a webhook that loses nothing needs no table.
fn gaps(html: &mut Html, gaps: &GapList) {
    if gaps.items.is_empty() {
        return;
    }
    html.markup("<h2>").words("События, которые не пришли", "Events that never came").markup("</h2>");
    html.head_row(&[("Объект", "Object"), ("Найдено позже на", "Found later by"), ("Почему", "Why")]);
    for gap in gaps.items.iter().take(ROWS_MAX) {
        html.markup("<tr><td>").text(&gap.subject).markup("<br><code>").text(&gap.portal);
        html.markup("</code></td><td>");
        html.text(&gap.late_ms.map(|ms| duration(ms, html.language)).unwrap_or_default()).markup("</td><td>");
        html.both(&gap.words).markup("</td></tr>");
    }
    html.markup("</tbody></table>");
}

/// Opens a row: name and id, and the beginning of the next cell.
fn document_cell(html: &mut Html, saga: &DocumentSaga) {
    html.markup("<tr><td>").text(&display_name(saga)).markup("<br><code>");
    html.text(&saga.id.to_string()).markup("</code></td><td>");
}

pub(super) fn duration(ms: u64, language: Language) -> String {
    let minutes = ms / 60_000;
    let (ru, en) = match minutes {
        0 => (format!("{} с", ms / 1_000), format!("{} s", ms / 1_000)),
        1..60 => (format!("{minutes} мин"), format!("{minutes} min")),
        60..1_440 => (
            format!("{} ч {} мин", minutes / 60, minutes % 60),
            format!("{} h {} min", minutes / 60, minutes % 60),
        ),
        _ => (format!("{} дн.", minutes / 1_440), format!("{} d", minutes / 1_440)),
    };
    match language {
        Language::Ru => ru,
        Language::En => en,
    }
}

#[cfg(test)]
mod tests {
    use super::super::gap_view::GapLine;
    use super::super::test_support::{live_saga, stopped_saga};
    use super::*;
    use crate::domain::PortalId;
    use crate::domain::portal_usage::{HourUsage, MethodUsage};
    use crate::store::StepCount;

    fn overview(stopped: Vec<DocumentSaga>) -> Overview {
        Overview {
            health: EngineHealth {
                ready: false,
                reasons: vec![Text::new("Диск <полон>.", "The disk is <full>.")],
                draining: false,
                details: serde_json::Value::Null,
            },
            counts: Counts {
                sagas: vec![StepCount { step: Step::Parked, count: 1, oldest_since: Some(Timestamp(0)) }],
                notices: 2,
                parked_notices: 3,
                in_flight: 0,
            },
            stopped,
            recent: vec![live_saga(Step::Create)],
            portals: vec![budget()],
            gaps: GapList {
                portals: Vec::new(),
                items: vec![GapLine {
                    portal: "main".into(),
                    subject: "deal:<b>".into(),
                    channel: "sweep".into(),
                    cause: "lost".into(),
                    changed_at: None,
                    healed_at: String::new(),
                    late_ms: Some(7_500),
                    words: Text::new("Событие не пришло.", "The event never came."),
                }],
            },
            now: Timestamp(7_200_000),
            zone: TimeZone::get("Asia/Almaty").unwrap(),
        }
    }

    #[test]
    fn moments_are_shown_in_the_readers_zone_and_the_page_names_it() {
        let page = render(&overview(vec![stopped_saga("a.pdf", "x")]), Language::En);
        // Almaty was six hours ahead of Greenwich in 1970
        assert!(page.contains("It is 1970-01-01 08:00:00. Times are of the zone Asia/Almaty"), "{page}");
        assert!(page.contains("since 1970-01-01 06:01:00") && !page.contains("00:01:00"), "{page}");
    }

    fn budget() -> BudgetReport {
        let used = |method: &str, requests| MethodUsage {
            method: method.into(),
            requests,
            ..MethodUsage::default()
        };
        BudgetReport {
            id: PortalId("main".into()),
            bucket: None,
            waiting_interactive: 1,
            waiting_background: 41,
            blocked: vec![("crm.item.get".into(), Timestamp(7_260_000))],
            paused_until: None,
            overload_until: None,
            hours: vec![HourUsage { hour: 2, methods: vec![used("batch", 3), used("download", 500)] }],
        }
    }

    #[test]
    fn the_page_says_who_used_the_budget_of_a_portal() {
        let page = render(&overview(Vec::new()), Language::En);
        for wanted in [">42<", ">503<", "download 500, batch 3", "crm.item.get until 1970-01-01 "] {
            assert!(page.contains(wanted), "{wanted} is missing in {page}");
        }
    }

    #[test]
    fn no_text_of_a_stranger_becomes_markup() {
        let evil = r#"<script>alert("x")</script>'&<img src=x onerror=y>"#;
        let page = render(&overview(vec![stopped_saga(evil, evil)]), Language::En);
        assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&#39;&amp;"), "{page}");
        assert!(page.contains("The disk is &lt;full&gt;."));
        assert!(page.contains("deal:&lt;b&gt;") && page.contains("7 s"), "{page}");
    }

    #[test]
    fn the_page_speaks_the_readers_language_and_says_why_a_document_stands_still() {
        let overview = overview(vec![stopped_saga("a.pdf", "HTTP 422")]);
        let (ru, en) = (render(&overview, Language::Ru), render(&overview, Language::En));
        assert!(ru.contains("Остановлен: HTTP 422") && ru.contains("<html lang=\"ru\">"));
        assert!(en.contains("Stopped: HTTP 422") && en.contains("1 h 59 min"), "{en}");
    }

    #[test]
    fn the_language_is_the_heaviest_of_ours() {
        for (accept, language) in [
            ("", Language::Ru),
            ("de, fr", Language::Ru),
            ("en", Language::En),
            ("en-GB,ru;q=0.5", Language::En),
            ("de,en;q=0.4,ru-RU;q=0.9", Language::Ru),
            ("en;q=NaN,ru;q=0.1", Language::Ru),
            ("en;q=0", Language::Ru),
        ] {
            assert_eq!(preferred_language(accept), language, "{accept}");
        }
    }

    #[test]
    fn the_style_is_the_one_that_the_policy_allows() {
        let digest = BASE64_STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
        let page = render(&overview(Vec::new()), Language::En);
        assert!(page.contains(&format!("<style>{STYLE}</style>")));
        assert!(policy().contains(&digest) && policy().starts_with("default-src 'none'"));
    }
}
