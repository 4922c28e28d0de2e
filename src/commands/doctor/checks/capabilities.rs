//! What a portal can do: methods that the rules need, and what becomes of features without them.
//!
//! A portal with a webhook is asked here; one with an application only the running service can ask.

use super::needs::Needs;
use crate::actors::features::{self, Cause, Shortfall, Standing, WayIn};
use crate::commands::doctor::finding::{Finding, Verdict};
use crate::domain::portal_capabilities::{CapabilityMap, Presence};
use crate::domain::{PortalId, Text, Timestamp};
use crate::http::operator_view::CapabilityLine;
use crate::providers::bitrix24::{Caller, capabilities};
use crate::saga::document::Rule;
use std::collections::BTreeSet;

/// Asks a portal with a webhook.
pub async fn check(
    caller: &dyn Caller,
    (portal, rules): (&PortalId, &[Rule]),
    way_in: WayIn,
    needs: &Needs,
    now: Timestamp,
) -> Vec<Finding> {
    let wanted = features::wanted(rules, portal, way_in);
    let methods: BTreeSet<&'static str> =
        features::methods(&wanted).into_iter().chain(needs.methods.iter().copied()).collect();
    let methods: Vec<&'static str> = methods.into_iter().collect();
    let map = match capabilities::read_map(caller, way_in.asked_as, &methods, now).await {
        Ok(map) => map,
        Err(failure) => {
            let unknown =
                Text::new("Доступность методов не узнать.", "It cannot be told which methods are there.");
            return vec![
                Finding::of(Verdict::of_failure(&failure).min(Verdict::Warning), "methods", unknown)
                    .because(&failure),
            ];
        }
    };
    if map.methods.is_empty() {
        return vec![Finding::warning(
            "methods",
            "Портал не сказал, какие методы у него есть; служба будет пробовать всё.",
            "The portal did not say which methods it has; the service tries everything.",
        )];
    }
    let found = features::shortfalls(&map, &wanted);
    let mut findings: Vec<Finding> = found.iter().map(finding).collect();
    findings.extend(further(&map, &found, needs));
    if findings.is_empty() {
        let count = methods.len();
        findings.push(Finding::ok(
            "methods",
            format!("Все нужные методы доступны ({count})."),
            format!("All methods that are needed are there ({count})."),
        ));
    }
    findings
}

fn finding(one: &Shortfall) -> Finding {
    Finding::of(verdict(one.standing), "methods", one.text())
}

fn verdict(standing: Standing) -> Verdict {
    match standing {
        Standing::Off => Verdict::Problem,
        Standing::Otherwise => Verdict::Warning,
    }
}

/// Methods that a rule needs and that no feature has told of.
fn further(map: &CapabilityMap, found: &[Shortfall], needs: &Needs) -> Option<Finding> {
    let told: BTreeSet<&str> = found
        .iter()
        .flat_map(|one| match &one.cause {
            Cause::Methods(methods) | Cause::Scopes(methods) => methods.as_slice(),
            Cause::Events(_) | Cause::Plan(_) => &[],
        })
        .copied()
        .collect();
    let absent = |method: &&&'static str| {
        let presence = map.presence(method);
        matches!(presence, Some(Presence::Missing | Presence::OutOfScope)) && !told.contains(**method)
    };
    let missing: Vec<&str> = needs.methods.iter().filter(absent).copied().collect();
    if missing.is_empty() {
        return None;
    }
    let list = missing.join(", ");
    Some(
        Finding::problem(
            "methods",
            format!("Недоступны методы: {list}."),
            format!("These methods are not available: {list}."),
        )
        .fix(
            "Если права есть, обновите модули коробки (disk, crm, im, rest) или проверьте тариф облака.",
            "If the scopes are there, update the modules of the box (disk, crm, im, rest), or check the plan of the cloud.",
        ),
    )
}

/// What the running service knows of a portal with an application.
pub fn of_line(portal: &str, known: &CapabilityLine) -> Vec<Finding> {
    let named = |text: &Text| Text::new(format!("{portal}: {}", text.ru), format!("{portal}: {}", text.en));
    let of_feature =
        |state: &str| if state == Standing::Off.name() { Verdict::Problem } else { Verdict::Warning };
    let features = known.features.iter();
    let mut findings: Vec<Finding> =
        features.map(|one| Finding::of(of_feature(&one.state), "methods", named(&one.text))).collect();
    if let Some(why) = &known.unread {
        findings.push(Finding::of(Verdict::Warning, "methods", named(why)));
    }
    if findings.is_empty() && known.checked_at.is_some() {
        findings.push(Finding::of(
            Verdict::Ok,
            "methods",
            named(&Text::new("портал умеет всё нужное.", "the portal can do all that is needed.")),
        ));
    }
    findings
}
