//! Bounds, copies and sums of books. What items count is tested with the revenue agent and the projection customers.

use proptest::prelude::*;
use serde_json::json;
use tol_events::{EventTime, Money};

use crate::book::{END, KEPT};
use crate::{Amounts, Book, Kind, Telling, shown};

fn money(minor: i64, currency: &str) -> Money {
    Money::new(minor, currency.parse().unwrap())
}

fn at(secs: i64) -> EventTime {
    EventTime::from_secs(secs)
}

fn telling(secs: i64, id: &str, amount: Money, order_id: Option<&str>, payment_id: Option<&str>) -> Telling {
    Telling { at: at(secs), id: id.into(), amount, order_id: order_id.map(Into::into), payment_id: payment_id.map(Into::into) }
}

fn order(book: &mut Book<()>, secs: i64, reference: &str, minor: i64) -> bool {
    book.tell(Kind::Order, reference, telling(secs, &format!("f{secs}"), money(minor, "USD"), None, None), at(secs))
}

#[test]
fn a_book_of_any_length_keeps_its_sums_in_bounded_space() {
    let mut book = Book::<()>::default();
    const ORDERS: i64 = 40_000;
    for number in 0..ORDERS {
        order(&mut book, number, &format!("order-{number}"), number);
    }
    let (totals, _) = book.totals(END);
    assert_eq!((totals.orders, totals.spent.to_json()), (ORDERS as u64, json!([{"minor": ORDERS * (ORDERS - 1) / 2, "currency": "USD"}])));
    assert_eq!((totals.first_order_at, totals.last_order_at), (Some(0), Some((ORDERS - 1) * 1_000_000)));
    assert!((KEPT..KEPT + 257).contains(&book.items().count()));
    let (as_json, as_row) = (serde_json::to_vec(&book).unwrap(), postcard::to_stdvec(&book).unwrap());
    assert!(as_json.len() < 400_000 && as_row.len() < 250_000, "{} and {} bytes", as_json.len(), as_row.len());
    assert!(serde_json::from_slice::<Book<()>>(&as_json).unwrap() == book && postcard::from_bytes::<Book<()>>(&as_row).unwrap() == book);
    // Remembered by its hash: counts once, though told again.
    assert!(!order(&mut book, ORDERS, &format!("order-{}", ORDERS - 10_000), 5));
    assert_eq!(book.totals(END).0.orders, ORDERS as u64);
    // Forgotten: counts as a new one.
    assert!(order(&mut book, ORDERS, "order-1", 5));
    assert_eq!(book.totals(END).0.orders, ORDERS as u64 + 1);
}

#[test]
fn items_that_name_each_other_are_let_go_together() {
    let mut book = Book::<()>::default();
    order(&mut book, 0, "old", 100);
    for number in 1..=(KEPT as i64 + 300) {
        order(&mut book, number, &format!("order-{number}"), 1);
    }
    assert!(book.get(Kind::Order, "old").is_none(), "nothing names it");
    let mut book = Book::<()>::default();
    order(&mut book, 0, "old", 100);
    book.tell(Kind::Payment, "p", telling(5_000, "f", money(100, "USD"), Some("old"), None), at(5_000));
    for number in 1..=(KEPT as i64 + 300) {
        order(&mut book, number, &format!("order-{number}"), 1);
    }
    assert!(book.get(Kind::Order, "old").is_some() && book.get(Kind::Payment, "p").is_some(), "its payment is new");
}

#[test]
fn sums_saturate_visibly_and_survive_both_formats() {
    let mut amounts = Amounts::default();
    (0..5).for_each(|_| amounts.add(money(i64::MAX, "USD")));
    amounts.add(money(-3, "EUR"));
    assert_eq!(amounts.to_json(), json!([{"minor": -3, "currency": "EUR"}, {"minor": i64::MAX, "currency": "USD", "saturated": true}]));
    let again: Amounts = serde_json::from_slice(&serde_json::to_vec(&amounts).unwrap()).unwrap();
    assert_eq!(again, amounts);
    assert_eq!(postcard::from_bytes::<Amounts>(&postcard::to_stdvec(&amounts).unwrap()).unwrap(), amounts);
    assert_eq!(shown(i128::from(i64::MIN) - 1, "JPY"), json!({"minor": i64::MIN, "currency": "JPY", "saturated": true}));
    assert_eq!(shown(i128::from(i64::MAX), "JPY"), json!({"minor": i64::MAX, "currency": "JPY"}));
}

#[test]
fn an_order_of_the_future_is_scheduled_until_its_time() {
    let mut book = Book::<()>::default();
    book.tell(Kind::Order, "o", telling(100, "f1", money(7, "USD"), None, None), at(10));
    let orders = |book: &Book<()>, secs: i64| {
        let (come, scheduled) = book.totals(at(secs));
        (come.orders, scheduled.orders)
    };
    assert_eq!((orders(&book, 99), orders(&book, 100)), ((0, 1), (1, 0)));
    // A correction of the future leaves what holds until then.
    book.tell(Kind::Order, "o2", telling(20, "f2", money(5, "USD"), None, None), at(30));
    book.tell(Kind::Order, "o2", telling(200, "f3", money(9, "USD"), None, None), at(30));
    assert_eq!(book.totals(at(150)).0.spent.to_json(), json!([{"minor": 12, "currency": "USD"}]));
    assert_eq!(book.totals(at(200)).0.spent.to_json(), json!([{"minor": 16, "currency": "USD"}]));
}

proptest! {
    #[test]
    fn adding_books_does_not_depend_on_which_is_added_to_which(told in proptest::collection::vec((0..3u8, 0..4u8, 0..5i64, 1..9i64, any::<bool>()), 0..20)) {
        let (mut left, mut right, mut whole) = (Book::<()>::default(), Book::<()>::default(), Book::<()>::default());
        for (number, (kind, reference, secs, minor, to_left)) in told.into_iter().enumerate() {
            let kind = [Kind::Order, Kind::Payment, Kind::Refund][usize::from(kind)];
            let (order, payment) = (format!("{}", minor % 3), format!("{}", minor % 2));
            let (order, payment) = match kind {
                Kind::Order => (None, None),
                Kind::Payment => (Some(order.as_str()), None),
                Kind::Refund if number % 2 == 0 => (Some(order.as_str()), None),
                Kind::Refund => (None, Some(payment.as_str())),
            };
            let telling = telling(secs, &number.to_string(), money(minor, "USD"), order, payment);
            if to_left { &mut left } else { &mut right }.tell(kind, &reference.to_string(), telling.clone(), at(secs));
            whole.tell(kind, &reference.to_string(), telling, at(secs));
        }
        let (mut one, mut other) = (left.clone(), right.clone());
        one.add_all(&right);
        other.add_all(&left);
        prop_assert_eq!(one.totals(END), other.totals(END));
        prop_assert_eq!(one.totals(END), whole.totals(END));
    }
}
