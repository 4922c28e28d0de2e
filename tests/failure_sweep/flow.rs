//! The ways a document takes: what sets it off, what the world does with it, how it must end.

use super::support::{DEAL, Ground, Setting, Stage, pdf};
use edobridge::domain::{CrmItem, PortalId};
use edobridge::saga::document::{Outcome, Source};
use edobridge::sandbox::{
    AppSpec, CallbackPolicy, Chosen, Fault, FaultKind, FieldKind, FrameSpec, Mode, OnCalls, PdfPlan,
    RobotSpec, SandboxOptions,
};
use serde_json::json;
use std::time::{Duration, Instant};

/// What sets the documents off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Files are dropped into the folder, and the portal tells us.
    FileEvent,
    /// Files are put into the watched folder, and nobody tells us.
    Silently,
    /// A deal with a file in a field reaches the stage.
    DealStage,
    /// The portal makes a document of a template, and its PDF is there at once.
    Generated,
    /// A robot of a workflow orders it, while the access token has just ended.
    Robot,
}

/// As what the portal is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayIn {
    /// An incoming webhook.
    Webhook,
    /// An application that is installed before anything begins.
    Application,
}

/// Where the signed file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// The folder of the stage.
    Folder,
    /// A file field of the deal and its comment; then the deal moves on.
    Item,
}

/// Who ends the route of signing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    /// The service, soon after the create.
    ByItself,
    /// The test, once edobridge waits for it: so no callback can help earlier.
    OnceAwaited,
}

/// One way.
#[derive(Debug, Clone)]
pub struct Flow {
    pub name: &'static str,
    pub setting: Setting,
    pub start: Start,
    pub signing: Signing,
    pub way_in: WayIn,
    pub goal: Goal,
    pub documents: usize,
    pub bytes: usize,
    pub outcome: Outcome,
    /// What is wrong in every run, so that the calls that look after an unknown outcome are made at all.
    pub base: Vec<Fault>,
    /// How often a callback is tried.
    pub callback_attempts: u32,
    /// Replacements in the text of the configuration.
    pub edits: Vec<(&'static str, &'static str)>,
}

const SMALL: usize = 2_000;
/// Above the limit of the one-step upload.
const LARGE: usize = 10 * 1024 * 1024 + 4_096;

impl Flow {
    fn plain(name: &'static str) -> Self {
        Self {
            name,
            setting: Setting::default(),
            start: Start::FileEvent,
            signing: Signing::ByItself,
            way_in: WayIn::Webhook,
            goal: Goal::Folder,
            documents: 1,
            bytes: SMALL,
            outcome: Outcome::Signed,
            base: Vec::new(),
            callback_attempts: 100,
            edits: vec![
                ("settle = \"150ms\"", "settle = \"300ms\""),
                // The clock of the test skips pauses, but not those that the portal's session sleeps through.
                ("rate = \"box\"", "rate = \"box\"\nquery_limit_pause = \"300ms\""),
            ],
        }
    }

    /// A file of the folder is signed.
    pub fn signed() -> Self {
        Self::plain("signed")
    }

    /// A file too large for the one-step upload. It takes a slow machine more than a second to work on it.
    pub fn large() -> Self {
        let mut flow = Self { bytes: LARGE, ..Self::plain("large") };
        flow.edits.push(("read = \"1s\"\ncall = \"2s\"", "read = \"3s\"\ncall = \"4s\""));
        flow
    }

    /// A participant refuses.
    pub fn refused() -> Self {
        Self { outcome: Outcome::Refused, ..Self::plain("refused") }
    }

    /// No callback ever comes, but the service can be asked.
    pub fn polled() -> Self {
        let setting = Setting { status: true, ..Setting::default() };
        let base = vec![Fault::always("callback", FaultKind::CutBefore)];
        Self { setting, base, callback_attempts: 3, ..Self::plain("polled") }
    }

    /// The answer to the create is lost, and only a search can tell.
    pub fn searched() -> Self {
        let base = vec![Fault::nth("easydocs.create", 1, FaultKind::CutAfter)];
        Self { signing: Signing::OnceAwaited, base, ..Self::plain("searched") }
    }

    /// The answer to the upload is lost, and the folder is searched.
    pub fn upload_lost() -> Self {
        let base = vec![Fault::nth("disk.folder.uploadfile", 1, FaultKind::CutAfter)];
        Self { base, ..Self::plain("upload lost") }
    }

    /// The answer to the comment is lost, and the timeline is searched.
    pub fn comment_lost() -> Self {
        let base = vec![Fault::nth("crm.timeline.comment.add", 1, FaultKind::CutAfter)];
        Self { base, ..Self::plain("comment lost") }
    }

    /// A deal reaches a stage, and its file is signed.
    pub fn deal() -> Self {
        let rule = r#"[[rules]]
id = "deals"
portal = "main"
route_id = "route-2"
trigger = { kind = "deal_stage", entity_type_id = 2, stages = ["C1:SIGN"], file_field = "UF_CRM_CONTRACT" }
deliver_to = @FOLDER@
notify = [@USER@]
exclude = []
"#;
        let setting = Setting { more: rule.to_owned(), ..Setting::default() };
        Self { setting, start: Start::DealStage, ..Self::plain("deal") }
    }

    /// A deal reaches a stage; its signed file goes into another field of it and into its comment, and it moves on.
    pub fn item() -> Self {
        let rule = r#"[[rules]]
id = "items"
portal = "main"
route_id = "route-2"
trigger = { kind = "deal_stage", entity_type_id = 2, stages = ["C1:SIGN"], file_field = "UF_CRM_CONTRACT" }
deliver_to = "none"
into_field = "UF_CRM_SIGNED"
comment_file = true
stage_on_signed = "C1:WON"
stage_on_refused = "C1:LOSE"
notify = [@USER@]
exclude = []
"#;
        let setting = Setting { more: rule.to_owned(), ..Setting::default() };
        Self { setting, start: Start::DealStage, goal: Goal::Item, ..Self::plain("item") }
    }

    /// A document that the portal made of a template is signed.
    pub fn generated() -> Self {
        let rule = r#"[[rules]]
id = "papers"
portal = "main"
route_id = "route-2"
trigger = { kind = "generated_document" }
deliver_to = @FOLDER@
notify = [@USER@]
exclude = []
"#;
        let setting = Setting { more: rule.to_owned(), ..Setting::default() };
        Self { setting, start: Start::Generated, ..Self::plain("generated") }
    }

    /// A workflow of a portal where we are an application waits for its document; the tokens have just ended.
    pub fn application() -> Self {
        let rule = r#"[[rules]]
id = "papers"
portal = "main"
route_id = "route-2"
trigger = { kind = "robot" }
deliver_to = @FOLDER@
notify = [@USER@]
exclude = []
"#;
        let setting = Setting { more: rule.to_owned(), ..Setting::default() };
        Self { setting, start: Start::Robot, way_in: WayIn::Application, ..Self::plain("application") }
    }

    /// The folder is polled.
    pub fn watched() -> Self {
        let setting = Setting { watched: true, ..Setting::default() };
        Self { setting, start: Start::Silently, ..Self::plain("watched") }
    }

    /// The service cannot be searched: a create of unknown outcome has only its callback.
    pub fn unsearchable() -> Self {
        let setting = Setting { search: false, callback_grace: "700ms", ..Setting::default() };
        Self { setting, ..Self::plain("unsearchable") }
    }

    /// The same, and nobody signs before edobridge waits for it: then only a person knows.
    pub fn unsearchable_and_silent() -> Self {
        let name = "unsearchable and silent";
        Self { name, signing: Signing::OnceAwaited, ..Self::unsearchable() }
    }

    /// The service cannot be searched, and the operator accepts doubles after 5xx, as the guide says.
    pub fn doubles_accepted() -> Self {
        let mut flow = Self { name: "doubles accepted", ..Self::unsearchable_and_silent() };
        flow.edits.push(("callback_grace =", "dangerous_repeat_create_on_5xx = true\ncallback_grace ="));
        flow
    }

    /// Several documents at a portal so slow that their calls share requests.
    pub fn crowd() -> Self {
        let slow = |target: &str| Fault::always(target, FaultKind::SlowBefore(60));
        let base = vec![slow("disk.file.get"), slow("disk.folder.getchildren"), slow("crm.*"), slow("im.*")];
        Self { documents: 6, base, ..Self::plain("crowd") }
    }

    /// The world of this flow, with its configuration written, before anything happens.
    pub fn stage(&self, more_edits: &[(&str, &str)]) -> Stage {
        let quick = CallbackPolicy {
            interval: Duration::from_millis(150),
            attempts_max: self.callback_attempts,
            ..CallbackPolicy::default()
        };
        let mode = match self.signing {
            // soon: nothing is proved by waiting
            Signing::ByItself => {
                Mode::Auto { sign_after: Duration::from_millis(50), intermediate: Chosen::No }
            }
            Signing::OnceAwaited => Mode::Explicit,
        };
        let options = SandboxOptions { callback_policy: quick, mode, ..SandboxOptions::default() };
        let setting = Setting { ground: Ground::Memory, ..self.setting.clone() };
        let stage = Stage::with_sandbox(&setting, options);
        let mut text = std::fs::read_to_string(&stage.config_path).expect("the configuration was written");
        // Without patterns only the loop guard keeps our own copies from being signed again.
        text = text.replace("id = \"contracts\"", "id = \"contracts\"\nexclude = []");
        for (from, to) in self.edits.iter().copied().chain(more_edits.iter().copied()) {
            assert!(text.contains(from), "nothing to replace by `{to}`");
            text = text.replace(from, to);
        }
        text = text.replace("@FOLDER@", &stage.folder.to_string()).replace("@USER@", &stage.user.to_string());
        if self.way_in == WayIn::Application {
            text = as_application(&stage, &text);
        }
        stage.world.declare_field(DEAL.entity_type_id, SIGNED_FIELD, FieldKind::Files);
        let funnel = [
            ("stageId", "C1:NEW".into()),
            ("categoryId", 1.into()),
            ("assignedById", stage.user.into()),
            ("title", "Сделка".into()),
        ];
        stage.world.put_item(DEAL, &funnel);
        stage.world.set_stages("DEAL_STAGE_1", &["C1:NEW", "C1:SIGN", "C1:WON", "C1:LOSE"]);
        std::fs::write(&stage.config_path, text).expect("the configuration is written again");
        stage
    }

    /// Name of one of the original files; markers order the sandbox's script.
    pub fn file_name(&self, n: usize) -> String {
        let marker = if self.outcome == Outcome::Refused { "~refuse" } else { "" };
        format!("contract-{n}{marker}.pdf")
    }

    /// Name of its signed copy.
    pub fn copy_name(&self, n: usize) -> String {
        self.file_name(n).replace(".pdf", "_signed.pdf")
    }

    fn file(&self, n: usize) -> Vec<u8> {
        pdf(n as u64, self.bytes)
    }

    /// Sets the documents off; says where their files are.
    pub fn begin(&self, stage: &Stage) -> Vec<Source> {
        (0..self.documents).map(|n| self.begin_one(stage, n)).collect()
    }

    fn begin_one(&self, stage: &Stage, n: usize) -> Source {
        let (name, bytes) = (self.file_name(n), self.file(n));
        let world = &stage.world;
        match self.start {
            Start::FileEvent => Source::DriveFile { file_id: stage.drop_file(&name, bytes) },
            Start::Silently => {
                let file_id = world.add_file(stage.folder, &name, bytes).expect("the folder takes the file");
                Source::DriveFile { file_id }
            }
            Start::DealStage => {
                world.put_item_file(DEAL, "ufCrmContract", &name, bytes).expect("the deal is there");
                world.move_item(DEAL, "C1:SIGN").expect("the deal is there");
                Source::CrmItem { item: DEAL }
            }
            Start::Generated => {
                let title = name.trim_end_matches(".pdf");
                let id = world.generate_document(DEAL, 5, title, bytes, PdfPlan::After(0));
                Source::Generated { document_id: id.expect("the deal is there") }
            }
            Start::Robot => {
                let file_id = world.add_file(stage.folder, &name, bytes).expect("the folder takes the file");
                world.expire_tokens();
                let properties = json!({"source": "drive", "file": file_id.to_string()});
                let robot = RobotSpec { code: "edobridge_send".into(), item: DEAL, properties, timeout_s: 0 };
                world.run_robot(&app(stage).client_id, &robot).expect("the robot is registered");
                Source::DriveFile { file_id }
            }
        }
    }

    /// What comes before: an application is installed, and its robots are registered. edobridge runs already.
    pub fn prepare(&self, stage: &Stage) -> Result<(), String> {
        if self.way_in == WayIn::Webhook {
            return Ok(());
        }
        stage.world.install_app(&app(stage).client_id).map_err(|error| error.to_string())?;
        open_page(stage)?;
        let until = Instant::now() + PREPARED_MAX;
        let is_bound = || {
            let apps = stage.world.apps();
            apps.iter().any(|app| {
                app.robots.len() == 2 && app.events.iter().any(|(name, _)| name == "ONAPPMETHODCONFIRM")
            })
        };
        while !is_bound() {
            if Instant::now() > until {
                return Err("waited in vain: the bindings".to_owned());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// The file field that the flow into the item fills.
pub const SIGNED_FIELD: &str = "ufCrmSigned";
/// How long an installation may take: far above what a loaded machine needs.
const PREPARED_MAX: Duration = Duration::from_secs(60);

fn app(stage: &Stage) -> AppSpec {
    AppSpec::local(&format!("http://{}/", stage.public).parse().expect("an address"))
}

/// The administrator opens the application: that is how an installation is made, and how a dead one is healed.
pub fn open_page(stage: &Stage) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let page = runtime.block_on(stage.world.open_frame(&app(stage).client_id, &FrameSpec::main_page()));
    match page {
        Ok(page) if page.status == 200 => Ok(()),
        Ok(page) => Err(format!("the application's page: {}", page.status)),
        Err(error) => Err(error.to_string()),
    }
}

/// The configuration with an application in the place of the webhook.
fn as_application(stage: &Stage, text: &str) -> String {
    let spec = app(stage);
    stage.world.register_app(spec.clone());
    let way_in = |line: &&str| line.starts_with("webhook_url") || line.starts_with("application_tokens");
    let kept: Vec<&str> = text.lines().filter(|line| !way_in(line)).collect();
    let member = stage.world.member_id();
    let named =
        format!("id = \"main\"\napp = \"sign\"\nmember_id = \"{member}\"\nworkflow_check_interval = \"0s\"");
    let text = kept.join("\n").replacen("id = \"main\"", &named, 1);
    let app = format!(
        "\n[[apps]]\nid = \"sign\"\nkind = \"local\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n\
         oauth_hosts = [\"{}\"]\ndangerous_allow_http = true\n",
        spec.client_id,
        spec.client_secret.expose(),
        stage.world.oauth_url()
    );
    text + &app
}

/// The portal of every stage.
pub fn portal() -> PortalId {
    PortalId("main".to_owned())
}

/// The item whose timeline gets the comments.
pub const ITEM: CrmItem = DEAL;

/// Strikes the `n`-th call and the one after it.
pub fn twice(call: &str, n: u32, kind: &FaultKind) -> Vec<Fault> {
    [n, n + 1]
        .map(|n| Fault { target: call.to_owned(), on_calls: OnCalls::Nth(n), kind: kind.clone() })
        .to_vec()
}
