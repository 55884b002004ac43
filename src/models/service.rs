use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use tower::Service;

use super::{
    Catalog, anthropic, json, openai,
    path::{Asked, asked},
    unknown,
};
use crate::{Error, auth::Caller, future::Answering};

/// Answers which models there are; see the [module](super).
#[derive(Clone, Debug)]
pub struct Models<S> {
    pub(super) inner: S,
    pub(super) catalog: Arc<dyn Catalog>,
}

impl<S, B, R> Service<Request<B>> for Models<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<Error>,
{
    type Response = Response<Either<R, Full<Bytes>>>;
    type Error = Error;
    type Future = Answering<S::Future, Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        // Gemini generates with POST on paths that look the same.
        let is_head = req.method() == Method::HEAD;
        let question = asked(req.uri().path()).filter(|_| is_head || req.method() == Method::GET);
        let Some(question) = question else {
            return Answering::called(self.inner.call(req));
        };
        match answer(&*self.catalog, &req, &question) {
            Ok(_) if is_head => Answering::json(StatusCode::OK, Bytes::new()),
            Ok(text) => Answering::json(StatusCode::OK, text),
            Err(error) => Answering::refused(error),
        }
    }
}

fn answer<B>(catalog: &dyn Catalog, req: &Request<B>, question: &Asked<'_>) -> Result<Vec<u8>, Error> {
    let caller = Caller::of(req)?;
    let mut models = catalog.models();
    models.retain(|id| caller.may_use(id));
    let for_anthropic = req.headers().contains_key("anthropic-version");
    match question {
        Asked::List if for_anthropic => json(&anthropic::list(&models, req.uri().query().unwrap_or(""))?),
        Asked::List => json(&openai::list(&models)),
        Asked::One(id) => {
            let id = models.iter().find(|model| ***model == **id).ok_or_else(|| unknown(id))?;
            if for_anthropic { json(&anthropic::Model::new(id)) } else { json(&openai::Model::new(id)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::{
        Kind,
        access::Pattern,
        auth::VirtualKey,
        models::ModelsLayer,
        testing::{MustBeReady, Script, Step, is_shared},
    };

    #[derive(Debug)]
    struct Three;

    impl Catalog for Three {
        fn models(&self) -> Vec<Arc<str>> {
            ["chat", "openai/gpt-4o", "demo/secret"].map(Into::into).into()
        }
    }

    fn ask(method: Method, path: &str) -> Request<()> {
        let key = VirtualKey::new("a").allow([Pattern::new("chat"), Pattern::new("openai/*")]);
        let req = Request::builder().method(method).uri(path).extension(Caller::new(key));
        req.body(()).unwrap()
    }

    async fn text(req: Request<()>) -> Result<String, Error> {
        let inner = async |_: Request<()>| Ok::<_, Error>(Response::new(Script::new([Step::Data("inner")])));
        let service = ModelsLayer::new(Arc::new(Three)).layer(MustBeReady::new(inner));
        is_shared(&service);
        let body = service.oneshot(req).await?.into_body().collect().await.unwrap();
        Ok(String::from_utf8(body.to_bytes().into()).unwrap())
    }

    fn for_anthropic(mut req: Request<()>) -> Request<()> {
        req.headers_mut().insert("anthropic-version", "2023-06-01".parse().unwrap());
        req
    }

    const CHAT: &str = r#"{"id":"chat","object":"model","created":0,"owned_by":"bartizan"}"#;
    const GPT: &str = r#"{"id":"openai/gpt-4o","object":"model","created":0,"owned_by":"openai"}"#;
    const CLAUDE_CHAT: &str =
        r#"{"type":"model","id":"chat","display_name":"chat","created_at":"1970-01-01T00:00:00Z"}"#;

    #[tokio::test]
    async fn the_list_has_only_what_the_key_may_use() {
        let list = text(ask(Method::GET, "/v1/models")).await.unwrap();
        let page = text(for_anthropic(ask(Method::GET, "/v1/models?limit=1"))).await.unwrap();

        assert_eq!(list, format!(r#"{{"object":"list","data":[{CHAT},{GPT}]}}"#));
        assert_eq!(
            page,
            format!(r#"{{"data":[{CLAUDE_CHAT}],"first_id":"chat","last_id":"chat","has_more":true}}"#)
        );
    }

    #[tokio::test]
    async fn one_model_is_found_by_its_id() {
        assert_eq!(text(ask(Method::GET, "/v1/models/openai/gpt-4o")).await.unwrap(), GPT);
        assert_eq!(text(ask(Method::GET, "/models/openai%2Fgpt-4o")).await.unwrap(), GPT);
        assert_eq!(text(for_anthropic(ask(Method::GET, "/v1/models/chat"))).await.unwrap(), CLAUDE_CHAT);
    }

    #[tokio::test]
    async fn a_model_that_may_not_be_used_looks_like_none() {
        for id in ["demo/secret", "nothing"] {
            let error = text(ask(Method::GET, &format!("/v1/models/{id}"))).await.unwrap_err();

            let message = format!("the model `{id}` does not exist, or this key may not use it");
            assert_eq!((error.kind(), error.message()), (Kind::NoRoute, &*message));
        }
    }

    #[tokio::test]
    async fn other_methods_and_paths_go_inwards() {
        for req in [
            ask(Method::POST, "/v1/models/gemini-pro:generateContent"),
            ask(Method::DELETE, "/v1/models/chat"),
            ask(Method::GET, "/v1/messages"),
        ] {
            assert_eq!(text(req).await.unwrap(), "inner");
        }
    }

    #[tokio::test]
    async fn head_is_answered_without_a_body() {
        assert_eq!(text(ask(Method::HEAD, "/v1/models")).await.unwrap(), "");
    }

    #[tokio::test]
    async fn without_a_caller_only_other_paths_are_served() {
        let anonymous = |path| Request::get(path).body(()).unwrap();

        assert_eq!(text(anonymous("/v1/models")).await.unwrap_err().kind(), Kind::Unauthenticated);
        assert_eq!(text(anonymous("/v1/messages")).await.unwrap(), "inner");
    }
}
