//! What a portal can do, and portals in closed networks: old boxes, own token validators, own certificate authorities,
//! lists of senders, no inbound address at all.

mod support;

use edobridge::sandbox::{Fault, FaultKind, FieldKind, PortalKind, PortalTraits};
use serde_json::Value;
use std::process::{Command, Stdio};
use support::{DEAL, InProcess, Setting, Stage, pdf, request, wait_for};

/// Rewrites the configuration of a stage: each pair is looked for, which must be there, and replaced.
fn rewrite(stage: &Stage, pairs: &[(&str, &str)]) {
    let mut text = std::fs::read_to_string(&stage.config_path).expect("the configuration was written");
    for (from, to) in pairs {
        assert!(text.contains(from), "the stage's configuration has {from}");
        text = text.replacen(from, to, 1);
    }
    std::fs::write(&stage.config_path, text).expect("the configuration is written again");
}

const LOOKS: (&str, &str) = ("capability_check_interval = \"0s\"\n", "capability_check_interval = \"1h\"\n");

/// The admin API's word about the portal `main`.
fn portal(stage: &Stage) -> Value {
    let token = &stage.secrets().operator;
    let text = format!(
        "GET /admin/v1/portals HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n",
        stage.operator
    );
    let (status, body) = request(stage.operator, &text).expect("the operator's listener answers");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).expect("JSON")["items"][0].clone()
}

/// Features that do not work as they should: name and state.
fn features(stage: &Stage) -> Vec<(String, String)> {
    let portal = portal(stage);
    let list = portal["capability"]["features"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list.iter().map(|one| (text(&one["feature"]), text(&one["state"]))).collect()
}

fn is_known(stage: &Stage) -> bool {
    portal(stage)["capability"]["checked_at"].is_string()
}

fn count(stage: &Stage, call: &str) -> u64 {
    stage.world.calls().get(call).copied().unwrap_or(0) as u64
}

/// A deal whose file field gets the signed file, and a rule that moves it.
const ALL_WISHES: &str =
    "into_field = \"UF_CRM_SIGNED\"\nstage_on_signed = \"C1:WON\"\nstages_from = [\"C1:NEW\"]\n";

fn stage_with_wishes() -> Stage {
    let stage = Stage::new(&Setting { more: ALL_WISHES.to_owned(), ..Setting::default() });
    stage.world.set_stages("DEAL_STAGE_1", &["C1:NEW", "C1:SIGN", "C1:WON"]);
    stage.world.put_item(
        DEAL,
        &[
            ("stageId", "C1:NEW".into()),
            ("categoryId", 1.into()),
            ("assignedById", stage.user.into()),
            ("title", "Сделка".into()),
        ],
    );
    stage.world.declare_field(DEAL.entity_type_id, "ufCrmSigned", FieldKind::Files);
    stage.world.add_item_file(DEAL, "ufCrmSigned", "старый.pdf", pdf(9, 400)).expect("the deal is there");
    stage
}

fn delivered(stage: &Stage, name: &str) {
    wait_for("the signed copy", || stage.signed_copies().iter().any(|file| file.name == name));
    wait_for("the stage", || stage.world.item_stage(DEAL).as_deref() == Some("C1:WON"));
}

#[test]
fn an_old_box_is_never_asked_for_what_it_said_it_does_not_have() {
    let stage = stage_with_wishes();
    rewrite(&stage, &[LOOKS]);
    stage.world.set_traits(PortalTraits::old_box());
    let app = InProcess::start(&stage);
    wait_for("the portal is asked", || is_known(&stage));
    stage.drop_file("акт.pdf", pdf(1, 900));
    delivered(&stage, "акт_signed.pdf");
    wait_for("the notice", || !stage.world.notices(stage.user).is_empty());
    assert_eq!(
        count(&stage, "crm.item.get") + count(&stage, "crm.item.update") + count(&stage, "crm.item.fields"),
        0
    );
    assert_eq!(count(&stage, "im.notify.system.add"), 0, "{:?}", stage.world.calls());
    assert!(count(&stage, "im.notify") >= 1 && count(&stage, "crm.deal.get") >= 1);
    let expected = [("items", "otherwise"), ("notices", "otherwise")];
    let known = features(&stage);
    for (feature, state) in expected {
        assert!(known.contains(&(feature.to_owned(), state.to_owned())), "{known:?}");
    }
    let text = app.engine.metrics().encode();
    assert!(text.contains("edobridge_portal_features_otherwise{portal=\"main\"} 2"), "{text}");
    app.stop();
}

#[test]
fn a_restart_knows_the_portal_without_asking_it() {
    let stage = stage_with_wishes();
    rewrite(&stage, &[LOOKS]);
    stage.world.set_traits(PortalTraits::old_box());
    let app = InProcess::start(&stage);
    wait_for("the portal is asked", || is_known(&stage));
    app.stop();
    let asked = (count(&stage, "method.get"), count(&stage, "methods"));
    // From now on it does not tell any more.
    for call in ["method.get", "methods", "scope", "feature.get"] {
        stage
            .world
            .add_fault(Fault::always(call, FaultKind::status(500, "INTERNAL_SERVER_ERROR")))
            .expect("set");
    }
    let app = InProcess::start(&stage);
    assert!(
        features(&stage).iter().any(|(feature, _)| feature == "items"),
        "known before anything was asked"
    );
    stage.drop_file("акт.pdf", pdf(2, 900));
    delivered(&stage, "акт_signed.pdf");
    assert_eq!(count(&stage, "crm.item.get"), 0);
    assert_eq!((count(&stage, "method.get"), count(&stage, "methods")), asked, "the answer is of today");
    app.stop();
}

#[test]
fn a_map_that_cannot_be_read_changes_nothing() {
    let kinds = || {
        [
            FaultKind::status(500, "INTERNAL_SERVER_ERROR"),
            FaultKind::status(403, "ACCESS_DENIED"),
            FaultKind::status(404, "ERROR_METHOD_NOT_FOUND"),
            FaultKind::CutAfter,
        ]
    };
    for kind in kinds() {
        let stage = stage_with_wishes();
        rewrite(&stage, &[LOOKS]);
        for call in ["method.get", "methods", "scope", "feature.get"] {
            stage.world.add_fault(Fault::always(call, kind.clone())).expect("set");
        }
        let app = InProcess::start(&stage);
        wait_for("the portal was asked in vain", || count(&stage, "method.get") > 0);
        stage.drop_file("акт.pdf", pdf(3, 900));
        delivered(&stage, "акт_signed.pdf");
        assert!(count(&stage, "crm.item.get") > 0, "what is unknown is tried");
        assert!(features(&stage).is_empty());
        app.stop();
    }
}

#[test]
fn a_box_without_timelines_and_notices_still_delivers_and_says_what_is_off() {
    let stage = stage_with_wishes();
    rewrite(&stage, &[LOOKS]);
    let missing = ["crm.timeline.*", "im.notify*"].map(str::to_owned).into();
    stage.world.set_traits(PortalTraits { missing, kind: PortalKind::Box, ..PortalTraits::cloud() });
    let app = InProcess::start(&stage);
    wait_for("the portal is asked", || is_known(&stage));
    stage.drop_file("акт.pdf", pdf(4, 900));
    delivered(&stage, "акт_signed.pdf");
    let off = features(&stage);
    assert_eq!(off, [("timeline".to_owned(), "off".to_owned()), ("notices".to_owned(), "off".to_owned())]);
    assert_eq!(count(&stage, "crm.timeline.comment.add") + count(&stage, "im.notify"), 0);
    let text = portal(&stage)["capability"]["features"][0]["text"]["ru"].clone();
    assert!(text.as_str().is_some_and(|text| text.contains("crm.timeline.comment.add")), "{text}");
    let parked =
        app.ask(
            |engine| async move { engine.store().counts().await.of(edobridge::saga::document::Step::Parked) },
        );
    assert_eq!(parked, 0);
    app.stop();
}

#[test]
fn doctor_says_what_an_old_box_cannot_do() {
    let stage = stage_with_wishes();
    stage.world.set_traits(PortalTraits::old_box());
    let output = Command::new(env!("CARGO_BIN_EXE_edobridge"))
        .args(["doctor", "--json", "--config"])
        .arg(&stage.config_path)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("crm.item.get") && text.contains("старыми методами"), "{text}");
    assert!(text.contains("crm.timeline") || !text.contains("Комментарии в таймлайн не пишутся"), "{text}");
}
