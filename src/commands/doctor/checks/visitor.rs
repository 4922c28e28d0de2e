//! How the checks call a portal: patiently, and without taking the budget of the service that may be running.

use crate::commands::wiring::{self, WiringError};
use crate::config::PortalConfig;
use crate::domain::{Failure, FailureClass, FailureKind, Text};
use crate::providers::bitrix24::{Call, Caller, Client};
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Calls that are made at once: half of the burst of the smallest plan, the rest is the service's.
const FREE_CALLS: u32 = 25;
/// How long one call is waited for: less than the service does, since somebody looks on.
const CALL_TIME_MAX: Duration = Duration::from_secs(30);

/// A caller of one portal.
pub struct Visitor {
    client: Client,
    /// Pause before each call beyond the free ones; none where the portal has no such limit.
    pause: Option<Duration>,
    calls: AtomicU32,
    /// Questions may be put at once; those beyond the free ones are asked one after the other.
    turn: tokio::sync::Mutex<()>,
}

impl Visitor {
    /// A visitor of this portal, whose webhook must be resolved.
    ///
    /// # Errors
    /// The address of the webhook cannot be used, or no HTTP client can be made.
    pub fn new(entry: &PortalConfig) -> Result<Self, WiringError> {
        let pause = entry.rate.limit().map(|limit| {
            // the rate is validated to be at least a hundredth of a request a second
            Duration::from_millis(1_000_000_u64.div_ceil(limit.milli_per_second.max(1)))
        });
        Ok(Self {
            client: wiring::portal_client(entry, None)?,
            pause,
            calls: AtomicU32::new(0),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// The client underneath.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl Caller for Visitor {
    fn call<'a>(&'a self, call: Call) -> BoxFuture<'a, Result<Value, Failure>> {
        Box::pin(async move {
            if self.calls.fetch_add(1, Ordering::Relaxed) >= FREE_CALLS
                && let Some(pause) = self.pause
            {
                let _turn = self.turn.lock().await;
                tokio::time::sleep(pause).await;
            }
            match tokio::time::timeout(CALL_TIME_MAX, self.client.call(call)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(late()),
            }
        })
    }
}

fn late() -> Failure {
    let seconds = CALL_TIME_MAX.as_secs();
    let reason = Text::new(
        format!("Портал не ответил за {seconds} с. Проверьте сеть до него."),
        format!("The portal did not answer within {seconds} s. Check the network on the way there."),
    );
    Failure::new(FailureClass::Transient, FailureKind::NoAnswer, "timeout", reason)
}
