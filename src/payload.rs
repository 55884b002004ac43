//! [`Payload`]: the request body after ingest, and [`Ingested`], by which layers ask for it.

use std::{
    convert::Infallible,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    Target, Work,
    batch::Batch,
    choose::Chosen,
    dialect::Dialect,
    exchange::{AttemptHandle, Exchange, Role},
    price::{Input, Tier},
};

/// What the gateway reads from a request without decoding all of it.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The model the client asks for.
    pub model: Box<str>,
    /// Whether the client wants a stream.
    pub stream: bool,
    /// Whether the client wants the token counts at the end of its stream.
    pub include_usage: bool,
    /// The client's cap on the tokens of the answer.
    pub max_output: Option<u64>,
    /// How many answers the client wants; 0 is as good as 1.
    pub choices: u32,
    /// Where the model's name stands in the bytes, quotes included.
    pub model_at: Option<Range<usize>>,
    /// How the model's name stands there.
    pub model_form: ModelForm,
    /// Where the same name stands again; it is exchanged there by
    /// [`Dialect::repeat_model`].
    pub model_again_at: Vec<Range<usize>>,
    /// Where the object that asks for token counts in streams stands in the bytes.
    pub usage_at: Option<Range<usize>>,
    /// Where the end user's name stands in the bytes, as a JSON string; as it is where they are a form.
    pub user_at: Option<Range<usize>>,
    /// Where the client's own data stand in the bytes, as a JSON object.
    pub metadata_at: Option<Range<usize>>,
    /// The most that the request uses, where that can't be told from its size and `max_output`.
    pub work: Option<Work>,
    /// The class of service that is asked for; `None` if that is left to the provider.
    pub tier: Option<Tier>,
    /// The most searches of the web that the provider may make for the request.
    pub searches: u64,
    /// The most searches of maps that it may make.
    pub map_searches: u64,
    /// The most containers to run code in that the provider may be paid for.
    pub code_sessions: u64,
    /// Whether the provider reads more for the model than what stands in the request: the web, files,
    /// earlier answers.
    pub reads_more: bool,
    /// Whether images, sound or film are read, and no count tells how many tokens of the input they are: all of
    /// it is charged as such then.
    pub reads_media: bool,
    /// Whether what is written to a cache stays there for longer than usual, where counts don't say so.
    pub keeps_long: bool,
    /// The type of the body with its boundary, if it isn't JSON.
    pub content_type: Option<HeaderValue>,
    /// Whether the answer is sound or plain text, which is passed on without being looked into.
    pub is_opaque: bool,
    /// Whether asking twice makes two of what is paid for: what may have been begun is not tried again.
    pub is_once: bool,
    /// What is asked for, if it is something that a provider keeps.
    pub resource: Option<Resource>,
    /// Whether the body says who shall answer, in the way of OpenRouter: `models` or `provider`.
    pub has_wishes: bool,
    /// The batch that this is about.
    pub batch: Option<Box<Batch>>,
}

/// Something that one provider keeps, and what is to be done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// How it is asked for.
    pub method: Method,
    /// Where the provider has it, relative to its base URL and with a leading slash.
    pub path: Box<str>,
    /// `provider/model`: the only target that has it. What is yet to be stored goes to the first one of its
    /// route.
    pub target: Option<Box<str>>,
}

/// How a model's name is written into the bytes of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelForm {
    /// As a JSON string.
    #[default]
    Json,
    /// As it is, in a field of a form.
    Raw,
    /// As a whole member of a JSON object, with a comma behind it: the client has named no model.
    Member,
}

/// A model's name, ready to be spliced into a request.
#[derive(Clone, Debug)]
pub struct ModelName {
    name: Arc<str>,
    json: Bytes,
}

impl ModelName {
    /// Prepares `name`.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), json: serde_json::Value::from(name).to_string().into() }
    }

    fn written(&self, form: ModelForm) -> Bytes {
        match form {
            ModelForm::Json => self.json.clone(),
            ModelForm::Raw => Bytes::copy_from_slice(self.name.as_bytes()),
            ModelForm::Member => [br#""model":"#, &*self.json, b","].concat().into(),
        }
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

/// A buffered, shallow-parsed request. Clones share the bytes.
///
/// Changes are kept beside the bytes as edits: a request that is only routed is neither parsed as a
/// whole nor copied. As an [`http_body::Body`] it yields the pieces in between.
#[derive(Clone, Debug)]
pub struct Payload {
    dialect: &'static dyn Dialect,
    head: Arc<Head>,
    model: Option<ModelName>,
    chosen: Option<Chosen>,
    source: Bytes,
    edits: Vec<Edit>,
    /// How many pieces were yielded.
    yielded: usize,
    exchange: Exchange,
    /// Which attempt of the exchange it is sent for.
    attempt: Option<usize>,
    /// What that is for.
    role: Role,
    has_others: bool,
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

#[derive(Clone, Debug)]
struct Edit {
    at: Range<usize>,
    with: Bytes,
}

impl Edit {
    /// What is put in at either end of a place stays beside it.
    fn is_covered_by(&self, at: &Range<usize>) -> bool {
        let is_beside = self.at.is_empty() && (self.at.start == at.start || self.at.start == at.end);
        at.start <= self.at.start && self.at.end <= at.end && !is_beside
    }
}

impl Payload {
    /// A request in `dialect`, where `head` was read from `source`.
    pub fn new(dialect: &'static dyn Dialect, head: Head, source: Bytes, exchange: Exchange) -> Self {
        Self {
            dialect,
            head: Arc::new(head),
            model: None,
            chosen: None,
            source,
            edits: Vec::new(),
            yielded: 0,
            exchange,
            attempt: None,
            role: Role::default(),
            has_others: false,
            _place: None,
        }
    }

    /// The same request with other bytes in another dialect, as translation makes it.
    #[must_use]
    pub fn translated(self, dialect: &'static dyn Dialect, source: Bytes) -> Self {
        // What was found in the old bytes is not there in the new ones.
        let found = Head { model_at: None, usage_at: None, ..(*self.head).clone() };
        let head = Head { user_at: None, metadata_at: None, ..found };
        Self { dialect, ..self }.rewritten(head, source)
    }

    /// The same request with other bytes in the same dialect, where `head` was read from `source`.
    pub(crate) fn rewritten(self, head: Head, source: Bytes) -> Self {
        // What was made of the old bytes doesn't know what has changed.
        let chosen = self.chosen.map(Chosen::without_preferring);
        Self { head: Arc::new(head), source, edits: Vec::new(), chosen, ..self }
    }

    /// The same request in another exchange.
    pub(crate) fn of_exchange(self, exchange: Exchange) -> Self {
        Self { exchange, ..self }
    }

    /// The same request with another cap on its output in its head; the bytes stay as they are.
    #[must_use]
    pub(crate) fn with_max_output(mut self, most: u64) -> Self {
        Arc::make_mut(&mut self.head).max_output = Some(most);
        self
    }

    /// The same request with the wish for a stream in its head; the bytes are left to the dialect.
    #[must_use]
    pub fn streamed(mut self) -> Self {
        Arc::make_mut(&mut self.head).stream = true;
        self
    }

    /// Counts the request against the memory it was admitted to for as long as it lives.
    pub(crate) fn occupying(self, place: Option<OwnedSemaphorePermit>) -> Self {
        Self { _place: place.map(Arc::new), ..self }
    }

    /// The dialect of the bytes.
    pub fn dialect(&self) -> &'static dyn Dialect {
        self.dialect
    }

    /// What was read from the bytes as the client sent them.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The same for whoever outlives the request.
    pub(crate) fn shared_head(&self) -> Arc<Head> {
        self.head.clone()
    }

    /// The model this request is for: the client's, or the one a route has put in its place.
    pub fn model(&self) -> &str {
        self.model.as_ref().map_or(&*self.head.model, ModelName::as_str)
    }

    /// The same request, which goes by a route that was chosen.
    #[must_use]
    pub(crate) fn going(self, chosen: Chosen) -> Self {
        Self { chosen: Some(chosen), ..self }
    }

    /// The same request, sent for such an attempt.
    pub(crate) fn for_role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// The same request, sent to a target after which another one could be asked, or not.
    pub(crate) fn with_others(self, has_others: bool) -> Self {
        Self { has_others, ..self }
    }

    /// Whether another target could be asked after the one that it is sent to, if that takes too long.
    pub fn has_others(&self) -> bool {
        self.has_others
    }

    /// Begins the attempt that it is sent for; called by the meter of a provider's stack.
    pub fn begin(&self, target: &Arc<Target>) -> AttemptHandle {
        self.exchange.begin_as(self.role, target)
    }

    /// Notes the attempt that it is sent for.
    pub(crate) fn attempts(&mut self, attempt: &AttemptHandle) {
        self.attempt = Some(attempt.index());
    }

    /// The attempt that it is sent for, once a meter has begun it.
    pub fn attempt(&self) -> Option<AttemptHandle> {
        self.attempt.map(|index| self.exchange.attempt(index))
    }

    /// The request as it is for a provider that understands what the client prefers.
    pub(crate) fn preferring(self) -> Self {
        match self.chosen.as_ref().and_then(Chosen::preferring).cloned() {
            Some((head, source)) => self.rewritten(head, source),
            None => self,
        }
    }

    /// The route that was chosen for it; `None` if none was yet.
    pub(crate) fn chosen(&self) -> Option<&Chosen> {
        self.chosen.as_ref()
    }

    /// The bytes as the client sent them, or as translation made them, without later edits.
    pub fn source(&self) -> &Bytes {
        &self.source
    }

    /// What a model has to read of it, in whatever dialect: looked for when it is first asked for, and not
    /// where the head says what is used.
    pub(crate) fn input(&self) -> Input {
        if self.head.work.is_some() {
            return Input::default();
        }
        self.exchange.learn(|learnt| *learnt.input.get_or_insert_with(|| Input::of(&self.source)))
    }

    /// The bytes with all edits in place.
    pub fn to_bytes(&self) -> Bytes {
        if self.edits.is_empty() {
            return self.source.clone();
        }
        let mut whole = BytesMut::with_capacity(self.length());
        for chunk in self.chunks() {
            whole.extend_from_slice(&chunk);
        }
        whole.freeze()
    }

    /// The bytes with all edits in place, piece by piece.
    pub fn chunks(&self) -> impl Iterator<Item = Bytes> + '_ {
        (0..self.pieces()).map(|index| self.piece(index))
    }

    /// What is learnt while this request is served.
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// The same request for another model: a splice, never a parse.
    #[must_use]
    pub fn with_model(&self, model: &ModelName) -> Self {
        self.clone().for_model(model)
    }

    pub(crate) fn for_model(mut self, model: &ModelName) -> Self {
        let form = self.head.model_form;
        if *self.model() == *model.name && form != ModelForm::Member {
            return self;
        }
        if let Some(at) = self.head.model_at.clone() {
            self.edits.retain(|edit| edit.at != at);
            self = self.edited(at, model.written(form));
        }
        self.model = Some(model.clone());
        self
    }

    /// The same request with other bytes in one place. Edits must not overlap, but one that covers earlier
    /// ones takes their place; what is put in at the beginning of something that is replaced comes before it.
    #[must_use]
    pub fn edited(mut self, at: Range<usize>, with: impl Into<Bytes>) -> Self {
        let mut next = self.edits.partition_point(|edit| edit.at.start < at.start);
        while let Some(edit) = self.edits.get(next).filter(|edit| edit.at.start <= at.end) {
            if edit.is_covered_by(&at) {
                self.edits.remove(next);
            } else {
                next += 1;
            }
        }
        let place = |at: &Range<usize>| (at.start, at.end);
        let index = self.edits.partition_point(|edit| place(&edit.at) < place(&at));
        self.edits.insert(index, Edit { at, with: with.into() });
        self
    }

    fn length(&self) -> usize {
        self.edits.iter().fold(self.source.len(), |length, edit| length + edit.with.len() - edit.at.len())
    }

    /// Source and edits take turns, beginning and ending with the source.
    fn pieces(&self) -> usize {
        2 * self.edits.len() + 1
    }

    fn piece(&self, index: usize) -> Bytes {
        if index % 2 == 1 {
            return self.edits[index / 2].with.clone();
        }
        let from = index.checked_sub(2).map_or(0, |before| self.edits[before / 2].at.end);
        let to = self.edits.get(index / 2).map_or(self.source.len(), |edit| edit.at.start);
        self.source.slice(from..to)
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while self.yielded < self.pieces() {
            let piece = self.piece(self.yielded);
            self.yielded += 1;
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        (self.yielded..self.pieces()).all(|index| self.piece(index).is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        let sent: usize = (0..self.yielded).map(|index| self.piece(index).len()).sum();
        SizeHint::with_exact((self.length() - sent) as u64)
    }
}

/// A request body that has passed ingest.
///
/// A layer that reads the model asks for it, so that a stack in which nobody ingests does not compile:
///
/// ```compile_fail,E0277
/// use bartizan::{access::AccessLayer, dispatch::Dispatch};
/// use http::Request;
/// use http_body_util::Full;
/// use tower::{Service, ServiceBuilder};
///
/// fn takes_http(_: impl Service<Request<Full<bytes::Bytes>>>) {}
///
/// let dispatch = Dispatch::new(Default::default());
/// takes_http(ServiceBuilder::new().layer(AccessLayer::new()).service(dispatch));
/// // error: the request body `Full<Bytes>` has not been ingested
/// ```
///
/// With an [`IngestLayer`](crate::ingest::IngestLayer) outside of them it does:
///
/// ```
/// # use bartizan::{access::AccessLayer, dispatch::Dispatch};
/// # use http::Request;
/// # use http_body_util::Full;
/// # use tower::{Service, ServiceBuilder};
/// # fn takes_http(_: impl Service<Request<Full<bytes::Bytes>>>) {}
/// use bartizan::{dialect::Dialects, ingest::IngestLayer};
///
/// # let dispatch = Dispatch::new(Default::default());
/// let ingest = IngestLayer::new(Dialects::default());
/// takes_http(ServiceBuilder::new().layer(ingest).layer(AccessLayer::new()).service(dispatch));
/// ```
#[diagnostic::on_unimplemented(
    message = "the request body `{Self}` has not been ingested",
    label = "this layer reads the model, so it needs an ingested body",
    note = "put `IngestLayer` outside this layer: `ServiceBuilder::new().layer(IngestLayer::new(..)).layer(..)`"
)]
pub trait Ingested {
    /// The request as ingest has read it.
    fn payload(&self) -> &Payload;
}

impl Ingested for Payload {
    fn payload(&self) -> &Payload {
        self
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::dialect::OPENAI_CHAT;

    fn payload(source: &'static str) -> Payload {
        let at = source.find("\"old\"").map(|start| start..start + 5);
        let head = Head { model: "old".into(), model_at: at, ..Head::default() };
        Payload::new(&OPENAI_CHAT, head, source.into(), Exchange::default())
    }

    #[tokio::test]
    async fn the_body_is_the_source_with_its_edits() {
        let payload = payload(r#"{"model":"old","n":1}"#)
            .with_model(&ModelName::new("ne\"w"))
            .edited(1..1, r#""a":0,"#);

        let hint = payload.size_hint().exact();
        let bytes = payload.clone().collect().await.unwrap().to_bytes();

        assert_eq!(bytes, r#"{"a":0,"model":"ne\"w","n":1}"#);
        assert_eq!(bytes, payload.to_bytes());
        assert_eq!(hint, Some(bytes.len() as u64));
        assert_eq!(payload.model(), "ne\"w");
    }

    #[test]
    fn something_can_be_put_in_where_something_else_begins() {
        let payload = payload(r#"{"model":"old"}"#);

        let one = payload.clone().edited(1..14, "b").edited(1..1, "a").to_bytes();
        let other = payload.edited(1..1, "a").edited(1..14, "b").to_bytes();

        assert_eq!((&*one, &*other), (&b"{ab}"[..], &b"{ab}"[..]));
    }

    #[test]
    fn a_later_edit_takes_the_place_of_those_it_covers() {
        let named = payload(r#"{"model":"old","n":1}"#).with_model(&ModelName::new("new"));

        let rewritten = named.clone().edited(9..14, "1").edited(1..1, "a").edited(1..8, "b");
        let removed = named.edited(1..1, "c").edited(9..9, "d").edited(1..15, "");

        assert_eq!(rewritten.to_bytes(), r#"{ab:1,"n":1}"#);
        assert_eq!(removed.to_bytes(), r#"{c"n":1}"#);
    }

    #[test]
    fn the_last_model_wins() {
        let payload = payload(r#"{"model":"old"}"#);

        let twice = payload.with_model(&ModelName::new("a")).with_model(&ModelName::new("b"));

        assert_eq!(twice.to_bytes(), r#"{"model":"b"}"#);
    }

    #[test]
    fn the_same_model_changes_nothing() {
        let payload = payload(r#"{"model":"old"}"#);

        assert_eq!(payload.with_model(&ModelName::new("old")).to_bytes().as_ptr(), payload.source().as_ptr());
    }
}
