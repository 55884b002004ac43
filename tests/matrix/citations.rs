//! What an answer cites: the same page and the same characters, whatever the dialects.

use serde_json::{Value, json};

use crate::{
    gateway::{Act, ask, ask_for_stream, events, target},
    talk::Question,
    wire::{ALL, Wire},
};

/// A text in which characters, bytes and UTF-16 units are counted differently.
const PIECES: [&str; 3] = ["\u{1F600} Grüße: ", "世界 ist schön", "."];
const URL: &str = "https://example.com/a";

/// What cites, and what.
#[derive(Debug, PartialEq)]
struct Cited {
    text: String,
    url: String,
    title: String,
}

fn expected() -> Cited {
    Cited { text: PIECES[1].into(), url: URL.into(), title: "A".into() }
}

/// Where the piece begins and ends that cites, by the length of texts.
fn span(length: fn(&str) -> usize) -> (usize, usize) {
    (length(PIECES[0]), length(PIECES[0]) + length(PIECES[1]))
}

fn characters(text: &str) -> usize {
    text.chars().count()
}

fn page() -> Value {
    let (start, end) = span(characters);
    json!({"url": URL, "title": "A", "start_index": start, "end_index": end})
}

fn annotation() -> Value {
    let mut page = page();
    page["type"] = "url_citation".into();
    page
}

fn citation() -> Value {
    json!({"type": "web_search_result_location", "cited_text": "q", "url": URL, "title": "A", "encrypted_index": "Eo8B"})
}

fn grounding() -> Value {
    let (start, end) = span(str::len);
    json!({"webSearchQueries": ["q"], "groundingChunks": [{"web": {"uri": "https://example.com/b", "title": "B"}},
        {"web": {"uri": URL, "title": "A"}}],
        "groundingSupports": [{"segment": {"startIndex": start, "endIndex": end}, "groundingChunkIndices": [1]}]})
}

/// The answer of a provider.
fn whole(provider: &dyn Wire) -> Value {
    let text = PIECES.concat();
    match provider.name() {
        "chat" => {
            json!({"id": "c", "model": "gpt-a", "choices": [{"index": 0, "finish_reason": "stop", "message": {
            "role": "assistant", "content": text, "annotations": [{"type": "url_citation", "url_citation": page()}]}}]})
        }
        "responses" => {
            json!({"id": "resp_1", "model": "gpt-a", "status": "completed", "output": [{"type": "message",
            "id": "msg_1", "role": "assistant", "status": "completed", "content": [
                {"type": "output_text", "text": text, "annotations": [annotation()]}]}]})
        }
        "messages" => json!({"id": "msg_1", "model": "claude-a", "stop_reason": "end_turn", "content": [
            {"type": "text", "text": PIECES[0]},
            {"type": "text", "text": PIECES[1], "citations": [citation()]},
            {"type": "text", "text": PIECES[2]}], "usage": {"input_tokens": 1, "output_tokens": 1}}),
        _ => {
            json!({"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP",
            "groundingMetadata": grounding()}], "modelVersion": "gemini-a", "responseId": "r"})
        }
    }
}

/// The same as a stream.
fn stream(provider: &dyn Wire) -> String {
    let data =
        |events: Vec<Value>| events.iter().map(|event| format!("data: {event}\n\n")).collect::<String>();
    match provider.name() {
        "chat" => {
            let chunk = |delta: Value, finish: Value| {
                json!({"id": "c", "model": "gpt-a", "choices": [
                {"index": 0, "delta": delta, "finish_reason": finish}]})
            };
            let mut chunks: Vec<_> =
                PIECES.iter().map(|piece| chunk(json!({"content": piece}), Value::Null)).collect();
            let cited = json!({"annotations": [{"type": "url_citation", "url_citation": page()}]});
            chunks.insert(2, chunk(cited, Value::Null));
            chunks.push(chunk(json!({}), "stop".into()));
            data(chunks) + "data: [DONE]\n\n"
        }
        "responses" => {
            let place = json!({"item_id": "msg_1", "output_index": 0, "content_index": 0});
            let event = |kind: &str, member: &str, value: Value| {
                let mut event = place.clone();
                (event["type"], event[member]) = (kind.into(), value);
                event
            };
            let mut response = whole(provider);
            let item = response["output"][0].clone();
            let mut events =
                vec![json!({"type": "response.created", "response": {"id": "resp_1", "model": "gpt-a"}})];
            events.extend(PIECES.map(|piece| event("response.output_text.delta", "delta", piece.into())));
            events.insert(3, event("response.output_text.annotation.added", "annotation", annotation()));
            events.push(event("response.output_item.done", "item", item));
            events.push(json!({"type": "response.completed", "response": response.take()}));
            data(events)
        }
        "messages" => {
            let mut events =
                vec![json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude-a",
                "content": [], "usage": {"input_tokens": 1, "output_tokens": 1}}})];
            for (index, piece) in PIECES.iter().enumerate() {
                let block = json!({"type": "text", "text": ""});
                events.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
                let delta =
                    |delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
                if index == 1 {
                    events.push(delta(json!({"type": "citations_delta", "citation": citation()})));
                }
                events.push(delta(json!({"type": "text_delta", "text": piece})));
                events.push(json!({"type": "content_block_stop", "index": index}));
            }
            events.push(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}));
            events.push(json!({"type": "message_stop"}));
            data(events)
        }
        _ => {
            let chunk = |piece: &str| json!({"candidates": [{"content": {"parts": [{"text": piece}]}}]});
            let mut chunks: Vec<_> = PIECES.iter().map(|piece| chunk(piece)).collect();
            chunks.push(json!({"candidates": [{"finishReason": "STOP", "groundingMetadata": grounding()}]}));
            data(chunks)
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap_or_else(|| panic!("{value}")) as usize
}

fn of_page(said: &str, page: &Value) -> Cited {
    let (start, end) = (number(&page["start_index"]), number(&page["end_index"]));
    Cited {
        text: said.chars().skip(start).take(end - start).collect(),
        url: text(&page["url"]).into(),
        title: text(&page["title"]).into(),
    }
}

/// What a client understands of a whole answer.
fn read(client: &dyn Wire, answer: &Value) -> Vec<Cited> {
    match client.name() {
        "chat" => {
            let message = &answer["choices"][0]["message"];
            let said = text(&message["content"]);
            list(&message["annotations"]).iter().map(|one| of_page(said, &one["url_citation"])).collect()
        }
        "responses" => {
            let parts = list(&answer["output"][0]["content"]).iter();
            let of = |part: &'_ Value| -> Vec<Cited> {
                list(&part["annotations"]).iter().map(|one| of_page(text(&part["text"]), one)).collect()
            };
            parts.flat_map(of).collect()
        }
        "messages" => {
            let of = |block: &Value, citation: &Value| {
                assert_eq!(citation["type"], "web_search_result_location");
                let said =
                    [&block["text"], &citation["url"], &citation["title"]].map(|member| text(member).into());
                let [text, url, title] = said;
                Cited { text, url, title }
            };
            let blocks = list(&answer["content"]).iter();
            blocks.flat_map(|block| list(&block["citations"]).iter().map(move |one| of(block, one))).collect()
        }
        _ => {
            let candidate = &answer["candidates"][0];
            let parts = list(&candidate["content"]["parts"]);
            let metadata = &candidate["groundingMetadata"];
            let of = |support: &Value| {
                let segment = &support["segment"];
                let part = segment["partIndex"].as_u64().unwrap_or_default() as usize;
                let chunk = number(&support["groundingChunkIndices"][0]);
                let page = &metadata["groundingChunks"][chunk]["web"];
                let (start, end) = (number(&segment["startIndex"]), number(&segment["endIndex"]));
                let cited = &text(&parts[part]["text"])[start..end];
                Cited {
                    text: cited.into(),
                    url: text(&page["uri"]).into(),
                    title: text(&page["title"]).into(),
                }
            };
            list(&metadata["groundingSupports"]).iter().map(of).collect()
        }
    }
}

/// The whole answer of a client's stream, as far as it matters here.
fn collect(client: &dyn Wire, stream: &str) -> Value {
    let events = events(stream.to_owned().into());
    let events = events.iter().filter_map(|event| serde_json::from_slice::<Value>(&event.data).ok());
    let mut said = String::new();
    let mut cited = Vec::new();
    let mut blocks: Vec<Value> = Vec::new();
    let mut metadata = Value::Null;
    for event in events {
        match client.name() {
            "chat" => {
                let delta = &event["choices"][0]["delta"];
                said += text(&delta["content"]);
                cited.extend(list(&delta["annotations"]).to_vec());
            }
            "responses" if event["type"] == "response.completed" => return event["response"].clone(),
            "messages" if event["type"] == "content_block_start" => {
                blocks.push(json!({"text": "", "citations": []}));
            }
            "messages" => {
                let Some(block) = blocks.last_mut() else { continue };
                block["text"] = (text(&block["text"]).to_owned() + text(&event["delta"]["text"])).into();
                if let Some(citation) = event["delta"].get("citation") {
                    block["citations"].as_array_mut().unwrap().push(citation.clone());
                }
            }
            _ => {
                let candidate = &event["candidates"][0];
                for part in list(&candidate["content"]["parts"]) {
                    said += text(&part["text"]);
                }
                if let Some(said) = candidate.get("groundingMetadata") {
                    metadata = said.clone();
                }
            }
        }
    }
    json!({"choices": [{"message": {"content": said, "annotations": cited}}], "content": blocks,
        "candidates": [{"content": {"parts": [{"text": said}]}, "groundingMetadata": metadata}]})
}

/// C83
#[tokio::test]
async fn c83_what_is_cited_is_cited_in_every_dialect() {
    for (client, provider) in ALL.into_iter().flat_map(|client| ALL.map(|provider| (client, provider))) {
        let question = |stream| client.ask(&Question::new("Hi"), stream);
        let (dialect, target) = (provider.dialect(), || target(provider.model()));
        let (answer, events) = (Act::Answer(whole(provider)), || Act::Stream(stream(provider)));

        let got = ask(client.path(false), &question(false), dialect, target(), answer).await;
        let assembled =
            ask_for_stream(client.path(false), &question(false), dialect, target(), events()).await;
        let streamed = ask(client.path(true), &question(true), dialect, target(), events()).await;

        let pair = format!("{} to {}", client.name(), provider.name());
        for got in [&got, &assembled] {
            assert_eq!(read(client, &got.json()), [expected()], "{pair}: {}", got.json());
        }
        let cited = read(client, &collect(client, streamed.text()));
        if client.name() == "messages" && provider.name() != "messages" {
            // What was written before can't be divided any more.
            let [Cited { text, url, .. }] = &cited[..] else { panic!("{pair}: {cited:?}") };
            assert!(text.ends_with(PIECES[1]) || *text == PIECES.concat(), "{pair}: {text}");
            assert_eq!(url, URL);
        } else {
            assert_eq!(cited, [expected()], "{pair}: {}", streamed.text());
        }
        // How Gemini has searched is said to nobody else.
        let is_told = provider.name() != "Gemini" || client.name() == "Gemini";
        let lost: &[&str] = if is_told { &[] } else { &["answer.webSearchQueries"] };
        for got in [got, assembled, streamed] {
            assert_eq!(got.lost, lost, "{pair}");
            assert!(!is_told || got.lost_header().is_empty(), "{pair}");
        }
    }
}

/// What has no place is said to be lost, whole or streamed.
#[tokio::test]
async fn what_can_not_be_cited_is_lost_and_said_to_be() {
    let provider = ALL[2];
    for (client, is_lost) in ALL.into_iter().zip([true, true, false, false]) {
        let place = json!({"type": "page_location", "cited_text": "q", "document_index": 0, "document_title": "D",
            "start_page_number": 1, "end_page_number": 2});
        let mut answer = whole(provider);
        answer["content"][1]["citations"][0] = place.clone();
        let stream = stream(provider).replace(&citation().to_string(), &place.to_string());
        let target = || target(provider.model());

        let question = client.ask(&Question::new("Hi"), false);
        let whole =
            ask(client.path(false), &question, provider.dialect(), target(), Act::Answer(answer)).await;
        let question = client.ask(&Question::new("Hi"), true);
        let streamed =
            ask(client.path(true), &question, provider.dialect(), target(), Act::Stream(stream)).await;

        let expected = if is_lost { vec!["answer.citations"] } else { Vec::new() };
        assert_eq!(whole.lost, expected, "{}", client.name());
        assert_eq!(whole.lost_header(), expected, "{}", client.name());
        assert_eq!(streamed.lost, expected, "{}", client.name());
        assert!(is_lost || whole.text().contains("\"D\"") && streamed.text().contains("\"D\""));
    }
}

/// Perplexity says beside its answers what it has found, in a stream in every chunk.
#[tokio::test]
async fn pages_beside_an_answer_are_cited_once() {
    let found =
        json!({"citations": [URL, "https://example.com/b"], "search_results": [{"url": URL, "title": "A"}]});
    for (client, stream) in ALL.into_iter().skip(1).flat_map(|client| [(client, false), (client, true)]) {
        let (chat, said) = (ALL[0], crate::talk::Answer::new("Hello there"));
        let with = |mut body: Value| {
            for member in ["citations", "search_results"] {
                body[member] = found[member].clone();
            }
            body
        };
        let events = chat
            .stream(&said, "")
            .replace("data: {", &format!("data: {}, ", found.to_string().trim_end_matches('}')));
        let act = if stream { Act::Stream(events) } else { Act::Answer(with(chat.answer(&said, ""))) };

        let question = client.ask(&Question::new("Hi"), stream);
        let got = ask(client.path(stream), &question, chat.dialect(), target(chat.model()), act).await;

        let whole = if stream { collect(client, got.text()) } else { got.json() };
        assert_eq!(client.name() == "Gemini", whole["candidates"][0]["groundingMetadata"].is_object());
        let text = whole.to_string();
        assert_eq!(
            (text.matches(URL).count() > 0, text.matches("https://example.com/b").count() > 0),
            (true, true),
            "{text}"
        );
        if client.name() != "Gemini" {
            let urls: Vec<_> = read(client, &whole).into_iter().map(|cited| cited.url).collect();
            assert_eq!(urls, [URL, "https://example.com/b"]);
        }
        assert!(got.lost.is_empty());
    }
}

/// Anthropic takes no page back that its own search has not found; one of its own it gets as it was.
#[tokio::test]
async fn a_page_that_others_have_found_does_not_go_to_anthropic() {
    let provider = ALL[2];
    for (proof, is_taken) in [("", false), ("Eo8B", true)] {
        let mut page = citation();
        page["encrypted_index"] = proof.into();
        let said = json!([{"type": "text", "text": "See A.", "citations": [page]}]);
        let mut question = provider.ask(&Question::new("Hi"), false);
        question["messages"] = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": said},
            {"role": "user", "content": "And?"}]);
        let answer = Act::Answer(whole(provider));

        let got =
            ask(provider.path(false), &question, provider.dialect(), target(provider.model()), answer).await;

        let asked = &got.asked.as_ref().unwrap()["messages"][1]["content"][0];
        assert_eq!((&asked["text"], asked["citations"].is_array()), (&json!("See A."), is_taken));
        assert_eq!(got.lost, if is_taken { vec![] } else { vec!["messages[].content[].citations"] });
    }
}
