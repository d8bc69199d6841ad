//! What handlers hold.
//!
//! * [`CdpService`] — settings, hashes, the node
//! * `profile` — a profile put together from rows, and opened
//! * `members` — who is in which audience, in memory
//! * `evaluator` — evaluates audiences as events arrive and windows slide
//! * `named` — identifiers whose value the log has

mod evaluator;
mod members;
mod named;
mod profile;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use regex::RegexSet;
use tol_plug::settings::SettingError;
use tol_plug::{Platform, Problem};

use crate::Settings;
use crate::collect::Hasher;
use crate::graph::Rules;

pub(crate) use evaluator::Evaluator;
pub(crate) use members::Members;
pub(crate) use named::Named;
pub(crate) use profile::{Profile, by_identifier, by_profile};

/// The serving side of the customer data platform.
pub struct CdpService {
    pub(crate) settings: Settings,
    pub(crate) rules: Rules,
    pub(crate) blocked: RegexSet,
    pub(crate) named: Named,
    pub(crate) members: Members,
    pub(crate) evaluator: Evaluator,
    hasher: Hasher,
    in_flight: AtomicUsize,
    platform: OnceLock<Weak<dyn Platform>>,
}

/// Calls that are on their way into the log; they count until this is dropped.
pub(crate) struct Entered<'s>(&'s AtomicUsize, usize);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl CdpService {
    pub(crate) fn new(settings: Settings, data: &Path) -> Result<Self, SettingError> {
        settings.check()?;
        let blocked = settings.blocked_set().map_err(|error| SettingError::new("blocked", "…", error.to_string()))?;
        Ok(Self {
            rules: settings.rules(),
            blocked,
            named: Named::default(),
            members: Members::default(),
            evaluator: Evaluator::default(),
            hasher: Hasher::new(settings.key()?, data),
            in_flight: AtomicUsize::new(0),
            platform: OnceLock::new(),
            settings,
        })
    }

    /// The id of an identifier whose value is normal already.
    pub(crate) fn id(&self, identifier_type: &str, value: &str) -> Result<String, Problem> {
        self.hasher.id(identifier_type, value).map_err(|error| Problem::unavailable(format!("the key of identifiers cannot be read: {error}"), 5))
    }

    /// Lets calls in, if there is room.
    pub(crate) fn enter(&self, calls: usize) -> Option<Entered<'_>> {
        let before = self.in_flight.fetch_add(calls, Ordering::Relaxed);
        let entered = Entered(&self.in_flight, calls);
        (before == 0 || before + calls <= self.settings.calls_at_once).then_some(entered)
    }

    /// Keeps the node, and starts the evaluator.
    pub(crate) fn opened(self: &Arc<Self>, platform: &Arc<dyn Platform>) {
        let _ = self.platform.set(Arc::downgrade(platform));
        Evaluator::start(self, platform);
    }

    /// This node decides for these partitions from now on.
    pub(crate) fn owns(&self, _: &BTreeSet<u32>) {
        self.evaluator.all();
    }
}
