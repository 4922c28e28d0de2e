//! What a portal says of our application: the POST that opens a frame, and the events of an application's life.
//!
//! Sources: `settings/app-installation/**`, `settings/app-uninstallation.md`, `api-reference/common/events/*.md`.
//! Everything here is a claim until [`oauth`](super::oauth) has confirmed the token in it, or an application token
//! was compared; this file only reads.

use super::events::{self, EventError};
use super::forms;
use super::wire;
use crate::domain::{MemberId, Secret};
use serde_json::Value;

/// Longest token, host or id that is taken.
const FIELD_BYTES_MAX: usize = 1_024;
/// Life of an access token where none is named, in seconds.
const EXPIRES_S: u64 = 3_600;

/// A pair of tokens as it came from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedTokens {
    /// The access token.
    pub access: Secret,
    /// The refresh token; empty if there was none.
    pub refresh: Secret,
    /// Seconds that the access token lives.
    pub expires_in_s: u64,
}

/// What comes with tokens: who says it, and how it may be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The portal, as it says.
    pub member_id: MemberId,
    /// The tokens.
    pub tokens: ClaimedTokens,
    /// Proof of later events; empty on older boxes.
    pub application_token: Secret,
    /// The OAuth host, as it says; older boxes name none.
    pub server_endpoint: Option<String>,
}

/// The POST that opens one of our pages in a portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Who opens it.
    pub claim: Claim,
    /// The portal's host in the reader's browser, as the query says.
    pub domain: Option<String>,
    /// The reader's language, as `ru`.
    pub language: String,
    /// `DEFAULT` for the main page, else the place.
    pub placement: String,
}

/// Why a request opens no page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Body or query is no form.
    #[error("the form cannot be read")]
    Unreadable,
    /// There is no usable `member_id`.
    #[error("no usable member_id")]
    NoMember,
    /// There is no access token: somebody opened the address by hand.
    #[error("no access token")]
    NoToken,
}

impl Frame {
    /// Reads the query string and the form.
    ///
    /// # Errors
    /// [`FrameError`]; never quotes the request.
    pub fn decode(query: &str, body: &[u8]) -> Result<Self, FrameError> {
        let read = |bytes: &[u8]| forms::decode(bytes).map_err(|_| FrameError::Unreadable);
        let (query, form) = (read(query.as_bytes())?, read(body)?);
        let text = |name: &str| field(&form, name).or_else(|| field(&query, name));
        let access = text("AUTH_ID").ok_or(FrameError::NoToken)?;
        let member_id = text("member_id").ok_or(FrameError::NoMember)?;
        Ok(Self {
            claim: Claim {
                member_id: member_id.parse().map_err(|_| FrameError::NoMember)?,
                tokens: ClaimedTokens {
                    access: Secret::new(access),
                    refresh: Secret::new(text("REFRESH_ID").unwrap_or_default()),
                    expires_in_s: text("AUTH_EXPIRES").and_then(|s| s.parse().ok()).unwrap_or(EXPIRES_S),
                },
                application_token: Secret::new(text("APPLICATION_TOKEN").unwrap_or_default()),
                server_endpoint: text("SERVER_ENDPOINT"),
            },
            domain: text("DOMAIN"),
            language: text("LANG").unwrap_or_default().to_ascii_lowercase(),
            placement: text("PLACEMENT").unwrap_or_else(|| "DEFAULT".to_owned()),
        })
    }
}

fn field(form: &Value, name: &str) -> Option<String> {
    wire::member(form, name).and_then(wire::filled).filter(|text| text.len() <= FIELD_BYTES_MAX)
}

/// An event of an application's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lifecycle {
    /// ONAPPINSTALL or ONAPPUPDATE: bindings are gone, tokens are new.
    Installed(Claim),
    /// ONAPPUNINSTALL: its tokens are dead already, the application token is the only proof.
    Uninstalled {
        /// The portal, as it says.
        member_id: MemberId,
        /// The proof.
        application_token: Secret,
    },
    /// ONAPPPAYMENT: comes without any proof, so it is only a hint to ask.
    PaymentChanged {
        /// The portal, as it says.
        member_id: MemberId,
    },
    /// ONAPPMETHODCONFIRM: a hint that a method may be allowed now.
    MethodConfirmed {
        /// The portal, as it says.
        member_id: MemberId,
    },
}

/// Whether events of this name are about the application itself.
pub fn is_lifecycle(name: &str) -> bool {
    matches!(name, "ONAPPINSTALL" | "ONAPPUPDATE" | "ONAPPUNINSTALL" | "ONAPPPAYMENT" | "ONAPPMETHODCONFIRM")
}

impl Lifecycle {
    /// Reads a body; none if it is another event.
    ///
    /// # Errors
    /// [`EventError`]: it is no event, or one of these that lacks what it must have.
    pub fn decode(content_type: &str, body: &[u8]) -> Result<Option<Self>, EventError> {
        let tree = events::tree(Some(content_type), body)?;
        let name = field(&tree, "event").ok_or(EventError::NoName)?.to_ascii_uppercase();
        if !is_lifecycle(&name) {
            return Ok(None);
        }
        let auth = wire::member(&tree, "auth").ok_or(EventError::NoName)?;
        let text = |key: &str| field(auth, key);
        let member_id: MemberId =
            text("member_id").and_then(|id| id.parse().ok()).ok_or(EventError::NoName)?;
        let application_token = Secret::new(text("application_token").unwrap_or_default());
        Ok(Some(match name.as_str() {
            "ONAPPUNINSTALL" => Self::Uninstalled { member_id, application_token },
            "ONAPPPAYMENT" => Self::PaymentChanged { member_id },
            "ONAPPMETHODCONFIRM" => Self::MethodConfirmed { member_id },
            _ => Self::Installed(Claim {
                member_id,
                tokens: ClaimedTokens {
                    access: Secret::new(text("access_token").ok_or(EventError::NoName)?),
                    refresh: Secret::new(text("refresh_token").unwrap_or_default()),
                    expires_in_s: text("expires_in").and_then(|s| s.parse().ok()).unwrap_or(EXPIRES_S),
                },
                application_token,
                // an old page of the docs prints the typo
                server_endpoint: text("server_endpoint").or_else(|| text("server_andpoint")),
            }),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    #[test]
    fn a_frame_is_read_from_query_and_form() {
        let body = b"AUTH_ID=acc&AUTH_EXPIRES=3600&REFRESH_ID=ref&SERVER_ENDPOINT=https%3A%2F%2Foauth.bitrix24.tech%2Frest%2F\
            &APPLICATION_TOKEN=app&member_id=m1&status=L&PLACEMENT=DEFAULT&PLACEMENT_OPTIONS=%7B%7D";
        let frame = Frame::decode("DOMAIN=p.example&PROTOCOL=1&LANG=ru&APP_SID=x", body).unwrap();
        assert_eq!(frame.claim.tokens.access.expose(), "acc");
        assert_eq!(frame.claim.server_endpoint.as_deref(), Some("https://oauth.bitrix24.tech/rest/"));
        assert_eq!((frame.domain.as_deref(), frame.language.as_str()), (Some("p.example"), "ru"));
        assert!(!format!("{frame:?}").contains("acc\""));
    }

    #[test]
    fn an_older_box_lacks_three_fields_and_a_person_lacks_all() {
        let frame = Frame::decode("DOMAIN=p", b"AUTH_ID=acc&REFRESH_ID=ref&member_id=m1").unwrap();
        assert!(frame.claim.application_token.is_empty() && frame.claim.server_endpoint.is_none());
        assert_eq!(frame.claim.tokens.expires_in_s, EXPIRES_S);
        assert_eq!(Frame::decode("", b""), Err(FrameError::NoToken));
        assert_eq!(Frame::decode("", b"AUTH_ID=acc&member_id=a/b"), Err(FrameError::NoMember));
        assert_eq!(Frame::decode("", b"AUTH_ID=a&AUTH_ID=b"), Err(FrameError::Unreadable));
    }

    #[test]
    fn each_event_of_an_applications_life_is_told_apart() {
        let of = |body: &str| Lifecycle::decode(FORM, body.as_bytes());
        let auth =
            "auth[member_id]=m1&auth[application_token]=app&auth[access_token]=acc&auth[refresh_token]=ref";
        for name in ["ONAPPINSTALL", "onappupdate"] {
            let Ok(Some(Lifecycle::Installed(claim))) = of(&format!("event={name}&{auth}")) else { panic!() };
            assert_eq!((claim.tokens.refresh.expose(), claim.application_token.expose()), ("ref", "app"));
        }
        assert!(matches!(
            of(&format!("event=ONAPPUNINSTALL&{auth}")),
            Ok(Some(Lifecycle::Uninstalled { .. }))
        ));
        let payment = of("event=ONAPPPAYMENT&data[STATUS]=P&auth[member_id]=m1");
        assert!(matches!(payment, Ok(Some(Lifecycle::PaymentChanged { .. }))));
        assert_eq!(of("event=ONCRMDEALADD&auth[member_id]=m1"), Ok(None));
        assert!(of("event=ONAPPINSTALL&auth[member_id]=m1").is_err(), "without a token it proves nothing");
        assert!(of("event=ONAPPUNINSTALL").is_err());
    }
}
