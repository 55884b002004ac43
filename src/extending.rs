//! How a dialect is added, and how a provider is: to this crate, or beside it.
//!
//! A **dialect** is a wire format: where a request has its model, what an error looks like, and how it is translated. A
//! **provider** is whoever answers in one: an address, a key, and what it does otherwise than the documentation of its
//! dialect says. A provider that speaks a known dialect needs no code; layers and stores of one's own are
//! [another matter](crate#ones-own).
//!
//! # A dialect
//!
//! One that is only passed through implements [`Dialect`](crate::Dialect): where its requests come in, where the
//! model stands in them, which counts an answer has, what an error looks like. One that is translated
//! has a [`Codec`](crate::dialect::Codec) too, which for chats is both directions to and from the canonical form. This is all of one, in
//! which `POST /ask` with `{"model": …, "prompt": …}` is answered with `{"text": …}`, or with a stream of
//! such events; with it a client of this dialect reaches a model that speaks chat completions:
//!
//! ```
//! use std::{borrow::Cow, sync::Arc};
//!
//! use bartizan::{
//!     BoxError, Dialect, Error, Kind, Payload, Target, Tokens,
//!     body::sse,
//!     demo::Demo,
//!     dialect::{
//!         ChatCodec, Closing, Codec, Decode, Dialects, Emit, Encode, Encoded, OPENAI_CHAT, Sent,
//!         canonical::{Answer, Choice, Content, Event, Finish, Request, Role, Turn},
//!     },
//!     error::Reply,
//!     exchange::RequestId,
//!     ingest::IngestLayer,
//!     payload::Head,
//!     translate::TranslateLayer,
//! };
//! use bytes::{Bytes, BytesMut};
//! use http::{StatusCode, request::Parts};
//! use http_body_util::{BodyExt, Full};
//! use serde_json::{Value, json};
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! #[derive(Debug)]
//! struct Plain;
//!
//! static PLAIN: Plain = Plain;
//!
//! fn text<'v>(json: &'v Value, name: &str) -> Result<&'v str, Error> {
//!     let missing = || Error::new(Kind::InvalidRequest, format!("{name} is missing")).with_param(name);
//!     json[name].as_str().ok_or_else(missing)
//! }
//!
//! fn object(json: &[u8]) -> Result<Value, Error> {
//!     serde_json::from_slice(json).map_err(|_| Error::new(Kind::InvalidRequest, "the body is not JSON"))
//! }
//!
//! impl Dialect for Plain {
//!     fn id(&self) -> &'static str {
//!         "plain"
//!     }
//!
//!     fn speaks(&self, path: &str) -> bool {
//!         path == "/ask"
//!     }
//!
//!     fn path(&self, _: &Payload) -> Cow<'static, str> {
//!         "/ask".into()
//!     }
//!
//!     fn peek(&self, _: &Parts, body: &str) -> Result<Head, Error> {
//!         let json = object(body.as_bytes())?;
//!         let stream = json["stream"] == true;
//!         Ok(Head { model: text(&json, "model")?.into(), stream, ..Head::default() })
//!     }
//!
//!     fn read_usage(&self, _: &[u8], _: &mut Tokens) -> bool {
//!         false
//!     }
//!
//!     fn is_content(&self, event: &sse::Event) -> bool {
//!         !event.data.is_empty()
//!     }
//!
//!     fn closing(&self, _: &sse::Event) -> Option<Closing> {
//!         None
//!     }
//!
//!     fn error_in_answer(&self, body: &Bytes) -> Option<Error> {
//!         self.decode_answer(body).err()
//!     }
//!
//!     fn read_error(&self, reply: Reply) -> Error {
//!         Error::new(Kind::Upstream, "the provider failed").with_reply(reply)
//!     }
//!
//!     fn render_error(&self, error: &Error, _: &RequestId) -> (StatusCode, Bytes) {
//!         (StatusCode::BAD_REQUEST, json!({"error": error.message()}).to_string().into())
//!     }
//!
//!     fn error_event(&self, error: &Error, _: &RequestId, _: &Sent) -> Bytes {
//!         format!("data: {}\n\n", json!({"error": error.message()})).into()
//!     }
//!
//!     fn codec(&self) -> Option<Codec> {
//!         Some(Codec::Chat(&PLAIN))
//!     }
//! }
//!
//! impl ChatCodec for Plain {
//!     fn decode_request<'a>(&self, body: &'a [u8]) -> Result<Request<'a>, Error> {
//!         let json = object(body)?;
//!         let prompt = Content::Text(text(&json, "prompt")?.to_owned().into());
//!         let turns = vec![Turn { role: Role::User, parts: vec![prompt.into()] }];
//!         Ok(Request { turns, stream: json["stream"] == true, ..Request::default() })
//!     }
//!
//!     fn encode_request(&self, request: &Request<'_>, to: &Target) -> Result<Encoded, Error> {
//!         let mut encoded = Encoded::default();
//!         let mut prompt = String::new();
//!         for part in request.turns.iter().flat_map(|turn| &turn.parts) {
//!             match &part.content {
//!                 Content::Text(text) => prompt += text,
//!                 // What can't be said is not dropped in silence.
//!                 _ => encoded.lost.push("messages[].content".into()),
//!             }
//!         }
//!         encoded.body = json!({"model": to.model(), "prompt": prompt, "stream": request.stream}).to_string().into();
//!         Ok(encoded)
//!     }
//!
//!     fn decode_answer<'a>(&self, body: &'a [u8]) -> Result<Answer<'a>, Error> {
//!         let unread = |_| Error::new(Kind::Upstream, "the provider's answer can't be understood");
//!         let json = object(body).map_err(unread)?;
//!         let said = Content::Text(text(&json, "text").map_err(unread)?.to_owned().into());
//!         let choice = Choice { index: 0, parts: vec![said.into()], finish: Finish::Stop, logprobs: None };
//!         Ok(Answer { choices: vec![choice], ..Answer::default() })
//!     }
//!
//!     fn encode_answer(&self, answer: &Answer<'_>, _: &Payload) -> Bytes {
//!         let parts = answer.choices.iter().flat_map(|choice| &choice.parts);
//!         let texts = parts.filter_map(|part| match &part.content {
//!             Content::Text(text) => Some(&**text),
//!             _ => None,
//!         });
//!         json!({"text": texts.collect::<String>()}).to_string().into()
//!     }
//!
//!     fn decoder(&self) -> Box<dyn Decode> {
//!         Box::new(Stream)
//!     }
//!
//!     fn encoder(&self, _: &Payload) -> Box<dyn Encode> {
//!         Box::new(Stream)
//!     }
//! }
//!
//! /// What has to be remembered from one event to the next: nothing, here.
//! struct Stream;
//!
//! impl Decode for Stream {
//!     fn event(&mut self, event: &sse::Event, emit: Emit<'_>) -> Result<(), Error> {
//!         let json = object(&event.data)?;
//!         emit(Event::Text { choice: 0, text: text(&json, "text")?.into() });
//!         Ok(())
//!     }
//!
//!     fn finish(&mut self, emit: Emit<'_>) -> Result<(), Error> {
//!         emit(Event::Finish { choice: 0, finish: Finish::Stop });
//!         emit(Event::End);
//!         Ok(())
//!     }
//! }
//!
//! impl Encode for Stream {
//!     fn event(&mut self, event: Event<'_>, out: &mut BytesMut) {
//!         if let Event::Text { text, .. } = event {
//!             out.extend_from_slice(format!("data: {}\n\n", json!({"text": text})).as_bytes());
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let gateway = ServiceBuilder::new()
//!     .layer(IngestLayer::new(Dialects::new([&PLAIN as &dyn Dialect])))
//!     .layer(TranslateLayer::new(Arc::new(Target::new("demo", "echo")), [&OPENAI_CHAT as &dyn Dialect]))
//!     .service(Demo::default());
//!
//! let question = r#"{"model": "echo", "prompt": "Hi!"}"#;
//! let asked = http::Request::post("/ask").header("content-type", "application/json").body(Full::from(question))?;
//! let answer = gateway.oneshot(asked).await?;
//!
//! let body = answer.into_body().collect().await?.to_bytes();
//! assert!(body.ends_with(br#"You said: Hi!"}"#), "{body:?}");
//! # Ok(())
//! # }
//! ```
//!
//! One that is to be part of this crate has a folder in `src/dialect` with the same files as the others: `wire` for
//! the structs as they are documented, `decode` and `encode` for requests, `answer` for whole answers,
//! `stream_in` and `stream_out` for streams, `error`, `finish`, `usage`, and `codec`, where they meet. It joins
//! [`Dialects::default`](crate::dialect::Dialects), and the tests that hold all dialects against each other: `tests/matrix` wants
//! its wire format once more, written without the codec, `tests/rules` what its provider refuses,
//! `tests/codecs` and `tests/mutated` its name in a list.
//!
//! # A provider
//!
//! One that speaks chat completions needs nothing: `kind: openai-compatible` and its `base_url` in the
//! configuration. If it deviates, and others may want it too, it becomes an entry in the table of
//! [presets](crate::preset) (`src/preset/table.rs`), and with that a kind of the configuration:
//!
//! ```text
//! Preset {
//!     name: "acme",
//!     title: "Acme",
//!     base_url: "https://api.acme.example/v1",
//!     key: "ACME_API_KEY",
//!     url: "ACME_BASE_URL",
//!     list: "",
//!     supports: &[],
//!     lacks: &["stream_options"],
//!     cost: None,
//!     batches: false,
//!     cached_in: None,
//!     deviations: Deviations::new(CHAT, &[MAX_TOKENS, Rule::refused("logit_bias")]),
//! },
//! ```
//!
//! and a test there that shows what becomes of a request:
//!
//! ```text
//! becomes("acme", r#"{"max_completion_tokens":9,"logit_bias":{"1":2}}"#, r#"{"max_tokens":9}"#, &["logit_bias"]);
//! ```
//!
//! A provider of one's own gets the same through
//! [`TranslateLayer::deviations`](crate::translate::TranslateLayer::deviations), without a change to this
//! crate. What no [`Rule`](crate::preset::Rule) can express is a
//! function, a [quirk](crate::preset::Deviations::quirk):
//!
//! ```
//! use std::sync::Arc;
//!
//! use bartizan::{
//!     BoxError, Dialect, Error, Payload, Target,
//!     dialect::{Dialects, OPENAI_CHAT},
//!     ingest::IngestLayer,
//!     preset::{Changes, Deviations, Object, Rule},
//!     translate::TranslateLayer,
//! };
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! /// Acme wants a project in every request.
//! fn names_the_project(request: &Object<'_>, changes: &mut Changes<'_>) {
//!     if request.get("project").is_none() {
//!         changes.add(request, "project", "\"apps\"");
//!     }
//! }
//!
//! const ACME: Deviations = Deviations::new(
//!     "openai-chat",
//!     &[Rule::renamed("max_completion_tokens", "max_tokens"), Rule::refused("logit_bias")],
//! )
//! .quirk(names_the_project);
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let acme = service_fn(async |req: Request<Payload>| {
//!     assert_eq!(req.body().to_bytes(), r#"{"project":"apps","model":"m","max_tokens":9,"messages":[]}"#);
//!     let lost = req.body().exchange().learn(|learnt| learnt.lost.clone());
//!     assert_eq!(lost, ["logit_bias"].map(Box::<str>::from));
//!     Ok::<_, Error>(Response::new(Full::<bytes::Bytes>::from("{}")))
//! });
//! let gateway = ServiceBuilder::new()
//!     .layer(IngestLayer::new(Dialects::default()))
//!     .layer(
//!         TranslateLayer::new(Arc::new(Target::new("acme", "m")), [&OPENAI_CHAT as &dyn Dialect])
//!             .deviations(ACME),
//!     )
//!     .service(acme);
//!
//! let question = r#"{"model":"m","max_completion_tokens":9,"logit_bias":{"1":2},"messages":[]}"#;
//! gateway.oneshot(Request::post("/v1/chat/completions").body(Full::from(question))?).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A provider that speaks no known dialect is a service of one's own: the example `own_provider`.
