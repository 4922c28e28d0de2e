//! Robots and workflows: `bizproc.*`, and the call that a robot makes.
//! Source: `api-reference/bizproc/**`, `tutorials/bizproc/**` of the Bitrix24 docs; the keys of the call from the SDKs
//! (`bitrix24-rest.md` section 9).
//!
//! Invariants: an event token releases its robot once, and only while the workflow runs; a robot that does not wait
//! has ended before its call is sent; a lost call is never repeated, so a waiting workflow hangs for ever or until its
//! timeout.

use super::apps::RobotBinding;
use super::bindings::{access_denied, given, given_value, installation};
use super::events::{Auth, deliver};
use super::portal::{OWNER_ID, Portal};
use super::rows::{self, text};
use super::wire::{Answer, MethodError, date, encode_form};
use super::{Ctx, Outcome};
use crate::domain::CrmItem;
use crate::sandbox::ledger::Note;
use crate::sandbox::world::{World, WorldError, now_ms};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use url::Url;

/// Workflows that are remembered.
const WORKFLOWS_MAX: usize = 100_000;
/// Lines of a workflow's log that are remembered.
const LOG_LINES_MAX: usize = 100;
/// Template of the robots of a stage: any number will do, the client only passes it on.
const STAGE_TEMPLATE: u64 = 41;

/// A robot that runs on an item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RobotSpec {
    /// The code under which the application registered it.
    pub code: String,
    /// The item it runs on.
    pub item: CrmItem,
    /// What the designer of the stage filled in.
    pub properties: Value,
    /// How long the workflow waits, in seconds, as the designer set it; 0: for ever.
    #[serde(default)]
    pub timeout_s: u64,
}

/// What a run of a robot made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RobotRun {
    /// The workflow.
    pub workflow_id: String,
    /// The token that releases it.
    pub event_token: String,
}

/// What became of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkflowState {
    /// It waits for its robot.
    Waiting,
    /// The robot does not wait, or the time was up.
    Ended,
    /// The robot was released with these values.
    Released(Value),
    /// Somebody stopped it.
    Terminated,
}

/// A workflow, as a witness sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkflowView {
    /// Its id.
    pub id: String,
    /// The robot's code; empty for one that a template without a robot started.
    pub code: String,
    /// The item it runs on.
    pub item: CrmItem,
    /// What became of it.
    pub state: WorkflowState,
    /// Lines that the application wrote into it.
    pub log: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Workflow {
    client_id: String,
    code: String,
    item: CrmItem,
    template_id: u64,
    event_token: String,
    started_ms: i64,
    until_ms: Option<i64>,
    state: WorkflowState,
    log: Vec<String>,
}

impl Workflow {
    fn runs(&self, now_ms: i64) -> bool {
        self.state == WorkflowState::Waiting && self.until_ms.is_none_or(|until| now_ms < until)
    }
}

/// A robot's call, to be sent.
#[derive(Debug, Clone)]
pub(crate) struct RobotCall {
    client_id: String,
    workflow_id: String,
    code: String,
    item: CrmItem,
    event_token: String,
    properties: Value,
    use_subscription: &'static str,
    timeout_s: u64,
    user_id: u64,
    target: Url,
}

/// All workflows, and what templates start.
#[derive(Debug, Default)]
pub(crate) struct Workflows {
    all: BTreeMap<String, Workflow>,
    templates: BTreeMap<u64, (String, String, Value)>,
    started: u64,
}

/// `document_type` and the beginning of `document_id` of an item's type.
fn document_type(entity_type_id: u32) -> ([String; 2], String) {
    let document = |class: &str| ["crm".to_owned(), class.to_owned()];
    let newer = |class: &str| document(&format!("Bitrix\\Crm\\Integration\\BizProc\\Document\\{class}"));
    match entity_type_id {
        1 => (document("CCrmDocumentLead"), "LEAD".into()),
        2 => (document("CCrmDocumentDeal"), "DEAL".into()),
        3 => (document("CCrmDocumentContact"), "CONTACT".into()),
        4 => (document("CCrmDocumentCompany"), "COMPANY".into()),
        7 => (newer("Quote"), "QUOTE".into()),
        31 => (newer("SmartInvoice"), "SMART_INVOICE".into()),
        n => (newer("Dynamic"), format!("DYNAMIC_{n}")),
    }
}

/// The item of a `document_id`: the number after the last underline.
fn item_of(document_id: &str) -> Option<CrmItem> {
    let (kind, id) = document_id.rsplit_once('_')?;
    let entity_type_id = match kind {
        "LEAD" => 1,
        "DEAL" => 2,
        "CONTACT" => 3,
        "COMPANY" => 4,
        "QUOTE" => 7,
        "SMART_INVOICE" => 31,
        dynamic => dynamic.strip_prefix("DYNAMIC_")?.parse().ok()?,
    };
    Some(CrmItem { entity_type_id, id: id.parse().ok()? })
}

pub(crate) fn robot_add(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    ctx.must_be_admin()?;
    let code = given(params, "CODE");
    if code.is_empty() || !code.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)) {
        return Err(validation("Wrong activity code!"));
    }
    let handler = checked_handler(ctx, params)?;
    if given(params, "NAME").is_empty() {
        return Err(validation("Empty activity NAME!"));
    }
    let robots = &mut installation(ctx)?.robots;
    if robots.iter().any(|robot| robot.code == code) {
        let why = "Activity or Robot already installed!";
        return Err(MethodError::new(400, "ERROR_ACTIVITY_ALREADY_INSTALLED", why));
    }
    let note = Note::effect().fact("code", code.clone());
    robots.push(RobotBinding {
        code,
        handler,
        auth_user_id: given(params, "AUTH_USER_ID").parse().unwrap_or(0),
        use_subscription: given(params, "USE_SUBSCRIPTION"),
        given: upper(params),
    });
    Ok(Answer::of(true).noted(note))
}

fn upper(params: &Value) -> Value {
    let pairs = params.as_object().into_iter().flatten();
    pairs.map(|(name, value)| (name.to_ascii_uppercase(), value.clone())).collect()
}

fn validation(why: &str) -> MethodError {
    MethodError::new(400, "ERROR_ACTIVITY_VALIDATION_FAILURE", why)
}

/// The handler must be at the application's own host.
fn checked_handler(ctx: &mut Ctx<'_>, params: &Value) -> Result<String, MethodError> {
    let handler = given(params, "HANDLER");
    let wrong = |why: &str| MethodError::new(400, "ERROR_WRONG_HANDLER_URL", why.to_owned());
    let url: Url = handler.parse().map_err(|_| wrong("Wrong handler URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(MethodError::new(
            400,
            "ERROR_UNSUPPORTED_PROTOCOL",
            "Unsupported event handler protocol",
        ));
    }
    let super::access::Caller::App(app) = &ctx.caller else { return Err(super::methods::wrong_auth_type()) };
    let own = ctx.portal.apps.installed(&app.client_id).and_then(|(spec, _)| spec.handler.host_str());
    if own != url.host_str() {
        return Err(wrong("Handler URL host doesn't match application url"));
    }
    Ok(handler)
}

fn robot<'a>(ctx: &'a mut Ctx<'_>, params: &Value) -> Result<&'a mut RobotBinding, MethodError> {
    let code = given(params, "CODE");
    let found = installation(ctx)?.robots.iter_mut().find(|robot| robot.code == code);
    found.ok_or_else(|| MethodError::new(400, "ERROR_ACTIVITY_NOT_FOUND", "Activity or Robot not found!"))
}

/// `FIELDS` has what is to be changed.
pub(crate) fn robot_update(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    ctx.must_be_admin()?;
    let Some(fields) = given_value(params, "FIELDS").map(upper).filter(Value::is_object) else {
        return Err(validation("No fields to update"));
    };
    let handler = match fields.get("HANDLER") {
        Some(_) => Some(checked_handler(ctx, &fields)?),
        None => None,
    };
    let robot = robot(ctx, params)?;
    robot.handler = handler.unwrap_or_else(|| robot.handler.clone());
    if let Some(user) = fields.get("AUTH_USER_ID").map(text) {
        robot.auth_user_id = user.parse().unwrap_or(0);
    }
    if let Some(wait) = fields.get("USE_SUBSCRIPTION").map(text) {
        robot.use_subscription = wait;
    }
    if let (Some(given), Value::Object(fields)) = (robot.given.as_object_mut(), fields) {
        given.extend(fields);
    }
    let note = Note::effect().fact("code", robot.code.clone());
    Ok(Answer::of(true).noted(note))
}

/// Codes only.
pub(crate) fn robot_list(ctx: &mut Ctx<'_>, _: &Value) -> Outcome {
    ctx.must_be_admin()?;
    let codes: Vec<String> = installation(ctx)?.robots.iter().map(|robot| robot.code.clone()).collect();
    Ok(Answer::of(codes))
}

pub(crate) fn robot_delete(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    ctx.must_be_admin()?;
    let code = robot(ctx, params)?.code.clone();
    installation(ctx)?.robots.retain(|robot| robot.code != code);
    Ok(Answer::of(true).noted(Note::effect().fact("code", code)))
}

/// The running workflow of a token; the same refusal whether the token is wrong, used or too late.
fn running<'a>(ctx: &'a mut Ctx<'_>, params: &Value) -> Result<(&'a String, &'a mut Workflow), MethodError> {
    let (token, now) = (given(params, "EVENT_TOKEN"), ctx.now_ms);
    let client_id = match &ctx.caller {
        super::access::Caller::Webhook => None,
        super::access::Caller::App(app) => Some(app.client_id.clone()),
    };
    let own = |flow: &Workflow| client_id.as_ref().is_none_or(|client| *client == flow.client_id);
    let mut all = ctx.portal.workflows.all.iter_mut();
    let found = all.find(|(_, flow)| flow.event_token == token && own(flow) && flow.runs(now));
    found.ok_or_else(access_denied)
}

pub(crate) fn event_send(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let values = given_value(params, "RETURN_VALUES").cloned().unwrap_or_else(|| json!({}));
    let line = given(params, "LOG_MESSAGE");
    let (id, flow) = running(ctx, params)?;
    let note = Note::effect().fact("workflow_id", id.clone()).fact("values", values.clone());
    flow.state = WorkflowState::Released(values);
    flow.say(line);
    Ok(Answer::of(true).noted(note))
}

pub(crate) fn activity_log(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    let line = given(params, "LOG_MESSAGE");
    let (id, flow) = running(ctx, params)?;
    let note = Note::effect().fact("workflow_id", id.clone());
    flow.say(line);
    Ok(Answer::of(true).noted(note))
}

impl Workflow {
    fn say(&mut self, line: String) {
        if !line.is_empty() && self.log.len() < LOG_LINES_MAX {
            self.log.push(line);
        }
    }
}

/// Those that run.
pub(crate) fn workflow_instances(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    ctx.must_be_admin()?;
    let now = ctx.now_ms;
    let running = ctx.portal.workflows.all.iter().filter(|(_, flow)| flow.runs(now));
    let rows = running.map(|(id, flow)| instance_row(id, flow)).collect();
    let mut page = rows::list(rows, params, &[], "MODIFIED")?;
    page.select(params, "ID");
    Ok(page.answer(|rows| rows))
}

fn instance_row(id: &str, flow: &Workflow) -> Map<String, Value> {
    let ([module, entity], kind) = document_type(flow.item.entity_type_id);
    let row = json!({
        "ID": id, "MODIFIED": date(flow.started_ms), "OWNED_UNTIL": null, "MODULE_ID": module,
        "ENTITY": entity, "DOCUMENT_ID": format!("{kind}_{}", flow.item.id),
        "STARTED": date(flow.started_ms), "STARTED_BY": OWNER_ID.to_string(),
        "TEMPLATE_ID": flow.template_id.to_string(),
    });
    row.as_object().cloned().unwrap_or_default()
}

pub(crate) fn workflow_start(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    ctx.must_be_admin()?;
    let template: u64 = given(params, "TEMPLATE_ID").parse().unwrap_or(0);
    let document = given_value(params, "DOCUMENT_ID").and_then(|id| id.get(2)).map(text).unwrap_or_default();
    let wrong = || MethodError::new(400, "ERROR_WRONG_WORKFLOW_ID", "Wrong document id or template");
    let item = item_of(&document).filter(|item| ctx.portal.items.contains_key(item)).ok_or_else(wrong)?;
    let (client_id, code, properties) =
        ctx.portal.workflows.templates.get(&template).cloned().ok_or_else(wrong)?;
    let spec = RobotSpec { code, item, properties, timeout_s: 0 };
    let made = begin(ctx.portal, &client_id, &spec, template, ctx.now_ms);
    let (run, call) = made.map_err(|_| wrong())?;
    ctx.robot_calls.push(call);
    let note = Note::effect().fact("workflow_id", run.workflow_id.clone());
    Ok(Answer::of(run.workflow_id).noted(note))
}

pub(crate) fn workflow_terminate(ctx: &mut Ctx<'_>, params: &Value) -> Outcome {
    ctx.must_be_admin()?;
    let (id, now) = (given(params, "ID"), ctx.now_ms);
    let flow = ctx.portal.workflows.all.get_mut(&id).filter(|flow| flow.runs(now));
    let flow = flow.ok_or_else(|| MethodError::new(400, "", "Workflow not found"))?;
    flow.state = WorkflowState::Terminated;
    Ok(Answer::of(true).noted(Note::effect().fact("workflow_id", id)))
}

/// Makes a workflow and its robot's call.
fn begin(
    portal: &mut Portal,
    client_id: &str,
    spec: &RobotSpec,
    template_id: u64,
    now_ms: i64,
) -> Result<(RobotRun, RobotCall), WorldError> {
    let missing = |what: &'static str, id: &str| WorldError::Missing { what, id: id.to_owned() };
    let (_, found) = portal.apps.installed(client_id).ok_or_else(|| missing("application", client_id))?;
    let robot = found.robots.iter().find(|robot| robot.code == spec.code);
    let robot = robot.filter(|_| found.finished).ok_or_else(|| missing("robot", &spec.code))?;
    // Only an explicit N does not wait (current docs; older ones let the designer choose).
    let waits = !robot.use_subscription.eq_ignore_ascii_case("n");
    let user_id = if robot.auth_user_id == 0 { found.user_id } else { robot.auth_user_id };
    let target = robot.handler.parse().map_err(|_| missing("handler", &robot.handler))?;
    let flows = &mut portal.workflows;
    flows.started += 1;
    let workflow_id = format!("5a4d{:010x}.{:08}", now_ms, flows.started);
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let event_token = format!("{workflow_id}|A{}_{}|{mark}.{mark}{mark}", flows.started, spec.item.id);
    if flows.all.len() >= WORKFLOWS_MAX {
        flows.all.pop_first();
    }
    let timeout_ms = i64::try_from(spec.timeout_s).unwrap_or(i64::MAX).saturating_mul(1_000);
    flows.all.insert(
        workflow_id.clone(),
        Workflow {
            client_id: client_id.to_owned(),
            code: spec.code.clone(),
            item: spec.item,
            template_id,
            event_token: event_token.clone(),
            started_ms: now_ms,
            until_ms: (timeout_ms > 0).then(|| now_ms.saturating_add(timeout_ms)),
            state: if waits { WorkflowState::Waiting } else { WorkflowState::Ended },
            log: Vec::new(),
        },
    );
    let call = RobotCall {
        client_id: client_id.to_owned(),
        workflow_id: workflow_id.clone(),
        code: spec.code.clone(),
        item: spec.item,
        event_token: event_token.clone(),
        properties: spec.properties.clone(),
        use_subscription: if waits { "Y" } else { "N" },
        timeout_s: spec.timeout_s,
        user_id,
        target,
    };
    Ok((RobotRun { workflow_id, event_token }, call))
}

/// Robots, as the portal runs them.
impl World {
    /// A robot of a stage runs on an item: its call goes out once, as events do. The fault `robot` strikes it.
    ///
    /// # Errors
    ///
    /// The application is not installed or has no such robot.
    pub fn run_robot(self: &Arc<Self>, client_id: &str, spec: &RobotSpec) -> Result<RobotRun, WorldError> {
        let made = self.with_portal(|portal| begin(portal, client_id, spec, STAGE_TEMPLATE, now_ms()));
        let (run, call) = made?;
        self.send_robot(call);
        Ok(run)
    }
    /// Makes a workflow template with one robot in it, for `bizproc.workflow.start`.
    pub fn set_template(&self, template_id: u64, client_id: &str, code: &str, properties: Value) {
        let entry = (client_id.to_owned(), code.to_owned(), properties);
        self.with_portal(|portal| portal.workflows.templates.insert(template_id, entry));
    }
    /// All workflows, in the order of their start.
    pub fn workflows(&self) -> Vec<WorkflowView> {
        let view = |(id, flow): (&String, &Workflow)| WorkflowView {
            id: id.clone(),
            code: flow.code.clone(),
            item: flow.item,
            state: if flow.state == WorkflowState::Waiting && !flow.runs(now_ms()) {
                WorkflowState::Ended
            } else {
                flow.state.clone()
            },
            log: flow.log.clone(),
        };
        self.with_portal(|portal| portal.workflows.all.iter().map(view).collect())
    }
    /// One workflow.
    pub fn workflow(&self, id: &str) -> Option<WorkflowView> {
        self.workflows().into_iter().find(|flow| flow.id == id)
    }
    /// The body of a robot's call, byte for byte, with fresh tokens: for a handler that is called by hand.
    ///
    /// # Errors
    ///
    /// As [`World::run_robot`].
    pub fn robot_body(&self, client_id: &str, spec: &RobotSpec) -> Result<(RobotRun, String), WorldError> {
        let made = self.with_portal(|portal| begin(portal, client_id, spec, STAGE_TEMPLATE, now_ms()));
        made.map(|(run, call)| (run, self.robot_form(&call)))
    }

    fn robot_form(&self, call: &RobotCall) -> String {
        let ([module, entity], kind) = document_type(call.item.entity_type_id);
        let pair = self.with_portal(|portal| portal.apps.grant(&call.client_id, call.user_id, now_ms()));
        let mut members = vec![
            ("workflow_id", call.workflow_id.clone().into()),
            ("code", call.code.clone().into()),
            ("document_id", json!([module, entity, format!("{kind}_{}", call.item.id)])),
            ("document_type", json!([module, entity, kind])),
            ("event_token", call.event_token.clone().into()),
            ("properties", call.properties.clone()),
            ("use_subscription", call.use_subscription.into()),
            ("timeout_duration", call.timeout_s.into()),
            ("ts", (now_ms() / 1_000).into()),
        ];
        members.extend(self.auth_members(&call.client_id, &Auth::Pair(pair)));
        encode_form(&members)
    }

    pub(crate) fn send_robot(self: &Arc<Self>, call: RobotCall) {
        let world = Arc::clone(self);
        drop(self.spawn(async move {
            let note = Note::read()
                .fact("code", call.code.clone())
                .fact("workflow_id", call.workflow_id.clone())
                .fact("client_id", call.client_id.clone());
            deliver(&world, "robot", note, call.target.clone(), || world.robot_form(&call)).await;
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_named_by_its_type_and_the_number_after_the_last_underline() {
        for (entity_type_id, name) in
            [(1, "LEAD_5"), (2, "DEAL_5"), (31, "SMART_INVOICE_5"), (1032, "DYNAMIC_1032_5")]
        {
            let item = CrmItem { entity_type_id, id: 5 };
            assert_eq!(format!("{}_{}", document_type(entity_type_id).1, item.id), name);
            assert_eq!(item_of(name), Some(item));
        }
        assert_eq!(item_of("DEAL"), None);
    }
}
