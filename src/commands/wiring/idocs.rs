//! From the configuration to iDocs: how it is spoken to, and the subscription to its notices.

use super::error::WiringError;
use super::origins::origins;
use super::pauses::pauses;
use super::signing;
use crate::actors::idocs_bulk::BulkPlan;
use crate::actors::idocs_history::HistoryPlan;
use crate::actors::idocs_work::IdocsParts;
use crate::actors::signing_links::SigningLinks;
use crate::actors::signing_room::SigningRoom;
use crate::actors::{Engine, Parts};
use crate::commands::signing_link_key;
use crate::config::{
    Config, IdocsConfig, IdocsEventFields, IdocsRoute, IdocsRoutePreset, IdocsSigner, IdocsVersion,
};
use crate::domain::signing::{Encapsulation, SignerIdentity};
use crate::domain::{Capabilities, Secret, SigningService};
use crate::http::{IdocsSettings, SigningParts, routes};
use crate::providers::http_client::{HttpClient, HttpSettings};
use crate::providers::idocs::Client;
use crate::providers::idocs::bulk::PollPlan;
use crate::providers::idocs::route_template::RouteTemplate;
use crate::providers::idocs::settings::{self, Settings, Version};
use crate::providers::idocs::status::StatusLists;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// iDocs as the actors need it; none if it is not configured.
///
/// # Errors
/// [`WiringError`] for a value that cannot be used, or a key that can neither be read nor made.
pub fn parts(config: &Config) -> Result<Option<IdocsParts>, WiringError> {
    let Some(idocs) = &config.idocs else { return Ok(None) };
    let links = match &config.public.base_url {
        Some(url) => {
            let key = signing_link_key::load_or_make(&config.data_dir)?;
            Some(SigningLinks::new(key, url.as_str(), config.signing_page.link_ttl.as_ms()))
        }
        None => None,
    };
    Ok(Some(IdocsParts {
        client: Arc::new(idocs_client(idocs)?),
        author: Some(idocs.author_employee_id.clone()).filter(|id| !id.is_empty()),
        links,
        calls_max: idocs.limits.concurrent_calls as usize,
        history: history_plan(idocs),
        bulk: bulk_plan(idocs),
    }))
}

/// A client of iDocs.
///
/// # Errors
/// [`WiringError`] for settings that cannot be used.
pub fn idocs_client(idocs: &IdocsConfig) -> Result<Client, WiringError> {
    let times = &idocs.timeouts;
    let http = HttpClient::new(&HttpSettings {
        connect_timeout: times.connect.as_duration(),
        read_timeout: times.read.as_duration(),
        total_timeout: times.call.as_duration(),
        ..HttpSettings::default()
    })?;
    Ok(Client::new(http, idocs_settings(idocs)?)?)
}

/// How iDocs is spoken to.
///
/// # Errors
/// [`WiringError`] for an origin or a template that cannot be read.
pub fn idocs_settings(idocs: &IdocsConfig) -> Result<Settings, WiringError> {
    let i = idocs;
    Ok(Settings {
        version: match i.api_version {
            IdocsVersion::V3 => Version::V3,
            IdocsVersion::V1 => Version::V1,
        },
        base_url: i.base_url.to_string(),
        webhooks_base_url: i.webhooks_base_url.to_string(),
        token: i.token.as_ref().map_or_else(|| Secret::new(""), |token| token.secret().clone()),
        content_type: i.content_type.clone(),
        route: route(&i.route)?,
        signature: settings::SignaturePart {
            content_type: i.cms.part_content_type.clone(),
            file_name: i.cms.file_name.clone(),
        },
        statuses: statuses(idocs),
        query: settings::Query {
            page_size: i.query.page_size,
            pages_max: i.query.pages_max,
            around_ms: i.query.around.as_ms(),
        },
        download_origins: origins("idocs.download.allowed_origins", &i.download.allowed_origins)?,
        upload: settings::Upload {
            bytes_max: i.upload.max_bytes.bytes(),
            extensions: i.upload.extensions.clone(),
        },
        webhook: settings::Webhook {
            subscription_path: i.webhook.subscription_path.clone(),
            url_field: i.webhook.url_field.clone(),
            fields: fields(&i.webhook.fields),
        },
        history: history(idocs),
        v1: settings::V1Settings {
            document_type: i.v1.document_type.clone(),
            position: i.v1.position,
            document_id: i.v1.document_id.clone(),
            failed: i.v1.failed.clone(),
            status: i.v1.status.clone(),
            print_form: i.v1.print_form,
            file: i.v1.file,
        },
        limits: settings::Limits {
            callback_bytes: i.limits.callback_bytes.bytes(),
            content_bytes: i.limits.content_bytes.bytes(),
            signature_bytes: i.limits.signature_bytes.bytes(),
            print_form_bytes: i.limits.print_form_bytes.bytes(),
            archive_bytes: i.limits.archive_bytes.bytes(),
        },
    })
}

/// What the service can do by the interface that is configured.
pub fn capabilities(idocs: &IdocsConfig) -> Capabilities {
    match idocs.api_version {
        IdocsVersion::V3 => SigningService::Idocs.capabilities(),
        IdocsVersion::V1 => Capabilities::of_idocs_v1(),
    }
}

/// When content is made for many documents at once; none: never.
pub fn bulk_plan(idocs: &IdocsConfig) -> Option<BulkPlan> {
    let bulk = &idocs.bulk;
    let wanted = bulk.from > 0 && idocs.api_version == IdocsVersion::V3;
    wanted.then(|| BulkPlan {
        from: bulk.from as usize,
        gather_ms: bulk.gather.as_ms(),
        poll: PollPlan { pauses_ms: pauses(&bulk.poll), deadline_ms: bulk.deadline.as_ms() },
    })
}

fn route(route: &IdocsRoute) -> Result<RouteTemplate, WiringError> {
    Ok(match route.preset {
        IdocsRoutePreset::Guide => RouteTemplate::guide(&route.required_action_type, &route.comment),
        IdocsRoutePreset::Snapshot => RouteTemplate::snapshot(&route.comment),
        IdocsRoutePreset::SnapshotPayer => RouteTemplate::snapshot_payer(&route.comment),
        IdocsRoutePreset::Template => RouteTemplate::own(&route.template, &route.comment)?,
    })
}

fn statuses(idocs: &IdocsConfig) -> StatusLists {
    let status = idocs.status.clone();
    StatusLists {
        not_sent: status.not_sent,
        in_work: status.in_work,
        success: status.success,
        refused: status.refused,
        withdrawn: status.withdrawn,
        unsure: status.unsure,
    }
}

fn fields(fields: &IdocsEventFields) -> settings::EventFields {
    settings::EventFields {
        document_id: fields.document_id.clone(),
        status: fields.status.clone(),
        occurred_on: fields.occurred_on.clone(),
    }
}

fn history(idocs: &IdocsConfig) -> Option<settings::History> {
    let history = &idocs.history;
    (!history.document_path.is_empty() || !history.period_path.is_empty()).then(|| settings::History {
        document_path: history.document_path.clone(),
        period_path: history.period_path.clone(),
        items: history.items.clone(),
        fields: fields(&history.fields),
    })
}

/// When the events of all documents are asked for; none where nobody knows their path.
pub fn history_plan(idocs: &IdocsConfig) -> Option<HistoryPlan> {
    let history = &idocs.history;
    (!history.period_path.is_empty()).then(|| HistoryPlan {
        interval_ms: history.interval.as_ms(),
        overlap_ms: history.overlap.as_ms(),
        first_ms: history.document_poll.as_ms(),
    })
}

/// Pauses between questions for one document's status: rare where the events of all documents are asked for.
pub fn status_poll(idocs: &IdocsConfig) -> Vec<u64> {
    match history_plan(idocs) {
        Some(_) => vec![idocs.history.document_poll.as_ms()],
        None => pauses(&idocs.poll),
    }
}

/// The address at which iDocs sends notices; none where they are not taken or our address is not known. A secret.
pub fn notice_url(config: &Config) -> Option<Secret> {
    let secret = config.idocs.as_ref()?.webhook.path_secret.as_ref()?;
    let base = config.public.base_url.as_ref()?.as_str().trim_end_matches('/');
    let path = routes::IDOCS_CALLBACK.replace("{secret}", secret.secret().expose());
    Some(Secret::new(format!("{base}{path}")))
}

/// The door for notices; none where they are not taken.
///
/// # Errors
/// [`WiringError`] for settings that cannot be used.
pub fn door(config: &Config) -> Result<Option<IdocsSettings>, WiringError> {
    let Some(idocs) = &config.idocs else { return Ok(None) };
    let Some(secret) = &idocs.webhook.path_secret else { return Ok(None) };
    Ok(Some(IdocsSettings {
        per_minute: NonZeroU32::new(idocs.limits.callback_per_minute).unwrap_or(NonZeroU32::MIN),
        path_secret: secret.secret().clone(),
        protocol: Arc::new(idocs_settings(idocs)?),
    }))
}

/// The signing page with the documents behind it; none where nobody could open a link.
///
/// # Errors
/// [`WiringError`] for a pattern of a certificate's subject that is none.
pub fn signing(config: &Config, engine: &Engine, parts: &Parts) -> Result<Option<SigningParts>, WiringError> {
    let Some(idocs) = &config.idocs else { return Ok(None) };
    let Some(links) = parts.idocs.as_ref().and_then(|idocs| idocs.links.clone()) else { return Ok(None) };
    let identity = |signer: &IdocsSigner| SignerIdentity { iin: signer.iin.clone(), bin: signer.bin.clone() };
    let signers = idocs.signers.iter().map(|signer| (signer.name.clone(), identity(signer))).collect();
    let encapsulation = if idocs.cms.encapsulate { Encapsulation::Attached } else { Encapsulation::Detached };
    let desk = Arc::new(SigningRoom::new(engine.clone(), links, signers, encapsulation));
    Ok(Some(SigningParts { desk, settings: signing::settings(config)? }))
}

/// Pauses between attempts to subscribe; after the last one it is left to the next start, and polling tells of changes.
const SUBSCRIBE_PAUSES: [Duration; 4] =
    [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(1_800)];

/// Tells iDocs where to send notices, in the background. A repeat at every start does no harm: the call creates the
/// subscription or changes it (the guide). A failure is a warning, since polling goes on.
pub fn subscribe(config: &Config, client: Arc<Client>) {
    let wanted = config.idocs.as_ref().is_some_and(|idocs| idocs.webhook.subscribe);
    let Some(url) = notice_url(config).filter(|_| wanted) else { return };
    actix::spawn(async move {
        for pause in SUBSCRIBE_PAUSES.map(Some).into_iter().chain([None]) {
            let failure = match client.subscribe(url.expose()).await {
                Ok(()) => return tracing::info!("subscribed to the notices of iDocs"),
                Err(failure) => failure,
            };
            tracing::warn!(
                code = %failure.code,
                reason = %failure.reason.en,
                "no subscription to the notices of iDocs: only polling tells of changes"
            );
            let Some(pause) = pause.filter(|_| failure.class == crate::domain::FailureClass::Transient)
            else {
                return;
            };
            tokio::time::sleep(pause).await;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;
    use crate::providers::idocs::StatusClass;

    fn config(more: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edobridge.toml");
        let text = format!(
            "data_dir = \"{}\"\n[public]\nbase_url = \"https://edo.example.ru/x/\"\n[idocs]\ntoken = \"token-0123456789\"\n{more}",
            dir.path().join("data").display()
        );
        std::fs::write(&path, text).unwrap();
        Config::check(Some(&path), &Environment::default()).unwrap().config
    }

    #[test]
    fn the_defaults_of_the_file_are_those_of_the_adapter() {
        let config = config("");
        let from_file = idocs_settings(config.idocs.as_ref().unwrap()).unwrap();
        let own = Settings { token: Secret::new("token-0123456789"), ..Settings::default() };
        assert_eq!(format!("{from_file:?}"), format!("{own:?}"));
        assert_eq!(from_file.statuses.meaning("FINISHED").class, StatusClass::Success);
    }

    #[test]
    fn content_is_made_for_many_documents_at_once_only_where_that_was_asked_for() {
        let plan = |more: &str| bulk_plan(config(more).idocs.as_ref().unwrap());
        assert_eq!(plan(""), None);
        assert_eq!(plan("bulk.from = 10\napi_version = \"v1\"\n"), None, "V1 has no such call");
        let plan = plan("bulk.from = 10\n").unwrap();
        assert_eq!((plan.from, plan.gather_ms), (10, 1_000));
        assert_eq!((plan.poll.pauses_ms[0], plan.poll.deadline_ms), (2_000, 6 * 3_600_000));
    }

    #[test]
    fn with_the_path_of_the_events_a_document_is_asked_rarely_and_without_it_as_ever() {
        let without = config("");
        let idocs = without.idocs.as_ref().unwrap();
        assert_eq!((history_plan(idocs), status_poll(idocs)[0]), (None, 300_000));
        let with = config("history.period_path = \"/events?from={from}&to={to}\"\n");
        let idocs = with.idocs.as_ref().unwrap();
        let plan = HistoryPlan { interval_ms: 60_000, overlap_ms: 900_000, first_ms: 6 * 3_600_000 };
        assert_eq!((history_plan(idocs), status_poll(idocs)), (Some(plan), vec![6 * 3_600_000]));
    }

    #[test]
    fn every_preset_and_a_template_become_a_route() {
        for preset in ["guide", "snapshot", "snapshot_payer"] {
            let config = config(&format!("route.preset = \"{preset}\"\n"));
            assert!(idocs_settings(config.idocs.as_ref().unwrap()).is_ok(), "{preset}");
        }
        let config = config("route.preset = \"template\"\nroute.template = '{\"to\":\"{bin}\"}'\n");
        let settings = idocs_settings(config.idocs.as_ref().unwrap()).unwrap();
        assert_eq!(settings.route, RouteTemplate::own("{\"to\":\"{bin}\"}", "").unwrap());
    }

    #[test]
    fn the_address_of_notices_holds_the_secret_and_is_one() {
        assert!(notice_url(&config("")).is_none());
        let secret = "0123456789abcdef0123456789abcdef";
        let config = config(&format!("webhook.path_secret = \"{secret}\"\n"));
        let url = notice_url(&config).unwrap();
        assert_eq!(url.expose(), format!("https://edo.example.ru/x/idocs/callback/{secret}"));
        assert!(!format!("{url:?}").contains(secret));
    }
}
