//! Rules about the store, the listeners, the log, the schedules.

use super::idocs::is_used;
use super::{PlainHttp, Report, is_loopback};
use crate::config::{Config, Period, Size};
use crate::domain::SigningService;
use std::ops::RangeInclusive;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn sizes(from: u64, to: u64) -> RangeInclusive<Size> {
    Size::from_bytes(from)..=Size::from_bytes(to)
}

fn seconds(from: u64, to: u64) -> RangeInclusive<Period> {
    Period::from_secs(from)..=Period::from_secs(to)
}

pub(super) fn check(config: &Config, report: &mut Report) {
    if config.data_dir.as_os_str().is_empty() {
        report.error("data_dir", "укажите папку на локальном диске", "name a folder on a local disk");
    }
    check_store(config, report);
    check_public(config, report);
    check_operator(config, report);
    check_retry(config, report);
    if let Err(err) = tracing_subscriber::EnvFilter::try_new(&config.log.filter) {
        report.error(
            "log.filter",
            format!("фильтр журнала не разобран ({err}): пример — info,edobridge::store=debug"),
            format!("the log filter cannot be read ({err}): an example is info,edobridge::store=debug"),
        );
    }
    if jiff::tz::TimeZone::get(&config.time.zone).is_err() {
        report.error(
            "time.zone",
            "нет такого часового пояса: укажите имя IANA, например Europe/Moscow",
            "there is no such time zone: give an IANA name such as Europe/Moscow",
        );
    }
}

fn check_store(config: &Config, report: &mut Report) {
    let store = &config.store;
    report.size("store.segment_bytes", store.segment_bytes, sizes(MIB, GIB));
    report.size("store.checkpoint_every_bytes", store.checkpoint_every_bytes, sizes(MIB, 64 * GIB));
    report.size("store.snapshot_every_bytes", store.snapshot_every_bytes, sizes(MIB, 1024 * GIB));
    report.size("store.min_free_disk", store.min_free_disk, sizes(16 * MIB, 1024 * GIB));
    report.size("store.spool_max", store.spool_max, sizes(MIB, 1024 * 1024 * GIB));
    report.size("store.view_cache", store.view_cache, sizes(MIB, 64 * GIB));
    report.number("store.keep_snapshots", store.keep_snapshots.into(), 1..=100);
    report.period(
        "store.max_sync_latency",
        store.max_sync_latency,
        Period::from_ms(1)..=Period::from_secs(60),
    );
    report.period("store.keep_finished", store.keep_finished, seconds(3_600, 10 * 365 * 86_400));
    if store.checkpoint_every_bytes > store.snapshot_every_bytes {
        report.error(
            "store.checkpoint_every_bytes",
            "контрольная точка не может быть реже снимка: уменьшите её до snapshot_every_bytes",
            "a checkpoint cannot be rarer than a snapshot: lower it to snapshot_every_bytes",
        );
    }
}

fn check_public(config: &Config, report: &mut Report) {
    let public = &config.public;
    report.number("public.workers", public.workers as u64, 1..=256);
    report.number("public.max_connections", public.max_connections as u64, 1..=1_000_000);
    report.size("public.webhook_bytes", public.webhook_bytes, sizes(4 * KIB, 16 * MIB));
    report.number("public.webhook_per_minute", public.webhook_per_minute.into(), 1..=10_000_000);
    report.period("public.head_timeout", public.head_timeout, seconds(1, 300));
    report.period("public.body_timeout", public.body_timeout, seconds(1, 3_600));
    report.period("public.keep_alive", public.keep_alive, seconds(0, 3_600));
    report.period("public.drain", public.drain, seconds(0, 600));
    for (index, network) in public.trusted_proxies.iter().enumerate() {
        if network.is_everything() {
            report.error(
                format!("public.trusted_proxies[{index}]"),
                "так любой сможет подделать свой адрес: укажите только адреса своих прокси",
                "anybody could forge an address this way: name only your own proxies",
            );
        }
    }
    match &public.base_url {
        Some(url) => {
            let http = PlainHttp::from(is_loopback(url));
            report.service_url("public.base_url", url, http);
        }
        None if config.rules.is_empty() => {}
        None => report_missing_base_url(config, report),
    }
}

fn report_missing_base_url(config: &Config, report: &mut Report) {
    let signs_itself = is_used(config, SigningService::Idocs);
    if signs_itself {
        report.error(
            "public.base_url",
            "укажите https-адрес, по которому подписанты откроют страницу подписания: из него строятся ссылки",
            "give the https address by which signers open the signing page: links are built from it",
        );
    }
    if signs_itself || config.easydocs.create.fields.callback_url.is_empty() {
        return;
    }
    report.error(
        "public.base_url",
        "укажите https-адрес, по которому EasyDocs достучится до этой службы: из него строится адрес обратного вызова \
         (или очистите easydocs.create.fields.callback_url, если адрес задан в кабинете EasyDocs)",
        "give the https address by which EasyDocs reaches this service: the callback address is built from it \
         (or empty easydocs.create.fields.callback_url if the address is set in the EasyDocs account)",
    );
}

fn check_operator(config: &Config, report: &mut Report) {
    if config.operator.listen.port() != 0 && config.operator.listen == config.public.listen {
        report.error(
            "operator.listen",
            "адрес оператора совпадает с публичным: укажите другой порт на 127.0.0.1",
            "the operator's address is the public one: give another port on 127.0.0.1",
        );
    }
    if !config.operator.listen.ip().is_loopback() {
        report.warning(
            "operator.listen",
            "адрес оператора виден с других машин: закройте его межсетевым экраном или верните 127.0.0.1",
            "the operator's address can be reached from other machines: shield it by a firewall or go back to 127.0.0.1",
        );
    }
    if let Some(token) = &config.operator.token
        && token.is_resolved()
        && token.secret().expose().len() < OPERATOR_TOKEN_BYTES_MIN
    {
        report.error(
            "operator.token",
            format!("токен оператора короче {OPERATOR_TOKEN_BYTES_MIN} знаков: возьмите `openssl rand -hex 32`"),
            format!("the operator's token is shorter than {OPERATOR_TOKEN_BYTES_MIN} characters: take `openssl rand -hex 32`"),
        );
    }
}

/// Nobody guesses 16 random characters over HTTP.
const OPERATOR_TOKEN_BYTES_MIN: usize = 16;

fn check_retry(config: &Config, report: &mut Report) {
    let retry = &config.retry;
    let pauses = Period::from_ms(1)..=Period::from_secs(7 * 86_400);
    report.schedule("retry.easydocs_server_error", &retry.easydocs_server_error, &pauses);
    report.schedule("retry.portal_error", &retry.portal_error, &pauses);
    report.schedule("retry.outage", &retry.outage, &pauses);
    report.period("retry.outage_give_up", retry.outage_give_up, seconds(1, 365 * 86_400));
    report.period("retry.pdf_pause", retry.pdf_pause, pauses.clone());
    report.period("retry.pdf_wait", retry.pdf_wait, seconds(1, 30 * 86_400));
    report.number("retry.jitter_percent", retry.jitter_percent.into(), 0..=100);
    report.number("retry.circuit.failures", retry.circuit.failures.into(), 1..=1_000);
    report.period("retry.circuit.probe_interval", retry.circuit.probe_interval, pauses.clone());
    report.period("retry.circuit.probe_interval_max", retry.circuit.probe_interval_max, pauses);
    if retry.circuit.probe_interval > retry.circuit.probe_interval_max {
        report.error(
            "retry.circuit.probe_interval_max",
            "наибольшая пауза меньше первой: увеличьте её",
            "the longest pause is shorter than the first: raise it",
        );
    }
}
