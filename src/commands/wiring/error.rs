//! A value of the configuration that a part cannot use, in words.

use crate::domain::{PortalId, Text};
use crate::http;
use crate::providers::bitrix24::WebhookUrlError;
use crate::providers::easydocs;
use crate::providers::http_client::HttpClientError;
use crate::providers::url_rules::UrlRefused;
use crate::store::StoreError;

/// A value of the configuration that a part cannot use, although it is well-formed.
#[derive(Debug, thiserror::Error)]
pub enum WiringError {
    /// An HTTP client cannot be made.
    #[error("an HTTP client cannot be made")]
    Http(#[from] HttpClientError),
    /// The address of a portal's webhook is not usable.
    #[error("the webhook address of portal {portal} is not usable")]
    Webhook {
        /// Which portal.
        portal: PortalId,
        /// What is wrong; never quotes the address.
        #[source]
        source: WebhookUrlError,
    },
    /// An address is not an origin.
    #[error("{key} is not usable as an origin")]
    Origin {
        /// The key.
        key: &'static str,
        /// What is wrong.
        #[source]
        source: UrlRefused,
    },
    /// EasyDocs is not configured well.
    #[error("the section easydocs is not usable")]
    EasyDocs(#[from] easydocs::client::SettingsError),
    /// The template of what callbacks sign is not readable.
    #[error("easydocs.signature.signed_content is not usable")]
    SignedContent(#[from] easydocs::settings::BadSignedContent),
    /// A key that seals tokens is none.
    #[error("{key} is not usable")]
    SealKey {
        /// The key of the configuration.
        key: &'static str,
        /// What is wrong; never quotes it.
        #[source]
        source: crate::store::portal_seal::BadSealKey,
    },
    /// The made seal key cannot be read or made.
    #[error("the seal key is not usable")]
    SealKeyFile(#[from] crate::store::SealKeyError),
    /// A pattern for a certificate's subject is none.
    #[error("{key} is not usable")]
    SubjectPattern {
        /// The key of the configuration.
        key: &'static str,
        /// What is wrong.
        #[source]
        source: crate::domain::subject_pattern::InvalidSubjectPattern,
    },
    /// iDocs is not configured well.
    #[error("the section idocs is not usable")]
    Idocs(#[from] crate::providers::idocs::client::SettingsError),
    /// The template of a route is not readable.
    #[error("idocs.route.template is not usable")]
    Route(#[from] crate::providers::idocs::route_template::BadRouteTemplate),
    /// The key of the signing links cannot be read or made.
    #[error("the key of the signing links is not usable")]
    LinkKey(#[from] crate::commands::signing_link_key::LinkKeyError),
    /// The operator's token cannot be read or made.
    #[error("the operator's token is not usable")]
    Token(#[from] http::operator_token::TokenError),
    /// The store cannot be read.
    #[error("the store cannot be read")]
    Store(#[from] StoreError),
}

impl WiringError {
    /// The sentence for a person: the whole chain, since each link names a key or a file.
    pub fn text(&self) -> Text {
        let chain = crate::actors::error_chain(self);
        Text::new(
            format!("Настройка непригодна: {chain}. Проверьте её командой `edobridge config check`."),
            format!("A setting is not usable: {chain}. Check it with `edobridge config check`."),
        )
    }
}
