//! The puppet's protocol on TCP, a line a request: `PING` → `PONG`, `AUTH <key>` → `HELLO <name>`; all else → `ERROR`.

use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tol_plug::Connection;

use super::plug::{PLAY, Serving};

/// The longest line.
const LINE: u64 = 1_024;

/// Answers lines until the client or the node ends.
pub async fn talk(connection: Connection<Serving>) -> io::Result<()> {
    let Connection { stream, mut stopping, keys, .. } = connection;
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut known = !keys.any();
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut read).take(LINE);
        let length = tokio::select! {
            length = bounded.read_until(b'\n', &mut line) => length?,
            _ = stopping.wait_for(|stopping| *stopping) => return Ok(()),
        };
        if length == 0 || !line.ends_with(b"\n") {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line);
        let answer = match line.trim().split_once(' ') {
            Some(("AUTH", key)) => match keys.caller(key, PLAY) {
                Some(caller) => {
                    known = true;
                    format!("HELLO {}\n", caller.name())
                }
                None => "ERROR key\n".to_owned(),
            },
            None if line.trim() == "PING" && known => "PONG\n".to_owned(),
            _ if !known => "ERROR key\n".to_owned(),
            _ => "ERROR unknown\n".to_owned(),
        };
        write.write_all(answer.as_bytes()).await?;
    }
}
