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
    String::from_utf8(decrypt_data(&event.data, event.get(Attribute::Subject), keys).unwrap().into_owned()).unwrap()
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
    assert_ne!(event.data, sealed("7", ADA, &keys).data, "nonces are random");
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

fn master() -> Key {
    Key::new([7; 32])
}

#[test]
fn local_store_remembers_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let (first, event) = {
        let keys = LocalKeyStore::open(folder.path(), master()).unwrap();
        keys.ensure(&["customer/1", "customer/2", "customer/1"]).unwrap();
        (keys.get_or_create("customer/1").unwrap(), sealed("7", ADA, &keys))
    };
    let keys = LocalKeyStore::open(folder.path(), master()).unwrap();
    assert_eq!((keys.truncated(), keys.get_or_create("customer/1").unwrap() == first), (0, true));
    assert!(plain(&event, &keys).contains("Ada"));
    assert!(matches!(LocalKeyStore::open(folder.path(), master()), Err(Error::InUse(_))));
    drop(keys);
    assert!(matches!(LocalKeyStore::open(folder.path(), Key::new([8; 32])), Err(Error::MasterKey(_))));
}

#[test]
fn destroyed_key_leaves_the_file_and_stays_destroyed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.log");
    let keys = LocalKeyStore::open(folder.path(), master()).unwrap();
    keys.ensure(&["customer/1", "customer/2"]).unwrap();
    let second = keys.get_or_create("customer/2").unwrap();
    let before = std::fs::metadata(&path).unwrap().len();
    assert!(keys.destroy("customer/1").unwrap());
    assert!(!keys.destroy("customer/9").unwrap(), "a subject without a key is marked too");
    assert!(std::fs::metadata(&path).unwrap().len() < before);
    keys.get_or_create("customer/3").unwrap();
    drop(keys);
    let keys = LocalKeyStore::open(folder.path(), master()).unwrap();
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
        let keys = LocalKeyStore::open(folder.path(), master()).unwrap();
        for subject in ["customer/1", "customer/2", "customer/3"] {
            keys.get_or_create(subject).unwrap();
        }
    }
    let whole = std::fs::read(&path).unwrap();
    let last_frame = 8 + 1 + 4 + "customer/3".len() + 60;
    for lost in [1, 8, last_frame - 1] {
        std::fs::write(&path, &whole[..whole.len() - lost]).unwrap();
        let keys = LocalKeyStore::open(folder.path(), master()).unwrap();
        assert_eq!(keys.truncated(), (last_frame - lost) as u64);
        assert_eq!(keys.get("customer/3").unwrap(), KeyState::Absent);
        assert!(matches!(keys.get("customer/2").unwrap(), KeyState::Present(_)));
        keys.get_or_create("customer/4").unwrap();
        drop(keys);
        assert!(matches!(LocalKeyStore::open(folder.path(), master()).unwrap().get("customer/4").unwrap(), KeyState::Present(_)));
    }
    let mut damaged = whole.clone();
    let at = whole.len() - last_frame - 20;
    damaged[at] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    assert!(matches!(LocalKeyStore::open(folder.path(), master()), Err(Error::Corrupt { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), damaged, "nothing was changed");
    std::fs::write(&path, b"something else").unwrap();
    assert!(matches!(LocalKeyStore::open(folder.path(), master()), Err(Error::Corrupt { offset: 0, .. })));
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
