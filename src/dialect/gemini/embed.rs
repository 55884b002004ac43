//! Gemini's `:embedContent` and `:batchEmbedContents`.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    GEMINI,
    path::{self, Method},
    repeat,
};
use crate::{
    Error, Kind, Target,
    dialect::{
        Codec, Dialect, EmbeddingsCodec, Encoded, Sibling,
        canonical::Text,
        embeddings::{self, Answer, Form, Request, Task},
        extras::Extras,
        json,
        lost::Lost,
        object::object,
        text::Str,
    },
    payload::Head,
};

/// `POST /v1beta/models/{model}:embedContent`, of one text.
pub static GEMINI_EMBED: Sibling = Sibling {
    id: "gemini-embed",
    speaks: |path| path::asked(path).is_some_and(|asked| asked.method == Method::Embed),
    path: |payload| path::of(payload.model(), Method::Embed).into(),
    codec: Codec::Embeddings(&GeminiEmbedCodec { is_batch: false }),
    ..BATCH
};

/// `POST /v1beta/models/{model}:batchEmbedContents`, of several texts.
pub static GEMINI_BATCH_EMBED: Sibling = BATCH;

const BATCH: Sibling = Sibling {
    id: "gemini-batch-embed",
    chat: &GEMINI,
    speaks: |path| path::asked(path).is_some_and(|asked| asked.method == Method::BatchEmbed),
    path: |payload| path::of(payload.model(), Method::BatchEmbed).into(),
    peek: |parts, body| {
        let shallow: Shallow = json::read(body)?;
        Ok(Head { model: path::model(parts)?, reads_media: shallow.has_media(), ..Head::default() })
    },
    repeat_model: repeat::repeated,
    read_usage: |json, tokens| GEMINI.read_usage(json, tokens),
    codec: Codec::Embeddings(&GeminiEmbedCodec { is_batch: true }),
};

/// The most texts of a batch.
const MAX_INPUTS: usize = 100;

/// What is embedded, as far as it matters whether that is a text. What isn't as it should be is left to the
/// provider, and may be anything.
#[derive(Deserialize)]
struct Shallow {
    #[serde(default)]
    content: ShallowContent,
    #[serde(default)]
    requests: ShallowRequests,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ShallowRequests {
    Several(Vec<ShallowRequest>),
    Odd(IgnoredAny),
}

#[derive(Deserialize)]
struct ShallowRequest {
    #[serde(default)]
    content: ShallowContent,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ShallowContent {
    Parts { parts: Vec<ShallowPart> },
    Odd(IgnoredAny),
}

#[derive(Deserialize)]
struct ShallowPart {
    text: Option<IgnoredAny>,
}

impl Default for ShallowRequests {
    fn default() -> Self {
        Self::Odd(IgnoredAny)
    }
}

impl Default for ShallowContent {
    fn default() -> Self {
        Self::Odd(IgnoredAny)
    }
}

impl Shallow {
    /// Whether there is anything that isn't text.
    fn has_media(&self) -> bool {
        let requests = match &self.requests {
            ShallowRequests::Several(requests) => &requests[..],
            ShallowRequests::Odd(_) => &[],
        };
        self.content.has_media() || requests.iter().any(|request| request.content.has_media())
    }
}

impl ShallowContent {
    fn has_media(&self) -> bool {
        matches!(self, Self::Parts { parts } if parts.iter().any(|part| part.text.is_none()))
    }
}

/// Translates Gemini's embeddings, for clients in the form of one or of several texts; providers are
/// always asked in that of several.
#[derive(Clone, Copy, Debug)]
struct GeminiEmbedCodec {
    is_batch: bool,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    requests: Vec<&'a RawValue>,
}

object! {
    /// One text and what is to be made of it.
    One {
        "model" model: &'a RawValue,
        "content" content: Content<'a>,
        "taskType" | "task_type" task_type: Str<'a>,
        "title" title: Str<'a>,
        "outputDimensionality" | "output_dimensionality" output_dimensionality: u64,
        "embedContentConfig" | "embed_content_config" config: Config<'a>,
        ..unknown
    }
}

object! {
    /// The same settings as newer SDKs have them.
    Config {
        "taskType" | "task_type" task_type: Str<'a>,
        "title" title: Str<'a>,
        "outputDimensionality" | "output_dimensionality" output_dimensionality: u64,
        ..unknown
    }
}

object! {
    /// What a vector is made of.
    Content {
        "role" role: &'a RawValue,
        "parts" parts: Vec<Part<'a>>,
        ..unknown
    }
}

object! {
    /// A piece of it.
    Part {
        "text" text: Str<'a>,
        ..unknown
    }
}

impl EmbeddingsCodec for GeminiEmbedCodec {
    fn decode_request<'a>(&self, body: &'a [u8]) -> Result<Request<'a>, Error> {
        let body =
            str::from_utf8(body).map_err(|_| Error::new(Kind::InvalidRequest, "the body is not UTF-8"))?;
        if !self.is_batch {
            return one(json::read(body)?, "");
        }
        let batch: Batch<'_> = json::read(body)?;
        let mut all: Option<Request<'a>> = None;
        for (index, raw) in batch.requests.iter().enumerate() {
            let path = format!("requests[{index}].");
            let next = one(json::read_member(raw.get(), path.trim_end_matches('.'))?, &path)?;
            match &mut all {
                None => all = Some(next),
                Some(all) => add(all, next, &path)?,
            }
        }
        all.ok_or_else(|| invalid("requests", "expected at least one"))
    }

    fn encode_request(&self, request: &Request<'_>, to: &Target) -> Result<Encoded, Error> {
        embeddings::at_most(request, MAX_INPUTS, to)?;
        let mut lost = Lost::default();
        lost.push_if(request.user.is_some(), "user");
        request.extras.iter().for_each(|extra| lost.push(&extra.field));
        let model = repeat::name(to.model());
        let one = |text| WrittenOne {
            model: &model,
            content: WrittenContent { parts: [WrittenPart { text }] },
            task_type: request.task.map(task_type),
            title: request.title.as_deref(),
            output_dimensionality: request.dimensions,
        };
        let requests: Vec<_> = request.inputs.iter().map(|text| one(&**text)).collect();
        let body = json::written(&WrittenBatch { requests })?;
        Ok(Encoded { body, lost: lost.into_names(), ..Encoded::default() })
    }

    fn decode_answer<'a>(&self, body: &'a [u8]) -> Result<Answer<'a>, Error> {
        let wire: WireAnswer = json::parse(body).map_err(embeddings::unreadable)?;
        let vectors = match (wire.embeddings, wire.embedding) {
            (Some(vectors), _) => vectors,
            (None, Some(vector)) => vec![vector],
            (None, None) => return Err(embeddings::unreadable("there are neither one nor several")),
        };
        Ok(Answer {
            model: "".into(),
            vectors: vectors.into_iter().map(|vector| vector.values).collect(),
            tokens: wire.usage_metadata.and_then(|usage| usage.prompt_token_count),
        })
    }

    fn encode_answer(&self, answer: &Answer<'_>, _: Form) -> Bytes {
        let mut vectors = answer.vectors.iter().map(|values| WrittenVector { values });
        let (embedding, embeddings) =
            if self.is_batch { (None, Some(vectors.collect())) } else { (vectors.next(), None) };
        let usage_metadata = answer.tokens.map(|tokens| Usage { prompt_token_count: Some(tokens) });
        serde_json::to_vec(&WrittenAnswer { embedding, embeddings, usage_metadata })
            .unwrap_or_default()
            .into()
    }
}

fn invalid(field: &str, what: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("{field}: {what}")).with_param(field)
}

/// Reads a request for one text that stands at `path`.
fn one<'a>(wire: One<'a>, path: &str) -> Result<Request<'a>, Error> {
    let mut extras = Extras::default();
    let says_something = |_: &str, value: &RawValue| !matches!(value.get(), "null" | "true");
    let config = wire.config.unwrap_or_default();
    extras.all("", wire.unknown, says_something);
    extras.all("embedContentConfig.", config.unknown, says_something);
    let content = wire.content.ok_or_else(|| invalid(&format!("{path}content"), "is missing"))?;
    extras.all("content.", content.unknown, says_something);
    let mut texts = Vec::new();
    for (place, part) in content.parts.unwrap_or_default().into_iter().enumerate() {
        let field = || format!("{path}content.parts[{place}]");
        texts
            .push(part.text.ok_or_else(|| invalid(&field(), "only texts can be translated for this model"))?);
    }
    let text: Text<'a> = match texts.len() {
        1 => texts.remove(0).into(),
        _ => texts.iter().map(|text| &**text).collect::<Vec<_>>().concat().into(),
    };
    let task_type = wire.task_type.or(config.task_type);
    let task = task_type.as_deref().and_then(task);
    if task.is_none() && task_type.as_deref() != Some("TASK_TYPE_UNSPECIFIED") {
        extras.text("taskType", task_type);
    }
    Ok(Request {
        inputs: vec![text],
        task,
        title: wire.title.or(config.title).map(Into::into),
        dimensions: wire.output_dimensionality.or(config.output_dimensionality),
        extras: extras.into_vec(),
        ..Request::default()
    })
}

/// Others ask for all texts of a request alike.
fn add<'a>(all: &mut Request<'a>, next: Request<'a>, path: &str) -> Result<(), Error> {
    let differs = [
        ("taskType", all.task != next.task),
        ("title", all.title != next.title),
        ("outputDimensionality", all.dimensions != next.dimensions),
    ];
    if let Some((field, _)) = differs.into_iter().find(|(_, differs)| *differs) {
        return Err(invalid(&format!("{path}{field}"), "has to be the same in all requests for this model"));
    }
    all.inputs.extend(next.inputs);
    for extra in next.extras {
        if !all.extras.iter().any(|known| known.field == extra.field) {
            all.extras.push(extra);
        }
    }
    Ok(())
}

/// What Google calls a task.
pub(in crate::dialect) fn task_type(task: Task) -> &'static str {
    TASKS.iter().find(|(known, _)| *known == task).map_or("TASK_TYPE_UNSPECIFIED", |(_, name)| *name)
}

fn task(name: &str) -> Option<Task> {
    TASKS.iter().find(|(_, known)| *known == name).map(|(task, _)| *task)
}

const TASKS: [(Task, &str); 8] = [
    (Task::Query, "RETRIEVAL_QUERY"),
    (Task::Document, "RETRIEVAL_DOCUMENT"),
    (Task::Similarity, "SEMANTIC_SIMILARITY"),
    (Task::Classification, "CLASSIFICATION"),
    (Task::Clustering, "CLUSTERING"),
    (Task::QuestionAnswering, "QUESTION_ANSWERING"),
    (Task::FactVerification, "FACT_VERIFICATION"),
    (Task::CodeQuery, "CODE_RETRIEVAL_QUERY"),
];

#[derive(Serialize)]
struct WrittenBatch<'a> {
    requests: Vec<WrittenOne<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenOne<'a> {
    model: &'a str,
    content: WrittenContent<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u64>,
}

#[derive(Serialize)]
struct WrittenContent<'a> {
    parts: [WrittenPart<'a>; 1],
}

#[derive(Serialize)]
struct WrittenPart<'a> {
    text: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAnswer {
    embedding: Option<Vector>,
    embeddings: Option<Vec<Vector>>,
    usage_metadata: Option<Usage>,
}

#[derive(Deserialize)]
struct Vector {
    values: Vec<f32>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Usage {
    prompt_token_count: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenAnswer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<WrittenVector<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embeddings: Option<Vec<WrittenVector<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_metadata: Option<Usage>,
}

#[derive(Serialize)]
struct WrittenVector<'a> {
    values: &'a [f32],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Exchange, Payload, payload::ModelName};

    const ONE: GeminiEmbedCodec = GeminiEmbedCodec { is_batch: false };
    const SEVERAL: GeminiEmbedCodec = GeminiEmbedCodec { is_batch: true };

    #[test]
    fn the_settings_of_one_text_are_read_wherever_they_stand() {
        let old = r#"{"model":"models/m","content":{"parts":[{"text":"a"},{"text":"b"}]},"taskType":"RETRIEVAL_DOCUMENT","title":"t","outputDimensionality":768}"#;
        let new = r#"{"content":{"parts":[{"text":"ab"}]},"embedContentConfig":{"taskType":"RETRIEVAL_DOCUMENT","title":"t","outputDimensionality":768,"autoTruncate":false}}"#;

        for body in [old, new] {
            let request = ONE.decode_request(body.as_bytes()).unwrap();
            assert_eq!(request.inputs, ["ab"]);
            assert_eq!((request.task, request.title.as_deref()), (Some(Task::Document), Some("t")));
            assert_eq!(request.dimensions, Some(768));
        }
        let lost = &ONE.decode_request(new.as_bytes()).unwrap().extras;
        assert_eq!(lost[0].field, "embedContentConfig.autoTruncate");
    }

    #[test]
    fn what_can_not_be_translated_is_refused_by_name() {
        for (body, param) in [
            (r#"{"requests":[]}"#, "requests"),
            (r#"{"requests":[{}]}"#, "requests[0].content"),
            (r#"{"requests":[{"content":{"parts":[{"inlineData":{}}]}}]}"#, "requests[0].content.parts[0]"),
            (
                r#"{"requests":[{"content":{"parts":[{"text":"a"}]}},{"content":{"parts":[{"text":"b"}]},"taskType":"CLUSTERING"}]}"#,
                "requests[1].taskType",
            ),
        ] {
            let error = SEVERAL.decode_request(body.as_bytes()).unwrap_err();
            assert_eq!((error.kind(), error.param()), (Kind::InvalidRequest, Some(param)), "{body}");
        }
    }

    #[test]
    fn a_provider_is_asked_for_each_text_alike() {
        let request = Request {
            inputs: vec!["a".into(), "b".into()],
            task: Some(Task::Query),
            dimensions: Some(8),
            user: Some("u".into()),
            ..Request::default()
        };

        let encoded = SEVERAL.encode_request(&request, &Target::new("p", "g")).unwrap();
        let many = Request { inputs: vec!["a".into(); 101], ..Request::default() };
        let refused = SEVERAL.encode_request(&many, &Target::new("p", "g")).unwrap_err();

        assert_eq!(
            str::from_utf8(&encoded.body).unwrap(),
            r#"{"requests":[{"model":"models/g","content":{"parts":[{"text":"a"}]},"taskType":"RETRIEVAL_QUERY","outputDimensionality":8},{"model":"models/g","content":{"parts":[{"text":"b"}]},"taskType":"RETRIEVAL_QUERY","outputDimensionality":8}]}"#
        );
        assert_eq!(encoded.lost, ["user"].map(Box::<str>::from));
        assert_eq!(refused.param(), Some("input"));
    }

    #[test]
    fn answers_are_of_one_or_of_several() {
        let one = r#"{"embedding":{"values":[0.5]},"usageMetadata":{"promptTokenCount":2}}"#;
        let several = r#"{"embeddings":[{"values":[0.5]},{"values":[1.5]}]}"#;

        for (codec, text) in [(ONE, one), (SEVERAL, several)] {
            let answer = codec.decode_answer(text.as_bytes()).unwrap();
            assert_eq!(codec.encode_answer(&answer, Form::Base64), text);
        }
        assert!(ONE.decode_answer(b"{}").is_err());
    }

    #[test]
    fn what_is_not_text_is_seen_wherever_it_stands() {
        let reads_media = |method: &str, body: &str| {
            let (parts, ()) =
                http::Request::post(format!("/v1beta/models/m:{method}")).body(()).unwrap().into_parts();
            GEMINI_EMBED.peek(&parts, body).unwrap().reads_media
        };
        let text = r#"{"content":{"parts":[{"text":"q"}]}}"#;
        let picture = r#"{"content":{"parts":[{"text":"q"},{"file_data":{"file_uri":"u"}}]}}"#;

        assert!(!reads_media("embedContent", text) && reads_media("embedContent", picture));
        let several = format!(r#"{{"requests":[{text},{picture}]}}"#);
        assert!(reads_media("batchEmbedContents", &several));
        assert!(!reads_media("batchEmbedContents", &format!(r#"{{"requests":[{text},{text}]}}"#)));
        assert!(!reads_media("embedContent", r#"{"content":7,"requests":{}}"#));
    }

    #[test]
    fn a_request_that_passes_names_one_model_only() {
        let body =
            r#"{"requests":[{"model":"models/alias","content":{}},{"content":{},"model":"models/alias"}]}"#;
        let req = http::Request::post("/v1beta/models/alias:batchEmbedContents").body(()).unwrap();
        let head = GEMINI_BATCH_EMBED.peek(&req.into_parts().0, body).unwrap();
        let payload = Payload::new(&GEMINI_BATCH_EMBED, head, body.into(), Exchange::default());

        let sent = GEMINI_BATCH_EMBED.repeat_model(payload.with_model(&ModelName::new("g")));

        assert_eq!(
            sent.to_bytes(),
            r#"{"requests":[{"model":"models/g","content":{}},{"content":{},"model":"models/g"}]}"#
        );
        assert_eq!(sent.head().max_output, Some(0));
    }
}
