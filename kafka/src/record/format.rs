//! Numbers, bytes and headers as a batch's body has them.

use tol_events::{Attribute, EventMeta, Span};

pub(crate) fn set_header(meta: &mut EventMeta, extension_names: &[Option<Span>], number: u64, span: Span) {
    match meta.attributes.get_mut(number as usize) {
        Some(slot) => *slot = span,
        None => {
            if let Some(Some(name)) = extension_names.get(number as usize - Attribute::COUNT) {
                meta.extensions.push((*name, span));
            }
        }
    }
}

pub(crate) fn write_number(buffer: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        buffer.push(number as u8 | 0x80);
        number >>= 7;
    }
    buffer.push(number as u8);
}

pub(super) fn write_bytes(buffer: &mut Vec<u8>, bytes: &[u8]) {
    write_number(buffer, bytes.len() as u64);
    buffer.extend_from_slice(bytes);
}

pub(super) fn read_number(buffer: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *buffer.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

pub(super) fn read_span(buffer: &[u8], at: &mut usize) -> Option<Span> {
    let len = read_number(buffer, at)?;
    let span = Span { start: u32::try_from(*at).ok()?, len: u32::try_from(len).ok()? };
    *at = at.checked_add(len as usize)?;
    (*at <= buffer.len()).then_some(span)
}
