//! Payloads that GrowthBook encrypts for an SDK connection: AES-CBC with PKCS#7, as `<initialisation vector>.<text>` in base64.
//!
//! CBC proves nothing about who wrote a text: it keeps curious eyes out, as GrowthBook means it to, and is no signature.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Why a text cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key is not one.
    #[error("the key is not 16, 24 or 32 bytes in base64; copy it from the SDK connection")]
    Key,
    /// Neither is the text.
    #[error("the text is not `<vector>.<text>` in base64, or was encrypted with another key")]
    Text,
}

/// The text of `encryptedFeatures`, `encryptedExperiments` or `encryptedSavedGroups`.
///
/// # Errors
/// [`Error`], without what is secret.
pub fn decrypt(encrypted: &str, key: &str) -> Result<String, Error> {
    let key = STANDARD.decode(key).map_err(|_| Error::Key)?;
    let (vector, text) = encrypted.split_once('.').ok_or(Error::Text)?;
    // SDKs split at every full stop and take the first two parts.
    let text = text.split('.').next().unwrap_or_default();
    let (vector, mut text) = (STANDARD.decode(vector).map_err(|_| Error::Text)?, STANDARD.decode(text).map_err(|_| Error::Text)?);
    if vector.len() != 16 {
        return Err(Error::Text);
    }
    let plain = match key.len() {
        16 => cbc::Decryptor::<aes::Aes128>::new_from_slices(&key, &vector).map_err(|_| Error::Key)?.decrypt_padded_mut::<Pkcs7>(&mut text),
        24 => cbc::Decryptor::<aes::Aes192>::new_from_slices(&key, &vector).map_err(|_| Error::Key)?.decrypt_padded_mut::<Pkcs7>(&mut text),
        32 => cbc::Decryptor::<aes::Aes256>::new_from_slices(&key, &vector).map_err(|_| Error::Key)?.decrypt_padded_mut::<Pkcs7>(&mut text),
        _ => return Err(Error::Key),
    };
    String::from_utf8(plain.map_err(|_| Error::Text)?.to_vec()).map_err(|_| Error::Text)
}

/// A text as an SDK with this key expects it. The vector must be new for every text.
///
/// # Errors
/// [`Error::Key`]
pub fn encrypt(text: &str, key: &str, vector: [u8; 16]) -> Result<String, Error> {
    let key = STANDARD.decode(key).map_err(|_| Error::Key)?;
    let encrypted = match key.len() {
        16 => cbc::Encryptor::<aes::Aes128>::new_from_slices(&key, &vector).map_err(|_| Error::Key)?.encrypt_padded_vec_mut::<Pkcs7>(text.as_bytes()),
        24 => cbc::Encryptor::<aes::Aes192>::new_from_slices(&key, &vector).map_err(|_| Error::Key)?.encrypt_padded_vec_mut::<Pkcs7>(text.as_bytes()),
        32 => cbc::Encryptor::<aes::Aes256>::new_from_slices(&key, &vector).map_err(|_| Error::Key)?.encrypt_padded_vec_mut::<Pkcs7>(text.as_bytes()),
        _ => return Err(Error::Key),
    };
    Ok(format!("{}.{}", STANDARD.encode(vector), STANDARD.encode(encrypted)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    // From the cases of GrowthBook's SDK specification (`decrypt`).
    const KEY: &str = "Zvwv/+uhpFDznZ6SX28Yjg==";
    const TEXT: &str = "m5ylFM6ndyOJA2OPadubkw==.Uu7ViqgKEt/dWvCyhI46q088PkAEJbnXKf3KPZjf9IEQQ+A8fojNoxw4wIbPX3aj";

    #[test]
    fn reads_what_growthbook_encrypted() {
        assert_eq!(decrypt(TEXT, KEY).unwrap().trim(), r#"{"feature":{"defaultValue":true}}"#);
    }

    #[test]
    fn a_wrong_key_a_broken_text_and_no_text_are_errors() {
        assert!(decrypt(TEXT, "Zvwv/+uhpFDznZ6SX39Yjg==").is_err());
        assert_eq!(decrypt(TEXT, "short"), Err(Error::Key));
        for text in ["", "a", "a.b", "m5ylFM6ndyOJA2OPadubkw==.", "fakeFM6ndyOJA2OPadubkw==.Uu7ViqgKEt/dWvCyhI46q088PkAEJbnXKf3KPZjf9IEQQ+A8fojNoxw4wIbPX3a"] {
            assert!(decrypt(text, KEY).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_what_it_wrote() {
        for key in [KEY.to_owned(), STANDARD.encode([7; 24]), STANDARD.encode([7; 32])] {
            for text in ["", "{}", "sixteen bytes ok", "ünïcode"] {
                assert_eq!(decrypt(&encrypt(text, &key, [9; 16]).unwrap(), &key).unwrap(), text);
            }
        }
        assert_eq!(encrypt("{}", "", [0; 16]), Err(Error::Key));
    }
}
