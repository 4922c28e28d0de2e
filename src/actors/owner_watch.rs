//! OwnerWatch: looks now and then at the person behind a portal's credential, before everything stops with that person.
//!
//! A webhook acts as its creator: it dies with the creator's dismissal, loses what the creator may no longer do, and
//! may have an expiry date, which REST does not show (so the configuration names it). Each [`Concern`] is told once to
//! the portal's administrators, remembered over restarts, and shown for as long as it lasts.
//!
//! Knows nothing of how we act (webhook or application): it asks through the portal's session. A portal that does not
//! answer is no news of its owner: then the last look stands.

use super::Parts;
use super::portal_session::{PortalCaller, PortalSession};
use super::session_registry::Tenure;
use crate::domain::portal_owner::OwnerRecord;
use crate::domain::{Failure, FailureKind, PortalId, Text, Timestamp};
use crate::providers::bitrix24::account::{self, Owner, Profile, UserLookup};
use crate::providers::bitrix24::{Caller, notify};
use actix::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// So long before a webhook's expiry people are warned.
const EXPIRY_WARNING_MS: u64 = 7 * 86_400_000;
/// The first look after a start comes this late at most: after the work that waited, and not at every portal at once.
const FIRST_LOOK_MS_MAX: u64 = 60_000;

/// How a portal's owner is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerSettings {
    /// Pause between two looks, in milliseconds; none: nobody looks.
    pub interval_ms: Option<u64>,
    /// When the webhook expires, as its creator has set it.
    pub expires: Option<Expiry>,
    /// Scopes without which the portal's rules do not work, lower case.
    pub scopes: BTreeSet<String>,
    /// Users of the portal who are told.
    pub administrators: Vec<u64>,
}

/// The day on which a webhook expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// Its beginning, in the zone of the people.
    pub at: Timestamp,
    /// As people write it: `2027-01-31`.
    pub day: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gravity {
    /// It will stop working, or may.
    Warning,
    /// It does not work any more.
    Alarm,
}

/// Something about the owner that a person has to do something about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concern {
    /// The owner is dismissed or may not use REST any more.
    Dismissed,
    /// The portal refuses the credential: deleted, expired, or edited by another administrator, which changes it.
    Refused {
        /// The portal's code.
        code: String,
    },
    /// The owner is no administrator any more: folders and items may be out of reach now.
    NoAdmin {
        /// Who.
        name: String,
    },
    /// A scope is gone that the rules need.
    ScopeLost {
        /// Which.
        scope: String,
    },
    /// The webhook will expire within a week.
    ExpiresSoon {
        /// The day.
        day: String,
        /// Whole days that are left.
        days: u64,
    },
    /// The day has come.
    Expired {
        /// The day.
        day: String,
    },
}

impl Concern {
    /// Stable code, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Dismissed => "owner_dismissed",
            Self::Refused { .. } => "credential_refused",
            Self::NoAdmin { .. } => "owner_no_admin",
            Self::ScopeLost { .. } => "scope_lost",
            Self::ExpiresSoon { .. } => "webhook_expires_soon",
            Self::Expired { .. } => "webhook_expired",
        }
    }

    /// What makes it another concern of the same kind: told anew.
    fn key(&self) -> String {
        match self {
            Self::Dismissed | Self::Refused { .. } | Self::NoAdmin { .. } => self.code().to_owned(),
            Self::ScopeLost { scope } => format!("{}:{scope}", self.code()),
            Self::ExpiresSoon { day, .. } | Self::Expired { day } => format!("{}:{day}", self.code()),
        }
    }

    /// How bad it is.
    pub fn gravity(&self) -> Gravity {
        match self {
            Self::Dismissed | Self::Refused { .. } | Self::ScopeLost { .. } | Self::Expired { .. } => {
                Gravity::Alarm
            }
            Self::NoAdmin { .. } | Self::ExpiresSoon { .. } => Gravity::Warning,
        }
    }

    /// For people, with the remedy.
    pub fn text(&self) -> Text {
        match self {
            Self::Dismissed => Text::new(
                "Владелец вебхука или приложения уволен либо лишён доступа к REST: портал нам больше не отвечает. Создайте вебхук от имени учётной записи, которую не уволят, и замените webhook_url (приложение переустановите).",
                "The owner of the webhook or application is dismissed or may not use REST any more: the portal does not answer us. Make a webhook as an account that stays, and replace webhook_url (install an application anew).",
            ),
            Self::Refused { code } => Text::new(
                format!(
                    "Портал не принимает наш доступ ({code}): вебхук удалён, истёк или изменён другим администратором (тогда меняется секрет). Проверьте его в «Разработчикам → Интеграции» и обновите webhook_url."
                ),
                format!(
                    "The portal refuses our credential ({code}): the webhook is deleted, has expired, or was edited by another administrator, which changes its secret. Look at it in Developer resources → Integrations and update webhook_url."
                ),
            ),
            Self::NoAdmin { name } => Text::new(
                format!(
                    "Владелец вебхука ({name}) больше не администратор портала: папки и карточки могли стать недоступны. Проверьте командой edobridge doctor --write-test."
                ),
                format!(
                    "The owner of the webhook ({name}) is no administrator of the portal any more: folders and items may be out of reach. Check with edobridge doctor --write-test."
                ),
            ),
            Self::ScopeLost { scope } => Text::new(
                format!(
                    "У вебхука нет права {scope}, без которого правила не работают. Откройте вебхук от имени его владельца, верните право и сохраните."
                ),
                format!(
                    "The webhook lacks the scope {scope}, without which the rules do not work. Open the webhook as its owner, give the scope back and save."
                ),
            ),
            Self::ExpiresSoon { day, days } => Text::new(
                format!(
                    "Срок действия вебхука кончается {day} (осталось дней: {days}). Продлите его в «Разработчикам → Интеграции» и исправьте webhook_expires."
                ),
                format!(
                    "The webhook expires on {day} (days left: {days}). Prolong it in Developer resources → Integrations and correct webhook_expires."
                ),
            ),
            Self::Expired { day } => Text::new(
                format!(
                    "Срок действия вебхука истёк {day}. Продлите его в «Разработчикам → Интеграции» и исправьте webhook_expires."
                ),
                format!(
                    "The webhook expired on {day}. Prolong it in Developer resources → Integrations and correct webhook_expires."
                ),
            ),
        }
    }
}

/// What the portal says of the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The owner, or that there is none any more, or that we are not let in.
    pub owner: Standing,
    /// The scopes, lower case; none: they could not be told.
    pub scopes: Option<BTreeSet<String>>,
}

/// Who the owner is, and whether still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Works there.
    Active(Profile),
    /// Is dismissed.
    Dismissed,
    /// The credential is refused with this code.
    Refused(String),
}

/// Asks the portal: `profile`, `user.get`, `scope`.
///
/// # Errors
/// The portal does not answer or limits us: nothing is known of the owner then.
pub async fn look(caller: &dyn Caller) -> Result<Look, Failure> {
    let profile = match account::owner(caller).await {
        Ok(Owner::Active(profile)) => profile,
        Ok(Owner::Inactive) => return Ok(Look { owner: Standing::Dismissed, scopes: None }),
        Err(failure) => return refused(failure).map(|owner| Look { owner, scopes: None }),
    };
    // a technical user, who takes over from a dismissed one, is not visible and not dismissed
    if let Some(UserLookup::Found { is_active: false, .. }) =
        if_told(account::user(caller, profile.id).await)?
    {
        return Ok(Look { owner: Standing::Dismissed, scopes: None });
    }
    let scopes = if_told(account::scope(caller).await)?.map(|scopes| scopes.into_iter().collect());
    Ok(Look { owner: Standing::Active(profile), scopes })
}

/// An answer, or none where the portal refuses that question to us (a missing scope, an old box). One that it could
/// not answer now is no look at all: what is known must not change by it.
fn if_told<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(told) => Ok(Some(told)),
        Err(failure) => match failure.kind {
            FailureKind::Refused | FailureKind::Credentials => Ok(None),
            FailureKind::Unreachable
            | FailureKind::NoAnswer
            | FailureKind::ServerError
            | FailureKind::Garbled
            | FailureKind::Limit
            | FailureKind::Local => Err(failure),
        },
    }
}

/// Codes of the portal that mean the person, not the credential (Bitrix24 docs, table of system errors).
const OF_THE_PERSON: [&str; 3] = ["authorization_error", "user_access_error", "allowed_only_intranet_user"];

fn refused(failure: Failure) -> Result<Standing, Failure> {
    if failure.kind != FailureKind::Credentials {
        return Err(failure);
    }
    if OF_THE_PERSON.contains(&failure.code.as_str()) {
        return Ok(Standing::Dismissed);
    }
    Ok(Standing::Refused(failure.code))
}

/// What there is to worry about, by a look (none: nobody could look) and by what was known before.
pub fn concerns(
    look: Option<&Look>,
    before: &OwnerRecord,
    settings: &OwnerSettings,
    now: Timestamp,
) -> Vec<Concern> {
    let mut found = look.map(|look| of_look(look, before, settings)).unwrap_or_default();
    if let Some(Expiry { at, day }) = &settings.expires {
        let day = day.clone();
        if *at <= now {
            found.push(Concern::Expired { day });
        } else if at.ms_since(now) <= EXPIRY_WARNING_MS {
            found.push(Concern::ExpiresSoon { day, days: at.ms_since(now) / 86_400_000 });
        }
    }
    found
}

fn of_look(look: &Look, before: &OwnerRecord, settings: &OwnerSettings) -> Vec<Concern> {
    let profile = match &look.owner {
        Standing::Active(profile) => profile,
        Standing::Dismissed => return vec![Concern::Dismissed],
        Standing::Refused(code) => return vec![Concern::Refused { code: code.clone() }],
    };
    let mut found = Vec::new();
    if before.was_admin && before.user_id == Some(profile.id) && !profile.is_admin {
        found.push(Concern::NoAdmin { name: profile.name.clone() });
    }
    if let Some(scopes) = &look.scopes {
        let lost = settings.scopes.difference(scopes);
        found.extend(lost.map(|scope| Concern::ScopeLost { scope: scope.clone() }));
    }
    found
}

/// What is known of one portal's owner, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnerView {
    /// When the portal was asked last in this process.
    pub checked_at: Option<Timestamp>,
    /// The user as whom we act: id and name.
    pub user: Option<(u64, String)>,
    /// The day on which the webhook expires, if the configuration says so.
    pub expires_on: Option<String>,
    /// What there is to worry about.
    pub concerns: Vec<Concern>,
    /// Why the last look saw nothing.
    pub unseen: Option<Text>,
}

/// What is known of the owners of all portals.
#[derive(Debug, Default)]
pub struct OwnerBoard(Mutex<BTreeMap<PortalId, OwnerView>>);

impl OwnerBoard {
    /// What is known of a portal's owner; none before the first look.
    pub fn of(&self, portal: &PortalId) -> Option<OwnerView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(portal).cloned()
    }

    /// One sentence for each concern.
    pub fn alarms(&self) -> Vec<Text> {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let each = board.iter().flat_map(|(portal, view)| view.concerns.iter().map(move |c| (portal, c)));
        each.map(|(portal, concern)| of_portal(portal, &concern.text())).collect()
    }

    /// Codes by portal, for programs.
    pub fn codes(&self) -> BTreeMap<String, Vec<&'static str>> {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let codes = |view: &OwnerView| view.concerns.iter().map(Concern::code).collect();
        board.iter().map(|(portal, view)| (portal.to_string(), codes(view))).collect()
    }

    fn put(&self, portal: &PortalId, view: OwnerView) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(portal.clone(), view);
    }
}

fn of_portal(portal: &PortalId, text: &Text) -> Text {
    Text::new(format!("Портал «{portal}». {}", text.ru), format!("Portal \"{portal}\". {}", text.en))
}

/// Starts the watch of `portal` in `arbiter`, if one is wanted, for as long as `tenure` lasts.
pub fn start(
    parts: &Arc<Parts>,
    portal: &PortalId,
    session: &Addr<PortalSession>,
    tenure: Tenure,
    settings: &OwnerSettings,
    arbiter: &ArbiterHandle,
) {
    let Some(interval_ms) = settings.interval_ms else { return };
    let watch = OwnerWatch {
        parts: parts.clone(),
        portal: portal.clone(),
        caller: PortalCaller::background(session.clone()),
        settings: settings.clone(),
        interval_ms,
    };
    arbiter.spawn(tenure.through(watch.run()));
}

/// The watch of one portal's owner.
struct OwnerWatch {
    parts: Arc<Parts>,
    portal: PortalId,
    caller: PortalCaller,
    settings: OwnerSettings,
    interval_ms: u64,
}

impl OwnerWatch {
    async fn run(self) {
        let first = FIRST_LOOK_MS_MAX.min(self.interval_ms);
        let mut pause_ms = first / 2 + super::chance() % (first / 2 + 1);
        while !self.parts.is_draining() {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            self.watch().await;
            pause_ms = self.interval_ms;
        }
    }

    /// One look, and what follows from it. Without the store nobody is told: they would be told again and again.
    async fn watch(&self) {
        let before = match self.parts.store.portal_owner(&self.portal).await {
            Ok(before) => before,
            Err(error) => {
                return tracing::warn!(portal = %self.portal, %error, "the last look at the owner cannot be read");
            }
        };
        let now = self.parts.clock.now();
        let looked = look(&self.caller).await;
        let found = concerns(looked.as_ref().ok(), &before, &self.settings, now);
        self.show(&looked, &found, now);
        let told = self.tell_news(&before, &found).await;
        let after = remembered(looked.as_ref().ok(), &before, &found, told, now);
        let changed = OwnerRecord { checked_at: before.checked_at, ..after.clone() } != before;
        if (changed || before.checked_at.is_none())
            && let Err(error) = self.parts.store.put_portal_owner(&self.portal, &after).await
        {
            tracing::warn!(portal = %self.portal, %error, "a look at the owner cannot be remembered");
        }
    }

    fn show(&self, looked: &Result<Look, Failure>, found: &[Concern], now: Timestamp) {
        let earlier = self.parts.owners.of(&self.portal).unwrap_or_default();
        for concern in found.iter().filter(|concern| !earlier.concerns.contains(concern)) {
            let (code, text) = (concern.code(), concern.text());
            match concern.gravity() {
                Gravity::Alarm => tracing::error!(portal = %self.portal, code, "{}", text.en),
                Gravity::Warning => tracing::warn!(portal = %self.portal, code, "{}", text.en),
            }
        }
        let mut concerns = found.to_vec();
        let (user, unseen) = match looked {
            Ok(Look { owner: Standing::Active(profile), .. }) => {
                (Some((profile.id, profile.name.clone())), None)
            }
            Ok(_) => (earlier.user, None),
            Err(failure) => {
                // what the last look saw still holds; dates were looked at anew
                let of_before = earlier
                    .concerns
                    .into_iter()
                    .filter(|c| !matches!(c, Concern::ExpiresSoon { .. } | Concern::Expired { .. }));
                concerns.extend(of_before);
                (earlier.user, Some(failure.reason.clone()))
            }
        };
        self.parts.metrics.set_owner_concerns(self.portal.as_str(), concerns.len() as u64);
        let expires_on = self.settings.expires.as_ref().map(|expiry| expiry.day.clone());
        let checked_at = if looked.is_ok() { Some(now) } else { earlier.checked_at };
        self.parts.owners.put(&self.portal, OwnerView { checked_at, user, expires_on, concerns, unseen });
    }

    /// Tells the administrators what they were not told yet; the keys of what has been told now.
    async fn tell_news(&self, before: &OwnerRecord, found: &[Concern]) -> Vec<String> {
        let mut told = Vec::new();
        for concern in found.iter().filter(|concern| !before.told.contains(&concern.key())) {
            match self.tell(concern).await {
                Ok(()) => told.push(concern.key()),
                // a dismissed owner's webhook cannot tell anybody: log, metric and health say it
                Err(failure) => tracing::warn!(
                    portal = %self.portal,
                    concern = concern.code(),
                    code = %failure.code,
                    "the administrators could not be told, will try again"
                ),
            }
        }
        told
    }

    async fn tell(&self, concern: &Concern) -> Result<(), Failure> {
        let text = of_portal(&self.portal, &concern.text());
        let text = notify::plain(text.get(self.parts.policy.language));
        let tag = format!("edobridge|owner|{}|{}", self.portal, concern.key());
        for user in &self.settings.administrators {
            notify::system(&self.caller, *user, &text, &tag, &self.parts.notify_client_id).await?;
        }
        Ok(())
    }
}

/// What the next look is to know.
fn remembered(
    look: Option<&Look>,
    before: &OwnerRecord,
    found: &[Concern],
    mut told: Vec<String>,
    now: Timestamp,
) -> OwnerRecord {
    let keys: BTreeSet<String> = found.iter().map(Concern::key).collect();
    // where nobody could look, what was told of the owner may still hold
    told.extend(before.told.iter().filter(|key| look.is_none() || keys.contains(*key)).cloned());
    let Some(Look { owner: Standing::Active(profile), .. }) = look else {
        let checked_at = look.map_or(before.checked_at, |_| Some(now));
        return OwnerRecord { checked_at, told, ..before.clone() };
    };
    // a lost office is over as a concern once it was told: it may have been meant so
    let untold = found.iter().any(|c| matches!(c, Concern::NoAdmin { .. }) && !told.contains(&c.key()));
    told.retain(|key| !key.starts_with("owner_no_admin"));
    OwnerRecord {
        checked_at: Some(now),
        user_id: Some(profile.id),
        was_admin: profile.is_admin || untold,
        told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FailureClass;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const DAY: u64 = 86_400_000;

    fn settings() -> OwnerSettings {
        OwnerSettings {
            interval_ms: Some(1),
            expires: None,
            scopes: ["crm", "disk"].map(str::to_owned).into(),
            administrators: vec![1],
        }
    }

    fn active(is_admin: bool, scopes: &[&str]) -> Look {
        let profile = Profile { id: 17, name: "Анна".into(), is_admin };
        let scopes = scopes.iter().map(|s| (*s).to_owned()).collect();
        Look { owner: Standing::Active(profile), scopes: Some(scopes) }
    }

    fn codes(found: &[Concern]) -> Vec<&'static str> {
        found.iter().map(Concern::code).collect()
    }

    #[test]
    fn an_owner_who_works_there_with_all_scopes_is_no_concern() {
        let found =
            concerns(Some(&active(true, &["disk", "crm", "im"])), &OwnerRecord::default(), &settings(), NOW);
        assert_eq!(found, []);
        let unknown = Look { scopes: None, ..active(false, &[]) };
        assert_eq!(concerns(Some(&unknown), &OwnerRecord::default(), &settings(), NOW), []);
    }

    #[test]
    fn a_dismissal_is_told_from_a_refused_credential_and_both_from_a_portal_that_is_down() {
        let failure =
            |kind, code| Failure::new(FailureClass::Auth, kind, code, Text::new("Отказано.", "Refused."));
        let credentials = |code| refused(failure(FailureKind::Credentials, code));
        assert_eq!(credentials("authorization_error"), Ok(Standing::Dismissed));
        assert_eq!(credentials("invalid_credentials"), Ok(Standing::Refused("invalid_credentials".into())));
        assert!(refused(failure(FailureKind::Unreachable, "connect")).is_err());
        let asked = |kind| if_told::<()>(Err(failure(kind, "x")));
        assert_eq!(asked(FailureKind::Credentials), Ok(None), "a question that we may not ask");
        assert!(asked(FailureKind::Limit).is_err(), "a question without an answer now");
        let look = Look { owner: Standing::Dismissed, scopes: None };
        assert_eq!(
            codes(&concerns(Some(&look), &OwnerRecord::default(), &settings(), NOW)),
            ["owner_dismissed"]
        );
        assert_eq!(concerns(None, &OwnerRecord::default(), &settings(), NOW), [], "no look, no news");
    }

    #[test]
    fn people_are_warned_a_week_before_a_webhook_expires_and_again_when_it_has() {
        let look = active(true, &["disk", "crm"]);
        let at = |ms: i64| {
            let expires = Some(Expiry { at: Timestamp(NOW.0 + ms), day: format!("day {ms}") });
            let settings = OwnerSettings { expires, ..settings() };
            concerns(Some(&look), &OwnerRecord::default(), &settings, NOW)
        };
        let day = DAY as i64;
        assert_eq!(at(8 * day), []);
        assert_eq!(codes(&at(7 * day)), ["webhook_expires_soon"]);
        assert!(at(3 * day)[0].text().en.contains("days left: 3"));
        assert_eq!(codes(&at(0)), ["webhook_expired"]);
        assert_ne!(at(day)[0].key(), at(2 * day)[0].key(), "another date is told anew");
        let expires = Some(Expiry { at: NOW, day: "today".into() });
        let settings = OwnerSettings { expires, ..settings() };
        assert_eq!(codes(&concerns(None, &OwnerRecord::default(), &settings, NOW)), ["webhook_expired"]);
    }

    #[test]
    fn a_lost_scope_is_named_and_told_again_only_after_it_was_there() {
        let lost = active(true, &["disk"]);
        let found = concerns(Some(&lost), &OwnerRecord::default(), &settings(), NOW);
        assert_eq!(found, [Concern::ScopeLost { scope: "crm".into() }]);
        let told = vec![found[0].key()];
        let after = remembered(Some(&lost), &OwnerRecord::default(), &found, told, NOW);
        assert_eq!(after.told, ["scope_lost:crm"]);
        let still = remembered(Some(&lost), &after, &found, Vec::new(), NOW);
        assert_eq!(still.told, ["scope_lost:crm"], "told once");
        assert_eq!(
            remembered(None, &after, &[], Vec::new(), NOW).told,
            ["scope_lost:crm"],
            "nobody could look"
        );
        let back = active(true, &["disk", "crm"]);
        assert_eq!(remembered(Some(&back), &after, &[], Vec::new(), NOW).told, Vec::<String>::new());
    }

    #[test]
    fn a_lost_office_is_a_concern_until_it_was_told() {
        let (admin, plain) = (active(true, &["disk", "crm"]), active(false, &["disk", "crm"]));
        let first = remembered(Some(&admin), &OwnerRecord::default(), &[], Vec::new(), NOW);
        assert!(first.was_admin);
        let found = concerns(Some(&plain), &first, &settings(), NOW);
        assert_eq!(codes(&found), ["owner_no_admin"]);
        let untold = remembered(Some(&plain), &first, &found, Vec::new(), NOW);
        assert_eq!(codes(&concerns(Some(&plain), &untold, &settings(), NOW)), ["owner_no_admin"]);
        let told = remembered(Some(&plain), &first, &found, vec![found[0].key()], NOW);
        assert_eq!(concerns(Some(&plain), &told, &settings(), NOW), []);
        let other = OwnerRecord { user_id: Some(99), ..first };
        assert_eq!(concerns(Some(&plain), &other, &settings(), NOW), [], "another owner never was one");
    }
}
