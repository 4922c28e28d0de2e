//! What the signing page needs besides its times: its languages.

use crate::domain::SignerLanguage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A language of the signing page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PageLanguage {
    /// Russian.
    Ru,
    /// Kazakh.
    Kk,
    /// English.
    En,
}

impl From<PageLanguage> for SignerLanguage {
    fn from(code: PageLanguage) -> Self {
        match code {
            PageLanguage::Ru => Self::Ru,
            PageLanguage::Kk => Self::Kk,
            PageLanguage::En => Self::En,
        }
    }
}
