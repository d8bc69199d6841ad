//! Compiled strategies: who a feature is on for, and what the strategy serves.

use std::collections::BTreeMap;
use std::hash::Hasher;

use ipnet::IpNet;
use smallvec::SmallVec;

use super::constraint::{Broken, Constraint, Field, Texts, in_networks, lower, network};
use super::context::Context;
use super::literal::{escaped, quoted};
use super::model;
use super::variant::Variants;
use crate::evaluation::decimal;
use crate::evaluation::random::Random;

/// A compiled strategy.
#[derive(Clone, Debug)]
pub(super) struct Strategy {
    rule: Rule,
    constraints: Box<[Constraint]>,
    /// What it serves; empty if the feature's own variants are served.
    pub(super) variants: Variants,
}

#[derive(Clone, Debug)]
enum Rule {
    Everyone,
    Nobody,
    Users(Texts),
    Rollout {
        percentage: u32,
        stickiness: Stickiness,
        /// What is hashed with the sticky value; the feature that is asked for if absent.
        group: Option<Box<str>>,
    },
    /// On for a random percentage of evaluations.
    Random {
        percentage: u64,
    },
    Addresses(Box<[IpNet]>),
    Hosts(Texts),
}

/// Whose bucket an evaluation falls into.
#[derive(Clone, Debug)]
enum Stickiness {
    /// The user, else the session, else nobody in particular.
    Default,
    Random,
    Field(Field),
}

/// MurmurHash3 of `group:value` as every SDK computes it, as a number from 1 to `modulus`: who is in a percentage stays in as it grows.
#[inline]
pub fn bucket(group: &str, value: &str, modulus: u32, seed: u32) -> u32 {
    let length = group.len() + 1 + value.len();
    let hash = if length <= 128 {
        let mut bytes: SmallVec<[u8; 128]> = SmallVec::new();
        bytes.extend_from_slice(group.as_bytes());
        bytes.push(b':');
        bytes.extend_from_slice(value.as_bytes());
        mur3::murmurhash3_x86_32(&bytes, seed)
    } else {
        let mut hasher = mur3::Hasher32::with_seed(seed);
        hasher.write(group.as_bytes());
        hasher.write(b":");
        hasher.write(value.as_bytes());
        hasher.finish32()
    };
    hash.checked_rem(modulus).unwrap_or(0) + 1
}

impl Strategy {
    pub(super) fn compile(source: &model::Strategy, feature: &str, segments: &BTreeMap<i64, &model::Segment>) -> Result<Self, Broken> {
        let mut constraints = Vec::new();
        for constraint in &source.constraints {
            constraints.push(Constraint::compile(constraint)?);
        }
        for id in &source.segments {
            let segment = segments.get(id).ok_or_else(|| Broken(format!("segment {id} does not exist")))?;
            for constraint in &segment.constraints {
                constraints.push(Constraint::compile(constraint)?);
            }
        }
        let group = source.parameters.get("groupId").map_or(feature, String::as_str);
        let stickiness = source.parameters.get("stickiness").map_or("default", String::as_str);
        let variants = Variants::of_strategy(&source.variants, stickiness, group);
        Ok(Self { rule: Rule::compile(source)?, constraints: constraints.into(), variants })
    }

    /// Whether it is on for this context. `feature` is the feature that was asked for.
    #[inline]
    pub(super) fn holds(&self, context: &Context<'_>, feature: &str, random: &mut Random) -> bool {
        self.constraints.iter().all(|constraint| constraint.holds(context)) && self.rule.holds(context, feature, random)
    }
}

impl Rule {
    fn compile(source: &model::Strategy) -> Result<Self, Broken> {
        let parameter = |name: &str| source.parameters.get(name).map(String::as_str);
        let percentage = |name: &str| parameter(name).and_then(|text| text.parse::<u64>().ok());
        let broken = |what: &str| Broken(format!("strategy {}: {what}", source.name));
        let list = |text: &str, read: fn(&str) -> Option<String>| {
            text.split(',').map(|item| read(item.trim())).collect::<Option<Vec<_>>>().ok_or_else(|| broken("a value cannot be written as a rule"))
        };
        let group = || match parameter("groupId").map(quoted) {
            None => Ok(None),
            Some(Some(group)) => Ok(Some(group.into_boxed_str())),
            Some(None) => Err(broken("the group cannot be written as a rule")),
        };
        let rollout = |percentage: Option<u64>, stickiness: Stickiness, group: Option<Box<str>>| match percentage {
            None => Ok(Self::Nobody),
            Some(percentage @ 0..=100) => Ok(Self::Rollout { percentage: u32::try_from(percentage).unwrap_or(100), stickiness, group }),
            Some(_) => Err(broken("more than 100 percent")),
        };
        Ok(match source.name.as_str() {
            "default" => Self::Everyone,
            "userWithId" => match parameter("userIds") {
                Some(ids) => Self::Users(Texts::new(list(ids, escaped)?)),
                None => Self::Nobody,
            },
            "flexibleRollout" => {
                if percentage("rollout").is_none() {
                    return Ok(Self::Nobody);
                }
                let stickiness = match parameter("stickiness") {
                    None | Some("default") => Stickiness::Default,
                    Some("random") => Stickiness::Random,
                    Some(field) => Stickiness::Field(Field::parse(field)?),
                };
                rollout(percentage("rollout"), stickiness, group()?)?
            }
            "gradualRolloutUserId" | "gradualRolloutSessionId" => {
                let field = if source.name == "gradualRolloutUserId" { Field::UserId } else { Field::SessionId };
                match (percentage("percentage"), parameter("groupId")) {
                    (Some(_), Some(_)) => rollout(percentage("percentage"), Stickiness::Field(field), group()?)?,
                    _ => Self::Nobody,
                }
            }
            "gradualRolloutRandom" => percentage("percentage").map_or(Self::Nobody, |percentage| Self::Random { percentage }),
            "remoteAddress" => match parameter("IPs") {
                Some(addresses) => Self::Addresses(list(addresses, quoted)?.iter().filter_map(|text| network(text)).collect()),
                None => Self::Nobody,
            },
            "applicationHostname" => {
                let hosts = list(parameter("hostNames").unwrap_or_default(), quoted)?;
                Self::Hosts(Texts::new(hosts.iter().map(|host| host.to_lowercase())))
            }
            // A strategy that only the application knows is decided by the application; here it is off.
            _ => Self::Nobody,
        })
    }

    #[inline]
    fn holds(&self, context: &Context<'_>, feature: &str, random: &mut Random) -> bool {
        match self {
            Self::Everyone => true,
            Self::Nobody => false,
            Self::Users(ids) => context.user_id.as_deref().is_some_and(|id| ids.contains(id)),
            Self::Rollout { percentage, stickiness, group } => {
                let group = group.as_deref().unwrap_or(feature);
                let sticky = match stickiness {
                    Stickiness::Default => context.user_id.as_deref().or(context.session_id.as_deref()),
                    Stickiness::Random => None,
                    Stickiness::Field(field) => match field.of(context) {
                        Some(value) => Some(value),
                        None => return false,
                    },
                };
                let found = match sticky {
                    Some(value) => bucket(group, value, 100, 0),
                    None => bucket(group, decimal(random.one_to(9_999), &mut [0; 10]), 100, 0),
                };
                found <= *percentage
            }
            Self::Random { percentage } => u64::from(random.one_to(99)) < *percentage,
            Self::Addresses(networks) => context.remote_address.as_deref().is_some_and(|address| in_networks(address, networks)),
            Self::Hosts(hosts) => context.hostname.as_deref().is_some_and(|host| hosts.contains(&lower(host))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_are_those_of_unleashs_own_examples() {
        // From Unleash's client implementation guide: normalizedValue("123", "gr1") and normalizedValue("999", "groupX").
        assert_eq!(bucket("gr1", "123", 100, 0), 73);
        assert_eq!(bucket("groupX", "999", 100, 0), 25);
    }

    proptest! {
        #[test]
        fn the_bucket_does_not_depend_on_how_the_text_is_fed(group in "\\PC{0,90}", value in "\\PC{0,90}") {
            let whole = mur3::murmurhash3_x86_32(format!("{group}:{value}").as_bytes(), 5) % 1000 + 1;
            prop_assert_eq!(bucket(&group, &value, 1000, 5), whole);
        }
    }
}
