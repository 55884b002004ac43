use std::{env, time::Duration};

use bartizan::upstream::SmallClient;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;

/// How long a connection and an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Speaks to the administrators' API of a proxy that runs.
pub struct Client {
    url: String,
    key: String,
    http: SmallClient,
}

impl Client {
    pub fn new(url: &str) -> Result<Self, String> {
        let key = env::var("BARTIZAN_ADMIN_KEY").ok().filter(|key| !key.is_empty()).ok_or(
            "BARTIZAN_ADMIN_KEY is not set; it is what the proxy's configuration has in `admin: { key: … }`",
        )?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), key, http: SmallClient::new(PATIENCE) })
    }

    /// What the proxy answers, or what the user is to do about it.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, String> {
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let req = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .header("user-agent", "bartizan-command-line")
            .body(Full::new(body))
            .map_err(|_| format!("--url {}: is not an address such as http://127.0.0.1:8080", self.url))?;
        let answer = self.http.send(req, PATIENCE).await;
        let answer = answer.map_err(|_| {
            format!("there is no answer from {}; is the proxy running? --url says where it is", self.url)
        })?;
        let value: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        if answer.status().is_success() {
            return Ok(value);
        }
        let message = value["error"]["message"].as_str().unwrap_or("no message");
        Err(match answer.status() {
            StatusCode::UNAUTHORIZED => {
                format!("{message}; BARTIZAN_ADMIN_KEY has to be `admin.key` of that proxy's configuration")
            }
            StatusCode::NOT_FOUND if message == "there is no such endpoint" => {
                "the proxy has no administrators; add `admin: { key: … }` to its configuration".to_owned()
            }
            _ => message.to_owned(),
        })
    }
}

/// A text as one step of a path, or a value behind its `?`.
pub fn escaped(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
