//! Which pages an experiment runs on: `urlPatterns` (simple or regular expressions, including or excluding) and the older `url`.

use regex::Regex;
use url::Url;

use super::regex::{compile, units};
use crate::evaluation::value::{Object, Value};

/// Stands for `*` in hosts and paths, as `*` itself is no part of a host.
const WILDCARD: &str = "_____";

/// The pages of an experiment.
#[derive(Clone, Debug)]
pub(super) struct Targets(Box<[Target]>);

#[derive(Clone, Debug)]
struct Target {
    include: bool,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Regex(Regex),
    Simple(Box<Simple>),
    /// Of no known type, or with a mistake: matches no page.
    Never,
}

#[derive(Clone, Debug)]
struct Simple {
    host: Regex,
    path: Regex,
    fragment: Option<Regex>,
    /// The first value of each of these must match.
    query: Box<[(Box<str>, Regex)]>,
}

impl Targets {
    /// `None` where pages make no difference.
    pub(super) fn compile(source: Option<&Value<'_>>) -> Option<Self> {
        let source = source.filter(|source| source.is_truthy())?;
        Some(Self(source.as_array().unwrap_or_default().iter().map(Target::compile).collect()))
    }

    /// Whether the experiment runs on this page.
    pub(super) fn match_page(&self, page: &str) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let page = page_of(page);
        let matches = |target: &Target| page.as_ref().is_some_and(|page| target.kind.matches(page));
        let (mut included, mut including) = (false, false);
        for target in &self.0 {
            match (target.include, matches(target)) {
                (false, true) => return false,
                (false, false) => {}
                (true, found) => {
                    including = true;
                    included |= found;
                }
            }
        }
        included || !including
    }
}

fn page_of(page: &str) -> Option<Url> {
    Url::parse("https://_").ok()?.join(page).ok()
}

impl Target {
    fn compile(source: &Value<'_>) -> Self {
        let text = |name: &str| source.get(name).and_then(Value::as_str);
        let kind = match (text("type"), text("pattern")) {
            (Some("regex"), Some(pattern)) => compile(pattern, false).map(Kind::Regex),
            (Some("simple"), Some(pattern)) => Simple::compile(pattern).map(|simple| Kind::Simple(Box::new(simple))),
            _ => None,
        };
        Self { include: source.get("include") != Some(&Value::Bool(false)), kind: kind.unwrap_or(Kind::Never) }
    }
}

impl Kind {
    fn matches(&self, page: &Url) -> bool {
        match self {
            Self::Regex(regex) => {
                let (whole, origin) = (page.as_str(), page.origin().ascii_serialization());
                let within = whole.strip_prefix(&origin).unwrap_or(whole);
                regex.is_match(&units(whole)) || regex.is_match(&units(within))
            }
            Self::Simple(simple) => simple.matches(page),
            Self::Never => false,
        }
    }
}

impl Simple {
    fn compile(pattern: &str) -> Option<Self> {
        let pattern = with_scheme(pattern).replace('*', WILDCARD);
        let expected = Url::parse(&format!("https://{WILDCARD}")).ok()?.join(&pattern).ok()?;
        let query = expected.query_pairs().map(|(name, value)| Some((name.into(), part(&value, false)?)));
        Some(Self {
            host: part(&host(&expected), false)?,
            path: part(expected.path(), true)?,
            fragment: match expected.fragment() {
                Some(fragment) if !fragment.is_empty() => Some(part(&format!("#{fragment}"), false)?),
                _ => None,
            },
            query: query.collect::<Option<_>>()?,
        })
    }

    fn matches(&self, page: &Url) -> bool {
        let fragment = || page.fragment().filter(|fragment| !fragment.is_empty()).map_or_else(String::new, |fragment| format!("#{fragment}"));
        let value = |wanted: &str| page.query_pairs().find(|(name, _)| name == wanted).map_or_else(String::new, |(_, value)| value.into_owned());
        self.host.is_match(&host(page))
            && self.path.is_match(page.path())
            && self.fragment.as_ref().is_none_or(|expected| expected.is_match(&fragment()))
            && self.query.iter().all(|(name, expected)| expected.is_match(&units(&value(name))))
    }
}

/// `https://` before a host that has none: what stands before the last full stop that comes before any `:`, `/` or `?`.
fn with_scheme(pattern: &str) -> String {
    let end = pattern.find([':', '/', '?']).unwrap_or(pattern.len());
    if pattern[..end].contains('.') { format!("https://{pattern}") } else { pattern.to_owned() }
}

/// Host and port, as JavaScript's `URL.host`.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A part of an address with wildcards, whatever its case; of a path, slashes at its ends may be there or not.
fn part(pattern: &str, is_path: bool) -> Option<Regex> {
    let mut pattern = pattern;
    if is_path {
        pattern = pattern.strip_prefix('/').unwrap_or(pattern);
        pattern = pattern.strip_suffix('/').unwrap_or(pattern);
    }
    let pattern = units(pattern);
    // JavaScript's full stop takes no end of line.
    let escaped: Vec<String> = pattern.split(WILDCARD).map(regex::escape).collect();
    let inner = escaped.join(r"[^\n\r\u{2028}\u{2029}]*");
    let whole = if is_path { format!("^/?{inner}/?$") } else { format!("^{inner}$") };
    regex::RegexBuilder::new(&whole).case_insensitive(true).size_limit(1 << 20).build().ok()
}

/// The older `url`: a regular expression that the address or its path must match.
#[derive(Clone, Debug)]
pub(super) struct OldTarget(Regex);

impl OldTarget {
    /// `None` where pages make no difference, or the expression is none: SDKs say so in their log and go on.
    pub(super) fn compile(source: &Object<'_>) -> Option<Self> {
        compile(source.get("url")?.as_str().filter(|url| !url.is_empty())?, false).map(Self)
    }

    /// Whether the experiment runs on this page.
    pub(super) fn matches_page(&self, page: &str) -> bool {
        let without_scheme = page.strip_prefix("https://").or(page.strip_prefix("http://")).unwrap_or(page);
        let path = without_scheme.split_once('/').map_or_else(|| without_scheme.to_owned(), |(_, rest)| format!("/{rest}"));
        !page.is_empty() && (self.0.is_match(&units(page)) || self.0.is_match(&units(&path)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn runs(page: &str, patterns: &str) -> bool {
        Targets::compile(Some(&Value::parse(patterns).unwrap())).unwrap().match_page(page)
    }

    fn simple(page: &str, pattern: &str) -> bool {
        runs(page, &serde_json::json!([{"type": "simple", "include": true, "pattern": pattern}]).to_string())
    }

    /// What `isURLTargeted` of `@growthbook/growthbook` 1.8.0 answers to the same.
    #[test]
    fn simple_patterns_match_part_by_part() {
        for (page, pattern, expected) in [
            ("https://www.example.com/post/123", "/post/*", true),
            ("https://www.example.com/post/123", "*.example.com/post/*", true),
            ("https://www.example.com/post/123", "https://www.example.com/post/123", true),
            ("https://www.example.com/post/123", "http://www.example.com/post/123", true),
            ("https://www.example.com/post/123", "www.example.com", false),
            ("https://www.example.com/", "www.example.com", true),
            ("https://www.example.com/pricing/", "/pricing", true),
            ("https://www.example.com/pricing", "/Pricing/", true),
            ("https://www.example.com/pricing?a=1&b=2", "/pricing?b=2", true),
            ("https://www.example.com/pricing?a=1", "/pricing?b=2", false),
            ("https://www.example.com/pricing?b=22", "/pricing?b=2*", true),
            ("https://www.example.com/pricing#top", "/pricing", true),
            ("https://www.example.com/pricing#top", "/pricing#end", false),
            ("https://localhost:3000/a", "http://localhost:3000/a", true),
            ("https://localhost:3000/a", "http://localhost:4000/a", false),
            ("/a/b", "/a/*", true),
            ("https://www.example.com/a.b", "/aXb", false),
        ] {
            assert_eq!(simple(page, pattern), expected, "{page} {pattern}");
        }
    }

    #[test]
    fn expressions_match_the_address_or_what_follows_the_host() {
        let regex = |page: &str, pattern: &str| runs(page, &serde_json::json!([{"type": "regex", "include": true, "pattern": pattern}]).to_string());
        assert!(regex("https://www.example.com/post/123", "^/post/[0-9]+$"));
        assert!(regex("https://www.example.com/post/123", "example\\.com/post"));
        assert!(!regex("https://www.example.com/post/123", "^/posts") && !regex("https://www.example.com/", "(?<!a)x("));
    }

    #[test]
    fn one_exclusion_is_enough_and_without_inclusions_all_other_pages_are_in() {
        let both = r#"[{"type": "simple", "include": true, "pattern": "/shop/*"}, {"type": "simple", "include": false, "pattern": "/shop/cart"}]"#;
        assert!(runs("https://e.com/shop/shoes", both) && !runs("https://e.com/shop/cart", both) && !runs("https://e.com/", both));
        let only = r#"[{"type": "simple", "include": false, "pattern": "/cart"}]"#;
        assert!(runs("https://e.com/", only) && !runs("https://e.com/cart", only));
        assert!(!runs("https://e.com/", "[]") && !runs("https://e.com/", r#"[{"type": "other", "pattern": "/"}]"#));
    }

    #[test]
    fn the_older_target_is_an_expression() {
        let source = Value::parse(r#"{"url": "^/post/\\d+"}"#).unwrap();
        let target = OldTarget::compile(source.as_object().unwrap()).unwrap();
        assert!(target.matches_page("http://example.com/post/5") && !target.matches_page("http://example.com/") && !target.matches_page(""));
    }
}
