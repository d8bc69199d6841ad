//! What the command line does beside a node, against the real binary. The certificates of `command_line/` are these tests' own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use crate::common::{Node, run, tol};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_node_with_an_embedded_log_does_not_start_on_kafka() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    Node::ready(folder.path()).stop();
    // Nobody listens there: it must not even be asked.
    let refused = run(&["run", "--data", data, "--listen", "127.0.0.1:0", "--kafka", "127.0.0.1:1"]);
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("tol migrate --from {data} --to-kafka 127.0.0.1:1")) && said.contains("--data"), "{said}");
    // Without Kafka it starts as before.
    Node::ready(folder.path()).stop();
}

/// The checks of `tol doctor` by name, as (result, detail).
fn doctor(data: &Path, listen: &str) -> (Option<i32>, std::collections::BTreeMap<String, (String, String)>) {
    let output = run(&["doctor", "--data", data.to_str().unwrap(), "--listen", listen, "--output", "json"]);
    let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |check: &Value, name: &str| check[name].as_str().unwrap().to_owned();
    let checks = checks.as_array().unwrap().iter().map(|check| (of(check, "check"), (of(check, "result"), of(check, "detail")))).collect();
    (output.status.code(), checks)
}

#[test]
fn doctor_knows_the_node_that_runs_on_its_folder() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = Node::ready(folder.path());
    let listen = node.http.url.strip_prefix("http://").unwrap().to_owned();
    let (_, checks) = doctor(folder.path(), &listen);
    for (name, says) in [("lock", node.http.url.as_str()), ("port", "the node of this folder"), ("node", "is ready"), ("log files", "")] {
        let (result, detail) = &checks[name];
        assert!(result == "ok" && detail.contains(says), "{name}: {result}, {detail}");
    }
    // Of another folder's node the port is taken.
    let (code, checks) = doctor(other.path(), &listen);
    assert_eq!((code, checks["port"].0.as_str(), checks.contains_key("node")), (Some(3), "failed", false));
    assert!(checks["port"].1.contains("a tol node already answers there"), "{checks:?}");
    node.stop();
    let (_, checks) = doctor(folder.path(), &listen);
    assert_eq!((checks["lock"].0.as_str(), checks.contains_key("node")), ("ok", false));
}

#[test]
fn a_reader_that_has_gone_ends_a_command_in_silence() {
    for command in [&["completions", "bash"][..], &["--help"], &["config", "check", "--output", "json"], &["keys", "new", "--name", "a", "--scopes", "read"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = tol(command).stdout(writer).stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert!(output.status.success() && !stderr(&output).contains("panicked"), "{command:?}: {} {}", output.status, stderr(&output));
    }
}

#[test]
fn a_backup_names_the_folders_that_are_configured() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (data, keys, copy) = (path("data"), path("shared-keys"), path("copy"));
    let missing = run(&["backup", &copy, "--data", &data]);
    assert!(missing.status.code() == Some(2) && stderr(&missing).contains(&data) && stderr(&missing).contains("--data"), "{}", stderr(&missing));
    std::fs::write(path("master"), "42".repeat(32)).unwrap();
    let arguments = ["--set".to_owned(), format!("security.keys={keys}"), "--set".to_owned(), format!("security.master_key_file={}", path("master"))];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let node = Node::start(Path::new(&data), &arguments);
    node.http.wait_until_ready();
    let done = run(&[&["backup", &copy, "--data", &data][..], &arguments].concat());
    assert!(done.status.success() && stderr(&done).contains(&keys) && !stderr(&done).contains(&format!("{data}/keys")), "{}", stderr(&done));
    node.stop();
}

fn pem(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/command_line").join(name)
}

/// Answers one request over TLS, as a proxy before a node does, with the key that it was asked with.
fn behind_tls() -> (String, std::thread::JoinHandle<()>) {
    let certificates = vec![CertificateDer::from_pem_file(pem("node.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(pem("node.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(certificates, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut connection = rustls::ServerConnection::new(config).unwrap();
        let mut stream = rustls::Stream::new(&mut connection, &mut socket);
        let (mut key, mut line) = (String::new(), String::new());
        let mut reader = BufReader::new(&mut stream);
        // A client that does not trust the certificate goes before it asks.
        while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
            if let Some(found) = line.to_lowercase().strip_prefix("authorization: bearer ") {
                key = found.trim().to_owned();
            }
            line.clear();
        }
        let body = json!([{"name": key, "state": "running"}]).to_string();
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        let _ = stream.flush();
        stream.conn.send_close_notify();
        let _ = stream.flush();
        let _ = socket.read(&mut [0; 16]);
    });
    (url, thread)
}

#[test]
fn a_node_behind_tls_is_asked_over_https_if_its_certificate_is_trusted() {
    let asked = |authority: &Path| {
        let (url, thread) = behind_tls();
        let mut command = tol(&["--url", &url, "--key", "tol_secret", "systems", "--output", "json"]);
        let output = command.env("SSL_CERT_FILE", authority).env_remove("SSL_CERT_DIR").output().unwrap();
        thread.join().unwrap();
        output
    };
    let trusted = asked(&pem("authority.pem"));
    assert!(trusted.status.success(), "{}", stderr(&trusted));
    assert_eq!(serde_json::from_slice::<Value>(&trusted.stdout).unwrap()[0]["name"], "tol_secret");
    // An authority that did not sign it.
    let untrusted = asked(&pem("node.pem"));
    assert_eq!(untrusted.status.code(), Some(4), "{}", stderr(&untrusted));
    assert!(stderr(&untrusted).contains("certificate"), "{}", stderr(&untrusted));
    let none = tol(&["--url", "https://127.0.0.1:1", "systems"]).env("SSL_CERT_FILE", "/nowhere").env_remove("SSL_CERT_DIR").output().unwrap();
    assert!(none.status.code() == Some(1) && stderr(&none).contains("SSL_CERT_FILE"), "{}", stderr(&none));
}
