//! What must be registered at a portal where our application is installed: events, placements, robots.
//!
//! A table, not a procedure: each part of the house adds one function to `SOURCES`, and whoever installs, updates
//! or examines an application walks the same list. Bitrix24 forgets all of it when an application is updated or
//! deleted (`settings/app-installation`), so it is made again each time, and "already bound" is a success.
//!
//! It knows no wire format (that is [`crate::providers::bitrix24::registration`]) and calls nobody.

use crate::domain::PortalId;
use crate::providers::bitrix24::events::WAKE_EVENT;
use crate::providers::bitrix24::robots;
use crate::saga::document::Rule;
use crate::saga::document::rule::Trigger;
use serde_json::Value;

/// Where events of all kinds are received, below the public address.
pub const EVENTS_PATH: &str = "/bitrix/webhook";

/// Where robots of workflows are received, below the public address; their code follows.
pub const ROBOTS_PATH: &str = "/bitrix/robot";

/// How an event reaches us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventMode {
    /// The vendor's queue posts it to our address. Never sent again.
    Online,
    /// The portal keeps it until we fetch it (`event.offline.get`).
    Offline,
}

/// One registration at a portal.
#[derive(Debug, Clone, PartialEq)]
pub enum Binding {
    /// `event.bind`.
    Event {
        /// Its name, upper case, as `ONCRMDEALUPDATE`.
        name: String,
        /// How it comes.
        mode: EventMode,
    },
    /// `placement.bind`.
    Placement {
        /// The place, as `CRM_DEAL_DETAIL_TAB`.
        code: String,
        /// Our address below the public one, as `/bitrix/placement/deal`.
        path: String,
        /// What people read, in Russian.
        title_ru: String,
        /// The same in English.
        title_en: String,
    },
    /// `bizproc.robot.add`, or `bizproc.robot.update` if the portal knows it already.
    Robot {
        /// `CODE`, as `edobridge_send`.
        code: String,
        /// Our address below the public one, as `/bitrix/robot/edobridge_send`.
        path: String,
        /// The other parameters as the portal takes them (`NAME`, `PROPERTIES`, …), without `CODE` and `HANDLER`.
        params: Value,
    },
}

impl Binding {
    /// An event that is posted to us.
    pub fn event(name: impl Into<String>) -> Self {
        Self::Event { name: name.into(), mode: EventMode::Online }
    }

    /// An event that the portal keeps for us.
    pub fn offline(name: impl Into<String>) -> Self {
        Self::Event { name: name.into(), mode: EventMode::Offline }
    }

    /// A short name for logs and for people: `event ONCRMDEALADD`.
    pub fn label(&self) -> String {
        match self {
            Self::Event { name, mode: EventMode::Online } => format!("event {name}"),
            Self::Event { name, mode: EventMode::Offline } => format!("offline event {name}"),
            Self::Placement { code, .. } => format!("placement {code}"),
            Self::Robot { code, .. } => format!("robot {code}"),
        }
    }
}

/// What decides which bindings a portal needs.
#[derive(Debug, Clone, Copy)]
pub struct Wants<'a> {
    /// The portal.
    pub portal: &'a PortalId,
    /// All rules of the configuration.
    pub rules: &'a [Rule],
}

impl<'a> Wants<'a> {
    /// The rules that work for this portal.
    pub fn rules(self) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |rule| rule.is_for(self.portal))
    }
}

/// Every part that needs something of a portal. To add a kind of binding, write a function and name it here.
const SOURCES: [fn(Wants<'_>) -> Vec<Binding>; 4] = [lifecycle, triggers, offline_queue, workflow_robots];

/// Everything that the portal must know of us, each once.
pub fn wanted(wants: Wants<'_>) -> Vec<Binding> {
    let mut all: Vec<Binding> = Vec::new();
    for binding in SOURCES.iter().flat_map(|source| source(wants)) {
        if !all.contains(&binding) {
            all.push(binding);
        }
    }
    all
}

/// The life of the application itself (`api-reference/common/events`).
fn lifecycle(_: Wants<'_>) -> Vec<Binding> {
    ["ONAPPUPDATE", "ONAPPUNINSTALL", "ONAPPPAYMENT", "ONAPPMETHODCONFIRM"].map(Binding::event).into()
}

/// What starts documents. `ONDISKFILEADD` is named by the EasyDocs guide only and cannot be bound.
fn triggers(wants: Wants<'_>) -> Vec<Binding> {
    trigger_events(wants).into_iter().map(Binding::event).collect()
}

/// The same events once more, as the portal keeps them for us, and the one that says that something is kept.
fn offline_queue(wants: Wants<'_>) -> Vec<Binding> {
    let mut all: Vec<Binding> = trigger_events(wants).into_iter().map(Binding::offline).collect();
    if !all.is_empty() {
        all.push(Binding::event(WAKE_EVENT));
    }
    all
}

/// The robots, where a rule is made for them; its routes are their choices.
fn workflow_robots(wants: Wants<'_>) -> Vec<Binding> {
    if !wants.rules().any(|rule| rule.trigger == Trigger::Robot) {
        return Vec::new();
    }
    let routes: Vec<(String, String)> = wants
        .rules()
        .filter(|rule| rule.trigger == Trigger::Robot)
        .map(|rule| (rule.id.clone(), format!("{} ({})", rule.id, rule.route_id)))
        .collect();
    let robot = |code: &str| {
        let params = robots::registration(code, &routes)?;
        Some(Binding::Robot { code: code.to_owned(), path: format!("{ROBOTS_PATH}/{code}"), params })
    };
    [robots::SEND, robots::STATUS].into_iter().filter_map(robot).collect()
}

fn trigger_events(wants: Wants<'_>) -> Vec<&'static str> {
    let mut names = Vec::new();
    for rule in wants.rules() {
        match &rule.trigger {
            Trigger::Stage { entity_type_id: 1, .. } => names.extend(["ONCRMLEADADD", "ONCRMLEADUPDATE"]),
            Trigger::Stage { entity_type_id: 2, .. } => {
                // moving to another funnel does not fire UPDATE
                names.extend(["ONCRMDEALADD", "ONCRMDEALUPDATE", "ONCRMDEALMOVETOCATEGORY"]);
            }
            Trigger::Stage { .. } => names.extend(["ONCRMDYNAMICITEMADD", "ONCRMDYNAMICITEMUPDATE"]),
            Trigger::Generated { .. } => names.push("ONCRMDOCUMENTGENERATORDOCUMENTADD"),
            Trigger::FileEvent { .. } | Trigger::Folder { .. } | Trigger::Robot => {}
        }
    }
    names
}
