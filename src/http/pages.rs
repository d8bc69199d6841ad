//! Pages for people: the explanations of problems, and the browsable OpenAPI document.

use std::sync::{Arc, OnceLock};

use utoipa_swagger_ui::Config;

use tol_plug::Problem;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}pre,code{background:#f3f3f3;border-radius:4px}\
pre{padding:.75rem;overflow:auto}code{padding:0 .25rem}pre code{padding:0}@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}pre,code{background:#222}a{color:#8bf}}";

/// A file of the browsable page, as (content type, content); the empty path is its start.
pub(crate) fn browser_file(path: &str) -> Result<Option<(String, Vec<u8>)>, Problem> {
    static CONFIG: OnceLock<Arc<Config<'static>>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| Arc::new(Config::from("/openapi.json"))).clone();
    let file = utoipa_swagger_ui::serve(path, config).map_err(|error| Problem::internal(format!("the page {path} could not be made: {error}")))?;
    Ok(file.map(|file| (file.content_type, file.bytes.into_owned())))
}

/// A problem page as HTML. Reads the Markdown these pages use, no more: headings, paragraphs, lists, indented code, `code`.
pub(crate) fn html(title: &str, markdown: &str) -> String {
    let mut body = String::with_capacity(markdown.len() * 2);
    let mut open = "";
    for line in markdown.lines() {
        let (block, text) = match line {
            _ if line.trim().is_empty() && open == "pre" => ("pre", ""),
            _ if line.trim().is_empty() => ("", ""),
            _ if line.starts_with("    ") => ("pre", &line[4..]),
            _ if line.starts_with("- ") => ("ul", &line[2..]),
            _ if line.starts_with("## ") => ("h2", &line[3..]),
            _ if line.starts_with("# ") => ("h1", &line[2..]),
            _ if open == "ul" => ("ul", line.trim()),
            _ => ("p", line),
        };
        if block != open && !open.is_empty() {
            body.push_str(&close(open));
        }
        match block {
            "h1" | "h2" => {
                body.push_str(&format!("<{block}>{}</{block}>\n", inline(text)));
                open = "";
                continue;
            }
            "ul" if open == "ul" && !line.starts_with("- ") => body.push_str(&format!(" {}", inline(text))),
            "ul" => body.push_str(&format!("{}<li>{}", if open == "ul" { "</li>\n" } else { "<ul>\n" }, inline(text))),
            "pre" => body.push_str(&format!("{}{}", if open == "pre" { "\n" } else { "<pre><code>" }, escape(text))),
            "p" => body.push_str(&format!("{}{}", if open == "p" { "\n" } else { "<p>" }, inline(text))),
            _ => {}
        }
        open = block;
    }
    body.push_str(&close(open));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{}</title><style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n",
        escape(title)
    )
}

fn close(block: &str) -> String {
    match block {
        "" => String::new(),
        "ul" => "</li>\n</ul>\n".to_owned(),
        "pre" => "</code></pre>\n".to_owned(),
        other => format!("</{other}>\n"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Text with `code` between backticks.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for (index, part) in escape(text).split('`').enumerate() {
        match index {
            0 => {}
            odd if odd % 2 == 1 => out.push_str("<code>"),
            _ => out.push_str("</code>"),
        }
        out.push_str(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use tol_plug::Kind;

    #[test]
    fn markdown_of_the_pages_becomes_html() {
        let page = html("T", "# T\n\nOne `<a>`\ntwo.\n\n- x\n  y\n- z\n\n    curl\n\n    again\n\nEnd.\n");
        for part in
            ["<h1>T</h1>", "<p>One <code>&lt;a&gt;</code>\ntwo.</p>", "<ul>\n<li>x y</li>\n<li>z</li>\n</ul>", "<pre><code>curl\n\nagain", "<p>End.</p>"]
        {
            assert!(page.contains(part), "{part} is not in {page}");
        }
    }

    #[test]
    fn every_page_closes_what_it_opens() {
        for kind in Kind::CORE {
            let page = html(kind.title, kind.page);
            for tag in ["p", "ul", "li", "pre", "code", "h1", "h2"] {
                let (opened, closed) = (page.matches(&format!("<{tag}>")).count(), page.matches(&format!("</{tag}>")).count());
                assert_eq!(opened, closed, "<{tag}> in {}", kind.slug);
            }
        }
    }
}
