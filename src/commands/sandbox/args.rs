//! What the sandbox is told on the command line, and the emulator that this asks for.

use crate::config::Period;
use crate::domain::Secret;
use crate::sandbox::{
    AppSpec, BucketRate, Capability, Chosen, EasyDocsOptions, Limits, Mode, PortalTraits, SandboxOptions,
};
use clap::{Args, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Эмулятор портала Bitrix24, EasyDocs и iDocs. / Run an emulated Bitrix24 portal, EasyDocs and iDocs.
///
/// Prints a configuration for edobridge and the buttons of the emulator as curl commands, and runs until Ctrl-C.
///
/// What becomes of a document can be ordered by its file name: `~refuse`, `~decline`, `~never`, `~thrice` (three
/// callbacks), `~early` (a callback before the answer), `~lost` (the answer is lost), as in `offer~lost.pdf`.
///
/// Beside the incoming webhook there is an application, registered but not installed: its client_id and
/// client_secret are printed, buttons install, open, update and remove it. The portal has an authorisation server
/// (codes, tokens), events of applications with tokens, an offline queue, robots and workflows, generated documents
/// with a late PDF, and a push server.
///
/// iDocs has an account with a token, two employees and one counterparty for whatever BIN is named: it receives what
/// our signer has signed, and signs or refuses. A button makes the CMS that a person's key would make.
#[derive(Debug, Clone, Args)]
#[command(
    after_long_help = AFTER_LONG_HELP
)]
pub struct SandboxArgs {
    /// Where the portal listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8024")]
    pub bitrix: SocketAddr,
    /// Where EasyDocs listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8025")]
    pub easydocs: SocketAddr,
    /// Where iDocs and its webhooks listen [default: four ports above the portal].
    #[arg(long, value_name = "ADDR")]
    pub idocs: Option<SocketAddr>,
    /// Where the authorisation server listens [default: two ports above the portal].
    #[arg(long, value_name = "ADDR")]
    pub oauth: Option<SocketAddr>,
    /// Where the push server listens [default: three ports above the portal].
    #[arg(long, value_name = "ADDR")]
    pub push: Option<SocketAddr>,
    /// What kind of portal it is.
    #[arg(long, value_enum, default_value_t = PortalArg::Cloud)]
    pub portal: PortalArg,
    /// Which application is registered.
    #[arg(long, value_enum, default_value_t = AppArg::Local)]
    pub app: AppArg,
    /// Whether documents get signed by themselves, or only when a button is pressed.
    #[arg(long, value_enum, default_value_t = ModeArg::Auto)]
    pub mode: ModeArg,
    /// How long a document waits until it is signed in auto mode.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = period)]
    pub sign_after: Duration,
    /// Where events of the portal go: `/bitrix/webhook` of edobridge.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080/bitrix/webhook")]
    pub event_target: Url,
    /// Send no events at all, as a portal without an outgoing webhook.
    #[arg(long, conflicts_with = "event_target")]
    pub no_events: bool,
    /// Limit requests as the portal's plan does.
    #[arg(long, value_enum, default_value_t = PlanArg::Box)]
    pub plan: PlanArg,
    /// EasyDocs as its guide documents it: no search and no status, callbacks only.
    #[arg(long)]
    pub documented_only: bool,
    /// A key that the buttons (/_sandbox/) then ask for; needed where the addresses are not on loopback.
    #[arg(long, value_name = "KEY", value_parser = key)]
    pub key: Option<String>,
    /// Save the printed configuration as a new file.
    #[arg(long, value_name = "FILE")]
    pub write_config: Option<PathBuf>,
}

/// What cannot be said in one sentence.
const AFTER_LONG_HELP: &str = "\
In one terminal:
  edobridge sandbox --write-config sandbox.toml
in another:
  edobridge serve --config sandbox.toml

Buttons are pressed with curl, under /_sandbox/ at any of the addresses:
  state, ledger, faults, settings      what is where, what has happened, what goes wrong, switches
  files, folders, users, documents     Drive, people, documents at EasyDocs
  deals, items, fields, stages         the CRM: any type, with events or quietly
  apps, apps/ID/VERB, tokens, methods  applications: install, open, finish, update, uninstall, payment; tokens expire
  generated, robots, workflows         documents with a late PDF, robots on items, what became of workflows
  offline, push                        the offline queue, the push server and what it says of itself
  portal                               cloud or box and what it lacks, limits, OVERLOAD_LIMIT, lost events, lives of tokens
  rename, outage                       a new address by 302; closed ports (bitrix24, easydocs, idocs, oauth, push)
  idocs, idocs/settings                iDocs: what a witness sees, how it behaves where its guide is silent
  idocs/documents/ID/VERB              sign, refuse, recall, expire, status, webhook; cms: what a person's key makes

A fault names a call as the ledger prints it: any REST method (disk.*, crm.item.update), download,
upload.second_step, batch, oauth.token, oauth.authorize, oauth.app.info, push.poll, easydocs.create,
easydocs.download, idocs.create, idocs.route, idocs.content, idocs.save and others of idocs.*, and the calls of the
sandbox itself: event, robot, callback, idocs.webhook. Its kinds: refuse, cut_before, cut_after, status, status_after,
html, html_after, truncated, slow, slow_before, duplicate, empty_body.";

/// What becomes of documents by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    /// They are signed after a while.
    Auto,
    /// Nothing, until a button is pressed.
    Explicit,
}

/// Plans with known limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanArg {
    /// 2 requests a second, burst 50.
    Cloud,
    /// 5 requests a second, burst 250.
    Enterprise,
    /// No limit of this kind.
    Box,
}

impl PlanArg {
    /// As the configuration writes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Enterprise => "enterprise",
            Self::Box => "box",
        }
    }
    fn bucket(self) -> Option<BucketRate> {
        match self {
            Self::Cloud => Some(BucketRate::CLOUD),
            Self::Enterprise => Some(BucketRate { per_second: 5.0, burst: 250.0 }),
            Self::Box => None,
        }
    }
}

/// Kinds of portals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PortalArg {
    /// A cloud portal of today: everything is there.
    Cloud,
    /// A box of some years ago: no crm.item.*, no method.get, no extended offline queue, an older frame.
    OldBox,
}

/// Ready-made applications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AppArg {
    /// A local one with pages.
    Local,
    /// A local one without pages: ONAPPINSTALL is posted.
    ApiOnly,
    /// One of the Market with pages.
    Market,
}

impl AppArg {
    /// The application, with its pages at `base`.
    pub(super) fn spec(self, base: &Url) -> AppSpec {
        match self {
            Self::Local => AppSpec::local(base),
            Self::ApiOnly => AppSpec::local_api_only(base),
            Self::Market => AppSpec::market(base),
        }
    }
}

/// An address beside the portal's, unless one is given.
fn beside(given: Option<SocketAddr>, portal: SocketAddr, ports: u16) -> SocketAddr {
    let port = if portal.port() == 0 { 0 } else { portal.port().saturating_add(ports) };
    given.unwrap_or_else(|| SocketAddr::new(portal.ip(), port))
}

fn period(text: &str) -> Result<Duration, String> {
    text.parse::<Period>()
        .map(|period| Duration::from_millis(period.as_ms()))
        .map_err(|error| error.to_string())
}

/// It goes into a header and into the quotes of a shell.
fn key(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
    if (8..=128).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err("give 8 to 128 Latin letters, digits and the signs . _ ~ -".to_owned())
}

/// The emulator as it is asked for.
pub(super) fn options(args: &SandboxArgs) -> SandboxOptions {
    let capability = if args.documented_only { Capability::Off } else { Capability::On };
    SandboxOptions {
        bitrix_addr: args.bitrix,
        easydocs_addr: args.easydocs,
        oauth_addr: beside(args.oauth, args.bitrix, 2),
        push_addr: beside(args.push, args.bitrix, 3),
        idocs_addr: beside(args.idocs, args.bitrix, 4),
        traits: match args.portal {
            PortalArg::Cloud => PortalTraits::cloud(),
            PortalArg::OldBox => PortalTraits::old_box(),
        },
        mode: match args.mode {
            ModeArg::Auto => Mode::Auto { sign_after: args.sign_after, intermediate: Chosen::Yes },
            ModeArg::Explicit => Mode::Explicit,
        },
        control_key: args.key.clone().map(Secret::new),
        limits: Limits { bucket_rate: args.plan.bucket(), ..Limits::default() },
        event_target: (!args.no_events).then(|| args.event_target.clone()),
        easydocs: EasyDocsOptions { search: capability, status: capability, ..EasyDocsOptions::default() },
        ..SandboxOptions::default()
    }
}
