use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::Body;
use serde_json::value::{RawValue, to_raw_value};
use tower::Service;

use super::{
    TranslateLayer,
    body::Translated,
    estimate,
    future::{ResponseFuture, State},
    pair::{Back, Beside, Pair},
};
use crate::{
    BoxError, Dialect, Error, Kind, Payload,
    dialect::{
        ANTHROPIC, BEDROCK, Codec, Encoded, OPENAI_BATCHES, OPENAI_FILES, citation, lost::Lost, words,
    },
    exchange::{AssumeOutput, TakesWhole},
    headers,
    payload::Head,
};

/// Middleware of [`TranslateLayer`].
#[derive(Clone, Debug)]
pub struct Translate<S> {
    inner: S,
    config: TranslateLayer,
}

impl<S> Translate<S> {
    pub(super) fn new(inner: S, config: TranslateLayer) -> Self {
        Self { inner, config }
    }
}

impl<S, R> Service<Request<Payload>> for Translate<S>
where
    S: Service<Request<Payload>, Response = Response<R>>,
    S::Error: Into<Error> + 'static,
    S::Future: Send + 'static,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Translated<R>>;
    type Error = Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<Payload>) -> Self::Future {
        let dialect = req.body().dialect();
        let speaks = self.config.spoken(req.body()).is_some_and(|spoken| spoken.id() == dialect.id());
        if speaks && !dialect.is_of_others(req.body(), &self.config.target) {
            let filter = dialect.usage_is_extra(req.body().head()).then_some(dialect);
            return match self.config.pass(req) {
                Ok((req, None)) => State::Native { inner: self.inner.call(req), filter }.into(),
                Ok((req, Some(back))) => self.foreign(req, back),
                Err(error) => State::Own { answer: Some(Err(error)) }.into(),
            };
        }
        if let Some(estimate) = self.config.estimate(req.body()) {
            return State::Own { answer: Some(estimate) }.into();
        }
        match self.config.translate(req) {
            Ok((req, back)) => self.foreign(req, back),
            Err(error) => State::Own { answer: Some(Err(error)) }.into(),
        }
    }
}

impl<S> Translate<S> {
    /// Sends a request whose answer has to be written anew.
    fn foreign<R>(&mut self, req: Request<Payload>, back: Back) -> ResponseFuture<S::Future, R>
    where
        S: Service<Request<Payload>, Response = Response<R>>,
        S::Error: Into<Error> + 'static,
        S::Future: Send + 'static,
        R: Body<Data = Bytes> + Send + 'static,
        R::Error: Into<BoxError>,
    {
        let (exchange, target) = (req.body().exchange().clone(), self.config.target.clone());
        let answer = back.answer(self.inner.call(req), exchange, target);
        State::Foreign { answer: Box::pin(answer) }.into()
    }
}

impl TranslateLayer {
    /// The dialect in which the target is asked: the client's own if it speaks that, otherwise the first one
    /// that can be translated to. One in which the model doesn't take such a request is the last resort.
    fn spoken(&self, payload: &Payload) -> Option<&'static dyn Dialect> {
        let own = self.natives.iter().filter(|native| native.id() == payload.dialect().id());
        let others = self.natives.iter().filter(|native| Pair::of(payload.dialect(), **native).is_some());
        let mut fitting = own.chain(others).copied();
        let last_resort = fitting.clone().next();
        let facts = self.target.known_facts();
        fitting.find(|native| native.takes(payload, facts)).or(last_resort)
    }

    /// A request in the target's own dialect, and the way back if the answer doesn't pass as well.
    fn pass(&self, req: Request<Payload>) -> Result<(Request<Payload>, Option<Back>), Error> {
        let (mut parts, payload) = req.into_parts();
        let dialect = payload.dialect();
        let payload = dialect.repeat_model(payload);
        let (payload, back) = match self.for_stream(&payload) {
            Some((asked, back)) => {
                parts.extensions.insert(TakesWhole);
                (asked, Some(back))
            }
            None => (payload, None),
        };
        let asks = !self.target.known_facts().lacks("stream_options");
        let payload = if asks { dialect.ask_for_usage(payload) } else { payload };
        let assumed = parts.extensions.get().copied().filter(|assumed: &AssumeOutput| assumed.is_cap);
        let cap = self.cap(payload.head(), assumed);
        payload.exchange().learn(|learnt| learnt.max_output = cap);
        let is_old = || {
            self.target.known_facts().lacks("max_completion_tokens")
                || self.deviations.renames(dialect.id(), "max_completion_tokens")
        };
        let payload = match cap {
            Some(cap) => dialect.cap_output(payload, cap, is_old()),
            None => payload,
        };
        Ok((self.adapt(Request::from_parts(parts, payload), Vec::new(), None)?, back))
    }

    /// A question for a stream in place of one for a whole answer, which is made of it on the way back.
    fn for_stream(&self, payload: &Payload) -> Option<(Payload, Back)> {
        if !self.assembles(payload) {
            return None;
        }
        let back = Back::assembling(payload.clone())?;
        Some((payload.dialect().ask_for_stream(payload.clone())?, back))
    }

    /// The cap that the gateway sets, where that is so many tokens.
    fn cap(&self, head: &Head, assumed: Option<AssumeOutput>) -> Option<u64> {
        let assumed = assumed.filter(|_| head.max_output.is_none());
        let most = self.target.known_facts().max_output.unwrap_or(u64::MAX);
        assumed.map(|assumed| assumed.tokens.min(most))
    }

    fn assembles(&self, payload: &Payload) -> bool {
        let is_chat = matches!(payload.dialect().codec(), Some(Codec::Chat(_)));
        self.always_streams && is_chat && !payload.head().stream
    }

    /// A request as the target takes it, where `lost` is what was lost before; named in the words of the
    /// client, where it has other ones.
    fn adapt(
        &self,
        req: Request<Payload>,
        mut lost: Vec<Box<str>>,
        client: Option<&dyn Dialect>,
    ) -> Result<Request<Payload>, Error> {
        let (parts, payload) = req.into_parts();
        let (payload, more) = self.adapter.adapted(payload, &parts.headers, &self.target);
        lost.extend(more.into_iter().filter(|field| !lost.contains(field)).collect::<Vec<_>>());
        let missed = lost.iter().position(|field| **field != *citation::LOST_OF_HISTORY);
        let words_of_client = |field| client.map_or(field, |client| words::of_client(client.id(), field));
        let req = Request::from_parts(parts, payload);
        if let Some(missed) = missed
            && (self.strict || headers::asks_for_strictness(req.headers()))
        {
            let field = words_of_client(&lost[missed]);
            let message = format!("{field}: {} can't express it, and losses are refused", self.target);
            return Err(Error::new(Kind::InvalidRequest, message).with_param(field));
        }
        let mut named = Lost::default();
        lost.iter().for_each(|field| named.push(words_of_client(field)));
        let lost = named.into_names();
        req.body().exchange().learn(|learnt| learnt.lost = lost);
        Ok(req)
    }

    /// The number of tokens, if that is asked for and the target doesn't count.
    fn estimate<R>(&self, payload: &Payload) -> Option<Result<Response<Translated<R>>, Error>> {
        let Some(Codec::Count(codec)) = payload.dialect().codec() else { return None };
        if self.spoken(payload).is_some() {
            return None;
        }
        payload.exchange().learn(|learnt| learnt.lost.clear());
        let answer = |tokens| {
            let mut res = Response::new(Translated::whole(codec.encode_answer(tokens)));
            let json = HeaderValue::from_static("application/json");
            res.headers_mut().insert(header::CONTENT_TYPE, json);
            res.headers_mut().insert(headers::ESTIMATED, HeaderValue::from_static("true"));
            res
        };
        let request = codec.decode_request(payload.source());
        Some(request.map(|request| answer(estimate::tokens(&request))))
    }

    fn translate(&self, mut req: Request<Payload>) -> Result<(Request<Payload>, Back), Error> {
        let from = req.body().dialect();
        let native = self.spoken(req.body());
        let Some((native, pair)) = native.and_then(|native| Some((native, Pair::of(from, native)?))) else {
            let (model, provider) = (&req.body().head().model, self.target.provider());
            let mut message = format!("the model `{model}` is not served at this endpoint by `{provider}`");
            if [OPENAI_FILES.id(), OPENAI_BATCHES.id()].contains(&from.id()) {
                message += "; batches go to the first target of a route, and of this provider the gateway drives none";
            }
            return Err(Error::new(Kind::InvalidRequest, message).with_param("model"));
        };
        let assembles = self.assembles(req.body());
        let assumed = req.extensions().get::<AssumeOutput>().copied();
        let is_told = |assumed: &AssumeOutput| assumed.is_cap || native.id() == ANTHROPIC.id();
        let cap = self.cap(req.body().head(), assumed.filter(is_told));
        req.body().exchange().learn(|learnt| learnt.max_output = cap);
        let takes_betas = from.id() == ANTHROPIC.id() && native.id() == BEDROCK.id();
        let betas = takes_betas.then(|| betas(req.headers())).flatten();
        let beside = Beside { assembles, assumed, betas };
        let (Encoded { body, lost, .. }, back) = pair.request(req.body().clone(), &self.target, beside)?;
        let stays = |name: &http::HeaderName| native.id() == from.id() || !is_of_dialect(name);
        let names: Vec<_> = req.headers().keys().filter(|name| !stays(name)).cloned().collect();
        for name in names {
            req.headers_mut().remove(name);
        }
        if assembles {
            req.extensions_mut().insert(TakesWhole);
        }
        let req = req.map(|payload| {
            let payload = payload.translated(native, body.into());
            if assembles { payload.streamed() } else { payload }
        });
        Ok((self.adapt(req, lost, Some(from))?, back))
    }
}

/// Headers that mean something to the client's own kind of provider only.
fn is_of_dialect(name: &http::HeaderName) -> bool {
    name.as_str().starts_with("anthropic-") || name.as_str().starts_with("openai-")
}

/// The features of Anthropic's that a client's header names, as an array; the header may repeat.
fn betas(headers: &HeaderMap) -> Option<Box<RawValue>> {
    let values = headers.get_all("anthropic-beta").iter().filter_map(|value| value.to_str().ok());
    let names: Vec<&str> =
        values.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.is_empty() { None } else { to_raw_value(&names).ok() }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

    use http_body_util::BodyExt;
    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::{
        Exchange, Target,
        body::{End, Observe, OnEnd},
        dialect::{BEDROCK, GEMINI, OPENAI_CHAT, OPENAI_EMBEDDINGS, OPENAI_RESPONSES},
        first_event::FirstEventLayer,
        lock,
        payload::Head,
        preset::Preset,
        target::ModelFacts,
        testing::{ENDINGS, Ending, MustBeReady, Script, Step, is_shared},
    };

    const HI: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    const STOP: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    const COUNTS: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}\n\n";

    fn layer(natives: &[&'static dyn Dialect]) -> TranslateLayer {
        TranslateLayer::new(Arc::new(Target::new("demo", "m")), natives.iter().copied())
    }

    fn request(dialect: &'static dyn Dialect, source: &'static str) -> Request<Payload> {
        let (parts, ()) = Request::post("/").body(()).unwrap().into_parts();
        let head = dialect.peek(&parts, source).unwrap();
        Request::from_parts(parts, Payload::new(dialect, head, source.into(), Exchange::default()))
    }

    fn chat(stream: bool) -> Request<Payload> {
        request(
            &OPENAI_CHAT,
            if stream {
                r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#
            } else {
                r#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#
            },
        )
    }

    fn message() -> Request<Payload> {
        request(
            &ANTHROPIC,
            r#"{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"Hi"}]}"#,
        )
    }

    async fn text<B: Body<Data = Bytes>>(body: B) -> (String, bool) {
        let mut body = Box::pin(body);
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return (String::from_utf8(all).unwrap(), false) };
            all.extend_from_slice(frame.data_ref().unwrap());
        }
        (String::from_utf8(all).unwrap(), true)
    }

    #[tokio::test]
    async fn an_answer_in_the_dialect_of_the_client_passes_and_ends_as_it_did() {
        for ending in ENDINGS {
            let service = layer(&[&OPENAI_CHAT]).layer(MustBeReady::new(move |_| ending.answer()));
            is_shared(&service);

            ending.play(service.oneshot(chat(false)), || {}, || {}).await;
        }
    }

    #[tokio::test]
    async fn counts_that_were_not_asked_for_are_taken_out() {
        let steps = [HI, STOP, COUNTS, "data: [DONE]\n\n"].map(Step::Data);
        let service =
            layer(&[&OPENAI_CHAT]).layer(MustBeReady::new(move |req: Request<Payload>| async move {
                assert!(req.body().to_bytes().windows(20).any(|part| part == br#"{"include_usage":tru"#));
                Ok::<_, Error>(Response::new(Script::new(steps)))
            }));

        let answer = service.oneshot(chat(true)).await.unwrap();

        assert_eq!(text(answer.into_body()).await, ([HI, STOP, "data: [DONE]\n\n"].concat(), true));
    }

    struct Ends(Arc<Mutex<Option<End>>>);

    impl Observe for Ends {
        fn end(self, end: End) {
            *lock(&self.0) = Some(end);
        }
    }

    /// Sends a request to a provider of OpenAI's dialect, whose stream has these steps.
    async fn stream(
        req: Request<Payload>,
        steps: &[Step],
    ) -> (impl Body<Data = Bytes, Error = BoxError> + use<>, Arc<Mutex<Option<End>>>) {
        let seen = Arc::<Mutex<Option<End>>>::default();
        let (script, ends) = (Script::new(steps.iter().copied()), Arc::clone(&seen));
        let service = layer(&[&OPENAI_CHAT]).layer(MustBeReady::new(move |_| {
            let body = OnEnd::new(Ends(ends.clone())).follow(script.clone());
            async { Ok::<_, Error>(Response::new(body)) }
        }));
        (service.oneshot(req).await.unwrap().into_body(), seen)
    }

    #[tokio::test]
    async fn a_stream_that_is_rewritten_ends_as_the_provider_ended_it() {
        for make in [|| chat(true), message] {
            let (body, seen) = stream(make(), &[HI, STOP, COUNTS, "data: [DONE]\n\n"].map(Step::Data)).await;
            let (said, is_whole) = text(body).await;
            assert!(said.contains("Hi") && is_whole, "{said}");
            assert_eq!(*lock(&seen), Some(End::Complete));

            let (body, seen) = stream(make(), &[Step::Data(HI), Step::Break]).await;
            let (said, is_whole) = text(body).await;
            assert!(said.contains("Hi") && !is_whole, "{said}");
            assert_eq!(*lock(&seen), Some(End::Failed));

            let (body, seen) = stream(make(), &[Step::Data(HI), Step::Hang]).await;
            let mut body = Box::pin(body);
            body.frame().await.unwrap().unwrap();
            assert!(!body.is_end_stream());
            assert_eq!(*lock(&seen), None);
            drop(body);
            assert_eq!(*lock(&seen), Some(End::Aborted));
        }
    }

    #[tokio::test]
    async fn what_is_further_in_has_ended_before_its_error_goes_outwards() {
        let broken = Step::Data("data: {\"choices\":7}\n\n");
        let (body, seen) = stream(message(), &[Step::Data(HI), broken, Step::Hang]).await;
        let mut body = Box::pin(body);

        let mut frame = body.frame().await.unwrap();
        while frame.is_ok() {
            frame = body.frame().await.unwrap();
        }

        assert_eq!(*lock(&seen), Some(End::Aborted));
        assert!(body.frame().await.is_none() && body.is_end_stream());
    }

    #[tokio::test]
    async fn a_whole_answer_that_cannot_be_read_is_an_error_and_not_an_answer() {
        for said in ["", "{", "[]", "{\"choices\":7}"] {
            let service = layer(&[&OPENAI_CHAT]).layer(MustBeReady::new(move |_| async move {
                Ok::<_, Error>(Response::new(Script::new([Step::Data(said)])))
            }));
            let whole = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;

            let error = service.oneshot(request(&ANTHROPIC, whole)).await.unwrap_err();

            assert_eq!(error.kind(), Kind::Upstream, "{said}");
        }
    }

    #[tokio::test]
    async fn a_refusal_of_batches_says_who_would_have_to_have_them() {
        let never = MustBeReady::new(|_: Request<Payload>| Ending::Complete.answer());
        let head = Head { model: "m".into(), ..Head::default() };
        let req = Request::new(Payload::new(&OPENAI_FILES, head, "".into(), Exchange::default()));

        let error = layer(&[&ANTHROPIC]).layer(never).oneshot(req).await.unwrap_err();

        assert_eq!((error.kind(), error.param()), (Kind::InvalidRequest, Some("model")));
        assert!(error.message().contains("`demo`; batches go to the first target of a route"), "{error}");
    }

    #[tokio::test]
    async fn what_can_only_pass_through_is_not_translated() {
        let never = MustBeReady::new(|_: Request<Payload>| Ending::Complete.answer());
        let embeddings = || request(&OPENAI_EMBEDDINGS, r#"{"model":"m","input":"x"}"#);

        let refused = layer(&[&ANTHROPIC]).layer(never).oneshot(embeddings()).await.unwrap_err();
        assert_eq!((refused.kind(), refused.param()), (Kind::InvalidRequest, Some("model")));

        let both = layer(&[&OPENAI_CHAT, &OPENAI_EMBEDDINGS]);
        let answer = both.layer(MustBeReady::new(|_: Request<Payload>| Ending::Complete.answer()));
        assert_eq!(text(answer.oneshot(embeddings()).await.unwrap().into_body()).await.0, "datadata");
    }

    #[tokio::test]
    async fn a_target_is_asked_in_a_dialect_that_its_model_takes() {
        let asked = |req: Request<Payload>, lacks: &'static str| async move {
            let target = Target::new("openai", "m").facts(ModelFacts::new([], [lacks]));
            let natives: [&'static dyn Dialect; 3] = [&OPENAI_CHAT, &OPENAI_RESPONSES, &OPENAI_EMBEDDINGS];
            let dialect = Arc::new(Mutex::new(""));
            let seen = dialect.clone();
            let service = TranslateLayer::new(Arc::new(target), natives).layer(MustBeReady::new(
                move |req: Request<Payload>| {
                    *lock(&seen) = req.body().dialect().id();
                    Ending::Refused.answer()
                },
            ));
            assert!(service.oneshot(req).await.is_err());
            *lock(&dialect)
        };
        let response = || request(&OPENAI_RESPONSES, r#"{"model":"m","input":"Hi"}"#);
        let embeddings = request(&OPENAI_EMBEDDINGS, r#"{"model":"m","input":"x"}"#);

        assert_eq!(asked(chat(false), "").await, "openai-chat");
        assert_eq!(asked(response(), "").await, "openai-responses");
        assert_eq!(asked(message(), "").await, "openai-chat");
        // C54
        assert_eq!(asked(chat(false), "chat_completions").await, "openai-responses");
        assert_eq!(asked(message(), "chat_tools_with_reasoning").await, "openai-responses");
        assert_eq!(asked(response(), "responses").await, "openai-chat");
        assert_eq!(asked(embeddings, "chat_completions").await, "openai-embeddings");
    }

    #[tokio::test]
    async fn a_stream_is_asked_for_although_the_body_does_not_say_so() {
        let source = r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]}]}"#;
        let path = Request::post("/v1beta/models/m:streamGenerateContent?alt=sse");
        let (parts, ()) = path.body(()).unwrap().into_parts();
        let head = GEMINI.peek(&parts, source).unwrap();
        let payload = Payload::new(&GEMINI, head, source.into(), Exchange::default());
        let service = layer(&[&ANTHROPIC]).layer(MustBeReady::new(|req: Request<Payload>| {
            let body = String::from_utf8(req.body().to_bytes().into()).unwrap();
            assert!(body.contains(r#""stream":true"#), "{body}");
            Ending::Refused.answer()
        }));

        assert!(service.oneshot(Request::from_parts(parts, payload)).await.is_err());
    }

    #[tokio::test]
    async fn an_answer_put_together_in_one_dialect_keeps_what_only_that_one_knows() {
        const CLAUDE: [&str; 4] = [
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"c\",\"content\":[],\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
            "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"web_search_tool_result\",\"tool_use_id\":\"s\",\"content\":[]}}\n\n",
            "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"pause_turn\"},\"usage\":{\"output_tokens\":2}}\n\n",
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        ];
        const RESPONSE: [&str; 1] = [
            "event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":1,\"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"completed\",\"model\":\"m\",\"store\":false,\"output\":[{\"type\":\"web_search_call\",\"id\":\"ws_1\",\"status\":\"completed\"}]}}\n\n",
        ];
        const PICTURE: [&str; 1] = [
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"inlineData\":{\"mimeType\":\"image/png\",\"data\":\"QUJD\"}}],\"role\":\"model\"},\"finishReason\":\"STOP\"}],\"responseId\":\"r\"}\n\n",
        ];
        const CHAT: [&str; 3] = [
            HI,
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"annotations\":[{\"type\":\"url_citation\"}]},\"finish_reason\":\"stop\"}],\"system_fingerprint\":\"fp\"}\n\n",
            "data: [DONE]\n\n",
        ];
        let claude = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;
        let (parts, ()) = Request::post("/v1beta/models/m:generateContent").body(()).unwrap().into_parts();
        let contents = r#"{"contents":[{"parts":[{"text":"Hi"}]}]}"#;
        let head = GEMINI.peek(&parts, contents).unwrap();
        let gemini =
            Request::from_parts(parts, Payload::new(&GEMINI, head, contents.into(), Exchange::default()));
        let cases: [(Request<Payload>, &'static [&'static str], &[&str]); 4] = [
            (request(&ANTHROPIC, claude), &CLAUDE, &["pause_turn", "web_search_tool_result"]),
            (
                request(&OPENAI_RESPONSES, r#"{"model":"m","input":"Hi"}"#),
                &RESPONSE,
                &["resp_1", "ws_1", "store"],
            ),
            (gemini, &PICTURE, &["inlineData", "\"responseId\":\"r\""]),
            (chat(false), &CHAT, &["url_citation", "\"fp\"", "\"content\":\"Hi\""]),
        ];

        for (req, steps, expected) in cases {
            let dialect = req.body().dialect();
            let whole = move |steps: &'static [&'static str]| {
                let script = Script::new(steps.iter().copied().map(Step::Data));
                layer(&[dialect]).always_streams(true).layer(MustBeReady::new(move |_| {
                    std::future::ready(Ok::<_, Error>(Response::new(script.clone())))
                }))
            };
            let again = req.body().clone();

            let answer = whole(steps).oneshot(req).await.unwrap();
            let broken = whole(&[]).oneshot(Request::new(again)).await;

            let (said, _) = text(answer.into_body()).await;
            assert!(expected.iter().all(|part| said.contains(part)), "{said}");
            assert_eq!(broken.unwrap_err().kind(), Kind::Upstream, "{}", dialect.id());
        }
    }

    /// What a request becomes at a target that is told what the route assumes.
    async fn asked(
        natives: &[&'static dyn Dialect],
        is_cap: bool,
        mut req: Request<Payload>,
    ) -> (String, Option<u64>) {
        let sent = Arc::new(Mutex::new(String::new()));
        let seen = sent.clone();
        let exchange = req.body().exchange().clone();
        req.extensions_mut().insert(AssumeOutput { tokens: 50, is_cap });
        let old = Preset::named("mistral").unwrap().deviations;
        let service = layer(natives).deviations(old).layer(MustBeReady::new(move |req: Request<Payload>| {
            *lock(&seen) = String::from_utf8(req.body().to_bytes().into()).unwrap();
            Ending::Refused.answer()
        }));

        assert!(service.oneshot(req).await.is_err());

        let body = lock(&sent).clone();
        (body, exchange.learn(|learnt| learnt.max_output))
    }

    #[tokio::test]
    async fn a_cap_of_the_route_is_told_to_every_provider() {
        let openai = || {
            request(
                &OPENAI_CHAT,
                r#"{"model":"m","max_tokens":null,"messages":[{"role":"user","content":"Hi"}]}"#,
            )
        };
        let gemini = |source: &'static str| {
            let (parts, ()) =
                Request::post("/v1beta/models/m:generateContent").body(()).unwrap().into_parts();
            let head = GEMINI.peek(&parts, source).unwrap();
            Request::from_parts(parts, Payload::new(&GEMINI, head, source.into(), Exchange::default()))
        };
        let contents = || gemini(r#"{"contents":[{"parts":[{"text":"Hi"}]}]}"#);
        let config = || gemini(r#"{"contents":[],"generation_config":{"topK":1,"max_output_tokens":null}}"#);
        let responses = || request(&OPENAI_RESPONSES, r#"{"model":"m","input":"Hi"}"#);
        let cases: [(&'static dyn Dialect, Request<Payload>, &str); 8] = [
            (&OPENAI_CHAT, openai(), r#""max_tokens":50"#),
            (&OPENAI_CHAT, contents(), r#""max_tokens":50"#),
            (&OPENAI_RESPONSES, responses(), r#""max_output_tokens":50"#),
            (&OPENAI_RESPONSES, openai(), r#""max_output_tokens":50"#),
            (&GEMINI, contents(), r#"{"generationConfig":{"maxOutputTokens":50},"contents""#),
            (&GEMINI, config(), r#"{"topK":1,"max_output_tokens":50}"#),
            (&GEMINI, openai(), r#""maxOutputTokens":50"#),
            (&BEDROCK, openai(), r#""maxTokens":50"#),
        ];

        for (native, req, expected) in cases {
            let (body, said) = asked(&[native], true, req).await;

            assert!(body.contains(expected) && !body.contains("max_completion_tokens"), "{body}");
            assert_eq!(said, Some(50), "{body}");
        }
        for (native, req) in
            [(&GEMINI as &'static dyn Dialect, contents()), (&GEMINI, openai()), (&OPENAI_CHAT, openai())]
        {
            let (body, said) = asked(&[native], false, req).await;
            assert!(!body.contains("50") && said.is_none(), "{body}");
        }
        let (claude, said) = asked(&[&ANTHROPIC], false, openai()).await;
        assert!(claude.contains(r#""max_tokens":50"#) && said == Some(50), "{claude}");
    }

    #[tokio::test]
    async fn an_answer_that_comes_whole_where_a_stream_was_asked_for_stays_as_it_is() {
        const WHOLE: &str = r#"{"id":"c","system_fingerprint":"fp","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}"#;
        let service =
            layer(&[&OPENAI_CHAT]).always_streams(true).layer(MustBeReady::new(|req: Request<Payload>| {
                assert!(req.body().head().stream && req.extensions().get::<TakesWhole>().is_some());
                let mut res = Response::new(Script::new([Step::Data(WHOLE)]));
                res.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                std::future::ready(Ok::<_, Error>(res))
            }));
        let claude = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;

        let own = service.clone().oneshot(chat(false)).await.unwrap();
        let other = service.oneshot(request(&ANTHROPIC, claude)).await.unwrap();

        assert_eq!(text(own.into_body()).await.0, WHOLE);
        let (other, _) = text(other.into_body()).await;
        assert!(other.contains(r#""type":"message""#) && other.contains("Hi"), "{other}");
    }

    #[tokio::test]
    async fn an_answer_that_is_written_anew_says_what_it_has_lost() {
        const EVENTS: [&str; 3] = [
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"c\",\"container\":{\"id\":\"c\"},\"content\":[],\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
            "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"a_b\",\"input\":{}}}\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":2}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        ];
        let source = r#"{"model":"m","max_tokens":9,"tools":[{"name":"a.b","input_schema":{"type":"object"}}],
            "messages":[{"role":"user","content":"Hi"},{"role":"assistant",
            "content":[{"type":"thinking","thinking":"t","signature":"gemini:U0lH"},{"type":"text","text":"Ho"}]},
            {"role":"user","content":"Hm"}]}"#;
        let req = request(&ANTHROPIC, source);
        let exchange = req.body().exchange().clone();
        let service =
            layer(&[&ANTHROPIC]).always_streams(true).layer(MustBeReady::new(|_: Request<Payload>| {
                std::future::ready(Ok::<_, Error>(Response::new(Script::new(EVENTS.map(Step::Data)))))
            }));

        let answer = service.oneshot(req).await.unwrap();

        let (said, _) = text(answer.into_body()).await;
        assert!(said.contains(r#""name":"a.b""#) && !said.contains("container"), "{said}");
        let lost = exchange.learn(|learnt| learnt.lost.join(" "));
        assert!(lost.contains("answer.container"), "{lost}");
    }

    #[tokio::test]
    async fn what_the_client_can_not_be_told_of_an_answer_is_noted() {
        const WHOLE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"c","content":[{"type":"text","text":"Hi","citations":[{"type":"char_location","cited_text":"q","document_index":0,"start_char_index":0,"end_char_index":1}]}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}"#;
        const EVENTS: &str = "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"Hi\"}}\n\n\
            data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"citations_delta\",\"citation\":{\"type\":\"char_location\",\"document_index\":0}}}\n\n\
            data: {\"type\":\"content_block_stop\",\"index\":0}\n\n";
        for (streams, answer, content_type) in
            [(false, WHOLE, "application/json"), (true, EVENTS, "text/event-stream")]
        {
            let req = chat(streams);
            let exchange = req.body().exchange().clone();
            let service = layer(&[&ANTHROPIC]).layer(MustBeReady::new(move |_: Request<Payload>| {
                let mut res = Response::new(Script::new([Step::Data(answer)]));
                res.headers_mut().insert("content-type", content_type.try_into().unwrap());
                std::future::ready(Ok::<_, Error>(res))
            }));

            text(service.oneshot(req).await.unwrap().into_body()).await;

            assert_eq!(exchange.learn(|learnt| learnt.lost.join(" ")), "answer.citations");
        }
    }

    #[tokio::test]
    async fn a_citation_is_noted_that_is_lost_where_a_whole_answer_becomes_a_stream() {
        const WHOLE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"c","content":[{"type":"text","text":"Hi","citations":[{"type":"new_location"}]}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}"#;
        let req = chat(true);
        let exchange = req.body().exchange().clone();
        let inner =
            FirstEventLayer::new(Duration::from_secs(20)).layer(MustBeReady::new(|_: Request<Payload>| {
                let mut res = Response::new(Script::new([Step::Data(WHOLE)]));
                res.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                std::future::ready(Ok::<_, Error>(res))
            }));

        let answer = layer(&[&ANTHROPIC]).layer(inner).oneshot(req).await.unwrap();

        assert!(text(answer.into_body()).await.0.contains("Hi"));
        assert_eq!(exchange.learn(|learnt| learnt.lost.join(" ")), "answer.citations");
    }

    #[tokio::test]
    async fn what_a_model_refuses_is_taken_out_also_where_nothing_is_translated() {
        // C61, C131
        let source = r#"{"top_k": 5, "model": "m", "max_tokens": 9, "messages": []}"#;
        let to = |lacks: &[&'static str]| {
            let facts = ModelFacts::new([], lacks.iter().copied());
            TranslateLayer::new(Arc::new(Target::new("p", "m").facts(facts)), [&ANTHROPIC as &dyn Dialect])
        };
        let sees = |expected: &'static str| {
            MustBeReady::new(move |req: Request<Payload>| {
                assert_eq!(req.body().to_bytes(), expected);
                Ending::Refused.answer()
            })
        };
        let req = request(&ANTHROPIC, source);
        let exchange = req.body().exchange().clone();

        let rest = r#"{"model": "m", "max_tokens": 9, "messages": []}"#;
        to(&["sampling_params"]).layer(sees(rest)).oneshot(req).await.unwrap_err();
        to(&[]).layer(sees(source)).oneshot(request(&ANTHROPIC, source)).await.unwrap_err();

        assert_eq!(exchange.learn(|learnt| learnt.lost.clone()), ["top_k"].map(Box::<str>::from));
        let strict = to(&["sampling_params"]).strict(true).layer(sees(""));
        let refused = strict.oneshot(request(&ANTHROPIC, source)).await.unwrap_err();
        assert_eq!((refused.kind(), refused.param()), (Kind::InvalidRequest, Some("top_k")));
    }

    /// C132
    #[tokio::test]
    async fn features_of_anthropics_are_asked_for_in_the_body_at_bedrock() {
        let source = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;
        let mut req = request(&ANTHROPIC, source);
        let asked = "interleaved-thinking-2025-05-14, foo-bar";
        req.headers_mut().insert("anthropic-beta", asked.try_into().unwrap());
        let exchange = req.body().exchange().clone();
        let target = Arc::new(Target::new("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"));
        let service = TranslateLayer::new(target, [&BEDROCK as &'static dyn Dialect]).layer(MustBeReady::new(
            |req: Request<Payload>| {
                let body = String::from_utf8(req.body().to_bytes().into()).unwrap();
                let said = r#""additionalModelRequestFields":{"anthropic_beta":["interleaved-thinking-2025-05-14"]}"#;
                assert!(body.contains(said) && !req.headers().contains_key("anthropic-beta"), "{body}");
                Ending::Refused.answer()
            },
        ));

        assert!(service.oneshot(req).await.is_err());

        assert_eq!(exchange.learn(|learnt| learnt.lost.join(" ")), "anthropic-beta");
    }

    /// C68
    #[tokio::test]
    async fn thoughts_of_another_provider_are_not_passed_on_in_the_own_dialect_either() {
        let source = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"},{"role":"assistant",
            "content":[{"type":"thinking","thinking":"t","signature":"gemini:U0lH"},{"type":"text","text":"Ho"}]},
            {"role":"user","content":"Hm"}]}"#;
        let mut req = request(&ANTHROPIC, source);
        req.headers_mut().insert("anthropic-beta", "b".try_into().unwrap());
        let service = layer(&[&ANTHROPIC]).layer(MustBeReady::new(|req: Request<Payload>| {
            let body = String::from_utf8(req.body().to_bytes().into()).unwrap();
            assert!(body.contains("Ho") && !body.contains("gemini"), "{body}");
            assert!(req.headers().contains_key("anthropic-beta"));
            Ending::Refused.answer()
        }));

        assert!(service.oneshot(req).await.is_err());
    }

    #[tokio::test]
    async fn a_model_that_nothing_fits_is_asked_as_the_client_asks() {
        let facts = ModelFacts::new([], ["chat_completions"]);
        let target = Arc::new(Target::new("openai", "m").facts(facts));
        let service = TranslateLayer::new(target, [&OPENAI_CHAT as &'static dyn Dialect])
            .layer(MustBeReady::new(|_: Request<Payload>| Ending::Complete.answer()));

        assert_eq!(text(service.oneshot(chat(false)).await.unwrap().into_body()).await.0, "datadata");
    }

    #[tokio::test]
    async fn losses_are_noted_refused_if_asked_and_forgotten_by_the_next_target() {
        let lossy = || {
            request(
                &OPENAI_CHAT,
                r#"{"model":"m","logit_bias":{"1":2},"messages":[{"role":"user","content":"Hi"}]}"#,
            )
        };
        let failing = || MustBeReady::new(|_: Request<Payload>| Ending::Refused.answer());
        let lost = |exchange: &Exchange| exchange.learn(|learnt| learnt.lost.clone());

        let mut req = lossy();
        let exchange = req.body().exchange().clone();
        layer(&[&ANTHROPIC]).layer(failing()).oneshot(req).await.unwrap_err();
        assert_eq!(lost(&exchange), ["logit_bias"].map(Box::<str>::from));

        req = lossy();
        *req.body_mut() = Payload::new(&OPENAI_CHAT, Head::default(), Bytes::new(), exchange.clone());
        layer(&[&OPENAI_CHAT]).layer(failing()).oneshot(req).await.unwrap_err();
        assert!(lost(&exchange).is_empty());

        let refused = layer(&[&ANTHROPIC]).strict(true).layer(failing()).oneshot(lossy()).await.unwrap_err();
        assert_eq!((refused.kind(), refused.param()), (Kind::InvalidRequest, Some("logit_bias")));
    }

    #[tokio::test]
    async fn what_an_earlier_answer_cites_is_no_loss_to_refuse() {
        let citing = |role: &str| {
            let source = format!(
                r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"Hi"}},{{"role":"{role}","content":[
                {{"type":"text","text":"A","citations":[{{"type":"web_search_result_location","cited_text":"a",
                "url":"https://e.x","title":"E","encrypted_index":"i"}}]}}]}},{{"role":"user","content":"So?"}}]}}"#
            );
            request(&ANTHROPIC, source.leak())
        };
        let strict = layer(&[&OPENAI_CHAT]).strict(true);
        let failing = || MustBeReady::new(|_: Request<Payload>| Ending::Refused.answer());

        let echo = citing("assistant");
        let exchange = echo.body().exchange().clone();
        let sent = strict.layer(failing()).oneshot(echo).await.unwrap_err();
        let refused = strict.layer(failing()).oneshot(citing("user")).await.unwrap_err();

        assert_eq!(sent.param(), None);
        let lost = exchange.learn(|learnt| learnt.lost.clone());
        assert_eq!(lost, ["messages[].content[].citations"].map(Box::<str>::from));
        assert_eq!(refused.param(), Some("messages[].content[].citations"));
    }

    #[tokio::test]
    async fn losses_are_named_as_the_client_names_them() {
        let lossy = r#"{"contents":[{"parts":[{"text":"Hi"}]}],"generationConfig":{"topK":5,"candidateCount":2,"frequencyPenalty":1,"responseLogprobs":true}}"#;
        let (parts, ()) = Request::post("/v1beta/models/m:generateContent").body(()).unwrap().into_parts();
        let head = GEMINI.peek(&parts, lossy).unwrap();
        let exchange = Exchange::default();
        let payload = Payload::new(&GEMINI, head, lossy.into(), exchange.clone());
        let service = layer(&[&OPENAI_RESPONSES])
            .layer(MustBeReady::new(|_: Request<Payload>| Ending::Refused.answer()));

        assert!(service.oneshot(Request::from_parts(parts, payload)).await.is_err());

        let mut lost: Vec<_> = exchange.learn(|learnt| learnt.lost.iter().map(ToString::to_string).collect());
        lost.sort();
        let expected =
            ["candidateCount", "frequencyPenalty", "topK"].map(|name| format!("generationConfig.{name}"));
        assert_eq!(lost, expected);
    }

    #[tokio::test]
    async fn what_a_server_refuses_is_taken_out_and_reported_whoever_asks() {
        let mistral = Preset::named("mistral").unwrap();
        let target = Target::new("mistral", "m").facts(mistral.facts(ModelFacts::default()));
        let layer = TranslateLayer::new(Arc::new(target), [&OPENAI_CHAT as &dyn Dialect])
            .deviations(mistral.deviations);
        let passed = || request(&OPENAI_CHAT, r#"{"model":"m","user":"u","stream":true,"seed":1}"#);
        let translated = request(
            &ANTHROPIC,
            r#"{"model":"m","max_tokens":9,"metadata":{"user_id":"u"},"messages":[{"role":"user","content":"Hi"}]}"#,
        );
        let sees = |expected: &'static str| {
            layer.clone().layer(MustBeReady::new(move |req: Request<Payload>| {
                assert_eq!(req.body().to_bytes(), expected);
                Ending::Refused.answer()
            }))
        };

        let req = passed();
        let exchange = req.body().exchange().clone();
        sees(r#"{"model":"m","stream":true,"random_seed":1}"#).oneshot(req).await.unwrap_err();
        assert_eq!(exchange.learn(|learnt| learnt.lost.clone()), ["user"].map(Box::<str>::from));

        let exchange = translated.body().exchange().clone();
        sees(r#"{"model":"m","messages":[{"role":"user","content":"Hi"}],"max_tokens":9}"#)
            .oneshot(translated)
            .await
            .unwrap_err();
        assert_eq!(exchange.learn(|learnt| learnt.lost.clone()), ["metadata.user_id"].map(Box::<str>::from));

        let strict =
            layer.strict(true).layer(MustBeReady::new(|_: Request<Payload>| Ending::Refused.answer()));
        let refused = strict.oneshot(passed()).await.unwrap_err();
        assert_eq!((refused.kind(), refused.param()), (Kind::InvalidRequest, Some("user")));
    }

    /// C132
    #[tokio::test]
    async fn headers_of_the_other_dialect_stay_here() {
        let mut req = chat(false);
        for name in ["openai-beta", "anthropic-version", "traceparent"] {
            req.headers_mut().insert(name, http::HeaderValue::from_static("x"));
        }
        let service = layer(&[&ANTHROPIC]).layer(MustBeReady::new(|req: Request<Payload>| {
            let names: Vec<_> = req.headers().keys().map(http::HeaderName::as_str).collect();
            assert_eq!(names, ["traceparent"]);
            Ending::Refused.answer()
        }));

        assert!(service.oneshot(req).await.is_err());
    }
}
