//! `POST /api/v1/documents/{id}/signature`: a signature that was made elsewhere (1C), behind the operator's token.
//!
//! The body is the signature itself: PEM, Base64 or binary, of any type. The checks are those of the page.

use super::super::error::{ApiError, Code};
use super::super::operator_access::OperatorAccess;
use super::submission::{Looked, Unfit, look};
use super::{DOOR, Door};
use crate::domain::SagaId;
use actix_web::HttpRequest;
use actix_web::HttpResponse;
use actix_web::web::{Data, Path, Payload};

/// The door for programs that sign.
pub struct SignatureApi {
    door: Data<Door>,
    access: OperatorAccess,
}

impl SignatureApi {
    /// The same desk and bounds as the page; who may enter is told by `access`.
    pub fn new(door: Data<Door>, access: OperatorAccess) -> Self {
        Self { door, access }
    }
}

/// The handler.
///
/// # Errors
/// 401, 429, 413, 408, 404 for no such document, 400 for a signature that does not fit, 409 for a document that does
/// not wait for it, 503.
pub async fn by_operator(
    request: HttpRequest,
    payload: Payload,
    document: Path<String>,
    api: Data<SignatureApi>,
) -> Result<HttpResponse, ApiError> {
    let door = &api.door;
    let source = door.source(&request);
    if !api.access.has_bearer(&request) {
        return Err(door.reception.refuse(DOOR, Code::Unauthorised, source));
    }
    door.limited(&door.posts, source)?;
    let _room = door.room(&request)?;
    let document: SagaId = document.parse().map_err(|_| Code::DocumentNotFound)?;
    let task =
        door.desk.task_of(document).await.map_err(|refusal| ApiError::from(Unfit::Refused(refusal)))?;
    let body = door.body(&request, payload).await?;
    let accepted = match look(door, &task, body.to_vec()).await? {
        Looked::Stored => true,
        Looked::Fits(signed) => {
            let answer = door.desk.submit_by_operator(*signed).await;
            answer.map_err(|refusal| ApiError::from(Unfit::Refused(refusal)))?.repeated
        }
    };
    Ok(HttpResponse::Ok().json(serde_json::json!({
        "document": document.to_string(),
        "accepted": true,
        "repeated": accepted,
    })))
}
