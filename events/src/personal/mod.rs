//! Encryption of fields marked personal: AES-256-GCM-SIV (RFC 8452), one key a person, kept outside the log.
//!
//! A sealed field is `{"$personal":"<base64 of 12-byte nonce and ciphertext>"}`. The plain text is the field's JSON; the person
//! and the field's name are authenticated with it, so that a sealed value opens for no other person or field.
//!
//! A type may mark the members of an object, `traits.*`: each member is sealed by itself, under the name `traits.plan`.
//!
//! The nonce is derived from the event's source and id and the field's name: an event that is sealed again has the same bytes, so a replay
//! equals the live run. AES-GCM-SIV is made to stay safe where one nonce seals two contents, as when a changed version decides anew under one id.
//!
//! The person is the event's subject, or the one that the extension [`PERSONAL_SUBJECT`] names: a message in `conversation/7` is
//! sealed with the key of `customer/42`.
//!
//! Erasing a person destroys the key. That person never gets a key again: a late or repeated fact about them is
//! admitted with its personal fields null. A person who returns needs a new id.
//!
//! * `keys` — keys, [`KeyStore`], and one in memory
//! * `file` — [`FileKeyStore`], which nodes may share

mod file;
mod keys;

use std::borrow::Cow;
use std::fmt;

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::TryRngCore as _;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::{Attribute, Event, EventView};
use crate::registry::KnownType;

pub use file::{FileKeyStore, Sharing, VALID};
pub use keys::{Error, Key, KeyState, KeyStore, MemoryKeyStore};

/// The extension that names the person whose key seals an event's personal fields, where that is not the event's subject: `customer/42`.
pub const PERSONAL_SUBJECT: &str = "personalsubject";

const SEALED: &str = "$personal";
const NONCE_LEN: usize = 12;
type NonceBytes = [u8; NONCE_LEN];

/// Gives the person whose key seals an event's personal fields.
pub fn person_of(event: &Event) -> &str {
    event.extensions.get(PERSONAL_SUBJECT).map_or_else(|| event.get(Attribute::Subject), String::as_str)
}

/// [`person_of`] an event that is read from a batch.
pub fn person_of_view<'a>(event: &EventView<'a>) -> &'a str {
    event.extensions().find(|(name, _)| *name == PERSONAL_SUBJECT).map_or_else(|| event.subject(), |(_, person)| person)
}

/// What is done about a field that is sealed already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sealed {
    /// A sender has no sealed values: refused.
    Refused,
    /// A system copies what it read: kept if it opens where it stands now.
    Kept,
}

/// Seals the fields that `known` marks personal, with the key of the event's [person](person_of) (made if need be; [`KeyStore::ensure`] before a
/// batch saves one fsync an event). Absent and null fields stay as they are; those of an erased person become null, and `"erased":true` is added.
///
/// # Errors
/// The data is no JSON object, a field is sealed already, or the key store fails.
pub fn encrypt_fields(event: &mut Event, known: &KnownType, keys: &dyn KeyStore) -> Result<(), Error> {
    seal_fields(event, known, keys, Sealed::Refused)
}

/// Seals a system's own event as [`encrypt_fields`] does. A value that the system read sealed and copies under the same name, of the same person,
/// stays as it is.
///
/// # Errors
/// As [`encrypt_fields`]; [`Error::Unreadable`] for a sealed value of another person or field.
pub fn encrypt_own_fields(event: &mut Event, known: &KnownType, keys: &dyn KeyStore) -> Result<(), Error> {
    seal_fields(event, known, keys, Sealed::Kept)
}

fn seal_fields(event: &mut Event, known: &KnownType, keys: &dyn KeyStore, sealed: Sealed) -> Result<(), Error> {
    if known.personal.is_empty() {
        return Ok(());
    }
    let person = person_of(event).to_owned();
    let fields = parse(&event.data)?;
    if !fields.iter().any(|(name, raw)| Extent::of(known, name) != Extent::None && raw.get() != "null") {
        return Ok(());
    }
    let key = match keys.get_or_create(&person) {
        Ok(key) => Some(key),
        Err(Error::Erased(_)) => None,
        Err(error) => return Err(error),
    };
    let sealer = Sealer { event, person: &person, key: key.as_ref(), sealed };
    let mut out = Writer::new(event.data.len() + 128);
    for (name, raw) in &fields {
        match Extent::of(known, name) {
            Extent::Whole if raw.get() != "null" => out.member(name, &sealer.value(name, raw)?),
            Extent::Members if raw.get() != "null" => out.member(name, &sealer.members(name, raw)?),
            // Erased below, whatever the sender says.
            _ if key.is_some() || &**name != ERASED => out.member(name, raw.get()),
            _ => {}
        }
    }
    if key.is_none() {
        out.member(ERASED, "true");
    }
    event.data = out.finish();
    Ok(())
}

/// How much of a field is personal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    None,
    Whole,
    /// Each member of the object, `traits.*`: one can be replaced without opening the others.
    Members,
}

impl Extent {
    fn of(known: &KnownType, field: &str) -> Self {
        let found = known.personal.iter().find_map(|personal| match personal.strip_suffix(".*") {
            Some(object) => (object == field).then_some(Extent::Members),
            None => (*personal == field).then_some(Extent::Whole),
        });
        found.unwrap_or(Extent::None)
    }
}

/// Seals the values of one event.
struct Sealer<'a> {
    event: &'a Event,
    person: &'a str,
    /// `None` for an erased person.
    key: Option<&'a Key>,
    sealed: Sealed,
}

impl Sealer<'_> {
    /// The value as the log has it; `field` is authenticated with it.
    fn value(&self, field: &str, raw: &RawValue) -> Result<String, Error> {
        let already = sealed_text(raw);
        if already.is_some() && self.sealed == Sealed::Refused {
            return Err(Error::AlreadySealed(field.to_owned()));
        }
        match (self.key, already) {
            (None, _) => Ok("null".to_owned()),
            (Some(key), Some(text)) => {
                let unreadable = || Error::Unreadable { subject: self.person.to_owned(), field: field.to_owned() };
                let bytes = BASE64.decode(text.as_bytes()).map_err(|_| unreadable())?;
                open(key, &associated(self.person, field), &bytes).ok_or_else(unreadable)?;
                Ok(raw.get().to_owned())
            }
            (Some(key), None) => {
                let sealed = seal(key, nonce_of(self.event, field), &associated(self.person, field), raw.get().as_bytes())?;
                Ok(format!("{{\"{SEALED}\":\"{}\"}}", BASE64.encode(sealed)))
            }
        }
    }

    /// An object whose members are sealed one by one.
    fn members(&self, field: &str, raw: &RawValue) -> Result<String, Error> {
        let mut out = Writer::new(raw.get().len() + 128);
        for (name, value) in &parse(raw.get().as_bytes())? {
            if value.get() == "null" {
                out.member(name, "null");
            } else {
                out.member(name, &self.value(&format!("{field}.{name}"), value)?);
            }
        }
        String::from_utf8(out.finish()).map_err(|error| Error::Data(error.to_string()))
    }
}

/// Member that says that a person was erased.
const ERASED: &str = "erased";

/// The nonce of a field of an event: another one for each, and the same whenever the event is sealed again.
fn nonce_of(event: &Event, field: &str) -> NonceBytes {
    let mut hasher = blake3::Hasher::new_derive_key("tree-of-life 2026 nonce of a personal field");
    for part in [event.get(Attribute::Source), event.get(Attribute::Id), field] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut nonce = NonceBytes::default();
    hasher.finalize_xof().fill(&mut nonce);
    nonce
}

/// Opens the sealed fields of the data. Where the [person](person_of) was erased they become null and `"erased":true` is added.
///
/// # Errors
/// A key is missing without having been destroyed, a sealed field was tampered with, or the key store fails.
pub fn decrypt_data<'a>(data: &'a [u8], person: &str, keys: &dyn KeyStore) -> Result<Cow<'a, [u8]>, Error> {
    if !data.windows(SEALED.len()).any(|window| window == SEALED.as_bytes()) {
        return Ok(Cow::Borrowed(data));
    }
    let fields = parse(data)?;
    if !fields.iter().any(|(_, raw)| sealed_text(raw).is_some() || sealed_members(raw).is_some()) {
        return Ok(Cow::Borrowed(data));
    }
    let key = match keys.get(person)? {
        KeyState::Present(key) => Some(key),
        KeyState::Erased => None,
        KeyState::Absent => return Err(Error::NoKey(person.to_owned())),
    };
    let opened = |field: &str, sealed: &str, key: &Key| {
        let plain = open(key, &associated(person, field), &BASE64.decode(sealed.as_bytes()).ok()?)?;
        String::from_utf8(plain).ok()
    };
    let mut out = Writer::new(data.len() + 16);
    for (name, raw) in &fields {
        match (sealed_text(raw), &key) {
            (Some(_), None) => out.member(name, "null"),
            (Some(sealed), Some(key)) => {
                let unreadable = || Error::Unreadable { subject: person.to_owned(), field: name.to_string() };
                out.member(name, &opened(name, &sealed, key).ok_or_else(unreadable)?);
            }
            (None, key) => match sealed_members(raw) {
                None => out.member(name, raw.get()),
                Some(members) => {
                    let mut object = Writer::new(raw.get().len());
                    for (member, value) in &members {
                        match (sealed_text(value), key) {
                            (Some(_), None) => object.member(member, "null"),
                            // A value that was sealed as something else stays as it is.
                            (Some(sealed), Some(key)) => {
                                let plain = opened(&format!("{name}.{member}"), &sealed, key);
                                object.member(member, plain.as_deref().unwrap_or(value.get()));
                            }
                            (None, _) => object.member(member, value.get()),
                        }
                    }
                    out.member(name, &String::from_utf8(object.finish()).map_err(|error| Error::Data(error.to_string()))?);
                }
            },
        }
    }
    if key.is_none() && !fields.iter().any(|(name, _)| name == ERASED) {
        out.member(ERASED, "true");
    }
    Ok(Cow::Owned(out.finish()))
}

/// The members of an object some of whose values are sealed one by one.
fn sealed_members(raw: &RawValue) -> Option<Fields<'_>> {
    let text = raw.get();
    if !text.starts_with('{') || !text.contains(SEALED) {
        return None;
    }
    let members = parse(text.as_bytes()).ok()?;
    members.iter().any(|(_, value)| sealed_text(value).is_some()).then_some(members)
}

/// What is authenticated beside a field; persons hold no control characters, so the pair is unambiguous.
fn associated(person: &str, field: &str) -> Vec<u8> {
    [person.as_bytes(), b"\0", field.as_bytes()].concat()
}

/// Nonce and ciphertext.
fn seal(key: &Key, nonce: NonceBytes, associated: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
    let cipher = Aes256GcmSiv::new(key.bytes().into());
    let sealed = cipher.encrypt(Nonce::from_slice(&nonce), Payload { msg: plain, aad: associated }).map_err(|_| Error::TooLong)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

/// The plain text of [`seal`]'s result; `None` when the key, the associated data or the bytes are not the same.
fn open(key: &Key, associated: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, ciphertext) = sealed.split_at_checked(NONCE_LEN)?;
    Aes256GcmSiv::new(key.bytes().into()).decrypt(Nonce::from_slice(nonce), Payload { msg: ciphertext, aad: associated }).ok()
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(|error| Error::Random(error.to_string()))?;
    Ok(bytes)
}

/// The sealed text of a value of that form.
fn sealed_text(raw: &RawValue) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sealed {
        #[serde(rename = "$personal")]
        sealed: String,
    }
    raw.get().starts_with('{').then(|| serde_json::from_str::<Sealed>(raw.get()).ok().map(|sealed| sealed.sealed)).flatten()
}

type Fields<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

/// The top-level members in their order, values as written.
fn parse(data: &[u8]) -> Result<Fields<'_>, Error> {
    struct Members<'a>(Fields<'a>);
    struct MembersVisitor;
    impl<'de> Deserialize<'de> for Members<'de> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(MembersVisitor)
        }
    }
    impl<'de> Visitor<'de> for MembersVisitor {
        type Value = Members<'de>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
            let mut fields = Vec::new();
            while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                fields.push((Cow::Owned(name), value));
            }
            Ok(Members(fields))
        }
    }
    serde_json::from_slice::<Members<'_>>(data).map(|members| members.0).map_err(|error| Error::Data(error.to_string()))
}

/// Writes a JSON object member by member.
struct Writer(Vec<u8>);

impl Writer {
    fn new(capacity: usize) -> Self {
        let mut out = Vec::with_capacity(capacity);
        out.push(b'{');
        Self(out)
    }

    fn member(&mut self, name: &str, raw_value: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        // Writing a string into a Vec cannot fail.
        let _ = serde_json::to_writer(&mut self.0, name);
        self.0.push(b':');
        self.0.extend_from_slice(raw_value.as_bytes());
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
