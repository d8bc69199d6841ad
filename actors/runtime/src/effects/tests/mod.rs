//! Effects, first without threads, then with them.

mod queue;
mod service;

use super::*;
use crate::control::ControlGate;
use tol_events::EventTime;
use tol_system::EffectRequest;

const LIMITS: RunnerLimits = RunnerLimits { at_once: 1, tries: 3, limit: Duration::from_secs(10), on_stop: OnStop::Cancel };

fn job(system: &str, runner: &str, key: &str) -> Job {
    let request = EffectRequest { runner: runner.into(), payload: Value::Null };
    let effect = PendingEffect { subject: "customer/1".into(), request, correlation: "c".into() };
    Job { system: system.into(), partition: 0, key: key.into(), effect }
}

fn open_gate() -> ControlGate {
    let gate = ControlGate::default();
    gate.renew(u64::MAX);
    gate
}

fn stop(gate: &ControlGate) {
    gate.engage("test", "me", EventTime::default());
}

fn release(gate: &ControlGate) {
    gate.release("done", "me", EventTime::default());
}
