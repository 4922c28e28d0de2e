//! Where the parts of the running emulator are, and the keys that open them.

use super::args::SandboxArgs;
use super::stage::Stage;
use crate::domain::Secret;
use crate::sandbox::idocs::Employee;
use crate::sandbox::{AppSpec, Sandbox, SandboxOptions};
use serde::Serialize;
use url::Url;

/// The emulator's keys: not secrets, but of the same kind as the real ones.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Keys {
    pub(super) webhook_secret: String,
    pub(super) application_token: String,
    pub(super) easydocs_api_key: String,
    pub(super) idocs_token: String,
    pub(super) callback_secret: String,
    pub(super) control_key: Option<String>,
}

impl Keys {
    /// Those that the emulator is started with.
    pub(super) fn of(options: &SandboxOptions) -> Self {
        let text = |secret: &Secret| secret.expose().to_owned();
        Self {
            webhook_secret: text(&options.webhook_secret),
            application_token: text(&options.application_token),
            easydocs_api_key: text(&options.easydocs_api_key),
            idocs_token: text(&options.idocs_token),
            callback_secret: text(&options.callback_secret),
            control_key: options.control_key.as_ref().map(text),
        }
    }
}

/// Where everything is.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Whereabouts {
    pub(super) bitrix_url: Url,
    pub(super) webhook_url: Url,
    pub(super) easydocs_url: Url,
    pub(super) idocs_url: Url,
    pub(super) idocs_webhooks_url: Url,
    /// Who signs for us in iDocs.
    pub(super) director: Employee,
    pub(super) company_bin: String,
    pub(super) oauth_url: Url,
    pub(super) member_id: String,
    pub(super) client_id: String,
    pub(super) client_secret: String,
    pub(super) event_target: Option<Url>,
    pub(super) keys: Keys,
    pub(super) stage: Stage,
}

impl Whereabouts {
    /// Of an emulator that runs, with its stage set and its application registered.
    pub(super) fn of(
        args: &SandboxArgs,
        sandbox: &Sandbox,
        keys: Keys,
        stage: &Stage,
        app: &AppSpec,
    ) -> Self {
        Self {
            bitrix_url: sandbox.bitrix_url(),
            webhook_url: sandbox.webhook_url(),
            easydocs_url: sandbox.easydocs_url(),
            idocs_url: sandbox.idocs_url(),
            idocs_webhooks_url: sandbox.world().idocs_webhooks_url(),
            director: Employee::director(),
            company_bin: sandbox.world().idocs_options().company.bin,
            oauth_url: sandbox.oauth_url(),
            member_id: sandbox.world().member_id(),
            client_id: app.client_id.clone(),
            client_secret: app.client_secret.expose().to_owned(),
            event_target: (!args.no_events).then(|| args.event_target.clone()),
            keys,
            stage: stage.clone(),
        }
    }
}
