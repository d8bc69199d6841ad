//! Saved groups: lists and conditions that several rules share.

use hashbrown::HashMap;

use super::condition::{Condition, Members, Path, Scope, path, with};
use crate::evaluation::value::Value;

/// All saved groups of a set of features.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups(HashMap<Box<str>, Group>);

#[derive(Clone, Debug)]
enum Group {
    /// A bare list, as older payloads have it.
    Bare(Members),
    /// A list that names its attribute; either may be missing.
    List {
        members: Option<Members>,
        attribute: Option<Path>,
    },
    Condition(Option<Condition>),
    /// A kind that is not known.
    Other,
}

impl Groups {
    pub(super) fn compile(source: &Value<'_>) -> Self {
        let groups = source.as_object().into_iter().flat_map(|groups| groups.iter());
        Self(groups.map(|(id, group)| (Box::from(id), Group::compile(group))).collect())
    }

    /// The members that `$inGroup` asks for: `None` if the group has no list, `Some(None)` if there is no such group, which is an empty list.
    #[allow(clippy::option_option)]
    pub(super) fn list(&self, id: &str) -> Option<Option<&Members>> {
        match self.0.get(id) {
            None => Some(None),
            Some(Group::Bare(members) | Group::List { members: Some(members), .. }) => Some(Some(members)),
            Some(_) => None,
        }
    }

    /// Whether `$savedGroup` holds. The attribute named by the reference wins over the group's own.
    pub(super) fn holds<'s>(&'s self, id: &'s str, attribute: Option<&[Box<str>]>, attributes: &Value<'_>, scope: &mut Scope<'s>) -> bool {
        if scope.visited.contains(&id) {
            return false;
        }
        match self.0.get(id) {
            Some(Group::List { members: Some(members), attribute: own }) => match attribute.or(own.as_deref()) {
                Some(path) => with(attributes, path, |value| members.contain(value)),
                None => false,
            },
            Some(Group::Condition(Some(condition))) => {
                scope.visited.push(id);
                let holds = condition.holds(attributes, scope);
                scope.visited.pop();
                holds
            }
            _ => false,
        }
    }
}

impl Group {
    fn compile(source: &Value<'_>) -> Self {
        if let Value::Array(items) = source {
            return Self::Bare(Members::new(items, false));
        }
        match source.get("type").and_then(Value::as_str) {
            Some("list") => Self::List {
                members: source.get("values").and_then(Value::as_array).map(|items| Members::new(items, false)),
                attribute: source.get("attributeKey").and_then(Value::as_str).map(path),
            },
            Some("condition") => Self::Condition(source.get("condition").filter(|condition| condition.as_object().is_some()).map(Condition::compile)),
            _ => Self::Other,
        }
    }
}
