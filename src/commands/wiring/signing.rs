//! From the configuration to what the signing page is told.

use super::error::WiringError;
use crate::config::Config;
use crate::domain::SignerLanguage;
use crate::domain::subject_pattern::{InvalidSubjectPattern, SubjectPatterns};
use crate::http::SigningSettings;
use std::num::NonZeroU32;

/// What the page is told.
///
/// # Errors
/// [`WiringError`] for a pattern that is none.
pub fn settings(config: &Config) -> Result<SigningSettings, WiringError> {
    let page = &config.signing_page;
    let read = |key: &'static str, texts: &[String]| {
        let patterns = texts.iter().map(|text| text.parse());
        patterns
            .collect::<Result<_, InvalidSubjectPattern>>()
            .map_err(|source| WiringError::SubjectPattern { key, source })
    };
    Ok(SigningSettings {
        agent_url: page.agent_url.clone(),
        languages: page.languages.iter().map(|language| SignerLanguage::from(*language)).collect(),
        patterns: SubjectPatterns {
            iin: read("signing_page.subject_iin", &page.subject_iin)?,
            bin: read("signing_page.subject_bin", &page.subject_bin)?,
        },
        posts_per_minute: NonZeroU32::new(page.submissions_per_minute).unwrap_or(NonZeroU32::MIN),
        body_bytes_max: page.submission_bytes.as_usize(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_national_agent_and_pki() {
        let settings = settings(&Config::defaults()).unwrap();
        assert_eq!(settings.agent_url.as_str(), "wss://127.0.0.1:13579/");
        assert_eq!(settings.patterns, SubjectPatterns::default());
        assert_eq!(settings.languages, SignerLanguage::ALL);
    }
}
