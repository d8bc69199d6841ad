#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;
use crate::registry::known;

const TYPE: &str = "commerce.customer_registered.v1";

fn registered(id: &str, data: &str) -> Event {
    let mut event = Event::new("1", "/crm", TYPE, format!("customer/{id}"));
    event.data = data.as_bytes().to_vec();
    event
}

fn sealed(id: &str, data: &str, keys: &dyn KeyStore) -> Event {
    let mut event = registered(id, data);
    encrypt_fields(&mut event, known(TYPE).unwrap(), keys).unwrap();
    event
}

fn plain(event: &Event, keys: &dyn KeyStore) -> String {
    String::from_utf8(decrypt_data(&event.data, person_of(event), keys).unwrap().into_owned()).unwrap()
}

const ADA: &str = r#"{"customer_id":"7","name":"Ada Löw","email":"ada@example.com","tier": "gold","phone":null}"#;

#[test]
fn personal_fields_are_sealed_and_open_again() {
    let keys = MemoryKeyStore::new();
    let event = sealed("7", ADA, &keys);
    let text = std::str::from_utf8(&event.data).unwrap();
    assert!(!text.contains("Ada") && !text.contains("example.com") && text.contains("\"tier\":\"gold\"") && text.contains("\"phone\":null"), "{text}");
    assert_eq!(plain(&event, &keys), ADA.replace("\"tier\": ", "\"tier\":"));
    let typed: crate::commerce::CustomerRegistered<'_> = serde_json::from_slice(&event.data).unwrap();
    assert_eq!(typed.name.unwrap().plain(), None, "the typed event reads in its sealed form too");
    assert_eq!(event.data, sealed("7", ADA, &keys).data, "sealed again, an event has the same bytes");
    let mut other = registered("7", ADA);
    other.set(Attribute::Id, "2");
    encrypt_fields(&mut other, known(TYPE).unwrap(), &keys).unwrap();
    let name = |event: &Event| serde_json::from_slice::<serde_json::Value>(&event.data).unwrap()["name"]["$personal"].clone();
    assert_ne!(name(&event), name(&other), "what two events say of a person does not show to be the same");
}

#[test]
fn data_without_personal_fields_is_left_alone() {
    let keys = MemoryKeyStore::new();
    let bare = r#"{ "customer_id": "7" , "phone":null }"#;
    assert_eq!(sealed("7", bare, &keys).data, bare.as_bytes());
    assert_eq!(keys.get("customer/7").unwrap(), KeyState::Absent, "no key is made for nothing");
    assert!(matches!(decrypt_data(bare.as_bytes(), "customer/7", &keys).unwrap(), Cow::Borrowed(_)));
    let mentions = br#"{"note":"$personal"}"#;
    assert!(matches!(decrypt_data(mentions, "customer/7", &keys).unwrap(), Cow::Borrowed(_)));
}

#[test]
fn erased_person_is_gone_and_does_not_come_back() {
    let keys = MemoryKeyStore::new();
    let event = sealed("7", ADA, &keys);
    assert!(keys.destroy("customer/7").unwrap());
    let erased = r#"{"customer_id":"7","name":null,"email":null,"tier":"gold","phone":null,"erased":true}"#;
    assert_eq!(plain(&event, &keys), erased);
    let late = sealed("7", ADA, &keys);
    assert_eq!(late.data, erased.as_bytes(), "a late fact brings nothing personal back");
    assert!(matches!(keys.get_or_create("customer/7"), Err(Error::Erased(_))));
    assert!(!keys.destroy("customer/7").unwrap());
}

#[test]
fn sealed_values_cannot_be_moved_or_changed() {
    let keys = MemoryKeyStore::new();
    let event = sealed("7", ADA, &keys);
    keys.get_or_create("customer/8").unwrap();
    let refused = |data: &[u8], subject: &str| decrypt_data(data, subject, &keys).unwrap_err().to_string();
    assert!(refused(&event.data, "customer/8").contains("does not open"));
    assert!(refused(&event.data, "customer/9").contains("not in this key store"));
    let swapped = String::from_utf8(event.data.clone()).unwrap().replace("\"name\"", "\"x\"").replace("\"email\"", "\"name\"").replace("\"x\"", "\"email\"");
    assert!(refused(swapped.as_bytes(), "customer/7").contains("does not open"));
    for bad in [r#"{"name":{"$personal":"?"}}"#, r#"{"name":{"$personal":"AAAA"}}"#, r#"{"name":{"$personal":""}}"#] {
        assert!(refused(bad.as_bytes(), "customer/7").contains("field name"), "{bad}");
    }
    let mut again = event;
    assert!(matches!(encrypt_fields(&mut again, known(TYPE).unwrap(), &keys), Err(Error::AlreadySealed(_))));
    let mut no_object = registered("7", "[1]");
    assert!(matches!(encrypt_fields(&mut no_object, known(TYPE).unwrap(), &keys), Err(Error::Data(_))));
}

#[test]
fn the_person_that_an_event_names_seals_it() {
    let keys = MemoryKeyStore::new();
    let mut event = registered("7", ADA);
    event.extensions.insert(PERSONAL_SUBJECT.to_owned(), "customer/42".to_owned());
    encrypt_fields(&mut event, known(TYPE).unwrap(), &keys).unwrap();
    assert_eq!((keys.get("customer/7").unwrap(), person_of(&event)), (KeyState::Absent, "customer/42"));
    assert_eq!(person_of_view(&event.encode().view()), "customer/42");
    assert!(plain(&event, &keys).contains("Ada"));
    keys.destroy("customer/42").unwrap();
    assert!(!plain(&event, &keys).contains("Ada"));
}

#[test]
fn a_system_gives_on_what_it_read_sealed_and_moves_it_nowhere() {
    let keys = MemoryKeyStore::new();
    let fact = sealed("7", ADA, &keys);
    let value = |field: &str| serde_json::from_slice::<serde_json::Value>(&fact.data).unwrap()[field].clone();
    let own = |data: serde_json::Value, customer: &str| {
        let mut event = registered(customer, &data.to_string());
        encrypt_own_fields(&mut event, known(TYPE).unwrap(), &keys).map(|()| event)
    };
    let copied = own(serde_json::json!({"customer_id": "7", "name": value("name"), "email": "new@example.com"}), "7").unwrap();
    assert_eq!(plain(&copied, &keys), r#"{"customer_id":"7","email":"new@example.com","name":"Ada Löw"}"#);
    for (data, customer) in [(serde_json::json!({"email": value("name")}), "7"), (serde_json::json!({"name": value("name")}), "8")] {
        let error = own(data, customer).unwrap_err();
        assert!(matches!(error, Error::Unreadable { .. }) && error.is_of_the_event(), "{error}");
    }
    keys.destroy("customer/7").unwrap();
    let late = own(serde_json::json!({"customer_id": "7", "name": value("name"), "erased": false}), "7").unwrap();
    assert_eq!(late.data, br#"{"customer_id":"7","name":null,"erased":true}"#);
}

fn master() -> Key {
    Key::new([7; 32])
}

fn alone(folder: &std::path::Path) -> Result<FileKeyStore, Error> {
    FileKeyStore::open(folder, master(), Sharing::Alone)
}

fn shared(folder: &std::path::Path) -> FileKeyStore {
    FileKeyStore::open(folder, master(), Sharing::Shared).unwrap()
}

#[test]
fn nodes_that_share_a_folder_have_one_key_a_person() {
    let folder = tempfile::tempdir().unwrap();
    let nodes = [shared(folder.path()), shared(folder.path()), shared(folder.path())];
    assert!(matches!(alone(folder.path()), Err(Error::InUse(_))));
    let subjects: Vec<String> = (0..50).map(|number| format!("customer/{number}")).collect();
    std::thread::scope(|scope| {
        for (at, node) in nodes.iter().enumerate() {
            let subjects = &subjects;
            scope.spawn(move || {
                subjects.iter().cycle().skip(at * 17).take(50).for_each(|subject| {
                    node.get_or_create(subject).unwrap();
                })
            });
        }
    });
    for subject in &subjects {
        let keys: Vec<Key> = nodes.iter().map(|node| node.get_or_create(subject).unwrap()).collect();
        assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "{subject}");
    }
    assert_eq!(shared(folder.path()).get("customer/49").unwrap(), nodes[0].get("customer/49").unwrap());
}

#[test]
fn a_key_that_one_node_destroyed_is_used_by_no_other_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (shared(folder.path()), shared(folder.path()));
    a.ensure(&["customer/1", "customer/2"]).unwrap();
    std::thread::sleep(VALID);
    let second = b.get_or_create("customer/2").unwrap();
    assert!(matches!(b.get("customer/1").unwrap(), KeyState::Present(_)));
    assert!(a.destroy("customer/1").unwrap());
    // Written anew twice: the second file may have the place and the length of the first.
    assert!(!a.destroy("customer/9").unwrap());
    std::thread::sleep(VALID);
    assert_eq!(b.get("customer/1").unwrap(), KeyState::Erased);
    assert!(matches!(b.get_or_create("customer/1"), Err(Error::Erased(_))));
    assert_eq!(b.get("customer/2").unwrap(), KeyState::Present(second));
    // Whoever writes reads first, however new what it knows is.
    a.destroy("customer/2").unwrap();
    b.get_or_create("customer/3").unwrap();
    assert_eq!(b.get("customer/2").unwrap(), KeyState::Erased);
    assert!(!b.destroy("customer/2").unwrap());
}

#[test]
fn a_shared_file_that_cannot_be_read_gives_no_key_out() {
    let folder = tempfile::tempdir().unwrap();
    let keys = shared(folder.path());
    keys.get_or_create("customer/1").unwrap();
    std::fs::rename(folder.path().join("keys.log"), folder.path().join("away")).unwrap();
    std::thread::sleep(VALID);
    assert!(matches!(keys.get("customer/1"), Err(Error::Io { .. })));
    std::fs::rename(folder.path().join("away"), folder.path().join("keys.log")).unwrap();
    assert!(matches!(keys.get("customer/1").unwrap(), KeyState::Present(_)), "it is back");
}

#[test]
fn what_a_node_tore_when_it_ended_is_cut_off_by_the_next_that_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (shared(folder.path()), shared(folder.path()));
    a.get_or_create("customer/1").unwrap();
    let path = folder.path().join("keys.log");
    let mut torn = std::fs::read(&path).unwrap();
    torn.extend_from_slice(&[200, 0, 0, 0, 1, 2, 3]);
    std::fs::write(&path, &torn).unwrap();
    b.get_or_create("customer/2").unwrap();
    std::thread::sleep(VALID);
    assert!(matches!(a.get("customer/2").unwrap(), KeyState::Present(_)));
    drop((a, b));
    assert_eq!(alone(folder.path()).unwrap().truncated(), 0);
}

#[test]
fn a_destroyed_key_is_in_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let keys = alone(folder.path()).unwrap();
    keys.ensure(&["customer/1"]).unwrap();
    let path = folder.path().join("keys.log");
    let wrapped = std::fs::read(&path).unwrap().split_off(68 + 8 + 5 + "customer/1".len());
    assert_eq!(wrapped.len(), 60);
    keys.destroy("customer/1").unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(32).any(|window| wrapped.windows(32).any(|part| part == window)));
    }
}

#[test]
fn local_store_remembers_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let (first, event) = {
        let keys = alone(folder.path()).unwrap();
        keys.ensure(&["customer/1", "customer/2", "customer/1"]).unwrap();
        (keys.get_or_create("customer/1").unwrap(), sealed("7", ADA, &keys))
    };
    let keys = alone(folder.path()).unwrap();
    assert_eq!((keys.truncated(), keys.get_or_create("customer/1").unwrap() == first), (0, true));
    assert!(plain(&event, &keys).contains("Ada"));
    assert!(matches!(alone(folder.path()), Err(Error::InUse(_))));
    drop(keys);
    assert!(matches!(FileKeyStore::open(folder.path(), Key::new([8; 32]), Sharing::Alone), Err(Error::MasterKey(_))));
}

#[test]
fn destroyed_key_leaves_the_file_and_stays_destroyed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.log");
    let keys = alone(folder.path()).unwrap();
    keys.ensure(&["customer/1", "customer/2"]).unwrap();
    let second = keys.get_or_create("customer/2").unwrap();
    let before = std::fs::metadata(&path).unwrap().len();
    assert!(keys.destroy("customer/1").unwrap());
    assert!(!keys.destroy("customer/9").unwrap(), "a subject without a key is marked too");
    assert!(std::fs::metadata(&path).unwrap().len() < before);
    keys.get_or_create("customer/3").unwrap();
    drop(keys);
    let keys = alone(folder.path()).unwrap();
    for erased in ["customer/1", "customer/9"] {
        assert_eq!(keys.get(erased).unwrap(), KeyState::Erased);
        assert!(matches!(keys.get_or_create(erased), Err(Error::Erased(_))));
    }
    keys.ensure(&["customer/1"]).unwrap();
    assert_eq!(keys.get("customer/1").unwrap(), KeyState::Erased);
    assert_eq!(keys.get("customer/2").unwrap(), KeyState::Present(second));
    assert!(matches!(keys.get("customer/3").unwrap(), KeyState::Present(_)));
}

#[test]
fn torn_end_is_cut_off_and_damage_before_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.log");
    {
        let keys = alone(folder.path()).unwrap();
        for subject in ["customer/1", "customer/2", "customer/3"] {
            keys.get_or_create(subject).unwrap();
        }
    }
    let whole = std::fs::read(&path).unwrap();
    let last_frame = 8 + 1 + 4 + "customer/3".len() + 60;
    for lost in [1, 8, last_frame - 1] {
        std::fs::write(&path, &whole[..whole.len() - lost]).unwrap();
        let keys = alone(folder.path()).unwrap();
        assert_eq!(keys.truncated(), (last_frame - lost) as u64);
        assert_eq!(keys.get("customer/3").unwrap(), KeyState::Absent);
        assert!(matches!(keys.get("customer/2").unwrap(), KeyState::Present(_)));
        keys.get_or_create("customer/4").unwrap();
        drop(keys);
        assert!(matches!(alone(folder.path()).unwrap().get("customer/4").unwrap(), KeyState::Present(_)));
    }
    let mut damaged = whole.clone();
    let at = whole.len() - last_frame - 20;
    damaged[at] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    assert!(matches!(alone(folder.path()), Err(Error::Corrupt { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), damaged, "nothing was changed");
    std::fs::write(&path, b"something else").unwrap();
    assert!(matches!(alone(folder.path()), Err(Error::Corrupt { offset: 0, .. })));
}

proptest! {
    #[test]
    fn any_text_survives(name in any::<String>(), id in "[a-z0-9]{1,8}") {
        let keys = MemoryKeyStore::new();
        let data = serde_json::json!({"customer_id": id, "name": name}).to_string();
        let event = sealed(&id, &data, &keys);
        prop_assert_eq!(plain(&event, &keys), data);
    }
}

#[test]
fn members_of_an_object_are_sealed_one_by_one_and_one_can_be_copied_to_another_event() {
    let keys = MemoryKeyStore::new();
    let mut told = Event::new("1", "/sdk", "engagement.identified.v1", "identifier/a");
    told.data = br#"{"identifier_id":"a","identifier_type":"user_id","traits":{"name":"Ada","plan":{"tier":1},"age":null}}"#.to_vec();
    let plain_data = told.data.clone();
    encrypt_fields(&mut told, known("engagement.identified.v1").unwrap(), &keys).unwrap();
    let data: serde_json::Value = serde_json::from_slice(&told.data).unwrap();
    assert!(data["traits"]["name"]["$personal"].is_string() && data["traits"]["plan"]["$personal"].is_string() && data["traits"]["age"].is_null(), "{data}");
    assert_eq!(plain(&told, &keys).as_bytes(), plain_data);
    let mut own = Event::new("2", "/systems/x", "cdp.trait_changed.v1", "identifier/a");
    own.data = serde_json::json!({"identifier_id": "a", "profile_id": "p", "traits": {"plan": data["traits"]["plan"]}}).to_string().into_bytes();
    encrypt_own_fields(&mut own, known("cdp.trait_changed.v1").unwrap(), &keys).unwrap();
    assert!(plain(&own, &keys).contains(r#""traits":{"plan":{"tier":1}}"#));
    let mut moved = own.clone();
    moved.data = String::from_utf8(own.data.clone()).unwrap().replace("\"plan\"", "\"name\"").into_bytes();
    assert!(encrypt_own_fields(&mut moved, known("cdp.trait_changed.v1").unwrap(), &keys).is_err(), "a value opens under its own name only");
    keys.destroy("identifier/a").unwrap();
    assert!(plain(&told, &keys).contains(r#""traits":{"name":null,"plan":null,"age":null}"#), "{}", plain(&told, &keys));
    let mut late = told.clone();
    late.data = plain_data;
    encrypt_fields(&mut late, known("engagement.identified.v1").unwrap(), &keys).unwrap();
    assert!(!String::from_utf8(late.data).unwrap().contains("Ada"));
}
