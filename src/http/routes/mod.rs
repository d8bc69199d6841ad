//! The routes of the node itself, as rows of the same type as those of systems. Serving, access and the OpenAPI document follow the rows.

mod parameters;
mod table;

pub(crate) use table::routes;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tol_plug::{Place, Scope};

    use super::*;

    #[test]
    fn no_route_stands_twice_and_path_parameters_are_declared() {
        let (mut paths, mut operations) = (BTreeSet::new(), BTreeSet::new());
        for spec in routes().map(|route| &route.spec) {
            assert!(paths.insert((spec.method, spec.path)), "{} {} stands twice", spec.method, spec.path);
            assert!(operations.insert(spec.operation), "{} is the name of two routes", spec.operation);
            let declared: Vec<&str> = spec.parameters.iter().filter(|parameter| parameter.place == Place::Path).map(|parameter| parameter.name).collect();
            assert_eq!(declared, spec.path_parameters().collect::<Vec<_>>(), "{} {}", spec.method, spec.path);
        }
    }

    #[test]
    fn what_changes_state_needs_more_than_read() {
        for spec in routes().map(|route| &route.spec).filter(|spec| spec.method != "GET") {
            assert!(spec.access.scope().is_some_and(|scope| scope != Scope::READ), "{} {}", spec.method, spec.path);
        }
    }
}
