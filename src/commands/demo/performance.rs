//! The demo as it runs: the world is opened, edobridge is started, documents enter, the process is killed and started
//! again, and in the end the witness is heard.
//!
//! Knows in which order things happen. Invariants: nothing is waited for without a bound; a process that ends without
//! having been told to ends the demo; the verdict comes from the world, not from edobridge.

use super::child::{Service, free_addresses};
use super::config_text::{Facts, config_text};
use super::own_signature::{self, OwnSignature};
use super::scenario::{Kill, Scenario, Trouble};
use super::stage::Stage;
use super::verdict::{Verdict, judge};
use super::view::{Standing, View};
use super::watch::{Line, Watcher, line_of};
use super::workspace::Workspace;
use crate::commands::Context;
use crate::domain::{Language, Secret, Text};
use crate::sandbox::WorldError;
use crate::sandbox::idocs::{Company, Employee};
use std::io;
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a start may take: the store is new or nearly so.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// After the last document ended, the watched folder is read so many times more: a signed copy that was taken for a
/// new document would show by then.
const READS_AFTERWARDS: usize = 3;

/// Why the demo did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The sandbox could not be opened.
    #[error("opening the sandbox failed")]
    Sandbox(#[source] io::Error),
    /// The temporary folder could not be used.
    #[error("using the temporary folder failed")]
    Workspace(#[source] io::Error),
    /// The process could not be started.
    #[error("starting edobridge failed")]
    Start(#[source] io::Error),
    /// No HTTP client could be made.
    #[error("making an HTTP client failed")]
    Client(#[from] reqwest::Error),
    /// The sandbox did not do what it was told: a fault of the demo.
    #[error("the sandbox refused an order")]
    World(#[from] WorldError),
    /// The address of the process is no URL: a fault of the demo.
    #[error("the address of edobridge is no url")]
    Address(#[from] url::ParseError),
    /// The process ended without having been told to.
    #[error("edobridge ended by itself: {0}")]
    Died(ExitStatus),
    /// Something did not happen in time.
    #[error("not in time: {}", .0.en)]
    TooLate(Text),
    /// The person pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl DemoError {
    /// The sentence for a person.
    pub fn text(&self) -> Text {
        match self {
            Self::Sandbox(error) => Text::new(
                format!("Песочница не открылась ({error}): нужны свободные порты на 127.0.0.1."),
                format!("The sandbox did not open ({error}): it needs free ports on 127.0.0.1."),
            ),
            Self::Workspace(error) => Text::new(
                format!("Временная папка недоступна ({error}): проверьте место и права или задайте TMPDIR."),
                format!(
                    "The temporary folder cannot be used ({error}): check space and permissions, or set TMPDIR."
                ),
            ),
            Self::Start(error) => Text::new(
                format!("Процесс edobridge не запустился ({error})."),
                format!("The process edobridge did not start ({error})."),
            ),
            Self::Client(_) | Self::World(_) | Self::Address(_) => Text::new(
                format!("Ошибка самой демонстрации: {self}. Сообщите нам о ней."),
                format!("A fault of the demo itself: {self}. Please report it."),
            ),
            Self::Died(status) => Text::new(
                format!("Процесс edobridge завершился сам ({status}): причина в конце его журнала."),
                format!("The process edobridge ended by itself ({status}): the end of its log says why."),
            ),
            Self::TooLate(what) => Text::new(
                format!(
                    "Не дождались: {}. Увеличьте --timeout, если машина занята; иначе причина в журнале.",
                    what.ru
                ),
                format!(
                    "Not in time: {}. Raise --timeout if the machine is busy; otherwise see the log.",
                    what.en
                ),
            ),
            Self::Interrupted => Text::new("Демонстрация прервана.", "The demo was interrupted."),
        }
    }
}

/// When a document entered and when it was over.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    entered: Option<Instant>,
    over: Option<Instant>,
}

impl Timing {
    /// How long it took, if it is over; else how long it has taken so far.
    pub fn age(&self) -> Duration {
        self.entered.map_or(Duration::ZERO, |from| self.over.unwrap_or_else(Instant::now) - from)
    }
}

/// What happened when the process was killed.
#[derive(Debug, Clone)]
pub struct Killing {
    /// Documents with a call under way.
    pub in_flight: Vec<String>,
    /// Documents that waited for signatures.
    pub waiting: Vec<String>,
    /// From the kill to the next readiness.
    pub dead_for: Duration,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// One per document.
    pub timings: Vec<Timing>,
    /// One per document: how often something went wrong with it and was mended, in edobridge's words.
    pub setbacks: Vec<usize>,
    /// What came of the document that our side signs first, if there was one.
    pub own_signature: Option<Text>,
    /// The kill, if there was one.
    pub killing: Option<Killing>,
    /// From the first moment to the verdict.
    pub took: Duration,
}

/// Everything that runs.
pub struct Performance {
    /// The documents.
    pub scenario: Scenario,
    /// The world.
    pub stage: Stage,
    /// The process.
    pub service: Service,
    /// The temporary folder.
    pub workspace: Workspace,
    /// Where edobridge listens for the world and for the operator.
    pub addresses: [SocketAddr; 2],
    view: View,
    watcher: Watcher,
    lines: Vec<Line>,
    own_signature: Option<OwnSignature>,
    timings: Vec<Timing>,
    began: Instant,
    deadline: Instant,
}

impl Performance {
    /// Opens the world and prepares the process; nothing is started yet.
    ///
    /// # Errors
    /// [`DemoError`]: no ports, no temporary folder.
    pub async fn prepare(
        scenario: Scenario,
        view: View,
        context: &Context,
        within: Duration,
    ) -> Result<Self, DemoError> {
        let began = Instant::now();
        let workspace = Workspace::make().map_err(DemoError::Workspace)?;
        let stage = Stage::build(&scenario).await.map_err(DemoError::Sandbox)?;
        let addresses = free_addresses().map_err(DemoError::Sandbox)?;
        let token = Secret::new(uuid::Uuid::new_v4().simple().to_string());
        let facts = facts(&stage, &workspace, addresses, token.clone(), context.language);
        workspace.write_config(&config_text(&facts)).map_err(DemoError::Workspace)?;
        stage.point_events_at(addresses[0])?;
        Ok(Self {
            service: Service::new(workspace.config(), workspace.log(), context.env.clone())
                .map_err(DemoError::Start)?,
            watcher: Watcher::new(addresses[1], token)?,
            timings: vec![Timing::default(); scenario.documents.len()],
            lines: Vec::new(),
            own_signature: None,
            deadline: began + within,
            scenario,
            stage,
            workspace,
            addresses,
            view,
            began,
        })
    }

    /// Plays the whole demo; edobridge still runs afterwards.
    ///
    /// # Errors
    /// [`DemoError`]. What is wrong with documents is no error but the verdict's business.
    pub async fn play(&mut self) -> Result<Outcome, DemoError> {
        self.start_service().await?;
        self.stage.trip_first_download()?;
        self.enter_all_but_the_victim()?;
        self.enter_own_signature()?;
        let killing = match self.scenario.kill {
            Kill::InTheMiddle => Some(self.kill_in_the_middle().await?),
            Kill::Never => None,
        };
        self.until_all_over().await?;
        self.until_quiet().await?;
        self.view.close();
        let (verdict, own_signature) = self.judge();
        let setbacks = self.setbacks().await;
        let timings = self.timings.clone();
        Ok(Outcome { verdict, timings, setbacks, own_signature, killing, took: self.began.elapsed() })
    }

    /// The verdict, and a line about the document that our side signs first.
    fn judge(&self) -> (Verdict, Option<Text>) {
        let mut evidence = self.stage.evidence();
        let Some(own) = &self.own_signature else {
            return (judge(self.stage.expectations(), &evidence), None);
        };
        evidence.notices.retain(|notice| !own.is_named_in(&notice.text));
        let mut verdict = judge(self.stage.expectations(), &evidence);
        let checks = own.judge(self.stage.world());
        let summary = own_signature::summary(own.name(), &checks);
        verdict.world.extend(checks);
        (verdict, Some(summary))
    }

    /// Leaves the last picture on the screen.
    pub fn close_view(&self) {
        self.view.close();
    }

    fn tell(&self, ru: impl Into<String>, en: impl Into<String>) {
        self.view.tell(self.began.elapsed(), &Text::new(ru, en));
    }

    async fn start_service(&mut self) -> Result<(), DemoError> {
        let id = self.service.start().map_err(DemoError::Start)?;
        let by = Instant::now() + READY_WITHIN;
        while !self.watcher.is_ready().await {
            if let Some(status) = self.service.ended_by_itself() {
                return Err(DemoError::Died(status));
            }
            if Instant::now() > by.min(self.deadline) {
                return Err(DemoError::TooLate(Text::new("готовность edobridge", "edobridge's readiness")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let (ru, en) = ("работает", "runs");
        self.tell(format!("edobridge {ru}, процесс {id}"), format!("edobridge {en}, process {id}"));
        Ok(())
    }

    fn enter_all_but_the_victim(&mut self) -> Result<(), DemoError> {
        for index in 0..self.scenario.documents.len() {
            if self.scenario.documents[index].trouble != Trouble::KilledInCreate {
                self.enter(index)?;
            }
        }
        Ok(())
    }

    fn enter_own_signature(&mut self) -> Result<(), DemoError> {
        if let Some(planned) = self.scenario.own_signature.clone() {
            let own = OwnSignature::enter(self.stage.world(), self.stage.idocs_folder(), planned)?;
            self.own_signature = Some(own);
        }
        Ok(())
    }

    /// The scripted signer signs as soon as he is asked; while the process is dead, with a later look.
    async fn sign_for_our_side(&self) {
        let Some(own) = &self.own_signature else { return };
        let Some((id, cms)) = own.asked(&self.lines, self.stage.world()) else { return };
        if self.watcher.give_signature(&id, cms).await.is_ok() {
            let name = own.name();
            self.tell(
                format!("«{name}» подписан с нашей стороны, iDocs отправит его контрагенту"),
                format!("\"{name}\" is signed by our side, iDocs will send it to the counterparty"),
            );
        }
    }

    fn own_signature_is_over(&self) -> bool {
        self.own_signature.as_ref().is_none_or(|own| own.line(&self.lines).is_some_and(Line::is_over))
    }

    fn enter(&mut self, index: usize) -> Result<(), DemoError> {
        self.stage.enter(&self.scenario.documents[index])?;
        self.timings[index].entered = Some(Instant::now());
        Ok(())
    }

    /// One look at the process and at what it says, shown on the screen.
    async fn look(&mut self) -> Result<(), DemoError> {
        if let Some(status) = self.service.ended_by_itself() {
            return Err(DemoError::Died(status));
        }
        let alive = self.service.id().is_some();
        if alive && let Ok(lines) = self.watcher.lines_with_details().await {
            // An answer that does not come is no news; if none comes any more, the deadline ends it.
            self.lines = lines;
            self.sign_for_our_side().await;
        }
        for index in 0..self.scenario.documents.len() {
            self.show(index, alive);
        }
        Ok(())
    }

    fn show(&mut self, index: usize, alive: bool) {
        let line = self.line(index);
        let over = line.is_some_and(Line::is_over);
        let standing = match self.timings[index].entered {
            None => Standing::not_entered(),
            Some(_) if alive => Standing::of(line),
            Some(_) => Standing::of(line).while_dead(),
        };
        let timing = &mut self.timings[index];
        if over && timing.over.is_none() {
            timing.over = Some(Instant::now());
        }
        self.view.show(index, standing, self.began.elapsed(), timing.age());
    }

    fn line(&self, index: usize) -> Option<&Line> {
        let planned = self.scenario.documents.get(index)?;
        // documents enter in the order of the scenario: the victim is its last
        let expected = self.stage.expectations().get(index)?;
        let source = expected.deal.map_or(expected.source_id, |deal| deal.id);
        line_of(&self.lines, planned, source)
    }

    fn is_over(&self, index: usize) -> bool {
        self.line(index).is_some_and(Line::is_over)
    }

    /// Looks again and again until `condition` holds.
    async fn until(&mut self, what: Text, condition: impl Fn(&Self) -> bool) -> Result<(), DemoError> {
        loop {
            self.look().await?;
            if condition(self) {
                return Ok(());
            }
            if Instant::now() > self.deadline {
                return Err(DemoError::TooLate(what));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Kills the process when one create is under way and something waits for signatures, and starts it again.
    async fn kill_in_the_middle(&mut self) -> Result<Killing, DemoError> {
        let Some(victim) = self.scenario.victim().map(|planned| planned.name.clone()) else {
            return Ok(Killing { in_flight: Vec::new(), waiting: Vec::new(), dead_for: Duration::ZERO });
        };
        let last = self.scenario.documents.len() - 1;
        self.until(
            Text::new("создание документов в EasyDocs", "the documents' creation in EasyDocs"),
            |this| {
                (0..last).all(|i| this.stage.was_created(&this.scenario.documents[i].name) || this.is_over(i))
            },
        )
        .await?;
        self.stage.hold_next_create()?;
        self.enter(last)?;
        self.until(
            Text::new("создание последнего документа", "the last document's creation"),
            |this| this.stage.was_created(&victim) || this.is_over(last),
        )
        .await?;
        self.service.kill();
        let dead_since = Instant::now();
        let waiting = self.waiting(&victim);
        self.tell(
            format!("SIGKILL: создание «{victim}» шло, ждали подписи: {}", waiting.len()),
            format!("SIGKILL: \"{victim}\" was being created, waiting for signatures: {}", waiting.len()),
        );
        self.sign_while_dead().await?;
        self.start_service().await?;
        Ok(Killing { in_flight: vec![victim], waiting, dead_for: dead_since.elapsed() })
    }

    fn waiting(&self, victim: &str) -> Vec<String> {
        let documents = self.stage.world().documents();
        let pending = documents.into_iter().filter(|d| d.status == "pending" && d.file_name != victim);
        pending.map(|d| d.file_name).collect()
    }

    /// People do not know that edobridge is dead: they sign, and the callback finds nobody.
    async fn sign_while_dead(&mut self) -> Result<(), DemoError> {
        let signed = self.scenario.documents.iter().filter(|d| d.trouble == Trouble::SignedWhileDead);
        let names: Vec<String> = signed.map(|planned| planned.name.clone()).collect();
        for name in names {
            for document in self.stage.documents_named(&name) {
                self.stage.world().sign(&document.id)?;
                self.until(
                    Text::new("уведомление в пустоту", "a callback to nobody"),
                    |this| this.stage.unanswered_callbacks(&document.id) > 0,
                )
                .await?;
                self.tell(
                    format!("«{name}» подписан, уведомление EasyDocs никто не принял"),
                    format!("\"{name}\" was signed, and nobody took the callback of EasyDocs"),
                );
            }
        }
        Ok(())
    }

    async fn until_all_over(&mut self) -> Result<(), DemoError> {
        let what = Text::new("окончание всех документов", "the end of all documents");
        let count = self.scenario.documents.len();
        self.until(what, |this| (0..count).all(|index| this.is_over(index)) && this.own_signature_is_over())
            .await
    }

    /// Waits for late callbacks, and long enough for a signed copy to be taken for a new document, if it were.
    async fn until_quiet(&mut self) -> Result<(), DemoError> {
        let what = Text::new("последние уведомления EasyDocs", "the last callbacks of EasyDocs");
        self.until(what, |this| this.scenario.documents.iter().all(|planned| this.callbacks_done(planned)))
            .await?;
        let enough = self.stage.folder_reads() + READS_AFTERWARDS;
        let what = Text::new("ещё несколько просмотров папки", "some more reads of the folder");
        self.until(what, |this| this.stage.folder_reads() >= enough && this.lines.iter().all(Line::is_over))
            .await
    }

    fn callbacks_done(&self, planned: &super::scenario::Planned) -> bool {
        let wanted = if planned.trouble == Trouble::CallbackThrice { 3 } else { 1 };
        self.stage
            .documents_named(&planned.name)
            .iter()
            .all(|document| document.status == "pending" || document.callbacks_acknowledged >= wanted)
    }

    async fn setbacks(&self) -> Vec<usize> {
        let mut all = Vec::with_capacity(self.scenario.documents.len());
        for index in 0..self.scenario.documents.len() {
            let count = match self.line(index) {
                // a history that cannot be read is not part of the verdict
                Some(line) => self.watcher.setbacks(&line.id).await.unwrap_or(0),
                None => 0,
            };
            all.push(count);
        }
        all
    }
}

fn facts(
    stage: &Stage,
    workspace: &Workspace,
    [public, operator]: [SocketAddr; 2],
    operator_token: Secret,
    language: Language,
) -> Facts {
    let secrets = stage.secrets();
    let director = Employee::director();
    Facts {
        data_dir: workspace.data_dir(),
        public,
        operator,
        operator_token,
        webhook_url: stage.webhook_url(),
        application_token: secrets.application_token.clone(),
        easydocs_url: stage.easydocs_url(),
        easydocs_api_key: secrets.easydocs_api_key.clone(),
        callback_secret: secrets.callback_secret.clone(),
        idocs_url: stage.world().idocs_url(),
        idocs_webhooks_url: stage.world().idocs_webhooks_url(),
        idocs_token: secrets.idocs_token.clone(),
        signer: [director.id, director.iin, Company::default().bin],
        idocs_folder: stage.idocs_folder(),
        inbox_folder: stage.inbox_folder(),
        deal_folder: stage.deal_folder(),
        language,
    }
}
