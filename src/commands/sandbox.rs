//! `edobridge sandbox`: an emulated Bitrix24 portal with its authorisation and push servers, EasyDocs and iDocs, for
//! whoever wants to try or to integrate.
//!
//! Starts the emulator with a few things in it, says where everything is, how to configure edobridge for it and which
//! buttons there are, and runs until Ctrl-C. All its state is in memory. Its keys are printed on purpose: they open
//! nothing but this emulator.

mod args;
mod brochure;
mod buttons;
mod refusals;
mod sample_config;
mod stage;
mod whereabouts;

pub use args::{AppArg, ModeArg, PlanArg, PortalArg, SandboxArgs};

use super::Context;
use super::console::Console;
use super::exit::ExitStatus;
use crate::domain::Text;
use crate::sandbox::Sandbox;
use args::options;
use brochure::Brochure;
use refusals::{NEEDS_KEY, not_started, not_written};
use stage::Stage;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};
use whereabouts::{Keys, Whereabouts};

/// Runs the emulator until a signal comes.
pub async fn run(args: SandboxArgs, context: Context) -> ExitStatus {
    let console = &Console::new(&context);
    let options = options(&args);
    if options.is_open_to_strangers() {
        console.fail(&NEEDS_KEY.text());
        return ExitStatus::Misuse;
    }
    let keys = Keys::of(&options);
    let sandbox = match Sandbox::start(options).await {
        Ok(sandbox) => sandbox,
        Err(error) => return refused(console, &not_started(&args, &error)),
    };
    let stage = match Stage::set(&sandbox.world()) {
        Ok(stage) => stage,
        Err(error) => return refused(console, &Text::new(error.to_string(), error.to_string())),
    };
    let app = args.app.spec(&args.event_target);
    sandbox.world().register_app(app.clone());
    let brochure = Brochure::new(Whereabouts::of(&args, &sandbox, keys, &stage, &app), &args);
    if let Some(path) = &args.write_config
        && let Err(error) = write_new(path, &brochure.config)
    {
        return refused(console, &not_written(path, &error));
    }
    brochure.print(console, &args);
    stop_signal().await;
    sandbox.stop().await;
    ExitStatus::Fine
}

fn refused(console: &Console, text: &Text) -> ExitStatus {
    console.fail(text);
    ExitStatus::ProblemFound
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

/// Waits for Ctrl-C or SIGTERM; for ever, if signals cannot be heard.
async fn stop_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::stage::{DEAL, STAGE};
    use super::*;
    use crate::config::{Config, Environment};
    use crate::sandbox::PortalTraits;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: SandboxArgs,
    }

    async fn brochure(line: &[&str]) -> (Sandbox, Brochure) {
        let free = ["sandbox", "--bitrix", "127.0.0.1:0", "--easydocs", "127.0.0.1:0"];
        let args = Line::parse_from(free.iter().chain(line)).args;
        let options = options(&args);
        let keys = Keys::of(&options);
        let sandbox = Sandbox::start(options).await.unwrap();
        let stage = Stage::set(&sandbox.world()).unwrap();
        let app = args.app.spec(&args.event_target);
        let brochure = Brochure::new(Whereabouts::of(&args, &sandbox, keys, &stage, &app), &args);
        (sandbox, brochure)
    }

    fn check(config: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sandbox.toml");
        write_new(&path, config).unwrap();
        assert!(write_new(&path, config).is_err(), "a file that is there is not replaced");
        Config::load(Some(&path), &Environment::default()).unwrap().config
    }

    #[tokio::test]
    async fn the_printed_configuration_is_one_for_this_very_sandbox() {
        for line in [&[][..], &["--documented-only", "--plan", "cloud", "--mode", "explicit"]] {
            let (sandbox, brochure) = brochure(line).await;
            let config = check(&brochure.config);
            assert_eq!(
                config.portals[0].webhook_url.as_ref().unwrap().secret().expose(),
                sandbox.webhook_url().as_str()
            );
            assert_eq!(config.easydocs.base_url, sandbox.easydocs_url());
            assert_eq!(config.easydocs.can_search(), line.is_empty());
            let idocs = config.idocs.as_ref().unwrap();
            assert_eq!(idocs.base_url, sandbox.idocs_url());
            assert_eq!(idocs.webhooks_base_url, sandbox.world().idocs_webhooks_url());
            let signer = idocs.signer("director").unwrap();
            let employees = sandbox.world().idocs_options().employees;
            assert!(employees.iter().any(|employee| employee.id == signer.employee_id));
            sandbox.stop().await;
        }
    }

    #[tokio::test]
    async fn the_emulated_portal_has_what_the_configuration_names() {
        let (sandbox, brochure) = brochure(&[]).await;
        let world = sandbox.world();
        let folders: Vec<u64> = world.folders().iter().map(|folder| folder.id).collect();
        assert!(
            folders.contains(&brochure.at.stage.inbox_folder)
                && folders.contains(&brochure.at.stage.idocs_folder)
                && folders.contains(&brochure.at.stage.signed_folder)
        );
        assert!(world.move_item(DEAL, STAGE).is_ok());
        sandbox.stop().await;
    }

    #[test]
    fn the_other_servers_listen_beside_the_portal_unless_told_otherwise() {
        let line = |more: &[&str]| options(&Line::parse_from(["sandbox"].iter().chain(more)).args);
        assert_eq!(line(&[]).oauth_addr, "127.0.0.1:8026".parse().unwrap());
        assert_eq!(line(&[]).push_addr, "127.0.0.1:8027".parse().unwrap());
        assert_eq!(line(&[]).idocs_addr, "127.0.0.1:8028".parse().unwrap());
        assert_eq!(line(&["--bitrix", "127.0.0.1:0"]).push_addr.port(), 0);
        assert_eq!(line(&["--oauth", "127.0.0.1:9000"]).oauth_addr.port(), 9_000);
        assert_eq!(line(&["--portal", "old-box"]).traits, PortalTraits::old_box());
    }

    #[tokio::test]
    async fn a_key_is_asked_for_where_strangers_could_press_the_buttons() {
        let open = Line::parse_from(["sandbox", "--bitrix", "0.0.0.0:0"]).args;
        assert!(options(&open).is_open_to_strangers());
        let refused = Sandbox::start(options(&open)).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        let keyed = Line::parse_from(["sandbox", "--bitrix", "0.0.0.0:0", "--key", "a-key-of-the-test"]).args;
        assert!(!options(&keyed).is_open_to_strangers());
        assert!(Line::try_parse_from(["sandbox", "--key", "it's"]).is_err());
        let (sandbox, brochure) = brochure(&["--key", "a-key-of-the-test"]).await;
        assert!(
            brochure.buttons.iter().all(|button| button.command.contains("x-sandbox-key: a-key-of-the-test"))
        );
        sandbox.stop().await;
    }
}
