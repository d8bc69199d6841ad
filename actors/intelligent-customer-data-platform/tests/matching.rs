//! Matching of records, through the public interface and over HTTP.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Instant;

use proptest::prelude::*;
use serde_json::{Value, json};
use tol_intelligent_customer_data_platform::Cdp;
use tol_intelligent_customer_data_platform::matching::{Error, FieldType, MAX_ID, MatchRequest, Record, match_records};
use tol_plug::testing::TestServer;

const FIELDS: &[(&str, FieldType)] =
    &[("given_name", FieldType::Name), ("surname", FieldType::Name), ("born", FieldType::Date), ("postcode", FieldType::Code), ("address", FieldType::Text)];

/// Numbers that are the same in each run (a linear congruential generator).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn word(&mut self, syllables: usize) -> String {
        const SYLLABLES: &[&str] = &["ba", "ri", "ton", "ma", "lo", "ken", "sa", "vi", "del", "gar", "pe", "lin", "os", "hu", "mar", "ta"];
        (0..syllables).map(|_| SYLLABLES[self.below(SYLLABLES.len())]).collect()
    }

    fn person(&mut self) -> Vec<String> {
        let born = format!("{}-{:02}-{:02}", 1930 + self.below(70), 1 + self.below(12), 1 + self.below(28));
        let address = format!("{} {} street {}", self.below(200), self.word(3), self.word(2));
        vec![self.word(2), self.word(3), born, (2000 + self.below(900)).to_string(), address]
    }

    /// Leaves a letter out of one value, leaves out another value, and turns the names now and then.
    fn damaged(&mut self, person: &[String]) -> Vec<String> {
        let mut damaged = person.to_vec();
        let field = self.below(damaged.len());
        let place = self.below(damaged[field].len());
        damaged[field].remove(place);
        let field = self.below(damaged.len());
        damaged[field].clear();
        if self.below(10) == 0 {
            damaged.swap(0, 1);
        }
        damaged
    }
}

fn record(id: impl Into<String>, values: &[String]) -> Record<'static> {
    let values = FIELDS.iter().zip(values).filter(|(_, value)| !value.is_empty()).map(|((name, _), value)| (Cow::Borrowed(*name), value.clone().into()));
    Record { id: id.into().into(), values: values.collect() }
}

fn request(left: Vec<Record<'static>>, right: Option<Vec<Record<'static>>>) -> MatchRequest<'static> {
    MatchRequest { fields: FIELDS.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect(), left, right, threshold: 0.5 }
}

/// People of which every second has a damaged second record; the pairs by id.
fn population(people: usize, seed: u64) -> (Vec<Record<'static>>, Vec<Record<'static>>, BTreeSet<(String, String)>) {
    let mut dice = Dice(seed);
    let (mut originals, mut copies, mut pairs) = (Vec::new(), Vec::new(), BTreeSet::new());
    for number in 0..people {
        let person = dice.person();
        originals.push(record(format!("a{number}"), &person));
        if number % 2 == 0 {
            copies.push(record(format!("b{number}"), &dice.damaged(&person)));
            pairs.insert((format!("a{number}"), format!("b{number}")));
        }
    }
    (originals, copies, pairs)
}

fn found(request: &MatchRequest<'_>) -> BTreeSet<(String, String)> {
    match_records(request).unwrap().into_iter().map(|pair| (pair.left.to_owned(), pair.right.to_owned())).collect()
}

fn f1(found: &BTreeSet<(String, String)>, pairs: &BTreeSet<(String, String)>) -> f64 {
    2.0 * found.intersection(pairs).count() as f64 / (found.len() + pairs.len()) as f64
}

#[test]
fn damaged_copies_are_found_between_two_sides_and_within_one() {
    let (originals, copies, pairs) = population(800, 1);
    let between = found(&request(originals.clone(), Some(copies.clone())));
    assert!(f1(&between, &pairs) > 0.98, "{}", f1(&between, &pairs));
    let within = found(&request(originals.into_iter().chain(copies).collect(), None));
    assert!(f1(&within, &pairs) > 0.98, "{}", f1(&within, &pairs));
}

#[test]
fn records_of_different_people_make_no_pairs() {
    let mut dice = Dice(7);
    let records = (0..500).map(|number| record(number.to_string(), &dice.person())).collect();
    assert_eq!(found(&request(records, None)).len(), 0);
}

#[test]
fn people_of_one_household_are_not_the_same_person() {
    let mut dice = Dice(8);
    let (mut records, mut pairs) = (Vec::new(), BTreeSet::new());
    for number in 0..900 {
        let person = dice.person();
        records.push(record(format!("a{number}"), &person));
        if number % 2 == 0 {
            records.push(record(format!("b{number}"), &dice.damaged(&person)));
            pairs.insert((format!("a{number}"), format!("b{number}")));
        }
        if number % 4 == 1 {
            let mut other = dice.person();
            for shared in [1, 3, 4] {
                other[shared].clone_from(&person[shared]);
            }
            records.push(record(format!("c{number}"), &other));
        }
    }
    let found = found(&request(records, None));
    assert!(f1(&found, &pairs) > 0.95, "{} with {} pairs", f1(&found, &pairs), found.len());
}

#[test]
fn names_in_each_others_field_are_found() {
    let (mut originals, mut copies, _) = population(300, 3);
    let person = ["Marianne", "Holbrook", "1961-05-14", "", ""].map(str::to_owned);
    let turned = ["Holbrook", "Marianne", "1961-05-14", "", ""].map(str::to_owned);
    originals.push(record("x", &person));
    copies.push(record("y", &turned));
    assert!(found(&request(originals, Some(copies))).contains(&("x".to_owned(), "y".to_owned())));
}

#[test]
fn two_copies_of_a_record_are_a_pair_however_little_they_have_in_common() {
    let (mut records, copies, _) = population(300, 4);
    records.extend(copies);
    let whole = ["Marianne", "Holbrook", "1961-05-14", "2913", "14 Rilton street Bamar"].map(str::to_owned);
    let names = ["Marianne", "Holbrook", "1961-05-14", "", ""].map(str::to_owned);
    let place = ["", "", "1961-05-14", "2913", "14 Rilton street Bamar"].map(str::to_owned);
    records.extend([record("x", &whole), record("y", &names), record("z", &place)]);
    let pairs = found(&request(records, None));
    for pair in [("x", "y"), ("x", "z"), ("y", "z")] {
        assert!(pairs.contains(&(pair.0.to_owned(), pair.1.to_owned())), "{pair:?}");
    }
}

#[test]
fn a_rare_name_tells_more_than_a_common_one() {
    let (mut originals, mut copies, _) = population(400, 5);
    let person = |given: &str, born: &str| [given, "", born, "", ""].map(str::to_owned);
    for number in 0..60 {
        originals.push(record(format!("common{number}"), &person("Common", &format!("{}-03-05", 1930 + number))));
    }
    originals.push(record("rare", &person("Zebulon", "1999-12-01")));
    copies.push(record("c", &person("Common", "1933-03-05")));
    copies.push(record("r", &person("Zebulon", "1999-12-01")));
    let mut asked = request(originals, Some(copies));
    asked.threshold = 1e-9;
    let pairs = match_records(&asked).unwrap();
    let probability = |left: &str, right: &str| pairs.iter().find(|pair| (pair.left, pair.right) == (left, right)).map_or(0.0, |pair| pair.probability);
    assert!(probability("rare", "r") > probability("common3", "c"), "{} {}", probability("rare", "r"), probability("common3", "c"));
}

#[test]
fn the_answer_is_in_the_order_of_the_ids_and_above_the_threshold() {
    let (originals, copies, _) = population(300, 6);
    let mut asked = request(originals, Some(copies));
    asked.threshold = 0.9;
    let pairs = match_records(&asked).unwrap();
    assert!(pairs.len() > 100 && pairs.is_sorted_by_key(|pair| (pair.left, pair.right)));
    assert!(pairs.iter().all(|pair| pair.probability >= 0.9 && pair.probability <= 1.0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_records_changes_nothing(seed in any::<u64>()) {
        let (originals, copies, _) = population(120, seed);
        let mut asked = request(originals.iter().cloned().chain(copies.iter().cloned()).collect(), None);
        asked.threshold = 1e-6;
        let mut turned = asked.clone();
        let mut dice = Dice(seed ^ 1);
        for place in (1..turned.left.len()).rev() {
            turned.left.swap(place, dice.below(place + 1));
        }
        prop_assert_eq!(match_records(&asked).unwrap(), match_records(&turned).unwrap());
        let (mut between, mut back) = (request(originals.clone(), Some(copies.clone())), request(originals, Some(copies)));
        back.left.reverse();
        back.right.as_mut().unwrap().reverse();
        between.threshold = 1e-6;
        back.threshold = 1e-6;
        prop_assert_eq!(match_records(&between).unwrap(), match_records(&back).unwrap());
    }

    #[test]
    fn any_values_are_matched(values in proptest::collection::vec(proptest::collection::vec("\\PC{0,12}", 5), 0..30), both in any::<bool>()) {
        let records: Vec<_> = values.iter().enumerate().map(|(number, values)| record(number.to_string(), values)).collect();
        let asked = request(records.clone(), both.then_some(records));
        for pair in match_records(&asked).unwrap() {
            prop_assert!(pair.probability.is_finite());
        }
    }
}

#[test]
fn requests_that_cannot_be_matched_are_refused() {
    let one = |id: &str| record(id.to_owned(), &["Ann".to_owned()]);
    let refused = |left: Vec<Record<'static>>, right| match_records(&request(left, right)).unwrap_err();
    assert_eq!(refused(vec![one("1"), one("")], None), Error::MissingId { side: "left" });
    assert_eq!(refused(vec![one("1")], Some(vec![one("2"), one("2")])), Error::RepeatedId { side: "right", id: "2".into() });
    assert_eq!(refused(vec![one(&"x".repeat(MAX_ID + 1))], None), Error::LongId { side: "left", bytes: MAX_ID + 1 });
    for threshold in [0.0, -1.0, 1.5, f64::NAN] {
        let asked = MatchRequest { threshold, ..request(vec![], None) };
        assert!(matches!(match_records(&asked), Err(Error::Threshold { .. })), "{threshold}");
    }
    let fields = |count: usize| MatchRequest { fields: (0..count).map(|number| (format!("f{number}"), FieldType::Code)).collect(), ..request(vec![], None) };
    assert_eq!(match_records(&fields(0)), Err(Error::NoFields));
    assert_eq!(match_records(&fields(33)), Err(Error::TooManyFields { fields: 33 }));
    let named = MatchRequest { fields: [("id".to_owned(), FieldType::Code)].into(), ..request(vec![], None) };
    assert_eq!(match_records(&named), Err(Error::FieldNamedId));
}

#[test]
fn few_records_are_no_trouble() {
    for count in 0..3 {
        let records: Vec<_> = (0..count).map(|number| record(number.to_string(), &["Ann".to_owned(), "Lee".to_owned()])).collect();
        match_records(&request(records.clone(), None)).unwrap();
        match_records(&request(records.clone(), Some(vec![]))).unwrap();
        match_records(&request(records.clone(), Some(records))).unwrap();
    }
    let nothing: Vec<_> = (0..50).map(|number| record(number.to_string(), &[])).collect();
    assert_eq!(match_records(&request(nothing, None)).unwrap(), []);
}

/// Seconds that `count` equal records take, and the pairs they give.
fn equal_records(count: usize) -> (f64, usize) {
    let person = Dice(9).person();
    let records = (0..count).map(|number| record(number.to_string(), &person)).collect();
    let began = Instant::now();
    let pairs = match_records(&request(records, None)).unwrap().len();
    (began.elapsed().as_secs_f64(), pairs)
}

#[test]
fn equal_records_take_time_and_space_in_proportion_to_their_number() {
    let (few, many) = (equal_records(2_000), equal_records(16_000));
    assert!(many.1 <= 24 * 16_000, "{} pairs", many.1);
    // Eight times as many; a quadratic step would take 64 times as long.
    assert!(many.0 < 30.0 * few.0.max(0.05), "{few:?} {many:?}");
}

#[test]
fn long_values_are_cut_and_do_not_stall() {
    let mut dice = Dice(11);
    let long = |dice: &mut Dice| (0..5).map(|_| (0..1_000).map(|_| dice.word(4)).collect::<Vec<_>>().join(" ")).collect::<Vec<String>>();
    let records = (0..100).map(|number| record(number.to_string(), &long(&mut dice))).collect();
    let began = Instant::now();
    match_records(&request(records, None)).unwrap();
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

fn body(left: &Value, right: &Value) -> String {
    json!({"fields": {"given_name": "name", "surname": "name", "born": "date"}, "left": left, "right": right, "threshold": 0.5}).to_string()
}

#[test]
fn the_route_answers_pairs_and_seconds_and_records_nothing() {
    let server = TestServer::start::<Cdp>(&json!({})).unwrap();
    let (originals, copies, _) = population(200, 12);
    let side = |records: Vec<Record<'static>>| -> Value {
        let object = |record: Record<'static>| {
            record
                .values
                .into_iter()
                .map(|(name, value)| (name.into_owned(), Value::from(value.into_owned())))
                .chain([("id".to_owned(), Value::from(record.id.into_owned()))])
                .collect::<serde_json::Map<_, _>>()
        };
        records.into_iter().map(object).collect()
    };
    let answer = server.post_json("/cdp/match", &body(&side(originals), &side(copies)));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let found = answer.json();
    assert!(found["seconds"].is_number() && found["pairs"].as_array().unwrap().len() > 80);
    let pair = &found["pairs"][0];
    assert!(pair["left"].is_string() && pair["right"].is_string() && pair["probability"].as_f64().unwrap() >= 0.5);
}

#[test]
fn the_route_takes_any_values_and_refuses_what_it_cannot_read() {
    let server = TestServer::start::<Cdp>(&json!({})).unwrap();
    let odd = json!([{"id": 1, "given_name": ["Ann"], "surname": {"x": 1}, "born": 19_800_229, "more": null}, {"id": "2", "given_name": true, "born": 1e300}]);
    assert_eq!(server.post_json("/cdp/match", &body(&odd, &odd)).status, 200);
    for wrong in [
        r#"{"fields":{"a":"nothing"},"left":[]}"#,
        r#"{"left":[]}"#,
        r#"{"fields":{"a":"name"},"left":[1]}"#,
        r#"{"fields":{"a":"name"},"left":[{"a":"x"}]}"#,
        r#"{"fields":{"a":"name"},"left":[],"extra":1}"#,
    ] {
        server.post_json("/cdp/match", wrong).problem("invalid-body");
    }
    server.post_json("/cdp/match", "{").problem("malformed-json");
}

#[test]
fn the_route_takes_ten_megabytes_and_no_more() {
    let server = TestServer::start::<Cdp>(&json!({})).unwrap();
    let long = "x".repeat(10_000);
    let records: Vec<Value> = (0..1_040).map(|number| json!({"id": number, "given_name": long})).collect();
    let large = body(&json!(records), &json!([]));
    assert!(large.len() > 10_000_000 && large.len() < 10 << 20);
    assert_eq!(server.post_json("/cdp/match", &large).status, 200);
    let records: Vec<Value> = (0..1_100).map(|number| json!({"id": number, "given_name": long})).collect();
    server.post_json("/cdp/match", &body(&json!(records), &json!([]))).problem("body-too-large");
}
