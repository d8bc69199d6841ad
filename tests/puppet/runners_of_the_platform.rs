//! The runners `admit` and `http`, which every system has.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use super::system::ENDED;
use super::{asking, config, events, start};
use crate::common::Http;

/// Whether a request has come to its end.
fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
    body.len() >= length
}

/// Answers each request with the next of these heads and `{}`, and hands the requests on.
fn server(answers: Vec<&'static str>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (seen, requests) = channel();
    std::thread::spawn(move || {
        for (answer, stream) in answers.into_iter().zip(listener.incoming()) {
            let mut stream = stream.unwrap();
            let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
            while !is_whole(&String::from_utf8_lossy(&bytes)) {
                match stream.read(&mut buffer).unwrap() {
                    0 => break,
                    count => bytes.extend_from_slice(&buffer[..count]),
                }
            }
            let _ = stream.write_all(format!("HTTP/1.1 {answer}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}").as_bytes());
            seen.send(String::from_utf8(bytes).unwrap()).unwrap();
        }
    });
    (url, requests)
}

fn ended(http: &Http, subject: &str, all: usize) -> Value {
    events(http, ENDED, all).into_iter().find(|event| event["subject"] == subject).unwrap()["data"].clone()
}

#[test]
fn a_fact_is_admitted_once_with_the_requests_id_and_correlation() {
    let folder = tempfile::tempdir().unwrap();
    let (node, http) = start(config(folder.path(), &json!({})));
    let wanted = json!({"type": "shop.thing_done.v1", "subject": "customer/7", "data": {"size": 3}, "time": "2026-01-05T11:00:00Z"});
    let mut fact = asking("admit", "customer/1", "admit", wanted);
    fact["correlationid"] = json!("request-1");
    http.publish(&[fact]).ok();
    let ended = ended(&http, "customer/1", 1);
    let admitted = events(&http, "shop.thing_done.v1", 1);
    assert_eq!((&admitted[0]["id"], &admitted[0]["source"]), (&ended["key"], &json!("/effects/puppet-system")));
    assert_eq!((&admitted[0]["correlationid"], &admitted[0]["causationid"]), (&json!("request-1"), &ended["key"]));
    assert_eq!((&admitted[0]["subject"], &admitted[0]["data"]), (&json!("customer/7"), &json!({"size": 3})));
    // What is no fact is refused by admission, and the effect fails with its words.
    let wrong = json!({"type": "commerce.order_placed.v1", "subject": "customer/7", "data": {}});
    http.publish(&[asking("wrong", "customer/2", "admit", wrong)]).ok();
    let problem = self::ended(&http, "customer/2", 2)["problem"].clone();
    assert!(problem.as_str().unwrap().contains("order_id"), "{problem}");
    assert_eq!(http.events("type=shop.thing_done.v1").len(), 1);
    node.stop().unwrap();
}

#[test]
fn a_request_is_sent_where_it_may_be_and_again_with_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let (url, requests) = server(vec!["503 Busy\r\nretry-after: 0", "201 Created", "302 Found\r\nlocation: http://127.0.0.1:1/"]);
    let mut config = config(folder.path(), &json!({}));
    config.effects.allow = vec![format!("{url}/hooks/")];
    let (node, http) = start(config);
    let hook = format!("{url}/hooks/1");
    let call = json!({"url": hook, "method": "PUT", "headers": {"x-shop": "7"}, "body": {"size": 3}});
    http.publish(&[asking("call", "customer/1", "http", call)]).ok();
    let ended = ended(&http, "customer/1", 1);
    assert_eq!(ended["answer"], json!({"status": 201, "body": "{}"}));
    let key = format!("idempotency-key: {}", ended["key"].as_str().unwrap());
    for _ in 0..2 {
        let request = requests.recv().unwrap();
        assert!(request.starts_with("PUT /hooks/1 ") && request.contains(&key) && request.contains("x-shop: 7"), "{request}");
        assert!(request.ends_with("{\"size\":3}"), "{request}");
    }
    // A redirect is not followed; a URL that nobody allowed is not called.
    http.publish(&[asking("redirected", "customer/2", "http", json!({"url": hook, "method": "GET"}))]).ok();
    let problem = self::ended(&http, "customer/2", 2)["problem"].clone();
    assert!(problem.as_str().unwrap().contains("answered 302"), "{problem}");
    http.publish(&[asking("elsewhere", "customer/3", "http", json!({"url": format!("{url}/private")}))]).ok();
    let problem = self::ended(&http, "customer/3", 3)["problem"].clone();
    assert!(problem.as_str().unwrap().contains("effects.allow"), "{problem}");
    node.stop().unwrap();
}
