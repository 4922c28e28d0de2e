//! One installation of our application at one Bitrix24 portal: who it is, what it may, and its tokens.
//!
//! Keyed by application and `member_id`, never by host: portals are renamed (`settings/oauth`). It decides nothing
//! about trust; whoever makes an [`Installation`] has verified it.

use super::ids::PortalId;
use super::secret::Secret;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Application tokens that are kept: the present one and the one before the last update, whose events may still be
/// under way in the vendor's queue.
pub const APPLICATION_TOKENS_MAX: usize = 2;

/// The name of an application in our configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AppId(pub String);

impl AppId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The vendor's id of a portal: stays when the portal is renamed. 32 hex digits in practice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MemberId(String);

/// A text that is no `member_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a member_id has 1 to 64 letters and digits")]
pub struct InvalidMemberId;

impl MemberId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a portal is called with us if the configuration does not name it.
    pub fn portal_id(&self) -> PortalId {
        PortalId(self.0.clone())
    }
}

impl FromStr for MemberId {
    type Err = InvalidMemberId;

    /// It becomes a key of the store and a label of metrics, so it is short and plain.
    fn from_str(text: &str) -> Result<Self, InvalidMemberId> {
        let plain = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if plain { Ok(Self(text.to_owned())) } else { Err(InvalidMemberId) }
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which installation: one application at one portal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstallationKey {
    /// The application.
    pub app: AppId,
    /// The portal.
    pub member_id: MemberId,
}

impl fmt::Display for InstallationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.app, self.member_id)
    }
}

/// Whether an installation can work. Stored by its place: append-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstallationStatus {
    /// Its tokens are good as far as we know.
    Active,
    /// Its tokens are refused for good or lost; an administrator of the portal must open the application. Work waits.
    NeedsAuthorisation,
    /// It was removed from the portal. Forgotten some days later, unless it is installed again.
    Uninstalled,
}

impl InstallationStatus {
    /// Its name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::NeedsAuthorisation => "needs_authorisation",
            Self::Uninstalled => "uninstalled",
        }
    }
}

/// An access token with its successor's key. `Debug` prints no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPair {
    /// Sent with every call; lives an hour.
    pub access: Secret,
    /// Exchanged for the next pair, once; lives 180 days (28 in older documentation).
    pub refresh: Secret,
    /// When the access token ends, as its issuer said.
    pub expires_at: Timestamp,
}

/// One installation. `Debug` prints no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Which.
    pub key: InstallationKey,
    /// What the portal is called in rules, documents and metrics.
    pub portal: PortalId,
    /// Where the portal was when it was last verified: `https://host`.
    pub origin: String,
    /// Where its tokens are renewed: `https://oauth.bitrix24.tech`.
    pub oauth_origin: String,
    /// What the application may use, lower case.
    pub scopes: Vec<String>,
    /// Whose tokens these are: the administrator who installed it or opened it last.
    pub user_id: u64,
    /// Whether it can work.
    pub status: InstallationStatus,
    /// `L`ocal, `F`ree, `D`emo, `T`rial, `P`aid, as the OAuth server said; informational.
    pub plan: String,
    /// Version of the application at the portal.
    pub version: u32,
    /// When it was first verified.
    pub installed_at: Timestamp,
    /// When it was last installed, updated or opened by an administrator.
    pub updated_at: Timestamp,
    /// When it was removed from the portal.
    pub uninstalled_at: Option<Timestamp>,
    /// When the pair was last renewed; the installation itself counts.
    pub refreshed_at: Timestamp,
    /// Set before a renewal is asked for, cleared with its outcome: if it is set at a start, an answer may have been
    /// lost, and with it the only valid pair.
    pub refresh_began_at: Option<Timestamp>,
    /// The present pair; none once it is useless.
    pub tokens: Option<TokenPair>,
    /// Proofs of events, newest first, at most [`APPLICATION_TOKENS_MAX`].
    pub application_tokens: Vec<Secret>,
}

impl Installation {
    /// Puts a verified application token first; an empty one changes nothing.
    pub fn add_application_token(&mut self, token: &Secret) {
        if token.is_empty() {
            return;
        }
        self.application_tokens.retain(|known| known != token);
        self.application_tokens.insert(0, token.clone());
        self.application_tokens.truncate(APPLICATION_TOKENS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation() -> Installation {
        Installation {
            key: InstallationKey { app: AppId("a".into()), member_id: "m1".parse().unwrap() },
            portal: PortalId("m1".into()),
            origin: "https://p.example".into(),
            oauth_origin: "https://oauth.example".into(),
            scopes: vec![],
            user_id: 1,
            status: InstallationStatus::Active,
            plan: "L".into(),
            version: 1,
            installed_at: Timestamp(1),
            updated_at: Timestamp(1),
            uninstalled_at: None,
            refreshed_at: Timestamp(1),
            refresh_began_at: None,
            tokens: Some(TokenPair {
                access: Secret::new("acc3ss"),
                refresh: Secret::new("r3fresh"),
                expires_at: Timestamp(2),
            }),
            application_tokens: vec![Secret::new("pr00f")],
        }
    }

    #[test]
    fn a_printed_installation_shows_no_token() {
        let text = format!("{:?}", installation());
        assert!(!text.contains("acc3ss") && !text.contains("r3fresh") && !text.contains("pr00f"), "{text}");
    }

    #[test]
    fn the_newest_application_token_comes_first_and_only_two_are_kept() {
        let mut it = installation();
        for token in ["b", "c", "b", ""] {
            it.add_application_token(&Secret::new(token));
        }
        assert_eq!(it.application_tokens, [Secret::new("b"), Secret::new("c")]);
    }

    #[test]
    fn a_member_id_is_short_and_plain() {
        assert!("a223c6b3710f85df22e9377d6c4f7553".parse::<MemberId>().is_ok());
        for text in ["", "a/b", "a b", "é", &"a".repeat(65)] {
            assert_eq!(text.parse::<MemberId>(), Err(InvalidMemberId), "{text}");
        }
    }
}
