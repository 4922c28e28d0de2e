//! Rules about the page where our own signers sign.

use super::{Report, is_loopback};
use crate::config::{Config, Size};
use crate::domain::subject_pattern::SubjectPattern;

/// More submissions than one office behind one address makes.
const POSTS_PER_MINUTE_MAX: u64 = 10_000;
/// Patterns tried for one number.
const PATTERNS_MAX: usize = 10;

pub(super) fn check(config: &Config, report: &mut Report) {
    let page = &config.signing_page;
    check_languages(config, report);
    check_agent(config, report);
    check_patterns("signing_page.subject_iin", &page.subject_iin, report);
    check_patterns("signing_page.subject_bin", &page.subject_bin, report);
    report.number(
        "signing_page.submissions_per_minute",
        page.submissions_per_minute.into(),
        1..=POSTS_PER_MINUTE_MAX,
    );
    let sizes = Size::from_bytes(256 << 10)..=Size::from_bytes(256 << 20);
    report.size("signing_page.submission_bytes", page.submission_bytes, sizes);
}

fn check_languages(config: &Config, report: &mut Report) {
    let languages = &config.signing_page.languages;
    let is_double = |n: usize| languages[..n].contains(&languages[n]);
    if languages.is_empty() || (1..languages.len()).any(is_double) {
        report.error(
            "signing_page.languages",
            "укажите хотя бы один язык из \"ru\", \"kk\", \"en\", каждый не более одного раза",
            "name at least one of the languages \"ru\", \"kk\", \"en\", each of them once at most",
        );
    }
}

/// The page's policy allows this one place besides ourselves, so it must be the signer's own computer.
fn check_agent(config: &Config, report: &mut Report) {
    let url = &config.signing_page.agent_url;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if url.scheme() != "wss" || !is_loopback(url) || !is_plain {
        report.error(
            "signing_page.agent_url",
            "программа подписи работает на компьютере подписанта: нужен адрес вида wss://127.0.0.1:13579/",
            "the signing agent runs on the signer's own computer: an address like wss://127.0.0.1:13579/ is needed",
        );
    }
}

fn check_patterns(key: &str, patterns: &[String], report: &mut Report) {
    if patterns.is_empty() || patterns.len() > PATTERNS_MAX {
        report.error(
            key,
            format!("в списке должно быть от 1 до {PATTERNS_MAX} образцов"),
            format!("the list must have 1 to {PATTERNS_MAX} patterns"),
        );
    }
    for (index, pattern) in patterns.iter().enumerate().take(PATTERNS_MAX) {
        if pattern.parse::<SubjectPattern>().is_err() {
            report.error(
                format!("{key}[{index}]"),
                "образец имеет вид serialNumber=IIN############: поле сертификата, знак =, значение с # на месте цифр",
                "a pattern looks like serialNumber=IIN############: a field of the certificate, =, its value with # for digits",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PageLanguage;

    fn keys(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::defaults();
        change(&mut config);
        let mut report = Report::default();
        check(&config, &mut report);
        report.findings.into_iter().map(|finding| finding.key).collect()
    }

    #[test]
    fn the_defaults_are_fit_and_each_bad_value_is_named() {
        assert!(keys(|_| {}).is_empty());
        for url in
            ["ws://127.0.0.1:13579/", "wss://agent.example.kz/", "wss://a@127.0.0.1/", "wss://127.0.0.1/?x"]
        {
            let url = url.parse().unwrap();
            assert_eq!(keys(|c| c.signing_page.agent_url = url), ["signing_page.agent_url"]);
        }
        let twice = vec![PageLanguage::Kk, PageLanguage::Kk];
        assert_eq!(keys(|c| c.signing_page.languages = twice), ["signing_page.languages"]);
        assert_eq!(keys(|c| c.signing_page.languages = Vec::new()), ["signing_page.languages"]);
        let patterns = vec!["serialNumber=IIN############".to_owned(), "IIN".to_owned()];
        assert_eq!(keys(|c| c.signing_page.subject_iin = patterns), ["signing_page.subject_iin[1]"]);
        assert_eq!(keys(|c| c.signing_page.subject_bin = Vec::new()), ["signing_page.subject_bin"]);
        assert_eq!(
            keys(|c| c.signing_page.submissions_per_minute = 0),
            ["signing_page.submissions_per_minute"]
        );
    }
}
