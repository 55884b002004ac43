use std::{borrow::Cow, pin::pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::Body;
use http_body_util::BodyExt;
use serde_json::value::RawValue;

use super::{
    body::Translated,
    missing::missing,
    undo::UndoStream,
    unsaid::{Unsaid, note_citations},
};
use crate::{
    BoxError, Dialect, Error, Exchange, Kind, Payload, Target,
    body::{Framing, Splitter, sse::Event},
    dialect::{
        BETAS, ChatCodec, Codec, CountCodec, Decode, EmbeddingsCodec, Encoded, Undo, assembled::Assembler,
        canonical::Extra, embeddings::Form, joined::Joined,
    },
    exchange::AssumeOutput,
    headers,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What is known of a request besides its body.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// Whether a stream of the provider's is to become a whole answer.
    pub(super) assembles: bool,
    /// The output to reckon with.
    pub(super) assumed: Option<AssumeOutput>,
    /// What the client's header says of features of Anthropic's, as an array, where that belongs into the body.
    pub(super) betas: Option<Box<RawValue>>,
}

/// The way from a client's dialect to a provider's of the same task.
#[derive(Clone, Copy)]
pub(super) enum Pair {
    Chat {
        client: &'static dyn ChatCodec,
        provider: &'static dyn ChatCodec,
        framing: Framing,
        /// The dialect, if both have the same.
        same: Option<&'static str>,
        unsaid: Unsaid,
    },
    Count {
        client: &'static dyn CountCodec,
        provider: &'static dyn CountCodec,
    },
    Embeddings {
        client: &'static dyn EmbeddingsCodec,
        provider: &'static dyn EmbeddingsCodec,
    },
}

impl Pair {
    /// `None` where there is no way.
    pub(super) fn of(asked: &dyn Dialect, provider: &dyn Dialect) -> Option<Self> {
        match (asked.codec()?, provider.codec()?) {
            (Codec::Chat(client), Codec::Chat(answers)) => {
                let same = (asked.id() == provider.id()).then_some(asked.id());
                let unsaid = if same.is_some() { Unsaid::NOTHING } else { Unsaid::by(provider) };
                Some(Self::Chat { client, provider: answers, framing: provider.framing(), same, unsaid })
            }
            (Codec::Count(client), Codec::Count(provider)) => Some(Self::Count { client, provider }),
            (Codec::Embeddings(client), Codec::Embeddings(provider)) => {
                Some(Self::Embeddings { client, provider })
            }
            _ => None,
        }
    }

    /// The request for the provider, and the way back, on which a stream may become a whole answer.
    pub(super) fn request(
        self,
        asked: Payload,
        to: &Target,
        Beside { assembles, assumed, betas }: Beside,
    ) -> Result<(Encoded, Back), Error> {
        match self {
            Self::Chat { client, provider, framing, same, unsaid } => {
                let mut request = client.decode_request(asked.source())?;
                if let Some(value) = betas {
                    request.extras.insert(0, Extra { field: BETAS.into(), value: Cow::Owned(value) });
                }
                // Not every dialect says in the body whether it is to be a stream.
                request.stream = asked.head().stream || assembles;
                request.assumed_output = assumed.map(|assumed| assumed.tokens);
                let cap = assumed.filter(|assumed| assumed.is_cap).map(|assumed| assumed.tokens);
                request.max_output = request.max_output.or(cap);
                let mut encoded = provider.encode_request(&request, to)?;
                let undo = std::mem::take(&mut encoded.undo);
                let joined = same.filter(|_| assembles).and_then(Joined::of);
                drop(request);
                let asked = Box::new(asked);
                Ok((
                    encoded,
                    Back::Chat { client, provider, framing, undo, asked, assembles, joined, unsaid },
                ))
            }
            Self::Count { client, provider } => {
                let encoded = provider.encode_request(&client.decode_request(asked.source())?, to)?;
                Ok((encoded, Back::Count { client, provider }))
            }
            Self::Embeddings { client, provider } => {
                let request = client.decode_request(asked.source())?;
                let encoded = provider.encode_request(&request, to)?;
                Ok((encoded, Back::Embeddings { client, provider, form: request.form }))
            }
        }
    }
}

/// What the way back needs.
pub(super) enum Back {
    Chat {
        client: &'static dyn ChatCodec,
        provider: &'static dyn ChatCodec,
        framing: Framing,
        undo: Undo,
        /// What the client wants.
        asked: Box<Payload>,
        /// The provider streams what the client wants whole.
        assembles: bool,
        /// What puts the stream together where both have the same dialect.
        joined: Option<Joined>,
        unsaid: Unsaid,
    },
    Count {
        client: &'static dyn CountCodec,
        provider: &'static dyn CountCodec,
    },
    Embeddings {
        client: &'static dyn EmbeddingsCodec,
        provider: &'static dyn EmbeddingsCodec,
        form: Form,
    },
}

impl Back {
    /// The way back within one dialect of chats, where the provider streams what the client wants whole.
    pub(super) fn assembling(asked: Payload) -> Option<Self> {
        let dialect = asked.dialect();
        let codec = dialect.codec().and_then(Codec::chat)?;
        let (framing, undo) = (dialect.framing(), Undo::default());
        let joined = Joined::of(dialect.id());
        let (client, provider, unsaid) = (codec, codec, Unsaid::NOTHING);
        let asked = Box::new(asked);
        Some(Self::Chat { client, provider, framing, undo, asked, assembles: true, joined, unsaid })
    }

    pub(super) async fn answer<F, R, E>(
        mut self,
        call: F,
        exchange: Exchange,
        target: Arc<Target>,
    ) -> Result<Response<Translated<R>>, Error>
    where
        F: Future<Output = Result<Response<R>, E>>,
        E: Into<Error>,
        R: Body<Data = Bytes>,
        R::Error: Into<BoxError>,
    {
        let (mut parts, inner) = call.await.map_err(Into::into)?.into_parts();
        parts.headers.remove(header::CONTENT_LENGTH);
        // Who is asked for a stream that nobody needs may as well answer at once.
        let is_whole = headers::is_json(&parts.headers);
        if let Self::Chat { provider, framing, joined, .. } = &mut self
            && let Some(joined) = joined.take()
        {
            let whole = match is_whole {
                true => collected(inner).await?,
                false => put_together(inner, *framing, provider.decoder(), joined).await?,
            };
            let body = self.rewritten(whole, &exchange, &target)?;
            parts.headers.insert(header::CONTENT_TYPE, JSON);
            return Ok(Response::from_parts(parts, Translated::whole(body)));
        }
        if let Self::Chat { client, provider, framing, undo, asked, assembles, unsaid, .. } = &self
            && (asked.head().stream || *assembles && !is_whole)
        {
            let encoder = match assembles {
                true => Box::new(Assembler::new(*client, Payload::clone(asked))),
                false => client.encoder(asked),
            };
            let stream = UndoStream::new(provider.decoder(), encoder, undo.clone(), target.model().into())
                .noting(*unsaid, exchange.clone());
            let stream = Translated::stream(inner, *framing, stream);
            if !assembles {
                return Ok(Response::from_parts(parts, stream));
            }
            parts.headers.insert(header::CONTENT_TYPE, JSON);
            return Ok(Response::from_parts(parts, Translated::whole(assembled(stream).await?)));
        }
        let whole = collected(inner).await?;
        let body = self.whole(&whole, &exchange, &target)?;
        if let Self::Chat { unsaid, .. } = &self {
            unsaid.note(&whole, &exchange);
        }
        if matches!(self, Self::Embeddings { .. }) && is_estimated(&exchange) {
            parts.headers.insert(headers::ESTIMATED, HeaderValue::from_static("true"));
        }
        Ok(Response::from_parts(parts, Translated::whole(body)))
    }

    /// An answer of the client's own dialect, which is written anew only where the request was changed, because
    /// what was changed has to be found in it.
    fn rewritten(&self, whole: Bytes, exchange: &Exchange, target: &Target) -> Result<Bytes, Error> {
        if matches!(self, Self::Chat { undo, .. } if undo.is_empty()) {
            return Ok(whole);
        }
        let written = self.whole(&whole, exchange, target)?;
        let lost = missing(&whole, &written);
        exchange.learn(|learnt| learnt.lost.extend(lost));
        Ok(written)
    }

    fn whole(&self, whole: &[u8], exchange: &Exchange, target: &Target) -> Result<Bytes, Error> {
        match self {
            Self::Chat { client, provider, undo, asked, .. } => {
                let mut answer = provider.decode_answer(whole)?;
                if answer.model.is_empty() {
                    answer.model = target.model().into();
                }
                undo.answer(&mut answer);
                note_citations(&answer, *client, exchange);
                Ok(client.encode_answer(&answer, asked))
            }
            Self::Count { client, provider } => Ok(client.encode_answer(provider.decode_answer(whole)?)),
            Self::Embeddings { client, provider, form } => {
                let mut answer = provider.decode_answer(whole)?;
                if answer.model.is_empty() {
                    answer.model = target.model().into();
                }
                // The meter has heard the whole answer by now, and made an estimate if need be.
                let metered = || exchange.learn(|learnt| Some(learnt.attempts.last()?.tokens.input));
                answer.tokens = answer.tokens.or_else(metered);
                Ok(client.encode_answer(&answer, *form))
            }
        }
    }
}

/// The whole answer that a stream of the client's own dialect comes to. It is decoded as well, because that
/// tells failures and streams that broke off.
async fn put_together<R>(
    inner: R,
    framing: Framing,
    mut decoder: Box<dyn Decode>,
    mut joined: Joined,
) -> Result<Bytes, Error>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    let (mut inner, mut events) = (pin!(inner), Splitter::new(framing));
    let mut take = |event: &Event| {
        decoder.event(event, &mut |_| {})?;
        joined.event(event)
    };
    while let Some(frame) = inner.frame().await {
        let Ok(data) = frame.map_err(|error| Error::from(error.into()))?.into_data() else { continue };
        events.push(data)?;
        while let Some(event) = events.next_event() {
            take(&event)?;
        }
    }
    events.finish().map_or(Ok(()), |event| take(&event))?;
    decoder.finish(&mut |_| {})?;
    joined.finish().map(Bytes::from)
}

async fn collected<R>(inner: R) -> Result<Bytes, Error>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    Ok(inner.collect().await.map_err(|error| Error::from(error.into()))?.to_bytes())
}

/// The whole answer that a stream comes to.
async fn assembled(stream: impl Body<Data = Bytes, Error = BoxError>) -> Result<Bytes, Error> {
    let whole = stream.collect().await.map_err(Error::from)?.to_bytes();
    if whole.is_empty() {
        return Err(Error::new(Kind::Upstream, "the provider's answer is too long to be put together"));
    }
    Ok(whole)
}

fn is_estimated(exchange: &Exchange) -> bool {
    exchange.learn(|learnt| learnt.attempts.last().is_some_and(|attempt| attempt.estimated))
}
