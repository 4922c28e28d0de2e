//! Whether our clock agrees with the remotes': signatures, tokens and deadlines rest on it.
//!
//! Asks each remote for nothing but the head of its front page and compares the `Date` of the answer. No key is sent.

use crate::commands::doctor::examination::Examination;
use crate::commands::doctor::finding::{Finding, Notebook};
use crate::commands::wiring;
use crate::config::Config;
use crate::domain::{Clock, Text};
use crate::providers::http_client::{HttpClient, HttpSettings};
use crate::providers::url_rules::Origin;
use reqwest::header::DATE;
use reqwest::{Method, Url};
use std::time::Duration;

/// A difference below this is no matter: `Date` counts whole seconds, and networks take their time.
const SKEW_MAX: Duration = Duration::from_secs(60);
/// How long one remote is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the section is called.
pub fn title() -> Text {
    Text::new("Часы", "Clock")
}

/// Compares.
pub async fn check(examination: &Examination, notes: Notebook) {
    let settings = HttpSettings {
        connect_timeout: PATIENCE,
        read_timeout: PATIENCE,
        total_timeout: PATIENCE,
        extra_root_pem: wiring::all_roots(examination.config()),
        ..HttpSettings::default()
    };
    let http = match HttpClient::new(&settings) {
        Ok(http) => http,
        Err(error) => {
            let words = crate::actors::error_chain(&error);
            return notes.add(Finding::problem("clock", words.clone(), words));
        }
    };
    for origin in origins(examination.config()) {
        notes.add(compare(&http, &origin, examination.clock.as_ref()).await);
    }
}

/// The portals and the signing service, each once.
fn origins(config: &Config) -> Vec<Origin> {
    let webhooks = config.portals.iter().filter_map(|portal| portal.webhook_url.as_ref());
    let webhooks = webhooks.filter(|webhook| webhook.is_resolved()).map(|webhook| webhook.secret().expose());
    let hosts = config.apps.iter().filter_map(|app| app.oauth_hosts.first()).map(url::Url::as_str);
    let addresses = webhooks.chain(hosts).chain([config.easydocs.base_url.as_str()]);
    let mut origins = Vec::new();
    for origin in addresses.filter_map(|address| Origin::parse(address).ok()) {
        if !origins.contains(&origin) {
            origins.push(origin);
        }
    }
    origins
}

async fn compare(http: &HttpClient, origin: &Origin, clock: &dyn Clock) -> Finding {
    let before = clock.now().0;
    let told = match Url::parse(&origin.to_string()) {
        Ok(url) => http.open(http.request(Method::HEAD, url), 0).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let after = clock.now().0;
    match told {
        Ok(opened) => {
            let date = opened.headers.get(DATE).and_then(|value| value.to_str().ok()).and_then(date_ms);
            judge(origin, date, before, after)
        }
        Err(error) => Finding::skipped(
            "clock",
            format!("{origin} не ответил, сверить часы не с чем: {error}."),
            format!("{origin} did not answer, there is nothing to compare the clock with: {error}."),
        ),
    }
}

fn date_ms(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok().map(|moment| moment.as_millisecond())
}

fn judge(origin: &Origin, date_ms: Option<i64>, before_ms: i64, after_ms: i64) -> Finding {
    let Some(date_ms) = date_ms else {
        return Finding::skipped(
            "clock",
            format!("{origin} не сообщает время."),
            format!("{origin} does not tell the time."),
        );
    };
    let skew = skew_ms(date_ms, before_ms, after_ms);
    let seconds = skew.unsigned_abs().div_ceil(1_000);
    if u128::from(skew.unsigned_abs()) <= SKEW_MAX.as_millis() {
        return Finding::ok(
            "clock",
            format!("Часы сходятся с {origin} (разница не больше {seconds} с)."),
            format!("The clock agrees with {origin} (within {seconds} s)."),
        );
    }
    let (ru, en) = if skew > 0 { ("спешат", "fast") } else { ("отстают", "slow") };
    Finding::warning(
        "clock",
        format!("Наши часы {ru} на {seconds} с по сравнению с {origin}."),
        format!("Our clock is {seconds} s {en} compared with {origin}."),
    )
    .fix(
        "Включите синхронизацию времени: timedatectl set-ntp true (или настройте chrony).",
        "Switch time synchronisation on: timedatectl set-ntp true (or set up chrony).",
    )
}

/// How far our clock is ahead of the remote's, in milliseconds; negative if it is behind. The answer was written at
/// some moment between `before_ms` and `after_ms`, in the second that begins at `date_ms`: within these nothing is
/// held against us.
fn skew_ms(date_ms: i64, before_ms: i64, after_ms: i64) -> i64 {
    let latest = date_ms.saturating_add(1_000);
    if before_ms > latest {
        before_ms - latest
    } else if after_ms < date_ms {
        after_ms - date_ms
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Verdict;

    fn origin() -> Origin {
        Origin::parse("https://portal.example/").unwrap()
    }

    #[test]
    fn a_date_header_is_read() {
        assert_eq!(date_ms("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
        assert_eq!(date_ms("yesterday"), None);
    }

    #[test]
    fn seconds_and_travel_are_not_held_against_the_clock() {
        assert_eq!(skew_ms(10_000, 10_500, 10_600), 0);
        assert_eq!(skew_ms(10_000, 9_000, 12_000), 0, "a slow answer");
        assert_eq!(skew_ms(10_000, 80_000, 80_100), 69_000);
        assert_eq!(skew_ms(10_000, -60_000, -59_000), -69_000);
    }

    #[test]
    fn a_minute_of_difference_is_a_warning_in_the_right_direction() {
        assert_eq!(judge(&origin(), Some(0), 61_000, 61_000).verdict, Verdict::Ok);
        let fast = judge(&origin(), Some(0), 62_001, 62_100);
        assert!(fast.verdict == Verdict::Warning && fast.text.en.contains("fast"), "{fast:?}");
        let slow = judge(&origin(), Some(100_000), 0, 100);
        assert!(slow.verdict == Verdict::Warning && slow.text.en.contains("slow"), "{slow:?}");
        assert_eq!(judge(&origin(), None, 0, 0).verdict, Verdict::Skipped);
    }

    #[test]
    fn each_place_is_asked_once_and_without_its_secret() {
        let mut config = Config::defaults();
        let toml = "[[portals]]\nid = \"a\"\nwebhook_url = \"https://p.example/rest/1/planted7secret/\"\n[[portals]]\nid = \"b\"\nwebhook_url = \"https://p.example/rest/2/planted8secret/\"\n";
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, toml).unwrap();
        let loaded = Config::check(Some(&path), &crate::config::Environment::default()).unwrap();
        config.portals = loaded.config.portals;
        let texts: Vec<_> = origins(&config).iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["https://p.example", "https://internal-api.easydocs.ru"]);
    }
}
