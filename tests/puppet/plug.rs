//! A plug that uses all that the platform offers a system.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tol_events::Event;
use tol_events::blob::BlobRef;
use tol_plug::question::Asked;
use tol_plug::settings::Secret;
use tol_plug::{
    Access, Body, Content, Cors, Credential, Example, Handler, Kind, Listener, MountedProjection, OnStop, Outcome, Parameter, Platform, Plug, Presented,
    Problem, Protocol, Question, Reply, Request, Route, Runner, Scope, Serve, SettingError, Spec, Start, StartError, Tables, json as answer, json_with,
    waiting, with_body,
};
use tol_system::{AnySystem, EffectOutcome, Followed};

use super::system::{Customer, Customers, FILED, Puppet};
use super::{listener, runners};

/// The name of plug and system.
pub const NAME: &str = "puppet-system";
/// What lets a key play with the puppet.
pub const PLAY: Scope = Scope("puppet:play");

/// `[systems.puppet-system.settings]`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    limit: u32,
    token: Secret,
    listen: Listen,
}

/// Ports.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Listen {
    puppet: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { limit: 100, token: Secret::default(), listen: Listen::default() }
    }
}

/// What answers from memory.
#[derive(Debug, Default)]
pub struct Serving {
    /// The node's data folder, which tells it from other nodes.
    data: PathBuf,
    token: Secret,
    /// Customers as they were last folded.
    customers: RwLock<BTreeMap<String, Customer>>,
    /// Names that were asked for, in plain text.
    names: Mutex<BTreeMap<String, Value>>,
    /// What owners were told about their subjects; in no log.
    notes: Mutex<BTreeMap<String, Vec<Value>>>,
}

impl Serving {
    fn take(&self, followed: Followed<Customer>) {
        let mut customers = self.customers.write().unwrap();
        if followed.anew {
            customers.clear();
        }
        for (subject, row) in followed.rows {
            match row {
                Some(row) => drop(customers.insert(subject, row)),
                None => drop(customers.remove(&subject)),
            }
        }
    }

    fn customer(&self, subject: &str) -> Result<Customer, Problem> {
        let found = self.customers.read().unwrap().get(subject).cloned();
        found.ok_or_else(|| Problem::new(Kind::NOT_FOUND, format!("no customer {subject}")))
    }
}

/// The plug.
pub struct PuppetPlug;

static SUBJECT: Parameter = Parameter::path("subject", "The customer.", "customer/1");
static NAMED: Parameter = Parameter::path("name", "A name.", "ann");

static ROUTES: &[Route<Serving>] = &[
    Spec {
        parameters: &[&SUBJECT],
        answers: &[Reply::ok("The customer.", Content::AnyJson)],
        problems: &[Kind::NOT_FOUND],
        ..Spec::get("puppetCustomer", "/puppet/customers/{subject}", "puppet", "Shows a customer")
    }
    .by(waiting!(customer)),
    Spec {
        access: Access::Scope(Scope::OPERATE),
        parameters: &[&SUBJECT],
        body: Body::AnyJson("{\"note\": 1}"),
        answers: &[Reply::ok("All notes, and who keeps them.", Content::AnyJson)],
        problems: &[Kind::UNAVAILABLE],
        example: Example::json("{\"note\": 1}"),
        ..Spec::post("puppetNote", "/puppet/notes/{subject}", "puppet", "Has the owner of a subject keep a note")
    }
    .by(with_body!(note)),
    Spec {
        parameters: &[&SUBJECT],
        body: Body::Other(&["application/octet-stream"]),
        answers: &[Reply { status: 201, description: "The blob.", content: Content::AnyJson }],
        problems: &[Kind::UNAVAILABLE],
        example: Example { content_type: "application/octet-stream", body: "file" },
        ..Spec::post("putPuppetFile", "/puppet/files/{subject}", "puppet", "Stores a customer's file")
    }
    .by(with_body!(put_file)),
    Spec {
        parameters: &[&SUBJECT],
        answers: &[Reply::ok("The file.", Content::Other("application/octet-stream"))],
        problems: &[Kind::NOT_FOUND, Kind::UNAVAILABLE],
        ..Spec::get("puppetFile", "/puppet/files/{subject}", "puppet", "Gives a customer's file back")
    }
    .by(waiting!(file)),
];

static PROTOCOLS: &[Protocol<Serving>] = &[Protocol {
    name: "puppet",
    credential: Credential(&[Presented::Header("x-puppet-key")]),
    cors: Cors::SameOrigin,
    routes: &[Spec {
        access: Access::Scope(PLAY),
        parameters: &[&NAMED],
        answers: &[Reply::ok("A greeting.", Content::AnyJson)],
        ..Spec::get("puppetHello", "/hello/{name}", "puppet", "Greets")
    }
    .by(Handler::Immediate(hello))],
    error: |problem| HttpResponse::build(StatusCode::from_u16(problem.kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)).body(problem.kind.slug),
}];

static RUNNERS: &[Runner<Serving>] = &[
    Runner {
        name: "puppet.work",
        at_once: 2,
        tries: 2,
        limit: Duration::from_secs(600),
        on_stop: OnStop::Cancel,
        examples: || vec![(json!({"until": "/"}), EffectOutcome::Completed(json!({"output": "done"})))],
        run: |_, effect| runners::work(effect),
    },
    Runner {
        name: "puppet.short",
        at_once: 1,
        tries: 1,
        limit: Duration::from_secs(10),
        on_stop: OnStop::Finish,
        examples: || vec![(json!({"note": "hello"}), EffectOutcome::Completed(json!({"note": "hello"})))],
        run: |_, effect| runners::short(effect),
    },
];

impl Plug for PuppetPlug {
    const NAME: &'static str = NAME;
    const SHORT: &'static str = "puppet";
    type Settings = Settings;
    type Serving = Serving;

    fn check(settings: &Settings) -> Result<(), SettingError> {
        if settings.limit == 0 {
            return Err(SettingError::new("limit", 0, "must be at least 1"));
        }
        Ok(())
    }

    fn serving(settings: Settings, start: &Start) -> Result<Serving, StartError> {
        Ok(Serving { data: start.data.clone(), token: settings.token, ..Serving::default() })
    }

    fn systems(settings: &Settings) -> Vec<Arc<dyn AnySystem>> {
        vec![tol_system::erase(Puppet { limit: settings.limit })]
    }

    fn projections(serving: &Arc<Serving>) -> Vec<MountedProjection> {
        let serving = serving.clone();
        vec![MountedProjection::followed(Customers, move |followed| serving.take(followed))]
    }

    fn tables() -> Tables<Serving> {
        Tables {
            routes: ROUTES,
            protocols: PROTOCOLS,
            listeners: &[Listener { name: "puppet", serve: Serve::Connection(|connection| Box::pin(listener::talk(connection))) }],
            runners: RUNNERS,
            questions: &[Question { name: "puppet.remembered", answer: |serving, _, asked| Box::pin(std::future::ready(remembered(&serving, asked))) }],
            scopes: &[(PLAY, "plays with the puppet")],
            ..Tables::EMPTY
        }
    }

    fn erased(serving: &Serving, subject: &str) {
        serving.names.lock().unwrap().remove(subject);
        serving.customers.write().unwrap().remove(subject);
        serving.notes.lock().unwrap().remove(subject);
    }
}

fn hello(request: &Request<Serving>) -> Outcome {
    let token = !request.serving.token.expose().is_empty();
    answer(&json!({"hello": request.path("name"), "caller": request.caller().name(), "token": token}))
}

/// Keeps the note that is asked about, and answers all there are: only one owner knows them all.
fn remembered(serving: &Serving, asked: Asked) -> Result<Value, Problem> {
    let mut notes = serving.notes.lock().unwrap();
    let notes = notes.entry(asked.subject).or_default();
    notes.push(asked.body["note"].clone());
    Ok(json!({"notes": notes, "kept_by": serving.data}))
}

async fn note(request: Request<Serving>, payload: Payload) -> Outcome {
    let body: Value = request.small_json(payload).await?;
    answer(&request.platform().ask("puppet.remembered", request.path("subject"), body).await?)
}

/// The customer's name in plain text: revealed once, then from memory.
async fn customer(request: Request<Serving>) -> Outcome {
    let (serving, subject) = (request.serving.clone(), request.path("subject").to_owned());
    let name = request.block(move |platform| {
        if let Some(name) = serving.names.lock().unwrap().get(&subject) {
            return Ok(name.clone());
        }
        let Some(sealed) = serving.customer(&subject)?.registered else { return Ok(Value::Null) };
        let revealed: Value = serde_json::from_slice(&platform.reveal(&subject, sealed.as_bytes())?).map_err(|error| Problem::internal(error.to_string()))?;
        serving.names.lock().unwrap().insert(subject, revealed["name"].clone());
        Ok(revealed["name"].clone())
    });
    answer(&json!({"name": name.await?}))
}

fn blob_problem(error: tol_plug::blobs::Error) -> Problem {
    match error {
        tol_plug::blobs::Error::Erased { .. } | tol_plug::blobs::Error::Unknown(_) => Problem::new(Kind::NOT_FOUND, error.to_string()),
        other => Problem::unavailable(other.to_string(), 1),
    }
}

/// The blob is durable before the fact that names it.
async fn put_file(request: Request<Serving>, payload: Payload) -> Outcome {
    let content = request.body(payload).await?;
    let (subject, owner) = (request.path("subject").to_owned(), request.path("subject").to_owned());
    let stored = request.block(move |platform| platform.blobs()?.put(Some(&owner), "application/octet-stream", &mut &content[..]).map_err(blob_problem));
    let stored = stored.await?;
    let fact = Event::new(format!("file-{}", stored.sha256), "/puppet", FILED, subject).at(request.platform().now());
    let fact = fact.with_data(&stored).map_err(|error| Problem::internal(error.to_string()))?;
    request.platform().admit(vec![fact]).await?;
    json_with(StatusCode::CREATED, &stored)
}

async fn file(request: Request<Serving>) -> Outcome {
    let customer = request.serving.customer(request.path("subject"))?;
    let stored = customer.file.ok_or_else(|| Problem::new(Kind::NOT_FOUND, "no file was stored"))?;
    let stored: BlobRef = serde_json::from_str(&stored).map_err(|error| Problem::internal(error.to_string()))?;
    let content = request.block(move |platform: &dyn Platform| {
        let mut content = Vec::new();
        platform.blobs()?.get(&stored).map_err(blob_problem)?.read_to_end(&mut content).map_err(|error| Problem::unavailable(error.to_string(), 1))?;
        Ok(content)
    });
    Ok(HttpResponse::Ok().content_type("application/octet-stream").body(content.await?))
}
