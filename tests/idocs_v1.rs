//! Documents through iDocs' older interface V1, end to end over real sockets: our director signs the file itself, one call
//! sends file and signature, and the document's id comes later.
//!
//! Nothing at iDocs finds a document whose answer was lost, so that a person looks there and decides; every sending but the
//! first one of a document must be such a decision. What the world holds in the end is the judge.

mod support;
mod wire;

#[path = "idocs_v1/crash.rs"]
mod crash;
#[path = "idocs_v1/faults.rs"]
mod faults;
#[path = "idocs_v1/people.rs"]
mod people;
#[path = "idocs/play.rs"]
mod play;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edobridge::saga::document::{OperatorAction, Step};
use edobridge::sandbox::idocs::{
    FileOfV1, IDocsOptions, Presence, ProcessFate, RepeatedNumber, StatusForm, TooEarly, V1Options,
};
use edobridge::sandbox::signer::ScriptedSigner;
use edobridge::sandbox::{Fault, FaultKind, Reach};
use people::{Old, V1, options};
use serde_json::json;
use support::kazakhstan::OUR_BIN;
use support::{DEAL, pdf, wait_for};

#[test]
fn file_and_signature_go_over_in_one_call_and_both_files_come_back() {
    let mut old = Old::new(options(), "", &[]);
    let file = pdf(1, 5_000);
    old.put(&file);
    let saga = old.play.waiting();
    let link = old.play.link().expect("a link");
    let page = old.play.get(&link);
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(page.body.contains("contract.pdf") && page.body.contains("987654321098"), "{}", page.body);
    let digest = saga.file.as_ref().expect("fetched").bytes.digest;
    assert_eq!(saga.own.as_ref().and_then(|own| own.unit.as_ref()).map(|u| u.content.digest), Some(digest));
    assert_eq!(old.play.get(&format!("{link}/content/{}", saga.id)).status, 200);
    // Somebody else's key, and a signature over something else: nothing goes over.
    let stranger = ScriptedSigner::new("999999999999", OUR_BIN).sign_attached(&file);
    for cms in [stranger, old.play.signer.sign_attached(b"another file"), b"0\x82nonsense".to_vec()] {
        let documents = json!([{"document": saga.id.to_string(), "unit": 1, "cms": STANDARD.encode(cms)}]);
        let heard = old.play.post(&link, &json!({"documents": documents}));
        assert!(!heard.body.contains("\"accepted\":true"), "{}", heard.body);
    }
    assert!(old.play.documents().is_empty() && old.calls("idocs.v1.send") == 0);
    old.run_to_the_end();
    assert_eq!(old.judge(), Ok(()));
    assert_eq!((old.calls("idocs.v1.send"), old.letters.len()), (1, 0));
    let document = &old.play.documents()[0];
    assert_eq!(document.signature.as_ref().map(|s| s.content_sha256), Some(digest), "the file itself");
    assert_eq!(document.nodes[0].bin, "987654321098");
    assert!(old.history(&saga).contains(&"sent_whole".to_owned()));
    // What V3 has was never asked.
    let others = ["idocs.create", "idocs.blob.document", "idocs.content", "idocs.save", "idocs.list"];
    assert!(others.iter().all(|call| old.calls(call) == 0));
    // The control: the judge sees a second copy.
    old.play.put("contract_signed (1).pdf", pdf(9, 2_000));
    assert!(old.judge().is_err_and(|problem| problem.contains("(1).pdf")));
}

#[test]
fn a_detached_signature_and_statuses_by_number_do_as_well() {
    let options = IDocsOptions {
        statuses: StatusForm::Number,
        signature: edobridge::sandbox::idocs::SignatureCheck::Detached,
        v1: V1Options { too_early: TooEarly::NoDocument, position: Some(1), ..options().v1 },
        ..options()
    };
    let mut old = Old::new(options, "v1.position = 1\ncms.encapsulate = false", &[]);
    old.put(&pdf(2, 3_000));
    old.run_to_the_end();
    assert_eq!(old.judge(), Ok(()));
    assert_eq!(old.letters, [] as [String; 0]);
}

#[test]
fn a_lost_answer_asks_a_person_who_binds_what_is_there() {
    let mut old = Old::new(options(), "", &[Fault::nth("idocs.v1.send", 1, FaultKind::CutAfter)]);
    old.put(&pdf(3, 3_000));
    old.sign_when_asked();
    let saga = old.stopped_at("create_unknown");
    assert_eq!((old.play.documents().len(), old.calls("idocs.v1.send")), (1, 1));
    let dead = saga.dead_letter.clone().expect("a dead letter");
    let number = &old.play.documents()[0].number;
    assert!(dead.next_action.ru.contains(number.as_str()), "{}", dead.next_action.ru);
    assert!(
        old.orders(&saga, OperatorAction::Retry(Default::default())).is_err(),
        "nothing can be looked for"
    );
    let id = old.play.documents()[0].id.clone();
    old.orders(&saga, OperatorAction::Bind { document_id: id }).expect("it is bound");
    old.run_to_the_end();
    assert_eq!(old.judge(), Ok(()));
    assert_eq!(old.calls("idocs.v1.send"), 1);
}

#[test]
fn sending_again_is_a_persons_decision_and_every_further_document_is_one() {
    // Nothing arrived: the person does not find it, and sends it again with the same signature.
    let mut old = Old::new(options(), "", &[Fault::nth("idocs.v1.send", 1, FaultKind::CutBefore)]);
    old.put(&pdf(4, 3_000));
    old.sign_when_asked();
    let saga = old.stopped_at("create_unknown");
    assert!(old.play.documents().is_empty());
    old.orders(&saga, OperatorAction::SendAgain).expect("it is sent again");
    old.run_to_the_end();
    assert_eq!(old.judge(), Ok(()));
    assert_eq!(old.decisions(&saga), 1);
    assert_eq!(old.play.links(), 1, "the director signed once");
    // The control: it had arrived, the person did not look, and the service takes a number twice.
    let mut old = Old::new(options(), "", &[Fault::nth("idocs.v1.send", 1, FaultKind::CutAfter)]);
    old.put(&pdf(5, 3_000));
    old.sign_when_asked();
    let saga = old.stopped_at("create_unknown");
    old.orders(&saga, OperatorAction::SendAgain).expect("it is sent again");
    wait_for("the second document", || old.play.documents().len() == 2);
    assert_eq!(old.decisions(&saga), 1, "and not one document more than a person decided");
    assert!(old.judge().is_err_and(|problem| problem.contains("not one document")));
}

#[test]
fn that_the_service_has_seen_the_number_proves_nothing() {
    let v1 = V1Options { same_number: RepeatedNumber::ErrorPage, ..options().v1 };
    let lost = Fault::nth("idocs.v1.send", 1, FaultKind::CutAfter);
    let mut old = Old::new(IDocsOptions { v1, ..options() }, "", &[lost]);
    old.put(&pdf(6, 3_000));
    old.sign_when_asked();
    let saga = old.stopped_at("create_unknown");
    old.orders(&saga, OperatorAction::SendAgain).expect("it is sent again");
    // The page with 500 is an unknown outcome as any other.
    wait_for("the second sending", || old.calls("idocs.v1.send") == 2);
    let saga = old.stopped_at("create_unknown");
    assert_eq!(old.play.documents().len(), 1);
    let id = old.play.documents()[0].id.clone();
    old.orders(&saga, OperatorAction::Bind { document_id: id }).expect("it is bound");
    old.run_to_the_end();
    assert_eq!(old.judge(), Ok(()));
}

#[test]
fn what_never_left_is_sent_by_itself_once_the_service_is_there() {
    let mut old = Old::new(options(), "", &[]);
    old.put(&pdf(7, 3_000));
    old.play.waiting();
    old.reach(Reach::Down);
    old.sign_when_asked();
    wait_for("it is refused at the door", || {
        old.play.sagas().iter().any(|saga| saga.step == Step::SendSigned && saga.tries > 0)
    });
    old.reach(Reach::Up);
    old.run_to_the_end();
    assert_eq!(old.judge(), Ok(()));
    assert_eq!((old.calls("idocs.v1.send"), old.letters.len()), (1, 0));
}

#[test]
fn a_slow_process_is_waited_for_and_one_that_never_ends_is_a_persons_matter() {
    let never = V1Options { process: ProcessFate::NeverEnds, ..options().v1 };
    let mut old = Old::new(IDocsOptions { v1: never.clone(), ..options() }, "", &[]);
    old.put(&pdf(8, 3_000));
    old.sign_when_asked();
    wait_for("it is asked again and again", || old.calls("idocs.v1.process") > 3);
    old.play.stage.world.idocs_end_processes();
    old.run_to_the_end();
    assert_eq!(old.judge(), Ok(()));
    assert_eq!(old.letters, [] as [String; 0]);

    let short = "v1.process_deadline = \"1s\"";
    let mut old = Old::new(IDocsOptions { v1: never, ..options() }, short, &[]);
    old.put(&pdf(8, 3_000));
    old.sign_when_asked();
    let saga = old.stopped_at("process_overdue");
    let asked = old.calls("idocs.v1.process");
    old.orders(&saga, OperatorAction::Retry(Default::default())).expect("it is asked once more");
    wait_for("it is asked", || old.calls("idocs.v1.process") > asked);
    let saga = old.stopped_at("process_overdue");
    let id = old.play.documents()[0].id.clone();
    old.orders(&saga, OperatorAction::Bind { document_id: id }).expect("it is bound");
    old.run_to_the_end();
    assert_eq!(old.judge(), Ok(()));
    assert_eq!(old.calls("idocs.v1.send"), 1);
}

#[test]
fn a_process_that_says_that_it_failed_is_told_where_the_configuration_knows_how() {
    let fails = V1Options { process: ProcessFate::Fails, ..options().v1 };
    let mut old = Old::new(IDocsOptions { v1: fails, ..options() }, "v1.failed = \"/Fault\"", &[]);
    old.put(&pdf(1, 3_000));
    old.sign_when_asked();
    let saga = old.stopped_at("process_failed");
    old.play.stage.world.set_idocs(options());
    old.orders(&saga, OperatorAction::SendAgain).expect("it is sent again");
    old.run_to_the_end();
    assert_eq!(old.judge(), Ok(()));
    assert_eq!(old.decisions(&saga), 1);
}

#[test]
fn a_refusal_comes_back_and_says_that_its_reason_is_in_the_cabinet() {
    let mut old = Old::new(options(), "", &[]);
    old.put(&pdf(2, 3_000));
    old.sign_when_asked();
    wait_for("it waits for the counterparty", || {
        old.play.sagas().iter().any(|saga| saga.step == Step::AwaitSignature)
    });
    let id = old.play.documents()[0].id.clone();
    old.play.stage.world.idocs_refuse(&id, "не та цена").expect("the counterparty refuses");
    wait_for("the refusal is told", || old.play.sagas().iter().any(|saga| saga.step == Step::Refused));
    let comments = old.play.stage.world.comments(DEAL);
    let last = comments.iter().find(|c| c.text.contains("edobridge:")).expect("the last comment");
    assert!(last.text.contains("V1") && !last.text.contains("не та цена"), "{}", last.text);
    assert_eq!(old.play.files(), ["contract.pdf"]);
}

#[test]
fn what_one_of_the_two_files_lacks_the_other_brings_and_an_unsigned_one_is_not_delivered() {
    let no_print_form = IDocsOptions { print_form: Presence::Missing, ..options() };
    let only_original =
        IDocsOptions { v1: V1Options { file: FileOfV1::Original, ..options().v1 }, ..options() };
    for (options, more, files) in [
        (no_print_form, "", ["contract.pdf", "contract_signed.zip"]),
        (only_original, "", ["contract.pdf", "contract_signed.pdf"]),
        (options(), "v1.print_form = false\nv1.file_end = \"p7s\"", ["contract.pdf", "contract_signed.p7s"]),
    ] {
        let mut old = Old::new(options, more, &[]);
        old.put(&pdf(3, 3_000));
        old.run_to_the_end();
        assert_eq!(old.play.files(), files);
        assert_eq!(old.letters, [] as [String; 0]);
    }
}

#[test]
fn doctor_and_the_start_say_what_the_older_interface_costs() {
    let old = Old::stopped(options(), "");
    for verb in [&["config", "check"][..], &["doctor"][..]] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_edobridge"))
            .args(["--config".as_ref(), old.play.stage.config_path.as_os_str()])
            .args(verb)
            .env("LANG", "C")
            .output()
            .expect("the binary runs");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("V1"), "{verb:?}: {said}");
    }
    assert_eq!(V1.lines().next(), Some("api_version = \"v1\""));
}
