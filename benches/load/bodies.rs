//! Requests with batches of events, prepared once: between two sends only ids and customers are overwritten in place.

/// Bytes of one event as JSON.
pub const EVENT_BYTES: usize = 300;
const ID_DIGITS: usize = 16;
const CUSTOMER_DIGITS: usize = 8;

/// Which events are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mix {
    /// `usage.feature_used.v1`.
    Usage,
    /// `commerce.order_placed.v1`.
    Orders,
    /// Both in turn.
    Both,
    /// An order in ten.
    Few,
}

struct Slot {
    /// Where the event's id stands, and the order's.
    ids: Vec<usize>,
    /// Where the customer stands, in the subject and in the data.
    customers: [usize; 2],
}

/// A request `POST /events` with a batch.
pub struct Batch {
    request: Vec<u8>,
    slots: Vec<Slot>,
}

impl Batch {
    /// A request with `count` events.
    pub fn new(count: usize, mix: Mix) -> Self {
        let (mut body, mut slots) = (b"[".to_vec(), Vec::with_capacity(count));
        for number in 0..count {
            if number > 0 {
                body.push(b',');
            }
            let order = match mix {
                Mix::Usage => false,
                Mix::Orders => true,
                Mix::Both => number % 2 == 1,
                Mix::Few => number % 10 == 9,
            };
            let text = event(order, number as u64);
            let base = body.len();
            let places = |wanted: &str| text.match_indices(wanted).map(|(at, _)| base + at).collect::<Vec<_>>();
            let (ids, customers) = (places(&"i".repeat(ID_DIGITS)), places(&"c".repeat(CUSTOMER_DIGITS)));
            slots.push(Slot { ids, customers: [customers[0], customers[1]] });
            body.extend_from_slice(text.as_bytes());
        }
        body.push(b']');
        let head =
            format!("POST /events HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/cloudevents-batch+json\r\ncontent-length: {}\r\n\r\n", body.len());
        for slot in &mut slots {
            slot.ids.iter_mut().chain(&mut slot.customers).for_each(|at| *at += head.len());
        }
        Self { request: [head.into_bytes(), body].concat(), slots }
    }

    /// The request with the ids from `first_id` on, and the customers that `customer_of` gives them.
    pub fn fill(&mut self, first_id: u64, customer_of: impl Fn(u64) -> u32) -> &[u8] {
        for (slot, id) in self.slots.iter().zip(first_id..) {
            let mut digits = [0; ID_DIGITS];
            for (place, digit) in digits.iter_mut().enumerate() {
                *digit = b"0123456789abcdef"[(id >> (60 - 4 * place) & 15) as usize];
            }
            for at in &slot.ids {
                self.request[*at..*at + ID_DIGITS].copy_from_slice(&digits);
            }
            let customer = customer_key(customer_of(id));
            for at in slot.customers {
                self.request[at..at + CUSTOMER_DIGITS].copy_from_slice(&customer);
            }
        }
        &self.request
    }
}

/// A customer's id: its number in eight digits.
pub fn customer_key(customer: u32) -> [u8; CUSTOMER_DIGITS] {
    let (mut digits, mut rest) = ([b'0'; CUSTOMER_DIGITS], customer);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

/// Spreads event numbers over customers: the first ones one after the other, then as if at random.
pub fn customer_of(number: u64, customers: u32) -> u32 {
    if number < u64::from(customers) {
        return number as u32;
    }
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (((mixed >> 32) * u64::from(customers)) >> 32) as u32
}

/// One event of [`EVENT_BYTES`] with `iiii…` for ids and `cccccccc` for the customer. It is filled with what does not compress well:
/// facts do not repeat each other letter by letter.
fn event(order: bool, seed: u64) -> String {
    let (id, customer) = ("i".repeat(ID_DIGITS), "c".repeat(CUSTOMER_DIGITS));
    let (kind, before, after) = if order {
        let data = format!(r#"{{"order_id":"{id}"#);
        ("commerce.order_placed.v1", data, format!(r#"","customer_id":"{customer}","total":{{"minor":1177,"currency":"USD"}}}}"#))
    } else {
        let data = format!(r#"{{"customer_id":"{customer}","feature":"report"#);
        ("usage.feature_used.v1", data, r#"","count":1}"#.to_owned())
    };
    let head = format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/shop","type":"{kind}","subject":"customer/{customer}","time":"2026-01-02T03:04:05.678Z","data":"#
    );
    let size = head.len() + before.len() + after.len() + 1;
    let mut random = seed;
    let letters = std::iter::repeat_with(|| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b"0123456789abdefg"[(random >> 60) as usize])
    });
    let filling = std::iter::once('-').chain(letters).take(EVENT_BYTES.saturating_sub(size)).collect::<String>();
    format!("{head}{before}{filling}{after}}}")
}
