//! TokenKeeper: the tokens of one installation, renewed by one caller at a time and on disk before their first use.
//!
//! There is no timer that renews: the vendor blocks applications that do (`settings/oauth`). A call that the portal
//! refused as too old asks for a renewal; a hundred at once get one. An installation that nobody uses is renewed
//! every few weeks, far inside the shortest documented life of a refresh token.
//!
//! The server forgets a refresh token the moment it is used, so an answer that is lost, or a crash before the new
//! pair is on disk, may lose the access. The way back:
//! 1. a mark on disk says that a renewal had begun;
//! 2. the old pair is tried, for the request may not have arrived;
//! 3. if it is refused for good, the installation needs authorisation: its calls fail as `Auth`, so documents wait and
//!    none is parked; health, `doctor`, `portals show` and a notice say what to click;
//! 4. an administrator who opens the application brings a new pair, and the work goes on.
//!
//! Invariants: **TK-1** at most one renewal per installation is under way; **TK-2** a pair is used only after it is on
//! disk; **TK-3** a renewal that has begun is finished even if nobody waits for it any more.

use super::crash_point::{self, CrashPoint};
use crate::domain::{
    Clock, Failure, FailureClass, FailureKind, Installation, InstallationStatus, Secret, Text, Timestamp,
    TokenPair,
};
use crate::providers::bitrix24::TokenSource;
use crate::providers::bitrix24::credentials::Stale;
use crate::providers::bitrix24::oauth::{Grant, OauthClient, OauthFailure, Refusal, needs_authorisation};
use crate::providers::url_rules::Origin;
use crate::store::Installations;
use crate::telemetry::metrics::{Metrics, TokenOutcome};
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Mutex;

/// Renewals of one installation within [`RENEWALS_WINDOW_MS`]: an honest portal needs one an hour. More means that it
/// refuses what it has just given, and asking on would get the application blocked.
const RENEWALS_MAX: usize = 6;
/// See [`RENEWALS_MAX`], in milliseconds.
const RENEWALS_WINDOW_MS: u64 = 10 * 60_000;
/// A pair that was refused for good is tried once more after so long, in milliseconds: even that answer may be wrong.
const REFUSED_RETRY_MS: u64 = 6 * 3_600_000;

/// The tokens of one installation.
pub struct TokenKeeper {
    oauth: OauthClient,
    records: Installations,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    held: Mutex<Held>,
    /// What `held` was last, for readers that cannot wait.
    seen: RwLock<Installation>,
}

#[derive(Debug)]
struct Held {
    installation: Installation,
    /// Came from the server, and the disk would not take it yet.
    unsaved: Option<TokenPair>,
    renewals: VecDeque<Timestamp>,
    /// The present pair was made because the portal did not know the one before.
    made_for_unknown: bool,
    refused_at: Option<Timestamp>,
}

impl std::fmt::Debug for TokenKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKeeper").field("installation", &self.installation().key).finish_non_exhaustive()
    }
}

impl TokenKeeper {
    /// Keeps the tokens of `installation`, which is on disk.
    pub fn new(
        oauth: OauthClient,
        records: Installations,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        installation: Installation,
    ) -> Arc<Self> {
        let seen = RwLock::new(installation.clone());
        // what was refused before a restart is tried again only after its pause
        let refused = installation.status == InstallationStatus::NeedsAuthorisation;
        let held = Held {
            refused_at: refused.then(|| clock.now()),
            installation,
            unsaved: None,
            renewals: VecDeque::new(),
            made_for_unknown: false,
        };
        Arc::new(Self { oauth, records, clock, metrics, held: Mutex::new(held), seen })
    }

    /// The installation as it was last.
    pub fn installation(&self) -> Installation {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps everybody from changing the installation for as long as the guard lives.
    pub(super) async fn hold(&self) -> impl Drop + '_ {
        self.held.lock().await
    }

    /// Changes the installation: on disk when it returns.
    ///
    /// # Errors
    /// The store's failure; nothing was changed.
    pub async fn change(&self, change: impl FnOnce(&mut Installation)) -> Result<Installation, Failure> {
        let mut held = self.held.lock().await;
        let access = |it: &Installation| it.tokens.as_ref().map(|pair| pair.access.clone());
        let before = access(&held.installation);
        let mut next = held.installation.clone();
        change(&mut next);
        self.keep(&mut held, next).await?;
        let is_fresh = access(&held.installation) != before;
        if is_fresh && held.installation.status == InstallationStatus::Active {
            // fresh from an administrator: what went wrong before is over. A mere rename must not drop a pair that
            // waits for the disk: it is the only valid one.
            held.unsaved = None;
            held.refused_at = None;
            held.made_for_unknown = false;
        }
        Ok(held.installation.clone())
    }

    /// Renews a pair that nobody has used for `idle_ms`, so that it does not die of old age.
    pub async fn keep_alive(self: &Arc<Self>, idle_ms: u64) {
        let it = self.installation();
        let idle = self.clock.now().ms_since(it.refreshed_at) >= idle_ms;
        if let Some(pair) = it.tokens.filter(|_| idle && it.status == InstallationStatus::Active) {
            tracing::info!(installation = %it.key, "an idle installation's tokens are renewed");
            let renewed = self.clone().renew(pair.access, Stale::Expired).await;
            if let Err(failure) = renewed {
                tracing::warn!(installation = %it.key, code = %failure.code, "the tokens were not renewed");
            }
        }
    }

    async fn keep(&self, held: &mut Held, next: Installation) -> Result<(), Failure> {
        self.records.put(&next).await.map_err(|error| {
            tracing::error!(installation = %next.key, %error, "an installation cannot be stored");
            Failure::new(FailureClass::Transient, FailureKind::Local, "store", error.text())
        })?;
        *self.seen.write().unwrap_or_else(PoisonError::into_inner) = next.clone();
        held.installation = next;
        Ok(())
    }

    async fn present(self: Arc<Self>) -> Result<Secret, Failure> {
        let mut held = self.held.lock().await;
        self.save_unsaved(&mut held).await?;
        match (held.installation.status, &held.installation.tokens) {
            (InstallationStatus::Active, Some(pair)) => Ok(pair.access.clone()),
            (InstallationStatus::NeedsAuthorisation, Some(_)) if self.may_try_refused(&held) => {
                self.renew_now(&mut held, Stale::Expired).await
            }
            (status, _) => Err(unusable(status)),
        }
    }

    fn may_try_refused(&self, held: &Held) -> bool {
        held.refused_at.is_none_or(|at| self.clock.now().ms_since(at) >= REFUSED_RETRY_MS)
    }

    async fn renew(self: Arc<Self>, refused: Secret, why: Stale) -> Result<Secret, Failure> {
        let mut held = self.held.lock().await;
        self.save_unsaved(&mut held).await?;
        match (held.installation.status, &held.installation.tokens) {
            (InstallationStatus::Active, Some(pair)) if pair.access != refused => Ok(pair.access.clone()),
            (InstallationStatus::Active, Some(_)) => {
                self.judge_pace(&mut held, why)?;
                self.renew_now(&mut held, why).await
            }
            (status, _) => Err(unusable(status)),
        }
    }

    /// A pair that the disk refused is tried again before anything else: it is the only valid one.
    async fn save_unsaved(&self, held: &mut Held) -> Result<(), Failure> {
        let Some(pair) = held.unsaved.clone() else { return Ok(()) };
        let next = self.renewed(held, pair);
        self.keep(held, next).await?;
        held.unsaved = None;
        Ok(())
    }

    fn judge_pace(&self, held: &mut Held, why: Stale) -> Result<(), Failure> {
        let now = self.clock.now();
        held.renewals.retain(|at| now.ms_since(*at) < RENEWALS_WINDOW_MS);
        if why == Stale::Unknown && held.made_for_unknown {
            return Err(unusable(InstallationStatus::NeedsAuthorisation));
        }
        if held.renewals.len() < RENEWALS_MAX {
            held.renewals.push_back(now);
            return Ok(());
        }
        let text = Text::new(
            "Портал раз за разом отвергает только что выданные токены. Обновление приостановлено на несколько минут; проверьте часы портала.",
            "The portal refuses tokens that were just given, again and again. Renewal rests for some minutes; check the portal's clock.",
        );
        Err(Failure::new(FailureClass::Auth, FailureKind::Credentials, "renewals_exhausted", text)
            .retry_after_ms(RENEWALS_WINDOW_MS))
    }

    async fn renew_now(&self, held: &mut Held, why: Stale) -> Result<Secret, Failure> {
        let begun = Installation { refresh_began_at: Some(self.clock.now()), ..held.installation.clone() };
        let Some(old) = begun.tokens.clone() else {
            return Err(unusable(InstallationStatus::NeedsAuthorisation));
        };
        let host = begun.oauth_origin.clone();
        self.keep(held, begun).await?;
        let asked = match Origin::parse(&host) {
            Ok(host) => self.oauth.refresh(&host, &old.refresh).await,
            Err(_) => return Err(unusable(InstallationStatus::NeedsAuthorisation)),
        };
        match asked {
            Ok(grant) if grant.member_id == held.installation.key.member_id => {
                self.take(held, grant, why).await
            }
            Ok(_) => {
                tracing::error!(installation = %held.installation.key, "a renewal gave tokens of another portal");
                self.needs_authorisation(held).await?;
                Err(unusable(InstallationStatus::NeedsAuthorisation))
            }
            Err(refused) => self.refused(held, refused).await,
        }
    }

    async fn take(&self, held: &mut Held, grant: Grant, why: Stale) -> Result<Secret, Failure> {
        crash_point::reach(CrashPoint::TokensReceived);
        let expires_at = self.clock.now().plus_ms(grant.expires_in_s.saturating_mul(1_000));
        let pair = TokenPair { access: grant.access, refresh: grant.refresh, expires_at };
        let next = self.renewed(held, pair.clone());
        if let Err(failure) = self.keep(held, next).await {
            held.unsaved = Some(pair);
            return Err(failure);
        }
        crash_point::reach(CrashPoint::TokensStored);
        held.made_for_unknown = why == Stale::Unknown;
        held.refused_at = None;
        self.metrics.token_renewed(TokenOutcome::Renewed);
        tracing::info!(installation = %held.installation.key, "the tokens were renewed");
        Ok(pair.access)
    }

    fn renewed(&self, held: &Held, pair: TokenPair) -> Installation {
        Installation {
            tokens: Some(pair),
            status: InstallationStatus::Active,
            refreshed_at: self.clock.now(),
            refresh_began_at: None,
            ..held.installation.clone()
        }
    }

    async fn refused(&self, held: &mut Held, refused: OauthFailure) -> Result<Secret, Failure> {
        let OauthFailure { refusal, failure } = refused;
        tracing::warn!(
            installation = %held.installation.key, code = %failure.code, reason = %failure.reason.en,
            "the tokens were not renewed"
        );
        match refusal {
            Refusal::Grant | Refusal::Removed => {
                self.metrics.token_renewed(TokenOutcome::Refused);
                self.needs_authorisation(held).await?;
            }
            Refusal::Client | Refusal::Payment | Refusal::Request => {
                self.metrics.token_renewed(TokenOutcome::Refused);
                // the server has answered, and the refresh token was not used
                let next = Installation { refresh_began_at: None, ..held.installation.clone() };
                self.keep(held, next).await?;
            }
            // the mark stays: the server may have used the token up
            Refusal::Unavailable => self.metrics.token_renewed(TokenOutcome::Failed),
        }
        Err(*failure)
    }

    async fn needs_authorisation(&self, held: &mut Held) -> Result<(), Failure> {
        let status = InstallationStatus::NeedsAuthorisation;
        held.refused_at = Some(self.clock.now());
        let next = Installation { status, ..held.installation.clone() };
        self.keep(held, next).await
    }
}

/// Why calls cannot be made, for the documents that wait.
fn unusable(status: InstallationStatus) -> Failure {
    let (code, text) = match status {
        InstallationStatus::Active | InstallationStatus::NeedsAuthorisation => {
            ("needs_authorisation", needs_authorisation())
        }
        InstallationStatus::Uninstalled => (
            "application_removed",
            Text::new(
                "Приложение удалено с портала. Установите его заново, и работа продолжится.",
                "The application was removed from the portal. Install it again, and the work goes on.",
            ),
        ),
    };
    Failure::new(FailureClass::Auth, FailureKind::Credentials, code, text)
}

/// The keeper as the client sees it. A renewal runs in a task of its own: dropping the call does not drop it.
#[derive(Debug, Clone)]
pub struct Tokens(pub Arc<TokenKeeper>);

impl TokenSource for Tokens {
    fn access(&self) -> BoxFuture<'_, Result<Secret, Failure>> {
        Box::pin(finished(tokio::spawn(self.0.clone().present())))
    }

    fn instead_of<'a>(&'a self, refused: &'a Secret, why: Stale) -> BoxFuture<'a, Result<Secret, Failure>> {
        Box::pin(finished(tokio::spawn(self.0.clone().renew(refused.clone(), why))))
    }

    fn moved(&self, to: &Origin) {
        let (keeper, origin) = (self.0.clone(), to.to_string());
        drop(tokio::spawn(async move {
            // if it cannot be stored, the old place answers 302 once more after a restart
            drop(keeper.change(|installation| installation.origin = origin).await);
        }));
    }
}

async fn finished(task: tokio::task::JoinHandle<Result<Secret, Failure>>) -> Result<Secret, Failure> {
    task.await.unwrap_or_else(|_| {
        let text = Text::new("Обновление токенов прервано.", "The renewal of tokens was interrupted.");
        Err(Failure::new(FailureClass::Transient, FailureKind::Local, "renewal_lost", text))
    })
}
