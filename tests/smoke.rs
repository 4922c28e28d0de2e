//! The thin end-to-end path: one file from the folder to its signed copy.

mod support;

use support::{DEAL, InProcess, Setting, Stage, pdf, wait_for};

#[test]
fn a_file_comes_back_signed_and_people_are_told() {
    let stage = Stage::new(&Setting::default());
    let service = InProcess::start(&stage);
    stage.drop_file("contract.pdf", pdf(1, 2_000));
    wait_for("the signed copy and the notice", || {
        stage.signed_copies().len() == 1 && stage.world.notices(stage.user).len() == 1
    });
    let documents = stage.world.documents();
    assert_eq!(documents.len(), 1, "{documents:#?}");
    let copy = &stage.signed_copies()[0];
    assert_eq!(copy.name, "contract_signed.pdf");
    let signed = stage.world.signed_bytes(&documents[0].id).expect("it is signed");
    assert_eq!(stage.world.file_bytes(copy.id).expect("it is there").as_ref(), signed);
    assert_eq!(stage.world.comments(DEAL).len(), 1);
    service.stop();
}
