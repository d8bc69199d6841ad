//! Every registered system in the simulated cluster (`tol_runtime::simulation::guests`): each by itself, and all together with the projections.

mod projections;

use std::sync::Arc;
use std::time::Duration;

use tol_config::Config;
use tol_runtime::simulation::guests::Guests;
use tol_system::AnySystem;
use tree_of_life::node::registry;

/// Seeds of each system, with which one takes a few seconds; `TOL_SIMULATE` gives another number.
const SEEDS: u64 = 60;
/// Seeds of all together, whose nodes have a RocksDB each.
const SEEDS_TOGETHER: u64 = 8;
/// What a system may take in CI, with an ample margin for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

fn seeds() -> u64 {
    std::env::var("TOL_SIMULATE").map_or(SEEDS, |seeds| seeds.parse().expect("TOL_SIMULATE is a number of seeds"))
}

/// All registered systems, made anew.
fn systems() -> Vec<Arc<dyn AnySystem>> {
    registry::systems(&Config::default()).unwrap()
}

/// The registered system of this name alone.
fn alone(name: String) -> Guests {
    Guests::new(move || systems().into_iter().filter(|system| system.describe().name == name).collect())
}

#[test]
fn every_registered_system_decides_under_faults_what_it_decides_without() {
    let (seeds, mut broken) = (seeds(), Vec::new());
    for name in systems().iter().map(|system| system.describe().name.to_owned()) {
        match alone(name.clone()).check(0..seeds) {
            Ok(report) => {
                println!("{report}");
                assert!(report.events() > 5 * seeds && report.stats.claims > 0 && report.stats.parked > 0, "a check of nothing: {report}");
                assert!(seeds > SEEDS || report.took < LIMIT, "{report} took {:?}", report.took);
            }
            Err(failure) => broken.push(format!("{name}: {failure}")),
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn all_systems_together_and_the_projections_of_their_events_agree() {
    let guests = Guests::new(systems).with_views(projections::on_folders);
    let report = guests.check(0..SEEDS_TOGETHER).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{report}");
    let silent: Vec<String> = systems()
        .iter()
        .map(|system| system.describe())
        .filter(|system| !system.emits.iter().any(|event_type| report.emitted.contains_key(*event_type)))
        .map(|system| system.name.to_owned())
        .collect();
    assert!(silent.is_empty(), "{silent:?} emitted nothing: {report}");
}

#[test]
fn a_projection_that_misses_an_event_is_noticed() {
    let guests = Guests::new(systems).with_views(projections::with_one_that_forgets);
    let failure = guests.check(0..10).expect_err("nobody noticed");
    assert!(failure.problem.contains("digests of views"), "{failure}");
}
