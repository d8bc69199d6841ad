//! Dotted keys: `listen.faktory` is `faktory` in the table `listen`. A name that has a dot of its own is quoted, as in TOML.

/// Joins the key of a table and a name in it.
pub fn join(at: &str, name: &str) -> String {
    let dot = if at.is_empty() { "" } else { "." };
    let quote = if name.contains('.') { "\"" } else { "" };
    format!("{at}{dot}{quote}{name}{quote}")
}

/// Splits a key into its names, without quotes.
pub fn levels(key: &str) -> Vec<&str> {
    let mut levels = Vec::new();
    let mut rest = key;
    while !rest.is_empty() {
        let quoted = rest.strip_prefix('"').and_then(|inner| inner.split_once('"'));
        let (level, after) = match quoted {
            Some((level, after)) => (level, after.strip_prefix('.').unwrap_or(after)),
            None => rest.split_once('.').unwrap_or((rest, "")),
        };
        levels.push(level);
        rest = after;
    }
    levels
}

/// The key of the table that a key lies in; empty for one of the outermost.
pub(super) fn parent(key: &str) -> String {
    let mut levels = levels(key);
    levels.pop();
    levels.into_iter().fold(String::new(), |at, level| join(&at, level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_dots_is_one_level() {
        let key = ["endpoints", "a.b", "url"].iter().fold(String::new(), |at, name| join(&at, name));
        assert_eq!(key, "endpoints.\"a.b\".url");
        assert_eq!(levels(&key), ["endpoints", "a.b", "url"]);
        assert_eq!((levels("a"), levels(""), levels("a.\"b.c\"")), (vec!["a"], vec![], vec!["a", "b.c"]));
        assert_eq!((parent(&key).as_str(), parent("a").as_str()), ("endpoints.\"a.b\"", ""));
        assert_eq!(levels("a.\"b"), ["a", "\"b"]);
    }
}
