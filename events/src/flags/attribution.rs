//! Which customer met which arm of a flag, what happened to them after that, and what became of a flag's services: how facts about customers and services
//! reach the flag. All but the first are emitted by the systems.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DeploymentEvent;
use crate::domain::{FieldError, domain_event, filled, filled_if_present};
use crate::time::EventTime;

/// Metrics of one exposure.
const MOST: usize = 50;
/// Longest name of a flag, an arm or a metric: they are remembered for each customer.
const LONGEST: usize = 200;
/// Longest time in which outcomes count, 30 days.
pub const LONGEST_WINDOW_MILLIS: u64 = 30 * 86_400_000;

/// `flags.exposure_observed.v1`: a customer met a flag whose rollout or experiment measures something of customers. The node makes it of `POST
/// /flag-exposures`, as it knows what is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExposureObserved<'a> {
    /// The customer.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// Where.
    #[serde(borrow)]
    pub environment: Cow<'a, str>,
    /// `rollout/{id}` or `experiment/{id}`.
    #[serde(borrow)]
    pub trial: Cow<'a, str>,
    /// `enabled`, `disabled`, or a variant.
    #[serde(borrow)]
    pub arm: Cow<'a, str>,
    /// What is measured: `billing.payment_failed`, `usage.export`, `billing.payment_succeeded.amount.EUR`, …
    pub metrics: Vec<String>,
    /// For how long after the exposure outcomes count, milliseconds, from 1 to 30 days.
    pub window_millis: u64,
}

domain_event!(ExposureObserved, "flags.exposure_observed.v1", "customer" / customer_id, |this| {
    named("key", &this.key)?;
    named("environment", &this.environment)?;
    trial(&this.trial)?;
    named("arm", &this.arm)?;
    if this.metrics.is_empty() || this.metrics.len() > MOST {
        return Err(FieldError::new("metrics", format!("has {} entries; it must have 1 to {MOST}", this.metrics.len())));
    }
    this.metrics.iter().try_for_each(|metric| named("metrics", metric))?;
    if !(1..=LONGEST_WINDOW_MILLIS).contains(&this.window_millis) {
        return Err(FieldError::new("window_millis", format!("is {}; it must be 1 to {LONGEST_WINDOW_MILLIS}", this.window_millis)));
    }
});

fn named(field: &str, text: &str) -> Result<(), FieldError> {
    filled(field, text)?;
    if text.chars().count() > LONGEST {
        return Err(FieldError::new(field, format!("is longer than {LONGEST} characters; it is remembered for each customer")));
    }
    Ok(())
}

fn trial(text: &str) -> Result<(), FieldError> {
    named("trial", text)?;
    match text.split_once('/') {
        Some(("rollout" | "experiment", id)) if !id.is_empty() => Ok(()),
        _ => Err(FieldError::new("trial", format!("is \"{text}\"; it must be rollout/ID or experiment/ID"))),
    }
}

/// `flags.exposure_followed.v1`: what happens to the customer from now on counts for that arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExposureFollowed<'a> {
    /// The customer.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// Where.
    #[serde(borrow)]
    pub environment: Cow<'a, str>,
    /// `rollout/{id}` or `experiment/{id}`.
    #[serde(borrow)]
    pub trial: Cow<'a, str>,
    /// The arm that was met first.
    #[serde(borrow)]
    pub arm: Cow<'a, str>,
    /// What is measured.
    pub metrics: Vec<String>,
    /// When it was met.
    pub exposed_at: EventTime,
    /// What happens until then counts.
    pub until: EventTime,
    /// When it is reported: a while later, as facts may be late.
    pub closes_at: EventTime,
}

domain_event!(ExposureFollowed, "flags.exposure_followed.v1", "customer" / customer_id, |this| {
    filled("key", &this.key)?;
    trial(&this.trial)?;
});

/// `flags.outcome_noted.v1`: something that is measured happened to a customer, or they met another arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OutcomeNoted<'a> {
    /// The customer.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// What it means for each exposure.
    pub outcomes: Vec<Outcome>,
}

/// What happened after an exposure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// The flag.
    pub key: String,
    /// `rollout/{id}` or `experiment/{id}`.
    pub trial: String,
    /// Whether the customer met another arm.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub crossed: bool,
    /// By how much each metric grew: times, or minor units of an amount.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, i64>,
}

domain_event!(OutcomeNoted, "flags.outcome_noted.v1", "customer" / customer_id, |this| {
    if this.outcomes.is_empty() {
        return Err(FieldError::new("outcomes", "is empty; something happened"));
    }
});

/// `flags.outcome_attributed.v1`: what happened to a customer in all the time that counts; for the flag. Each customer once for each trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OutcomeAttributed<'a> {
    /// The customer.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// Where.
    #[serde(borrow)]
    pub environment: Cow<'a, str>,
    /// `rollout/{id}` or `experiment/{id}`.
    #[serde(borrow)]
    pub trial: Cow<'a, str>,
    /// The arm that was met first.
    #[serde(borrow)]
    pub arm: Cow<'a, str>,
    /// When it was met.
    pub exposed_at: EventTime,
    /// Each metric: times, or minor units of an amount; 0 is data.
    #[serde(default)]
    pub values: BTreeMap<String, i64>,
    /// Why it does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<Exclusion>,
}

/// Why an exposure does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// The customer met several arms.
    Crossed,
    /// Too many trials are remembered of this customer already.
    Dropped,
    /// The customer met it before the step of the rollout that runs: another share had it then.
    EarlierStep,
    /// What was measured is no number of the kind that the trial has.
    Incomparable,
}

domain_event!(OutcomeAttributed, "flags.outcome_attributed.v1", "customer" / customer_id, |this| {
    filled("key", &this.key)?;
    filled("arm", &this.arm)?;
    trial(&this.trial)?;
});

/// `flags.exposure_forgotten.v1`: nothing is remembered of an exposure any more; the next one is a first one again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExposureForgotten<'a> {
    /// The customer.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// `rollout/{id}` or `experiment/{id}`.
    #[serde(borrow)]
    pub trial: Cow<'a, str>,
}

domain_event!(ExposureForgotten, "flags.exposure_forgotten.v1", "customer" / customer_id, |this| {
    filled("key", &this.key)?;
    trial(&this.trial)?;
});

/// `flags.outcome_counted.v1`: the flag system took an outcome in; a look at it is taken together with others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OutcomeCounted<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// `rollout/{id}` or `experiment/{id}`.
    #[serde(borrow)]
    pub trial: Cow<'a, str>,
    /// `enabled`, `disabled`, or a variant.
    #[serde(borrow)]
    pub arm: Cow<'a, str>,
    /// Each metric: times, or minor units of an amount.
    #[serde(default)]
    pub values: BTreeMap<String, i64>,
    /// Why it does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<Exclusion>,
}

domain_event!(OutcomeCounted, "flags.outcome_counted.v1", "flag" / key, |this| {
    filled("arm", &this.arm)?;
    trial(&this.trial)?;
});

/// `flags.service_named.v1`: a flag names a service whose deployments and incidents concern it, or no longer does; for the service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceNamed<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The service.
    #[serde(borrow)]
    pub service: Cow<'a, str>,
    /// Whether it names it.
    pub named: bool,
}

domain_event!(ServiceNamed, "flags.service_named.v1", "flag" / key, |this| {
    filled("service", &this.service)?;
});

/// `flags.service_followed.v1`: whether a flag is told of what happens to a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceFollowed<'a> {
    /// The service.
    #[serde(borrow)]
    pub service: Cow<'a, str>,
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// Whether it is told.
    pub followed: bool,
    /// Why it is not, although it names the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Cow<'a, str>>,
}

domain_event!(ServiceFollowed, "flags.service_followed.v1", "service" / service, |this| {
    filled("key", &this.key)?;
    filled_if_present("problem", this.problem.as_deref())?;
});

/// `flags.deployment_attributed.v1`: something happened to a service that a flag names; for the flag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentAttributed<'a> {
    /// The service.
    #[serde(borrow)]
    pub service: Cow<'a, str>,
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// Where.
    #[serde(borrow)]
    pub environment: Cow<'a, str>,
    /// The deployment or incident.
    #[serde(borrow)]
    pub deployment_id: Cow<'a, str>,
    /// What happened.
    pub what: DeploymentEvent,
}

domain_event!(DeploymentAttributed, "flags.deployment_attributed.v1", "service" / service, |this| {
    filled("key", &this.key)?;
    filled("environment", &this.environment)?;
});
