//! `[[apps]]`: our applications in Bitrix24, local ones and those of the Market.

use super::closed_network::CaFile;
use super::portal::PortalConfig;
use super::problem::bilingual;
use super::secret_ref::SecretRef;
use super::units::Period;
use crate::domain::{AppId, MemberId};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use url::Url;

/// One application. Keys that are absent come from `[app_defaults]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppConfig {
    /// Our name of the application: stays, since the store keeps it.
    #[schemars(with = "String")]
    pub id: AppId,
    /// Where it comes from.
    pub kind: AppKind,
    /// `client_id` from the application's card: `local.…` or `app.…`.
    pub client_id: String,
    /// `client_secret` from the same card.
    pub client_secret: SecretRef,
    /// The only hosts that tokens and the secret are ever sent to, besides the portals themselves.
    pub oauth_hosts: Vec<Url>,
    /// Certificates of the authority that has signed those of `oauth_hosts`, if it is a private one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<CaFile>,
    /// Which portals may install it.
    pub members: Members,
    /// `auth_connector` of every call that changes something; empty: not sent.
    pub auth_connector: String,
    /// Tokens of a portal that is never used are renewed after this time, so that they do not die of old age.
    pub keep_alive: Period,
    /// Allows `http://` to loopback addresses, for the sandbox. Refused for any other host.
    pub dangerous_allow_http: bool,
    /// How portals are treated that install it and have no entry of their own.
    pub portal: PortalConfig,
}

/// Where an application comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppKind {
    /// Made in one portal, for that portal.
    Local,
    /// Installed from the Market by many portals.
    Market,
}

/// Which portals may install an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Members {
    /// Any: whoever installs it gets its work done by us.
    Any,
    /// These, by `member_id`.
    Listed(Vec<MemberId>),
    /// Only portals with an entry of their own.
    None,
}

impl Members {
    /// Whether a portal without an entry of its own may install the application.
    pub fn admits(&self, member_id: &MemberId) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(list) => list.contains(member_id),
            Self::None => false,
        }
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str("any"),
            Self::None => serializer.serialize_str("none"),
            Self::Listed(list) => serializer.collect_seq(list.iter().map(MemberId::as_str)),
        }
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"any\", \"none\" or a list of member_ids")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Members, E> {
        match text {
            "any" => Ok(Members::Any),
            "none" => Ok(Members::None),
            _ => Err(E::custom(bilingual(
                "здесь нужно \"any\", \"none\" или список member_id",
                "\"any\", \"none\" or a list of member_ids is needed here",
            ))),
        }
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Members, A::Error> {
        let mut list = Vec::new();
        while let Some(text) = seq.next_element::<String>()? {
            let member_id = text.parse().map_err(|_| {
                serde::de::Error::custom(bilingual(
                    "member_id состоит из латинских букв и цифр, обычно их 32",
                    "a member_id has letters and digits, usually 32 of them",
                ))
            })?;
            list.push(member_id);
        }
        Ok(Members::Listed(list))
    }
}

impl JsonSchema for Members {
    fn schema_name() -> Cow<'static, str> {
        "Members".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Which portals may install the application",
            "anyOf": [
                { "type": "string", "enum": ["any", "none"] },
                { "type": "array", "items": { "type": "string" } }
            ]
        })
    }
}
