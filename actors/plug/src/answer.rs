//! Writes answers as JSON; [`Reason`], the body that most operations take.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::{Kind, Problem};
use crate::route::Outcome;

/// Longest reason, in characters; it is written to the log.
pub const REASON_MAX: usize = 4_096;

/// Answers 200 with `value` as JSON.
///
/// # Errors
/// `internal` where the value cannot be written as JSON.
pub fn json(value: &impl Serialize) -> Outcome {
    json_with(StatusCode::OK, value)
}

/// Answers `status` with `value` as JSON.
///
/// # Errors
/// As [`json`].
pub fn json_with(status: StatusCode, value: &impl Serialize) -> Outcome {
    let body = serde_json::to_vec(value).map_err(|error| Problem::internal(format!("the answer could not be written as JSON: {error}")))?;
    Ok(HttpResponse::build(status).content_type("application/json").body(body))
}

/// Why a caller wants an operation; it is recorded with the operation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// The reason, as sent.
    #[schema(min_length = 1, max_length = 4096, pattern = "\\S")]
    pub reason: String,
}

impl Reason {
    /// Trims a reason and checks it.
    ///
    /// # Errors
    /// `invalid-body` where it is empty or longer than [`REASON_MAX`].
    pub fn checked(text: &str) -> Result<String, Problem> {
        match text.trim() {
            "" => Err(Problem::new(Kind::INVALID_BODY, "reason is empty; say why, it is recorded")),
            long if long.chars().count() > REASON_MAX => Err(Problem::new(Kind::INVALID_BODY, format!("reason is longer than {REASON_MAX} characters"))),
            text => Ok(text.to_owned()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_trimmed_and_neither_empty_nor_too_long() {
        assert_eq!(Reason::checked(" harm \n").unwrap(), "harm");
        assert_eq!(Reason::checked("é".repeat(REASON_MAX).as_str()).unwrap().chars().count(), REASON_MAX);
        for wrong in ["", " \n", "é".repeat(REASON_MAX + 1).as_str()] {
            assert_eq!(Reason::checked(wrong).unwrap_err().kind, Kind::INVALID_BODY);
        }
    }
}
