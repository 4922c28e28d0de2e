//! The checklist against the sandbox, over real sockets.

use super::*;
use crate::commands::format::Format;
use crate::config::Environment;
use crate::domain::{CrmItem, Language};
use crate::sandbox::{Owner, Sandbox, SandboxOptions, World};
use finding::Verdict;
use serde_json::json;
use std::path::Path;

const DEAL: CrmItem = CrmItem { entity_type_id: 2, id: 501 };

struct Stage {
    sandbox: Sandbox,
    folder: u64,
    user: u64,
    dir: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let sandbox = Sandbox::start(SandboxOptions::default()).await.unwrap();
        let world = sandbox.world();
        let user = world.add_user("Мария", "Иванова");
        let folder = world.add_folder(world.root_folder(), "Договоры").unwrap();
        world.put_item(DEAL, &[("stageId", json!("C1:NEW"))]);
        world.put_item_file(DEAL, "ufCrmContract", "a.pdf", &b"%PDF-1.4"[..]).unwrap();
        Self { sandbox, folder, user, dir: tempfile::tempdir().unwrap() }
    }

    fn world(&self) -> std::sync::Arc<World> {
        self.sandbox.world()
    }

    /// A configuration for this sandbox; `rule` follows the trigger.
    fn toml(&self, rule: &str) -> String {
        let options = SandboxOptions::default();
        let (webhook, easydocs) = (self.sandbox.webhook_url(), self.sandbox.easydocs_url());
        let (key, secret) = (options.easydocs_api_key.expose(), options.callback_secret.expose());
        let token = options.application_token.expose();
        let data = self.dir.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        let data = data.display();
        format!(
            "data_dir = \"{data}\"\nlanguage = \"en\"\n[public]\nbase_url = \"http://127.0.0.1:1/\"\n[operator]\nlisten = \"127.0.0.1:1\"\n[easydocs]\nbase_url = \"{easydocs}\"\napi_key = \"{key}\"\ndangerous_allow_http = true\n[easydocs.signature]\nsecrets = [\"{secret}\"]\n[[portals]]\nid = \"p\"\nwebhook_url = \"{webhook}\"\napplication_tokens = [\"{token}\"]\nrate = \"box\"\ndangerous_allow_http = true\n[[rules]]\nid = \"r\"\nportal = \"p\"\nroute_id = \"17\"\n{rule}\n"
        )
    }

    async fn report(&self, rule: &str, write_test: WriteTest) -> Report {
        let path = self.dir.path().join("edobridge.toml");
        std::fs::write(&path, self.toml(rule)).unwrap();
        examine(&examination(&path, write_test).await, Reach::Everywhere).await
    }

    fn folder_rule(&self) -> String {
        let Self { folder, user, .. } = self;
        format!(
            "trigger = {{ kind = \"folder\", folder_id = {folder}, interval = \"5s\" }}\nnotify = [{user}]"
        )
    }
}

async fn examination(path: &Path, write_test: WriteTest) -> Examination {
    let loaded = Config::load(Some(path), &Environment::default()).unwrap();
    let service = RunningService::of(&loaded.config);
    let presence = service.presence().await;
    let console = Console::of_process(Format::Json, Language::En, &Environment::default());
    Examination { loaded, service, presence, clock: Rc::new(SystemClock), write_test, console }
}

fn find<'r>(report: &'r Report, check: &str) -> Vec<&'r Finding> {
    report
        .sections
        .iter()
        .flat_map(|section| &section.findings)
        .filter(|found| found.check == check)
        .collect()
}

fn verdicts(report: &Report, check: &str) -> Vec<Verdict> {
    find(report, check).iter().map(|finding| finding.verdict).collect()
}

#[tokio::test]
async fn a_portal_that_is_set_up_well_has_no_problem() {
    let stage = Stage::new().await;
    let report = stage.report(&stage.folder_rule(), WriteTest::Do).await;
    assert!(report.fine, "{report:#?}");
    for check in ["webhook", "scopes", "methods", "folder", "write", "user", "key", "signature", "disk_sync"]
    {
        assert!(verdicts(&report, check).contains(&Verdict::Ok), "{check}: {report:#?}");
    }
    assert!(stage.world().files(stage.folder).is_empty(), "the test file was taken away");
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn without_the_word_to_do_so_nothing_is_written() {
    let stage = Stage::new().await;
    let report = stage.report(&stage.folder_rule(), WriteTest::Leave).await;
    assert_eq!(verdicts(&report, "write"), [Verdict::Skipped]);
    assert!(stage.world().ledger_of("disk.folder.uploadfile").is_empty());
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn what_a_rule_names_and_the_portal_does_not_have_is_a_problem() {
    let stage = Stage::new().await;
    let rule = "trigger = { kind = \"folder\", folder_id = 999999, interval = \"5s\" }\nnotify = [888888]";
    let report = stage.report(rule, WriteTest::Leave).await;
    assert!(!report.fine);
    assert_eq!(verdicts(&report, "folder"), [Verdict::Problem]);
    assert_eq!(verdicts(&report, "user"), [Verdict::Problem]);
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn the_field_of_a_stage_rule_must_hold_files() {
    let stage = Stage::new().await;
    let rule = |field: &str| {
        let folder = stage.folder;
        format!(
            "deliver_to = {folder}\ntrigger = {{ kind = \"deal_stage\", stages = [\"C1:EXECUTING\"], file_field = \"{field}\" }}"
        )
    };
    let good = stage.report(&rule("UF_CRM_CONTRACT"), WriteTest::Leave).await;
    assert_eq!(verdicts(&good, "field"), [Verdict::Ok], "{good:#?}");
    let bad = stage.report(&rule("UF_CRM_ABSENT"), WriteTest::Leave).await;
    assert_eq!(verdicts(&bad, "field"), [Verdict::Problem]);
    assert!(find(&bad, "field")[0].fix.as_ref().unwrap().en.contains("ufCrmContract"), "{bad:#?}");
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn a_dead_webhook_is_told_once_with_its_remedy_and_no_secret() {
    let stage = Stage::new().await;
    stage.world().set_owner(Owner::Dismissed);
    let report = stage.report(&stage.folder_rule(), WriteTest::Leave).await;
    assert_eq!(verdicts(&report, "webhook"), [Verdict::Problem]);
    assert!(verdicts(&report, "folder").is_empty(), "nothing more is asked");
    let text = serde_json::to_string(&report).unwrap();
    let options = SandboxOptions::default();
    for secret in [
        &options.webhook_secret,
        &options.easydocs_api_key,
        &options.callback_secret,
        &options.application_token,
    ] {
        assert!(!text.contains(secret.expose()), "{text}");
    }
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn a_missing_scope_and_a_wrong_key_are_problems() {
    let stage = Stage::new().await;
    stage.world().set_scopes(&["disk"]);
    let path = stage.dir.path().join("edobridge.toml");
    let key = SandboxOptions::default().easydocs_api_key;
    std::fs::write(&path, stage.toml(&stage.folder_rule()).replace(key.expose(), "a-wrong-key-123456"))
        .unwrap();
    let report = examine(&examination(&path, WriteTest::Leave).await, Reach::Everywhere).await;
    assert_eq!(verdicts(&report, "scopes"), [Verdict::Problem]);
    assert_eq!(verdicts(&report, "key"), [Verdict::Problem], "{report:#?}");
    assert_eq!(verdicts(&report, "user"), [Verdict::Skipped]);
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn offline_only_this_machine_is_looked_at() {
    let stage = Stage::new().await;
    let path = stage.dir.path().join("edobridge.toml");
    std::fs::write(&path, stage.toml(&stage.folder_rule())).unwrap();
    let report = examine(&examination(&path, WriteTest::Leave).await, Reach::ThisMachine).await;
    assert_eq!(report.sections.len(), 3);
    assert!(stage.world().ledger().is_empty());
    stage.sandbox.stop().await;
}

#[tokio::test]
async fn a_check_that_does_not_end_is_a_problem_and_keeps_what_it_found() {
    let notes = Notebook::default();
    notes.add(Finding::ok("a", "", ""));
    let work: LocalBoxFuture<'_, ()> = Box::pin(std::future::pending());
    bounded(Check { title: Text::default(), notes: notes.clone(), work }, Duration::from_millis(10)).await;
    let verdicts: Vec<_> = notes.findings().iter().map(|finding| finding.verdict).collect();
    assert_eq!(verdicts, [Verdict::Ok, Verdict::Problem]);
}

#[tokio::test]
async fn idocs_is_asked_for_the_company_the_signers_and_their_rights() {
    let stage = Stage::new().await;
    let idocs = |employee: &str, token: &str| {
        format!(
            "{}\n[idocs]\nbase_url = \"{}\"\ntoken = \"{token}\"\ndangerous_allow_http = true\n[[idocs.signers]]\nname = \"director\"\nemployee_id = \"{employee}\"\niin = \"000000000000\"\nbin = \"210987654321\"\nbitrix_user = 1\n",
            stage.folder_rule(),
            stage.sandbox.idocs_url()
        )
    };
    let token = SandboxOptions::default().idocs_token.expose().to_owned();
    let director = "11111111-2222-4333-8444-555555555555";
    let good = stage.report(&idocs(director, &token), WriteTest::Leave).await;
    assert_eq!(verdicts(&good, "token"), [Verdict::Ok], "{good:#?}");
    assert!(find(&good, "signer").iter().any(|found| found.text.en.contains("rights: ")), "{good:#?}");
    let stranger = "22222222-2222-4333-8444-555555555555";
    let unknown = stage.report(&idocs(stranger, &token), WriteTest::Leave).await;
    assert!(verdicts(&unknown, "signer").contains(&Verdict::Problem), "{unknown:#?}");
    let refused = stage.report(&idocs(director, "wrong-token"), WriteTest::Leave).await;
    assert_eq!(verdicts(&refused, "token"), [Verdict::Problem]);
    stage.sandbox.stop().await;
}
