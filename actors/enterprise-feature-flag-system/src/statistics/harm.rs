//! Has the treatment done harm? An exact sequential test on counts, one-sided, that may be looked at as often as one likes.
//!
//! **Why the error is what it says.** In one look the arms bring nc and nt new subjects, of which x in total suffer the harmful event. Given x, the
//! number xt among the treated has, if the treatment does nothing, the hypergeometric law of Fisher's exact test: no unknown rate is left in it. (If
//! the treatment helps, xt is stochastically smaller.) The looks are independent given their totals, so S = Σ xt has a law that can be computed to
//! the last digit by convolution, restricted after each look to the paths not yet rejected (Armitage, McPherson & Rowe 1969). Each look may use of
//! the error budget what α(ι) allows and what was not used so far, α non-decreasing and ≤ `alpha` (Lan & DeMets 1983); the boundary is the smallest
//! count whose tail fits. Hence P(ever rejected | no harm) ≤ `alpha` at every number of looks, for rates of any size, also when rates drift
//! from look to look (each look is a stratum of its own, as in Cochran–Mantel–Haenszel) and when the share of treated changes with the ramp.
//! Nothing in this is asymptotic. What it needs: that looks are not scheduled by the difference seen (a clock and a number of subjects are fine),
//! and that a subject is counted once its outcome is known. [`super::betting`] needs no such condition, and takes longer.
//!
//! **Where the budget is spent** changes power, never the error. The clock is ι = (Δ / standard error)², Δ the smallest harm worth a rollback:
//! ι = Δ² V / v̂², with V the sum of the hypergeometric variances and v̂ = p̂(1−p̂) from pooled counts, all of which are known before xt is.
//! Harm of size κΔ moves the standardised statistic to κ√ι, whatever the rates, the allocation and the speed of the traffic.

use serde::{Deserialize, Serialize};

use super::Error;
use super::fisher::{Law, NEGLIGIBLE, treated_events, treated_happenings};

/// What came in between two looks: subjects whose outcome is known, and how many of them suffered the harmful event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// New subjects of the control.
    pub control_subjects: u64,
    /// Those of them with the event.
    pub control_events: u64,
    /// New subjects of the treatment.
    pub treatment_subjects: u64,
    /// Those of them with the event.
    pub treatment_events: u64,
}

impl Look {
    /// The same subjects with the other outcome counted: a conversion that gets rarer is a non-conversion that gets more frequent.
    pub fn complement(self) -> Self {
        Self {
            control_events: self.control_subjects.saturating_sub(self.control_events),
            treatment_events: self.treatment_subjects.saturating_sub(self.treatment_events),
            ..self
        }
    }

    /// The arms exchanged.
    pub fn swapped(self) -> Self {
        Self {
            control_subjects: self.treatment_subjects,
            control_events: self.treatment_events,
            treatment_subjects: self.control_subjects,
            treatment_events: self.control_events,
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.control_subjects += other.control_subjects;
        self.control_events += other.control_events;
        self.treatment_subjects += other.treatment_subjects;
        self.treatment_events += other.treatment_events;
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        for (what, successes, subjects) in
            [("control", self.control_events, self.control_subjects), ("treatment", self.treatment_events, self.treatment_subjects)]
        {
            if successes > subjects {
                return Err(Error::Counts { what, successes, subjects });
            }
        }
        Ok(())
    }
}

/// The smallest harm worth a rollback, as a difference of rates. It says where the error budget is best spent; the error does not depend on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmallestHarm {
    /// Half a percentage point; half the rate where that is less. The shares of the budget were tuned with this default.
    #[default]
    Automatic,
    /// This much, e.g. 0.002 for a fifth of a percentage point.
    Difference(f64),
}

impl SmallestHarm {
    const AUTOMATIC: f64 = 0.005;

    fn at(self, rate: f64, outcome: Outcome) -> f64 {
        match (self, outcome) {
            (Self::Automatic, Outcome::Once) => Self::AUTOMATIC.min(0.5 * rate.min(1.0 - rate)),
            // A rate has no end at 1: a tenth of it, where half a percentage point is less than that.
            (Self::Automatic, Outcome::Repeated) => Self::AUTOMATIC.max(0.1 * rate).min(0.5 * rate),
            (Self::Difference(difference), _) => difference,
        }
    }
}

/// What can befall a subject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The event, or not: Fisher's law, exact whatever the rate.
    #[default]
    Once,
    /// The event any number of times, independently: exact where happenings follow Poisson's law. Where a few subjects have most of them, they do not,
    /// and the error is larger than it says.
    Repeated,
}

/// How strict the test is, and what it looks for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Design {
    /// Bound on the probability that a harmless treatment is ever rejected, in (0, 1).
    pub alpha: f64,
    /// Where the budget is spent.
    pub smallest_harm: SmallestHarm,
    /// Odds ratio up to which a treatment counts as harmless, ≥ 1 (for rare events, the ratio of rates: 1.1 tolerates a tenth more). The law of
    /// xt at an odds ratio of exactly this is Fisher's noncentral hypergeometric, as exact as the central one.
    pub tolerated_odds_ratio: f64,
    /// What is counted.
    #[serde(default)]
    pub outcome: Outcome,
}

impl Default for Design {
    /// A budget of 4%: a simulation of a few thousand rollouts measures a true 5% as more than 5% every other time, a true 4% hardly ever.
    fn default() -> Self {
        Self { alpha: 0.04, smallest_harm: SmallestHarm::Automatic, tolerated_odds_ratio: 1.0, outcome: Outcome::Once }
    }
}

/// What a look showed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether harm is proven (and stays so: a rejection is never taken back).
    pub harmful: bool,
    /// S: harmful events among the treated.
    pub observed: u64,
    /// The same, had the treatment done no more than is tolerated.
    pub expected: f64,
    /// S at or above this proves harm at this look; absent where no count would.
    pub boundary: Option<u64>,
    /// Error used up so far, at most `alpha`.
    pub spent: f64,
    /// ι, the clock: (smallest harm / standard error)².
    pub information: f64,
}

/// The test between two looks. It is a fold: the same looks give the same state, on every machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HarmTest {
    design: Design,
    /// Counts that wait for the other arm: a look with one arm compares nothing.
    pending: Look,
    /// All looks taken together.
    total: Look,
    observed: u64,
    expected: f64,
    variance: f64,
    spent: f64,
    /// The largest budget any look was allowed: harm that begins late raises the pooled rate, which puts the clock back.
    #[serde(default)]
    budget: f64,
    harmful: bool,
    /// P(S = (first + i)·unit, not rejected so far | no harm).
    #[serde(with = "super::packed")]
    mass: Vec<f64>,
    first: u64,
    /// Spacing of the lattice; 1 until the law is wider than [`CELLS`].
    unit: u64,
}

/// Cells kept of the law of S: ± 9 standard deviations of 450 cells each.
const CELLS: usize = 8192;

impl HarmTest {
    /// A test that has seen nothing.
    ///
    /// # Errors
    /// [`Error::Range`] for an `alpha` outside (0, 1), a harm outside (0, 1) or tolerated odds below 1.
    pub fn new(design: Design) -> Result<Self, Error> {
        if !(design.alpha > 0.0 && design.alpha < 1.0) {
            return Err(Error::Range { what: "alpha", value: design.alpha, expected: "between 0 and 1" });
        }
        if !(design.tolerated_odds_ratio >= 1.0 && design.tolerated_odds_ratio.is_finite()) {
            return Err(Error::Range { what: "tolerated_odds_ratio", value: design.tolerated_odds_ratio, expected: "1 or more" });
        }
        if let SmallestHarm::Difference(value) = design.smallest_harm
            && !(value > 0.0 && value < 1.0)
        {
            return Err(Error::Range { what: "smallest_harm", value, expected: "between 0 and 1" });
        }
        Ok(Self {
            design,
            pending: Look::default(),
            total: Look::default(),
            observed: 0,
            expected: 0.0,
            variance: 0.0,
            spent: 0.0,
            budget: 0.0,
            harmful: false,
            mass: vec![1.0],
            first: 0,
            unit: 1,
        })
    }

    /// What came in since the last look.
    ///
    /// # Errors
    /// [`Error::Counts`] if an arm has more events than subjects; the test is then as it was.
    pub fn look(&mut self, look: Look) -> Result<Verdict, Error> {
        if self.design.outcome == Outcome::Once {
            look.check()?;
        }
        self.pending.add(look);
        if self.pending.control_subjects == 0 || self.pending.treatment_subjects == 0 {
            return Ok(self.verdict(None));
        }
        let look = core::mem::take(&mut self.pending);
        self.total.add(look);
        let law = match self.design.outcome {
            Outcome::Once => treated_events(&look, self.design.tolerated_odds_ratio),
            Outcome::Repeated => treated_happenings(&look, self.design.tolerated_odds_ratio),
        };
        self.observed += look.treatment_events;
        self.expected += law.mean;
        self.variance += law.variance;
        if self.harmful {
            return Ok(self.verdict(None));
        }
        self.convolve(&law);
        let boundary = self.spend();
        self.harmful = boundary.is_some_and(|boundary| self.observed >= boundary);
        Ok(self.verdict(boundary))
    }

    /// The looks so far, taken together.
    pub fn total(&self) -> Look {
        self.total
    }

    fn verdict(&self, boundary: Option<u64>) -> Verdict {
        Verdict { harmful: self.harmful, observed: self.observed, expected: self.expected, boundary, spent: self.spent, information: self.information() }
    }

    /// ι from what is known before xt is: subjects, and events of both arms together.
    fn information(&self) -> f64 {
        let subjects = (self.total.control_subjects + self.total.treatment_subjects) as f64;
        let events = (self.total.control_events + self.total.treatment_events) as f64;
        // Half an event and half a non-event, so that a rate of 0 does not divide by it.
        let rate = (events + 0.5) / (subjects + 1.0);
        let spread = match self.design.outcome {
            Outcome::Once => rate * (1.0 - rate),
            Outcome::Repeated => rate,
        };
        let ratio = self.design.smallest_harm.at(rate, self.design.outcome) / spread;
        ratio * ratio * self.variance
    }

    fn convolve(&mut self, law: &Law) {
        while (self.mass.len() as u64 + law.mass.len() as u64 / self.unit) as usize > CELLS {
            self.coarsen();
        }
        let (first, kernel) = law.on_lattice(self.unit);
        let mut sum = vec![0.0; self.mass.len() + kernel.len() - 1];
        for (shift, &weight) in kernel.iter().enumerate() {
            for (cell, &mass) in sum[shift..].iter_mut().zip(&self.mass) {
                *cell += weight * mass;
            }
        }
        self.first += first;
        self.mass = sum;
        let least = NEGLIGIBLE * self.mass.iter().copied().fold(0.0, f64::max);
        let below = self.mass.iter().take_while(|&&mass| mass < least).count();
        self.mass.drain(..below);
        self.first += below as u64;
        while self.mass.len() > 1 && self.mass.last().is_some_and(|&mass| mass < least) {
            self.mass.pop();
        }
    }

    /// Doubles the spacing. A cell between two new ones gives half its mass to each: the mean stays, the spread grows a little, so the tail is
    /// never made smaller than it is but by less than (unit / standard deviation)².
    fn coarsen(&mut self) {
        let first = self.first / 2;
        let mut mass = vec![0.0; self.mass.len() / 2 + 2];
        for (index, &value) in self.mass.iter().enumerate() {
            let position = self.first + index as u64;
            let cell = (position / 2 - first) as usize;
            if position.is_multiple_of(2) {
                mass[cell] += value;
            } else {
                mass[cell] += 0.5 * value;
                mass[cell + 1] += 0.5 * value;
            }
        }
        (self.first, self.mass, self.unit) = (first, mass, self.unit * 2);
    }

    /// Cuts off the tail that the budget allows, and says where it begins.
    fn spend(&mut self) -> Option<u64> {
        self.budget = self.budget.max(self.design.alpha * share_of_budget(self.information()));
        let allowed = self.budget - self.spent;
        let mut tail = 0.0;
        let mut kept = self.mass.len();
        while kept > 0 && tail + self.mass[kept - 1] <= allowed {
            kept -= 1;
            tail += self.mass[kept];
        }
        if self.budget <= 0.0 {
            return None;
        }
        self.mass.truncate(kept);
        self.spent += tail;
        if self.mass.is_empty() {
            self.mass.push(0.0);
        }
        // Counts beyond the last cell kept have a tail that fits, too.
        Some((self.first + kept as u64) * self.unit)
    }
}

/// The share of the budget that may be used up to ι; non-decreasing, 0 at 0, 1 at infinity.
///
/// Evenly on ln ι between 0.6 and 12 (where harm of 4Δ to Δ is found), more of it at three formal analyses (about where half of the rollouts with
/// 2Δ and with Δ stand at a z of 2, and before the end of a rollout planned for 90% power), a little before for catastrophes and after for the small.
fn share_of_budget(information: f64) -> f64 {
    const FROM: f64 = 0.6;
    const UNTIL: f64 = 12.0;
    const EARLY: f64 = 0.04;
    const LATE: f64 = 0.04;
    /// (ι at which an analysis begins, factor over which it stretches, share)
    const ANALYSES: [(f64, f64, f64); 3] = [(0.9, 1.5, 0.25), (4.0, 1.4, 0.10), (11.0, 1.1, 0.12)];
    if information <= 0.0 {
        return 0.0;
    }
    let progress = |from: f64, factor: f64| (libm::log(information / from) / libm::log(factor)).clamp(0.0, 1.0);
    let analyses: f64 = ANALYSES.iter().map(|&(_, _, share)| share).sum();
    let even = (1.0 - EARLY - LATE - analyses) * progress(FROM, UNTIL / FROM);
    let early = EARLY * (information / FROM).min(1.0);
    let late = LATE * (1.0 - UNTIL / information.max(UNTIL));
    even + early + late + ANALYSES.iter().map(|&(from, factor, share)| share * progress(from, factor)).sum::<f64>()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
#[path = "harm_tests.rs"]
mod tests;
