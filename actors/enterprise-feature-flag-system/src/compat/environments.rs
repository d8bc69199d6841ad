//! Which environment's flags a request is about.
//!
//! Where API keys are configured, an SDK's token is one of them, and the key's attribute `environment` decides. Where none is configured any token will
//! do, and one of Unleash's form (`project:environment.secret`) names the environment, if there is one of that name.

use std::borrow::Cow;
use std::sync::Arc;

use crate::serving::{Environment, Serving};
use crate::{DEFAULT_ENVIRONMENT, Request};

/// The attribute of an API key that names its environment.
const ATTRIBUTE: &str = "environment";

/// How a request names its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named<'r> {
    /// By its key: this environment and no other.
    Key(Cow<'r, str>),
    /// By its token, or not at all; there are no keys.
    Token(Option<Cow<'r, str>>),
}

impl<'r> Named<'r> {
    /// What the request says.
    pub(super) fn by(request: &'r Request) -> Self {
        let caller = request.caller();
        if caller.key().is_some() {
            return Self::Key(caller.attribute(ATTRIBUTE).unwrap_or(DEFAULT_ENVIRONMENT).into());
        }
        Self::Token(request.token().and_then(|token| match token {
            Cow::Borrowed(token) => environment_of_token(token).map(Cow::Borrowed),
            Cow::Owned(token) => environment_of_token(&token).map(|name| Cow::Owned(name.to_owned())),
        }))
    }

    /// The same for longer than the request lives.
    pub(super) fn into_owned(self) -> Named<'static> {
        match self {
            Self::Key(name) => Named::Key(Cow::Owned(name.into_owned())),
            Self::Token(name) => Named::Token(name.map(|name| Cow::Owned(name.into_owned()))),
        }
    }

    /// The environment as it is served now. One that has no flag yet serves none.
    pub(super) fn among(&self, serving: &Serving) -> Arc<Environment> {
        let found = match self {
            Self::Key(name) => serving.environment(name),
            Self::Token(named) => {
                let mut all = serving.environments();
                let only = match (all.next(), all.next()) {
                    (Some(one), None) => Some(one),
                    _ => None,
                };
                named.as_deref().and_then(|name| serving.environment(name)).or_else(|| serving.environment(DEFAULT_ENVIRONMENT)).or(only)
            }
        };
        found.cloned().unwrap_or_else(|| Environment::without_flags(self.name()))
    }

    fn name(&self) -> &str {
        match self {
            Self::Key(name) => name,
            Self::Token(named) => named.as_deref().unwrap_or(DEFAULT_ENVIRONMENT),
        }
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
