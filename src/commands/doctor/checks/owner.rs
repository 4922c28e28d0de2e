//! The person behind a portal's webhook: what would end with that person, and the webhook's date.

use crate::actors::owner_watch::{self, Concern, Gravity, OwnerSettings};
use crate::commands::doctor::finding::{Finding, Verdict};
use crate::domain::portal_owner::OwnerRecord;
use crate::domain::{Text, Timestamp};
use crate::providers::bitrix24::Caller;

/// Looks at the owner. Scopes are another check's business, and so is a webhook that does not answer at all.
pub async fn check(caller: &dyn Caller, settings: &OwnerSettings, now: Timestamp) -> Vec<Finding> {
    let look = match owner_watch::look(caller).await {
        Ok(look) => look,
        Err(failure) => {
            let unknown = Text::new(
                "О владельце вебхука узнать не удалось.",
                "The owner of the webhook could not be told.",
            );
            return vec![Finding::of(Verdict::of_failure(&failure), "owner", unknown).because(&failure)];
        }
    };
    let found = owner_watch::concerns(Some(&look), &OwnerRecord::default(), settings, now);
    let own = found.iter().filter(|concern| !matches!(concern, Concern::ScopeLost { .. }));
    let mut findings: Vec<Finding> = own.map(finding).collect();
    if findings.is_empty() {
        findings.push(Finding::ok(
            "owner",
            "Владелец вебхука работает на портале, срок действия не истекает.",
            "The owner of the webhook works at the portal, and no date of expiry is near.",
        ));
    }
    if settings.interval_ms.is_some() && settings.administrators.is_empty() {
        findings.push(
            Finding::warning(
                "owner",
                "Некому сообщить, если владельца вебхука уволят или вебхук истекает: administrators пуст.",
                "Nobody would be told if the owner of the webhook is dismissed or it expires: administrators is empty.",
            )
            .fix("Впишите id сотрудников в administrators портала.", "Put ids of users into `administrators` of the portal."),
        );
    }
    findings
}

fn finding(concern: &Concern) -> Finding {
    let verdict = match concern.gravity() {
        Gravity::Alarm => Verdict::Problem,
        Gravity::Warning => Verdict::Warning,
    };
    Finding::of(verdict, "owner", concern.text())
}
