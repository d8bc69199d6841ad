//! What pairs say about each other: where A is B and B is C, A is C, however much C was damaged since; and where A and C cannot be the same, one of the
//! two links is wrong.
//!
//! Pairs are joined to clusters from the surest to the least sure. A link between two clusters must bear what the other records of the clusters say
//! against it. So the pairs of a cluster are all decided alike, and a link that was refused is no pair.

use std::collections::BTreeSet;

use super::compare::{Comparer, Comparisons};
use super::model::Weights;

/// Least logarithm of the odds of a link that is looked at.
const LEAST_LINK: f64 = 0.0;
/// Most records of a cluster that are compared with those of another.
const WITNESSES: usize = 6;
/// Largest cluster all pairs of which are matched; of larger ones those that were compared are.
const CLOSED: usize = 40;

/// A pair with its probability.
pub(super) struct DecidedPair {
    /// The lesser record.
    pub(super) left: u32,
    /// The greater record.
    pub(super) right: u32,
    /// The probability that both are about the same person.
    pub(super) probability: f64,
}

/// Clusters of records.
struct Clusters {
    /// The cluster of each record.
    of: Vec<u32>,
    members: Vec<Vec<u32>>,
    /// The least sure of the links that made each cluster.
    weakest: Vec<f64>,
}

/// Gives the probability of each compared pair and of the pairs that follow from them.
pub(super) fn decide(comparer: &Comparer<'_, '_>, comparisons: &Comparisons, weights: &Weights<'_>) -> Vec<DecidedPair> {
    let table = comparer.table;
    let mut odds: Vec<f64> = (0..comparisons.pairs.len()).map(|index| weights.log_odds(table, comparisons, index)).collect();
    let mut links: Vec<usize> = (0..odds.len()).filter(|index| odds[*index] > LEAST_LINK).collect();
    links.sort_unstable_by(|one, other| odds[*other].total_cmp(&odds[*one]).then(one.cmp(other)));
    let mut clusters = Clusters {
        of: (0..table.len() as u32).collect(),
        members: (0..table.len() as u32).map(|record| vec![record]).collect(),
        weakest: vec![f64::INFINITY; table.len()],
    };
    for index in links {
        let (one, other) = comparisons.pairs[index];
        let (first, second) = (clusters.of[one as usize], clusters.of[other as usize]);
        if first != second {
            odds[index] += against(comparer, weights, &clusters, (first, second), (one, other));
            if odds[index] > LEAST_LINK {
                clusters.join(first, second, odds[index]);
            }
        }
    }
    let mut decided: Vec<DecidedPair> = Vec::new();
    let mut known = BTreeSet::new();
    for (pair, odds) in comparisons.pairs.iter().zip(&odds) {
        let cluster = clusters.of[pair.0 as usize];
        let same = cluster == clusters.of[pair.1 as usize];
        let weakest = clusters.weakest[cluster as usize];
        let closed = same && clusters.members[cluster as usize].len() <= CLOSED;
        let odds = if closed { odds.max(weakest) } else { *odds };
        if same {
            known.insert(*pair);
        }
        decided.push(DecidedPair { left: pair.0, right: pair.1, probability: probability(odds) });
    }
    for (members, weakest) in clusters.members.iter().zip(&clusters.weakest).filter(|(members, _)| members.len() > 2 && members.len() <= CLOSED) {
        for one in members {
            for other in members.iter().filter(|other| *other > one) {
                if table.may_match(*one as usize, *other as usize) && !known.contains(&(*one, *other)) {
                    decided.push(DecidedPair { left: *one, right: *other, probability: probability(*weakest) });
                }
            }
        }
    }
    decided.sort_unstable_by_key(|pair| (pair.left, pair.right));
    decided
}

fn probability(odds: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-odds))
}

/// What the other records of two clusters say against a link between them: the mean of the evidence against, in nats.
fn against(comparer: &Comparer<'_, '_>, weights: &Weights<'_>, clusters: &Clusters, between: (u32, u32), link: (u32, u32)) -> f64 {
    let of = |cluster: u32| clusters.members[cluster as usize].iter().take(WITNESSES).copied();
    let pairs: Vec<(u32, u32)> =
        of(between.0).flat_map(|one| of(between.1).map(move |other| (one.min(other), one.max(other)))).filter(|pair| *pair != link).collect();
    if pairs.is_empty() {
        return 0.0;
    }
    let count = pairs.len() as f64;
    let compared = comparer.compare(pairs);
    let evidence = |index| weights.log_odds(comparer.table, &compared, index) - weights.prior_odds;
    (0..compared.pairs.len()).map(|index| evidence(index).min(0.0)).sum::<f64>() / count
}

impl Clusters {
    fn join(&mut self, first: u32, second: u32, odds: f64) {
        let (greater, lesser) = if self.members[first as usize].len() >= self.members[second as usize].len() { (first, second) } else { (second, first) };
        let moved = std::mem::take(&mut self.members[lesser as usize]);
        for record in &moved {
            self.of[*record as usize] = greater;
        }
        self.members[greater as usize].extend(moved);
        self.weakest[greater as usize] = self.weakest[greater as usize].min(self.weakest[lesser as usize]).min(odds);
    }
}
