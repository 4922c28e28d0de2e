//! What follows from a portal's capability map for us: which features of ours are off there or work in another way, and
//! why, in words.
//!
//! Pure. Only features that the rules of the portal want are looked at, and only what the portal has denied counts:
//! what is unknown is tried. Being out of our scopes is told as well, but switches nothing off by itself: the scope may
//! be given at any moment.

use super::bindings::{self, Binding, EventMode, Wants as BindingWants};
use crate::domain::portal_capabilities::{CapabilityMap, Presence};
use crate::domain::{PortalId, Text};
use crate::providers::bitrix24::capabilities::{AskedAs, FEATURE_CONNECTOR, FEATURE_RESERVES};
use crate::saga::document::rule::{Rule, Trigger};
use std::collections::BTreeSet;

/// Something that edobridge does at a portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// Files are taken from the Drive and put there.
    Drive,
    /// Items of the CRM are read and changed.
    Items,
    /// Changed items are listed: a sweep, and storms of events.
    ItemLists,
    /// Documents of the document generator.
    Generated,
    /// Stages are moved.
    Stages,
    /// Comments in timelines.
    Timeline,
    /// Notices to people.
    Notices,
    /// Robots of workflows.
    Robots,
    /// Events that start documents.
    Events,
    /// The offline queue.
    OfflineQueue,
    /// Rows of the offline queue are reserved until they are safe with us.
    Reservations,
    /// Changes of our own are kept out of the offline queue.
    OwnMark,
    /// The push server.
    Push,
}

/// What a denied capability means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It does not work.
    Off,
    /// It works in another way.
    Otherwise,
}

impl Standing {
    /// Stable name, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Otherwise => "otherwise",
        }
    }
}

/// Why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The portal does not have these methods.
    Methods(Vec<&'static str>),
    /// It has them, and our scopes do not reach them.
    Scopes(Vec<&'static str>),
    /// It does not have these events.
    Events(Vec<String>),
    /// Its plan does not have this feature.
    Plan(&'static str),
}

/// A feature that is wanted and does not work as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortfall {
    /// Which.
    pub feature: Feature,
    /// What it means.
    pub standing: Standing,
    /// Why.
    pub cause: Cause,
}

/// What is wanted of a portal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The features.
    pub features: BTreeSet<Feature>,
    /// Events that are to be posted to us, upper case.
    pub events: Vec<String>,
}

/// How we come to a portal, as far as features depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WayIn {
    /// As what.
    pub asked_as: AskedAs,
    /// Whether the offline queue is to be read.
    pub reads_queue: bool,
    /// Whether our own changes are to be marked.
    pub marks: bool,
    /// Whether the push server is to be listened to.
    pub listens_to_push: bool,
}

/// What the rules of a portal want of it.
pub fn wanted(rules: &[Rule], portal: &PortalId, way_in: WayIn) -> Wanted {
    let mut features = BTreeSet::new();
    for rule in rules.iter().filter(|rule| rule.is_for(portal)) {
        features.extend(of_rule(rule));
    }
    let of_portal = rules.iter().any(|rule| rule.is_for(portal));
    let listens = features.contains(&Feature::ItemLists) || features.contains(&Feature::Generated);
    let as_application = way_in.asked_as == AskedAs::Application;
    if !as_application {
        // a webhook may not register robots; that a rule wants one is the configuration's business
        features.remove(&Feature::Robots);
    }
    let queue = as_application && listens && way_in.reads_queue;
    let further = [
        (Feature::Events, as_application && of_portal),
        (Feature::OfflineQueue, queue),
        (Feature::Reservations, queue),
        (Feature::OwnMark, queue && way_in.marks),
        (Feature::Push, queue && way_in.listens_to_push),
    ];
    features.extend(further.into_iter().filter(|(_, is_wanted)| *is_wanted).map(|(feature, _)| feature));
    let events = if features.contains(&Feature::Events) { events(rules, portal) } else { Vec::new() };
    Wanted { features, events }
}

fn of_rule(rule: &Rule) -> Vec<Feature> {
    let mut features = vec![Feature::Drive];
    match &rule.trigger {
        Trigger::Folder { .. } | Trigger::FileEvent { .. } => {}
        Trigger::Stage { .. } => features.extend([Feature::Items, Feature::ItemLists]),
        Trigger::Robot => features.extend([Feature::Items, Feature::Robots]),
        Trigger::Generated { .. } => features.push(Feature::Generated),
    }
    if rule.into_item.moves() {
        features.extend([Feature::Items, Feature::Stages]);
    }
    if rule.into_item.field.is_some() {
        features.push(Feature::Items);
    }
    if rule.comment {
        features.push(Feature::Timeline);
    }
    if !rule.notify.is_empty() {
        features.push(Feature::Notices);
    }
    features
}

fn events(rules: &[Rule], portal: &PortalId) -> Vec<String> {
    let online = |binding: Binding| match binding {
        Binding::Event { name, mode: EventMode::Online } => Some(name),
        Binding::Event { .. } | Binding::Placement { .. } | Binding::Robot { .. } => None,
    };
    bindings::wanted(BindingWants { portal, rules }).into_iter().filter_map(online).collect()
}

/// What is wanted and denied.
pub fn shortfalls(map: &CapabilityMap, wanted: &Wanted) -> Vec<Shortfall> {
    wanted.features.iter().filter_map(|feature| shortfall(map, *feature, &wanted.events)).collect()
}

fn shortfall(map: &CapabilityMap, feature: Feature, events: &[String]) -> Option<Shortfall> {
    let (standing, cause) = match feature {
        Feature::Events => {
            let absent: Vec<String> = events.iter().filter(|name| map.lacks_event(name)).cloned().collect();
            (!absent.is_empty()).then_some((by_sweep(map), Cause::Events(absent)))
        }
        Feature::Reservations => of_plan(map, FEATURE_RESERVES),
        Feature::OwnMark => of_plan(map, FEATURE_CONNECTOR),
        Feature::Items if speaks_old(map) => {
            denied(map, needs(feature)).map(|cause| (Standing::Otherwise, cause))
        }
        Feature::Notices if map.lacks(SYSTEM_NOTICE) => match map.lacks(OLD_NOTICE) {
            true => Some((Standing::Off, Cause::Methods(vec![SYSTEM_NOTICE, OLD_NOTICE]))),
            false => Some((Standing::Otherwise, Cause::Methods(vec![SYSTEM_NOTICE]))),
        },
        Feature::OfflineQueue => denied(map, needs(feature)).map(|cause| (by_sweep(map), cause)),
        Feature::Push => denied(map, needs(feature)).map(|cause| (Standing::Otherwise, cause)),
        Feature::Drive
        | Feature::ItemLists
        | Feature::Items
        | Feature::Generated
        | Feature::Stages
        | Feature::Timeline
        | Feature::Notices
        | Feature::Robots => denied(map, needs(feature)).map(|cause| (Standing::Off, cause)),
    }?;
    Some(Shortfall { feature, standing, cause })
}

/// Where a sweep finds what does not come by itself.
fn by_sweep(map: &CapabilityMap) -> Standing {
    match denied(map, needs(Feature::ItemLists)) {
        None => Standing::Otherwise,
        Some(_) => Standing::Off,
    }
}

/// The method for system notices, and the one that boxes had before it.
pub const SYSTEM_NOTICE: &str = "im.notify.system.add";
/// See [`SYSTEM_NOTICE`].
pub const OLD_NOTICE: &str = "im.notify";

/// The methods that a feature cannot do without.
fn needs(feature: Feature) -> &'static [&'static str] {
    match feature {
        Feature::Drive => &["disk.file.get", "disk.folder.getchildren", "disk.folder.uploadfile"],
        Feature::Items => &["crm.item.get", "crm.item.update", "crm.item.fields"],
        Feature::ItemLists => &["crm.item.list"],
        Feature::Generated => &["crm.documentgenerator.document.get"],
        Feature::Stages => &["crm.status.list"],
        Feature::Timeline => &["crm.timeline.comment.add"],
        Feature::Notices => &[SYSTEM_NOTICE],
        Feature::Robots => &["bizproc.robot.add", "bizproc.event.send"],
        Feature::OfflineQueue => &["event.offline.get"],
        Feature::Push => &["pull.application.config.get"],
        Feature::Events | Feature::Reservations | Feature::OwnMark => &[],
    }
}

/// The methods that tell about the wanted features: those that they need, and those that stand in for them.
pub fn methods(wanted: &Wanted) -> BTreeSet<&'static str> {
    let needed = wanted.features.iter().flat_map(|feature| needs(*feature)).copied();
    let instead = wanted.features.iter().flat_map(|feature| match feature {
        Feature::Items => OLD_ITEMS.as_slice(),
        Feature::Notices => &[OLD_NOTICE],
        Feature::Events | Feature::OfflineQueue => needs(Feature::ItemLists),
        Feature::Drive
        | Feature::ItemLists
        | Feature::Generated
        | Feature::Stages
        | Feature::Timeline
        | Feature::Robots
        | Feature::Reservations
        | Feature::OwnMark
        | Feature::Push => &[],
    });
    needed.chain(instead.copied()).collect()
}

/// By any of these an old box is known that has its own methods for items.
const OLD_ITEMS: [&str; 2] = ["crm.deal.get", "crm.lead.get"];

/// Missing methods first: a scope helps nobody where there is no method.
fn denied(map: &CapabilityMap, methods: &[&'static str]) -> Option<Cause> {
    let with = |presence: Presence| -> Vec<&'static str> {
        methods.iter().copied().filter(|name| map.presence(name) == Some(presence)).collect()
    };
    let (missing, beyond) = (with(Presence::Missing), with(Presence::OutOfScope));
    match (missing.is_empty(), beyond.is_empty()) {
        (false, _) => Some(Cause::Methods(missing)),
        (true, false) => Some(Cause::Scopes(beyond)),
        (true, true) => None,
    }
}

fn of_plan(map: &CapabilityMap, code: &'static str) -> Option<(Standing, Cause)> {
    (map.feature(code) == Some(false)).then_some((Standing::Otherwise, Cause::Plan(code)))
}

/// Whether items are spoken to by the methods that old boxes have.
pub fn speaks_old(map: &CapabilityMap) -> bool {
    map.lacks("crm.item.get") && OLD_ITEMS.iter().any(|old| map.presence(old) == Some(Presence::Available))
}

impl Feature {
    /// Stable name, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drive => "drive",
            Self::Items => "items",
            Self::ItemLists => "item_lists",
            Self::Generated => "generated_documents",
            Self::Stages => "stages",
            Self::Timeline => "timeline",
            Self::Notices => "notices",
            Self::Robots => "robots",
            Self::Events => "events",
            Self::OfflineQueue => "offline_queue",
            Self::Reservations => "offline_reservations",
            Self::OwnMark => "own_changes_mark",
            Self::Push => "push",
        }
    }

    /// What becomes of it, as the beginning of a sentence.
    fn consequence(self, standing: Standing) -> Text {
        let (ru, en) = match (self, standing) {
            (Self::Drive, _) => ("Файлы Диска недоступны", "Files of the Drive are out of reach"),
            (Self::Items, Standing::Otherwise) => (
                "Сделки, лиды, контакты и компании читаются и меняются старыми методами, а смарт-процессы и новые счета недоступны",
                "Deals, leads, contacts and companies are read and changed by the older methods; smart processes and smart invoices are out of reach",
            ),
            (Self::Items, Standing::Off) => ("Карточки CRM недоступны", "Items of the CRM are out of reach"),
            (Self::ItemLists, _) => (
                "Карточки читаются по одной и только по событиям: пропущенное событие никто не найдёт",
                "Items are read one by one and after events only: an event that is lost is found by nobody",
            ),
            (Self::Generated, _) => {
                ("Документы генератора не отправляются", "Documents of the document generator are not sent")
            }
            (Self::Stages, _) => ("Стадии карточек не меняются", "Stages of items are not changed"),
            (Self::Timeline, _) => ("Комментарии в таймлайн не пишутся", "Timelines get no comments"),
            (Self::Notices, Standing::Otherwise) => (
                "Уведомления отправляются старым методом im.notify",
                "Notices are sent by the older method im.notify",
            ),
            (Self::Notices, Standing::Off) => ("Уведомления не отправляются", "Notices are not sent"),
            (Self::Robots, _) => ("Роботы не работают", "Robots do not work"),
            (Self::Events, Standing::Off) => (
                "Часть событий портал не присылает, и найти эти изменения нечем",
                "The portal does not send some events, and nothing else can find what has changed",
            ),
            (Self::Events, Standing::Otherwise) => (
                "Часть событий портал не присылает, изменения находит обход",
                "The portal does not send some events; a sweep finds what has changed",
            ),
            (Self::OfflineQueue, Standing::Off) => (
                "Очередь офлайн-событий не читается: пропущенное событие никто не найдёт",
                "The queue of offline events is not read: an event that is lost is found by nobody",
            ),
            (Self::OfflineQueue, Standing::Otherwise) => (
                "Очередь офлайн-событий не читается, изменения находит обход",
                "The queue of offline events is not read; a sweep finds what has changed",
            ),
            (Self::Reservations, _) => (
                "Офлайн-события портал удаляет при чтении; то, что пропало бы при сбое, находит обход при запуске",
                "The portal deletes offline events when they are read; a sweep at the start finds what a crash would lose",
            ),
            (Self::OwnMark, _) => (
                "Наши собственные изменения возвращаются событиями и узнаются по содержанию",
                "Our own changes come back as events and are known by what they say",
            ),
            (Self::Push, _) => (
                "Push-сервер не слушается, очередь читается по таймеру",
                "The push server is not listened to; the queue is read by its timer",
            ),
        };
        Text::new(ru, en)
    }
}

impl Shortfall {
    /// For people: what follows, why, and the remedy.
    pub fn text(&self) -> Text {
        let what = self.feature.consequence(self.standing);
        let (why_ru, why_en) = self.cause.words();
        Text::new(format!("{}: {why_ru}", what.ru), format!("{}: {why_en}", what.en))
    }
}

impl Cause {
    fn words(&self) -> (String, String) {
        match self {
            Self::Methods(methods) => {
                let list = methods.join(", ");
                (
                    format!("на портале нет методов {list}. Обновите модули коробки ({}).", modules(methods)),
                    format!(
                        "the portal does not have the methods {list}. Update the modules of the box ({}).",
                        modules(methods)
                    ),
                )
            }
            Self::Scopes(methods) => {
                let (list, scopes) = (methods.join(", "), scopes(methods));
                (
                    format!(
                        "методы {list} есть, но нашему доступу не хватает прав ({scopes}). Дайте их вебхуку или приложению."
                    ),
                    format!(
                        "the methods {list} are there, but our access lacks the scopes ({scopes}). Give them to the webhook or the application."
                    ),
                )
            }
            Self::Events(events) => {
                let list = events.join(", ");
                (
                    format!("на портале нет событий {list}. Обновите модули коробки."),
                    format!("the portal does not have the events {list}. Update the modules of the box."),
                )
            }
            Self::Plan(code) => (
                format!("тариф портала этого не умеет ({code}); нужен «Профессиональный» или выше."),
                format!("the plan of the portal cannot do it ({code}); Professional or higher can."),
            ),
        }
    }
}

/// The modules that bring methods: the first part of their names, with its own exceptions.
fn modules(methods: &[&str]) -> String {
    let module = |method: &&str| match method.split('.').next().unwrap_or_default() {
        "event" => "rest",
        "pull" => "pull",
        "crm" if method.contains("documentgenerator") => "crm, documentgenerator",
        "crm" => "crm",
        "disk" => "disk",
        "im" => "im",
        "bizproc" => "bizproc",
        _ => "rest",
    };
    methods.iter().map(module).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

fn scopes(methods: &[&str]) -> String {
    let scope = |method: &&str| method.split('.').next().unwrap_or_default().to_owned();
    methods.iter().map(scope).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::portal_capabilities::{FeatureCapability, MethodCapability};
    use crate::providers::bitrix24::capabilities::METHODS;

    const ALL: [Feature; 13] = [
        Feature::Drive,
        Feature::Items,
        Feature::ItemLists,
        Feature::Generated,
        Feature::Stages,
        Feature::Timeline,
        Feature::Notices,
        Feature::Robots,
        Feature::Events,
        Feature::OfflineQueue,
        Feature::Reservations,
        Feature::OwnMark,
        Feature::Push,
    ];

    fn map(presence: impl Fn(&str) -> Presence) -> CapabilityMap {
        let methods = METHODS.map(|name| MethodCapability { name: name.into(), presence: presence(name) });
        CapabilityMap { methods: methods.into(), ..CapabilityMap::default() }
    }

    fn everything() -> Wanted {
        Wanted { features: ALL.into(), events: vec!["ONCRMDYNAMICITEMADD".into()] }
    }

    #[test]
    fn every_method_that_a_feature_needs_is_asked_about() {
        for method in ALL.iter().flat_map(|feature| needs(*feature)) {
            assert!(METHODS.contains(method), "{method}");
        }
    }

    #[test]
    fn the_unknown_and_the_present_switch_nothing_off() {
        assert!(shortfalls(&CapabilityMap::default(), &everything()).is_empty());
        assert!(shortfalls(&map(|_| Presence::Available), &everything()).is_empty());
    }

    #[test]
    fn an_old_box_works_otherwise_where_it_can_and_says_why_not_elsewhere() {
        let old = |name: &str| match name {
            "crm.deal.get" | "crm.lead.get" | "disk.file.get" | "im.notify" | "crm.status.list" => {
                Presence::Available
            }
            _ if name.starts_with("disk.") || name.starts_with("event.") => Presence::Available,
            _ => Presence::Missing,
        };
        let mut map = map(old);
        map.events = Some(vec!["ONCRMDEALADD".into()]);
        map.features = vec![FeatureCapability { code: FEATURE_RESERVES.into(), is_on: false }];
        let found = shortfalls(&map, &everything());
        let standing = |feature| found.iter().find(|one| one.feature == feature).map(|one| one.standing);
        assert_eq!(standing(Feature::Items), Some(Standing::Otherwise));
        assert_eq!(standing(Feature::Notices), Some(Standing::Otherwise));
        assert_eq!(standing(Feature::Events), Some(Standing::Off), "without lists no sweep finds anything");
        assert_eq!(standing(Feature::Reservations), Some(Standing::Otherwise));
        assert_eq!(standing(Feature::Timeline), Some(Standing::Off));
        assert_eq!(standing(Feature::ItemLists), Some(Standing::Off));
        assert_eq!((standing(Feature::Drive), standing(Feature::OwnMark)), (None, None));
        for one in &found {
            let text = one.text();
            assert!(text.ru.ends_with('.') && text.en.ends_with('.'), "{text:?}");
        }
        let events = found.iter().find(|one| one.feature == Feature::Events).unwrap().text();
        assert!(events.en.contains("ONCRMDYNAMICITEMADD"), "{events:?}");
    }

    #[test]
    fn a_scope_that_is_lacking_is_told_as_one() {
        let map =
            map(|name| if name.starts_with("im.") { Presence::OutOfScope } else { Presence::Available });
        let found = shortfalls(&map, &everything());
        assert_eq!(found.len(), 1);
        assert!(found[0].text().en.contains("lacks the scopes (im)"), "{:?}", found[0].text());
    }
}
