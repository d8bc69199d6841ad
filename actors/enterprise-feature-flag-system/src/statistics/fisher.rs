//! How many of a look's events fall on the treated, if only their number is known: the law of Fisher's exact test, and Poisson's conditional one.

use super::harm::Look;

/// Mass that is left out at the ends of a law, relative to its largest cell; 500 looks leave out less than 1e-10.
pub(super) const NEGLIGIBLE: f64 = 1e-14;

/// The law of xt given the look's totals.
pub(super) struct Law {
    /// xt of the first cell.
    pub(super) first: u64,
    pub(super) mass: Vec<f64>,
    pub(super) mean: f64,
    pub(super) variance: f64,
}

impl Law {
    pub(super) fn on_lattice(&self, unit: u64) -> (u64, Vec<f64>) {
        if unit == 1 {
            return (self.first, self.mass.clone());
        }
        let first = self.first / unit;
        let last = (self.first + self.mass.len() as u64) / unit + 1;
        let mut mass = vec![0.0; (last - first + 1) as usize];
        for (index, &value) in self.mass.iter().enumerate() {
            let position = self.first + index as u64;
            let cell = (position / unit - first) as usize;
            let right = (position % unit) as f64 / unit as f64;
            mass[cell] += (1.0 - right) * value;
            mass[cell + 1] += right * value;
        }
        (first, mass)
    }
}

/// Fisher's (noncentral) hypergeometric law: P(k+1)/P(k) = ω (x−k)(nt−k) / ((k+1)(nc−x+k+1)), by multiplication from near the mode outwards.
pub(super) fn treated_events(look: &Look, odds: f64) -> Law {
    let (control, treated) = (look.control_subjects as f64, look.treatment_subjects as f64);
    let events = look.control_events + look.treatment_events;
    let lowest = events.saturating_sub(look.control_subjects);
    let highest = events.min(look.treatment_subjects);
    let x = events as f64;
    // nc − x + k + 1 ≥ 1 for every k of the support.
    let ratio = |k: f64| odds * (x - k) * (treated - k) / ((k + 1.0) * (control - x + k + 1.0));
    // The mode of the central law; from there to the noncentral one the loops only get longer on one side.
    let start = (((x + 1.0) * (treated + 1.0) / (control + treated + 2.0)) as u64).clamp(lowest, highest);
    about(start, lowest, highest, ratio)
}

/// Events that may befall a subject any number of times, as Poisson's law has it: given how many there were, each falls on the treated with their share of
/// the subjects, weighted by the ratio of rates (Przyborowski & Wilenski 1940). P(k+1)/P(k) = ρ nt (x−k) / (nc (k+1)).
pub(super) fn treated_happenings(look: &Look, rate_ratio: f64) -> Law {
    let weight = rate_ratio * look.treatment_subjects as f64 / look.control_subjects as f64;
    let events = look.control_events + look.treatment_events;
    let x = events as f64;
    let start = (((x + 1.0) * weight / (1.0 + weight)) as u64).min(events);
    about(start, 0, events, |k| weight * (x - k) / (k + 1.0))
}

/// A law from the ratio of its neighbours, from a cell near its mode.
fn about(start: u64, lowest: u64, highest: u64, ratio: impl Fn(f64) -> f64) -> Law {
    let start = (start..highest).find(|&k| ratio(k as f64) <= 1.0).unwrap_or(highest);
    let mut up = vec![1.0];
    for k in start..highest {
        let next = up[up.len() - 1] * ratio(k as f64);
        if next < NEGLIGIBLE {
            break;
        }
        up.push(next);
    }
    let mut down = Vec::new();
    let mut value = 1.0;
    for k in (lowest..start).rev() {
        value /= ratio(k as f64);
        if value < NEGLIGIBLE {
            break;
        }
        down.push(value);
    }
    let first = start - down.len() as u64;
    let mut mass: Vec<f64> = down.into_iter().rev().chain(up).collect();
    let total: f64 = mass.iter().sum();
    mass.iter_mut().for_each(|cell| *cell /= total);
    // Moments about the first cell: about zero they would cancel for large counts.
    let offset: f64 = mass.iter().enumerate().map(|(index, cell)| index as f64 * cell).sum();
    let variance = mass.iter().enumerate().map(|(index, cell)| (index as f64 - offset) * (index as f64 - offset) * cell).sum();
    Law { first, mean: first as f64 + offset, variance, mass }
}
