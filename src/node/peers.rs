//! Requests among the nodes of one cluster, and the client that sends them. The asked node answers itself or refuses: no request is passed on
//! twice.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tol_config::Secret;
use tol_events::{Position, TopicPartition};
use tol_runtime::control::Stop;

use tol_plug::{Kind, Problem};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(1);
/// Largest answer, bytes.
const ANSWER_BYTES: u64 = 64 << 20;

/// A question.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    /// Admit these; answers [`tol_plug::platform::Published`].
    Facts(Vec<PassedOn>),
    /// Redrive the subject of this dead letter; answers [`crate::http::api::Redriven`].
    Redrive {
        /// The dead letter.
        id: String,
        /// How.
        #[serde(default)]
        request: crate::http::api::RedriveOne,
        /// Who asked for it.
        by: String,
    },
    /// Begin to redrive all that match in this node's partitions; answers [`crate::http::api::Redriven`].
    RedriveAll {
        /// Names the redrive, on all nodes that take part.
        id: String,
        /// Which.
        filter: crate::http::api::RedriveFilter,
        /// Who asked for it.
        by: String,
    },
    /// How far this node's part of a redrive is; answers an optional [`crate::http::api::Redriven`].
    RedriveStatus {
        /// The redrive.
        id: String,
    },
    /// Give up this dead letter; answers [`crate::http::api::DeadLetter`].
    Discard {
        /// The dead letter.
        id: String,
        /// Why.
        reason: String,
        /// Who asked for it.
        by: String,
    },
    /// Pause, resume or restart a system.
    Control {
        /// Which.
        system: String,
        /// What.
        control: crate::http::api::Control,
        /// Who asked for it.
        by: String,
    },
    /// A question of a system to the owner of a subject; answers what the system answers.
    Question {
        /// Its name.
        question: String,
        /// The subject it is about.
        subject: String,
        /// Whatever it needs.
        body: serde_json::Value,
    },
    /// The own position of a system that covers this input; answers an optional position, none when it is not covered in time.
    Covering {
        /// Which system.
        system: String,
        /// The input.
        partition: TopicPartition,
        /// Its position.
        position: Position,
        /// How long to wait.
        timeout_ms: u64,
    },
    /// The emergency stop, ahead of its record on `control`.
    Stop(Stop),
}

/// A fact on its way to the owner of its partition.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PassedOn {
    /// The CloudEvent as it came: the owner validates and encrypts it.
    pub(crate) event: Box<RawValue>,
    /// Where in `inbox` it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) inbox: Option<(u32, Position)>,
    /// Whether the platform says it.
    #[serde(default)]
    pub(crate) own: bool,
}

/// Asks other nodes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Peers {
    agent: ureq::Agent,
    key: Option<Arc<Secret>>,
}

impl Peers {
    /// `key` is presented to the others.
    pub(crate) fn new(key: Option<Secret>) -> Self {
        let config = ureq::config::Config::builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .max_idle_connections_per_host(16)
            .user_agent(concat!("tol/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: ureq::Agent::new_with_config(config), key: key.map(Arc::new) }
    }

    /// Asks the node at `url`. Blocking.
    ///
    /// # Errors
    /// What the other node refused, or `unavailable` when it does not answer or does not take this node's key.
    pub(crate) fn ask<T: DeserializeOwned>(&self, url: &str, ask: &Ask, timeout: Duration) -> Result<T, Problem> {
        let away =
            |problem: String| Problem::unavailable(format!("the node at {url} does not answer ({problem}); send the same again, the same ids are safe"), 1);
        let body = serde_json::to_vec(ask).map_err(|error| Problem::internal(error.to_string()))?;
        let place = format!("{}/nodes/ask", url.trim_end_matches('/'));
        let mut request = self.agent.post(&place).header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {}", key.expose()));
        }
        let answered = request.config().timeout_global(Some(timeout)).tls_config(crate::tls::config_for(url)).build().send(body);
        let mut answer = answered.map_err(|error| away(error.to_string()))?;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_string().map_err(|error| away(error.to_string()))?;
        if status == 200 {
            return serde_json::from_str(&text).map_err(|error| Problem::internal(format!("the node at {url} answered what does not read: {error}")));
        }
        let problem = Problem::of_answer(super::registry::problems(), status, retry_after, &text);
        Err(match problem.kind {
            Kind::MISSING_KEY | Kind::INVALID_KEY | Kind::MISSING_SCOPE | Kind::FORBIDDEN_ORIGIN => {
                let detail = format!(
                    "the node at {url} does not take this node's key: {}; set security.node_key, and its hash with the scope node there",
                    problem.detail
                );
                Problem::unavailable(detail, 5)
            }
            _ => problem,
        })
    }

    /// Asks on a thread that may block.
    ///
    /// # Errors
    /// As [`Peers::ask`].
    pub(crate) async fn ask_later<T: DeserializeOwned + Send + 'static>(&self, url: String, ask: Ask, timeout: Duration) -> Result<T, Problem> {
        let peers = self.clone();
        let asked = tokio::task::spawn_blocking(move || peers.ask(&url, &ask, timeout)).await;
        asked.unwrap_or_else(|_| Err(Problem::unavailable("the node is stopping", 1)))
    }
}
