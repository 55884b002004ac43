//! Signatures of AWS, version 4: [`SigV4`].

use std::{env, fmt, time::SystemTime};

use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use ring::hmac;
use sha2::{Digest, Sha256};

use super::Authorize;
use crate::{BoxFuture, Error, Kind, Payload, percent, secret::Secret, upstream::Address};

/// The only headers that are signed; the others may change on the way.
const SIGNED: [&str; 4] = ["content-type", "host", DATE, TOKEN];

const DATE: &str = "x-amz-date";
const TOKEN: &str = "x-amz-security-token";

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The keys of an account or a role at AWS.
#[derive(Clone, Debug)]
pub struct AwsKeys {
    id: String,
    secret: Secret,
    session: Option<Secret>,
}

impl AwsKeys {
    /// An access key by its id, and its secret.
    pub fn new(id: impl Into<String>, secret: Secret) -> Self {
        Self { id: id.into(), secret, session: None }
    }

    /// Sets the token that belongs to keys which end with a session.
    #[must_use]
    pub fn session(self, token: Option<Secret>) -> Self {
        Self { session: token, ..self }
    }

    /// The keys in `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    pub fn from_environment() -> Option<Self> {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let secret = Secret::new(variable("AWS_SECRET_ACCESS_KEY")?);
        let keys = Self::new(variable("AWS_ACCESS_KEY_ID")?, secret);
        Some(keys.session(variable("AWS_SESSION_TOKEN").map(Secret::new)))
    }
}

/// Signs every request, its address and its body, with the keys of AWS.
#[derive(Clone)]
pub struct SigV4 {
    address: Address,
    region: String,
    service: &'static str,
    keys: AwsKeys,
    clock: fn() -> SystemTime,
}

impl SigV4 {
    /// Signs requests for Bedrock in `region`, such as `us-east-1`. The `address` has to be the one to
    /// which they are sent.
    pub fn bedrock(address: Address, region: impl Into<String>, keys: AwsKeys) -> Self {
        Self { address, region: region.into(), service: "bedrock", keys, clock: SystemTime::now }
    }

    /// The headers that prove who asks, `authorization` and those that it signs.
    fn headers(&self, uri: &Uri, req: &Request<Payload>) -> Result<HeaderMap, Error> {
        let unusable = |error| {
            Error::new(Kind::UpstreamAuth, "the keys of aws can't be sent in a header").with_source(error)
        };
        let time = timestamp((self.clock)());
        let mut signed = HeaderMap::new();
        let content_type = req.headers().get(header::CONTENT_TYPE);
        signed.extend(content_type.map(|value| (header::CONTENT_TYPE, value.clone())));
        signed.insert(header::HOST, HeaderValue::try_from(host(uri)).map_err(unusable)?);
        signed.insert(DATE, HeaderValue::try_from(&*time).map_err(unusable)?);
        if let Some(token) = &self.keys.session {
            let mut value = HeaderValue::try_from(token.expose()).map_err(unusable)?;
            value.set_sensitive(true);
            signed.insert(TOKEN, value);
        }
        let names: Vec<&str> = SIGNED.into_iter().filter(|name| signed.contains_key(*name)).collect();
        let canonical = canonical(uri, &signed, &names, &body_hash(req.body()));
        let scope = format!("{}/{}/{}/aws4_request", &time[..8], self.region, self.service);
        let text = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let signature = hex(hmac::sign(&self.key(&time[..8]), text.as_bytes()).as_ref());
        let names = names.join(";");
        let id = &self.keys.id;
        let proof =
            format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
        let mut proof = HeaderValue::try_from(proof).map_err(unusable)?;
        proof.set_sensitive(true);
        signed.insert(header::AUTHORIZATION, proof);
        // The connection writes it, from the same address.
        signed.remove(header::HOST);
        Ok(signed)
    }

    /// The key of one day.
    fn key(&self, day: &str) -> hmac::Key {
        let new = |bytes: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let first = new(format!("AWS4{}", self.keys.secret.expose()).as_bytes());
        [day, &self.region, self.service, "aws4_request"]
            .iter()
            .fold(first, |key, part| new(hmac::sign(&key, part.as_bytes()).as_ref()))
    }
}

impl Authorize for SigV4 {
    fn authorize<'a>(&'a self, req: &'a mut Request<Payload>) -> BoxFuture<'a, Result<(), Error>> {
        let headers = self.address.of(req.body()).and_then(|uri| self.headers(&uri, req));
        Box::pin(async move {
            for (name, value) in headers? {
                if let Some(name) = name {
                    req.headers_mut().insert(name, value);
                }
            }
            Ok(())
        })
    }

    fn secrets(&self) -> Vec<Secret> {
        [Some(&self.keys.secret), self.keys.session.as_ref()].into_iter().flatten().cloned().collect()
    }
}

impl fmt::Debug for SigV4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigV4")
            .field("address", &self.address)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// `20260115T120000Z`.
fn timestamp(now: SystemTime) -> String {
    let now = jiff::Timestamp::try_from(now).unwrap_or_default();
    let whole =
        now.round(jiff::TimestampRound::new().smallest(jiff::Unit::Second).mode(jiff::RoundMode::Trunc));
    whole.unwrap_or(now).to_string().replace(['-', ':'], "")
}

/// The header that the connection will write: the port is left out where it is the usual one.
fn host(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    match (uri.port_u16(), uri.scheme_str()) {
        (None, _) | (Some(80), Some("http")) | (Some(443), Some("https")) => host.to_owned(),
        (Some(port), _) => format!("{host}:{port}"),
    }
}

/// The request in the form over which it is signed.
fn canonical(uri: &Uri, headers: &HeaderMap, names: &[&str], body: &str) -> String {
    // What has been encoded for the wire is encoded once more.
    let path: Vec<String> = uri.path().split('/').map(percent::encoded).collect();
    let mut query: Vec<&str> = uri.query().map(|query| query.split('&').collect()).unwrap_or_default();
    query.sort_unstable();
    let mut text = format!("{}\n{}\n{}\n", Method::POST, path.join("/"), query.join("&"));
    for name in names {
        let value = headers.get(*name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let value: Vec<&str> = value.split_whitespace().collect();
        text.push_str(&format!("{name}:{}\n", value.join(" ")));
    }
    text.push_str(&format!("\n{}\n{body}", names.join(";")));
    text
}

fn body_hash(payload: &Payload) -> String {
    let hash = payload.chunks().fold(Sha256::new(), |hash, chunk| hash.chain_update(chunk));
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Exchange, dialect::OPENAI_CHAT, payload::Head};

    /// Checked against the reference signer of AWS.
    const BODY: &str = r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#;
    const URL: &str = "https://bedrock-runtime.us-east-1.amazonaws.com/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse";
    const CANONICAL: &str = "00a24653b659b47d849a80a2b15d602a43a9eea0ed0dd51992d7589fc1336a3b";
    const KEY: &str = "61dbb1faa6f55b130699b28cdab1ec8b5ae1f3cf97e5c05fc56c3e887ba13586";
    const SIGNATURE: &str = "5c70ea02fc361e28b6667c5528b4a2b2c78786919369b470114f3524e716cc2d";
    const SIGNATURE_OF_A_SESSION: &str = "47ee6e8d24b0ac44858ba6a019937edd0950840e26c579112f9eaddffe44f4ea";

    /// 2026-01-15T12:00:00Z, and a bit.
    fn noon() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_768_478_400_900)
    }

    fn signer(session: Option<&str>) -> SigV4 {
        let keys = AwsKeys::new("AKIDEXAMPLE", Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"));
        let keys = keys.session(session.map(Secret::new));
        let address = Address::new("https://bedrock-runtime.us-east-1.amazonaws.com").unwrap();
        SigV4 { clock: noon, ..SigV4::bedrock(address, "us-east-1", keys) }
    }

    fn request(body: &'static str) -> Request<Payload> {
        let payload = Payload::new(&OPENAI_CHAT, Head::default(), body.into(), Exchange::default());
        let mut req = Request::new(payload);
        req.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        req.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("bartizan"));
        req
    }

    fn signed(session: Option<&str>, req: &Request<Payload>) -> HeaderMap {
        signer(session).headers(&URL.parse().unwrap(), req).unwrap()
    }

    #[test]
    fn the_signature_is_that_of_the_reference() {
        let headers = signed(None, &request(BODY));

        assert_eq!(headers[DATE], "20260115T120000Z");
        assert_eq!(
            headers["authorization"],
            format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260115/us-east-1/bedrock/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date, Signature={SIGNATURE}"
            )
        );
        assert!(headers["authorization"].is_sensitive());
        let of_session = signed(Some("SESSIONTOKEN"), &request(BODY));
        assert_eq!(of_session[TOKEN], "SESSIONTOKEN");
        assert!(of_session["authorization"].to_str().unwrap().ends_with(SIGNATURE_OF_A_SESSION));
    }

    #[test]
    fn the_steps_to_it_are_those_of_the_reference() {
        let uri: Uri = URL.parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::HOST, HeaderValue::try_from(host(&uri)).unwrap());
        headers.insert(DATE, HeaderValue::from_static("20260115T120000Z"));
        let names = ["content-type", "host", DATE];

        let text = canonical(&uri, &headers, &names, &body_hash(request(BODY).body()));
        let signer = signer(None);

        assert_eq!(hex(&Sha256::digest(text)), CANONICAL);
        // A key can't be looked at, but what it signs can be compared.
        let bytes: Vec<u8> =
            (0..64).step_by(2).map(|at| u8::from_str_radix(&KEY[at..at + 2], 16).unwrap()).collect();
        let known = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        assert_eq!(hmac::sign(&signer.key("20260115"), b"x").as_ref(), hmac::sign(&known, b"x").as_ref());
    }

    #[test]
    fn what_is_signed_is_the_body_with_its_edits() {
        let at = BODY.find("hi").unwrap();
        let edited = request(BODY.replace("hi", "it").leak()).map(|payload| payload.edited(at..at + 2, "hi"));

        let headers = signed(None, &edited);

        assert!(headers["authorization"].to_str().unwrap().ends_with(SIGNATURE));
    }

    #[tokio::test]
    async fn a_request_is_signed_for_the_address_to_which_it_goes() {
        let mut req = request(BODY);
        let signer = signer(Some("SESSIONTOKEN"));

        signer.authorize(&mut req).await.unwrap();

        let uri = signer.address.of(req.body()).unwrap();
        assert_eq!(uri.path(), "/chat/completions");
        assert_eq!(req.headers()["authorization"], signer.headers(&uri, &req).unwrap()["authorization"]);
        assert!(!req.headers().contains_key("host"));
        assert!(!format!("{signer:?}").contains("SESSIONTOKEN"));
        assert_eq!(signer.secrets().len(), 2);
    }

    #[test]
    fn a_port_is_named_unless_it_is_the_usual_one() {
        let of = |url: &str| host(&url.parse().unwrap());

        assert_eq!(of("https://a.b/"), "a.b");
        assert_eq!(of("https://a.b:443/"), "a.b");
        assert_eq!(of("http://127.0.0.1:9000/"), "127.0.0.1:9000");
    }
}
