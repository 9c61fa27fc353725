//! What went wrong, as HTTP says it (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use switchyard_access::Refusal;
use switchyard_protocol::{ErrorCode, ProtocolError};
use utoipa::ToSchema;

use crate::access;
use crate::rooms::Outside;

/// How many seconds to wait before trying again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// What an error's body is.
pub const PROBLEM: &str = "application/problem+json";

const REALM: &str = "Bearer realm=\"switchyard\"";
const INSUFFICIENT: &str = "Bearer realm=\"switchyard\", error=\"insufficient_scope\"";

/// An error of the protocol with the status it has in HTTP.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    error: ProtocolError,
    /// How to come in (RFC 6750 §3).
    challenge: Option<HeaderValue>,
}

impl Problem {
    pub fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { status, error: ProtocolError::new(code, message), challenge: None }
    }
}

/// An error: a problem of RFC 9457 with two members more.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Body {
    /// The response's status.
    status: u16,
    /// The status in words.
    title: &'static str,
    /// What is wrong, for people.
    detail: String,
    /// What is wrong, for programs.
    code: ErrorCode,
    /// Whether the same request may succeed later.
    retryable: bool,
}

/// The answer to a method that a path doesn't have.
pub async fn not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::UnknownType, "this method does nothing here")
}

impl Problem {
    /// The same with another text for people.
    pub fn saying(mut self, detail: impl Into<String>) -> Self {
        self.error.message = detail.into();
        self
    }

    pub fn code(&self) -> ErrorCode {
        self.error.code
    }
}

impl From<ProtocolError> for Problem {
    fn from(error: ProtocolError) -> Self {
        let status = match error.code {
            ErrorCode::NoSuchRoom | ErrorCode::NoSuchParticipant | ErrorCode::NoSuchTrack => StatusCode::NOT_FOUND,
            ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
            ErrorCode::Forbidden
            | ErrorCode::RoomLocked
            | ErrorCode::PasswordRequired
            | ErrorCode::WrongPassword
            | ErrorCode::NotAdmitted => StatusCode::FORBIDDEN,
            ErrorCode::WrongState => StatusCode::PRECONDITION_FAILED,
            ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::LimitReached | ErrorCode::Overloaded | ErrorCode::Timeout | ErrorCode::ShuttingDown => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        let challenge = (error.code == ErrorCode::Forbidden).then(|| HeaderValue::from_static(INSUFFICIENT));
        Self { status, error, challenge }
    }
}

impl From<Outside> for Problem {
    fn from(outside: Outside) -> Self {
        outside.refusal().into()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let problem = Self::from(access::refused(refusal));
        let challenge = match refusal {
            // Who brought nothing is only told what to bring.
            Refusal::Missing => Some(HeaderValue::from_static(REALM)),
            _ if refusal.is_forbidden() => return problem,
            _ => format!("{REALM}, error=\"invalid_token\", error_description=\"{refusal}\"").try_into().ok(),
        };
        Self { challenge, ..problem }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, error: ProtocolError { code, message, retryable }, challenge } = self;
        let title = status.canonical_reason().unwrap_or_default();
        let body = serde_json::to_string(&Body { status: status.as_u16(), title, detail: message, code, retryable }).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM)], body).into_response();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if let Some(challenge) = challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_try_again_is_told_when() {
        for code in [ErrorCode::Overloaded, ErrorCode::LimitReached, ErrorCode::ShuttingDown, ErrorCode::RateLimited] {
            let response = Problem::from(ProtocolError::new(code, "")).into_response();
            assert!(code.retryable() && response.headers().get(header::RETRY_AFTER).is_some(), "{code:?}: {}", response.status());
        }
    }
}
