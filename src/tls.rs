//! TLS of the requests that `tol` sends: of the command line, of effects, to other nodes. A node itself is served over HTTP, behind a proxy.

use std::sync::{Arc, LazyLock};

use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Certificates are checked against those that this machine trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, for an authority of one's own.
struct Trusted {
    config: TlsConfig,
    /// Why no certificate is trusted.
    problem: Option<String>,
}

static TRUSTED: LazyLock<Trusted> = LazyLock::new(|| {
    let found = rustls_native_certs::load_native_certs();
    let why: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    let problem =
        found.certs.is_empty().then(|| format!("no trusted certificates were found for https ({}); name a file of them in SSL_CERT_FILE", why.join("; ")));
    let roots = found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    Trusted { config: config(roots), problem }
});

/// Trusts nobody: for a URL of http, which may be redirected to one of https.
static UNTRUSTING: LazyLock<TlsConfig> = LazyLock::new(|| config(Vec::new()));

fn config(roots: Vec<Certificate<'static>>) -> TlsConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    TlsConfig::builder().root_certs(RootCerts::from(roots)).unversioned_rustls_crypto_provider(provider).build()
}

/// How to ask `url`. The trusted certificates are read once, when the first URL is one of https.
pub(crate) fn config_for(url: &str) -> TlsConfig {
    if url.starts_with("https://") { TRUSTED.config.clone() } else { UNTRUSTING.clone() }
}

/// Why no server can be trusted, where none can.
pub(crate) fn problem() -> Option<&'static str> {
    TRUSTED.problem.as_deref()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_speak_tls_is_an_error_and_no_panic() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || drop(listener.accept()));
        let agent = ureq::Agent::new_with_config(ureq::config::Config::builder().tls_config(config_for(&url)).build());
        assert!(agent.get(&url).call().is_err());
        server.join().unwrap();
    }

    #[test]
    fn a_redirect_from_http_to_https_is_an_error_and_no_panic() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 4_096]).unwrap() > 0);
            write!(stream, "HTTP/1.1 307 X\r\nlocation: https://{address}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            drop(stream);
            drop(listener.accept());
        });
        let url = format!("http://{address}");
        let agent = ureq::Agent::new_with_config(ureq::config::Config::builder().tls_config(config_for(&url)).build());
        assert!(agent.get(&url).call().is_err());
        server.join().unwrap();
    }
}
