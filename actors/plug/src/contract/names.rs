//! Names, and that what is named is there.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broken, Rule, caught};
use crate::{Access, Body, Content, Description, Kind, Place, Scope, Spec};

/// Components of the OpenAPI document that the node itself brings.
const OF_THE_NODE: &[&str] = &["EventPage", "Item", "Published", "Reason", "Row", "RowPage", "Running"];
const METHODS: &[&str] = &["GET", "POST", "PUT", "PATCH", "DELETE"];

pub(super) fn check(plug: &Description, broken: &mut Broken) {
    let mut plain = |what: &str, name: &str| {
        let fits = name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:".contains(&byte));
        broken.check(Rule::Names, fits, || format!("the {what} \"{name}\" is not lower-case letters, digits and dashes"));
    };
    plain("name", plug.name);
    plain("short name", plug.short);
    plug.words.iter().for_each(|word| plain("word", word));
    plug.protocols.iter().for_each(|protocol| plain("protocol", protocol.name));
    plug.listeners.iter().for_each(|(name, _)| plain("listener", name));
    plug.runners.iter().for_each(|runner| plain("runner", runner.name));
    plug.questions.iter().for_each(|question| plain("question", question));
    plug.problems.iter().for_each(|kind| plain("problem", kind.slug));

    let rows = || plug.routes.iter().chain(plug.protocols.iter().flat_map(|protocol| &protocol.routes));
    unique(broken, "operation", rows().map(|spec| spec.operation));
    unique(broken, "word", plug.words.iter().copied());
    unique(broken, "protocol", plug.protocols.iter().map(|protocol| protocol.name));
    unique(broken, "listener", plug.listeners.iter().map(|(name, _)| *name));
    unique(broken, "runner", plug.runners.iter().map(|runner| runner.name));
    unique(broken, "question", plug.questions.iter().copied());
    unique(broken, "scope", Scope::CORE.iter().chain(plug.scopes.iter().map(|(scope, _)| scope)).map(|scope| scope.0));
    unique(broken, "problem", Kind::CORE.iter().chain(plug.problems).map(|kind| kind.slug));
    let places = |rows: &[Spec]| rows.iter().map(|spec| format!("{} {}", spec.method, spec.path)).collect::<Vec<_>>();
    unique(broken, "route", places(&plug.routes).iter().map(String::as_str));
    for protocol in &plug.protocols {
        unique(broken, "route", places(&protocol.routes).iter().map(String::as_str));
    }

    for (scope, about) in plug.scopes {
        let prefixed = scope.0.strip_prefix(plug.short).is_some_and(|rest| rest.starts_with(':'));
        broken.check(Rule::Names, prefixed, || format!("the scope {scope} does not begin with \"{}:\"", plug.short));
        broken.check(Rule::Rows, !about.is_empty(), || format!("the scope {scope} does not say what it allows"));
    }
    for question in &plug.questions {
        let prefixed = question.strip_prefix(plug.short).is_some_and(|rest| rest.starts_with('.'));
        broken.check(Rule::Names, prefixed, || format!("the question {question} does not begin with \"{}.\"", plug.short));
    }
    for kind in plug.problems {
        let missing = kind.missing_from_page();
        broken.check(Rule::ProblemPages, missing.is_none(), || format!("the page of {} lacks {missing:?}", kind.slug));
        broken.check(Rule::ProblemPages, (400..600).contains(&kind.status), || format!("{} has the status {}", kind.slug, kind.status));
    }
    for spec in &plug.routes {
        let word = spec.path.split('/').nth(1).unwrap_or_default();
        broken.check(Rule::Names, plug.words.contains(&word), || format!("{} begins with none of the words {:?}", place(spec), plug.words));
    }
    let declared: BTreeSet<Scope> = Scope::CORE.iter().copied().chain(plug.scopes.iter().map(|(scope, _)| *scope)).collect();
    rows().for_each(|spec| row(plug, spec, &declared, broken));
    components(plug, broken);
}

/// A row as a person would look for it.
pub(super) fn place(spec: &Spec) -> String {
    format!("{} ({} {})", spec.operation, spec.method, spec.path)
}

fn row(plug: &Description, spec: &Spec, declared: &BTreeSet<Scope>, broken: &mut Broken) {
    let place = place(spec);
    let mut check = |holds: bool, why: String| broken.check(Rule::Rows, holds, || format!("{place} {why}"));
    check(spec.tag == plug.short, format!("has the tag \"{}\" and not \"{}\"", spec.tag, plug.short));
    check(METHODS.contains(&spec.method), "has no method of a route".to_owned());
    check(spec.path.starts_with('/'), "has a path without a slash in front".to_owned());
    check(!spec.summary.is_empty(), "has no summary".to_owned());
    check(!spec.answers.is_empty(), "documents no answer".to_owned());
    check(spec.access != Access::Signed || spec.body != Body::None, "is signed, and has no body to sign".to_owned());
    if let Access::Scope(scope) = spec.access {
        check(declared.contains(&scope), format!("needs the scope {scope}, which nobody declares"));
    }
    let in_path: BTreeSet<&str> = spec.path_parameters().collect();
    let documented: BTreeSet<&str> = spec.parameters.iter().filter(|parameter| parameter.place == Place::Path).map(|parameter| parameter.name).collect();
    check(in_path == documented, format!("has the path parameters {in_path:?} and documents {documented:?}"));
    for parameter in spec.parameters {
        check(parameter.place != Place::Path || !parameter.example.is_empty(), format!("has no example of {}", parameter.name));
        check(!parameter.description.is_empty(), format!("does not describe {}", parameter.name));
    }
    let problems: BTreeSet<&str> = Kind::CORE.iter().chain(plug.problems).map(|kind| kind.slug).collect();
    for kind in spec.problems {
        check(problems.contains(kind.slug), format!("may answer {}, which the plug does not declare", kind.slug));
    }
}

fn components(plug: &Description, broken: &mut Broken) {
    let Some(components) = caught(broken, "components", plug.components) else { return };
    let known = |name: &str| OF_THE_NODE.contains(&name) || components[name].is_object();
    for spec in plug.routes.iter().chain(plug.protocols.iter().flat_map(|protocol| &protocol.routes)) {
        let of_answers = spec.answers.iter().filter_map(|answer| match answer.content {
            Content::Json(name) | Content::List(name) => Some(name),
            _ => None,
        });
        let of_body = match spec.body {
            Body::Json(name) | Body::OptionalJson(name) => Some(name),
            _ => None,
        };
        for name in of_answers.chain(of_body) {
            broken.check(Rule::Rows, known(name), || format!("{} names the component {name}, which is not there", place(spec)));
        }
    }
    let text = components.to_string();
    for reference in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
        broken.check(Rule::Rows, known(reference), || format!("the components refer to {reference}, which is not there"));
    }
}

fn unique<'a>(broken: &mut Broken, what: &str, names: impl Iterator<Item = &'a str>) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    for (name, count) in counts.into_iter().filter(|(_, count)| *count > 1) {
        broken.add(Rule::Names, format!("the {what} \"{name}\" stands {count} times"));
    }
}
