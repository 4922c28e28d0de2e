//! More buttons of the control plane: applications and their tokens, CRM items, generated documents, robots, the
//! offline queue, the push server. [`super::control`] has the others and the rules for all.
//!
//! | call | what it does |
//! |---|---|
//! | `GET /_sandbox/apps` | registered applications and what they have bound |
//! | `POST /_sandbox/apps` `{form, base}` or `{spec}` | register one: `local`, `local_api_only`, `market` at a base URL |
//! | `POST /_sandbox/apps/ID/install` | install it; its tokens are in the answer |
//! | `POST /_sandbox/apps/ID/open` `{placement?, options?, user_id?}` | open a page as a browser does |
//! | `POST /_sandbox/apps/ID/finish` | as if the page had called `BX24.installFinish()` |
//! | `POST /_sandbox/apps/ID/update` `{application_token}` | `same` or `fresh`; ONAPPUPDATE |
//! | `POST /_sandbox/apps/ID/uninstall` `{clean}` | `everything` or `nothing`; ONAPPUNINSTALL |
//! | `POST /_sandbox/apps/ID/payment` `{payment}` | `current` or `ended`; ONAPPPAYMENT |
//! | `POST /_sandbox/apps/ID/close` `{user_id}` | close it to a user |
//! | `GET /_sandbox/apps/ID/authorize?state=` | the address of the full authorisation |
//! | `GET /_sandbox/tokens` | refreshes, and uses of each access token by its beginning |
//! | `POST /_sandbox/tokens` `{what}` | `expire`, `forget` or `expire_refresh` |
//! | `POST /_sandbox/methods` `{guard?, confirm?, answer?}` | a method wants permission; `granted` or `denied` |
//! | `POST /_sandbox/users/ID` `{dismiss?, admin?}` | dismiss somebody, make or unmake an administrator |
//! | `POST /_sandbox/items` `{entity_type_id, id, fields, event?}` | make an item, with its event or without |
//! | `POST /_sandbox/items/TYPE/ID` `{fields, quiet?}` | change it, with the event or without |
//! | `POST /_sandbox/items/TYPE/ID/files?field=&name=&several=1` | put a file into its field: raw body |
//! | `POST /_sandbox/fields` `{entity_type_id, name, kind}` | `text`, `file` or `files` for all items of a type |
//! | `POST /_sandbox/stages` `{directory, stages}` | stages instead of the standard ones |
//! | `POST /_sandbox/generated` `{entity_type_id, id, template_id, title, plan, quiet?}` | generate a document |
//! | `POST /_sandbox/robots` `{client_id, robot}` | run a robot on an item |
//! | `POST /_sandbox/templates` `{id, client_id, code, properties}` | what `bizproc.workflow.start` starts |
//! | `GET /_sandbox/workflows`, `GET /_sandbox/offline` | what became of workflows; the offline queues |
//! | `POST /_sandbox/push` `{client_id, command, params}` or `{control}` or `{version, hold_ms}` | the push server |
//! | `POST /_sandbox/portal` `{traits?, overload?, limits?, webhook_until_ms?, lose_events?, token_lives?, pdf_plan?}` | what kind of portal it is |

use super::bitrix24::apps::{AppSpec, NewToken, Payment, TokenLives};
use super::bitrix24::generated::PdfPlan;
use super::bitrix24::lifecycle::{Clean, FrameSpec};
use super::bitrix24::portal::{Confirmation, FieldKind, OWNER_ID, Overload};
use super::bitrix24::robots::RobotSpec;
use super::bitrix24::traits::PortalTraits;
use super::button_press::{Refusal, body, done, parsed_id};
use super::front::Request;
use super::push::{PushControl, PushVersion};
use super::world::World;
use super::{BucketRate, Counters, Limits};
use crate::domain::CrmItem;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// How much of a token is shown: enough to tell two apart.
const TOKEN_SHOWN: usize = 8;

/// Answers a call that only shows; nothing if there is no such call.
pub(crate) fn show(world: &World, path: &[&str]) -> Option<Value> {
    match path {
        ["apps"] => Some(json!(world.apps())),
        ["tokens"] => Some(tokens(world)),
        ["workflows"] => Some(json!(world.workflows())),
        ["offline"] => Some(json!(world.offline_rows())),
        _ => None,
    }
}

fn tokens(world: &World) -> Value {
    let uses = world.token_uses();
    let shown = uses.iter().map(|(token, uses)| (token[..TOKEN_SHOWN].to_owned(), json!(uses)));
    json!({"refreshes": world.refreshes(), "uses": shown.collect::<Map<_, _>>()})
}

/// Presses a button; nothing if there is no such one.
pub(crate) async fn press(
    world: &Arc<World>,
    request: &Request,
    path: &[&str],
) -> Option<Result<Value, Refusal>> {
    Some(match path {
        ["apps"] => body(request).map(|asked| register(world, asked)),
        ["apps", id, "open"] => open(world, request, id).await,
        ["apps", id, verb] => app_verb(world, request, id, verb),
        ["tokens"] => body(request).map(|asked: TokensBody| age(world, asked.what)),
        ["methods"] => methods(world, request),
        ["users", id] => user(world, request, id),
        ["items"] => body(request).map(|asked| make_item(world, asked)),
        ["items", of, id] => change_item(world, request, of, id),
        ["items", of, id, "files"] => item_file(world, request, of, id),
        ["fields"] => body(request).map(|FieldBody { entity_type_id, name, kind }| {
            world.declare_field(entity_type_id, &name, kind);
            done()
        }),
        ["stages"] => body(request).map(|StagesBody { directory, stages }| {
            world.set_stages(&directory, &stages.iter().map(String::as_str).collect::<Vec<_>>());
            done()
        }),
        ["generated"] => generate(world, request),
        ["robots"] => run_robot(world, request),
        ["templates"] => body(request).map(|asked: TemplateBody| {
            world.set_template(asked.id, &asked.client_id, &asked.code, asked.properties);
            done()
        }),
        ["push"] => body(request).map(|asked| push(world, asked)),
        ["portal"] => body(request).map(|asked| portal(world, asked)),
        _ => return None,
    })
}

/// A ready-made registration.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Form {
    Local,
    LocalApiOnly,
    Market,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum AppBody {
    ReadyMade { form: Form, base: Url },
    Written { spec: Box<AppSpec> },
}

fn register(world: &World, asked: AppBody) -> Value {
    let spec = match asked {
        AppBody::ReadyMade { form: Form::Local, base } => AppSpec::local(&base),
        AppBody::ReadyMade { form: Form::LocalApiOnly, base } => AppSpec::local_api_only(&base),
        AppBody::ReadyMade { form: Form::Market, base } => AppSpec::market(&base),
        AppBody::Written { spec } => *spec,
    };
    let shown = json!({"client_id": spec.client_id, "client_secret": spec.client_secret.expose()});
    world.register_app(spec);
    shown
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenBody {
    placement: Option<String>,
    #[serde(default)]
    options: Map<String, Value>,
    user_id: Option<u64>,
}

async fn open(world: &Arc<World>, request: &Request, id: &str) -> Result<Value, Refusal> {
    let OpenBody { placement, options, user_id } = body(request)?;
    let spec = FrameSpec {
        user_id: user_id.unwrap_or(OWNER_ID),
        placement: placement.unwrap_or_else(|| "DEFAULT".into()),
        options: Value::Object(options),
    };
    let answer = world.open_frame(id, &spec).await?;
    Ok(json!({"status": answer.status, "headers": answer.headers, "body": answer.body}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    application_token: NewToken,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UninstallBody {
    clean: Clean,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PaymentBody {
    payment: Payment,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseBody {
    user_id: u64,
}

fn app_verb(world: &Arc<World>, request: &Request, id: &str, verb: &str) -> Result<Value, Refusal> {
    match verb {
        "install" => {
            let made = world.install_app(id)?;
            return Ok(json!({
                "member_id": made.member_id, "access_token": made.access_token.expose(),
                "refresh_token": made.refresh_token.expose(),
                "application_token": made.application_token.expose(),
            }));
        }
        "finish" => world.finish_install(id)?,
        "update" => world.update_app(id, body::<UpdateBody>(request)?.application_token)?,
        "uninstall" => world.uninstall_app(id, body::<UninstallBody>(request)?.clean)?,
        "payment" => world.set_payment(id, body::<PaymentBody>(request)?.payment)?,
        "close" => world.close_app_to(id, body::<CloseBody>(request)?.user_id),
        _ => return Err(Refusal::NoSuchPath),
    }
    Ok(done())
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Age {
    Expire,
    Forget,
    ExpireRefresh,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensBody {
    what: Age,
}

fn age(world: &World, what: Age) -> Value {
    match what {
        Age::Expire => world.expire_tokens(),
        Age::Forget => world.forget_tokens(),
        Age::ExpireRefresh => world.expire_refresh_tokens(),
    }
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MethodsBody {
    guard: Option<String>,
    confirm: Option<String>,
    answer: Option<Confirmation>,
}

fn methods(world: &Arc<World>, request: &Request) -> Result<Value, Refusal> {
    let MethodsBody { guard, confirm, answer } = body(request)?;
    if let Some(method) = guard {
        world.guard_method(&method);
    }
    if let Some(method) = confirm {
        world.confirm_method(&method, answer.unwrap_or(Confirmation::Granted))?;
    }
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserBody {
    #[serde(default)]
    dismiss: bool,
    admin: Option<bool>,
}

fn user(world: &World, request: &Request, id: &str) -> Result<Value, Refusal> {
    let (id, asked) = (parsed_id(id)?, body::<UserBody>(request)?);
    if asked.dismiss {
        world.dismiss_user(id);
    }
    if let Some(admin) = asked.admin {
        world.set_admin(id, admin);
    }
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemBody {
    entity_type_id: u32,
    id: u64,
    #[serde(default)]
    fields: Map<String, Value>,
    #[serde(default)]
    event: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    fields: Map<String, Value>,
    #[serde(default)]
    quiet: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldBody {
    entity_type_id: u32,
    name: String,
    kind: FieldKind,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StagesBody {
    directory: String,
    stages: Vec<String>,
}

fn pairs(fields: &Map<String, Value>) -> Vec<(&str, Value)> {
    fields.iter().map(|(name, value)| (name.as_str(), value.clone())).collect()
}

fn make_item(world: &Arc<World>, asked: ItemBody) -> Value {
    let item = CrmItem { entity_type_id: asked.entity_type_id, id: asked.id };
    if asked.event {
        world.add_item(item, &pairs(&asked.fields));
    } else {
        world.put_item(item, &pairs(&asked.fields));
    }
    done()
}

fn item_of(of: &str, id: &str) -> Result<CrmItem, Refusal> {
    let entity_type_id = parsed_id(of)?.try_into();
    let entity_type_id = entity_type_id.map_err(|_| Refusal::Unreadable(format!("`{of}` is not a type")))?;
    Ok(CrmItem { entity_type_id, id: parsed_id(id)? })
}

fn change_item(world: &Arc<World>, request: &Request, of: &str, id: &str) -> Result<Value, Refusal> {
    let (item, asked) = (item_of(of, id)?, body::<ChangeBody>(request)?);
    if asked.quiet {
        for (name, value) in pairs(&asked.fields) {
            world.change_item_quietly(item, name, value)?;
        }
    } else {
        world.change_items(&[item], &pairs(&asked.fields))?;
    }
    Ok(done())
}

fn item_file(world: &World, request: &Request, of: &str, id: &str) -> Result<Value, Refusal> {
    let (item, head) = (item_of(of, id)?, &request.head);
    let (Some(field), Some(name)) = (head.query_value("field"), head.query_value("name")) else {
        return Err(Refusal::Unreadable("the query needs `field` and `name`".into()));
    };
    let bytes = request.body.clone();
    let id = match head.query_value("several").as_deref() {
        Some("1") => world.add_item_file(item, &field, &name, bytes)?,
        _ => world.put_item_file(item, &field, &name, bytes)?,
    };
    Ok(json!({"id": id}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GeneratedBody {
    entity_type_id: u32,
    id: u64,
    template_id: u64,
    title: String,
    plan: PdfPlan,
    #[serde(default)]
    quiet: bool,
}

fn generate(world: &Arc<World>, request: &Request) -> Result<Value, Refusal> {
    let asked: GeneratedBody = body(request)?;
    let item = CrmItem { entity_type_id: asked.entity_type_id, id: asked.id };
    let pdf = format!("%PDF-1.4\n% {}\n%%EOF\n", asked.title);
    let (template, title, plan) = (asked.template_id, asked.title.as_str(), asked.plan);
    let id = if asked.quiet {
        world.generate_document_quietly(item, template, title, pdf, plan)?
    } else {
        world.generate_document(item, template, title, pdf, plan)?
    };
    Ok(json!({"id": id}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RobotBody {
    client_id: String,
    robot: RobotSpec,
}

fn run_robot(world: &Arc<World>, request: &Request) -> Result<Value, Refusal> {
    let RobotBody { client_id, robot } = body(request)?;
    Ok(json!(world.run_robot(&client_id, &robot)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateBody {
    id: u64,
    client_id: String,
    code: String,
    #[serde(default)]
    properties: Value,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum PushBody {
    Message { client_id: String, command: String, params: Value },
    Control { control: PushControl },
    Settings { version: PushVersion, hold_ms: u64 },
}

fn push(world: &World, asked: PushBody) -> Value {
    match asked {
        PushBody::Message { client_id, command, params } => world.push_message(&client_id, &command, params),
        PushBody::Control { control } => world.push_control(control),
        PushBody::Settings { version, hold_ms } => world.set_push(version, Duration::from_millis(hold_ms)),
    }
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PortalBody {
    traits: Option<PortalTraits>,
    overload: Option<Overload>,
    limits: Option<LimitsBody>,
    webhook_until_ms: Option<i64>,
    lose_events: Option<u32>,
    token_lives: Option<LivesBody>,
    pdf_plan: Option<PdfPlan>,
}

/// Limits that are not named are switched off.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsBody {
    per_second: Option<f64>,
    burst: Option<f64>,
    operating_limit_ms: Option<u64>,
    operating_call_ms: Option<u64>,
    counters: Option<Counters>,
}

impl LimitsBody {
    fn limits(&self) -> Limits {
        let standard = Limits::default();
        let rate = self.per_second.zip(self.burst);
        Limits {
            bucket_rate: rate.map(|(per_second, burst)| BucketRate { per_second, burst }),
            operating_limit_ms: self.operating_limit_ms,
            operating_call_ms: self.operating_call_ms.unwrap_or(standard.operating_call_ms),
            counters: self.counters.unwrap_or(standard.counters),
            ..standard
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LivesBody {
    access_s: u64,
    refresh_s: u64,
    code_s: u64,
}

fn portal(world: &World, asked: PortalBody) -> Value {
    if let Some(traits) = asked.traits {
        world.set_traits(traits);
    }
    if let Some(overload) = asked.overload {
        world.set_overload(overload);
    }
    if let Some(limits) = &asked.limits {
        world.set_limits(limits.limits());
    }
    if let Some(until_ms) = asked.webhook_until_ms {
        world.set_webhook_expiry(Some(until_ms));
    }
    if let Some(deliveries) = asked.lose_events {
        world.lose_events(deliveries);
    }
    if let Some(lives) = asked.token_lives {
        let [access, refresh, code] =
            [lives.access_s, lives.refresh_s, lives.code_s].map(Duration::from_secs);
        world.set_token_lives(TokenLives { access, refresh, code });
    }
    if let Some(plan) = asked.pdf_plan {
        world.set_pdf_plan(plan);
    }
    done()
}
