use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;

use super::Part;
use crate::{BoxError, percent, upstream::SmallClient};

/// What a server that has refused something says about it, as a number.
const CODE: &str = "x-clickhouse-exception-code";

/// Sends statements.
#[derive(Clone)]
pub(super) struct Server {
    client: SmallClient,
    base: Box<str>,
    headers: HeaderMap,
    timeout: Duration,
}

impl Server {
    pub(super) fn new(base: &str, headers: HeaderMap, timeout: Duration) -> Self {
        Self { client: SmallClient::new(timeout), base: base.into(), headers, timeout }
    }

    /// What a statement that has nothing of records in it gives.
    pub(super) async fn ask(&self, statement: &str) -> Result<String, BoxError> {
        let answer = self.send(String::new(), Bytes::from(statement.to_owned())).await?;
        let text = String::from_utf8_lossy(answer.body());
        match answer.status().is_success() {
            true => Ok(text.trim().to_owned()),
            false => Err(format!("{}: {}", refusal(&answer), text.trim()).into()),
        }
    }

    /// Inserts a part, or leaves it if it is there already.
    pub(super) async fn insert(&self, statement: &str, part: Part) -> Result<(), BoxError> {
        if part.is_empty() {
            return Ok(());
        }
        let (token, lines) = part.finish();
        let query = [
            ("query", statement),
            ("insert_deduplicate", "1"),
            ("insert_deduplication_token", &token),
            // What is answered has been written.
            ("async_insert", "0"),
            // A table of one's own need not have all columns.
            ("input_format_skip_unknown_fields", "1"),
        ];
        let query = query.map(|(name, value)| format!("{name}={}", percent::encoded(value))).join("&");
        let answer = self.send(format!("?{query}"), lines).await?;
        // What is said about it may repeat what was sent.
        if answer.status().is_success() { Ok(()) } else { Err(refusal(&answer).into()) }
    }

    async fn send(&self, query: String, body: Bytes) -> Result<Response<Bytes>, BoxError> {
        let mut req = Request::post(format!("{}/{query}", self.base)).body(Full::new(body))?;
        *req.headers_mut() = self.headers.clone();
        self.client.send(req, self.timeout).await
    }
}

fn refusal(answer: &Response<Bytes>) -> String {
    let code = answer.headers().get(CODE).and_then(|code| code.to_str().ok()).unwrap_or("none");
    format!("clickhouse answers {}, code {code}", answer.status())
}

/// Without the password.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("base", &self.base).finish_non_exhaustive()
    }
}
