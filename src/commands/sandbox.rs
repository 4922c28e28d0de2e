//! `edobridge sandbox`: an emulated Bitrix24 portal with its authorisation and push servers, EasyDocs and iDocs, for
//! whoever wants to try or to integrate.
//!
//! Starts the emulator with a few things in it, says where everything is, how to configure edobridge for it and which
//! buttons there are, and runs until Ctrl-C. All its state is in memory. Its keys are printed on purpose: they open
//! nothing but this emulator.

use super::Context;
use super::console::{Console, Style};
use super::exit::ExitStatus;
use super::format::Format;
use crate::config::Period;
use crate::domain::{CrmItem, Language, Secret, Text};
use crate::sandbox::idocs::Employee;
use crate::sandbox::{
    AppSpec, BucketRate, Capability, Chosen, EasyDocsOptions, KEY_HEADER, Limits, Mode, PortalTraits,
    Sandbox, SandboxOptions,
};
use crate::sandbox::{World, WorldError};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

/// The deal that is there from the beginning.
const DEAL: CrmItem = CrmItem { entity_type_id: 2, id: 501 };
/// The stage that starts the signing of its file.
const STAGE: &str = "C1:EXECUTING";
/// The field with its file, as the portal's REST writes it, and by its original name.
const FILE_FIELD: (&str, &str) = ("ufCrmContract", "UF_CRM_CONTRACT");
/// Whoever is responsible for it: the owner of the webhook.
const RESPONSIBLE: u64 = 1;
/// Last part of the address to which iDocs sends webhooks: not a secret here, but as long as a real one.
const IDOCS_PATH_SECRET: &str = "5a6d0b0c1e2f4a8b9c0d5a6d0b0c1e2f4a8b9c0d";
/// The counterparty in iDocs: any 12 digits will do, the emulator plays them all.
const COUNTERPARTY_BIN: &str = "123456789012";
/// The shortest file that a PDF reader opens without complaint about its head.
const SAMPLE_PDF: &[u8] = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n";

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
    fn name(self) -> &'static str {
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
    fn spec(self, base: &Url) -> AppSpec {
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
    let brochure = Brochure::new(&args, &sandbox, keys, &stage, &app);
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

fn not_started(args: &SandboxArgs, error: &io::Error) -> Text {
    let (bitrix, easydocs) = (args.bitrix, args.easydocs);
    Text::new(
        format!(
            "Эмулятор не запустился на {bitrix} и {easydocs}: {error}. Задайте другие адреса: --bitrix 127.0.0.1:0 --easydocs 127.0.0.1:0."
        ),
        format!(
            "The sandbox did not start on {bitrix} and {easydocs}: {error}. Give other addresses: --bitrix 127.0.0.1:0 --easydocs 127.0.0.1:0."
        ),
    )
}

fn not_written(path: &Path, error: &io::Error) -> Text {
    let path = path.display();
    Text::new(
        format!("Файл {path} не записан: {error}. Назовите другой файл: готовый не перезаписывается."),
        format!(
            "The file {path} was not written: {error}. Name another one: a file that is there is not replaced."
        ),
    )
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

fn options(args: &SandboxArgs) -> SandboxOptions {
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

/// What is in the portal from the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Stage {
    /// The folder that the sample configuration watches.
    inbox_folder: u64,
    /// The folder that it watches for iDocs.
    idocs_folder: u64,
    /// The folder where it puts signed files of deals.
    signed_folder: u64,
    /// The deal.
    deal: u64,
}

impl Stage {
    fn set(world: &World) -> Result<Self, WorldError> {
        let root = world.root_folder();
        let inbox_folder = world.add_folder(root, "На подпись")?;
        let idocs_folder = world.add_folder(root, "На подпись в iDocs")?;
        let signed_folder = world.add_folder(root, "Подписанные")?;
        let fields = [
            ("title", json!("Поставка оборудования")),
            ("categoryId", json!(1)),
            ("stageId", json!("C1:NEW")),
            ("assignedById", json!(RESPONSIBLE)),
        ];
        world.put_item(DEAL, &fields);
        world.put_item_file(DEAL, FILE_FIELD.0, "Договор 501.pdf", SAMPLE_PDF)?;
        Ok(Self { inbox_folder, idocs_folder, signed_folder, deal: DEAL.id })
    }
}

/// The emulator's keys: not secrets, but of the same kind as the real ones.
#[derive(Debug, Clone, Serialize)]
struct Keys {
    webhook_secret: String,
    application_token: String,
    easydocs_api_key: String,
    idocs_token: String,
    callback_secret: String,
    control_key: Option<String>,
}

impl Keys {
    fn of(options: &SandboxOptions) -> Self {
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

/// Everything that is told at the start.
#[derive(Debug, Clone, Serialize)]
struct Brochure {
    bitrix_url: Url,
    webhook_url: Url,
    easydocs_url: Url,
    idocs_url: Url,
    idocs_webhooks_url: Url,
    /// Who signs for us in iDocs.
    director: Employee,
    company_bin: String,
    oauth_url: Url,
    member_id: String,
    client_id: String,
    client_secret: String,
    event_target: Option<Url>,
    keys: Keys,
    stage: Stage,
    config: String,
    buttons: Vec<Button>,
}

/// One thing that can be done from outside.
#[derive(Debug, Clone, Serialize)]
struct Button {
    what: Text,
    command: String,
}

impl Brochure {
    fn new(args: &SandboxArgs, sandbox: &Sandbox, keys: Keys, stage: &Stage, app: &AppSpec) -> Self {
        let mut brochure = Self {
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
            config: String::new(),
            buttons: Vec::new(),
        };
        brochure.config = brochure.configuration(args);
        brochure.buttons = brochure.all_buttons();
        brochure
    }

    /// A configuration with which edobridge works against this emulator.
    fn configuration(&self, args: &SandboxArgs) -> String {
        let Self { webhook_url, easydocs_url, oauth_url, keys, stage, .. } = self;
        let Self { member_id, client_id, client_secret, idocs_url, idocs_webhooks_url, director, .. } = self;
        let public = args.event_target.port_or_known_default().unwrap_or(8080);
        let (search, status, history) = if args.documented_only {
            ("", "", "")
        } else {
            let history = "/webhooks/document-events/document-status-changed-event/{id}";
            ("/api/v1/documents?external_id={external_id}", "/api/v1/documents/{id}", history)
        };
        format!(
            r#"# edobridge against its own sandbox. Every key here opens nothing but the emulator.
data_dir = "edobridge-sandbox-data"

[public]
listen = "127.0.0.1:{public}"
base_url = "http://127.0.0.1:{public}/"

[easydocs]
base_url = "{easydocs_url}"
api_key = "{api_key}"
poll = ["5s", "15s"]
dangerous_allow_http = true          # loopback only

[easydocs.search]
path = "{search}"
items = "/items"

[easydocs.status]
path = "{status}"

[easydocs.signature]
secrets = ["{callback_secret}"]

[idocs]
base_url = "{idocs_url}"
webhooks_base_url = "{idocs_webhooks_url}"
token = "{idocs_token}"
poll = ["5s", "15s"]
settle = "2s"
dangerous_allow_http = true          # loopback only

[idocs.webhook]
path_secret = "{IDOCS_PATH_SECRET}"

[idocs.history]
document_path = "{history}"

[[idocs.signers]]
name = "director"
employee_id = "{director_id}"
iin = "{director_iin}"
bin = "{company_bin}"
bitrix_user = {RESPONSIBLE}

# Takes effect when a button installs the application; until then the portal is reached by its webhook.
[[apps]]
id = "sandbox"
kind = "{app_kind}"
client_id = "{client_id}"
client_secret = "{client_secret}"
oauth_hosts = ["{oauth_url}"]
members = ["{member_id}"]
dangerous_allow_http = true          # loopback only

[[portals]]
id = "sandbox"
webhook_url = "{webhook_url}"
application_tokens = ["{application_token}"]
administrators = [{RESPONSIBLE}]
rate = "{plan}"
dangerous_allow_http = true          # loopback only

[[rules]]
id = "folder"
portal = "sandbox"
route_id = "route-1"
trigger = {{ kind = "folder", folder_id = {inbox}, interval = "1s", existing = "send" }}
notify = ["creator"]

[[rules]]
id = "idocs"
portal = "sandbox"
service = "idocs"
signer = "director"
counterparty_bin = "{COUNTERPARTY_BIN}"
counterparty_email = "signer@example.com"
include = ["*.pdf", "*.doc", "*.docx", "*.xls", "*.xlsx", "*.txt"]
max_size = "15MB"
trigger = {{ kind = "folder", folder_id = {idocs_inbox}, interval = "1s", existing = "send" }}
notify = ["creator"]

[[rules]]
id = "deals"
portal = "sandbox"
route_id = "route-1"
trigger = {{ kind = "deal_stage", stages = ["{STAGE}"], file_field = "{field}" }}
deliver_to = {signed}
notify = ["responsible"]
"#,
            app_kind = match args.app {
                AppArg::Local | AppArg::ApiOnly => "local",
                AppArg::Market => "market",
            },
            api_key = keys.easydocs_api_key,
            idocs_token = keys.idocs_token,
            director_id = director.id,
            director_iin = director.iin,
            company_bin = self.company_bin,
            idocs_inbox = stage.idocs_folder,
            callback_secret = keys.callback_secret,
            application_token = keys.application_token,
            plan = args.plan.name(),
            inbox = stage.inbox_folder,
            signed = stage.signed_folder,
            field = FILE_FIELD.1,
        )
    }

    fn all_buttons(&self) -> Vec<Button> {
        let control = format!("{}_sandbox", self.bitrix_url);
        let curl = match &self.keys.control_key {
            Some(key) => format!("curl -sS -H '{KEY_HEADER}: {key}'"),
            None => "curl -sS".to_owned(),
        };
        let Stage { inbox_folder, idocs_folder, deal, .. } = self.stage;
        let button = |ru: &str, en: &str, command: String| Button { what: Text::new(ru, en), command };
        vec![
            button(
                "положить файл на подпись",
                "put a file to be signed",
                format!(
                    "{curl} --data-binary @contract.pdf '{control}/files?name=contract.pdf&folder={inbox_folder}'"
                ),
            ),
            button(
                "перевести сделку на стадию",
                "move the deal to the stage",
                format!("{curl} -d '{{\"stage\":\"{STAGE}\"}}' '{control}/deals/{deal}/stage'"),
            ),
            button(
                "подписать или отклонить документ",
                "sign or refuse a document",
                format!("{curl} -X POST '{control}/documents/ID/sign'    # or /refuse"),
            ),
            button(
                "потерять ответ на следующее создание документа",
                "lose the answer to the next create",
                format!(
                    "{curl} -d '{{\"target\":\"easydocs.create\",\"on_calls\":{{\"first\":1}},\"kind\":\"cut_after\"}}' '{control}/faults'"
                ),
            ),
            button(
                "установить приложение и открыть его страницу",
                "install the application and open its page",
                format!(
                    "{curl} -X POST '{control}/apps/{0}/install'; {curl} -d '{{}}' '{control}/apps/{0}/open'",
                    self.client_id
                ),
            ),
            button(
                "сделать все токены приложения просроченными",
                "let all tokens of the application expire",
                format!("{curl} -d '{{\"what\":\"expire\"}}' '{control}/tokens'"),
            ),
            button(
                "потерять следующие два события",
                "lose the next two events",
                format!("{curl} -d '{{\"lose_events\":2}}' '{control}/portal'"),
            ),
            button(
                "iDocs: положить файл, который подпишем сначала мы",
                "iDocs: put a file that our side signs first",
                format!(
                    "{curl} --data-binary @contract.pdf '{control}/files?name=contract.pdf&folder={idocs_folder}'"
                ),
            ),
            button(
                "iDocs: контрагент подписывает или отказывает",
                "iDocs: the counterparty signs or refuses",
                format!(
                    "{curl} -X POST '{control}/idocs/documents/ID/sign'    # or: {curl} -d '{{\"reason\":\"нет\"}}' '{control}/idocs/documents/ID/refuse'"
                ),
            ),
            button(
                "iDocs: подписать за нашего человека без NCALayer (CMS в base64)",
                "iDocs: sign for our person without NCALayer (CMS in base64)",
                format!("{curl} -d '{{\"form\":\"attached\"}}' '{control}/idocs/documents/ID/cms'"),
            ),
            button(
                "iDocs: ссылка на подписание устарела",
                "iDocs: the content to sign has expired",
                format!("{curl} -X POST '{control}/idocs/documents/ID/expire'"),
            ),
            button("что где лежит", "what is where", format!("{curl} '{control}/state'")),
            button("что произошло", "what has happened", format!("{curl} '{control}/ledger'")),
        ]
    }

    fn print(&self, console: &Console, args: &SandboxArgs) {
        match console.format() {
            Format::Json => console.json(self),
            Format::People => self.print_for_people(console, args),
        }
    }

    fn print_for_people(&self, console: &Console, args: &SandboxArgs) {
        let heading = |ru, en| {
            let text = Text::new(ru, en);
            console.line(format!("\n{}", console.paint(Style::Heading, console.word(&text))));
        };
        heading("Эмулятор работает", "The sandbox is running");
        console.line(console.table(&[], self.addresses(console.language())));
        let idocs = args.idocs.unwrap_or(args.bitrix);
        if ![args.bitrix, args.easydocs, idocs].iter().all(|address| address.ip().is_loopback()) {
            let warning = console.word(&OPEN_TO_ALL.text()).to_owned();
            console.line(console.paint(Style::Warning, &warning));
        }
        match &args.write_config {
            Some(path) => {
                heading(
                    "Конфигурация edobridge записана; запустите",
                    "The configuration of edobridge is written; run",
                );
                console.line(format!("edobridge serve --config {}", path.display()));
            }
            None => {
                heading("Конфигурация edobridge (sandbox.toml)", "Configuration of edobridge (sandbox.toml)");
                console.line(&self.config);
            }
        }
        heading("Кнопки", "Buttons");
        for button in &self.buttons {
            let what = format!("# {}", console.word(&button.what));
            console.line(console.paint(Style::Faint, &what));
            console.line(&button.command);
        }
        let stop = Text::new("\nОстановить: Ctrl-C.", "\nStop it with Ctrl-C.");
        console.say(&stop);
    }

    fn addresses(&self, language: Language) -> Vec<Vec<String>> {
        let events = self.event_target.as_ref().map_or("-".to_owned(), Url::to_string);
        let rows = [
            (Text::new("портал", "portal"), self.bitrix_url.to_string()),
            (Text::new("входящий вебхук", "incoming webhook"), self.webhook_url.to_string()),
            (Text::new("события идут на", "events go to"), events),
            (
                Text::new("application_token событий", "application_token of events"),
                self.keys.application_token.clone(),
            ),
            (Text::new("сервер авторизации", "authorisation server"), self.oauth_url.to_string()),
            (Text::new("member_id портала", "member_id of the portal"), self.member_id.clone()),
            (Text::new("client_id приложения", "client_id of the application"), self.client_id.clone()),
            (
                Text::new("client_secret приложения", "client_secret of the application"),
                self.client_secret.clone(),
            ),
            (Text::new("EasyDocs", "EasyDocs"), self.easydocs_url.to_string()),
            (Text::new("ключ API EasyDocs", "API key of EasyDocs"), self.keys.easydocs_api_key.clone()),
            (Text::new("iDocs", "iDocs"), self.idocs_url.to_string()),
            (Text::new("вебхуки iDocs", "webhooks of iDocs"), self.idocs_webhooks_url.to_string()),
            (Text::new("токен iDocs", "token of iDocs"), self.keys.idocs_token.clone()),
            (
                Text::new("секрет подписи callback", "secret of callback signatures"),
                self.keys.callback_secret.clone(),
            ),
        ];
        rows.into_iter().map(|(name, value)| vec![name.get(language).to_owned(), value]).collect()
    }
}

/// A statement that is known when compiling.
struct Fixed {
    ru: &'static str,
    en: &'static str,
}

impl Fixed {
    fn text(&self) -> Text {
        Text::new(self.ru, self.en)
    }
}

const OPEN_TO_ALL: Fixed = Fixed {
    ru: "Внимание: адрес виден из сети, а ключи вебхука, EasyDocs и iDocs у эмулятора известны всем. Не кладите в него настоящие документы.",
    en: "Warning: the address is open to the network, and everybody knows the sandbox's keys of webhook, EasyDocs and iDocs. Put no real documents into it.",
};

const NEEDS_KEY: Fixed = Fixed {
    ru: "Адрес виден из сети: кнопки эмулятора (/_sandbox/) нельзя оставить без ключа. Добавьте --key, например --key \"$(openssl rand -hex 16)\".",
    en: "The address is open to the network: the buttons of the sandbox (/_sandbox/) must not be without a key. Add --key, for example --key \"$(openssl rand -hex 16)\".",
};

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
    use super::*;
    use crate::config::{Config, Environment};
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
        let brochure = Brochure::new(&args, &sandbox, keys, &stage, &app);
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
            folders.contains(&brochure.stage.inbox_folder)
                && folders.contains(&brochure.stage.idocs_folder)
                && folders.contains(&brochure.stage.signed_folder)
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
