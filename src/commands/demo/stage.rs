//! The demo's world: the sandbox, furnished, and the things that people do in it.
//!
//! Knows the sandbox and nothing of edobridge, except where it listens. Invariant: what it puts into the world it
//! also writes down as an expectation.

use super::config_text::STAGE;
use super::scenario::{Entrance, Planned, Scenario};
use super::verdict::{Evidence, Expectation};
use crate::domain::{CrmItem, Secret};
use crate::sandbox::views::DocumentView;
use crate::sandbox::{
    BucketRate, CallbackPolicy, Chosen, Fault, FaultKind, LedgerEntry, Limits, Mode, Sandbox, SandboxOptions,
    World, WorldError,
};
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// The deal's field with the file, as the portal's REST spells it.
const FILE_FIELD: &str = "ufCrmContract";
/// `entityTypeId` of deals.
const DEAL: u32 = 2;
/// Number of the first deal.
const FIRST_DEAL: u64 = 501;
/// How long the answer to a create is held back, for the process to be killed meanwhile: longer than the demo waits.
const HELD_BACK_MS: u64 = 60_000;

/// The furnished world.
pub struct Stage {
    sandbox: Sandbox,
    world: Arc<World>,
    inbox_folder: u64,
    idocs_folder: u64,
    deal_folder: u64,
    responsible: u64,
    secrets: Secrets,
    expectations: Vec<Expectation>,
    /// Deals whose file waits for a change of stage.
    deals: Vec<CrmItem>,
}

/// What the two sides share.
pub struct Secrets {
    /// Token of the portal's events.
    pub application_token: Secret,
    /// Key of the signing service.
    pub easydocs_api_key: Secret,
    /// Key of the callbacks' signature.
    pub callback_secret: Secret,
    /// Token of iDocs.
    pub idocs_token: Secret,
}

impl Stage {
    /// Opens the sandbox and furnishes it for `scenario`.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn build(scenario: &Scenario) -> io::Result<Self> {
        let options = options(scenario.sign_after);
        let secrets = Secrets {
            application_token: options.application_token.clone(),
            easydocs_api_key: options.easydocs_api_key.clone(),
            callback_secret: options.callback_secret.clone(),
            idocs_token: options.idocs_token.clone(),
        };
        let sandbox = Sandbox::start(options).await?;
        let world = sandbox.world();
        let root = world.root_folder();
        let inbox_folder = world.add_folder(root, "На подпись").map_err(io::Error::other)?;
        let idocs_folder = world.add_folder(root, "На подпись в iDocs").map_err(io::Error::other)?;
        let deal_folder = world.add_folder(root, "Подписано по сделкам").map_err(io::Error::other)?;
        let responsible = world.add_user("Анна", "Петрова");
        write_scripts(&world, scenario);
        let (expectations, deals) = (Vec::new(), Vec::new());
        Ok(Self {
            sandbox,
            world,
            inbox_folder,
            idocs_folder,
            deal_folder,
            responsible,
            secrets,
            expectations,
            deals,
        })
    }

    /// The witness and its buttons.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }
    /// What the two sides share.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }
    /// The incoming webhook of the portal.
    pub fn webhook_url(&self) -> Url {
        self.sandbox.webhook_url()
    }
    /// The portal.
    pub fn bitrix_url(&self) -> Url {
        self.sandbox.bitrix_url()
    }
    /// The signing service.
    pub fn easydocs_url(&self) -> Url {
        self.sandbox.easydocs_url()
    }
    /// The watched folder.
    pub fn inbox_folder(&self) -> u64 {
        self.inbox_folder
    }
    /// The folder of documents that our side signs first.
    pub fn idocs_folder(&self) -> u64 {
        self.idocs_folder
    }
    /// The folder for signed copies of files from deals.
    pub fn deal_folder(&self) -> u64 {
        self.deal_folder
    }
    /// What is expected of the documents that have entered, in the order of their entering.
    pub fn expectations(&self) -> &[Expectation] {
        &self.expectations
    }

    /// Tells the portal where its events go.
    ///
    /// # Errors
    /// Never for a socket address; the type says so because it is parsed.
    pub fn point_events_at(&self, edobridge: SocketAddr) -> Result<(), url::ParseError> {
        self.world.set_event_target(Some(format!("http://{edobridge}/bitrix/webhook").parse()?));
        Ok(())
    }

    /// A person puts the file into the folder, or into a deal that is then moved to another stage.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn enter(&mut self, planned: &Planned) -> Result<(), WorldError> {
        let expectation = match planned.entrance {
            Entrance::Folder => self.enter_folder(planned)?,
            Entrance::Deal => self.enter_deal(planned)?,
        };
        self.expectations.push(expectation);
        Ok(())
    }

    fn enter_folder(&self, planned: &Planned) -> Result<Expectation, WorldError> {
        let id = self.world.add_file(self.inbox_folder, &planned.name, planned.bytes.clone())?;
        Ok(Expectation {
            name: planned.name.clone(),
            sha256: planned.sha256,
            source_id: id,
            original_in: Some(self.inbox_folder),
            signed_into: self.inbox_folder,
            deal: None,
            trouble: planned.trouble,
        })
    }

    fn enter_deal(&mut self, planned: &Planned) -> Result<Expectation, WorldError> {
        let deal = CrmItem { entity_type_id: DEAL, id: FIRST_DEAL + self.deals.len() as u64 };
        self.deals.push(deal);
        let fields = [
            ("title", json!("Поставка оборудования")),
            ("stageId", json!("NEW")),
            ("assignedById", json!(self.responsible)),
        ];
        self.world.put_item(deal, &fields);
        let file = self.world.put_item_file(deal, FILE_FIELD, &planned.name, planned.bytes.clone())?;
        self.world.move_item(deal, STAGE)?;
        Ok(Expectation {
            name: planned.name.clone(),
            sha256: planned.sha256,
            source_id: file,
            original_in: None,
            signed_into: self.deal_folder,
            deal: Some(deal),
            trouble: planned.trouble,
        })
    }

    /// The first download of a signed copy is answered with 503, so that there is an ordinary retry to see.
    ///
    /// # Errors
    /// When too many faults are set.
    pub fn trip_first_download(&self) -> Result<(), WorldError> {
        self.world.add_fault(Fault::nth("easydocs.download", 1, FaultKind::status(503, "unavailable")))
    }

    /// From now on the answer to the next create is held back, while its effect is done at once.
    ///
    /// # Errors
    /// When too many faults are set.
    pub fn hold_next_create(&self) -> Result<(), WorldError> {
        self.world.add_fault(Fault::nth("easydocs.create", 1, FaultKind::Slow(HELD_BACK_MS)))
    }

    /// The signing service's documents with this file name.
    pub fn documents_named(&self, name: &str) -> Vec<DocumentView> {
        self.world.documents().into_iter().filter(|d| d.file_name == name).collect()
    }

    /// Whether a create of this file had its effect.
    pub fn was_created(&self, name: &str) -> bool {
        let name = Value::from(name);
        self.world.ledger_of("easydocs.create").iter().any(|e| e.effect && e.facts.get("name") == Some(&name))
    }

    /// Attempts to deliver a callback about a document that nobody answered.
    pub fn unanswered_callbacks(&self, document_id: &str) -> usize {
        let id = Value::from(document_id);
        let unanswered = |e: &&LedgerEntry| e.status.is_none() && e.facts.get("document_id") == Some(&id);
        self.world.callbacks().iter().filter(unanswered).count()
    }

    /// How often the watched folder was read so far.
    pub fn folder_reads(&self) -> usize {
        let folder = Value::from(self.inbox_folder);
        let reads = self.world.ledger_of("disk.folder.getchildren");
        reads.iter().filter(|e| e.facts.get("folder_id") == Some(&folder)).count()
    }

    /// Everything that a witness sees now.
    pub fn evidence(&self) -> Evidence {
        let world = &self.world;
        let folders = [self.inbox_folder, self.deal_folder];
        Evidence {
            documents: world.documents(),
            files: folders.into_iter().flat_map(|folder| world.files(folder)).collect(),
            notices: world.all_notices(),
            comments: world.all_comments(),
            ledger: world.ledger(),
        }
    }

    /// Closes the sandbox.
    pub async fn close(self) {
        self.sandbox.stop().await;
    }
}

fn options(sign_after: Duration) -> SandboxOptions {
    SandboxOptions {
        mode: Mode::Auto { sign_after, intermediate: Chosen::No },
        limits: Limits {
            bucket_rate: Some(BucketRate { per_second: 5.0, burst: 250.0 }),
            ..Limits::default()
        },
        // Real services repeat after minutes; nobody would watch that.
        callback_policy: CallbackPolicy { interval: Duration::from_millis(500), ..CallbackPolicy::default() },
        ..SandboxOptions::default()
    }
}

/// Short names first: the latest script whose part fits wins, and a name can be a part of a longer one only.
fn write_scripts(world: &World, scenario: &Scenario) {
    let mut documents: Vec<&Planned> = scenario.documents.iter().collect();
    documents.sort_by_key(|planned| planned.name.len());
    for planned in documents {
        world.script(&planned.name, planned.trouble.script(scenario.sign_after));
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{Kill, Trouble};
    use super::super::verdict::judge;
    use super::*;
    use crate::domain::Language;
    use base64::Engine as _;

    async fn create(stage: &Stage, planned: &Planned) -> Result<reqwest::Response, reqwest::Error> {
        let body = json!({
            "name": planned.name, "file_name": planned.name, "route_id": "17", "external_id": "b24-test",
            "file_content": base64::engine::general_purpose::STANDARD.encode(&planned.bytes),
        });
        let key = stage.secrets().easydocs_api_key.expose().to_owned();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
        let url = format!("{}api/v1/documents", stage.easydocs_url());
        let within = Duration::from_millis(500);
        client.post(url).bearer_auth(key).json(&body).timeout(within).send().await
    }

    #[tokio::test]
    async fn the_witness_sees_what_entered_and_that_nothing_was_done_yet() {
        let scenario = Scenario::default_set(Kill::Never, Duration::ZERO, Language::Ru);
        let mut stage = Stage::build(&scenario).await.unwrap();
        for planned in &scenario.documents {
            stage.enter(planned).unwrap();
        }
        let verdict = judge(stage.expectations(), &stage.evidence());
        let wrong = |d: &super::super::verdict::DocumentVerdict| !d.is_right() && d.ended.is_none();
        assert!(verdict.documents.iter().all(wrong));
        for (expected, document) in stage.expectations().iter().zip(&verdict.documents) {
            let kept = document.checks.iter().find(|check| check.code == "original_kept");
            assert_eq!(
                kept.map(|check| check.right),
                expected.deal.is_none().then_some(true),
                "{}",
                expected.name
            );
        }
        stage.close().await;
    }

    #[tokio::test]
    async fn the_answer_to_a_held_create_is_missed_but_its_effect_is_there() {
        let scenario = Scenario::default_set(Kill::InTheMiddle, Duration::from_secs(60), Language::En);
        let stage = Stage::build(&scenario).await.unwrap();
        let early = scenario.documents.iter().find(|d| d.trouble == Trouble::Nothing).unwrap();
        let victim = scenario.victim().unwrap();
        assert!(create(&stage, early).await.unwrap().status().is_success());
        stage.hold_next_create().unwrap();
        assert!(!stage.was_created(&victim.name));
        assert!(create(&stage, victim).await.is_err(), "the answer is held back");
        assert!(stage.was_created(&victim.name));
        assert_eq!(stage.documents_named(&victim.name).len(), 1);
        stage.close().await;
    }
}
