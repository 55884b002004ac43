use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use http_body_util::Full;
use opentelemetry_proto::tonic::{common::v1::InstrumentationScope, resource::v1::Resource};
use prost::Message;

use crate::{BoxError, upstream::SmallClient};

/// The version of the semantic conventions that [names](super::names) are of.
pub(super) const SCHEMA: &str = "https://opentelemetry.io/schemas/1.41.0";
/// How long a connection, and an answer, may take.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);

/// Where everything is sent.
#[derive(Clone)]
pub(super) struct Collector {
    client: SmallClient,
    base: Box<str>,
    headers: HeaderMap,
    resource: Resource,
}

impl Collector {
    pub(super) fn new(base: &str, headers: HeaderMap, resource: Resource) -> Self {
        Self { client: SmallClient::new(CONNECT), base: base.into(), headers, resource }
    }

    /// Who everything is of.
    pub(super) fn resource(&self) -> Option<Resource> {
        Some(self.resource.clone())
    }

    /// Sends one message about `traces`, `metrics` or `logs`.
    pub(super) async fn send(&self, signal: &str, message: &impl Message) -> Result<(), BoxError> {
        let uri: Uri = format!("{}/v1/{signal}", self.base).parse()?;
        let mut req = Request::post(uri).body(Full::new(Bytes::from(message.encode_to_vec())))?;
        *req.headers_mut() = self.headers.clone();
        let form = HeaderValue::from_static("application/x-protobuf");
        req.headers_mut().insert(header::CONTENT_TYPE, form);
        // What a collector answers may repeat what it was sent.
        match self.client.send(req, ANSWER).await?.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("the collector answers {status}").into()),
        }
    }
}

/// Who makes all of it.
pub(super) fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    })
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}
