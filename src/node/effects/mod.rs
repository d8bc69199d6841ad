//! The effects of this node: what runs them, and where their results go.
//!
//! * [`admit`] — the platform's runner that admits a fact
//! * [`http`] — the platform's runner that sends an HTTP request

mod admit;
mod http;

use std::sync::{Arc, OnceLock};

use tol_plug::Platform;
use tol_runtime::effects::{EffectRunner, Effects, Offer, RunnerLimits};
use tol_runtime::supervision::{Command, RootHandle};
use tol_system::Failure;

use super::Node;

/// The node's effects, none yet. `owners` is set once the systems run; results that end before that are offered again.
pub(super) fn start(node: &Arc<Node>, owners: Arc<OnceLock<RootHandle>>) -> Effects {
    let offer_to = Arc::new(move |offer: Offer| {
        let Offer { system, partition, key, outcome, at } = offer;
        owners.get().is_some_and(|root| root.command(&system, Command::EffectEnded(partition, key, outcome, at)))
    });
    Effects::new(runners(node), node.gate.clone(), node.started, node.data().join("effects"), offer_to)
}

/// The platform's runners, and those of the systems that are enabled.
fn runners(node: &Arc<Node>) -> Vec<EffectRunner> {
    let platform: Arc<dyn Platform> = node.clone();
    let platform = Arc::downgrade(&platform);
    let mut runners = vec![admit::runner(Arc::downgrade(node)), http::runner(http::AllowedUrls::of(node))];
    for (entry, mounted, _) in node.plugs.enabled() {
        for (number, spec) in entry.description.runners.iter().enumerate() {
            let (mounted, platform) = (mounted.clone(), platform.clone());
            let run = move |effect: &tol_system::Effect| match platform.upgrade() {
                Some(platform) => mounted.run(number, &tol_plug::Effect { platform: &platform, effect }),
                None => Err(Failure::Cancelled),
            };
            runners.push(EffectRunner {
                system: Some(entry.description.name.to_owned()),
                name: spec.name.to_owned(),
                limits: RunnerLimits { at_once: spec.at_once, tries: spec.tries, limit: spec.limit, on_stop: spec.on_stop },
                run: Arc::new(run),
            });
        }
    }
    runners
}
