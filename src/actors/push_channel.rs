//! PushChannel: listens to the portal's push server and rings the bell of the offline queue.
//!
//! What is said there is never read for its content: it signals what applications publish, not changes of the CRM. So
//! it can only shorten the wait; the queue's own timer is what a box without an inbound address relies on.

use super::portal_session::PortalCaller;
use super::{Parts, chance, error_chain};
use crate::domain::{FailureClass, PortalId};
use crate::providers::bitrix24::push::{self, Channels, Heard, Message, Place, PushConfig};
use crate::providers::http_client::HttpClient;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Pauses after failures in a row (reference of the vendor's client); the last one repeats.
const BACK_OFF: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_secs(15),
    Duration::from_secs(45),
    Duration::from_secs(600),
    Duration::from_secs(3_600),
];
/// After the server's restart all its listeners come back within this time, not at once.
const RESTART_SECONDS: std::ops::Range<u64> = 10..120;
/// Channels live twelve hours; they are renewed well before.
const CHANNELS_FOR: Duration = Duration::from_secs(11 * 3_600);
/// Polls are not repeated faster, whatever the server answers.
const POLL_EVERY_MIN: Duration = Duration::from_millis(200);

/// Pause before it is looked again whether a portal without the method has it by now.
const WITHOUT_SERVER: Duration = Duration::from_secs(60);

/// Listens for one portal.
pub struct PushChannel {
    parts: Arc<Parts>,
    portal: PortalId,
    caller: PortalCaller,
    http: HttpClient,
}

/// Why listening ended.
enum Ended {
    /// The configuration must be asked for again.
    AskAgain(Channels),
    /// The same, after this pause.
    AfterRestart(Duration),
    /// Something failed.
    Failed(String),
}

impl PushChannel {
    /// A listener for `portal`, which asks it through `caller` and polls through `http`.
    pub fn new(parts: Arc<Parts>, portal: PortalId, caller: PortalCaller, http: HttpClient) -> Self {
        Self { parts, portal, caller, http }
    }

    /// Listens until the process stops.
    pub async fn run(self) {
        let (mut failures, mut channels) = (0, Channels::Kept);
        while !self.parts.is_draining() {
            if self.parts.capabilities.lacks(&self.portal, push::CONFIG) {
                tokio::time::sleep(WITHOUT_SERVER).await;
                continue;
            }
            let ended = match push::config(&self.caller, channels).await {
                Ok(config) => {
                    // What was published while nobody listened is in the queue.
                    self.parts.queue_bells.ring(&self.portal);
                    self.listen(config, &mut failures).await
                }
                Err(failure) => {
                    if failure.class == FailureClass::Permanent {
                        failures = BACK_OFF.len();
                    }
                    Ended::Failed(failure.reason.en)
                }
            };
            match ended {
                Ended::AskAgain(wanted) => channels = wanted,
                Ended::AfterRestart(pause) => tokio::time::sleep(pause).await,
                Ended::Failed(reason) => {
                    failures = (failures + 1).min(BACK_OFF.len());
                    let pause = BACK_OFF[failures - 1];
                    tracing::warn!(portal = %self.portal, %reason, pause_s = pause.as_secs(), "the push server is not heard; the queue is read by its timer");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn listen(&self, mut config: PushConfig, failures: &mut usize) -> Ended {
        let (mut place, begun) = (Place::default(), Instant::now());
        while !self.parts.is_draining() && begun.elapsed() < CHANNELS_FOR {
            let polled = Instant::now();
            let messages = match push::poll(&self.http, &config, &mut place).await {
                Ok(Heard::Messages(messages)) => messages,
                Ok(Heard::Nothing) => Vec::new(),
                Ok(Heard::Gone) => {
                    tokio::time::sleep_until(polled + POLL_EVERY_MIN).await;
                    return Ended::AskAgain(Channels::Renewed);
                }
                Err(error) => return Ended::Failed(error_chain(&error)),
            };
            *failures = 0;
            for message in messages {
                match message {
                    Message::Published => self.parts.queue_bells.ring(&self.portal),
                    Message::Reconnect { old, new } => config.replace(&old, new),
                    Message::AskAgain => return Ended::AskAgain(Channels::Kept),
                    Message::Restart => {
                        let spread = RESTART_SECONDS.end - RESTART_SECONDS.start;
                        let seconds = RESTART_SECONDS.start + chance() % spread;
                        return Ended::AfterRestart(Duration::from_secs(seconds));
                    }
                }
            }
            tokio::time::sleep_until(polled + POLL_EVERY_MIN).await;
        }
        Ended::AskAgain(Channels::Renewed)
    }
}
