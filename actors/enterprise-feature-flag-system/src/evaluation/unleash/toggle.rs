//! A flag that is on, as Unleash's frontend API says it: written when it is compiled, so that an answer is put together from whole pieces.

use xxhash_rust::xxh3::xxh3_64;

use super::variant::Variant;

/// The variant of a flag that serves none.
const NO_VARIANT: &str = r#"{"name":"disabled","enabled":false,"feature_enabled":true,"featureEnabled":true}"#;
/// Odd, with bits of both kinds everywhere.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// The text of one flag.
#[derive(Clone, Debug)]
pub(crate) struct Toggle {
    /// The whole, without a variant.
    text: Box<str>,
    /// Where the variant begins and where it ends.
    variant: (usize, usize),
    hash: u64,
}

impl Toggle {
    pub(super) fn new(name: &str, impression_data: bool) -> Self {
        let head = format!(r#"{{"name":{},"enabled":true,"variant":"#, serde_json::Value::from(name));
        let text = format!(r#"{head}{NO_VARIANT},"impressionData":{impression_data}}}"#);
        Self { variant: (head.len(), head.len() + NO_VARIANT.len()), hash: xxh3_64(text.as_bytes()), text: text.into() }
    }

    /// Bytes without a variant.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// Writes it with what it serves, and takes both into the answer's hash.
    #[inline]
    pub(crate) fn write(&self, variant: Option<&Variant>, body: &mut Vec<u8>, hash: &mut u64) {
        let mut mix = |more: u64| *hash = (hash.rotate_left(29) ^ more).wrapping_mul(MIX);
        mix(self.hash);
        let Some(variant) = variant else { return body.extend_from_slice(self.text.as_bytes()) };
        mix(variant.hash());
        let (begin, end) = self.variant;
        body.extend_from_slice(&self.text.as_bytes()[..begin]);
        body.extend_from_slice(variant.text().as_bytes());
        body.extend_from_slice(&self.text.as_bytes()[end..]);
    }
}
