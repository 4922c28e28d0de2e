//! Registers at a portal what the table of [`bindings`](crate::actors::bindings) says.

use super::*;

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
            Ok(there) => there,
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

    /// Labels of what the portal has already. Robots are put again each time: their properties may have changed.
    pub(super) async fn there(
        &self,
        caller: &PortalCaller,
        wanted: &[Binding],
    ) -> Result<BTreeSet<String>, Failure> {
        let mut there = BTreeSet::new();
        let events = registration::events(caller).await?;
        let places = if wanted.iter().any(|binding| matches!(binding, Binding::Placement { .. })) {
            registration::placements(caller).await?
        } else {
            Vec::new()
        };
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
        Ok(there)
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
