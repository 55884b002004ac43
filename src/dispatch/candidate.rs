use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use tower::{Service, ServiceExt};

use crate::{BoxBody, BoxError, BoxFuture, Error, Payload, Target, headers, payload::ModelName};

/// One target behind its own stack of layers.
#[derive(Clone)]
pub struct Candidate {
    target: Arc<Target>,
    model: ModelName,
    provider_header: HeaderValue,
    model_header: HeaderValue,
    stack: Arc<dyn Call>,
}

/// A service with its type forgotten; calling it costs one allocation.
trait Call: Send + Sync {
    fn call(&self, req: Request<Payload>) -> BoxFuture<'static, Result<Response<BoxBody>, Error>>;
}

impl Candidate {
    /// Any service can answer for a target. Overload has to be an error of it, never a wait.
    pub fn new<S, R>(target: Arc<Target>, service: S) -> Self
    where
        S: Service<Request<Payload>, Response = Response<R>> + Clone + Send + Sync + 'static,
        S::Error: Into<Error>,
        S::Future: Send + 'static,
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let header = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("?"));
        Self {
            model: ModelName::new(target.model()),
            provider_header: header(target.provider()),
            model_header: header(target.model()),
            target,
            stack: Arc::new(Stack(service)),
        }
    }

    /// Sets the name by which the provider is asked, where the target has another one.
    #[must_use]
    pub fn asked_for(self, model: &str) -> Self {
        Self { model: ModelName::new(model), ..self }
    }

    /// Who answers.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Asks the target, under its name for the model.
    pub(super) fn call(&self, req: Request<Payload>) -> BoxFuture<'static, Result<Response<BoxBody>, Error>> {
        self.stack.call(req.map(|payload| payload.for_model(&self.model)))
    }

    /// Says in an answer who gave it.
    pub(super) fn sign(&self, res: &mut Response<BoxBody>) {
        let headers = res.headers_mut();
        headers.insert(headers::PROVIDER, self.provider_header.clone());
        headers.insert(headers::MODEL, self.model_header.clone());
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Candidate").field(&self.target.name()).finish()
    }
}

struct Stack<S>(S);

impl<S, R> Call for Stack<S>
where
    S: Service<Request<Payload>, Response = Response<R>> + Clone + Send + Sync + 'static,
    S::Error: Into<Error>,
    S::Future: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    fn call(&self, req: Request<Payload>) -> BoxFuture<'static, Result<Response<BoxBody>, Error>> {
        let call = self.0.clone().oneshot(req);
        Box::pin(async move {
            match call.await {
                Ok(res) => Ok(res.map(|body| body.map_err(Into::into).boxed_unsync())),
                Err(error) => Err(error.into()),
            }
        })
    }
}
