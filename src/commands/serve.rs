//! `edobridge serve`: the service itself.

use super::Context;
use super::exit::ExitStatus;
use super::service::{Service, StartError};
use crate::domain::Clock;
use crate::store::{OpenProgress, ViewFate};
use crate::telemetry::{LogFormat, LogSettings, Metrics, SystemClock, install_panic_hook};
use clap::Args;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Запустить службу. / Run the service.
///
/// Opens the store, takes up whatever was left by the last run, and listens on `public.listen` and
/// `operator.listen`. Stops on SIGTERM or Ctrl-C: no new work is taken, running requests may end, the store is
/// closed. Under systemd it reports readiness and answers the watchdog.
#[derive(Debug, Args)]
pub struct ServeArgs {}

/// Runs until told to stop.
pub async fn run(_: ServeArgs, context: Context) -> ExitStatus {
    let loaded = match context.load() {
        Ok(loaded) => loaded,
        Err(status) => return status,
    };
    let config = &loaded.config;
    let redactor = context.redactor(config);
    let format = match config.log.format {
        crate::config::LogFormat::Auto => LogFormat::Auto,
        crate::config::LogFormat::Human => LogFormat::Human,
        crate::config::LogFormat::Json => LogFormat::Json,
    };
    if let Err(error) = (LogSettings { format, filter: config.log.filter.clone(), redactor }).install() {
        eprintln!("edobridge: {error}");
        return ExitStatus::Misuse;
    }
    raise_open_files(config.public.max_connections);
    let metrics = Arc::new(Metrics::new());
    install_panic_hook(metrics.clone());
    for note in &loaded.notes {
        tracing::warn!(key = %note.key, "{}", note.line(config.language.into()));
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let service = match Service::start(config, clock.clone(), metrics.clone(), told).await {
        Ok(service) => service,
        Err(error) => return refused(&context, &error),
    };
    metrics.set_started(clock.now());
    welcome(&service);
    drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));
    let watchdog = actix::spawn(watchdog(service.engine().clone()));
    let why = stop_signal().await;
    tracing::info!(signal = why, "stopping");
    drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping]));
    watchdog.abort();
    match service.stop().await {
        Ok(()) => ExitStatus::Fine,
        Err(error) => {
            tracing::error!(%error, "the store was not closed cleanly; nothing is lost, the next start takes longer");
            ExitStatus::ProblemFound
        }
    }
}

fn refused(context: &Context, error: &StartError) -> ExitStatus {
    let text = error.text();
    tracing::error!(error = %crate::actors::error_chain(error), "cannot start");
    eprintln!("edobridge: {}", text.get(context.language));
    ExitStatus::ProblemFound
}

/// Each public connection costs two descriptors (its guard against slow clients holds a second one).
fn raise_open_files(max_connections: usize) {
    let wanted = (max_connections as u64).saturating_mul(2).saturating_add(512);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(limit.maximum.map_or(wanted, |most| most.min(wanted)));
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, wanted, "the limit of open files cannot be raised");
        }
    }
}

fn told(progress: OpenProgress) {
    tracing::info!(?progress, "opening the store");
}

fn welcome(service: &Service) {
    let opened = &service.opened;
    match &opened.view {
        ViewFate::Rebuilt { .. } => {
            tracing::warn!(view = ?opened.view, "the view of the store was rebuilt from snapshot and journal");
        }
        other => tracing::info!(view = ?other, replayed = opened.replayed, "the store is open"),
    }
    tracing::info!(
        public = %service.public_addr(),
        operator = %service.operator_addr(),
        "edobridge {} is ready",
        env!("CARGO_PKG_VERSION")
    );
}

async fn stop_signal() -> &'static str {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be heard; stop the process by SIGKILL, nothing will be lost");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// Answers systemd's watchdog for as long as the scheduler answers us.
async fn watchdog(engine: crate::actors::Engine) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let pause = (limit / 3).max(Duration::from_millis(500));
    loop {
        if engine.is_responsive().await {
            drop(sd_notify::notify(&[sd_notify::NotifyState::Watchdog]));
        } else {
            tracing::error!("the scheduler does not answer; the watchdog is not fed");
        }
        tokio::time::sleep(pause).await;
    }
}
