//! The push server.
use super::front::{Head, Reply, Request};
use super::world::World;
use std::sync::Arc;

pub(crate) fn call_name(_: &Head) -> String {
    "unknown".into()
}

pub(crate) async fn answer(_: &Arc<World>, _: &Request) -> Reply {
    Reply::html(404)
}
