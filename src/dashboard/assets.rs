use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use sha2::{Digest, Sha256};

use super::respond::{empty, whole};
use crate::BoxBody;

/// A file that browsers load.
#[derive(Debug)]
struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! assets {
    ($($name:literal $kind:ident),* $(,)?) => {
        [$(Asset { name: $name, kind: $kind, text: include_str!(concat!("assets/", $name)) }),*]
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

/// Everything that is served; the first one is the page itself.
static ASSETS: [Asset; 29] = assets![
    "index.html" HTML,
    "icon.svg" SVG,
    "style.css" CSS,
    "pages.css" CSS,
    "app.js" JS,
    "api.js" JS,
    "audit.js" JS,
    "chart.js" JS,
    "conversation.js" JS,
    "curl.js" JS,
    "detail.js" JS,
    "dom.js" JS,
    "export.js" JS,
    "filters.js" JS,
    "format.js" JS,
    "health.js" JS,
    "key-forms.js" JS,
    "keys.js" JS,
    "login.js" JS,
    "config.js" JS,
    "models.js" JS,
    "overview.js" JS,
    "requests.js" JS,
    "spend.js" JS,
    "table.js" JS,
    "theme.js" JS,
    "uPlot.esm.js" JS,
    "uPlot.min.css" CSS,
    "uPlot.LICENSE.txt" TEXT,
];

/// What each of them is known by to browsers that have it.
static TAGS: LazyLock<[HeaderValue; ASSETS.len()]> = LazyLock::new(|| {
    let tag = |asset: &Asset| {
        let digits: String =
            Sha256::digest(asset.text)[..12].iter().map(|byte| format!("{byte:02x}")).collect();
        HeaderValue::try_from(format!("\"{digits}\"")).unwrap_or(HeaderValue::from_static("\"\""))
    };
    ASSETS.each_ref().map(tag)
});

/// The page.
pub(super) fn page(headers: &HeaderMap) -> Response<BoxBody> {
    serve(0, headers)
}

/// The file of this name, if there is one.
pub(super) fn asset(name: &str, headers: &HeaderMap) -> Option<Response<BoxBody>> {
    Some(serve(ASSETS.iter().position(|asset| asset.name == name)?, headers))
}

fn serve(index: usize, headers: &HeaderMap) -> Response<BoxBody> {
    let (asset, tag) = (&ASSETS[index], &TAGS[index]);
    let is_known =
        headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok()).is_some_and(|known| {
            known.split(',').any(|known| known.trim().trim_start_matches("W/").as_bytes() == tag.as_bytes())
        });
    let mut answer = match is_known {
        true => empty(StatusCode::NOT_MODIFIED),
        false => whole(StatusCode::OK, asset.kind, Bytes::from_static(asset.text.as_bytes())),
    };
    answer.headers_mut().insert(header::ETAG, tag.clone());
    // Asked for each time, so that another version of the program is never mixed with this one.
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_that_has_a_file_is_not_sent_it_again() {
        let first = asset("app.js", &HeaderMap::new()).unwrap();
        let tag = first.headers()[header::ETAG].clone();
        let again = |known: &str| {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, known.parse().unwrap())]);
            asset("app.js", &headers).unwrap().status()
        };

        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(again(&format!("W/\"x\", {}", tag.to_str().unwrap())), StatusCode::NOT_MODIFIED);
        assert_eq!(again("\"another\""), StatusCode::OK);
    }

    #[test]
    fn the_page_has_no_script_and_no_style_of_its_own() {
        let html = ASSETS[0].text;

        for (at, _) in html.match_indices("<script") {
            let is_loaded = ["<script src=\"/logs/assets/", "<script type=\"module\" src=\"/logs/assets/"]
                .iter()
                .any(|begin| html[at..].starts_with(begin));
            assert!(is_loaded);
        }
        assert!(!html.contains("<style") && !html.contains("style=") && !html.contains(" on"));
    }

    #[test]
    fn no_script_writes_html() {
        for asset in ASSETS.iter().filter(|asset| asset.kind == JS) {
            for writes in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
            {
                assert!(!asset.text.contains(writes), "{}: {writes}", asset.name);
            }
        }
    }
}
