//! Requests to each row, on a node in memory that holds what the systems' examples led to.

use std::sync::Arc;

use serde_json::Value;
use tol_events::EventTime;
use tol_system::AnySystem;

use super::example::{self, Sent};
use super::names::place;
use super::{Broken, Report, Rule, caught, settings};
use crate::mounted::ProtocolSpec;
use crate::testing::server::BODY_LIMIT;
use crate::testing::{TestAnswer, TestServer};
use crate::{Access, Body, Kind, Platform as _, Plug, Spec};

/// Bodies that are no JSON, or JSON of nobody's shape.
const DAMAGED: &[&[u8]] = &[b"{", b"\xff\xfe", b"[]", b"null", b"\"x\"", b"{\"a\":", b"1e999", b"{\"\":{}}"];
/// How deep a body is nested that would exhaust a stack.
const NESTED: usize = 100_000;

pub(super) fn check<P: Plug>(systems: &[Arc<dyn AnySystem>], report: &mut Report, broken: &mut Broken) {
    let server = match caught(broken, "serving", || TestServer::start::<P>(&settings::none())) {
        Some(Ok(server)) => server,
        Some(Err(error)) => return broken.add(Rule::Starts, error),
        None => return,
    };
    if caught(broken, "the examples of the systems", || fill(&server, systems)).is_none() {
        return;
    }
    for parked in server.platform.parked().into_iter().filter(|text| text.starts_with("projection")) {
        broken.add(Rule::Projections, parked);
    }
    let components = caught(broken, "components", server.description.components).unwrap_or_default();
    let own = server.description.routes.iter().map(|spec| (spec, None));
    let foreign = server.description.protocols.iter().flat_map(|protocol| protocol.routes.iter().map(move |spec| (spec, Some(protocol))));
    for (spec, protocol) in own.chain(foreign) {
        let asked = Asked { server: &server, spec, protocol };
        asked.check(&components, report, broken);
    }
    caught(broken, "checks", || server.mounted.checks());
    caught(broken, "erased", || server.mounted.erased("customer/nobody"));
    caught(broken, "closing", || server.mounted.closing());
}

/// Admits the examples of all systems that are facts, and lets their first timers fire.
pub(super) fn fill(server: &TestServer, systems: &[Arc<dyn AnySystem>]) {
    for fact in systems.iter().flat_map(|system| system.examples()) {
        // An example that is another system's event is no fact; what is no valid fact, the suite of systems tells.
        let _ = futures_util::FutureExt::now_or_never(server.platform.admit(vec![fact]));
    }
    server.platform.fire_timers(EventTime::from_secs(0));
}

struct Asked<'a> {
    server: &'a TestServer,
    spec: &'a Spec,
    protocol: Option<&'a ProtocolSpec>,
}

impl Asked<'_> {
    fn check(&self, components: &Value, report: &mut Report, broken: &mut Broken) {
        let sent = example::request(self.spec, self.protocol, components);
        if let Some(answer) = self.send(&sent, sent.body.as_bytes(), report, broken) {
            self.documented(&sent, &answer, broken);
            let list = if answer.status < 400 { &mut report.answered } else { &mut report.refused };
            list.push(self.spec.operation);
        }
        for (name, value) in example::optional(self.spec) {
            let mut with = sent.clone();
            example::add(&mut with.target, name, value);
            if let Some(answer) = self.send(&with, sent.body.as_bytes(), report, broken) {
                self.documented(&with, &answer, broken);
            }
        }
        self.unknown_parameter(&sent, report, broken);
        self.damaged_bodies(&sent, report, broken);
    }

    fn send(&self, sent: &Sent, body: &[u8], report: &mut Report, broken: &mut Broken) -> Option<TestAnswer> {
        let headers: Vec<(&str, &str)> = if sent.content_type.is_empty() { vec![] } else { vec![("content-type", &sent.content_type)] };
        report.requests += 1;
        let shown = body.len().min(80);
        let what = format!("{} at {} with {}", place(self.spec), sent.target, String::from_utf8_lossy(&body[..shown]));
        caught(broken, &what, || self.server.send(self.spec.method, &sent.target, &headers, body))
    }

    /// An answer is one that the row names; a problem is one of its kinds.
    fn documented(&self, sent: &Sent, answer: &TestAnswer, broken: &mut Broken) {
        let place = place(self.spec);
        let text = || answer.text().chars().take(300).collect::<String>();
        let reply = self.spec.answers.iter().any(|reply| reply.status == answer.status);
        let problem = self.spec.all_problems().into_iter().find(|kind| kind.status == answer.status);
        broken.check(Rule::DocumentedAnswers, reply || problem.is_some(), || {
            format!("{place} answers {} to {} with {}, which it does not document: {}", answer.status, sent.target, sent.body, text())
        });
        broken.check(Rule::DocumentedAnswers, answer.status != 500, || format!("{place} fails at {} with {}: {}", sent.target, sent.body, text()));
        // A protocol shows problems in its own shape.
        if self.protocol.is_none() && !reply && answer.status >= 400 {
            self.documented_kind(sent, answer, broken);
        }
    }

    fn documented_kind(&self, sent: &Sent, answer: &TestAnswer, broken: &mut Broken) {
        let slug = answer.problem_slug().unwrap_or_default();
        let known = self.spec.all_problems().iter().any(|kind| kind.slug == slug);
        broken.check(Rule::DocumentedAnswers, known, || {
            format!(
                "{} answers \"{slug}\" to {} with {}, which it does not document",
                place(self.spec),
                sent.target,
                sent.body.chars().take(80).collect::<String>()
            )
        });
    }

    fn unknown_parameter(&self, sent: &Sent, report: &mut Report, broken: &mut Broken) {
        if self.spec.any_query {
            return;
        }
        let mut with = sent.clone();
        example::add(&mut with.target, "a-parameter-that-nobody-declared", "1");
        if let Some(answer) = self.send(&with, sent.body.as_bytes(), report, broken) {
            broken.check(Rule::DamagedRequests, answer.status == Kind::INVALID_PARAMETER.status, || {
                format!("{} answers {} to a parameter that it does not have", place(self.spec), answer.status)
            });
        }
    }

    fn damaged_bodies(&self, sent: &Sent, report: &mut Report, broken: &mut Broken) {
        if self.spec.body == Body::None || self.spec.access == Access::Signed {
            return;
        }
        let json = Sent { content_type: "application/json".to_owned(), ..sent.clone() };
        if example::reads_json(self.spec) {
            let nested = "[".repeat(NESTED).into_bytes();
            for (number, body) in DAMAGED.iter().copied().chain([nested.as_slice()]).enumerate() {
                let damaged = Sent { body: String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned(), ..json.clone() };
                let Some(answer) = self.send(&damaged, body, report, broken) else { continue };
                self.documented(&damaged, &answer, broken);
                // The first two are no JSON at all.
                broken.check(Rule::DamagedRequests, number > 1 || (400..500).contains(&answer.status), || {
                    format!("{} answers {} to the body {:?}", place(self.spec), answer.status, damaged.body)
                });
            }
        }
        let limit = self.spec.body_limit.unwrap_or(BODY_LIMIT);
        let oversized = format!("\"{}\"", "x".repeat(limit));
        let long = Sent { body: format!("{} bytes", oversized.len()), ..if sent.content_type.is_empty() { json } else { sent.clone() } };
        if let Some(answer) = self.send(&long, oversized.as_bytes(), report, broken) {
            self.documented(&long, &answer, broken);
            broken.check(Rule::DamagedRequests, answer.status >= 400, || format!("{} answers {} to a body over its limit", place(self.spec), answer.status));
        }
    }
}
