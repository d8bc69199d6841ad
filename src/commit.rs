//! The commit that this program was built from. `scripts/build` writes it behind the finished program, where the loader reads nothing: so neither a
//! build script runs nor is anything compiled again for a commit, and a source without git builds as well.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::OnceLock;

/// What stands before the commit, behind the program.
const MARK: &str = "\ntol-commit:";
/// Longer than mark and commit together.
const TAIL_BYTES: i64 = 96;

/// The commit, with `-dirty` where files had changed since; `None` where it was not written.
pub fn commit() -> Option<&'static str> {
    static COMMIT: OnceLock<Option<String>> = OnceLock::new();
    COMMIT.get_or_init(|| parse(&tail().ok()?)).as_deref()
}

/// Version and commit as people read them: `0.1.0 (1f0c2d3e4b5a)`.
pub fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| match commit() {
        Some(commit) => format!("{} ({})", env!("CARGO_PKG_VERSION"), short(commit)),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Twelve digits are enough to name a commit.
fn short(commit: &str) -> String {
    let (hash, dirty) = commit.split_at(commit.find('-').unwrap_or(commit.len()));
    format!("{}{dirty}", &hash[..hash.len().min(12)])
}

fn tail() -> std::io::Result<Vec<u8>> {
    // The file that runs, also where another one has taken its name since.
    let mut file = File::open("/proc/self/exe").or_else(|_| File::open(std::env::current_exe()?))?;
    let length = i64::try_from(file.metadata()?.len()).unwrap_or(i64::MAX);
    file.seek(SeekFrom::End(-TAIL_BYTES.min(length)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    Ok(tail)
}

fn parse(tail: &[u8]) -> Option<String> {
    let text = tail.iter().rposition(|byte| !byte.is_ascii()).map_or(tail, |last| &tail[last + 1..]);
    let commit = std::str::from_utf8(text).ok()?.rsplit_once(MARK)?.1.strip_suffix('\n')?;
    let hash = commit.strip_suffix("-dirty").unwrap_or(commit);
    (hash.len() >= 7 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| commit.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_behind_the_program_is_read_and_nothing_else_is_taken_for_one() {
        let hash = "28368b8d5e1f0c2d3e4b5a69788796a5b4c3d2e1";
        let behind = |text: &str| parse(&[&b"\x7fELF \xff\xfe"[..], text.as_bytes()].concat());
        assert_eq!(behind(&format!("\ntol-commit:{hash}\n")).as_deref(), Some(hash));
        assert_eq!(behind(&format!("\ntol-commit:{hash}-dirty\n")).map(|commit| short(&commit)).as_deref(), Some("28368b8d5e1f-dirty"));
        for other in ["", "\ntol-commit:\n", "\ntol-commit:not a hash\n", "\ntol-commit:28368b8", "\ntol-commit:28368b8\nmore"] {
            assert_eq!(behind(other), None, "{other:?}");
        }
    }
}
