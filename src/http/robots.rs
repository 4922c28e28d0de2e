//! `POST /bitrix/robot/{code}`: robots of workflows (`api-reference/bizproc/bizproc-robot`).
//!
//! They come the way of events and are proven like them, by `auth[application_token]`; nothing is sent again, and a
//! workflow that waits hangs until it is answered. So an authentic request is answered with 200 as soon as, and only
//! if, it is on disk; the answer to the workflow follows later by a call of ours. Credentials are blanked before the
//! body is stored; the event token is kept, since it is what the answer must carry.

use super::bitrix24::{Door, Refused, blanked};
use super::error::{ApiError, Code};
use super::source;
use crate::domain::PortalId;
use crate::providers::bitrix24::events::without_credentials;
use crate::providers::bitrix24::robots::RobotRequest;
use crate::store::{NewNotice, NoticeKind};
use crate::telemetry::metrics::NoticeSource;
use actix_web::web::{Bytes, Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use std::net::IpAddr;
use std::time::Instant;

const DOOR: NoticeSource = NoticeSource::Bitrix24;

/// What is stored of a request.
struct Taken {
    portal: PortalId,
    content_type: String,
    body: Bytes,
}

/// The handler.
///
/// # Errors
/// As [`super::bitrix24::webhook`]; 400 also for a code in the path that is not the one in the body.
pub async fn robot(
    request: HttpRequest,
    payload: Payload,
    code: Path<String>,
    door: Data<Door>,
) -> Result<HttpResponse, ApiError> {
    let since = Instant::now();
    let source = source::of(&request, door.trusted_proxies());
    match take(&door, &request, payload, &code, source).await {
        Ok(Taken { portal, content_type, body }) => {
            let notice = NewNotice {
                kind: NoticeKind::Robot,
                portal: Some(portal),
                received_at: door.reception().now(),
                content_type,
                body,
            };
            door.reception().store(DOOR, notice, since).await?;
        }
        Err(refused) => return Err(door.refuse(refused, source)),
    }
    Ok(HttpResponse::Ok().content_type("application/json").body(r#"{"ok":true}"#))
}

async fn take(
    door: &Door,
    request: &HttpRequest,
    payload: Payload,
    code: &str,
    source: IpAddr,
) -> Result<Taken, Refused> {
    let (content_type, body) = door.read(request, payload, source).await?;
    let robot = RobotRequest::decode(&body).map_err(|_| Code::Unreadable)?;
    let portal = door.sender(&robot.application_token, robot.member_id.as_deref(), source)?;
    if robot.code != code {
        return Err(Code::Unreadable.into());
    }
    let body = blanked(without_credentials(&body).into(), robot.application_token.expose());
    Ok(Taken { portal, content_type, body })
}

#[cfg(test)]
mod tests {
    use super::super::listener::public_doors;
    use super::super::routes;
    use super::super::test_support::{FakeIntake, public_settings, reception};
    use super::*;
    use actix_web::App;
    use actix_web::dev::Service;
    use actix_web::http::header::CONTENT_TYPE;
    use actix_web::test::{TestRequest, init_service};
    use std::sync::Arc;

    const ORDER: &str = "workflow_id=w1&code=edobridge_send&document_id%5B0%5D=crm&document_id%5B2%5D=DEAL_501\
        &event_token=w1%7CA1%7Csalt&use_subscription=Y&auth%5Bmember_id%5D=m1\
        &auth%5Baccess_token%5D=acce55&auth%5Brefresh_token%5D=refre5h\
        &auth%5Bapplication_token%5D=";

    async fn post(path: &str, body: String) -> (u16, Vec<NewNotice>) {
        let intake = Arc::new(FakeIntake::default());
        let doors = public_doors(&reception(&intake).0, &public_settings());
        let app = init_service(App::new().configure(|config| routes::public(config, &doors))).await;
        let request = TestRequest::post()
            .uri(path)
            .peer_addr("192.0.2.1:5000".parse().unwrap())
            .insert_header((CONTENT_TYPE, "application/x-www-form-urlencoded"))
            .set_payload(body);
        let answer = app.call(request.to_request()).await.unwrap();
        (answer.status().as_u16(), intake.taken())
    }

    #[actix_web::test]
    async fn an_authentic_order_is_stored_with_its_event_token_and_without_credentials() {
        let (status, taken) = post("/bitrix/robot/edobridge_send", format!("{ORDER}other-token-0002")).await;
        assert_eq!((status, taken.len()), (200, 1));
        assert_eq!(
            (taken[0].kind, taken[0].portal.clone()),
            (NoticeKind::Robot, Some(PortalId("main".into())))
        );
        let stored = std::str::from_utf8(&taken[0].body).unwrap();
        for secret in ["acce55", "refre5h", "token-0002"] {
            assert!(!stored.contains(secret), "{stored}");
        }
        let again = RobotRequest::decode(&taken[0].body).unwrap();
        assert_eq!(again.event_token.expose(), "w1|A1|salt");
        assert!(again.waits && again.item.is_some());
    }

    #[actix_web::test]
    async fn a_forged_or_unusable_order_leaves_nothing() {
        for (path, body, expected) in [
            ("/bitrix/robot/edobridge_send", format!("{ORDER}wrong"), 403),
            ("/bitrix/robot/edobridge_send", ORDER.to_owned(), 403),
            ("/bitrix/robot/edobridge_status", format!("{ORDER}other-token-0002"), 400),
            ("/bitrix/robot/edobridge_send", "code=edobridge_send".to_owned(), 400),
            ("/bitrix/robot/edobridge_send", String::new(), 400),
            ("/bitrix/robot/", format!("{ORDER}other-token-0002"), 404),
        ] {
            let (status, taken) = post(path, body).await;
            assert_eq!((status, taken.len()), (expected, 0), "{path}");
        }
    }
}
