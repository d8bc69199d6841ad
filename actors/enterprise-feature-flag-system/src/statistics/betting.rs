//! Harm as an e-process: no plan, no horizon, looks scheduled as one likes, even by what was seen. And the confidence sequence that belongs to it.
//!
//! **The bet.** Null: θt ≤ θc + Δ. Before a look with nc and nt new subjects, baselines rt = rc + Δ and stakes λc, λt ≥ 0 with nc λc = nt λt are
//! chosen from what came before. The look pays
//!
//! E = Π over the control (1 − λc (y − rc)) · Π over the treatment (1 + λt (y − rt)).
//!
//! Under the null its expectation is at most (1 − λc (θc − rc))^nc (1 + λt (θc + Δ − rt))^nt, by arithmetic ≥ geometric mean at most
//! (1 + (nt λt − nc λc)(θc − rc)/n)^n = 1. So the product over looks is a test supermartingale, and by Ville's inequality it ever reaches 1/α with
//! probability at most α: exactly, for any rates, even rates that change from look to look. With Δ = 0 this is the safe test for two streams of
//! Turner, Ly & Grünwald 2021 (arXiv 2106.02693) with the pooled rate as the null's; stakes come from a mixture over effect sizes, a
//! mixture of supermartingales being one, too.

use serde::{Deserialize, Serialize};

use super::Error;
use super::functions::log_sum_exp;
use super::harm::Look;

/// Standardised effects δ/√(2v) that are bet on with equal wealth: from a tenth of 1% against 1% upwards to a half against nothing.
const EFFECTS: [f64; 8] = [0.006, 0.012, 0.024, 0.048, 0.1, 0.2, 0.4, 0.8];
/// A stake never risks more than this part of the wealth on one subject.
const LARGEST_STAKE: f64 = 0.9;

/// Wealth of a gambler who bets on harm beyond `margin`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BettingTest {
    margin: f64,
    total: Look,
    pending: Look,
    log_wealth: [f64; EFFECTS.len()],
    log_peak: f64,
}

impl BettingTest {
    /// Against the null that the treatment's rate is at most the control's plus `margin`, in (−1, 1).
    ///
    /// # Errors
    /// [`Error::Range`]
    pub fn new(margin: f64) -> Result<Self, Error> {
        if !(margin > -1.0 && margin < 1.0) {
            return Err(Error::Range { what: "margin", value: margin, expected: "between -1 and 1" });
        }
        Ok(Self { margin, total: Look::default(), pending: Look::default(), log_wealth: [0.0; EFFECTS.len()], log_peak: 0.0 })
    }

    /// What came in since the last look.
    ///
    /// # Errors
    /// [`Error::Counts`] if an arm has more events than subjects; the wealth is then as it was.
    pub fn look(&mut self, look: Look) -> Result<(), Error> {
        look.check()?;
        self.pending.add(look);
        if self.pending.control_subjects == 0 || self.pending.treatment_subjects == 0 {
            return Ok(());
        }
        let look = core::mem::take(&mut self.pending);
        let (nc, nt) = (look.control_subjects as f64, look.treatment_subjects as f64);
        let (xc, xt) = (look.control_events as f64, look.treatment_events as f64);
        let (rc, rt) = self.baselines();
        let pooled = 0.5 * (rc + rt);
        let variance = pooled * (1.0 - pooled);
        for (wealth, effect) in self.log_wealth.iter_mut().zip(EFFECTS) {
            let stake = effect * libm::sqrt(2.0 * variance) / (variance * (nc + nt));
            let (stake_c, stake_t) = (stake * nt, stake * nc);
            let shrink = (LARGEST_STAKE / (stake_c * (1.0 - rc)).max(stake_t * rt)).min(1.0);
            let (stake_c, stake_t) = (shrink * stake_c, shrink * stake_t);
            *wealth += xc * libm::log1p(-stake_c * (1.0 - rc))
                + (nc - xc) * libm::log1p(stake_c * rc)
                + xt * libm::log1p(stake_t * (1.0 - rt))
                + (nt - xt) * libm::log1p(-stake_t * rt);
        }
        self.total.add(look);
        self.log_peak = self.log_peak.max(self.log_wealth());
        Ok(())
    }

    /// Guesses of both rates from past looks, `margin` apart and inside (0, 1).
    fn baselines(&self) -> (f64, f64) {
        const INSIDE: f64 = 1e-9;
        let subjects = (self.total.control_subjects + self.total.treatment_subjects) as f64;
        let rate = ((self.total.control_events + self.total.treatment_events) as f64 + 0.5) / (subjects + 1.0);
        let treated = if subjects > 0.0 { self.total.treatment_subjects as f64 / subjects } else { 0.5 };
        let (low, high) = (INSIDE.max(INSIDE - self.margin), (1.0 - INSIDE).min(1.0 - INSIDE - self.margin));
        // Within 1e-9 of a margin of ±1 the two ends cross; either will do.
        let control = (rate - treated * self.margin).min(high).max(low);
        (control, control + self.margin)
    }

    fn log_wealth(&self) -> f64 {
        log_sum_exp(self.log_wealth.iter().copied()) - libm::log(EFFECTS.len() as f64)
    }

    /// The e-value now: evidence against the null, 1 at the start.
    pub fn e_value(&self) -> f64 {
        libm::exp(self.log_wealth())
    }

    /// min(1, 1/largest e-value so far): a p-value at every look at once (Ville 1939).
    pub fn p_value(&self) -> f64 {
        libm::exp(-self.log_peak).min(1.0)
    }
}

/// Difference of rates and the interval that holds at every look at once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    /// treatment − control, of all looks together.
    pub difference: f64,
    /// Contains the true difference at every look with probability 1 − α, if it is the same at every look.
    pub interval: [f64; 2],
}

/// The confidence sequence for θt − θc after these looks: the differences that no gambler, with half of `alpha` for each direction, has ruled out.
/// A cost of some hundred passes over the looks: for showing, not for deciding.
///
/// # Errors
/// [`Error::Counts`] and [`Error::Range`] of the looks and of `alpha`.
pub fn confidence_sequence(looks: &[Look], alpha: f64) -> Result<Sequence, Error> {
    if !(alpha > 0.0 && alpha < 1.0) {
        return Err(Error::Range { what: "alpha", value: alpha, expected: "between 0 and 1" });
    }
    let mut total = Look::default();
    for look in looks {
        look.check()?;
        total.add(*look);
    }
    let rate = |events: u64, subjects: u64| if subjects > 0 { events as f64 / subjects as f64 } else { 0.0 };
    let difference = rate(total.treatment_events, total.treatment_subjects) - rate(total.control_events, total.control_subjects);
    let swapped: Vec<Look> = looks.iter().map(|look| look.swapped()).collect();
    let interval = [lower_limit(looks, alpha / 2.0, difference, &total)?, -lower_limit(&swapped, alpha / 2.0, -difference, &total)?];
    Ok(Sequence { difference, interval })
}

fn ruled_out(looks: &[Look], margin: f64, alpha: f64) -> Result<bool, Error> {
    let mut test = BettingTest::new(margin)?;
    looks.iter().try_for_each(|look| test.look(*look))?;
    Ok(test.p_value() <= alpha)
}

/// The smallest margin not ruled out: sought upwards from far below, so that a gap further up does not count as the end.
fn lower_limit(looks: &[Look], alpha: f64, difference: f64, total: &Look) -> Result<f64, Error> {
    const LEAST: f64 = -1.0 + 1e-6;
    let spread = |subjects: u64, events: u64| {
        let n = subjects as f64 + 1.0;
        let rate = (events as f64 + 0.5) / n;
        rate * (1.0 - rate) / n
    };
    let error = libm::sqrt(spread(total.control_subjects, total.control_events) + spread(total.treatment_subjects, total.treatment_events));
    let mut low = LEAST;
    let mut high = difference.clamp(LEAST, -LEAST);
    for steps in (0..60).rev() {
        let margin = difference - 0.2 * f64::from(steps) * error;
        if margin <= LEAST || margin >= -LEAST {
            continue;
        }
        if ruled_out(looks, margin, alpha)? {
            low = margin;
        } else {
            high = margin;
            break;
        }
    }
    for _ in 0..20 {
        let middle = 0.5 * (low + high);
        if ruled_out(looks, middle, alpha)? { low = middle } else { high = middle }
    }
    Ok(if low <= LEAST { -1.0 } else { low })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn look(control_subjects: u64, control_events: u64, treatment_subjects: u64, treatment_events: u64) -> Look {
        Look { control_subjects, control_events, treatment_subjects, treatment_events }
    }

    fn weight(n: u64, k: u64, rate: f64) -> f64 {
        (0..k).fold(1.0, |product, i| product * (n - i) as f64 / (i + 1) as f64) * rate.powi(k as i32) * (1.0 - rate).powi((n - k) as i32)
    }

    #[test]
    fn the_bet_never_gains_on_average_without_harm() {
        // Every outcome of two looks of different allocation, weighted, over a grid of rates on and inside the null.
        for margin in [-0.2, 0.0, 0.1] {
            for control in [0.05, 0.3, 0.6, 0.85] {
                for slack in [0.0, 0.1] {
                    let treatment: f64 = control + margin - slack;
                    if !(0.0..=1.0).contains(&treatment) {
                        continue;
                    }
                    let mut mean = 0.0;
                    for (a, b, c, d) in (0..=3).flat_map(|a| (0..=2).flat_map(move |b| (0..=1).flat_map(move |c| (0..=4).map(move |d| (a, b, c, d))))) {
                        let mut test = BettingTest::new(margin).unwrap();
                        test.look(look(3, a, 2, b)).unwrap();
                        test.look(look(1, c, 4, d)).unwrap();
                        mean += weight(3, a, control) * weight(2, b, treatment) * weight(1, c, control) * weight(4, d, treatment) * test.e_value();
                    }
                    assert!(mean <= 1.0 + 1e-9, "margin {margin}, rates {control} and {treatment}: {mean}");
                }
            }
        }
    }

    #[test]
    fn harm_makes_the_gambler_rich_and_help_makes_him_poor() {
        let (mut harm, mut help) = (BettingTest::new(0.0).unwrap(), BettingTest::new(0.0).unwrap());
        for _ in 0..20 {
            harm.look(look(500, 5, 500, 15)).unwrap();
            help.look(look(500, 15, 500, 5)).unwrap();
        }
        assert!(harm.p_value() < 0.001 && help.p_value() > 0.5, "{} {}", harm.p_value(), help.p_value());
    }

    #[test]
    fn the_sequence_contains_the_estimate_and_shrinks() {
        let looks: Vec<Look> = (0..200).map(|_| look(100, 5, 100, 8)).collect();
        let (few, many) = (confidence_sequence(&looks[..20], 0.05).unwrap(), confidence_sequence(&looks, 0.05).unwrap());
        for sequence in [few, many] {
            assert!(sequence.interval[0] < sequence.difference && sequence.difference < sequence.interval[1], "{sequence:?}");
        }
        assert!(many.interval[1] - many.interval[0] < 0.5 * (few.interval[1] - few.interval[0]), "{few:?} {many:?}");
        // 3 points on 20,000 subjects an arm are far from nothing.
        assert!(many.interval[0] > 0.015 && many.interval[1] < 0.045, "{many:?}");
    }

    #[test]
    fn without_data_nothing_is_ruled_out() {
        let sequence = confidence_sequence(&[], 0.05).unwrap();
        assert_eq!((sequence.difference, sequence.interval), (0.0, [-1.0, 1.0]));
        assert!(confidence_sequence(&[look(1, 2, 1, 0)], 0.05).is_err() && confidence_sequence(&[], 1.0).is_err());
    }

    #[test]
    fn swapping_the_arms_turns_the_sequence_round() {
        let looks: Vec<Look> = (0..30).map(|_| look(120, 5, 80, 8)).collect();
        let swapped: Vec<Look> = looks.iter().map(|look| look.swapped()).collect();
        let (there, back) = (confidence_sequence(&looks, 0.05).unwrap(), confidence_sequence(&swapped, 0.05).unwrap());
        assert!((there.interval[0] + back.interval[1]).abs() < 1e-5 && (there.interval[1] + back.interval[0]).abs() < 1e-5, "{there:?} {back:?}");
    }
}
