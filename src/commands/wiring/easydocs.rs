//! From the configuration to EasyDocs: how it is spoken to, and where it sends its callbacks.

use super::authorities::roots;
use super::error::WiringError;
use super::origins::origins;
use crate::config::{self, Config};
use crate::domain::Secret;
use crate::providers::easydocs::{self, settings};
use crate::providers::http_client::{HttpClient, HttpSettings};

/// A client of EasyDocs.
///
/// # Errors
/// [`WiringError`] for settings that cannot be used.
pub fn easydocs_client(config: &Config) -> Result<easydocs::Client, WiringError> {
    let times = &config.easydocs.timeouts;
    let http = HttpClient::new(&HttpSettings {
        connect_timeout: times.connect.as_duration(),
        read_timeout: times.read.as_duration(),
        total_timeout: times.call.as_duration(),
        extra_root_pem: roots(config.easydocs.ca_file.as_ref()),
        ..HttpSettings::default()
    })?;
    Ok(easydocs::Client::new(http, easydocs_settings(config)?)?)
}

/// How EasyDocs is spoken to.
///
/// # Errors
/// [`WiringError`] for an origin or a template that cannot be read.
pub fn easydocs_settings(config: &Config) -> Result<easydocs::Settings, WiringError> {
    let e = &config.easydocs;
    Ok(easydocs::Settings {
        base_url: e.base_url.to_string(),
        auth: settings::Auth {
            header: e.auth.header.clone(),
            scheme: e.auth.scheme.clone(),
            api_key: e.api_key.as_ref().map_or_else(|| Secret::new(""), |key| key.secret().clone()),
        },
        create: create_settings(&e.create),
        download: settings::Download {
            path: e.download.path.clone(),
            allowed_origins: origins("easydocs.download.allowed_origins", &e.download.allowed_origins)?,
            prefer: settings::DownloadFrom::Template,
        },
        health_path: Some(e.health.path.clone()).filter(|path| !path.is_empty()),
        status: e.can_ask_status().then(|| settings::Status {
            path: e.status.path.clone(),
            status: e.status.status.clone(),
            external_id: String::new(),
            file_url: String::new(),
        }),
        search: e.can_search().then(|| settings::Search {
            path: e.search.path.clone(),
            items: e.search.items.clone(),
            id: e.search.id.clone(),
            external_id: e.search.external_id.clone(),
            status: e.search.status.clone(),
        }),
        callback: callback_shape(&e.callback),
        signature: signature(&e.signature)?,
        limits: settings::Limits {
            callback_bytes: e.limits.callback_bytes.bytes(),
            download_bytes: e.limits.download_bytes.bytes(),
            upload_bytes: e.limits.upload_bytes.bytes(),
        },
    })
}

fn create_settings(create: &config::CreateConfig) -> settings::Create {
    let fields = &create.fields;
    settings::Create {
        method: match create.method {
            config::CreateMethod::Post => "POST".to_owned(),
            config::CreateMethod::Put => "PUT".to_owned(),
        },
        path: create.path.clone(),
        mode: match create.mode {
            config::CreateMode::JsonBase64 => settings::CreateMode::JsonBase64,
            config::CreateMode::Multipart => settings::CreateMode::Multipart,
        },
        fields: settings::CreateFields {
            name: fields.name.clone(),
            file_content: match create.mode {
                config::CreateMode::JsonBase64 => fields.file_content.clone(),
                config::CreateMode::Multipart => create.file_part.clone(),
            },
            file_name: fields.file_name.clone(),
            route_id: fields.route_id.clone(),
            external_id: fields.external_id.clone(),
            callback_url: fields.callback_url.clone(),
        },
        extra: create.extra.clone(),
        response_id: create.response.id.clone(),
        response_status: create.response.status.clone(),
        success_codes: create.success_codes.clone(),
    }
}

fn callback_shape(callback: &config::CallbackConfig) -> settings::CallbackShape {
    let fields = &callback.fields;
    settings::CallbackShape {
        event: fields.event.clone(),
        document_id: fields.document_id.clone(),
        external_id: fields.external_id.clone(),
        status: fields.status.clone(),
        file_url: fields.file_url.clone(),
        timestamp: fields.timestamp.clone(),
        events: callback.events.clone(),
        success: callback.status.success.clone(),
        refused: callback.status.refused.clone(),
        answer_code: callback.answer_code,
        answer_body: callback.answer_body.clone(),
    }
}

fn signature(signature: &config::SignatureConfig) -> Result<settings::Signature, WiringError> {
    Ok(settings::Signature {
        header: signature.header.clone(),
        algorithm: match signature.algorithm {
            config::SignatureAlgorithm::HmacSha256 => settings::Algorithm::HmacSha256,
            config::SignatureAlgorithm::HmacSha1 => settings::Algorithm::HmacSha1,
            config::SignatureAlgorithm::HmacSha512 => settings::Algorithm::HmacSha512,
        },
        encoding: match signature.encoding {
            config::SignatureEncoding::Hex => settings::Encoding::Hex,
            config::SignatureEncoding::Base64 => settings::Encoding::Base64,
            config::SignatureEncoding::Base64url => settings::Encoding::Base64Url,
            config::SignatureEncoding::Auto => settings::Encoding::Auto,
        },
        prefix: signature.prefix.clone(),
        signed_content: signature.signed_content.parse()?,
        secrets: signature.secrets.iter().map(|s| s.secret().clone()).collect(),
    })
}

/// Where EasyDocs is told to send callbacks.
pub(super) fn callback_url(config: &Config) -> Option<String> {
    let base = config.public.base_url.as_ref()?;
    Some(format!("{}/easydocs/callback", base.as_str().trim_end_matches('/')))
}
