//! Tests of imports: mappings, bad rows, resuming, CDNOW.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::cli::testing::{FakeNode, answer};

fn args(fields: &[&str]) -> ImportArgs {
    ImportArgs {
        event_type: Some("commerce.order_placed.v1".into()),
        source: Some("/shop".into()),
        subject: Some("customer/{customer}".into()),
        field: fields.iter().map(|field| (*field).to_owned()).collect(),
        batch: 2,
        ..ImportArgs::default()
    }
}

fn events_of(arguments: &ImportArgs, file: &str, text: &str) -> Result<Vec<Value>, String> {
    let mapping = Mapping::from_arguments(arguments).map_err(|error| error.to_string())?;
    let rows = Rows::open(text.as_bytes(), &mapping).map_err(|error| error.to_string())?;
    let mapper = mapping.mapper(Path::new(file), rows.columns()).map_err(|error| error.to_string())?;
    Events::new(rows, &mapper, 0).map(|mapped| mapped.map(|mapped| serde_json::from_str(&mapped.event).unwrap()).map_err(|bad| bad.to_string())).collect()
}

#[test]
fn columns_become_typed_nested_fields() {
    let mut arguments = args(&[
        "order.id={id}-{line}",
        "total:money:USD={amount}",
        "quantity:int={n}",
        "gift:bool={gift}",
        "coupon?={coupon}",
        "at:time:%d.%m.%Y %H:%M={when}",
    ]);
    arguments.time = Some("seconds={ts}".into());
    let text = "customer,id,amount,n,gift,coupon,when,ts\n7,\"a,b\",29.30,3,yes,,01.02.2026 03:04,0\n";
    let events = events_of(&arguments, "x.csv", text).unwrap();
    assert_eq!(events[0]["subject"], "customer/7");
    assert_eq!(events[0]["time"], "1970-01-01T00:00:00Z");
    let expected =
        serde_json::json!({"order": {"id": "a,b-2"}, "total": {"minor": 2930, "currency": "USD"}, "quantity": 3, "gift": true, "at": "2026-02-01T03:04:00Z"});
    assert_eq!(events[0]["data"], expected);
}

#[test]
fn fields_that_would_lose_each_other_are_refused() {
    let text = "customer,a,a.b\n7,1,2\n";
    let refused = |fields: &[&str], text: &str| events_of(&args(fields), "x.csv", text).unwrap_err();
    // Also where another field stands between them in the order of names.
    for fields in [&["a={a}", "a.b={a.b}"][..], &["a.b={a.b}", "a-b={a}", "a={a}"], &["a.b.c={a}", "a.b={a.b}"]] {
        let problem = refused(fields, text);
        assert!(problem.contains("cannot hold a value and the field \"a.b"), "{problem}");
    }
    // Columns are fields where no field is named.
    assert!(refused(&[], text).contains("\"a\" cannot hold"));
    assert_eq!(
        events_of(&args(&["a.b={a}", "a.c={a.b}", "ab={a}"]), "x.csv", text).unwrap()[0]["data"],
        serde_json::json!({"a": {"b": "1", "c": "2"}, "ab": "1"})
    );
}

#[test]
fn without_fields_every_column_is_text_and_ids_are_derived_from_file_and_line() {
    let arguments = args(&[]);
    let once = events_of(&arguments, "/a/x.csv", "customer,note\n1,hi\n2,ho\n").unwrap();
    assert_eq!(once[1]["data"], serde_json::json!({"customer": "2", "note": "ho"}));
    assert_eq!(once, events_of(&arguments, "/b/x.csv", "customer,note\n1,hi\n2,ho\n").unwrap());
    assert_ne!(once[0]["id"], once[1]["id"]);
    assert_ne!(once[0]["id"], events_of(&arguments, "y.csv", "customer,note\n1,hi\n").unwrap()[0]["id"]);
}

#[test]
fn a_bad_row_names_line_and_column() {
    let arguments = args(&["total:money:USD={amount}"]);
    let message = |text: &str| events_of(&arguments, "x.csv", text).unwrap_err();
    let amount = message("customer,amount\n1,2.00\n2,2.005\n");
    assert!(amount.contains("line 3, column amount") && amount.contains("2.005"), "{amount}");
    let short = message("customer,amount\n1\n");
    assert!(short.contains("line 2") && short.contains("1 values") && short.contains("2 columns"), "{short}");
    assert!(message("customer,amount\n,1.00\n").contains("line 2, column customer"));
    assert!(message("buyer,amount\n1,1.00\n").contains("no column {customer}"));
    assert!(message("customer,customer\n1,1\n").contains("two columns are called customer"));
    assert!(message("").contains("empty"));
}

#[test]
fn lines_are_counted_alike_whatever_ends_them() {
    let text = "customer,note\n1,\"two\nlines\"\n\n\n2,x\n";
    for (delimiter, text, lines) in
        [(",", text.to_owned(), [2, 6]), (",", text.replace('\n', "\r\n"), [2, 6]), ("whitespace", "customer note\r\n1 a\r\n\r\n2 b".to_owned(), [2, 4])]
    {
        let mut arguments = args(&["n:int={line}"]);
        arguments.delimiter = Some(delimiter.into());
        let events = events_of(&arguments, "x.csv", &text).unwrap();
        let counted: Vec<i64> = events.iter().map(|event| event["data"]["n"].as_i64().unwrap()).collect();
        assert_eq!(counted, lines, "{text:?}");
    }
}

#[test]
fn wrong_types_and_templates_are_refused_before_a_row_is_read() {
    for (field, part) in [
        ("a:muney:USD={customer}", "muney"),
        ("a:money:usd={customer}", "ISO 4217"),
        ("a:date={customer}", "format"),
        ("a={customer", "brace"),
        ("a", "NAME[:TYPE]"),
        ("={customer}", "NAME"),
    ] {
        let message = events_of(&args(&[field]), "x.csv", "customer\n1\n").unwrap_err();
        assert!(message.contains(part), "{field}: {message}");
    }
    let mut missing = args(&[]);
    missing.source = None;
    assert!(events_of(&missing, "x.csv", "customer\n1\n").unwrap_err().contains("--source is missing"));
}

proptest! {
    #[test]
    fn any_text_survives_quoting_and_templates(values in prop::collection::vec(("[^\u{0}]{1,12}", -1_000_000_000i64..1_000_000_000), 1..20)) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["customer", "note", "amount"]).unwrap();
        for (note, minor) in &values {
            let sign = if *minor < 0 { "-" } else { "" };
            let amount = format!("{sign}{}.{:02}", minor.abs() / 100, minor.abs() % 100);
            writer.write_record(["1", note.as_str(), amount.as_str()]).unwrap();
        }
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let events = events_of(&args(&["note={{{note}}}", "total:money:EUR={amount}"]), "x.csv", &text).unwrap();
        prop_assert_eq!(events.len(), values.len());
        for (event, (note, minor)) in events.iter().zip(&values) {
            prop_assert_eq!(event["data"]["note"].as_str().unwrap(), format!("{{{}}}", note.trim()));
            prop_assert_eq!(event["data"]["total"]["minor"].as_i64().unwrap(), *minor);
        }
    }

    #[test]
    fn no_file_makes_the_reader_fail_hard(bytes in prop::collection::vec(any::<u8>(), 0..200), delimiter in prop_oneof!["whitespace", "tab", ","]) {
        let mapping = Mapping { delimiter: Some(delimiter), columns: vec!["a".into(), "b".into()], ..Mapping::default() };
        let rows = Rows::open(bytes.as_slice(), &mapping).unwrap();
        prop_assert!(rows.count() <= bytes.len() + 1);
    }

    #[test]
    fn dates_come_out_as_they_went_in(days in 0i64..60_000) {
        let date = chrono::NaiveDate::from_ymd_opt(1900, 1, 1).unwrap() + chrono::Duration::days(days);
        let kind: value::FieldType = "date:%Y%m%d".parse().unwrap();
        prop_assert_eq!(kind.json(&date.format("%Y%m%d").to_string(), &value::Reading::default()).unwrap(), date.format("%Y-%m-%dT00:00:00Z").to_string());
    }
}

fn import_into(node: &FakeNode, folder: &Path, change: impl FnOnce(&mut ImportArgs)) -> Result<(), Error> {
    let mut arguments = args(&["total:money:USD={amount}"]);
    arguments.file = folder.join("x.csv");
    arguments.state = Some(folder.join("state.json"));
    change(&mut arguments);
    arguments.run(&node.client(), Format::Json)
}

fn lines_sent(node: &FakeNode) -> Vec<String> {
    let batches = node.requests().into_iter().map(|request| serde_json::from_str::<Vec<Value>>(&request.body).unwrap());
    batches.flatten().map(|event| event["subject"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_interrupted_import_goes_on_behind_the_last_acknowledged_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.csv"), "customer,amount\n1,1\n2,2\n3,3\n4,4\n5,5\n").unwrap();
    let two = answer(200, r#"{"accepted":2,"duplicates":0,"positions":{}}"#);
    let node = FakeNode::start(vec![two.clone(), answer(500, "{}"), two, answer(200, r#"{"accepted":1,"duplicates":0,"positions":{}}"#)]);
    assert_eq!(import_into(&node, folder.path(), |_| {}).unwrap_err().exit_code(), 6);
    import_into(&node, folder.path(), |arguments| arguments.resume = true).unwrap();
    assert_eq!(lines_sent(&node), ["1", "2", "3", "4", "3", "4", "5"].map(|customer| format!("customer/{customer}")));
    assert!(!folder.path().join("state.json").exists());
}

#[test]
fn a_changed_file_is_not_resumed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.csv"), "customer,amount\n1,1\n2,2\n3,3\n").unwrap();
    let node = FakeNode::start(vec![answer(200, r#"{"accepted":2,"duplicates":0,"positions":{}}"#)]);
    assert_eq!(import_into(&node, folder.path(), |_| {}).unwrap_err().exit_code(), 6);
    std::fs::write(folder.path().join("x.csv"), "customer,amount\n9,9\n1,1\n2,2\n3,3\n").unwrap();
    assert_eq!(import_into(&node, folder.path(), |arguments| arguments.resume = true).unwrap_err().exit_code(), 2);
}

#[test]
fn bad_rows_stop_the_import_or_are_left_out_and_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.csv"), "customer,amount\n1,1\n2,oops\n3,3\n").unwrap();
    let node =
        FakeNode::start(vec![answer(200, r#"{"accepted":1,"duplicates":0,"positions":{}}"#), answer(200, r#"{"accepted":1,"duplicates":1,"positions":{}}"#)]);
    let stopped = import_into(&node, folder.path(), |_| {}).unwrap_err();
    assert!(stopped.exit_code() == 6 && stopped.to_string().contains("line 3, column amount"), "{stopped}");
    let skipped = import_into(&node, folder.path(), |arguments| arguments.on_bad_row = OnBadRow::Skip).unwrap_err();
    assert!(skipped.exit_code() == 6 && skipped.to_string().contains("1 rows were left out"), "{skipped}");
    assert_eq!(lines_sent(&node), ["customer/1", "customer/1", "customer/3"]);
}

#[test]
fn cdnow_maps_to_orders_that_add_up_to_an_independent_recount() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("../shared/data/commerce/CDNOW_sample.txt");
    let Ok(text) = std::fs::read_to_string(&file) else {
        println!("skipped: {} is not here", file.display());
        return;
    };
    let events = events_of(&ImportArgs { mapping: Some(root.join("config/imports/cdnow.toml")), ..ImportArgs::default() }, "CDNOW_sample.txt", &text).unwrap();
    let first = serde_json::json!({
        "specversion": "1.0", "id": "cdnow-1", "source": "/import/cdnow", "type": "commerce.order_placed.v1", "subject": "customer/00004",
        "time": "1997-01-01T00:00:00Z", "datacontenttype": "application/json",
        "data": {"order_id": "cdnow-1", "customer_id": "00004", "total": {"minor": 2933, "currency": "USD"}}
    });
    assert_eq!(events[0], first);
    let mut mapped: BTreeMap<String, i64> = BTreeMap::new();
    for event in &events {
        *mapped.entry(event["data"]["customer_id"].as_str().unwrap().to_owned()).or_default() += event["data"]["total"]["minor"].as_i64().unwrap();
    }
    // Independent of the mapping: columns by position, cents by removing the point.
    let mut counted: BTreeMap<String, i64> = BTreeMap::new();
    for line in text.lines() {
        let (customer, dollars) = (line[1..6].to_owned(), line.split_whitespace().last().unwrap());
        assert_eq!(dollars.as_bytes()[dollars.len() - 3], b'.');
        *counted.entry(customer).or_default() += dollars.replace('.', "").parse::<i64>().unwrap();
    }
    assert_eq!((events.len(), mapped.len()), (6_919, 2_357));
    assert_eq!(mapped, counted);
}

const LINES: &str = "order;customer;ordered;status;sku;quantity;price;currency
1001;42;31.01.2026 13:05;paid;tea;2;1.234,50;EUR
1001;42;31.01.2026 13:06;paid;cup;1;9,90;EUR
1002;7;01.07.2026 00:30;shipped;tea;3;500;JPY
1003;7;01.07.2026 00:31;cancelled;tea;1;1;JPY
1004;8;01.07.2026 00:32;paid;tea;1;0,125;KWD
";

fn order_lines(change: impl FnOnce(&mut ImportArgs)) -> ImportArgs {
    let mapping = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/imports/order-lines.toml");
    let mut arguments = ImportArgs { mapping: Some(mapping), ..ImportArgs::default() };
    change(&mut arguments);
    arguments
}

#[test]
fn lines_of_one_order_become_one_event_with_the_currency_of_a_column_and_the_clock_of_a_zone() {
    let events = events_of(&order_lines(|_| {}), "lines.csv", LINES).unwrap();
    let about = |field: &str| events.iter().map(|event| event[field].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(about("id"), ["order-1001", "order-1002", "order-1004"]);
    // Winter and summer time of Berlin; of several lines the first tells the time.
    assert_eq!(about("time"), ["2026-01-31T12:05:00Z", "2026-06-30T22:30:00Z", "2026-06-30T22:32:00Z"]);
    let first = serde_json::json!({
        "order_id": "1001", "customer_id": "42", "total": {"minor": 247_890, "currency": "EUR"},
        "items": [
            {"sku": "tea", "quantity": 2, "unit_price": {"minor": 123_450, "currency": "EUR"}},
            {"sku": "cup", "quantity": 1, "unit_price": {"minor": 990, "currency": "EUR"}},
        ]
    });
    assert_eq!(events[0]["data"], first);
    assert_eq!(events[1]["data"]["total"], serde_json::json!({"minor": 1_500, "currency": "JPY"}));
    assert_eq!(events[2]["data"]["total"], serde_json::json!({"minor": 125, "currency": "KWD"}));
    for event in &events {
        let decoded = tol_events::binding::json::decode(event.to_string().as_bytes()).unwrap().encode();
        assert!(tol_events::registry::validate(&decoded.view()).is_ok(), "{event}");
    }
}

#[test]
fn lines_that_contradict_each_other_are_told_and_leave_their_order_out() {
    let refused = |line: &str| events_of(&order_lines(|_| {}), "lines.csv", &LINES.replace("1001;42;31.01.2026 13:06;paid;cup;1;9,90;EUR", line)).unwrap_err();
    for (line, part) in [
        ("1001;43;31.01.2026 13:06;paid;cup;1;9,90;EUR", "another subject than line 2"),
        ("1001;42;31.01.2026 13:06;paid;cup;1;9,90;USD", "never added up"),
        ("1001;42;31.01.2026 13:06;paid;cup;x;9,90;EUR", "line 3, column quantity: \"x\" is not a number"),
        ("1001;42;31.01.2026 13:06;paid;cup;1;9.90;EUR", "not a number with"),
        ("1001;42;31.01.2026 13:06;paid;cup;1;9,905;EUR", "money:{currency}:round"),
        ("1001;42;31.01.2026 13:06;paid;cup;1;9,90;euro", "ISO 4217"),
        ("1001;42;29.03.2026 02:30", "has 3 values"),
    ] {
        let problem = refused(line);
        assert!(problem.contains(part) && problem.contains("line 3"), "{line}: {problem}");
    }
    let spring = events_of(&order_lines(|_| {}), "lines.csv", &LINES.replace("01.07.2026 00:30", "29.03.2026 02:30")).unwrap_err();
    assert!(spring.contains("does not exist in Europe/Berlin"), "{spring}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lines.csv");
    std::fs::write(&file, LINES.replace("cup;1;", "cup;x;")).unwrap();
    let node = FakeNode::start(vec![answer(200, r#"{"accepted":2,"duplicates":0,"positions":{}}"#)]);
    let arguments = order_lines(|arguments| {
        (arguments.file, arguments.state) = (file, Some(folder.path().join("state.json")));
        (arguments.on_bad_row, arguments.batch) = (OnBadRow::Skip, 10);
    });
    assert_eq!(arguments.run(&node.client(), Format::Json).unwrap_err().exit_code(), 6);
    let sent: Vec<Value> = serde_json::from_str(&node.requests()[0].body).unwrap();
    assert_eq!(sent.iter().map(|event| event["id"].as_str().unwrap()).collect::<Vec<_>>(), ["order-1002", "order-1004"], "no order with a line less");
}

#[test]
fn an_event_has_a_bounded_number_of_rows() {
    let mut arguments = args(&["lines[]:int={line}"]);
    arguments.group_by = Some("{customer}".into());
    let rows = |count: usize| format!("customer\n{}", "7\n".repeat(count));
    assert_eq!(events_of(&arguments, "x.csv", &rows(10_000)).unwrap()[0]["data"]["lines"].as_array().unwrap().len(), 10_000);
    let problem = events_of(&arguments, "x.csv", &rows(10_001)).unwrap_err();
    assert!(problem.contains("line 10002") && problem.contains("--group-by"), "{problem}");
}

#[test]
fn flags_say_the_same_as_a_mapping_file() {
    let mut arguments = args(&["total+:money:{currency}:round={quantity}*{price}*1.19", "skus[]={sku}", "net?:number={quantity}*{price}"]);
    (arguments.delimiter, arguments.decimal, arguments.thousands) = (Some(";".into()), Some(",".into()), Some(".".into()));
    (arguments.group_by, arguments.conditions) = (Some("{order}".into()), vec!["{status}=paid".into(), "{price}<100".into()]);
    arguments.time = Some("time:%d.%m.%Y %H:%M %z={ordered} -0500".into());
    arguments.id = Some("o-{order}".into());
    let events = events_of(&arguments, "lines.csv", LINES).unwrap();
    assert_eq!(events[0]["data"], serde_json::json!({"total": {"minor": 1_178, "currency": "EUR"}, "skus": ["cup"], "net": 9.9}));
    assert_eq!((&events[0]["time"], &events[1]["id"]), (&"2026-01-31T18:06:00Z".into(), &"o-1004".into()));
    for (field, part) in [
        ("a+={sku}", "only int, number, money and minor"),
        ("a[]+:int={quantity}", "not summed up as well"),
        ("[]={sku}", "list[].field"),
        ("a:money:{none}={price}", "no column {none}"),
        ("a:int={quantity}*", "lacks a value"),
    ] {
        let mut wrong = args(&[field]);
        wrong.delimiter = Some(";".into());
        let problem = events_of(&wrong, "lines.csv", LINES).unwrap_err();
        assert!(problem.contains(part), "{field}: {problem}");
    }
    for fields in [&["a[].b={sku}", "a.c={sku}"][..], &["a[]={sku}", "a={sku}"], &["a[]={sku}", "a[].b={sku}"]] {
        let mut clash = args(fields);
        clash.delimiter = Some(";".into());
        assert!(events_of(&clash, "lines.csv", LINES).unwrap_err().contains("cannot hold"), "{fields:?}");
    }
}

#[test]
fn an_id_conflict_names_the_flag_that_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.csv"), "customer,amount\n1,1\n").unwrap();
    let conflict = answer(409, r#"{"type":"/docs/problems/id-conflict","title":"The same id with other content","detail":"event 0","index":0}"#);
    let node = FakeNode::start(vec![conflict.clone(), conflict]);
    let derived = import_into(&node, folder.path(), |_| {}).unwrap_err();
    assert!(derived.exit_code() == 5 && derived.to_string().contains("line 2: event 0") && derived.to_string().contains("--id 'order-{order}'"), "{derived}");
    let given = import_into(&node, folder.path(), |arguments| arguments.id = Some("{customer}".into())).unwrap_err();
    assert!(given.to_string().contains("--id '{customer}' gives this row the id of another one"), "{given}");
}

proptest! {
    #[test]
    fn a_file_of_lines_adds_up_whatever_its_orders(orders in prop::collection::vec(prop::collection::vec((1i64..50, 1i64..100_000), 1..6), 1..30)) {
        let mut text = String::from("customer;order;quantity;price\n");
        for (number, lines) in orders.iter().enumerate() {
            for (quantity, cents) in lines {
                text.push_str(&format!("c;{number};{quantity};{},{:02}\n", cents / 100, cents % 100));
            }
        }
        let mut arguments = args(&["total+:money:EUR={quantity}*{price}", "lines[]:int={quantity}"]);
        (arguments.delimiter, arguments.decimal, arguments.group_by) = (Some(";".into()), Some(",".into()), Some("{order}".into()));
        let events = events_of(&arguments, "x.csv", &text).unwrap();
        let expected: Vec<(i64, usize)> = orders.iter().map(|lines| (lines.iter().map(|(quantity, cents)| quantity * cents).sum(), lines.len())).collect();
        let found: Vec<(i64, usize)> = events.iter().map(|event| (event["data"]["total"]["minor"].as_i64().unwrap(), event["data"]["lines"].as_array().unwrap().len())).collect();
        prop_assert_eq!(found, expected);
    }
}
