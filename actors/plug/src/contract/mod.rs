//! The contract that a plug passes before it may be mounted. A system's `tests/contract.rs` is one call:
//!
//! ```no_run
//! # use tol_plug::Plug;
//! # fn example<Greeting: Plug>() {
//! tol_plug::contract::check::<Greeting>().unwrap_or_else(|violations| panic!("{violations}"));
//! # }
//! ```
//!
//! It runs on a node in memory ([`testing`](crate::testing)).
//!
//! * `names` — names are unique and begin as they must; rows, scopes, problem pages and components fit each other
//! * `settings` — the defaults are valid, an unknown key is refused
//! * `projections` — a rebuild gives the live rows, and the order between partitions changes nothing
//! * `requests` — each row's example, damaged queries, damaged and oversized bodies: answers are those that the row documents
//! * `effects` — runners end at once during an emergency stop, and their examples are what systems request
//! * `example` — requests from what rows and components declare

mod effects;
mod example;
mod names;
mod projections;
mod requests;
mod settings;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;

use crate::{Plug, mount};

/// What a plug promised and did not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// A system breaks [`tol_system::contract`].
    System,
    /// Names are unique, and begin as they must.
    Names,
    /// A row declares what it takes and answers: parameters, scopes, components, answers.
    Rows,
    /// Each kind of problem has a whole page.
    ProblemPages,
    /// Default settings are valid; unknown keys are refused.
    Settings,
    /// A plug starts, opens and closes with its default settings.
    Starts,
    /// Folds do not depend on the order between partitions, nor on what is in memory; examples lead to rows.
    Projections,
    /// A row answers what it documents.
    DocumentedAnswers,
    /// A damaged request is answered with a documented problem.
    DamagedRequests,
    /// Runners start nothing during an emergency stop; their examples are plausible.
    Runners,
    /// Nothing panics.
    NoPanic,
}

/// One broken rule, and how to see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// What happened, where.
    pub detail: String,
}

/// All broken rules that were found; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violations(pub Vec<Violation>);

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} broken rules", self.0.len())?;
        self.0.iter().try_for_each(|violation| writeln!(f, "  {:?}: {}", violation.rule, violation.detail))
    }
}

impl std::error::Error for Violations {}

/// What a passing check looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The plug.
    pub plug: &'static str,
    /// Its systems, as [`tol_system::contract`] reports them.
    pub systems: Vec<tol_system::contract::Report>,
    /// Projections, each with the rows that its examples make.
    pub projections: Vec<(&'static str, usize)>,
    /// Requests that were sent.
    pub requests: usize,
    /// Operations whose example was answered without a problem.
    pub answered: Vec<&'static str>,
    /// Operations whose example was answered with a documented problem: an example that finds something would show more.
    pub refused: Vec<&'static str>,
    /// Runners that were called.
    pub runners: usize,
}

/// Collects what is broken.
#[derive(Default)]
struct Broken(Vec<Violation>);

impl Broken {
    fn add(&mut self, rule: Rule, detail: impl fmt::Display) {
        self.0.push(Violation { rule, detail: detail.to_string() });
    }

    fn check(&mut self, rule: Rule, holds: bool, detail: impl FnOnce() -> String) {
        if !holds {
            self.add(rule, detail());
        }
    }
}

/// Calls something of the plug; `None` where it panicked, which is a violation.
fn caught<T>(broken: &mut Broken, what: &str, call: impl FnOnce() -> T) -> Option<T> {
    let answer = catch_unwind(AssertUnwindSafe(call));
    if let Err(panic) = &answer {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
        broken.add(Rule::NoPanic, format!("{what} panicked: {text}"));
    }
    answer.ok()
}

/// Runs the whole suite over a plug with its default settings.
///
/// # Errors
/// Every violation found.
pub fn check<P: Plug>() -> Result<Report, Violations> {
    let mut broken = Broken::default();
    let mut report = Report { plug: P::NAME, ..Report::default() };
    let mount = mount::<P>();
    let Some(description) = caught(&mut broken, "describe", mount.describe) else { return Err(Violations(broken.0)) };
    names::check(&description, &mut broken);
    settings::check(&mount, &mut broken);
    let systems = match caught(&mut broken, "systems", || (mount.systems)(&settings::none())) {
        Some(Ok(systems)) => systems,
        Some(Err(error)) => {
            broken.add(Rule::Settings, format!("there are no systems with the default settings: {error}"));
            Vec::new()
        }
        None => Vec::new(),
    };
    for system in &systems {
        match tol_system::contract::check(system) {
            Ok(passed) => report.systems.push(passed),
            Err(violations) => violations.iter().for_each(|violation| broken.add(Rule::System, format!("{}: {violation}", system.describe().name))),
        }
    }
    caught(&mut broken, "metrics", description.metrics);
    projections::check(&mount, &mut report, &mut broken);
    effects::check::<P>(&description, &systems, &mut report, &mut broken);
    requests::check::<P>(&systems, &mut report, &mut broken);
    if broken.0.is_empty() { Ok(report) } else { Err(Violations(broken.0)) }
}
