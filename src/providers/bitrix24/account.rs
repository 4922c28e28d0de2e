//! Who we are on the portal and what we may do: what `doctor` asks (scopes, profile, users, methods).

use super::client::Caller;
use super::drive::read;
use super::error::misshapen;
use super::wire;
use crate::domain::Failure;
use crate::domain::portal_capabilities::Presence;
use crate::providers::remote::Nature;
use serde_json::{Value, json};

/// The user behind the webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Their id.
    pub id: u64,
    /// First and last name.
    pub name: String,
    /// Whether they administrate the portal.
    pub is_admin: bool,
}

/// Whose credential we use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A user who works there.
    Active(Profile),
    /// `profile` is empty: the user is not active (Bitrix24 docs, `profile`).
    Inactive,
}

/// What `user.get` says of an id. Bots and technical users are never returned, so they look absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserLookup {
    /// The user exists.
    Found {
        /// First and last name, where the scope lets us see it.
        name: String,
        /// Dismissed users are not active.
        is_active: bool,
    },
    /// No such user is visible.
    Absent,
}

/// `scope`: the names of what the webhook may use, lower case.
///
/// # Errors
/// `no_auth_found`, `invalid_credentials` and the like if the webhook is dead.
pub async fn scope(caller: &dyn Caller) -> Result<Vec<String>, Failure> {
    let answer = read(caller, "scope", json!({})).await?;
    let rows = wire::rows(&answer).ok_or_else(|| Nature::Read.judge(misshapen("scope")))?;
    Ok(rows.into_iter().filter_map(wire::filled).map(|name| name.to_ascii_lowercase()).collect())
}

/// `profile`: needs no scope, so it tells a dead webhook from a narrow one.
///
/// # Errors
/// As [`scope`]; an empty profile means that the user is not active and comes as a misshapen answer.
pub async fn profile(caller: &dyn Caller) -> Result<Profile, Failure> {
    profile_of(&read(caller, "profile", json!({})).await?)
}

fn profile_of(answer: &Value) -> Result<Profile, Failure> {
    let id = wire::any_member(answer, &["ID", "id"]).and_then(wire::id);
    Ok(Profile {
        id: id.ok_or_else(|| Nature::Read.judge(misshapen("profile")))?,
        name: full_name(answer),
        is_admin: wire::member(answer, "ADMIN").and_then(wire::truth).unwrap_or(false),
    })
}

/// `profile`, where an empty one is an answer: the owner is not active.
///
/// # Errors
/// As [`scope`].
pub async fn owner(caller: &dyn Caller) -> Result<Owner, Failure> {
    let answer = read(caller, "profile", json!({})).await?;
    let is_empty = match &answer {
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
    };
    if is_empty { Ok(Owner::Inactive) } else { profile_of(&answer).map(Owner::Active) }
}

/// `user.get` by id (scope `user_brief` or wider).
///
/// # Errors
/// `insufficient_scope` without it.
pub async fn user(caller: &dyn Caller, id: u64) -> Result<UserLookup, Failure> {
    let answer = read(caller, "user.get", json!({ "FILTER": { "ID": id } })).await?;
    let rows = wire::rows(&answer).ok_or_else(|| Nature::Read.judge(misshapen("user.get")))?;
    // The filter is not trusted: without it the first user of the portal would be taken for ours.
    let row = rows.into_iter().find(|row| wire::member(row, "ID").and_then(wire::id) == Some(id));
    Ok(row.map_or(UserLookup::Absent, |row| UserLookup::Found {
        name: full_name(row),
        is_active: wire::member(row, "ACTIVE").and_then(wire::truth).unwrap_or(true),
    }))
}

/// `method.get`: whether a method is there and within the webhook's scopes.
///
/// # Errors
/// As any read.
pub async fn method_is_available(caller: &dyn Caller, method: &str) -> Result<bool, Failure> {
    let answer = read(caller, "method.get", json!({ "name": method })).await?;
    let yes = |name| wire::member(&answer, name).and_then(wire::truth).unwrap_or(false);
    Ok(yes("isExisting") && yes("isAvailable"))
}

/// `method.get`, where an answer without sense is none: whether a method is there, and within our scopes.
///
/// # Errors
/// As any read; `error_method_not_found` on a box without `method.get` itself.
pub async fn method_presence(caller: &dyn Caller, method: &str) -> Result<Option<Presence>, Failure> {
    let answer = read(caller, "method.get", json!({ "name": method })).await?;
    let told = |name| wire::member(&answer, name).and_then(wire::truth);
    Ok(match (told("isExisting"), told("isAvailable")) {
        (Some(false), _) => Some(Presence::Missing),
        (Some(true), Some(true)) => Some(Presence::Available),
        (Some(true), Some(false)) => Some(Presence::OutOfScope),
        (Some(true), None) | (None, _) => None,
    })
}

fn full_name(value: &serde_json::Value) -> String {
    let parts = ["NAME", "LAST_NAME"].iter().filter_map(|name| wire::member(value, name));
    parts.filter_map(wire::filled).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::client::Call;
    use super::*;
    use futures_util::future::BoxFuture;
    use std::collections::VecDeque;
    use std::sync::Mutex;

    /// A portal that answers from a list and remembers what it was asked.
    pub(crate) struct Scripted {
        answers: Mutex<VecDeque<Result<Value, Failure>>>,
        calls: Mutex<Vec<Call>>,
    }

    impl Scripted {
        pub(crate) fn ok(answers: impl IntoIterator<Item = Value>) -> Self {
            Self { answers: Mutex::new(answers.into_iter().map(Ok).collect()), calls: Mutex::new(Vec::new()) }
        }
        pub(crate) fn new(answers: impl IntoIterator<Item = Result<Value, Failure>>) -> Self {
            Self { answers: Mutex::new(answers.into_iter().collect()), calls: Mutex::new(Vec::new()) }
        }
        pub(crate) fn calls(&self) -> Vec<Call> {
            self.calls.lock().unwrap().clone()
        }
    }

    impl Caller for Scripted {
        fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Result<Value, Failure>> {
            self.calls.lock().unwrap().push(call);
            let answer = self.answers.lock().unwrap().pop_front().expect("the script has an answer left");
            Box::pin(async move { answer })
        }
    }

    #[tokio::test]
    async fn scopes_and_profile_are_read() {
        let portal = Scripted::ok([
            json!(["disk", "CRM", "im"]),
            json!({"ID": "17", "ADMIN": false, "NAME": "Анна", "LAST_NAME": "Петрова"}),
            json!([]),
        ]);
        assert_eq!(scope(&portal).await.unwrap(), ["disk", "crm", "im"]);
        let me = profile(&portal).await.unwrap();
        assert_eq!((me.id, me.name.as_str(), me.is_admin), (17, "Анна Петрова", false));
        assert_eq!(profile(&portal).await.unwrap_err().code, "misshapen_answer");
    }

    #[tokio::test]
    async fn an_empty_profile_means_that_the_owner_is_not_active() {
        let portal = Scripted::ok([json!([]), json!({}), json!({"ID": "17"}), json!("what?")]);
        assert_eq!(owner(&portal).await.unwrap(), Owner::Inactive);
        assert_eq!(owner(&portal).await.unwrap(), Owner::Inactive);
        assert!(matches!(owner(&portal).await.unwrap(), Owner::Active(Profile { id: 17, .. })));
        assert_eq!(owner(&portal).await.unwrap_err().code, "misshapen_answer");
    }

    #[tokio::test]
    async fn a_user_is_found_only_by_their_own_id() {
        let rows =
            json!([{"ID": "1", "NAME": "A", "ACTIVE": true}, {"ID": "17", "NAME": "B", "ACTIVE": "N"}]);
        let portal = Scripted::ok([rows.clone(), rows, json!([])]);
        let found = UserLookup::Found { name: "B".into(), is_active: false };
        assert_eq!(user(&portal, 17).await.unwrap(), found);
        assert_eq!(user(&portal, 18).await.unwrap(), UserLookup::Absent);
        assert_eq!(user(&portal, 17).await.unwrap(), UserLookup::Absent);
    }

    #[tokio::test]
    async fn a_method_must_exist_and_be_in_scope() {
        let portal = Scripted::ok([
            json!({"isExisting": true, "isAvailable": true}),
            json!({"isExisting": true, "isAvailable": false}),
            json!([]),
        ]);
        assert!(method_is_available(&portal, "disk.file.get").await.unwrap());
        assert!(!method_is_available(&portal, "im.notify").await.unwrap());
        assert!(!method_is_available(&portal, "x").await.unwrap());
    }
}
