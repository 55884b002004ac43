use std::{fmt, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, ResponseFuture, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::connect::ConnectWithin;
use crate::{BoxError, Payload};

#[cfg(feature = "tls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "tls"))]
type Connector = HttpConnector;

/// A pool of connections to providers. Clones share it.
///
/// HTTP/1.1 with keep-alive, unless HTTP/2 is asked for: one HTTP/2 connection per origin holds only as
/// many streams as the provider allows, and the answers of models are long.
#[derive(Clone)]
pub struct HttpClient(Client<ConnectWithin<Connector>, Outgoing>);

/// In a box, because hyper has room for 32 requests ready at each connection.
type Outgoing = Box<Payload>;

/// Which versions of HTTP a pool speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Speaks {
    Http1,
    /// HTTP/2 where TLS agrees on it.
    Either,
    /// HTTP/2 without asking.
    Http2,
}

impl HttpClient {
    /// A pool that speaks HTTP/1.1, and gives up on a connection after `connect`.
    pub fn new(connect: Duration) -> Self {
        Self::build(connect, Speaks::Http1)
    }

    /// A pool that speaks HTTP/2 where a provider offers it over TLS, and HTTP/1.1 otherwise.
    pub fn http2(connect: Duration) -> Self {
        Self::build(connect, Speaks::Either)
    }

    /// A pool that speaks HTTP/2 to whoever it connects to, as is needed where there is no TLS.
    pub fn http2_prior_knowledge(connect: Duration) -> Self {
        Self::build(connect, Speaks::Http2)
    }

    fn build(connect: Duration, speaks: Speaks) -> Self {
        Self(pool(connect, speaks))
    }

    pub(super) fn request(&self, req: http::Request<Payload>) -> ResponseFuture {
        self.0.request(req.map(Box::new))
    }
}

/// Connections for what has to be asked besides models, such as tokens, or a gateway by its administrators.
#[derive(Clone)]
pub struct SmallClient(Client<ConnectWithin<Connector>, Full<Bytes>>);

impl SmallClient {
    /// One that gives up on a connection after `connect`.
    pub fn new(connect: Duration) -> Self {
        Self(pool(connect, Speaks::Http1))
    }

    /// A small answer that comes `within` a time.
    ///
    /// # Errors
    ///
    /// If there is no connection, no answer in time, or one of more than a mebibyte.
    pub async fn send(
        &self,
        req: http::Request<Full<Bytes>>,
        within: Duration,
    ) -> Result<http::Response<Bytes>, BoxError> {
        const MAX_ANSWER: usize = 1 << 20;
        let answer = async {
            let (parts, body) = self.0.request(req).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
            Ok(http::Response::from_parts(parts, body))
        };
        tokio::time::timeout(within, answer).await?
    }
}

impl fmt::Debug for SmallClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmallClient").finish_non_exhaustive()
    }
}

fn pool<B>(connect: Duration, speaks: Speaks) -> Client<ConnectWithin<Connector>, B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    let mut http = HttpConnector::new();
    http.set_connect_timeout(Some(connect));
    http.set_nodelay(true);
    // While a long answer is written nothing is sent, and what is in between forgets silent connections.
    http.set_keepalive(Some(Duration::from_secs(30)));
    http.enforce_http(false);
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(60))
        .http2_only(speaks == Speaks::Http2);
    // The time of `http` is that of one address; this one is for the name, all addresses and TLS.
    builder.build(ConnectWithin::new(connector(http, speaks), connect))
}

#[cfg(feature = "tls")]
fn connector(http: HttpConnector, speaks: Speaks) -> Connector {
    use std::sync::{Arc, LazyLock};

    use rustls::{ClientConfig, RootCertStore, crypto::ring};

    // The roots are read once; a provider of its own is named, so that another one in the same process
    // doesn't matter.
    static CONFIG: LazyLock<Option<ClientConfig>> = LazyLock::new(|| {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().ok()?;
        Some(builder.with_root_certificates(roots).with_no_client_auth())
    });
    let config = CONFIG.clone().expect("ring supports the default versions of TLS");
    let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
    match speaks {
        Speaks::Http1 => builder.enable_http1().wrap_connector(http),
        Speaks::Either => builder.enable_all_versions().wrap_connector(http),
        Speaks::Http2 => builder.enable_http2().wrap_connector(http),
    }
}

#[cfg(not(feature = "tls"))]
fn connector(http: HttpConnector, _: Speaks) -> Connector {
    http
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}
