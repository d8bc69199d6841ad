//! A question asked on any node is answered from the memory of the subject's owner.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{config, start};
use crate::broker::Broker;
use crate::common::{Http, wait};

/// Has the owner keep a note; who that is, and all notes it has.
fn note(http: &Http, subject: &str, note: u32) -> Option<(String, Vec<Value>)> {
    let answer = http.post(&format!("/puppet/notes/{subject}"), &json!({"note": note}));
    assert!(matches!(answer.status, 200 | 503), "{}", answer.text);
    (answer.status == 200).then(|| (answer.json["kept_by"].as_str().unwrap().to_owned(), answer.json["notes"].as_array().unwrap().clone()))
}

#[test]
fn a_question_is_answered_by_the_owner_whichever_node_is_asked() {
    let Some(broker) = Broker::start() else { return };
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let nodes = [0, 1].map(|number| {
        let mut config = config(folders[number].path(), &json!({}));
        config.node.name = format!("node-{number}");
        config.log.partitions = 4;
        config.log.kafka.bootstrap = Some(broker.address());
        start(config)
    });
    let subjects: Vec<String> = (0..16).map(|number| format!("customer/{number}")).collect();
    wait("both nodes to own a part", || {
        let owners: Option<BTreeSet<String>> = subjects.iter().map(|subject| Some(note(&nodes[0].1, subject, 0)?.0)).collect();
        (owners?.len() == 2).then_some(())
    });
    for subject in &subjects {
        let (here, there) = wait("answers of one owner", || {
            let answers = (note(&nodes[0].1, subject, 1)?, note(&nodes[1].1, subject, 2)?);
            (answers.0.0 == answers.1.0).then_some(answers)
        });
        assert!(there.1.ends_with(&[json!(1), json!(2)]), "one memory has both: {here:?} {there:?}");
    }
    for (node, _) in nodes {
        node.stop().unwrap();
    }
}
