//! What can go wrong with a command, and the exit code of each.

use serde_json::Value;

/// Why a command ended without success. The number is the process's exit code; they never change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// 1: something failed here.
    #[error("{0}")]
    Failed(String),
    /// 2: the command line, a mapping or the configuration is wrong.
    #[error("{0}")]
    Usage(String),
    /// 3: a check failed, or two things that must be equal differ.
    #[error("{0}")]
    Differs(String),
    /// 4: no node answers there, or it is not ready.
    #[error("{url} is not reachable: {why}; is the node running? Start it with `tol run`, or give --url")]
    NotReachable {
        /// The node's URL.
        url: String,
        /// What the network or the node says.
        why: String,
    },
    /// 5: the node refused the request.
    #[error("{}", .0.text())]
    Refused(Box<Problem>),
    /// 6: a part was done, the rest was not.
    #[error("{0}")]
    Partly(String),
}

impl Error {
    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Failed(_) => 1,
            Error::Usage(_) => 2,
            Error::Differs(_) => 3,
            Error::NotReachable { .. } => 4,
            Error::Refused(_) => 5,
            Error::Partly(_) => 6,
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::Failed(error.to_string())
    }
}

impl From<tol_config::Error> for Error {
    fn from(error: tol_config::Error) -> Self {
        Error::Usage(error.to_string())
    }
}

/// A problem+json answer (RFC 9457).
#[derive(Debug, Default, PartialEq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// What kind of problem.
    pub title: String,
    /// This very one.
    pub detail: String,
    /// What to do.
    pub advice: String,
    /// A page that explains the kind.
    pub kind: String,
    /// Which event of a batch is meant, from 0.
    pub index: Option<u64>,
}

impl Problem {
    /// Reads an answer's body; one that is not problem+json becomes the detail.
    pub fn read(status: u16, body: &str) -> Problem {
        let parsed: Value = serde_json::from_str(body).unwrap_or_default();
        let text = |name: &str| parsed[name].as_str().unwrap_or_default().to_owned();
        let detail = if parsed.is_object() { text("detail") } else { body.trim().chars().take(500).collect() };
        let title = if parsed["title"].is_string() { text("title") } else { format!("HTTP status {status}") };
        let given = ["advice", "action", "hint"].into_iter().map(text).find(|advice| !advice.is_empty());
        let advice = given.unwrap_or_else(|| advice_for(status).to_owned());
        Problem { status, title, detail, advice, kind: text("type"), index: parsed["index"].as_u64() }
    }

    /// What the node says, what to do, and where to read more: a line each.
    pub(super) fn text(&self) -> String {
        let mut lines = vec![self.title.clone()];
        lines.extend([&self.detail, &self.advice].into_iter().filter(|line| !line.is_empty()).cloned());
        if !self.kind.is_empty() && self.kind != "about:blank" {
            lines.push(format!("see {}", self.kind));
        }
        lines.join("\n  ")
    }
}

fn advice_for(status: u16) -> &'static str {
    match status {
        401 => "give an API key with --key or TOL_KEY; `tol keys new` makes one",
        403 => "this API key lacks the scope for that; use another, or add the scope in the node's configuration",
        404 => "check the name; `tol systems`, `tol topics` and `tol query` without a name list what exists",
        409 => "the same id was sent before with other content; give the changed event an id of its own",
        413 => "send smaller batches (--batch), or raise http.body_limit_bytes on the node",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_json_is_told_as_title_detail_and_what_to_do() {
        let body =
            r#"{"type":"https://tol.example/problems/invalid-event","title":"Invalid event","status":400,"detail":"event 3: subject is missing","index":3}"#;
        let problem = Problem::read(400, body);
        assert_eq!(problem.index, Some(3));
        assert_eq!(
            Error::Refused(Box::new(problem)).to_string(),
            "Invalid event\n  event 3: subject is missing\n  see https://tol.example/problems/invalid-event"
        );
        let unauthorized = Error::Refused(Box::new(Problem::read(401, "no"))).to_string();
        assert!(unauthorized.contains("--key") && unauthorized.contains("no"), "{unauthorized}");
    }
}
