//! [`Spellings`]: the environments that each service is known in, to tell of one that differs only in spelling.
//!
//! `Production` beside `production` makes two rows of `deployments`, each with half of the numbers.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use tol_projections::ProjectionEngine;

/// Services that are remembered; with one more, all are looked up anew.
const SERVICES: usize = 1_000;
/// Environments of a service that are compared.
const ENVIRONMENTS: usize = 64;

/// By service: the spelling that is known for each way to pronounce an environment.
#[derive(Default)]
pub(crate) struct Spellings(Mutex<HashMap<String, BTreeMap<String, String>>>);

impl Spellings {
    /// Whether a service is remembered, so that its rows need not be looked up.
    pub(crate) fn remembers(&self, service: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(service)
    }

    /// Tells under which other spelling the environment of a service is known, if it is. One that is new is known from now on. `rows` looks up the
    /// environments of a service that is not remembered, those that matter most first.
    pub(crate) fn known_otherwise(&self, service: &str, environment: &str, rows: impl FnOnce() -> Vec<String>) -> Option<String> {
        let mut services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !services.contains_key(service) {
            if services.len() >= SERVICES {
                services.clear();
            }
            let mut known = BTreeMap::new();
            for spelling in rows() {
                known.entry(pronounced(&spelling)).or_insert(spelling);
            }
            services.insert(service.to_owned(), known);
        }
        let known = services.get_mut(service)?;
        if let Some(spelling) = known.get(&pronounced(environment)) {
            return (spelling != environment).then(|| spelling.clone());
        }
        if known.len() < ENVIRONMENTS {
            known.insert(pronounced(environment), environment.to_owned());
        }
        None
    }
}

/// The environments of a service as `deployments` has them, those with the most deployments first.
pub(crate) fn environments(engine: &ProjectionEngine, service: &str) -> Vec<String> {
    let page = engine.list("deployments", ENVIRONMENTS, Some(&format!("{service}/")));
    let mut rows: Vec<(u64, String)> = Vec::new();
    for item in page.map(|page| page.items).unwrap_or_default() {
        if item.value["service"] == service {
            let deployments = item.value["windows"]["all"]["deployments"].as_u64().unwrap_or_default();
            rows.push((deployments, item.value["environment"].as_str().unwrap_or_default().to_owned()));
        }
    }
    rows.sort_by(|(a, _), (b, _)| b.cmp(a));
    rows.into_iter().map(|(_, environment)| environment).collect()
}

/// What is left of a name without case, spaces and signs, with the usual short forms in full.
fn pronounced(environment: &str) -> String {
    let letters: String = environment.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    match letters.as_str() {
        "prod" | "prd" => "production".to_owned(),
        "stage" | "stg" => "staging".to_owned(),
        "dev" => "development".to_owned(),
        // A name of signs alone is only itself.
        "" => environment.to_owned(),
        _ => letters,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_spelling_is_told_and_the_first_one_never() {
        let spellings = Spellings::default();
        let told = |environment: &str| spellings.known_otherwise("web", environment, Vec::new);
        assert_eq!(told("production"), None);
        for other in ["Production", "PROD", "prod", "pro-duction", "Pro Duction"] {
            assert_eq!(told(other), Some("production".to_owned()), "{other}");
        }
        assert_eq!((told("production"), told("staging"), told("stg"), told("qa-1"), told("qa-2")), (None, None, Some("staging".to_owned()), None, None));
        assert_eq!((told("+"), told("-")), (None, None));
        assert_eq!(spellings.known_otherwise("api", "Production", Vec::new), None, "another service");
    }

    #[test]
    fn what_rows_have_is_known_before_anything_is_told() {
        let spellings = Spellings::default();
        let rows = || vec!["Production".to_owned(), "production".to_owned()];
        assert_eq!(spellings.known_otherwise("web", "production", rows), Some("Production".to_owned()));
        assert_eq!(spellings.known_otherwise("web", "Production", || unreachable!("it is remembered")), None);
    }

    #[test]
    fn memory_is_bounded() {
        let spellings = Spellings::default();
        for number in 0..SERVICES * 3 {
            spellings.known_otherwise(&format!("s{number}"), "production", Vec::new);
            spellings.known_otherwise("web", &format!("e{number}"), Vec::new);
        }
        let services = spellings.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(services.len() <= SERVICES && services.values().all(|known| known.len() <= ENVIRONMENTS));
    }
}
