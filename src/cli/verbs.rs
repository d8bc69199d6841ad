//! Verbs that mounted systems add to the command line.

use std::cell::RefCell;

use clap::ArgMatches;
use serde_json::Value;
use tol_plug::cli::{Client as Node, Error as VerbError, Verb};
use ureq::http::Method;

use super::client::{Client, Reply};
use super::error::{Error, Problem};
use super::output::{self, Format};
use crate::node::registry;

/// The verbs of all registered systems.
pub fn registered() -> Vec<&'static Verb> {
    registry::descriptions().iter().flat_map(|plug| plug.verbs).collect()
}

/// The command line with these verbs, in one section with the node's own commands.
pub fn add(command: clap::Command, verbs: &[&Verb]) -> clap::Command {
    command.subcommands(verbs.iter().map(|verb| (verb.command)()))
}

/// The verb that the command line names, with its arguments.
pub fn named<'a>(verbs: &[&'a Verb], matches: &'a ArgMatches) -> Option<(&'a Verb, &'a ArgMatches)> {
    let (name, arguments) = matches.subcommand()?;
    let verb = verbs.iter().find(|verb| (verb.command)().get_name() == name)?;
    Some((verb, arguments))
}

/// Runs a verb against the node.
///
/// # Errors
/// The verb's error, with the exit code of its kind.
pub fn run(verb: &Verb, arguments: &ArgMatches, client: &Client, format: Format) -> Result<(), Error> {
    (verb.run)(arguments, &VerbClient { client, format, last: RefCell::default() }).map_err(|error| match error {
        VerbError::Usage(text) => Error::Usage(text),
        VerbError::NotReachable(text) => Error::NotReachable { url: client.base().to_owned(), why: text },
        VerbError::Refused(text) => Error::Refused(Box::new(Problem { title: text, ..Problem::default() })),
        VerbError::Failed(text) => Error::Failed(text),
    })
}

/// The node as a verb sees it.
struct VerbClient<'a> {
    client: &'a Client,
    format: Format,
    /// What the node answered last: where a verb prints just that as JSON, it is the node's very text.
    last: RefCell<Reply>,
}

impl Node for VerbClient<'_> {
    fn send(&self, method: &str, path: &str, query: &[(&str, String)], body: Option<Value>) -> Result<Value, VerbError> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|error| VerbError::Failed(format!("{method:?} is no HTTP method: {error}")))?;
        let (_, reply) = self.client.json(method, path, query, body.as_ref()).map_err(|error| match error {
            Error::Usage(text) => VerbError::Usage(text),
            Error::NotReachable { why, .. } => VerbError::NotReachable(why),
            Error::Refused(problem) => VerbError::Refused(problem.text()),
            error => VerbError::Failed(error.to_string()),
        })?;
        let value = reply.value.clone();
        self.last.replace(reply);
        Ok(value)
    }

    fn print(&self, value: &Value, rows: &dyn Fn(&Value) -> Vec<Vec<String>>) {
        match self.format {
            Format::Json => output::line(&self.json(value)),
            Format::Table => output::line(&output::rows(&rows(value))),
        }
    }
}

impl VerbClient<'_> {
    /// The text of a value: the node's own, where it is what the node answered last.
    fn json(&self, value: &Value) -> String {
        let last = self.last.borrow();
        if last.value == *value && !last.text.is_empty() { last.text.trim_end_matches('\n').to_owned() } else { value.to_string() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use clap::{Arg, Command};

    use super::super::testing::{FakeNode, answer};
    use super::*;

    static PARCELS: Verb = Verb {
        command: || Command::new("parcels").about("Lists parcels").arg(Arg::new("order")),
        run: |arguments, node| {
            let order = arguments.get_one::<String>("order").cloned().ok_or_else(|| VerbError::Usage("name an order".to_owned()))?;
            let parcels = node.send("GET", &format!("/parcels/{order}"), &[("limit", "5".to_owned())], None)?;
            node.print(&parcels, &|parcels| vec![vec!["PARCEL".to_owned()], vec![parcels["id"].to_string()]]);
            Ok(())
        },
    };

    fn run_line(words: &[&str], client: &Client) -> Result<(), Error> {
        let verbs = [&PARCELS];
        let matches = add(Command::new("tol"), &verbs).try_get_matches_from(words).unwrap();
        let (verb, arguments) = named(&verbs, &matches).expect("the verb is found");
        run(verb, arguments, client, Format::Table)
    }

    #[test]
    fn a_verb_of_a_system_asks_the_node_with_the_key() {
        let node = FakeNode::start(vec![answer(200, "{\"id\": 7}")]);
        run_line(&["tol", "parcels", "1001"], &node.client()).unwrap();
        let seen = node.requests();
        assert!(seen[0].head.starts_with("get /parcels/1001?limit=5 "), "{}", seen[0].head);
        assert!(seen[0].head.contains("authorization: bearer tol_test"), "{}", seen[0].head);
    }

    #[test]
    fn json_that_a_verb_passes_on_is_the_nodes_very_text() {
        let node = FakeNode::start(vec![answer(200, "{\"b\": 1.50, \"a\": 7}")]);
        let client = node.client();
        let verb = VerbClient { client: &client, format: Format::Json, last: RefCell::default() };
        let value = verb.send("GET", "/parcels", &[], None).unwrap();
        assert_eq!(verb.json(&value), "{\"b\": 1.50, \"a\": 7}");
        assert_eq!(verb.json(&value["a"]), "7", "a part is written anew");
    }

    #[test]
    fn each_kind_of_error_keeps_its_exit_code() {
        let node = FakeNode::start(vec![answer(404, "{\"title\": \"Unknown order\", \"detail\": \"1001\"}")]);
        let client = node.client();
        assert_eq!(run_line(&["tol", "parcels"], &client).unwrap_err().exit_code(), 2);
        let refused = run_line(&["tol", "parcels", "1001"], &client).unwrap_err();
        assert!(refused.to_string().contains("Unknown order"), "{refused}");
        assert_eq!(refused.exit_code(), 5);
        let nobody = Client::new("http://127.0.0.1:1", None).unwrap();
        assert_eq!(run_line(&["tol", "parcels", "1001"], &nobody).unwrap_err().exit_code(), 4);
    }

    #[test]
    fn no_system_takes_a_verb_of_the_node_or_of_another_system() {
        let command = <super::super::Cli as clap::CommandFactory>::command();
        let mut names: Vec<String> = command.get_subcommands().map(|known| known.get_name().to_owned()).collect();
        names.extend(registered().iter().map(|verb| (verb.command)().get_name().to_owned()));
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
