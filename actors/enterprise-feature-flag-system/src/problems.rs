//! Kinds of problem of the flag system. Each has its page in `docs/problems/`.

use tol_plug::Kind;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $slug:literal, $status:literal, $title:literal;)*) => {
        $($(#[$doc])* pub(crate) const $name: &Kind =
            &Kind { slug: $slug, status: $status, title: $title, page: include_str!(concat!("../docs/problems/", $slug, ".md")) };)*

        /// All of them.
        pub(crate) const ALL: &[&Kind] = &[$($name,)*];
    };
}

kinds! {
    /// The flag has moved on since the version that was changed.
    VERSION_CONFLICT = "version-conflict", 409, "The flag has moved on";
    /// The flag system refused it.
    REQUEST_REFUSED = "request-refused", 422, "The flag system refused the request";
    /// Not definitions of the format.
    INVALID_DEFINITIONS = "invalid-definitions", 422, "Not definitions of that format";
    /// No flag.
    UNKNOWN_FLAG = "unknown-flag", 404, "No such flag";
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_page_and_every_page_a_kind() {
        for kind in ALL {
            assert_eq!(kind.missing_from_page(), None, "{}", kind.slug);
        }
        for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/problems")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(ALL.iter().any(|kind| kind.slug == name.trim_end_matches(".md")), "docs/problems/{name} belongs to no kind");
        }
    }
}
