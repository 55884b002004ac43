use http::Request;
use http_body_util::BodyExt;
use serde::Deserialize;

use super::Embed;
use crate::{
    BoxFuture, Dialect, Error, Exchange, Kind, Payload, Target, dialect::OPENAI_EMBEDDINGS,
    dispatch::Candidate, exchange::Role,
};

/// The largest answer.
const LARGEST: usize = 16 << 20;

/// The embeddings of a provider. What they cost is part of what the request costs.
#[derive(Clone, Debug)]
pub struct ProviderEmbeddings {
    candidate: Candidate,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Embedding>,
}

#[derive(Deserialize)]
struct Embedding {
    index: usize,
    embedding: Vec<f32>,
}

impl ProviderEmbeddings {
    /// Asks `candidate`, in OpenAI's way.
    pub fn new(candidate: Candidate) -> Self {
        Self { candidate }
    }

    fn request(&self, texts: &[&str], exchange: &Exchange) -> Result<Request<Payload>, Error> {
        let body =
            serde_json::json!({ "model": self.candidate.target().model(), "input": texts }).to_string();
        let (mut parts, ()) = Request::post("/v1/embeddings").body(()).map_err(|_| wrong())?.into_parts();
        parts.extensions.insert(exchange.clone());
        let head = OPENAI_EMBEDDINGS.peek(&parts, &body)?;
        let payload = Payload::new(&OPENAI_EMBEDDINGS, head, body.into(), exchange.clone());
        Ok(Request::from_parts(parts, payload.for_role(Role::Embedding)))
    }
}

fn wrong() -> Error {
    Error::new(Kind::Upstream, "the provider's embeddings can't be understood")
}

async fn answered(candidate: Candidate, req: Request<Payload>, texts: usize) -> Result<Vec<Vec<f32>>, Error> {
    let mut body = candidate.call(req).await?.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| wrong())?;
        bytes.extend_from_slice(frame.data_ref().map(|data| &**data).unwrap_or_default());
        if bytes.len() > LARGEST {
            return Err(wrong());
        }
    }
    let mut answer: Answer = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    answer.data.sort_by_key(|embedding| embedding.index);
    let embeddings: Vec<_> = answer.data.into_iter().map(|embedding| embedding.embedding).collect();
    if embeddings.len() == texts { Ok(embeddings) } else { Err(wrong()) }
}

impl Embed for ProviderEmbeddings {
    fn name(&self) -> &str {
        self.candidate.target().name()
    }

    fn target(&self) -> Option<&Target> {
        Some(self.candidate.target())
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [&'a str],
        exchange: &'a Exchange,
    ) -> BoxFuture<'a, Result<Vec<Vec<f32>>, Error>> {
        match self.request(texts, exchange) {
            Ok(req) => Box::pin(answered(self.candidate.clone(), req, texts.len())),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::Response;
    use http_body_util::Full;

    use super::*;
    use crate::lock;

    /// What a provider that answers with `answer` is asked, and the embeddings of two texts.
    async fn embedded(answer: &'static str) -> (String, Result<Vec<Vec<f32>>, Error>) {
        let asked = Arc::<Mutex<String>>::default();
        let (seen, exchange) = (asked.clone(), Exchange::default());
        let target = Arc::new(Target::new("openai", "small"));
        let own = target.clone();
        let service = tower::service_fn(move |req: Request<Payload>| {
            req.body().begin(&own);
            *lock(&seen) = format!("{} {}", req.uri(), String::from_utf8_lossy(&req.body().to_bytes()));
            async move { Ok::<_, Error>(Response::new(Full::from(answer))) }
        });
        let embedder = ProviderEmbeddings::new(Candidate::new(target, service));

        let embedded = embedder.embed(&["one", "two"], &exchange).await;

        assert_eq!(exchange.learn(|learnt| learnt.attempts[0].role), Role::Embedding);
        assert_eq!((embedder.name(), embedder.target().unwrap().provider()), ("openai/small", "openai"));
        (lock(&asked).clone(), embedded)
    }

    #[tokio::test]
    async fn the_provider_is_asked_for_all_texts_at_once_and_may_answer_in_any_order() {
        let answer = r#"{"data":[{"index":1,"embedding":[0.5]},{"index":0,"embedding":[1.0,-2]}]}"#;

        let (asked, embedded) = embedded(answer).await;

        assert_eq!(asked, r#"/v1/embeddings {"input":["one","two"],"model":"small"}"#);
        assert_eq!(embedded.unwrap(), [vec![1.0, -2.0], vec![0.5]]);
    }

    #[tokio::test]
    async fn an_answer_that_lacks_one_or_is_none_is_an_error() {
        for answer in [r#"{"data":[{"index":0,"embedding":[1.0]}]}"#, "{}", "<html>"] {
            assert_eq!(embedded(answer).await.1.unwrap_err().kind(), Kind::Upstream, "{answer}");
        }
    }
}
