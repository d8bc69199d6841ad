//! Own events that hold personal data.

use tol_events::personal::{self, KeyState, KeyStore, MemoryKeyStore};

use super::*;

const REGISTERED: &str = "commerce.customer_registered.v1";

fn keys() -> Arc<MemoryKeyStore> {
    Arc::new(MemoryKeyStore::seeded([1; 32]))
}

fn open(stage: &Stage, seed: u64, keys: &Arc<MemoryKeyStore>) -> Driver {
    let mut driver = stage.open(seed);
    driver.owner_mut().seal_with(keys.clone());
    stage.settle(&mut driver);
    driver
}

fn register(stage: &mut Stage, id: &str, person: Option<&str>) {
    stage.fact(id, "customer/a", json!({ "register": { "customer_id": "a", "name": "Ada Quillfeather" }, "person": person }));
}

/// Data of the own events about customers, as it lies in the log.
fn written(stage: &Stage) -> Vec<Value> {
    stage.own_data(REGISTERED)
}

#[test]
fn own_events_are_sealed_before_they_are_folded_and_written() {
    let (mut stage, keys) = (Stage::new(), keys());
    register(&mut stage, "f1", None);
    let mut driver = open(&stage, 1, &keys);
    let data = written(&stage);
    assert!(data.len() == 1 && data[0]["name"]["$personal"].is_string(), "{data:?}");
    let opened = personal::decrypt_data(data[0].to_string().as_bytes(), "customer/a", keys.as_ref()).unwrap().into_owned();
    assert_eq!(serde_json::from_slice::<Value>(&opened).unwrap(), json!({ "customer_id": "a", "name": "Ada Quillfeather" }));
    assert_eq!(driver.owner_mut().observe("customer/a").unwrap(), json!([""]), "evolve saw no text");
}

#[test]
fn an_input_decided_again_leads_to_the_same_bytes() {
    let written = [1, 2].map(|seed| {
        let mut stage = Stage::on_log(seed);
        register(&mut stage, "f1", None);
        open(&stage, seed, &keys());
        written(&stage)
    });
    assert_eq!(written[0].len(), 1);
    assert_eq!(written[0], written[1]);
}

#[test]
fn an_own_event_may_name_the_person_that_seals_it() {
    let (mut stage, keys) = (Stage::new(), keys());
    register(&mut stage, "f1", Some("customer/b"));
    open(&stage, 1, &keys);
    assert_eq!(keys.get("customer/a").unwrap(), KeyState::Absent);
    let batches = stage.log.read(&TopicPartition::new("puppet.events", 0), 0, usize::MAX).unwrap();
    let (_, event) = batches.iter().flat_map(|batch| batch.events_from(0)).find(|(_, event)| event.event_type() == REGISTERED).unwrap();
    assert_eq!((event.subject(), personal::person_of_view(&event)), ("customer/a", "customer/b"));
    assert!(personal::decrypt_data(event.data(), "customer/b", keys.as_ref()).unwrap().windows(3).any(|text| text == b"Ada"));
}

#[test]
fn of_an_erased_person_nothing_is_written() {
    let (mut stage, keys) = (Stage::new(), keys());
    keys.destroy("customer/a").unwrap();
    register(&mut stage, "f1", None);
    open(&stage, 1, &keys);
    assert_eq!(written(&stage), [json!({ "customer_id": "a", "name": null, "erased": true })]);
}

#[test]
fn without_keys_nothing_personal_is_written() {
    let mut stage = Stage::new();
    stage.options.attempts = 1;
    register(&mut stage, "f1", None);
    let mut driver = stage.open(1);
    stage.settle(&mut driver);
    assert_eq!((written(&stage).len(), driver.owner().counts().parked), (0, 1));
}

/// A key store on a disk that is gone.
struct Away;

impl KeyStore for Away {
    fn get_or_create(&self, subject: &str) -> Result<personal::Key, personal::Error> {
        Err(personal::Error::Failed(subject.into()))
    }
    fn get(&self, subject: &str) -> Result<KeyState, personal::Error> {
        Err(personal::Error::Failed(subject.into()))
    }
    fn ensure(&self, _: &[&str]) -> Result<(), personal::Error> {
        Ok(())
    }
    fn destroy(&self, subject: &str) -> Result<bool, personal::Error> {
        Err(personal::Error::Failed(subject.into()))
    }
}

#[test]
fn a_key_store_that_fails_ends_the_owner_and_parks_nothing() {
    let mut stage = Stage::new();
    stage.options.attempts = 1;
    register(&mut stage, "f1", None);
    let mut driver = stage.open(1);
    driver.owner_mut().seal_with(Arc::new(Away));
    let ended = loop {
        match driver.step(stage.moment()) {
            Ok(progress) => assert!(progress.moved, "it waits in silence"),
            Err(error) => break error,
        }
    };
    assert!(matches!(ended, Error::Keys(_)), "{ended}");
    assert_eq!((written(&stage).len(), driver.owner().counts().parked), (0, 0));
    // Opened again with a store that works, it decides the same input.
    open(&stage, 2, &keys());
    assert_eq!(written(&stage).len(), 1);
}
