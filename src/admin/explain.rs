use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{entry::unknown, layer::Office};
use crate::{
    Error, Kind, Payload,
    auth::{Caller, VirtualKey},
    dialect::Dialects,
    directory::Section,
    dispatch::Dispatch,
    labels::Labels,
};

/// A request that is to be explained.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The name of the key that would be presented, whose budgets count as they stand; one that may do everything and has
    /// used nothing if there is none.
    key: Option<String>,
    /// Where it would be sent: `/v1/chat/completions` if that isn't said.
    path: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    body: Box<RawValue>,
}

impl Office {
    /// Where a request would go, and why.
    pub(super) async fn explain(&self, body: &[u8]) -> Result<Value, Error> {
        let Some(dispatch) = &self.dispatch else {
            return Err(Error::new(Kind::NotFound, "this gateway can't explain where requests go"));
        };
        let asked: Asked = serde_json::from_slice(body).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            let message =
                format!("expected `key`, `path`, `headers` and the `body` of a request, at {place}");
            Error::new(Kind::InvalidRequest, message)
        })?;
        let req = self.request(asked)?;
        explained(dispatch, &self.ledger, req).await
    }

    fn request(&self, asked: Asked) -> Result<Request<Payload>, Error> {
        let wrong =
            |what: &str| Error::new(Kind::InvalidRequest, format!("{what}: can't be used")).with_param(what);
        let path = asked.path.as_deref().unwrap_or("/v1/chat/completions");
        let mut req = Request::post(path).body(()).map_err(|_| wrong("path"))?;
        for (name, value) in &asked.headers {
            let name = HeaderName::try_from(name.as_str()).map_err(|_| wrong("headers"))?;
            req.headers_mut().insert(name, HeaderValue::try_from(value).map_err(|_| wrong("headers"))?);
        }
        let config = self.settings.config();
        let key = match &asked.key {
            Some(name) => {
                let keys = config.virtual_keys();
                let found = keys.into_iter().map(|(_, key)| key).find(|key| *key.name == **name);
                found.ok_or_else(|| unknown(Section::Keys, name))?
            }
            None => VirtualKey::new("explain"),
        };
        let exchange = crate::Exchange::open(&mut req);
        let (mut parts, ()) = req.into_parts();
        let dialect = Dialects::default().detect(&parts)?;
        let text = asked.body.get();
        let most = config.server.max_body.bytes();
        if text.len() > most {
            let message = format!("the request's body is larger than {most} bytes");
            return Err(Error::new(Kind::TooLarge, message).with_param("body"));
        }
        let head = dialect.peek(&parts, text)?;
        let payload = Payload::new(dialect, head, Bytes::copy_from_slice(text.as_bytes()), exchange.clone());
        let labels = Labels::read(&parts.headers, &payload)?;
        // Conditions ask for the budgets of users, sessions and tags as well.
        let scopes = config.label_rules().scopes(key.customer.as_deref(), &labels);
        parts.extensions.insert(Caller::new(key).charged(scopes));
        exchange.learn(|learnt| learnt.labels = labels);
        Ok(Request::from_parts(parts, payload))
    }
}

async fn explained(
    dispatch: &Dispatch,
    ledger: &Arc<dyn crate::ledger::Ledger>,
    req: Request<Payload>,
) -> Result<Value, Error> {
    let told = dispatch.explain(Some(ledger), req).await?;
    serde_json::to_value(told)
        .map_err(|error| Error::new(Kind::Internal, "the explanation can't be written").with_source(error))
}
