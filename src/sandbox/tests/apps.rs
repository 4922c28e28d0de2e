//! Applications: the authorisation server, installations, REST by token, bindings, events of applications.

use super::*;
use serde_json::json;

/// A registered and installed application without pages, whose handlers are at `receiver`.
pub(super) struct Played {
    pub(super) stage: Stage,
    pub(super) receiver: Receiver,
    pub(super) spec: AppSpec,
    pub(super) installed: Installed,
}

impl Played {
    pub(super) async fn set(interface: Interface) -> Self {
        let (stage, receiver) = (Stage::plain().await, Receiver::start(0).await);
        let base: Url = receiver.url.parse().expect("a URL");
        let spec = AppSpec { interface, ..AppSpec::local(&base) };
        stage.world.register_app(spec.clone());
        let installed = stage.world.install_app(&spec.client_id).expect("it is registered");
        Self { stage, receiver, spec, installed }
    }
    /// Calls a method by token.
    pub(super) async fn call(&self, token: &str, method: &str, mut params: Value) -> (u16, Value) {
        let url = self.stage.sandbox.bitrix_url().join(&format!("rest/{method}.json")).expect("a path");
        params["auth"] = token.into();
        answer_of(self.stage.http.post(url).json(&params)).await
    }
    pub(super) async fn result(&self, method: &str, params: Value) -> Value {
        let token = self.installed.access_token.expose();
        let (status, body) = self.call(token, method, params).await;
        assert_eq!(status, 200, "{method}: {body}");
        body["result"].clone()
    }
    async fn error(&self, token: &str, method: &str) -> (u16, String) {
        let (status, body) = self.call(token, method, json!({})).await;
        (status, body["error"].as_str().unwrap_or("no error").to_owned())
    }
    /// Asks the authorisation server for tokens, by a form.
    async fn token(&self, fields: &[(&str, &str)]) -> (u16, Value) {
        let url = self.stage.sandbox.oauth_url().join("oauth/token/").expect("a path");
        answer_of(self.stage.http.post(url).form(fields)).await
    }
    async fn refreshed(&self, refresh_token: &str) -> (u16, Value) {
        let (id, secret) = (self.spec.client_id.as_str(), self.spec.client_secret.expose());
        let grant = ("grant_type", "refresh_token");
        self.token(&[grant, ("client_id", id), ("client_secret", secret), ("refresh_token", refresh_token)])
            .await
    }
    pub(super) fn bodies(&self) -> Vec<String> {
        let decoded = |r: Received| {
            let pairs = form_urlencoded::parse(&r.body).map(|(k, v)| format!("{k}={v}"));
            pairs.collect::<Vec<_>>().join("&")
        };
        self.receiver.all().into_iter().map(decoded).collect()
    }
}

#[actix_web::test]
async fn an_expired_token_is_refused_and_a_refresh_rotates_the_pair() {
    let played = Played::set(Interface::ApiOnly).await;
    let old = played.installed.clone();
    assert_eq!(played.result("scope", json!({})).await[0], "crm");
    played.stage.world.expire_tokens();
    assert_eq!(played.error(old.access_token.expose(), "scope").await, (401, "expired_token".into()));
    let (status, new) = played.refreshed(old.refresh_token.expose()).await;
    assert_eq!((status, &new["expires_in"], &new["user_id"]), (200, &json!(3600), &json!(1)), "{new}");
    assert_eq!(new["domain"], played.stage.sandbox.oauth_url().authority());
    assert_eq!(new["member_id"], MEMBER_ID);
    let fresh = new["access_token"].as_str().expect("a token");
    assert_eq!(played.call(fresh, "profile", json!({})).await.0, 200);
    let (status, again) = played.refreshed(old.refresh_token.expose()).await;
    assert_eq!((status, &again["error"]), (400, &json!("invalid_grant")));
    assert_eq!(played.stage.world.refreshes(), 1);
    assert_eq!(played.stage.world.token_uses()[old.access_token.expose()], 2);
    assert_eq!(played.error("nonsense", "scope").await, (401, "invalid_token".into()));
    assert_eq!(played.error("", "scope").await, (401, "NO_AUTH_FOUND".into()));
}

#[actix_web::test]
async fn the_authorisation_server_says_no_as_the_live_one_does() {
    let played = Played::set(Interface::ApiOnly).await;
    let (id, secret) = (played.spec.client_id.clone(), played.spec.client_secret.expose().to_owned());
    let grant = ("grant_type", "refresh_token");
    let said = async |fields: &[(&str, &str)]| {
        let (status, body) = played.token(fields).await;
        (status, body["error"].as_str().unwrap_or("").to_owned())
    };
    let unknown = [grant, ("client_id", "nobody"), ("client_secret", &secret), ("refresh_token", "x")];
    assert_eq!(said(&unknown).await, (200, "wrong_client".into()));
    let wrong = [grant, ("client_id", &id), ("client_secret", "wrong"), ("refresh_token", "x")];
    assert_eq!(said(&wrong).await, (400, "invalid_client".into()));
    let empty = [grant, ("client_id", &id), ("client_secret", &secret), ("refresh_token", "")];
    assert_eq!(said(&empty).await, (400, "invalid_request".into()));
    let world = &played.stage.world;
    world.set_payment(&id, Payment::Ended).expect("installed");
    let token = played.installed.access_token.expose();
    assert_eq!(played.error(token, "scope").await, (401, "PAYMENT_REQUIRED".into()));
    world.set_payment(&id, Payment::Current).expect("installed");
    world.uninstall_app(&id, Clean::Everything).expect("installed");
    assert_eq!(played.refreshed("x").await.1["error"], "NOT_INSTALLED");
    assert_eq!(played.error(token, "scope").await, (401, "APPLICATION_NOT_FOUND".into()));
    until("install, payment twice, uninstall", || played.receiver.count() == 4).await;
    let bodies = played.bodies();
    let gone = bodies.iter().find(|b| b.starts_with("event=ONAPPUNINSTALL")).expect("it was sent");
    let token = played.installed.application_token.expose();
    assert!(
        gone.contains("data[CLEAN]=1") && gone.ends_with(token) && !gone.contains("access_token"),
        "{gone}"
    );
    let paid = bodies.iter().find(|b| b.starts_with("event=ONAPPPAYMENT")).expect("it was sent");
    assert!(!paid.contains("_token"), "{paid}");
}

#[actix_web::test]
async fn a_code_from_the_portal_becomes_tokens_that_app_info_vouches_for() {
    let played = Played::set(Interface::Pages).await;
    let url = played.stage.world.authorize_url(&played.spec.client_id, "s-1");
    let answer = played.stage.http.get(url).send().await.expect("an answer");
    assert_eq!(answer.status(), 302);
    let back: Url = answer.headers()["location"].to_str().expect("ASCII").parse().expect("a URL");
    let pairs: std::collections::BTreeMap<_, _> = back.query_pairs().into_owned().collect();
    assert_eq!((pairs["state"].as_str(), pairs["member_id"].as_str()), ("s-1", MEMBER_ID));
    assert_eq!(pairs["server_domain"], played.stage.sandbox.oauth_url().authority());
    let mut url = played.stage.sandbox.oauth_url().join("oauth/token/").expect("a path");
    url.query_pairs_mut()
        .append_pair("grant_type", "authorization_code")
        .append_pair("client_id", &played.spec.client_id)
        .append_pair("client_secret", played.spec.client_secret.expose())
        .append_pair("code", &pairs["code"]);
    let (status, body) = answer_of(played.stage.http.get(url.clone())).await;
    assert_eq!((status, body.get("user_id")), (200, None), "{body}");
    assert_eq!(answer_of(played.stage.http.get(url)).await.1["error"], "invalid_grant");
    let mut check = played.stage.sandbox.oauth_url().join("rest/app.info").expect("a path");
    check.query_pairs_mut().append_pair("auth", body["access_token"].as_str().expect("a token"));
    let (status, info) = answer_of(played.stage.http.get(check.clone())).await;
    assert_eq!((status, &info["result"]["install"]["installed"]), (200, &json!(false)), "{info}");
    assert_eq!(info["result"]["client_id"], played.spec.client_id);
    assert_eq!(info["result"]["install"]["domain"], played.stage.sandbox.bitrix_url().authority());
    check.set_query(Some("auth=dead"));
    assert_eq!(answer_of(played.stage.http.get(check)).await.1["error"], "invalid_client");
}

#[actix_web::test]
async fn an_application_with_pages_gets_events_only_after_it_has_finished() {
    let played = Played::set(Interface::Pages).await;
    let handler = format!("{}/hook", played.receiver.url);
    let bind = json!({"event": "OnCrmDealUpdate", "handler": handler});
    assert_eq!(played.result("event.bind", bind.clone()).await, json!(true));
    let token = played.installed.access_token.expose();
    let (status, again) = played.call(token, "event.bind", bind).await;
    assert_eq!(status, 400);
    assert!(again["error_description"].as_str().expect("words").starts_with("Unable to set event handler"));
    assert_eq!(played.result("app.info", json!({})).await["INSTALLED"], false);
    assert!(played.bodies().is_empty(), "an application with pages gets no ONAPPINSTALL");
    let frame = played.stage.world.open_frame(&played.spec.client_id, &FrameSpec::main_page()).await;
    assert_eq!(frame.expect("installed").status, 200);
    let body = played.bodies().remove(0);
    assert!(
        body.starts_with("AUTH_ID=") && body.contains("&PLACEMENT=DEFAULT&PLACEMENT_OPTIONS={"),
        "{body}"
    );
    let data = json!({"FIELDS": {"ID": 7}});
    played.stage.world.fire(EventSpec::new("ONCRMDEALUPDATE", data.clone()));
    played.stage.world.finish_install(&played.spec.client_id).expect("installed");
    assert_eq!(played.result("app.info", json!({})).await["INSTALLED"], true);
    played.stage.world.fire(EventSpec::new("ONCRMDEALUPDATE", data.clone()));
    until("the event", || played.receiver.count() >= 2).await;
    played.stage.world.fire(EventSpec::new("ONCRMDEALUPDATE", data).by_automation());
    until("the event of a robot", || played.receiver.count() >= 3).await;
    let bodies = played.bodies();
    assert!(
        bodies[1].contains("auth[access_token]=") && !bodies[1].contains("refresh_token"),
        "{}",
        bodies[1]
    );
    assert!(!bodies[2].contains("auth[access_token]=") && bodies[2].contains("&auth[application_token]="));
    assert_eq!(bodies.len(), 3, "the event before the end of the installation was not sent");
}

#[actix_web::test]
async fn bindings_vanish_at_an_update_and_a_lost_event_is_lost() {
    let played = Played::set(Interface::ApiOnly).await;
    until("ONAPPINSTALL", || played.receiver.count() == 1).await;
    let bound = json!({"event": "ONCRMDEALADD", "handler": played.receiver.url});
    played.result("event.bind", bound).await;
    let place =
        json!({"PLACEMENT": "CRM_DEAL_DETAIL_TAB", "HANDLER": played.receiver.url, "TITLE": "Подписание"});
    played.result("placement.bind", place).await;
    played.stage.world.lose_events(1);
    played.stage.world.fire(EventSpec::new("ONCRMDEALADD", json!({"FIELDS": {"ID": 1}})));
    until("the lost event", || !played.stage.world.ledger_of("event").is_empty()).await;
    played.stage.world.fire(EventSpec::new("ONCRMDEALADD", json!({"FIELDS": {"ID": 2}})));
    until("the next event", || played.receiver.count() == 2).await;
    assert!(played.bodies()[1].contains("data[FIELDS][ID]=2"));
    let view = played.stage.world.apps().remove(0);
    assert_eq!((view.events.len(), view.placements.len()), (1, 1));
    played.stage.world.update_app(&played.spec.client_id, NewToken::Fresh).expect("installed");
    until("ONAPPUPDATE", || played.receiver.count() == 3).await;
    let body = played.bodies().remove(2);
    assert!(body.contains("data[PREVIOUS_VERSION]=1") && body.contains("auth[refresh_token]="), "{body}");
    assert!(!body.contains(played.installed.application_token.expose()), "the token is another one");
    let view = played.stage.world.apps().remove(0);
    assert_eq!((view.events.len(), view.placements.len(), view.version), (0, 0, 2));
}

#[actix_web::test]
async fn a_guarded_method_waits_for_the_administrator_token_by_token() {
    let played = Played::set(Interface::ApiOnly).await;
    let token = played.installed.access_token.expose();
    played.stage.world.guard_method("user.get");
    assert_eq!(played.error(token, "user.get").await, (401, "METHOD_CONFIRM_WAITING".into()));
    played.stage.world.confirm_method("user.get", Confirmation::Granted).expect("somebody waits");
    assert_eq!(played.call(token, "user.get", json!({})).await.0, 200);
    until("ONAPPMETHODCONFIRM", || played.receiver.count() == 2).await;
    assert!(played.bodies()[1].contains("data[CONFIRMED]=1"));
    let (other, _) = played.stage.world.grant_tokens(&played.spec.client_id, 1);
    assert_eq!(played.error(other.expose(), "user.get").await.1, "METHOD_CONFIRM_WAITING");
}

#[actix_web::test]
async fn a_dismissed_user_an_ordinary_one_and_an_old_box_are_told_apart() {
    let played = Played::set(Interface::ApiOnly).await;
    let world = &played.stage.world;
    let clerk = world.add_user("Пётр", "Рядовой");
    let (token, _) = world.grant_tokens(&played.spec.client_id, clerk);
    let (status, body) = played
        .call(token.expose(), "placement.bind", json!({"PLACEMENT": "LEFT_MENU", "HANDLER": "http://x/"}))
        .await;
    assert_eq!((status, &body["error"]), (403, &json!("ACCESS_DENIED")));
    world.dismiss_user(clerk);
    assert_eq!(played.error(token.expose(), "scope").await, (401, "authorization_error".into()));
    let shown = played.result("user.get", json!({"ID": clerk})).await;
    assert_eq!(shown[0]["ACTIVE"], false);
    world.set_traits(PortalTraits {
        validator: Some(("auth_provider".into(), "ad".into())),
        ..PortalTraits::old_box()
    });
    let token = played.installed.access_token.expose();
    assert_eq!(played.error(token, "scope").await, (401, "NO_AUTH_FOUND".into()));
    let with = json!({"auth_provider": "ad", "entityTypeId": 2, "id": 1});
    let (status, body) = played.call(token, "crm.item.get", with.clone()).await;
    assert_eq!((status, &body["error"]), (404, &json!("ERROR_METHOD_NOT_FOUND")));
    let names = played.result("methods", with).await;
    assert!(names.as_array().expect("a list").contains(&json!("crm.deal.get")));
}

#[actix_web::test]
async fn a_webhook_ends_on_its_day_and_does_not_reach_what_needs_an_application() {
    let stage = Stage::plain().await;
    assert_eq!(stage.error("event.bind", json!({})).await, (403, "WRONG_AUTH_TYPE".into()));
    stage.world.set_webhook_expiry(Some(world::now_ms() - 1));
    assert_eq!(stage.error("scope", json!({})).await, (401, "INVALID_CREDENTIALS".into()));
    stage.world.set_webhook_expiry(None);
    stage.result("scope", json!({})).await;
}

#[actix_web::test]
async fn a_lost_answer_of_a_refresh_has_rotated_the_pair_all_the_same() {
    let played = Played::set(Interface::ApiOnly).await;
    let old = played.installed.refresh_token.expose();
    played.stage.world.add_fault(Fault::first("oauth.token", 1, FaultKind::CutAfter)).expect("there is room");
    let url = played.stage.sandbox.oauth_url().join("oauth/token/").expect("a path");
    let (id, secret) = (played.spec.client_id.as_str(), played.spec.client_secret.expose());
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", id),
        ("client_secret", secret),
        ("refresh_token", old),
    ];
    assert!(played.stage.http.post(url).form(&form).send().await.is_err(), "the answer is lost");
    assert_eq!(played.stage.world.refreshes(), 1);
    assert_eq!(played.refreshed(old).await.1["error"], "invalid_grant");
    let token = played.installed.access_token.expose();
    assert_eq!(played.call(token, "scope", json!({})).await.0, 200, "the old access token works to its end");
    let lost = played.stage.world.ledger_of("oauth.token");
    assert!(lost[0].effect && lost[0].status.is_none() && lost[0].side == Side::OAuth);
    let said = serde_json::to_string(&played.stage.world.ledger()).expect("a ledger is JSON");
    assert!(
        !said.contains(old) && !said.contains(secret) && !said.contains(token),
        "no secret in the ledger"
    );
}

#[actix_web::test]
async fn a_renamed_portal_tells_tokens_its_new_address_and_a_box_needs_its_authorisation_server() {
    let played = Played::set(Interface::ApiOnly).await;
    let token = played.installed.access_token.expose();
    let old = played.stage.sandbox.bitrix_url();
    let new = played.stage.world.rename_portal();
    let url = old.join("rest/scope.json").expect("a path");
    let moved = played.stage.http.post(url).json(&json!({"auth": token})).send().await.expect("an answer");
    assert_eq!(moved.status(), 302);
    assert_eq!(moved.headers()["location"], new.join("rest/scope.json").expect("a path").as_str());
    assert_eq!(
        played.call(token, "scope", json!({})).await.0,
        200,
        "the same token works at the new address"
    );
    let (_, pair) = played.refreshed(played.installed.refresh_token.expose()).await;
    assert_eq!(pair["client_endpoint"], new.join("rest/").expect("a path").as_str());
    played.stage.world.set_traits(PortalTraits { kind: PortalKind::Box, ..PortalTraits::cloud() });
    played.stage.world.set_reach(Side::OAuth, Reach::Down).await;
    assert_eq!(played.error(token, "scope").await, (500, "ERROR_UNEXPECTED_ANSWER".into()));
    played.stage.world.set_reach(Side::OAuth, Reach::Up).await;
    assert_eq!(played.call(token, "scope", json!({})).await.0, 200);
}

#[actix_web::test]
async fn an_old_box_fills_its_frame_with_less() {
    let played = Played::set(Interface::Pages).await;
    let frame = |spec: &FrameSpec| played.stage.world.frame(&played.spec.client_id, spec).expect("installed");
    assert!(frame(&FrameSpec::main_page()).body.contains("&APPLICATION_TOKEN="));
    played.stage.world.set_traits(PortalTraits::old_box());
    let old = frame(&FrameSpec::main_page());
    for field in ["SERVER_ENDPOINT", "APPLICATION_TOKEN", "APPLICATION_SCOPE"] {
        assert!(!old.body.contains(field), "{}", old.body);
    }
    let query: Vec<String> = old.url.query_pairs().map(|(name, _)| name.into_owned()).collect();
    assert_eq!(query, ["DOMAIN", "PROTOCOL", "LANG", "APP_SID"]);
    let widget = FrameSpec::widget("CRM_DEAL_DETAIL_TAB", json!({"ID": "501"}));
    assert!(played.stage.world.frame(&played.spec.client_id, &widget).is_err(), "nothing is bound there");
}
