//! An HTTP/1.1 client over one kept-alive connection that costs next to nothing: whole requests are written as prepared bytes,
//! and of an answer only the status and the length are read. It shares the machine with the node, so its own work distorts the figure.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail};

/// One connection.
pub struct Client {
    stream: TcpStream,
    /// Bytes of the last answer.
    buffer: Vec<u8>,
    filled: usize,
    body: std::ops::Range<usize>,
}

impl Client {
    /// Connects to `address`, `HOST:PORT`.
    pub fn connect(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self { stream, buffer: vec![0; 64 << 10], filled: 0, body: 0..0 })
    }

    /// Sends a whole request and reads the answer; its status.
    pub fn exchange(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request)?;
        self.filled = 0;
        let head = loop {
            self.fill()?;
            if let Some(end) = find(&self.buffer[..self.filled], b"\r\n\r\n") {
                break end + 4;
            }
        };
        let status = self.buffer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).context("the answer has no status")?;
        let length = content_length(&self.buffer[..head]).context("the answer has no content-length")?;
        let end = head + length;
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        while self.filled < end {
            self.fill()?;
        }
        self.body = head..end;
        Ok(status)
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.filled * 2, 0);
        }
        loop {
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => bail!("the node closed the connection"),
                Ok(read) => {
                    self.filled += read;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The body of the last answer.
    pub fn body(&self) -> &[u8] {
        &self.buffer[self.body.clone()]
    }

    /// `GET path`, answered with 200 and JSON.
    pub fn get_json(&mut self, path: &str) -> anyhow::Result<serde_json::Value> {
        self.json("GET", path)
    }

    /// `POST path` with JSON, answered with JSON.
    pub fn post_json(&mut self, path: &str, body: &serde_json::Value) -> anyhow::Result<serde_json::Value> {
        let body = body.to_string();
        let head = format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        let status = self.exchange(format!("{head}{body}").as_bytes())?;
        if !(200..300).contains(&status) {
            bail!("POST {path} was answered with {status}: {}", String::from_utf8_lossy(self.body()));
        }
        Ok(serde_json::from_slice(self.body())?)
    }

    /// `method path` without a body, answered with JSON.
    pub fn json(&mut self, method: &str, path: &str) -> anyhow::Result<serde_json::Value> {
        let status = self.exchange(format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n").as_bytes())?;
        if !(200..300).contains(&status) {
            bail!("{method} {path} was answered with {status}: {}", String::from_utf8_lossy(self.body()));
        }
        Ok(serde_json::from_slice(self.body())?)
    }
}

/// The bytes of `GET path`.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").into_bytes()
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn content_length(head: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(head).ok()?;
    let line = text.split("\r\n").find(|line| line.get(..15).is_some_and(|name| name.eq_ignore_ascii_case("content-length:")))?;
    line[15..].trim().parse().ok()
}
