//! What a client is told when a request is not done: one table of codes, one JSON shape.
//!
//! ```json
//! {"code": "document_not_found", "message": {"ru": "…", "en": "…"}}
//! ```
//! The code is stable and meant for programs, the message is meant for people. No answer carries a secret, a path of
//! the machine or the words of an inner error: those go to the log.

use crate::actors::{AcceptError, OperateError};
use crate::domain::Text;
use crate::store::StoreError;
use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpResponse, ResponseError};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a request is not done. The table behind it is the only place that maps to HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The path is not known.
    NotFound,
    /// The path is known, the method is not.
    MethodNotAllowed,
    /// The body is larger than allowed.
    TooLarge,
    /// The body did not arrive in time.
    TooSlow,
    /// The connection broke within the body, or its framing is wrong.
    BrokenBody,
    /// The body is compressed or otherwise encoded.
    EncodingRefused,
    /// The body is of a type that is not read here.
    TypeRefused,
    /// The body cannot be read.
    Unreadable,
    /// The application token of an event is wrong or missing.
    TokenRefused,
    /// The event comes from an address that its portal does not send from.
    SenderRefused,
    /// The signature of a callback is wrong, missing or there twice.
    SignatureRefused,
    /// Too many requests from this source.
    TooMany,
    /// More work waits than can be taken on now.
    Busy,
    /// Nothing can be stored now.
    Unavailable,
    /// The operator's token is wrong or missing.
    Unauthorised,
    /// A parameter or the body of an admin request is wrong.
    InvalidRequest,
    /// There is no such document.
    DocumentNotFound,
    /// There is no such parked notice.
    NoticeNotFound,
    /// No such portal.
    PortalNotFound,
    /// The document is in a state in which this cannot be done.
    Rejected,
    /// A fault of ours.
    Internal,
}

impl Code {
    /// Every code, for tests and documentation.
    pub const ALL: [Self; 21] = [
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::TooLarge,
        Self::TooSlow,
        Self::BrokenBody,
        Self::EncodingRefused,
        Self::TypeRefused,
        Self::Unreadable,
        Self::TokenRefused,
        Self::SenderRefused,
        Self::SignatureRefused,
        Self::TooMany,
        Self::Busy,
        Self::Unavailable,
        Self::Unauthorised,
        Self::InvalidRequest,
        Self::DocumentNotFound,
        Self::NoticeNotFound,
        Self::PortalNotFound,
        Self::Rejected,
        Self::Internal,
    ];

    /// The stable name.
    pub fn name(self) -> &'static str {
        self.row().0
    }
    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        self.row().1
    }
    /// What a person is told when nothing more exact is known.
    pub fn message(self) -> Text {
        let (_, _, ru, en) = self.row();
        Text::new(ru, en)
    }

    /// Whether the rest of the body is not waited for, so that the connection has to end.
    fn leaves_body_unread(self) -> bool {
        matches!(self, Self::TooLarge | Self::TooSlow | Self::BrokenBody | Self::TooMany)
    }

    fn row(self) -> (&'static str, StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::NotFound => ("not_found", S::NOT_FOUND, "Такого адреса нет.", "There is no such path."),
            Self::MethodNotAllowed => (
                "method_not_allowed",
                S::METHOD_NOT_ALLOWED,
                "Этот метод здесь не принимается.",
                "This method is not accepted here.",
            ),
            Self::TooLarge => (
                "too_large",
                S::PAYLOAD_TOO_LARGE,
                "Тело запроса слишком большое.",
                "The body of the request is too large.",
            ),
            Self::TooSlow => (
                "too_slow",
                S::REQUEST_TIMEOUT,
                "Тело запроса не пришло вовремя.",
                "The body of the request did not arrive in time.",
            ),
            Self::BrokenBody => (
                "broken_body",
                S::BAD_REQUEST,
                "Тело запроса оборвалось.",
                "The body of the request broke off.",
            ),
            Self::EncodingRefused => (
                "encoding_refused",
                S::UNSUPPORTED_MEDIA_TYPE,
                "Сжатые тела не принимаются: уберите Content-Encoding.",
                "Compressed bodies are not accepted: remove Content-Encoding.",
            ),
            Self::TypeRefused => (
                "type_refused",
                S::UNSUPPORTED_MEDIA_TYPE,
                "Тело такого типа здесь не читают.",
                "A body of this type is not read here.",
            ),
            Self::Unreadable => (
                "unreadable",
                S::BAD_REQUEST,
                "Тело запроса не удалось прочитать.",
                "The body of the request cannot be read.",
            ),
            Self::TokenRefused => (
                "token_refused",
                S::FORBIDDEN,
                "Токен приложения не подходит.",
                "The application token is not valid.",
            ),
            Self::SenderRefused => (
                "sender_refused",
                S::FORBIDDEN,
                "С этого адреса события не принимаются.",
                "Events are not accepted from this address.",
            ),
            Self::SignatureRefused => {
                ("signature_refused", S::UNAUTHORIZED, "Подпись не подходит.", "The signature is not valid.")
            }
            Self::TooMany => (
                "too_many_requests",
                S::TOO_MANY_REQUESTS,
                "Слишком много запросов: повторите позже.",
                "Too many requests: repeat later.",
            ),
            Self::Busy => (
                "busy",
                S::SERVICE_UNAVAILABLE,
                "Очередь полна: повторите позже.",
                "The queue is full: repeat later.",
            ),
            Self::Unavailable => (
                "unavailable",
                S::SERVICE_UNAVAILABLE,
                "Сейчас ничего нельзя сохранить: повторите позже.",
                "Nothing can be stored now: repeat later.",
            ),
            Self::Unauthorised => (
                "unauthorised",
                S::UNAUTHORIZED,
                "Нужен токен оператора; он лежит в файле operator-token в каталоге данных.",
                "The operator's token is needed; it is in the file operator-token in the data directory.",
            ),
            Self::InvalidRequest => (
                "invalid_request",
                S::BAD_REQUEST,
                "Запрос составлен неверно.",
                "The request is not well formed.",
            ),
            Self::DocumentNotFound => (
                "document_not_found",
                S::NOT_FOUND,
                "Такого документа нет. Список: edobridge documents list.",
                "There is no such document. To see which there are: edobridge documents list.",
            ),
            Self::NoticeNotFound => (
                "notice_not_found",
                S::NOT_FOUND,
                "Такого отложенного уведомления нет.",
                "There is no such parked notice.",
            ),
            Self::PortalNotFound => (
                "portal_not_found",
                S::NOT_FOUND,
                "Такого портала нет. Какие есть: edobridge portals list.",
                "There is no such portal. To see which there are: edobridge portals list.",
            ),
            Self::Rejected => (
                "rejected",
                S::CONFLICT,
                "В нынешнем состоянии документа это невозможно.",
                "The document's present state does not allow this.",
            ),
            Self::Internal => (
                "internal",
                S::INTERNAL_SERVER_ERROR,
                "Внутренняя ошибка; подробности в журнале.",
                "An internal error; the log has the details.",
            ),
        }
    }
}

/// The body of every error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// [`Code::name`].
    pub code: String,
    /// For people.
    pub message: Text,
}

/// A request that is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Why.
    pub code: Code,
    detail: Option<Text>,
    retry_after_s: Option<u64>,
}

impl ApiError {
    /// With the table's words.
    pub fn new(code: Code) -> Self {
        Self { code, detail: None, retry_after_s: None }
    }
    /// With words that fit this case better than the table's.
    pub fn with(code: Code, detail: Text) -> Self {
        Self { code, detail: Some(detail), retry_after_s: None }
    }
    /// The same with `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after_s(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
    /// What a person is told.
    pub fn message(&self) -> Text {
        self.detail.clone().unwrap_or_else(|| self.code.message())
    }
}

impl From<Code> for ApiError {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.name())
    }
}

impl std::error::Error for ApiError {}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }
    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.code.status());
        if let Some(seconds) = self.retry_after_s {
            answer.insert_header((header::RETRY_AFTER, seconds));
        }
        if self.code.leaves_body_unread() {
            answer.force_close();
        }
        if self.code == Code::Unauthorised {
            answer.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"edobridge\""));
        }
        answer.json(ErrorBody { code: self.code.name().to_owned(), message: self.message() })
    }
}

/// Seconds after which a repeat makes sense while nothing can be stored: the store tries to recover every second.
pub const UNAVAILABLE_RETRY_AFTER_S: u64 = 10;

/// For the operator, who may know the reason; the public listener uses only the code.
impl From<OperateError> for ApiError {
    fn from(error: OperateError) -> Self {
        match error {
            OperateError::NotFound => Self::new(Code::DocumentNotFound),
            OperateError::Rejected(reason) => Self::with(Code::Rejected, reason),
            OperateError::Unavailable { reason } => {
                Self::with(Code::Unavailable, reason).retry_after_s(UNAVAILABLE_RETRY_AFTER_S)
            }
        }
    }
}

/// For strangers, who learn that it did not work and when to come again, and nothing else.
impl From<&AcceptError> for ApiError {
    fn from(error: &AcceptError) -> Self {
        match error {
            AcceptError::Busy { retry_after_s } => {
                Self::new(Code::Busy).retry_after_s((*retry_after_s).max(1))
            }
            AcceptError::Unavailable { reason: _ } => {
                Self::new(Code::Unavailable).retry_after_s(UNAVAILABLE_RETRY_AFTER_S)
            }
        }
    }
}

/// For the operator's questions to the store.
impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(error = %error, "the store did not answer an operator's question");
        Self::new(Code::Unavailable).retry_after_s(UNAVAILABLE_RETRY_AFTER_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_code_has_its_own_name_an_error_status_and_both_languages() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{}", code.name());
            let message = code.message();
            assert!(message.ru.ends_with('.') && message.en.ends_with('.'), "{}", code.name());
        }
    }

    #[test]
    fn a_stranger_does_not_learn_why_nothing_can_be_stored() {
        let reason = Text::new("диск /var/lib полон", "disk /var/lib is full");
        let error = ApiError::from(&AcceptError::Unavailable { reason });
        assert_eq!(error.message(), Code::Unavailable.message());
        assert_eq!(error.error_response().headers().get(header::RETRY_AFTER).unwrap(), "10");
    }
}
