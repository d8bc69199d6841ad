//! Whose flags a request is about, and whether it may.
//!
//! Where API keys are configured, an SDK's token is one of them: as `Authorization` with or without `Bearer`, as `X-Api-Key`, or in GrowthBook's path.
//! Its scope says what may be done and its `environment` whose flags there are. Where none is configured, any token will do, and one of Unleash's form
//! (`project:environment.secret`) names the environment, if there is one of that name.

use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use tol_config::{Scope, find_key};
use tol_enterprise_feature_flag_system::serving::{Environment, Serving};

use super::endpoint::Asked;
use crate::http::problem::{Kind, Problem};

/// The environment of whoever names none.
const DEFAULT: &str = "production";

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Answers for a context, and to report what was counted.
    Answers,
    /// Flags with their rules.
    Definitions,
}

impl Need {
    fn scope(self) -> Scope {
        match self {
            Self::Answers => Scope::Evaluate,
            Self::Definitions => Scope::Definitions,
        }
    }
}

/// Who asks, after it was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// A configured key and its environment.
    Key(String),
    /// Anybody, on a node without keys; the environment the token names.
    Anybody(Option<String>),
}

impl Access {
    /// Checks the request's key; `in_path` is one that stands there.
    pub(super) fn of(asked: &Asked, need: Need, in_path: Option<&str>) -> Result<Self, Problem> {
        let state = &asked.state;
        let token = in_path.or_else(|| presented(asked.request.headers()));
        if state.keys.is_empty() {
            return Ok(Self::Anybody(token.and_then(environment_of_token).map(str::to_owned)));
        }
        let Some(token) = token else {
            return Err(Problem::new(Kind::MissingKey, "give the SDK a key of this node as its token; `tol keys new --scopes evaluate` makes one"));
        };
        let Some((place, key)) = find_key(token, &state.keys) else {
            return Err(Problem::new(Kind::InvalidKey, "this token is no key of the node (security.api_keys)"));
        };
        let scope = need.scope();
        if !key.allows(scope) {
            let detail = format!("key \"{}\" lacks the scope \"{scope}\"", key.name);
            return Err(Problem::new(Kind::MissingScope, detail).with("scope", scope.name()));
        }
        state.rates.take(place).map_err(|wait| {
            let limit = state.rates.limit(place);
            let detail = format!("\"{}\" may send {limit} requests a second; ask less often, or raise requests_per_second", key.name);
            Problem::new(Kind::TooManyRequests, detail).retry_after(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1))
        })?;
        Ok(Self::Key(key.environment.clone().unwrap_or_else(|| DEFAULT.to_owned())))
    }

    /// Its environment now. One that has no flag yet serves none.
    pub(crate) fn environment(&self, serving: &Serving) -> Arc<Environment> {
        let found = match self {
            Self::Key(name) => serving.environment(name),
            Self::Anybody(named) => {
                let mut all = serving.environments();
                let only = match (all.next(), all.next()) {
                    (Some(one), None) => Some(one),
                    _ => None,
                };
                named.as_deref().and_then(|name| serving.environment(name)).or_else(|| serving.environment(DEFAULT)).or(only)
            }
        };
        found.cloned().unwrap_or_else(|| Environment::without_flags(self.name()))
    }

    /// The environment it asks for.
    fn name(&self) -> &str {
        match self {
            Self::Key(name) => name,
            Self::Anybody(named) => named.as_deref().unwrap_or(DEFAULT),
        }
    }
}

/// Unleash's SDKs send the token as it is, OpenFeature's as a bearer's or as a key.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let token = text(AUTHORIZATION.as_str()).or_else(|| text("x-api-key"))?;
    match token.split_once(' ') {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => Some(key.trim()),
        _ => Some(token),
    }
}

/// `development` of `*:development.secret`.
fn environment_of_token(token: &str) -> Option<&str> {
    let (environment, _) = token.split_once(':')?.1.split_once('.')?;
    (!environment.is_empty()).then_some(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_unleashs_form_names_its_environment() {
        for (token, environment) in
            [("*:development.secret", Some("development")), ("shop:staging.a.b", Some("staging")), ("tol_abc", None), ("a:b", None), ("*:.x", None)]
        {
            assert_eq!(environment_of_token(token), environment, "{token}");
        }
    }
}
