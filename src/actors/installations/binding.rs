//! Registers at a portal what the table of [`bindings`](crate::actors::bindings) says.

use super::*;

/// A binding to a former address of ours: a robot needs none, since `bizproc.robot.update` moves it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Old {
    Event { name: String, handler: String },
    Placement { code: String, handler: String },
}

impl Registry {
    /// Registers everything that the portal must know of us. What could not be tried now is tried again later; what
    /// was refused is shown to people.
    pub(super) async fn bind(&self, it: &Installation) -> Tried {
        let Some(session) = self.sessions.session(&it.portal) else { return Tried::Later };
        let caller = PortalCaller::background(session);
        let wanted = bindings::wanted(Wants { portal: &it.portal, rules: &self.parts.rules });
        let mut views = Vec::new();
        let mut tried = Tried::All;
        let there = match self.there(&caller, &wanted).await {
            Ok((there, old)) => {
                if self.unbind_all(it, &caller, &old).await == Tried::Later {
                    tried = Tried::Later;
                }
                there
            }
            Err(failure) => {
                tracing::warn!(installation = %it.key, code = %failure.code, "bindings cannot be read, will try again");
                return Tried::Later;
            }
        };
        for binding in &wanted {
            let outcome = match there.contains(&binding.label()) {
                true => Ok(Bound::Already),
                false => self.bind_one(&caller, binding).await,
            };
            let problem = outcome.as_ref().err().map(|failure| failure.reason.clone());
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
        self.notes().bindings.insert(it.key.clone(), views);
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

    /// Labels of what the portal has already, and what it has of former addresses of ours. Robots are put again each
    /// time: their properties may have changed.
    async fn there(
        &self,
        caller: &PortalCaller,
        wanted: &[Binding],
    ) -> Result<(BTreeSet<String>, Vec<Old>), Failure> {
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
                    events.iter().any(|event| event.name == *name && event.handler.is_none())
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
        Ok((there, old))
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

fn no_address() -> Failure {
    Failure::new(
        FailureClass::Permanent,
        crate::domain::FailureKind::Local,
        "no_base_url",
        Text::new("Не задан public.base_url.", "public.base_url is not set."),
    )
}
