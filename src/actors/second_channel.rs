//! Which second channels a portal has, and their start.
//!
//! The webhook is quick and loses events; the offline queue loses none and needs an application; a sweep needs only
//! the webhook of the caller. Nothing is started for a portal whose rules listen to no item and no generated document.

use super::Parts;
use super::channel_board::ChannelView;
use super::channel_mode::ChannelMode;
use super::item_rules;
use super::item_sweep::{ItemSweep, Rounds, SweepSettings};
use super::offline_queue::OfflineQueue;
use super::portal_session::PortalCaller;
use super::push_channel::PushChannel;
use super::session_registry::Sessions;
use crate::domain::{PortalId, Text};
use crate::providers::http_client::HttpClient;
use actix::prelude::*;
use std::sync::Arc;
use std::time::Duration;

/// As what we call the portal: `event.*` and `pull.*` are for applications only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalledAs {
    /// An incoming webhook.
    Webhook,
    /// An installed application.
    Application,
}

/// The second channels of one portal.
#[derive(Debug, Clone)]
pub struct ChannelSettings {
    /// Which ways are gone.
    pub mode: ChannelMode,
    /// As what we call the portal.
    pub called_as: CalledAs,
    /// `auth_connector` of our application, if it has one.
    pub connector: Option<String>,
    /// The sweep; its rounds are decided at the start.
    pub sweep: SweepSettings,
    /// Pause between two looks at the offline queue, in milliseconds.
    pub offline_interval_ms: u64,
    /// The client for the push server, with a timeout longer than it holds a poll; none: it is not listened to.
    pub push: Option<HttpClient>,
}

impl ChannelSettings {
    /// What is going to run, or why nothing is.
    fn view(&self, listens: bool) -> ChannelView {
        let rounds = self.sweep_rounds().filter(|_| listens);
        let queue = self.has_queue() && listens;
        let push = queue && self.push.is_some();
        let all = [("offline_queue", queue), ("sweep", rounds.is_some()), ("push", push)];
        let running = all.into_iter().filter(|(_, runs)| *runs).map(|(name, _)| name).collect();
        let sweeps = (rounds == Some(Rounds::ForEver)).then_some(self.sweep.interval_ms);
        let interval_ms = if queue { Some(self.offline_interval_ms) } else { sweeps };
        let mut view = ChannelView::new(self.mode, running, interval_ms);
        if self.mode == ChannelMode::Off {
            view.idle = Some(Text::new(
                "он выключен (second_channel.mode = \"off\"); потерянное событие не найдёт никто.",
                "it is off (second_channel.mode = \"off\"); an event that is lost is found by nobody.",
            ));
        } else if !listens {
            view.idle = Some(Text::new(
                "правила не ждут ни стадий, ни созданных документов.",
                "no rule waits for stages or generated documents.",
            ));
        }
        view
    }

    fn has_queue(&self) -> bool {
        self.called_as == CalledAs::Application && matches!(self.mode, ChannelMode::Auto | ChannelMode::Both)
    }

    /// How often the portal is swept; none: never.
    fn sweep_rounds(&self) -> Option<Rounds> {
        match self.mode {
            ChannelMode::Off => None,
            // A queue in simple mode may lose what it had read when the process died: the start heals that.
            ChannelMode::Auto if self.has_queue() => Some(Rounds::AtStart),
            ChannelMode::Auto | ChannelMode::Sweep | ChannelMode::Both => Some(Rounds::ForEver),
        }
    }
}

/// Starts the second channels of `portal` in `arbiter`. They last as long as the portal's
/// present tenure: an application may be removed and come again while the process runs, and two readers of one queue
/// would each wonder about the other's reservations.
pub fn start(
    parts: &Arc<Parts>,
    portal: &PortalId,
    sessions: &Sessions,
    settings: &ChannelSettings,
    arbiter: &ArbiterHandle,
) {
    let listens =
        !item_rules::types(parts, portal).is_empty() || item_rules::listens_to_generated(parts, portal);
    parts.channels.start(portal, settings.view(listens));
    if !listens {
        return;
    }
    let (Some(session), Some(tenure)) = (sessions.session(portal), sessions.tenure(portal)) else { return };
    let caller = PortalCaller::background(session);
    let sweep = |rounds| {
        let settings = SweepSettings { rounds, ..settings.sweep };
        ItemSweep::new(parts.clone(), portal.clone(), caller.clone(), settings)
    };
    if let Some(rounds) = settings.sweep_rounds() {
        arbiter.spawn(tenure.clone().through(sweep(rounds).run()));
    }
    if settings.has_queue() {
        let instead = (sweep(Rounds::AtStart), Duration::from_millis(settings.sweep.interval_ms));
        let (connector, interval_ms) = (settings.connector.clone(), settings.offline_interval_ms);
        let queue =
            OfflineQueue::new(parts.clone(), portal.clone(), caller.clone(), connector, interval_ms, instead);
        arbiter.spawn(tenure.clone().through(queue.run()));
        if let Some(http) = settings.push.clone() {
            let push = PushChannel::new(parts.clone(), portal.clone(), caller.clone(), http);
            arbiter.spawn(tenure.clone().through(push.run()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(mode: ChannelMode, called_as: CalledAs) -> ChannelSettings {
        let sweep = SweepSettings { interval_ms: 1, overlap_ms: 0, first_ms: 0, rounds: Rounds::ForEver };
        ChannelSettings { mode, called_as, connector: None, sweep, offline_interval_ms: 1, push: None }
    }

    #[test]
    fn no_portal_is_left_without_a_second_channel_unless_that_is_wished() {
        for called_as in [CalledAs::Webhook, CalledAs::Application] {
            for mode in [ChannelMode::Auto, ChannelMode::Sweep, ChannelMode::Both] {
                let settings = settings(mode, called_as);
                let swept_for_ever = settings.sweep_rounds() == Some(Rounds::ForEver);
                assert!(swept_for_ever || settings.has_queue(), "{mode:?} {called_as:?}");
            }
            assert_eq!(settings(ChannelMode::Off, called_as).sweep_rounds(), None);
        }
        assert!(!settings(ChannelMode::Both, CalledAs::Webhook).has_queue());
    }
}
