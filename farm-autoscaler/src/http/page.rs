//! The live page's files, which are part of the binary.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Face;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// What the page may load, and from where: a file of the page, because it knows its own scripts.
pub(super) const SECURITY_POLICY: &str =
    include_str!("../../page/content-security-policy.txt").trim_ascii();

struct File {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($($name:literal $content_type:ident,)*) => {
        &[$(File {
            name: $name,
            content_type: $content_type,
            text: include_str!(concat!("../../page/", $name)),
        }),*]
    };
}

const FILES: &[File] = files![
    "index.html" HTML,
    "app.js" SCRIPT,
    "card.js" SCRIPT,
    "charts.js" SCRIPT,
    "decisions.js" SCRIPT,
    "dom.js" SCRIPT,
    "format.js" SCRIPT,
    "model.js" SCRIPT,
    "stream.js" SCRIPT,
    "uPlot.iife.min.js" SCRIPT,
    "style.css" STYLE,
    "uPlot.min.css" STYLE,
    "icon.svg" PICTURE,
];

pub(super) fn routes() -> Router<Arc<Face>> {
    FILES.iter().fold(Router::new(), |router, file| {
        let path = match file.name {
            "index.html" => "/".to_owned(),
            name => format!("/{name}"),
        };
        let tag = tag(file.text);
        router.route(
            &path,
            get(move |headers: HeaderMap| async move { answer(file, &tag, &headers) }),
        )
    })
}

fn answer(file: &'static File, tag: &str, headers: &HeaderMap) -> Response {
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|known| known.to_str().ok())
        .is_some_and(|known| known.split(',').any(|known| is_same(known, tag)));
    // Asked for anew each time, so that a new version shows at once; answered briefly if it is
    // the old one.
    let headers = [
        (header::ETAG, tag.to_owned()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::CONTENT_TYPE, file.content_type.to_owned()),
    ];
    match known {
        true => (StatusCode::NOT_MODIFIED, headers).into_response(),
        false => (headers, file.text).into_response(),
    }
}

/// A proxy may have made the tag a weak one.
fn is_same(known: &str, tag: &str) -> bool {
    let known = known.trim();
    known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
}

/// Tells one build's file from another's; nobody gains by making two of them collide.
fn tag(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/page");
        let mut present: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".txt") && !name.ends_with(".md"))
            .collect();
        let mut served: Vec<&str> = FILES.iter().map(|file| file.name).collect();
        present.sort();
        served.sort_unstable();
        assert_eq!(present, served);
    }

    #[test]
    fn the_security_policy_is_a_header() {
        assert!(HeaderValue::from_str(SECURITY_POLICY).is_ok());
        assert!(SECURITY_POLICY.starts_with("default-src 'self';"));
    }

    #[test]
    fn a_known_file_is_not_sent_again() {
        let file = &FILES[0];
        let known = |value: &str| {
            let headers = [(header::IF_NONE_MATCH, HeaderValue::from_str(value).unwrap())];
            let status = answer(file, "\"1\"", &headers.into_iter().collect()).status();
            status == StatusCode::NOT_MODIFIED
        };
        assert!(known("\"1\"") && known("W/\"1\"") && known("\"0\", \"1\""));
        assert!(!known("\"2\""));
    }
}
