//! From the configuration to the signing page: what the page is told, and the key of its links.

use super::wiring::WiringError;
use crate::config::Config;
use crate::domain::SignerLanguage;
use crate::domain::signing::LinkKey;
use crate::domain::subject_pattern::{InvalidSubjectPattern, SubjectPatterns};
use crate::http::SigningSettings;
use crate::store::sign_link_key;
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
        posts_per_minute: NonZeroU32::new(page.posts_per_minute).unwrap_or(NonZeroU32::MIN),
        body_bytes_max: usize::try_from(page.body_max.bytes()).unwrap_or(usize::MAX),
    })
}

/// The key of the links: that of the configuration, or the one in the data directory, which is made if need be.
///
/// # Errors
/// [`WiringError`] for a key that is none, or a file that cannot be read or made.
pub fn link_key(config: &Config) -> Result<LinkKey, WiringError> {
    match &config.signing_page.link_key {
        Some(key) => Ok(sign_link_key::parse(key.secret().expose())?),
        None => Ok(sign_link_key::load_or_make(&config.data_dir)?),
    }
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
