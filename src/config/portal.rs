//! `[[portals]]`: one Bitrix24 each, reached by an incoming webhook or by an application that it has installed.

use super::channel::SecondChannelConfig;
use super::closed_network::{CaFile, ExtraAuthConfig};
use super::network::Network;
use super::problem::bilingual;
use super::secret_ref::SecretRef;
use super::sender_list::SenderRule;
use super::units::Period;
use crate::domain::{AppId, PortalId};
use jiff::civil::Date;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use url::Url;

/// One portal. Keys that are absent come from `[portal_defaults]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortalConfig {
    /// Our name of the portal: stays when its address changes, since the store keeps it.
    #[schemars(with = "String")]
    pub id: PortalId,
    /// Address of the incoming webhook, `https://HOST/rest/USER/SECRET/`. The whole address is a secret. Absent if
    /// there is `app`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<SecretRef>,
    /// The application of `[[apps]]` by which it is reached; then `member_id` is needed. Absent if there is
    /// `webhook_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub app: Option<AppId>,
    /// `member_id` that events of this portal must carry, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_id: Option<String>,
    /// Application tokens of its outgoing webhooks; each webhook has its own.
    pub application_tokens: Vec<SecretRef>,
    /// Addresses from which its events may come. Empty: any, the token decides.
    pub events_from: Vec<Network>,
    /// Whether only the published servers of the vendor, and `events_from`, may send.
    pub senders: SenderRule,
    /// How many requests the portal takes.
    pub rate: Rate,
    /// First pause after QUERY_LIMIT_EXCEEDED; it doubles with each further one.
    pub query_limit_pause: Period,
    /// Longest pause after QUERY_LIMIT_EXCEEDED.
    pub query_limit_pause_max: Period,
    /// Background calls of a method wait once its operating time in ten minutes has reached this.
    pub operating_slow_at: Period,
    /// Pause of the whole portal after OVERLOAD_LIMIT.
    pub overload_pause: Period,
    /// Users of the portal who get a notice when a block by the vendor is over. Empty: nobody.
    pub administrators: Vec<u64>,
    /// When the webhook expires, if it was made with a date: REST does not show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub webhook_expires: Option<Date>,
    /// Pause between two looks at the owner of the webhook. Zero: nobody looks.
    pub owner_check_interval: Period,
    /// Pause between two looks for workflows that hang because of our robots. Zero: nobody looks.
    pub workflow_check_interval: Period,
    /// A workflow that has our robot in its template, has not called us and has not moved for so long is suspected.
    pub workflow_silent_after: Period,
    /// Pause between two looks at what the portal can do. Zero: nobody looks.
    pub capability_check_interval: Period,
    /// Calls that wait are gathered for this long to be packed into one batch. Zero: no gathering.
    pub batch_gather: Period,
    /// File transfers at one time.
    pub transfers_max: u32,
    /// Origins (`https://host`) besides the portal's own from which its files may be downloaded.
    pub allowed_download_origins: Vec<Url>,
    /// Certificates of the authority that has signed the portal's own, if it is a private one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<CaFile>,
    /// A parameter that a box with its own token validator wants with each call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_auth: Option<ExtraAuthConfig>,
    /// How long we wait for the portal.
    pub timeouts: PortalTimeouts,
    /// How changes are learned that its webhook did not tell.
    pub second_channel: SecondChannelConfig,
    /// `CLIENT_ID` of our notices; webhooks need one for notices with a tag.
    pub notify_client_id: String,
    /// Allows `http://` to a loopback address, for the sandbox. Refused for any other host.
    pub dangerous_allow_http: bool,
    /// Allows `http://` to this box by its webhook, wherever it is: everybody on the way reads the webhook's secret and
    /// every document.
    pub dangerous_http_to_box: bool,
}

/// How long we wait for a portal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortalTimeouts {
    /// For a connection.
    pub connect: Period,
    /// Between two pieces of an answer.
    pub read: Period,
    /// For one call of a method as a whole.
    pub call: Period,
    /// For one file transfer as a whole.
    pub transfer: Period,
}

/// The leaky bucket of a portal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Rate {
    /// By the plan of the portal.
    Preset(RatePreset),
    /// By own numbers.
    Explicit(ExplicitRate),
}

/// Plans with known limits (Bitrix24 docs, `limits.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RatePreset {
    /// Any cloud plan but Enterprise: 2 a second, burst 50.
    Cloud,
    /// Cloud Enterprise: 5 a second, burst 250.
    Enterprise,
    /// On-premise: no limit of this kind.
    Box,
}

/// A leaky bucket by numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplicitRate {
    /// Requests that leak out each second; a fraction is fine.
    pub per_second: f64,
    /// Requests that fit at once.
    pub burst: u32,
}

/// What a bucket works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Thousandths of a request that leak out each second.
    pub milli_per_second: u64,
    /// Requests that fit at once.
    pub burst: u32,
}

impl Rate {
    /// The numbers of the bucket; nothing if the portal has no such limit.
    pub fn limit(self) -> Option<RateLimit> {
        match self {
            Self::Preset(RatePreset::Cloud) => Some(RateLimit { milli_per_second: 2_000, burst: 50 }),
            Self::Preset(RatePreset::Enterprise) => Some(RateLimit { milli_per_second: 5_000, burst: 250 }),
            Self::Preset(RatePreset::Box) => None,
            Self::Explicit(ExplicitRate { per_second, burst }) => {
                // validated to lie within 0.01..=1000, so the cast is exact enough and cannot wrap
                Some(RateLimit { milli_per_second: (per_second * 1_000.0).round() as u64, burst })
            }
        }
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RateVisitor)
    }
}

struct RateVisitor;

impl<'de> Visitor<'de> for RateVisitor {
    type Value = Rate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"cloud\", \"enterprise\", \"box\" or { per_second = 2, burst = 50 }")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Rate, E> {
        RatePreset::deserialize(StrDeserializer::<E>::new(text)).map(Rate::Preset).map_err(|_| {
            E::custom(bilingual(
                &format!("`{text}` — не тариф: есть cloud, enterprise, box или {{ per_second = 2, burst = 50 }}"),
                &format!("`{text}` is not a plan: there are cloud, enterprise, box or {{ per_second = 2, burst = 50 }}"),
            ))
        })
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Rate, A::Error> {
        ExplicitRate::deserialize(MapAccessDeserializer::new(map)).map(Rate::Explicit)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (preset, explicit) =
            (generator.subschema_for::<RatePreset>(), generator.subschema_for::<ExplicitRate>());
        json_schema!({ "description": "How many requests the portal takes", "anyOf": [preset, explicit] })
    }
}
