//! Events about an installation on their way through the inbox.
//!
//! ONAPPINSTALL and ONAPPUPDATE carry tokens and come once. Confirming them takes a question to the authorisation
//! server, which may be down, and in which we may die: so they are written down first. What is written is sealed as
//! tokens on record are, and is worth nothing before it is confirmed. The sender is answered by the outcome where
//! there is one: a refuted claim gets its 403 and leaves the inbox.
//!
//! Only what could be an installation of ours is written down, and only so many at a time: strangers may send
//! anything here. What is above that is confirmed first, as a page in a frame is.

use super::*;
use crate::domain::Timestamp;
use crate::store::{Fate, NewNotice, Notice, NoticeKind};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Claims in the inbox at one time; more are confirmed before anything is kept.
const PENDING_MAX: usize = 64;
/// After so long the tokens of a claim are dead whatever the authorisation server would have said, in milliseconds.
const CLAIM_LIFE_MS: u64 = 24 * 3_600_000;
/// How the body of such a notice is encoded.
const CONTENT_TYPE: &str = "application/x-edobridge-sealed";

/// The claims of this process that are in the inbox.
#[derive(Default)]
pub(super) struct Pending {
    /// Those that a door carries out right now: the inbox leaves them alone.
    in_hand: BTreeSet<Vec<u8>>,
    /// Those that wait for the authorisation server.
    left: usize,
}

/// What came of a claim out of the inbox.
#[derive(Debug)]
pub enum WorkedOff {
    /// A door carries it out right now.
    InHand,
    /// It is carried out, refuted, or overtaken by a later one.
    Settled(&'static str),
    /// Nothing can be made of it any more; for a person.
    Hopeless(Text),
    /// It can be neither confirmed nor denied now.
    Later(String),
}

/// What is sealed. Lives for minutes; a field may be added with a default.
#[derive(Serialize, Deserialize, zeroize::Zeroize, zeroize::ZeroizeOnDrop)]
struct Written {
    member_id: String,
    access: String,
    refresh: String,
    expires_in_s: u64,
    application_token: String,
    server_endpoint: Option<String>,
}

impl From<&Claim> for Written {
    fn from(claim: &Claim) -> Self {
        Self {
            member_id: claim.member_id.to_string(),
            access: claim.tokens.access.expose().to_owned(),
            refresh: claim.tokens.refresh.expose().to_owned(),
            expires_in_s: claim.tokens.expires_in_s,
            application_token: claim.application_token.expose().to_owned(),
            server_endpoint: claim.server_endpoint.clone(),
        }
    }
}

impl Written {
    fn claim(&self) -> Option<Claim> {
        Some(Claim {
            member_id: self.member_id.parse().ok()?,
            tokens: ClaimedTokens {
                access: Secret::new(self.access.as_str()),
                refresh: Secret::new(self.refresh.as_str()),
                expires_in_s: self.expires_in_s,
            },
            application_token: Secret::new(self.application_token.as_str()),
            server_endpoint: self.server_endpoint.clone(),
        })
    }
}

/// A claim that a door carries out. Dropped with the door's work, whatever ends that.
struct InHand<'a> {
    registry: &'a Registry,
    body: Vec<u8>,
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.registry.pending().in_hand.remove(&self.body);
    }
}

impl Registry {
    /// Takes a portal's word about an installation: durable before anything is asked about it.
    ///
    /// # Errors
    /// [`InstallError`]: it was refuted, or could not be taken.
    pub(super) async fn take_claim(self: &Arc<Self>, claim: &Claim) -> Result<(), InstallError> {
        let Some(records) = self.records.as_ref().filter(|_| self.could_be_ours(claim)) else {
            return self.install(claim).await.map(drop);
        };
        let notice = self.written(records, claim);
        let Some(in_hand) = self.in_hand(notice.body.to_vec()) else {
            return self.install(claim).await.map(drop);
        };
        let accepted = self.parts.store.accept(notice).await;
        let accepted = accepted.map_err(|error| InstallError::Unavailable(error.text()))?;
        let outcome = self.install(claim).await.map(drop);
        if let Err(InstallError::Unavailable(reason)) = &outcome {
            tracing::warn!(notice = %accepted.id, reason = %reason.en, "an installation waits to be confirmed");
            self.pending().left += 1;
            drop(in_hand);
            self.parts.work_arrived.notify_one();
            return Ok(());
        }
        if let Err(error) = self.parts.store.settle(accepted.id, Fate::Done).await {
            // it will be carried out once more, which changes nothing
            tracing::warn!(notice = %accepted.id, %error, "a claim that was judged stays in the inbox for now");
        }
        outcome
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None: there are too many already.
    fn in_hand(&self, body: Vec<u8>) -> Option<InHand<'_>> {
        let mut pending = self.pending();
        if pending.in_hand.len() + pending.left >= PENDING_MAX {
            return None;
        }
        pending.in_hand.insert(body.clone());
        Some(InHand { registry: self, body })
    }

    fn could_be_ours(&self, claim: &Claim) -> bool {
        !claim.tokens.refresh.is_empty() && self.apps.iter().any(|app| app.admits(&claim.member_id))
    }

    fn written(&self, records: &Installations, claim: &Claim) -> NewNotice {
        let text = serde_json::to_vec(&Written::from(claim)).map(zeroize::Zeroizing::new);
        let text = text.expect("texts and a number are JSON");
        NewNotice {
            kind: NoticeKind::AppClaim,
            portal: None,
            received_at: self.parts.clock.now(),
            content_type: CONTENT_TYPE.to_owned(),
            body: Bytes::from(records.seal_claim(&text)),
        }
    }

    /// Carries out a claim of the inbox.
    pub async fn work_off(self: &Arc<Self>, notice: &Notice) -> WorkedOff {
        if self.pending().in_hand.contains(notice.body.as_ref()) {
            return WorkedOff::InHand;
        }
        let outcome = self.judge_written(notice).await;
        if !matches!(outcome, WorkedOff::Later(_)) {
            let mut pending = self.pending();
            pending.left = pending.left.saturating_sub(1);
        }
        outcome
    }

    async fn judge_written(self: &Arc<Self>, notice: &Notice) -> WorkedOff {
        let Some(claim) = self.read(notice) else { return WorkedOff::Hopeless(unreadable()) };
        if self.is_overtaken(&claim.member_id, notice.received_at) {
            return WorkedOff::Settled("overtaken");
        }
        match self.install(&claim).await {
            Ok(_) => WorkedOff::Settled("installed"),
            Err(InstallError::Unavailable(_))
                if self.parts.clock.now().ms_since(notice.received_at) >= CLAIM_LIFE_MS =>
            {
                WorkedOff::Hopeless(too_old(&claim.member_id))
            }
            Err(InstallError::Unavailable(reason)) => WorkedOff::Later(reason.en),
            Err(refuted) => {
                tracing::warn!(member_id = %claim.member_id, error = %refuted, "a claim of an installation was refuted");
                WorkedOff::Settled("refuted")
            }
        }
    }

    fn read(&self, notice: &Notice) -> Option<Claim> {
        let text = self.records.as_ref()?.open_claim(&notice.body)?;
        serde_json::from_slice::<Written>(&text).ok()?.claim()
    }

    /// An administrator has opened the application since: those tokens are younger.
    fn is_overtaken(&self, member_id: &MemberId, since: Timestamp) -> bool {
        let mut keepers = self.keepers().into_iter().map(|keeper| keeper.installation());
        keepers.any(|it| {
            it.key.member_id == *member_id && it.status == InstallationStatus::Active && it.updated_at > since
        })
    }
}

fn unreadable() -> Text {
    Text::new(
        "Сообщение портала об установке приложения не открыть: ключ, которым оно запечатано, сменился. Пусть администратор портала откроет приложение.",
        "A portal's message about an installation cannot be opened: the key that sealed it has changed. Let an administrator of the portal open the application.",
    )
}

fn too_old(member_id: &MemberId) -> Text {
    Text::new(
        format!(
            "Портал {member_id} сообщил об установке приложения, но сервер авторизации сутки не отвечал. Пусть администратор портала откроет приложение."
        ),
        format!(
            "Portal {member_id} told of an installation, but the authorisation server did not answer for a day. Let an administrator of the portal open the application."
        ),
    )
}
