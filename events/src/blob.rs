//! [`BlobRef`]: how an event names content that is too large for it, such as a file or a model. The content itself lies beside the log.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// SHA-256 of a blob's stored bytes, written as 64 lower-case hex digits; the blob's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId([u8; 32]);

/// A text that is no [`BlobId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a blob's name is its SHA-256 as 64 lower-case hex digits, not \"{0}\"")]
pub struct InvalidBlobId(pub String);

impl BlobId {
    /// From the hash.
    pub const fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BlobId {
    type Err = InvalidBlobId;
    fn from_str(text: &str) -> Result<Self, InvalidBlobId> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
        match bytes.and_then(|bytes| bytes.try_into().ok()) {
            Some(bytes) if rest.is_empty() => Ok(Self(bytes)),
            _ => Err(InvalidBlobId(text.chars().take(80).collect())),
        }
    }
}

impl Serialize for BlobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for BlobId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BlobId".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 of the stored bytes"})
    }
}

/// A blob, as an event names it. Whoever puts a blob gets one; it is durable before that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobRef {
    /// The blob's name: SHA-256 of the content, or of the sealed bytes where it is sealed.
    pub sha256: BlobId,
    /// Length of the content, bytes.
    pub bytes: u64,
    /// The content's media type, e.g. `application/pdf`.
    pub media_type: String,
    /// The subject with whose key the content is sealed; erasing that subject makes it unreadable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_reads_back_and_its_name_can_be_no_path() {
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let blob = BlobRef { sha256: text.parse().unwrap(), bytes: 3, media_type: "text/plain".into(), sealed: Some("customer/42".into()) };
        let json = serde_json::to_value(&blob).unwrap();
        assert_eq!((&json["sha256"], &json["sealed"]), (&text.into(), &"customer/42".into()));
        assert_eq!(serde_json::from_value::<BlobRef>(json).unwrap(), blob);
        let wrong = [text[1..].to_owned(), text.to_uppercase(), format!("../{}", &text[3..]), format!("{text}0"), format!("{}é", &text[2..])];
        for text in wrong {
            assert!(text.parse::<BlobId>().is_err(), "{text}");
        }
    }
}
