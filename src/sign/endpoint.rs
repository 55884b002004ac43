//! The servers that hand out tokens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use serde::{Deserialize, de::DeserializeOwned};

use super::Token;
use crate::{Error, Kind, percent, secret::Secret, upstream::SmallClient};

/// How long such a server may take.
const WITHIN: Duration = Duration::from_secs(10);

/// How long a token is good at least, where it isn't said.
pub(super) const USUAL: Duration = Duration::from_secs(300);

/// Asks servers that hand out tokens.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    client: SmallClient,
    within: Duration,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self { client: SmallClient::new(Duration::from_secs(5)), within: WITHIN }
    }
}

impl Endpoint {
    /// For servers on the machine itself, which are there at once or not at all.
    pub(super) fn local() -> Self {
        let within = Duration::from_secs(3);
        Self { client: SmallClient::new(within), within }
    }

    pub(super) async fn get<T>(&self, url: &str, headers: &[(&str, &str)]) -> Result<T, Error>
    where
        T: DeserializeOwned,
    {
        read(self.send(Method::GET, url, headers, Bytes::new()).await?.body())
    }

    /// Asks with a header that the answer has to have too: what answers in the place of a machine's own
    /// server doesn't.
    #[cfg(feature = "vertex")]
    pub(super) async fn get_of<T>(&self, url: &str, mark: (&str, &str)) -> Result<T, Error>
    where
        T: DeserializeOwned,
    {
        let answer = self.send(Method::GET, url, &[mark], Bytes::new()).await?;
        if answer.headers().get(mark.0).is_none_or(|value| value != mark.1) {
            return Err(unknown_answer());
        }
        read(answer.body())
    }

    /// The same where the answer may be anything.
    #[cfg(feature = "vertex")]
    pub(super) async fn text(&self, url: &str, headers: &[(&str, &str)]) -> Result<Bytes, Error> {
        Ok(self.send(Method::GET, url, headers, Bytes::new()).await?.into_body())
    }

    pub(super) async fn post_form<T>(&self, url: &str, fields: &[(&str, &str)]) -> Result<T, Error>
    where
        T: DeserializeOwned,
    {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        read(self.send(Method::POST, url, &headers, percent::form(fields).into()).await?.body())
    }

    #[cfg(feature = "vertex")]
    pub(super) async fn post_json<T>(&self, url: &str, bearer: &Secret, json: String) -> Result<T, Error>
    where
        T: DeserializeOwned,
    {
        let bearer = format!("Bearer {}", bearer.expose());
        let headers = [("content-type", "application/json"), ("authorization", &bearer)];
        read(self.send(Method::POST, url, &headers, json.into()).await?.body())
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Response<Bytes>, Error> {
        let mut req = Request::new(Full::new(body));
        *req.method_mut() = method;
        *req.uri_mut() = url.parse().map_err(|error| unusable("address").with_source(error))?;
        *req.headers_mut() = written(headers)?;
        let answer = self.client.send(req, self.within).await.map_err(|error| {
            Error::new(Kind::Unreachable, "the server that hands out tokens could not be reached")
                .with_source(error)
        })?;
        match answer.status().as_u16() {
            200..300 => Ok(answer),
            429 => Err(refusal(Kind::RateLimited, answer.body())),
            400..500 => Err(refusal(Kind::UpstreamAuth, answer.body())),
            _ => Err(refusal(Kind::Upstream, answer.body())),
        }
    }
}

fn written(headers: &[(&str, &str)]) -> Result<HeaderMap, Error> {
    let mut written = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::try_from(*name).map_err(|error| unusable("header").with_source(error))?;
        let value = HeaderValue::try_from(*value).map_err(|error| unusable("header").with_source(error))?;
        written.insert(name, value);
    }
    written.entry(header::ACCEPT).or_insert(HeaderValue::from_static("application/json"));
    Ok(written)
}

fn unusable(what: &str) -> Error {
    Error::new(Kind::UpstreamAuth, format!("the {what} of the server that hands out tokens can't be used"))
}

pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|_| {
        // What serde says may quote a token.
        unknown_answer()
    })
}

fn unknown_answer() -> Error {
    Error::new(Kind::Upstream, "the server that hands out tokens answered something else")
}

/// Clients see the name of the error; its description, with names of the operator's account in it, is
/// for the operator.
fn refusal(kind: Kind, body: &[u8]) -> Error {
    #[derive(Default, Deserialize)]
    struct Refusal {
        #[serde(default)]
        error: serde_json::Value,
        #[serde(default)]
        error_description: String,
    }
    let said: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let name = said.error.as_str().or(said.error["status"].as_str()).unwrap_or_default();
    let kind = match name {
        // Google has these with a status that blames the client.
        "internal_failure" | "temporarily_unavailable" | "server_error" => Kind::Upstream,
        _ => kind,
    };
    let is_name = |name: &str| name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    let error = match name {
        "" => Error::new(kind, "the gateway got no token"),
        name if is_name(name) => Error::new(kind, format!("the gateway got no token: {name}")),
        _ => Error::new(kind, "the gateway got no token"),
    };
    error.with_source(without_tokens(&said.error_description))
}

/// What a server says, without words that are as long as tokens and secrets are: it may quote what it was
/// asked with.
fn without_tokens(text: &str) -> String {
    const LONGEST: usize = 40;
    let words = text.split(' ').map(|word| if word.len() > LONGEST { "***" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// A token as OAuth servers and the metadata services of clouds write it.
#[derive(Deserialize)]
pub(super) struct Granted {
    access_token: Secret,
    expires_in: Option<Seconds>,
    /// Since 1970, which some say instead.
    expires_on: Option<Seconds>,
}

/// A number, which some write as text.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "serde_json::Value")]
struct Seconds(u64);

impl TryFrom<serde_json::Value> for Seconds {
    type Error = &'static str;

    fn try_from(value: serde_json::Value) -> Result<Self, Self::Error> {
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        number.map(Self).ok_or("expected a number of seconds")
    }
}

impl From<Granted> for Token {
    fn from(granted: Granted) -> Self {
        // One that seems to have ended is new all the same: then the clock of this machine is wrong.
        let until = |at: Seconds| {
            let end = UNIX_EPOCH + Duration::from_secs(at.0.min(u64::from(u32::MAX)));
            end.duration_since(SystemTime::now()).unwrap_or(USUAL)
        };
        let lifetime = granted.expires_in.map(|seconds| Duration::from_secs(seconds.0));
        let lifetime = lifetime.or(granted.expires_on.map(until)).unwrap_or(USUAL);
        Self { secret: granted.access_token, lifetime }
    }
}

/// A small HTTP server for tests: it answers what `answer` makes of the text of a request.
#[cfg(test)]
pub(super) mod testing {
    use std::sync::{Arc, Mutex};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use crate::lock;

    /// Where the server is, and what it was asked. All of its answers bear the mark of Google's metadata.
    pub(in crate::sign) struct Server {
        pub(in crate::sign) url: String,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Server {
        pub(in crate::sign) async fn start(
            answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static,
        ) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let asked = Arc::<Mutex<Vec<String>>>::default();
            let seen = asked.clone();
            tokio::spawn(async move {
                while let Ok((mut socket, _)) = listener.accept().await {
                    let mut request = String::new();
                    while !is_whole(&request) {
                        let mut bytes = [0; 4096];
                        match socket.read(&mut bytes).await {
                            Ok(0) | Err(_) => break,
                            Ok(count) => request.push_str(std::str::from_utf8(&bytes[..count]).unwrap()),
                        }
                    }
                    let (status, body) = answer(&request);
                    lock(&seen).push(request);
                    let length = body.len();
                    let text = format!(
                        "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\
                         metadata-flavor: Google\r\n\r\n{body}"
                    );
                    socket.write_all(text.as_bytes()).await.unwrap();
                }
            });
            Self { url, asked }
        }

        pub(in crate::sign) fn asked(&self) -> Vec<String> {
            lock(&self.asked).clone()
        }
    }

    fn is_whole(request: &str) -> bool {
        let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        length.is_none_or(|length| body.len() >= length.parse().unwrap())
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::Server, *};

    async fn refused(status: u16, body: &'static str) -> Error {
        let server = Server::start(move |_| (status, body.to_owned())).await;
        let answer: Result<Granted, Error> = Endpoint::default().post_form(&server.url, &[]).await;
        answer.err().unwrap()
    }

    #[tokio::test]
    async fn a_refusal_is_named_and_described_to_the_operator_only() {
        let described =
            r#"{"error":"invalid_client","error_description":"AADSTS7000215: wrong secret of app 42"}"#;

        let error = refused(401, described).await;

        assert_eq!(error.kind(), Kind::UpstreamAuth);
        assert_eq!(error.message(), "the gateway got no token: invalid_client");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("AADSTS7000215"), "{source}");
        assert_eq!(refused(503, "<html>").await.kind(), Kind::Upstream);
        assert_eq!(refused(200, r#"{"token":"secret"}"#).await.kind(), Kind::Upstream);
        let google = refused(403, r#"{"error":{"code":403,"status":"PERMISSION_DENIED"}}"#).await;
        assert_eq!(google.message(), "the gateway got no token: PERMISSION_DENIED");
    }

    #[tokio::test]
    async fn a_failure_of_the_server_is_no_refusal_whatever_its_status() {
        assert_eq!(refused(400, r#"{"error":"internal_failure"}"#).await.kind(), Kind::Upstream);
        assert_eq!(refused(400, r#"{"error":"temporarily_unavailable"}"#).await.kind(), Kind::Upstream);
        assert_eq!(refused(400, r#"{"error":"invalid_grant"}"#).await.kind(), Kind::UpstreamAuth);
    }

    #[tokio::test]
    async fn a_server_that_quotes_a_token_is_not_quoted() {
        let quotes = r#"{"error":"invalid_grant","error_description":"bad token eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJzYSJ9.c2lnbmF0dXJl of app 42"}"#;

        let error = refused(400, quotes).await;

        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "bad token *** of app 42");
        assert!(!format!("{error:?}").contains("eyJ"));
    }

    #[cfg(feature = "vertex")]
    #[tokio::test]
    async fn whoever_answers_for_the_machine_has_to_know_its_mark() {
        let server = Server::start(|_| (200, r#"{"access_token":"t"}"#.to_owned())).await;
        let endpoint = Endpoint::local();

        let own: Result<Granted, Error> = endpoint.get_of(&server.url, ("metadata-flavor", "Google")).await;
        let other: Result<Granted, Error> = endpoint.get_of(&server.url, ("metadata-flavor", "Other")).await;

        assert!(own.is_ok());
        assert_eq!(other.err().unwrap().kind(), Kind::Upstream);
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_unreachable() {
        let endpoint = Endpoint::default();
        let answer: Result<Granted, Error> = endpoint.get("http://127.0.0.1:1/token", &[]).await;

        assert_eq!(answer.err().unwrap().kind(), Kind::Unreachable);
    }

    #[test]
    fn lifetimes_are_read_as_numbers_and_as_text() {
        let lifetime = |json: &str| Token::from(read::<Granted>(json.as_bytes()).unwrap()).lifetime.as_secs();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();

        assert_eq!(lifetime(r#"{"access_token":"t","expires_in":3599}"#), 3599);
        assert_eq!(lifetime(r#"{"access_token":"t","expires_in":"86399","expires_on":"1"}"#), 86399);
        assert_eq!(lifetime(r#"{"access_token":"t"}"#), 300);
        let on = lifetime(&format!(r#"{{"access_token":"t","expires_on":"{}"}}"#, now + 1000));
        assert!((990..=1000).contains(&on), "{on}");
        assert_eq!(lifetime(r#"{"access_token":"t","expires_on":"1"}"#), 300);
    }
}
