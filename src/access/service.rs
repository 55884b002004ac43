use std::task::{Context, Poll};

use http::Request;
use tower::Service;

use crate::{Error, Ingested, Kind, auth::Caller, future::Admission};

/// Refuses models that the caller may not use; see the [module](super).
#[derive(Clone, Debug)]
pub struct Access<S> {
    pub(super) inner: S,
}

impl<S, B> Service<Request<B>> for Access<S>
where
    S: Service<Request<B>>,
    S::Error: Into<Error>,
    B: Ingested,
{
    type Response = S::Response;
    type Error = Error;
    type Future = Admission<S::Future, S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        match permit(&req) {
            Ok(()) => Admission::called(self.inner.call(req)),
            Err(error) => Admission::refused(error),
        }
    }
}

fn permit<B: Ingested>(req: &Request<B>) -> Result<(), Error> {
    let model = req.body().payload().model();
    if Caller::of(req)?.may_use(model) {
        return Ok(());
    }
    let message = format!("this key may not use the model `{model}`");
    Err(Error::new(Kind::Forbidden, message).with_param("model"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::{
        Payload,
        access::{AccessLayer, Pattern},
        auth::VirtualKey,
        testing::{MustBeReady, ask, is_shared},
    };

    async fn outcome(model: &str, key: Option<VirtualKey>) -> Result<(), Error> {
        let inner = MustBeReady::new(async |_: Request<Payload>| Ok::<_, Infallible>(()));
        let service = AccessLayer::new().layer(inner);
        is_shared(&service);
        service.oneshot(ask(model, key)).await
    }

    #[tokio::test]
    async fn a_key_may_use_what_its_patterns_name() {
        let key = VirtualKey::new("a").allow([Pattern::new("chat"), Pattern::new("openai/*")]);

        assert!(outcome("chat", Some(key.clone())).await.is_ok());
        assert!(outcome("openai/gpt-4o", Some(key.clone())).await.is_ok());

        let error = outcome("chats", Some(key)).await.unwrap_err();
        assert_eq!((error.kind(), error.param()), (Kind::Forbidden, Some("model")));
        assert_eq!(error.message(), "this key may not use the model `chats`");
    }

    #[tokio::test]
    async fn no_patterns_are_all_models_and_an_empty_list_is_none() {
        assert!(outcome("chat", Some(VirtualKey::new("a"))).await.is_ok());
        assert!(outcome("chat", Some(VirtualKey::new("a").allow([]))).await.is_err());
    }

    #[tokio::test]
    async fn without_a_caller_no_model_may_be_used() {
        assert_eq!(outcome("chat", None).await.unwrap_err().kind(), Kind::Unauthenticated);
    }
}
