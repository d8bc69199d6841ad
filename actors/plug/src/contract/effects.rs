//! Runners of a plug: what they take, and that they end when nothing may act.

use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::Value;
use tol_system::{AnySystem, CancelReason, EffectInfo, EffectRequest, Failure, OnStop};

use super::{Broken, Report, Rule, caught, settings};
use crate::testing::TestServer;
use crate::{Description, Effect, Platform, Plug};

/// Within which a runner has to notice that it is cancelled.
const NOTICES_WITHIN: Duration = Duration::from_secs(2);
/// Runners of the platform.
const OF_THE_NODE: &[&str] = &["admit", "http"];

pub(super) fn check<P: Plug>(plug: &Description, systems: &[Arc<dyn AnySystem>], report: &mut Report, broken: &mut Broken) {
    for (number, runner) in plug.runners.iter().enumerate() {
        let name = runner.name;
        let Some(examples) = caught(broken, name, runner.examples) else { continue };
        broken.check(Rule::Runners, !examples.is_empty(), || format!("{name} has no example"));
        broken.check(Rule::Runners, runner.at_once > 0 && runner.tries > 0 && !runner.limit.is_zero(), || {
            format!("{name} can do nothing: at_once {}, tries {}, limit {:?}", runner.at_once, runner.tries, runner.limit)
        });
        report.runners += 1;
        // A runner that finishes what it began may not be called: what it does outside cannot be taken back.
        if runner.on_stop == OnStop::Finish {
            continue;
        }
        for (payload, _) in examples {
            match stopped::<P>(number, name, payload) {
                Ok(()) => {}
                Err(problem) => broken.add(Rule::Runners, format!("{name} {problem}")),
            }
        }
    }
    match requests::<P>(systems) {
        Ok(requests) => plausible(plug, &requests, broken),
        Err(problem) => broken.add(Rule::Runners, problem),
    }
}

/// What the systems request, given their examples.
fn requests<P: Plug>(systems: &[Arc<dyn AnySystem>]) -> Result<Vec<EffectRequest>, String> {
    let server = TestServer::start::<P>(&settings::none()).map_err(|error| error.to_string())?;
    super::requests::fill(&server, systems);
    Ok(server.platform.effects_requested())
}

/// Each request is of a runner that is there, and looks like one of its examples.
fn plausible(plug: &Description, requests: &[EffectRequest], broken: &mut Broken) {
    let members = |payload: &Value| payload.as_object().map(|fields| fields.keys().cloned().collect::<BTreeSet<String>>());
    for request in requests {
        let Some(runner) = plug.runners.iter().find(|runner| runner.name == request.runner) else {
            let known = OF_THE_NODE.contains(&request.runner.as_str());
            broken.check(Rule::Runners, known, || format!("a system requests an effect of the runner {}, which is not there", request.runner));
            continue;
        };
        let alike = (runner.examples)().iter().any(|(payload, _)| members(payload) == members(&request.payload));
        broken.check(Rule::Runners, alike, || format!("no example of {} has the members of what a system requests: {}", runner.name, request.payload));
    }
}

/// Runs an effect that is cancelled already, on a node whose stop is engaged.
fn stopped<P: Plug>(number: usize, runner: &'static str, payload: Value) -> Result<(), String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let outcome = TestServer::start::<P>(&settings::none()).map_err(|error| error.to_string()).map(|server| {
            server.platform.set_stopped(true);
            let info = EffectInfo {
                key: "contract".to_owned(),
                system: P::NAME.to_owned(),
                partition: 0,
                subject: "customer/contract".to_owned(),
                correlation: "contract".to_owned(),
                runner: runner.to_owned(),
                payload,
                attempt: 1,
            };
            let effect = tol_system::Effect::new(info, std::env::temp_dir().join(format!("tol-contract-{}", std::process::id())));
            effect.cancel(CancelReason::Stopped);
            let platform: Arc<dyn Platform> = server.platform.clone();
            let ended = server.mounted.run(number, &Effect { platform: &platform, effect: &effect });
            let _ = effect.remove_scratch();
            ended
        });
        let _ = sender.send(outcome);
    });
    match receiver.recv_timeout(NOTICES_WITHIN) {
        Ok(Ok(Err(Failure::Cancelled | Failure::Retry { .. }))) => Ok(()),
        Ok(Ok(Ok(value))) => Err(format!("did its work during an emergency stop: {value}")),
        Ok(Ok(Err(failure))) => Err(format!("gave its effect up for good during an emergency stop: {failure}")),
        Ok(Err(error)) => Err(error),
        Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("did not notice within {} s that it was cancelled", NOTICES_WITHIN.as_secs())),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err("panicked while it was cancelled".to_owned()),
    }
}
