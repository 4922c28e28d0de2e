//! What a portal can do: `method.get`, `methods`, `events`, `scope`, `feature.get` (`api-reference/common/system`).
//!
//! Methods and events of a box lag behind the cloud and depend on its installed modules, so it is asked. Every answer
//! stands for itself: one that does not come, or that makes no sense, leaves only its own part unknown. All questions
//! are made at once and so share a request.
//!
//! It does not know what the methods are wanted for.

use super::account;
use super::client::Caller;
use super::drive::read;
use super::error::misshapen;
use super::wire;
use crate::domain::portal_capabilities::{CapabilityMap, FeatureCapability, MethodCapability, Presence};
use crate::domain::{Failure, Timestamp};
use crate::providers::remote::Nature;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The methods that are asked about: all that edobridge calls and that not every portal has. With the other questions
/// they fit into one batch.
pub const METHODS: [&str; 25] = [
    "bizproc.event.send",
    "bizproc.robot.add",
    "bizproc.robot.list",
    "bizproc.robot.update",
    "bizproc.workflow.instances",
    "crm.deal.get",
    "crm.documentgenerator.document.get",
    "crm.documentgenerator.document.list",
    "crm.item.fields",
    "crm.item.get",
    "crm.item.list",
    "crm.item.update",
    "crm.lead.get",
    "crm.status.list",
    "crm.timeline.comment.add",
    "crm.timeline.comment.list",
    "disk.file.get",
    "disk.folder.getchildren",
    "disk.folder.uploadfile",
    "event.offline.get",
    "im.notify",
    "im.notify.system.add",
    "placement.bind",
    "pull.application.config.get",
    "user.get",
];

/// `feature.get`: changes of our own can be marked (`auth_connector`).
pub const FEATURE_CONNECTOR: &str = "rest_auth_connector";
/// `feature.get`: rows of the offline queue can be reserved.
pub const FEATURE_RESERVES: &str = "rest_offline_extended";

/// The code of a method that a portal does not have.
const NO_METHOD: &str = "error_method_not_found";
/// Names in one list at most: the cloud has some 1,500 methods and 300 events.
const NAMES_MAX: usize = 10_000;

/// As what a portal is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedAs {
    /// By an incoming webhook: it may not ask for events.
    Webhook,
    /// As an application.
    Application,
}

impl AskedAs {
    /// As the map remembers it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Application => "app",
        }
    }
}

/// Asks everything, about these methods. Parts that could not be told are left out.
///
/// # Errors
/// The first failure, if the portal told nothing at all.
pub async fn read_map(
    caller: &dyn Caller,
    asked_as: AskedAs,
    about: &[&'static str],
    now: Timestamp,
) -> Result<CapabilityMap, Failure> {
    let (methods, scopes, events, connector, reserves) = futures_util::join!(
        methods(caller, about),
        account::scope(caller),
        events(caller, asked_as),
        feature(caller, FEATURE_CONNECTOR),
        feature(caller, FEATURE_RESERVES)
    );
    let mut refusals = Vec::new();
    let mut map = CapabilityMap {
        checked_at: now,
        asked_as: asked_as.name().to_owned(),
        methods: told(methods, &mut refusals).unwrap_or_default(),
        scopes: told(scopes, &mut refusals).filter(|scopes| !scopes.is_empty()),
        events: told(events, &mut refusals).flatten(),
        features: [connector, reserves]
            .into_iter()
            .filter_map(|feature| told(feature, &mut refusals).flatten())
            .collect(),
    };
    let silent =
        map.methods.is_empty() && map.scopes.is_none() && map.events.is_none() && map.features.is_empty();
    match refusals.into_iter().next() {
        Some(failure) if silent => Err(failure),
        Some(_) | None => {
            map.scopes.iter_mut().for_each(|scopes| scopes.sort());
            Ok(map)
        }
    }
}

fn told<T>(answer: Result<T, Failure>, refusals: &mut Vec<Failure>) -> Option<T> {
    answer.map_err(|failure| refusals.push(failure)).ok()
}

/// `feature.get`. An old box without the method has no such feature; an answer without sense says nothing.
async fn feature(caller: &dyn Caller, code: &str) -> Result<Option<FeatureCapability>, Failure> {
    let is_on = match read(caller, "feature.get", json!({ "CODE": code })).await {
        Err(failure) if failure.code == NO_METHOD => Some(false),
        other => wire::member(&other?, "value").and_then(wire::truth),
    };
    Ok(is_on.map(|is_on| FeatureCapability { code: code.to_owned(), is_on }))
}

/// `method.get` for each; on a portal without it the lists of `methods`.
async fn methods(caller: &dyn Caller, about: &[&'static str]) -> Result<Vec<MethodCapability>, Failure> {
    let asked = about.iter().map(|name| async move { (name, account::method_presence(caller, name).await) });
    let (mut known, mut refusal) = (Vec::new(), None);
    for (name, answer) in join_all(asked).await {
        match answer {
            Ok(Some(presence)) => known.push(MethodCapability { name: (*name).to_owned(), presence }),
            Ok(None) => {}
            Err(failure) => refusal = Some(failure),
        }
    }
    match refusal {
        Some(failure) if known.is_empty() && failure.code == NO_METHOD => listed(caller, about).await,
        Some(failure) if known.is_empty() => Err(failure),
        Some(_) | None => believable(known),
    }
}

/// A portal that has none of these methods is none: what has answered is not the portal's word.
fn believable(known: Vec<MethodCapability>) -> Result<Vec<MethodCapability>, Failure> {
    if known.iter().any(|method| method.presence != Presence::Missing) {
        return Ok(known);
    }
    Err(Nature::Read.judge(misshapen("method.get")))
}

/// `methods`, deprecated, and the only way on boxes without `method.get`: what there is, and what we may call of it.
async fn listed(caller: &dyn Caller, about: &[&'static str]) -> Result<Vec<MethodCapability>, Failure> {
    let (all, ours) = futures_util::join!(
        names(caller, "methods", json!({ "full": true })),
        names(caller, "methods", json!({}))
    );
    let (all, ours) = (all?, ours?);
    let presence = |name: &str| match (ours.contains(name), all.contains(name)) {
        (true, _) => Presence::Available,
        (false, true) => Presence::OutOfScope,
        (false, false) => Presence::Missing,
    };
    let known =
        about.iter().map(|name| MethodCapability { name: (*name).to_owned(), presence: presence(name) });
    believable(known.collect())
}

/// `events`: names, upper case. A webhook may not ask.
async fn events(caller: &dyn Caller, asked_as: AskedAs) -> Result<Option<Vec<String>>, Failure> {
    if asked_as == AskedAs::Webhook {
        return Ok(None);
    }
    let names = names(caller, "events", json!({})).await?;
    if names.is_empty() {
        return Err(Nature::Read.judge(misshapen("events")));
    }
    Ok(Some(names.into_iter().map(|name| name.to_ascii_uppercase()).collect()))
}

/// A list of names in lower case, from an array or from the values of a map.
async fn names(
    caller: &dyn Caller,
    method: &'static str,
    params: Value,
) -> Result<BTreeSet<String>, Failure> {
    let answer = read(caller, method, params).await?;
    let rows = wire::rows(&answer).ok_or_else(|| Nature::Read.judge(misshapen(method)))?;
    Ok(rows.into_iter().filter_map(wire::filled).take(NAMES_MAX).map(|n| n.to_ascii_lowercase()).collect())
}

#[cfg(test)]
mod tests {
    use super::super::client::Call;
    use super::super::error::from_code;
    use super::*;
    use futures_util::future::BoxFuture;

    /// A portal that answers by a function of the call.
    struct Portal<F>(F);

    impl<F: Fn(&Call) -> Result<Value, Failure> + Send + Sync> Caller for Portal<F> {
        fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Result<Value, Failure>> {
            let answer = (self.0)(&call);
            Box::pin(async move { answer })
        }
    }

    fn missing() -> Result<Value, Failure> {
        Err(from_code(404, NO_METHOD, None, ""))
    }

    fn down() -> Result<Value, Failure> {
        Err(from_code(500, "internal_server_error", None, ""))
    }

    async fn read_by(
        asked_as: AskedAs,
        answer: impl Fn(&Call) -> Result<Value, Failure> + Send + Sync,
    ) -> Result<CapabilityMap, Failure> {
        read_map(&Portal(answer), asked_as, &METHODS, Timestamp(5)).await
    }

    fn modern(call: &Call) -> Result<Value, Failure> {
        Ok(match call.method.as_ref() {
            "method.get" => match call.params["name"].as_str() {
                Some("crm.item.get") => json!({"isExisting": "Y", "isAvailable": "N"}),
                Some("im.notify") => json!({"isExisting": false, "isAvailable": false}),
                Some("user.get") => json!([]),
                _ => json!({"isExisting": true, "isAvailable": true}),
            },
            "scope" => json!(["crm", "DISK"]),
            "events" => json!(["onCrmDealAdd", "ONAPPUNINSTALL"]),
            "feature.get" => json!({"value": "Y"}),
            _ => return missing(),
        })
    }

    #[tokio::test]
    async fn a_portal_says_what_it_has() {
        let map = read_by(AskedAs::Application, modern).await.unwrap();
        assert_eq!(map.presence("crm.item.get"), Some(Presence::OutOfScope));
        assert_eq!(map.presence("im.notify"), Some(Presence::Missing));
        assert_eq!(map.presence("user.get"), None, "an answer without sense says nothing");
        assert_eq!(map.presence("disk.file.get"), Some(Presence::Available));
        assert_eq!(map.scopes, Some(vec!["crm".to_owned(), "disk".to_owned()]));
        assert!(!map.lacks_event("ONCRMDEALADD") && map.lacks_event("ONCRMDYNAMICITEMADD"));
        assert_eq!(map.feature(FEATURE_CONNECTOR), Some(true));
        let by_webhook = read_by(AskedAs::Webhook, modern).await.unwrap();
        assert_eq!((by_webhook.events, by_webhook.asked_as.as_str()), (None, "webhook"));
    }

    #[tokio::test]
    async fn an_old_box_without_method_get_is_asked_for_its_list() {
        let map = read_by(AskedAs::Webhook, |call| match call.method.as_ref() {
            "methods" if call.params["full"] == true => {
                Ok(json!(["crm.deal.get", "disk.file.get", "im.notify"]))
            }
            "methods" => Ok(json!(["crm.deal.get", "disk.file.get"])),
            "scope" => Ok(json!(["crm"])),
            _ => missing(),
        });
        let map = map.await.unwrap();
        assert_eq!(map.presence("crm.deal.get"), Some(Presence::Available));
        assert_eq!(map.presence("im.notify"), Some(Presence::OutOfScope));
        assert!(map.lacks("crm.item.get"));
        assert_eq!(map.feature(FEATURE_RESERVES), Some(false), "without feature.get there is no feature");
    }

    #[tokio::test]
    async fn what_cannot_be_read_leaves_only_its_own_part_unknown() {
        let map = read_by(AskedAs::Application, |call| match call.method.as_ref() {
            "method.get" | "events" => down(),
            _ => modern(call),
        });
        let map = map.await.unwrap();
        assert!(map.methods.is_empty() && map.events.is_none() && map.scopes.is_some());
        let failure = read_by(AskedAs::Application, |_| down()).await.unwrap_err();
        assert_eq!(failure.code, "internal_server_error");
    }

    #[tokio::test]
    async fn nonsense_takes_nothing_away() {
        for nonsense in
            [json!([]), json!(false), json!("yes"), json!({"isExisting": false, "isAvailable": false})]
        {
            let map = read_by(AskedAs::Application, |call| match call.method.as_ref() {
                "method.get" => Ok(nonsense.clone()),
                "events" | "feature.get" => Ok(json!([])),
                _ => modern(call),
            });
            let map = map.await.unwrap();
            assert!(map.methods.is_empty() && map.events.is_none() && map.features.is_empty(), "{nonsense}");
        }
    }

    #[test]
    fn all_questions_fit_into_one_batch_and_are_spelled_as_they_are_compared() {
        assert!(METHODS.len() + 4 <= crate::limits::BATCH_MAX);
        assert!(METHODS.is_sorted());
        assert!(METHODS.iter().all(|name| *name == name.to_ascii_lowercase()));
    }
}
