//! Registers at a portal what the table of [`bindings`](crate::actors::bindings) says.

use super::*;
use crate::providers::bitrix24::capabilities::FEATURE_CONNECTOR;
use crate::providers::bitrix24::client::OwnMark;
use crate::providers::bitrix24::offline;
use crate::providers::bitrix24::registration::EventEntry;

/// A binding to a former address of ours: a robot needs none, since `bizproc.robot.update` moves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Old {
    Event { name: String, handler: String },
    Placement { code: String, handler: String },
}

impl Registry {
    /// Registers everything that the portal must know of us. What could not be tried now is tried again later; what
    /// was refused is shown to people.
    pub(super) async fn bind(&self, it: &Installation) -> Tried {
        let Some(session) = self.sessions.session(&it.portal) else { return Tried::Later };
        let caller = PortalCaller::background(session);
        if let Some(way_in) = self.parts.capabilities.asked(&it.portal) {
            // an update may have brought other scopes, and with them another portal; unread, all is tried
            drop(capability_watch::look(&self.parts, &it.portal, &caller, way_in, it.updated_at).await);
        }
        let Ok(mark) = self.own_mark(it, &caller).await else { return Tried::Later };
        let wanted = bindings::wanted(Wants { portal: &it.portal, rules: &self.parts.rules });
        let mut views = Vec::new();
        let mut tried = Tried::All;
        let (there, events) = match self.there(&caller, &wanted, &mark).await {
            Ok((there, events, old)) => {
                if self.unbind_all(it, &caller, &old).await == Tried::Later {
                    tried = Tried::Later;
                }
                (there, events)
            }
            Err(failure) => {
                tracing::warn!(installation = %it.key, code = %failure.code, "bindings cannot be read, will try again");
                return Tried::Later;
            }
        };
        for binding in &wanted {
            let outcome = match there.contains(&binding.label()) {
                true => Ok(Bound::Already),
                false => match self.absent(it, binding) {
                    Some(why) => {
                        views.push(BindingView { label: binding.label(), problem: Some(why) });
                        continue;
                    }
                    None => self.bind_one(&caller, binding).await,
                },
            };
            let problem = outcome.as_ref().err().map(|failure| problem(binding, failure));
            if let Err(failure) = &outcome {
                let later = failure.class != FailureClass::Permanent;
                if later {
                    tried = Tried::Later;
                }
                tracing::warn!(
                    installation = %it.key, binding = binding.label(), code = %failure.code, later,
                    "a binding was not made"
                );
            }
            views.push(BindingView { label: binding.label(), problem });
        }
        // last, so that there is always a queue that takes what changes
        if let Err(failure) = self.unbind_other_marks(&caller, &events, &wanted, &mark).await {
            tracing::warn!(installation = %it.key, code = %failure.code, "events under another mark were not unbound");
            tried = Tried::Later;
        }
        let mut notes = self.notes();
        notes.bindings.insert(it.key.clone(), views);
        notes.marked.insert(it.key.clone(), mark);
        drop(notes);
        if tried == Tried::All {
            tracing::info!(installation = %it.key, count = wanted.len(), "the bindings are made");
        }
        tried
    }

    /// Takes away what a former address of ours has left: the portal would go on posting there.
    async fn unbind_all(&self, it: &Installation, caller: &PortalCaller, old: &[Old]) -> Tried {
        let mut tried = Tried::All;
        for one in old {
            let outcome = match one {
                Old::Event { name, handler } => registration::unbind_event(caller, name, handler).await,
                Old::Placement { code, handler } => {
                    registration::unbind_placement(caller, code, handler).await
                }
            };
            match outcome {
                Ok(()) => {
                    tracing::info!(installation = %it.key, what = ?one, "a binding to a former address was taken away")
                }
                Err(failure) => {
                    tracing::warn!(installation = %it.key, what = ?one, code = %failure.code, "a binding to a former address stays");
                    if failure.class != FailureClass::Permanent {
                        tried = Tried::Later;
                    }
                }
            }
        }
        tried
    }

    /// Labels of what the portal has already, its events, and what it has of former addresses of ours. Robots are put
    /// again each time: their properties may have changed.
    pub(super) async fn there(
        &self,
        caller: &PortalCaller,
        wanted: &[Binding],
        mark: &str,
    ) -> Result<(BTreeSet<String>, Vec<EventEntry>, Vec<Old>), Failure> {
        let mut there = BTreeSet::new();
        let events = registration::events(caller).await?;
        let places = if wanted.iter().any(|binding| matches!(binding, Binding::Placement { .. })) {
            registration::placements(caller).await?
        } else {
            Vec::new()
        };
        let old = self.old(&events, &places, wanted);
        for binding in wanted {
            let found = match binding {
                Binding::Event { name, mode: EventMode::Online } => {
                    let handler = self.address(bindings::EVENTS_PATH);
                    events.iter().any(|event| event.name == *name && event.handler == handler)
                }
                Binding::Event { name, mode: EventMode::Offline } => {
                    let ours = |event: &&EventEntry| event.name == *name && event.handler.is_none();
                    events
                        .iter()
                        .filter(ours)
                        .any(|event| event.connector.as_deref().is_none_or(|c| c == mark))
                }
                Binding::Placement { code, path, .. } => {
                    let handler = self.address(path).unwrap_or_default();
                    places.iter().any(|(place, at)| place == code && *at == handler)
                }
                Binding::Robot { .. } => false,
            };
            if found {
                there.insert(binding.label());
            }
        }
        Ok((there, events, old))
    }

    /// What the application has bound to our paths below another address than today's.
    fn old(
        &self,
        events: &[registration::EventEntry],
        places: &[(String, String)],
        wanted: &[Binding],
    ) -> Vec<Old> {
        let is_former = |handler: &str, path: &str| {
            handler.ends_with(path) && self.address(path).is_some_and(|present| present != handler)
        };
        let of_event = |entry: &registration::EventEntry| {
            let handler =
                entry.handler.clone().filter(|handler| is_former(handler, bindings::EVENTS_PATH))?;
            Some(Old::Event { name: entry.name.clone(), handler })
        };
        let of_place = |(code, handler): &(String, String)| {
            let ours = wanted.iter().any(|binding| match binding {
                Binding::Placement { path, .. } => is_former(handler, path),
                Binding::Event { .. } | Binding::Robot { .. } => false,
            });
            ours.then(|| Old::Placement { code: code.clone(), handler: handler.clone() })
        };
        events.iter().filter_map(of_event).chain(places.iter().filter_map(of_place)).collect()
    }

    /// The mark under which offline events are bound: `auth_connector`, or nothing where the plan has none. The queue is
    /// read under the same one; under another it looks empty.
    async fn own_mark(&self, it: &Installation, caller: &PortalCaller) -> Result<String, Failure> {
        let connector = self.app(&it.key.app).and_then(|app| app.auth_connector.clone()).unwrap_or_default();
        if connector.is_empty() {
            return Ok(connector);
        }
        let has_plan = match self.plan_has_marks(it) {
            Some(known) => known,
            None => match offline::features(caller).await {
                Ok(features) => features.connector,
                // a portal that will never say has no plan for it
                Err(failure) if failure.class == FailureClass::Permanent => false,
                Err(failure) => return Err(failure),
            },
        };
        if let Some(client) = self.notes().clients.get(&it.key) {
            client.mark_own_changes(if has_plan { OwnMark::Sent } else { OwnMark::Withheld });
        }
        Ok(if has_plan { connector } else { String::new() })
    }

    fn plan_has_marks(&self, it: &Installation) -> Option<bool> {
        self.parts.capabilities.of(&it.portal)?.feature(FEATURE_CONNECTOR)
    }

    /// Whether the plan has gained or lost the mark since the offline events were bound: they must be bound anew.
    pub(super) fn mark_has_changed(&self, it: &Installation) -> bool {
        let connector = self.app(&it.key.app).and_then(|app| app.auth_connector.clone()).unwrap_or_default();
        let now = self.plan_has_marks(it).map(|has_plan| if has_plan { connector } else { String::new() });
        let bound = self.notes().marked.get(&it.key).cloned();
        matches!((bound, now), (Some(bound), Some(now)) if bound != now)
    }

    /// Offline events under another mark fill a queue that nobody reads.
    async fn unbind_other_marks(
        &self,
        caller: &PortalCaller,
        events: &[EventEntry],
        wanted: &[Binding],
        mark: &str,
    ) -> Result<(), Failure> {
        let is_wanted = |event: &EventEntry| {
            let offline = Binding::offline(event.name.clone());
            event.handler.is_none() && wanted.contains(&offline)
        };
        for event in events.iter().filter(|event| is_wanted(event)) {
            if let Some(other) = event.connector.as_deref().filter(|other| *other != mark) {
                registration::unbind_offline(caller, &event.name, other).await?;
            }
        }
        Ok(())
    }

    /// Why the portal cannot have this binding, by its own word.
    fn absent(&self, it: &Installation, binding: &Binding) -> Option<Text> {
        let map = self.parts.capabilities.of(&it.portal)?;
        match binding {
            // an event is tried all the same: the list of events is not said to be complete
            Binding::Event { mode: EventMode::Online, .. } => None,
            Binding::Event { mode: EventMode::Offline, .. } => {
                map.lacks(offline::GET).then(|| no_method(offline::GET))
            }
            Binding::Placement { .. } => map.lacks(PLACEMENTS).then(|| no_method(PLACEMENTS)),
            Binding::Robot { .. } => map.lacks(ROBOTS).then(|| no_method(ROBOTS)),
        }
    }

    pub(super) async fn bind_one(&self, caller: &PortalCaller, binding: &Binding) -> Result<Bound, Failure> {
        match binding {
            Binding::Event { name, mode: EventMode::Online } => {
                let handler = self.address(bindings::EVENTS_PATH).ok_or_else(no_address)?;
                registration::bind_event(caller, name, Some(&handler)).await
            }
            Binding::Event { name, mode: EventMode::Offline } => {
                registration::bind_event(caller, name, None).await
            }
            Binding::Placement { code, path, title_ru, title_en } => {
                let handler = self.address(path).ok_or_else(no_address)?;
                let placement = Placement { code, handler: &handler, title_ru, title_en };
                registration::bind_placement(caller, placement).await
            }
            Binding::Robot { code, path, params } => {
                let handler = self.address(path).ok_or_else(no_address)?;
                registration::put_robot(caller, code, &handler, params).await
            }
        }
    }

    pub(super) fn address(&self, path: &str) -> Option<String> {
        self.base_url.as_ref().map(|base| format!("{}{path}", base.trim_end_matches('/')))
    }
}

/// Without these a portal has no placements, and no robots.
const PLACEMENTS: &str = "placement.bind";
const ROBOTS: &str = "bizproc.robot.add";

/// The code of an event that the portal does not have.
const NO_EVENT: &str = "error_event_not_found";

fn problem(binding: &Binding, failure: &Failure) -> Text {
    match binding {
        Binding::Event { name, .. } if failure.code == NO_EVENT => no_event(name),
        Binding::Event { .. } | Binding::Placement { .. } | Binding::Robot { .. } => failure.reason.clone(),
    }
}

fn no_event(name: &str) -> Text {
    Text::new(
        format!(
            "На портале нет события {name}. Обновите модули коробки; до тех пор изменения находит обход."
        ),
        format!(
            "The portal does not have the event {name}. Update the modules of the box; until then a sweep finds what has changed."
        ),
    )
}

fn no_method(name: &str) -> Text {
    Text::new(
        format!("На портале нет метода {name}. Обновите модули коробки."),
        format!("The portal does not have the method {name}. Update the modules of the box."),
    )
}

fn no_address() -> Failure {
    Failure::new(
        FailureClass::Permanent,
        crate::domain::FailureKind::Local,
        "no_base_url",
        Text::new("Не задан public.base_url.", "public.base_url is not set."),
    )
}
