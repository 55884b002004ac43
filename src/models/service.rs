use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use tower::Service;

use super::{
    Catalog, anthropic, gemini, json, openai,
    path::{Asked, asked},
    unknown,
};
use crate::{
    Error,
    auth::{Caller, Presented},
    dialect::prefix::Vendor,
    future::Answering,
};

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
        let is_head = req.method() == Method::HEAD;
        let (question, vendor) = match asked(req.uri().path()) {
            Some(asked) if is_head || req.method() == Method::GET => asked,
            Some((asked, _)) if !may_be_called(&asked) => {
                return Answering::refused(Error::other_method(&[Method::GET, Method::HEAD]));
            }
            _ => return Answering::called(self.inner.call(req)),
        };
        match answer(&*self.catalog, &req, &question, vendor) {
            Ok(_) if is_head => Answering::json(StatusCode::OK, Bytes::new()),
            Ok(text) => Answering::json(StatusCode::OK, text),
            Err(error) => Answering::refused(error),
        }
    }
}

/// Whether a path that looks like a model's may be one of its methods, such as `m:generateContent`.
fn may_be_called(asked: &Asked<'_>) -> bool {
    matches!(asked, Asked::One(id) if id.contains(':'))
}

/// The vendor whose form the sender of a request expects, if nothing in the path says so.
fn by_headers<B>(req: &Request<B>) -> Vendor {
    if req.headers().contains_key("anthropic-version") {
        return Vendor::Anthropic;
    }
    // Auth has taken the key out of the headers, and has noted which one it was.
    let noted = req.extensions().get().copied();
    noted
        .or_else(|| Presented::of(req.headers(), req.uri()))
        .map_or(Vendor::OpenAi, |Presented(vendor)| vendor)
}

fn answer<B>(
    catalog: &dyn Catalog,
    req: &Request<B>,
    question: &Asked<'_>,
    vendor: Option<Vendor>,
) -> Result<Vec<u8>, Error> {
    let caller = Caller::of(req)?;
    let mut models = catalog.models();
    models.retain(|id| caller.may_use(id));
    let query = req.uri().query().unwrap_or("");
    let vendor = vendor.unwrap_or_else(|| by_headers(req));
    let Asked::One(id) = question else {
        return match vendor {
            Vendor::OpenAi => json(&openai::list(&models)),
            Vendor::Anthropic => json(&anthropic::list(&models, query)?),
            Vendor::Google => json(&gemini::list(&models, query)?),
        };
    };
    let id = models.iter().find(|model| ***model == **id).ok_or_else(|| unknown(id))?;
    match vendor {
        Vendor::OpenAi => json(&openai::Model::new(id)),
        Vendor::Anthropic => json(&anthropic::Model::new(id)),
        Vendor::Google => json(&gemini::Model::new(id)),
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
        auth::{AuthLayer, KeyDigest, MemoryKeys, VirtualKey},
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
    async fn methods_of_models_and_other_paths_go_inwards() {
        for req in
            [ask(Method::POST, "/v1/models/gemini-pro:generateContent"), ask(Method::GET, "/v1/messages")]
        {
            assert_eq!(text(req).await.unwrap(), "inner");
        }
    }

    #[tokio::test]
    async fn models_can_only_be_read() {
        for (method, path) in [
            (Method::POST, "/v1/models"),
            (Method::POST, "/v1beta/models/"),
            (Method::DELETE, "/v1/models/chat"),
        ] {
            let error = text(ask(method, path)).await.unwrap_err();
            assert_eq!((error.kind(), error.allow()), (Kind::MethodNotAllowed, Some("GET, HEAD")), "{path}");
        }
    }

    #[tokio::test]
    async fn the_prefix_goes_before_the_headers() {
        let of_google = |text: &str| text.contains(r#""name":"models/chat""#);
        let mut with_key = ask(Method::GET, "/v1/models/chat");
        with_key.headers_mut().insert("x-goog-api-key", "vk".parse().unwrap());

        assert!(of_google(&text(ask(Method::GET, "/v1beta/models")).await.unwrap()));
        assert!(of_google(&text(ask(Method::GET, "/genai/v1beta/models/chat")).await.unwrap()));
        assert!(of_google(&text(with_key).await.unwrap()));
        assert_eq!(text(ask(Method::GET, "/anthropic/v1/models/chat")).await.unwrap(), CLAUDE_CHAT);
        assert_eq!(text(for_anthropic(ask(Method::GET, "/openai/v1/models/chat"))).await.unwrap(), CHAT);
    }

    #[tokio::test]
    async fn the_place_of_a_key_that_auth_has_taken_out_tells_the_form() {
        let keys = MemoryKeys::default();
        keys.insert(KeyDigest::of("vk"), VirtualKey::new("a"));
        let inner = MustBeReady::new(|_: Request<()>| async {
            Ok::<_, Error>(Response::new(Script::new([Step::Data("inner")])))
        });
        let models = ModelsLayer::new(Arc::new(Three)).layer(inner);
        let service = AuthLayer::new(Arc::new(keys)).layer(models);
        let asked = async |name: &str, value: &str| {
            let req = Request::get("/v1/models/chat").header(name, value).body(()).unwrap();
            let body = service.clone().oneshot(req).await.unwrap().into_body().collect().await.unwrap();
            String::from_utf8(body.to_bytes().into()).unwrap()
        };

        assert!(asked("x-goog-api-key", "vk").await.contains(r#""name":"models/chat""#));
        assert_eq!(asked("x-api-key", "vk").await, CLAUDE_CHAT);
        assert_eq!(asked("authorization", "Bearer vk").await, CHAT);
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
