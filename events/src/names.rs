//! Type names that are meant for a known type and miss it.

/// Tells whether two names differ by one inserted, removed, replaced or transposed character at most, leaving out case and separators.
pub(crate) fn is_near(a: &str, b: &str) -> bool {
    let squash = |text: &str| -> Vec<u8> { text.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase()).collect() };
    if a.len().abs_diff(b.len()) > 8 {
        return false;
    }
    let (a, b) = (squash(a), squash(b));
    let before = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[before..], &b[before..]);
    let behind = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    match (&a[..a.len() - behind], &b[..b.len() - behind]) {
        ([first, second], [third, fourth]) => first == fourth && second == third,
        (a, b) => a.len() <= 1 && b.len() <= 1,
    }
}

/// The name without whatever was meant as its version: `commerce.order_placed` of `commerce.order_placed`, `….V1`, `….1`, `….v01`, `….vx`.
pub(crate) fn without_version(event_type: &str) -> &str {
    let Some((name, last)) = event_type.rsplit_once('.') else { return event_type };
    let digits = last.strip_prefix(['v', 'V']).unwrap_or(last);
    let is_version = digits.bytes().all(|byte| byte.is_ascii_digit()) || (last.len() <= 2 && digits.len() < last.len());
    if is_version && name.contains('.') { name } else { event_type }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slip_is_near_and_another_word_is_not() {
        let known = "commerce.order_placed";
        for near in [
            "commerce.order_palced",
            "commerce.order_place",
            "commerce.order_placedd",
            "commerce.order_plased",
            "commerce.order-placed",
            "Commerce.OrderPlaced",
            "comerce.order_placed",
            known,
        ] {
            assert!(is_near(near, known) && is_near(known, near), "{near}");
        }
        for other in ["commerce.order_shipped", "commerce.orders_replaced", "", "commerce.order_pacled_", "commerce.cart_opened"] {
            assert!(!is_near(other, known), "{other}");
        }
    }

    #[test]
    fn what_was_meant_as_a_version_is_taken_off() {
        for text in ["a.b", "a.b.v1", "a.b.V1", "a.b.1", "a.b.v01", "a.b.v", "a.b.vx"] {
            assert_eq!(without_version(text), "a.b", "{text}");
        }
        assert_eq!((without_version("a.b.visited"), without_version("a"), without_version("a.1")), ("a.b.visited", "a", "a.1"));
    }
}
