use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::{
    Logs, Measures, Providers, Spans,
    attributes::Attributes,
    collector::Collector,
    names::{SERVICE, SERVICE_VERSION},
};
use crate::{metrics::Names, secret::Secret};

/// How often measurements are sent.
const INTERVAL: Duration = Duration::from_secs(60);

/// Where OpenTelemetry has its collector, and what it is told.
#[derive(Clone, Debug)]
pub struct OtelOptions {
    base: Box<str>,
    headers: HeaderMap,
    service: Box<str>,
    providers: Providers,
    names: Names,
    content: bool,
    interval: Duration,
}

impl OtelOptions {
    /// The collector at `endpoint`, such as `http://127.0.0.1:4318`: `/v1/traces` and the like are put behind it.
    ///
    /// # Errors
    ///
    /// If it is not an address of `http` or `https`, or has a user.
    pub fn new(endpoint: &str) -> Result<Self, &'static str> {
        const FORM: &str = "expected an address such as http://127.0.0.1:4318";
        let uri: Uri = endpoint.parse().map_err(|_| FORM)?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        if !is_http || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err(FORM);
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("has a user, who wouldn't be sent; say it in a header, such as `authorization`");
        }
        Ok(Self {
            base: endpoint.trim_end_matches('/').into(),
            headers: HeaderMap::new(),
            service: env!("CARGO_PKG_NAME").into(),
            providers: Providers::default(),
            names: Names::default(),
            content: false,
            interval: INTERVAL,
        })
    }

    /// Adds a header that the collector wants, such as a key.
    ///
    /// # Errors
    ///
    /// If it has characters that a header can't have.
    pub fn header(mut self, name: &str, value: &Secret) -> Result<Self, &'static str> {
        const FORM: &str = "has characters that a header can't have";
        let name = HeaderName::try_from(name).map_err(|_| FORM)?;
        let mut value = HeaderValue::try_from(value.expose()).map_err(|_| FORM)?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Sets the name of the gateway: `bartizan`, if this isn't called.
    #[must_use]
    pub fn service(self, name: &str) -> Self {
        Self { service: name.into(), ..self }
    }

    /// Sets who the providers are.
    #[must_use]
    pub fn providers(self, providers: Providers) -> Self {
        Self { providers, ..self }
    }

    /// Sets which targets measurements are made of by name: none, if this isn't called, so that only their providers are
    /// told apart.
    #[must_use]
    pub fn names(self, names: Names) -> Self {
        Self { names, ..self }
    }

    /// Sets whether spans have what was asked and answered, where the key of a request allows it.
    #[must_use]
    pub fn content(self, content: bool) -> Self {
        Self { content, ..self }
    }

    /// Sets how often measurements are sent: every minute, if this isn't called.
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Keeps records as traces.
    pub fn spans(&self) -> Spans {
        Spans::new(self.collector(), self.providers.clone(), self.content)
    }

    /// Keeps records as lines of a log.
    pub fn logs(&self) -> Logs {
        Logs::new(self.collector())
    }

    /// Keeps what records sum up to.
    pub fn measures(&self) -> Measures {
        Measures::new(self.collector(), self.providers.clone(), self.names.clone(), self.interval)
    }

    fn collector(&self) -> Collector {
        let mut attributes = Attributes::default();
        attributes.text(SERVICE, &*self.service);
        attributes.text(SERVICE_VERSION, env!("CARGO_PKG_VERSION"));
        let resource = Resource { attributes: attributes.into_inner(), ..Resource::default() };
        Collector::new(&self.base, self.headers.clone(), resource)
    }
}
