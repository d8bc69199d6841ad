//! A metric's sums in one arm.

use serde::{Deserialize, Serialize};

use crate::statistics::summary::{Covariate, RatioSums, Summary, Sums};

/// What a sender measured, or the sum of all that was: adding two is adding their numbers, in any order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Tally {
    /// How often something happened; how many might have had it happen to them is told by the exposures.
    Counter {
        /// Times.
        value: f64,
    },
    /// A level as it was when somebody looked: one observation each time.
    Gauge {
        /// The level; of several, their sum.
        value: f64,
        /// Observations.
        #[serde(default = "one")]
        observations: u64,
        /// Σ level²; of one observation its square.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        squares: Option<f64>,
    },
    /// Observations by size.
    Histogram {
        /// Observations.
        count: u64,
        /// Their sum.
        sum: f64,
        /// Observations up to each bound, cumulated, as Prometheus and Unleash have them.
        buckets: Vec<Bucket>,
    },
    /// Subjects with a known outcome.
    Proportion {
        /// Subjects.
        subjects: u64,
        /// Those with the event.
        successes: u64,
    },
    /// A number for each subject.
    Mean(Sums),
    /// Σm/Σd, both measured on each subject.
    Ratio(RatioSums),
    /// A number for each subject and one from before the experiment, to adjust by (CUPED).
    Adjusted(Covariate),
}

fn one() -> u64 {
    1
}

/// A bound of a histogram and the observations up to it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// The bound; none for the last, which holds all.
    #[serde(deserialize_with = "bound")]
    pub le: Option<f64>,
    /// Observations at or below it.
    pub count: u64,
}

/// A number, or `"+Inf"` as Prometheus writes it, or `null`.
fn bound<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(f64),
        Text(String),
        Nothing(()),
    }
    match Written::deserialize(source)? {
        Written::Number(number) => Ok(Some(number)),
        Written::Nothing(()) => Ok(None),
        Written::Text(text) if text == "+Inf" => Ok(None),
        Written::Text(text) => Err(serde::de::Error::custom(format!("le is \"{text}\"; it must be a number or +Inf"))),
    }
}

impl Tally {
    /// What is wrong with it, if anything.
    pub fn problem(&self) -> Option<String> {
        let finite = |numbers: &[f64]| numbers.iter().all(|number| number.is_finite() && number.abs() < 1e150);
        let fine = match self {
            Self::Counter { value } => *value >= 0.0 && finite(&[*value]),
            Self::Gauge { value, squares, .. } => finite(&[*value, squares.unwrap_or(0.0)]),
            Self::Histogram { count, sum, buckets } => {
                let ordered = buckets.windows(2).all(|pair| pair[0].count <= pair[1].count && key(pair[0].le) < key(pair[1].le));
                finite(&[*sum]) && ordered && buckets.iter().all(|bucket| bucket.count <= *count && bucket.le.is_none_or(f64::is_finite))
            }
            Self::Proportion { subjects, successes } => successes <= subjects,
            Self::Mean(arm) => finite(&[arm.sum, arm.sum_squares]) && arm.sum_squares >= 0.0,
            Self::Ratio(arm) => {
                let sums = [arm.sum, arm.sum_squares, arm.denominator, arm.denominator_squares, arm.products];
                finite(&sums) && arm.sum_squares >= 0.0 && arm.denominator_squares >= 0.0
            }
            Self::Adjusted(arm) => {
                let sums = [arm.sum, arm.sum_squares, arm.before, arm.before_squares, arm.products];
                finite(&sums) && arm.sum_squares >= 0.0 && arm.before_squares >= 0.0
            }
        };
        (!fine).then(|| "its numbers cannot be: counts never fall, buckets are cumulated and in order, sums are finite, events are at most subjects".to_owned())
    }

    /// Adds what came in.
    ///
    /// # Errors
    /// Where a metric is measured in another way than before.
    pub fn add(&mut self, more: &Self) -> Result<(), String> {
        match (self, more) {
            (Self::Counter { value }, Self::Counter { value: more }) => *value += more,
            (Self::Gauge { value, observations, squares }, Self::Gauge { value: level, observations: times, squares: more }) => {
                let before = squares.unwrap_or(*value * *value);
                *squares = Some(before + more.unwrap_or(level * level));
                *value += level;
                *observations = observations.saturating_add(*times);
            }
            (Self::Histogram { count, sum, buckets }, Self::Histogram { count: c, sum: s, buckets: more }) => {
                if buckets.len() != more.len() || buckets.iter().zip(more).any(|(a, b)| key(a.le) != key(b.le)) {
                    return Err("a histogram with other bounds than before; give it another name".to_owned());
                }
                *count = count.saturating_add(*c);
                *sum += s;
                buckets.iter_mut().zip(more).for_each(|(bucket, more)| bucket.count = bucket.count.saturating_add(more.count));
            }
            (Self::Proportion { subjects, successes }, Self::Proportion { subjects: n, successes: k }) => {
                (*subjects, *successes) = (subjects.saturating_add(*n), successes.saturating_add(*k));
            }
            (Self::Mean(arm), Self::Mean(more)) => arm.add(more),
            (Self::Ratio(arm), Self::Ratio(more)) => arm.add(more),
            (Self::Adjusted(arm), Self::Adjusted(more)) => arm.add(more),
            _ => return Err("it is measured in another way than before; give it another name".to_owned()),
        }
        Ok(())
    }

    /// Subjects or observations that it counted itself; none of a counter.
    pub fn subjects(&self) -> Option<u64> {
        match *self {
            Self::Counter { .. } => None,
            Self::Gauge { observations, .. } => Some(observations),
            Self::Histogram { count, .. } => Some(count),
            Self::Proportion { subjects, .. } => Some(subjects),
            Self::Mean(Sums { subjects, .. }) | Self::Ratio(RatioSums { subjects, .. }) | Self::Adjusted(Covariate { subjects, .. }) => Some(subjects),
        }
    }

    /// How many of how many: of a counter, of those `exposed`; of a histogram, those above a bound of it. None of anything else.
    pub fn proportion(&self, exposed: u64, above: Option<f64>) -> Option<(u64, u64)> {
        match (self, above) {
            (Self::Proportion { subjects, successes }, None) => Some((*subjects, *successes)),
            (Self::Counter { value }, None) => Some((exposed, *value as u64)),
            (Self::Histogram { count, buckets, .. }, Some(above)) => {
                let bucket = buckets.iter().find(|bucket| bucket.le == Some(above))?;
                Some((*count, count.saturating_sub(bucket.count)))
            }
            _ => None,
        }
    }

    /// Sums of one number a subject. A histogram's squares are taken at the upper ends of its buckets, so that its spread is never made smaller than
    /// it is; none while an observation lies above the last bound.
    pub fn sums(&self) -> Option<Sums> {
        match self {
            Self::Mean(arm) => Some(*arm),
            Self::Adjusted(arm) => Some(arm.sums()),
            Self::Gauge { value, observations, squares } => Some(Sums { subjects: *observations, sum: *value, sum_squares: squares.unwrap_or(value * value) }),
            Self::Histogram { count, sum, buckets } => {
                let (mut below, mut sum_squares) = (0, 0.0);
                for bucket in buckets {
                    let here = bucket.count.saturating_sub(below);
                    below = bucket.count;
                    match bucket.le {
                        Some(bound) => sum_squares += here as f64 * bound * bound,
                        None if here > 0 => return None,
                        None => {}
                    }
                }
                (below == *count).then_some(Sums { subjects: *count, sum: *sum, sum_squares })
            }
            _ => None,
        }
    }

    /// As the statistics read it. `theta` is what an adjusted one is adjusted by; a counter counts among those `exposed`.
    pub fn summary(&self, exposed: u64, theta: f64) -> Option<Summary> {
        match *self {
            Self::Counter { .. } | Self::Proportion { .. } => {
                let (subjects, successes) = self.proportion(exposed, None)?;
                (successes <= subjects).then_some(Summary::Proportion { subjects, successes })
            }
            Self::Ratio(arm) => Some(Summary::Ratio(arm)),
            Self::Adjusted(arm) => Some(Summary::Adjusted { arm, theta }),
            Self::Mean(_) | Self::Gauge { .. } | Self::Histogram { .. } => self.sums().map(Summary::Mean),
        }
    }
}

/// Bounds in order; the one that holds all comes last.
fn key(bound: Option<f64>) -> f64 {
    bound.unwrap_or(f64::INFINITY)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn tally(json: serde_json::Value) -> Tally {
        serde_json::from_value(json).unwrap()
    }

    fn histogram(counts: [u64; 3], sum: f64) -> Tally {
        tally(serde_json::json!({"kind": "histogram", "count": counts[2], "sum": sum, "buckets": [
            {"le": 0.5, "count": counts[0]}, {"le": 1.0, "count": counts[1]}, {"le": "+Inf", "count": counts[2]}]}))
    }

    #[test]
    fn a_histogram_says_how_many_lie_above_a_bound_of_it() {
        let mut both = histogram([3, 5, 6], 4.0);
        both.add(&histogram([1, 1, 1], 0.2)).unwrap();
        assert_eq!(both.proportion(0, Some(0.5)), Some((7, 3)));
        assert_eq!(both.proportion(0, Some(0.7)), None, "no bound of it");
        assert_eq!(both.sums(), None, "one lies above every bound, nobody knows how far");
        let sums = histogram([3, 5, 5], 2.9).sums().unwrap();
        assert_eq!((sums.subjects, sums.sum, sums.sum_squares), (5, 2.9, 3.0 * 0.25 + 2.0));
        let kept: Tally = serde_json::from_str(&serde_json::to_string(&both).unwrap()).unwrap();
        assert_eq!(kept, both);
    }

    #[test]
    fn gauges_are_observations_and_add_up_in_any_order() {
        let level = |value: f64| tally(serde_json::json!({"kind": "gauge", "value": value}));
        let (mut a, mut b) = (level(2.0), level(5.0));
        a.add(&level(5.0)).unwrap();
        b.add(&level(2.0)).unwrap();
        assert_eq!((a.sums(), a.sums().unwrap().sum_squares), (b.sums(), 29.0));
    }

    #[test]
    fn sums_are_written_with_their_kind_and_add_up_number_by_number() {
        for (written, twice) in [
            (r#"{"kind":"mean","subjects":2,"sum":3.0,"sum_squares":5.0}"#, r#"{"kind":"mean","subjects":4,"sum":6.0,"sum_squares":10.0}"#),
            (
                r#"{"kind":"ratio","subjects":2,"sum":3.0,"sum_squares":5.0,"denominator":7.0,"denominator_squares":25.0,"products":11.0}"#,
                r#"{"kind":"ratio","subjects":4,"sum":6.0,"sum_squares":10.0,"denominator":14.0,"denominator_squares":50.0,"products":22.0}"#,
            ),
            (
                r#"{"kind":"adjusted","subjects":2,"sum":3.0,"sum_squares":5.0,"before":7.0,"before_squares":25.0,"products":11.0}"#,
                r#"{"kind":"adjusted","subjects":4,"sum":6.0,"sum_squares":10.0,"before":14.0,"before_squares":50.0,"products":22.0}"#,
            ),
        ] {
            let mut sum: Tally = serde_json::from_str(written).unwrap();
            assert_eq!(serde_json::to_string(&sum).unwrap(), written);
            sum.add(&sum.clone()).unwrap();
            assert_eq!((serde_json::to_string(&sum).unwrap().as_str(), sum.subjects()), (twice, Some(4)));
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        assert!(tally(serde_json::json!({"kind": "counter", "value": -1.0})).problem().is_some());
        assert!(tally(serde_json::json!({"kind": "proportion", "subjects": 1, "successes": 2})).problem().is_some());
        assert!(histogram([3, 2, 6], 1.0).problem().is_some() && histogram([3, 4, 6], 1.0).problem().is_none());
        assert!(histogram([1, 1, 1], 1.0).add(&tally(serde_json::json!({"kind": "counter", "value": 1}))).is_err());
        assert!(serde_json::from_value::<Tally>(serde_json::json!({"kind": "histogram", "count": 1, "sum": 1, "buckets": [{"le": "x", "count": 1}]})).is_err());
    }
}
