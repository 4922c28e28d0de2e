//! What all buttons of the control plane share: how a body is read, and why a button could not be pressed.

use super::front::Request;
use super::world::WorldError;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A button could not be pressed.
pub(super) enum Refusal {
    NoKey,
    NoSuchPath,
    Unreadable(String),
    World(WorldError),
}

impl From<WorldError> for Refusal {
    fn from(error: WorldError) -> Self {
        Self::World(error)
    }
}

pub(super) fn done() -> Value {
    json!({"ok": true})
}

pub(super) fn body<T: DeserializeOwned>(request: &Request) -> Result<T, Refusal> {
    serde_json::from_slice(&request.body).map_err(|why| Refusal::Unreadable(why.to_string()))
}

pub(super) fn parsed_id(text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| Refusal::Unreadable(format!("`{text}` is not an id")))
}
