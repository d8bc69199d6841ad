//! Unleash's frontend API: what is on for a context, evaluated here and not by the SDK.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use super::Environment;
use crate::evaluation::random::Random;
use crate::evaluation::unleash;

impl Environment {
    /// The toggles that are on for a context, as Unleash's `/api/frontend` answers them, and a hash that differs where they do. Randomness comes
    /// from the seed.
    pub fn frontend(&self, context: &unleash::Context<'_>, seed: u64) -> (Vec<u8>, u64) {
        let (mut random, mut hash) = (Random::seeded(seed), 0);
        let mut body = Vec::with_capacity(self.frontend_bytes());
        body.extend_from_slice(br#"{"toggles":["#);
        let first = body.len();
        for flag in self.unleash.iter() {
            let found = self.unleash.evaluate_flag(flag, context, &mut random);
            if !found.enabled {
                continue;
            }
            if body.len() > first {
                body.push(b',');
            }
            flag.toggle().write(found.variant, &mut body, &mut hash);
        }
        body.extend_from_slice(b"]}");
        (body, hash)
    }

    /// As long as most answers are: none of them moves while it is written.
    fn frontend_bytes(&self) -> usize {
        let all = || self.unleash.iter().map(|flag| flag.toggle().len() + flag.longest_variant() + 1).sum::<usize>() + 16;
        *self.texts.frontend_bytes.get_or_init(all)
    }
}

/// A context from the parameters of a query, decoded: `userId=7&properties[plan]=pro`. What it does not know is a property.
pub fn context_of<'q>(parameters: impl Iterator<Item = (Cow<'q, str>, Cow<'q, str>)>, now: DateTime<Utc>) -> unleash::Context<'q> {
    let mut context = unleash::Context::at(now);
    for (name, value) in parameters {
        match name.as_ref() {
            "userId" => context.user_id = Some(value),
            "sessionId" => context.session_id = Some(value),
            "environment" => context.environment = Some(value),
            "appName" => context.app_name = Some(value),
            "remoteAddress" => context.remote_address = Some(value),
            "currentTime" => context = context.with_current_time(value),
            _ => match property(&name) {
                Some(property) => context.set(property.to_owned(), value),
                None => context.set(name, value),
            },
        }
    }
    context
}

/// `plan` of `properties[plan]`.
fn property(name: &str) -> Option<&str> {
    name.strip_prefix("properties[")?.strip_suffix(']')
}
