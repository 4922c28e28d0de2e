//! Words for a signer: the page where a person signs is also in Kazakh, since its signers are Kazakhstan's.

use serde::Serialize;
use std::borrow::Cow;

/// The language of a signer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SignerLanguage {
    /// Russian.
    #[default]
    Ru,
    /// Kazakh.
    Kk,
    /// English.
    En,
}

impl SignerLanguage {
    /// All, in the order in which a page offers them.
    pub const ALL: [Self; 3] = [Self::Ru, Self::Kk, Self::En];

    /// The code of ISO 639-1.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Ru => "ru",
            Self::Kk => "kk",
            Self::En => "en",
        }
    }
    /// What its speakers call it.
    pub const fn own_name(self) -> &'static str {
        match self {
            Self::Ru => "Русский",
            Self::Kk => "Қазақша",
            Self::En => "English",
        }
    }
    /// The language of a code, in any letter case.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| code.eq_ignore_ascii_case(language.code()))
    }
}

/// One statement in the three languages of the signing page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignerText {
    /// Russian.
    pub ru: Cow<'static, str>,
    /// Kazakh.
    pub kk: Cow<'static, str>,
    /// English.
    pub en: Cow<'static, str>,
}

impl SignerText {
    /// Fixed words.
    pub const fn fixed(ru: &'static str, kk: &'static str, en: &'static str) -> Self {
        Self { ru: Cow::Borrowed(ru), kk: Cow::Borrowed(kk), en: Cow::Borrowed(en) }
    }
    /// Words with something filled in.
    pub fn filled(ru: String, kk: String, en: String) -> Self {
        Self { ru: Cow::Owned(ru), kk: Cow::Owned(kk), en: Cow::Owned(en) }
    }
    /// The statement in `language`.
    pub fn get(&self, language: SignerLanguage) -> &str {
        match language {
            SignerLanguage::Ru => &self.ru,
            SignerLanguage::Kk => &self.kk,
            SignerLanguage::En => &self.en,
        }
    }
}
