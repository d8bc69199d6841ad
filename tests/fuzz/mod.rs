//! Bytes from outside at everything that reads them: no panic, and what is accepted means the same when written and read again.
//! `TOL_FUZZ_SEED=7 TOL_FUZZ_TIMES=100 cargo test --release -p tree-of-life --test integration fuzz::` looks elsewhere, and longer.

mod mutate;
mod recovery;
mod requests;

use std::path::Path;

use self::mutate::{corpus, fuzz};
use tol_events::binding::http::{Mode, decode, encode_binary};
use tol_events::binding::{is_json, json, kafka};
use tol_events::{Attribute, Event};
use tol_kafka::{Batch, Record, TopicPartition};
use tree_of_life::cli::import::events::Events;
use tree_of_life::cli::import::mapping::Mapping;
use tree_of_life::cli::import::rows::Rows;

/// Headers as lines, an empty line, the body.
fn request(input: &[u8]) -> (Vec<(&str, &[u8])>, &[u8]) {
    let end = input.windows(2).position(|two| two == b"\n\n").unwrap_or(input.len());
    let lines = input[..end].split(|byte| *byte == b'\n');
    let header = |line: &'_ [u8]| line.iter().position(|byte| *byte == b':');
    let headers = lines.filter_map(|line| Some((std::str::from_utf8(&line[..header(line)?]).ok()?, line[header(line)? + 1..].trim_ascii())));
    (headers.collect(), input.get(end + 2..).unwrap_or_default())
}

fn borrowed(headers: &[(String, String)]) -> impl Iterator<Item = (&str, &[u8])> + Clone {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
}

/// Written in each mode and read again it is the same event.
fn is_stable(event: &Event) {
    // White space around JSON belongs to the document that it is in.
    let mut bare = event.clone();
    if is_json(event.attributes.get(&Attribute::DataContentType).map(String::as_str)) {
        bare.data = event.data.trim_ascii().to_vec();
    }
    assert_eq!(json::decode(&json::encode(event)).unwrap(), bare, "structured");
    assert_eq!(json::decode_batch(&json::encode_batch([event])).unwrap(), [bare], "batch");
    let record = Record::from_event(event);
    let batch = Batch::of_records(TopicPartition::new("t", 0), 0, 0, &[record]);
    // A record says what an event leaves out: its version, and that its data is JSON.
    let (mut read, mut written) = (batch.event(0).unwrap().to_event(), event.clone());
    read.unset(Attribute::SpecVersion);
    if !written.data.is_empty() && !written.attributes.contains_key(&Attribute::DataContentType) {
        written.set(Attribute::DataContentType, "application/json");
    }
    assert_eq!(read, written, "record");
}

#[test]
fn http_requests_in_all_modes() {
    fuzz("http", &corpus("http"), 150_000, |input| {
        let (headers, body) = request(input);
        let Ok(decoded) = decode(headers.into_iter(), body) else { return };
        decoded.events.iter().for_each(is_stable);
        if decoded.mode == Mode::Binary {
            let again = decode(borrowed(&encode_binary(&decoded.events[0])), &decoded.events[0].data).unwrap();
            assert_eq!(again, decoded);
        }
    });
}

#[test]
fn structured_events() {
    fuzz("json", &corpus("json"), 200_000, |input| {
        let Ok(event) = json::decode(input) else { return };
        is_stable(&event);
        // One event is a batch of one.
        assert_eq!(json::decode_batch(&[b"[", input, b"]"].concat()).unwrap(), [event]);
    });
}

#[test]
fn batches() {
    fuzz("batch", &corpus("batch"), 100_000, |input| match json::decode_batch(input) {
        Ok(events) => {
            events.iter().for_each(is_stable);
            assert_eq!(json::decode_batch(&json::encode_batch(&events)).unwrap(), events);
        }
        Err(error) => drop((error.index(), error.to_string())),
    });
}

#[test]
fn records_of_the_inbox() {
    fuzz("kafka", &corpus("kafka"), 150_000, |input| {
        let (headers, value) = request(input);
        for default_id in [None, Some(&(|| "default".to_owned()) as &dyn Fn() -> String)] {
            let Ok(event) = kafka::decode(headers.iter().copied(), value, default_id) else { continue };
            is_stable(&event);
        }
    });
}

#[test]
fn bodies_of_batches() {
    let mut inputs = corpus("record");
    // What the log would write for the corpus of the other targets; a change of the format brings its own.
    let events: Vec<Event> = corpus("json").iter().filter_map(|input| json::decode(input).ok()).collect();
    let records: Vec<Record> = events.iter().map(Record::from_event).collect();
    inputs.push(Batch::encode(&records));
    inputs.push(Batch::encode(&records[..1]));
    fuzz("record", &inputs, 200_000, |input| {
        let (Some(count), body) = (input.last().copied(), input.to_vec()) else { return };
        for count in [u32::from(count) % 8, records.len() as u32, u32::MAX] {
            let batch = Batch::new(TopicPartition::new("t", 0), 7, count, 0, body.clone().into());
            if let Ok(read) = batch.records() {
                assert_eq!(read.len(), count as usize);
                drop(read.iter().map(|record| (record.key, record.headers.len(), record.value.len())).collect::<Vec<_>>());
            }
            for (_, event) in batch.events_from(8) {
                drop(event.to_event());
            }
        }
    });
}

/// Whatever a mapping makes of rows is an event that the node reads.
fn import(mapping: &Mapping, input: &[u8]) {
    // Empty ones are refused before a row is read.
    if [&mapping.source, &mapping.event_type].iter().any(|text| text.is_empty() || text.contains(char::is_control)) {
        return;
    }
    let Ok(rows) = Rows::open(input, mapping) else { return };
    let columns = rows.columns().to_vec();
    let Ok(mapper) = mapping.mapper(Path::new("x.csv"), &columns) else { return };
    let mut line = 0;
    for event in Events::new(rows, &mapper, 0) {
        let Ok(mapped) = event else { continue };
        assert!(mapped.line > line && mapped.end_byte <= input.len() as u64 && mapped.rows > 0, "{mapped:?} after line {line}");
        line = mapped.line;
        is_stable(&json::decode(mapped.event.as_bytes()).unwrap());
    }
}

#[test]
fn rows_to_import() {
    let mapping = |delimiter: &str, time: &str| -> Mapping {
        let text = format!(
            r#"
            type = "commerce.order_placed.v1"
            source = "/import/x"
            subject = "customer/{{a}}"
            id = "x-{{line}}-{{b}}"
            delimiter = "{delimiter}"
            time = {{ from = "{{c}}", as = "{time}" }}
            [data]
            "order.id" = "{{b}}"
            "order.units" = {{ from = "{{d}}", as = "int", optional = true }}
            total = {{ from = "{{d}}", as = "money:USD", optional = true }}
            price = {{ from = "{{d}}", as = "minor:JPY", optional = true }}
            "#
        );
        toml::from_str(&text).unwrap()
    };
    let mappings = [(",", "date"), (";", "seconds"), ("tab", "millis"), ("whitespace", "date:%Y%m%d")].map(|(delimiter, time)| mapping(delimiter, time));
    let grouped = r#"
        type = "commerce.order_placed.v1"
        source = "/import/x"
        subject = "customer/{a}"
        group = "{b}"
        where = ["{a}!=x*|y"]
        decimal = ","
        thousands = "space"
        zone = "America/Sao_Paulo"
        time = { from = "{c}", as = "time:%Y-%m-%d %H:%M" }
        [data]
        total = { from = "({d}-1)*{d}/{line}", as = "money:{b}:round", sum = true, optional = true }
        "items[].units" = { from = "{d}", as = "number" }
    "#;
    let mappings: Vec<Mapping> = mappings.into_iter().chain([toml::from_str(grouped).unwrap()]).collect();
    fuzz("csv", &corpus("csv"), 60_000, |input| mappings.iter().for_each(|mapping| import(mapping, input)));
}

#[test]
fn mappings() {
    const ROWS: &[u8] = b"a,b,c,d\n1,x,1997-01-01,3.5\n-9223372036854775808,9223372036854775807,2026-01-31T12:00:00Z,\n";
    fuzz("mapping", &corpus("mapping"), 30_000, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let Ok(mapping) = toml::from_str::<Mapping>(text) else { return };
        import(&mapping, ROWS);
    });
}
