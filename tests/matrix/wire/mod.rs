//! The dialects as their documentation has them, without the codecs that are tested.

mod anthropic;
mod chat;
mod gemini;
mod responses;

use bartizan::{Dialect, Kind};
use serde_json::Value;

pub use self::{anthropic::Messages, chat::Chat, gemini::Gemini, responses::Responses};
use crate::talk::{Answer, Question};

/// Proofs of thoughts, in the order in which the model gives them.
pub const PROOFS: [&str; 2] = ["Zmlyc3QgcHJvb2Y=", "c2Vjb25kIHByb29m"];

/// What clients and providers of one dialect say and understand.
pub trait Wire: Sync {
    /// Its name in the README.
    fn name(&self) -> &'static str;

    fn dialect(&self) -> &'static dyn Dialect;

    /// A model of a provider.
    fn model(&self) -> &'static str;

    fn path(&self, stream: bool) -> &'static str;

    /// The question of a client.
    fn ask(&self, question: &Question, stream: bool) -> Value;

    /// The same question after the answer to it and what its calls returned, as a client makes it that
    /// sends back what it has got.
    fn go_on(&self, question: Value, answer: &Value, results: &[&str]) -> Value;

    /// What a provider understands of a request that is as it wants it.
    fn understand(&self, request: &Value) -> Question;

    /// The answer of a provider, with this proof of its thoughts if the dialect has any.
    fn answer(&self, answer: &Answer, proof: &str) -> Value;

    /// The same as a stream.
    fn stream(&self, answer: &Answer, proof: &str) -> String;

    /// Whether answers have proofs.
    fn has_proofs(&self) -> bool {
        true
    }

    /// The whole answer that a client makes of a stream, which has to end as streams do.
    fn collect(&self, stream: &str) -> Value;

    /// What a client understands of an answer.
    fn read(&self, answer: &Value) -> Answer;

    /// How a provider refuses.
    fn refuse(&self, kind: Kind) -> (u16, Value);

    /// What a client understands of a refusal, by the type that its SDK goes by.
    fn refused(&self, status: u16, body: &Value) -> Kind;

    /// An error in the place of an answer, with a status of success.
    fn failure(&self) -> Value {
        self.refuse(Kind::Overloaded).1
    }

    /// A stream that begins with this text and fails then.
    fn failing_stream(&self, text: &str) -> String;

    /// The text of a stream that has failed, which has to end with an error.
    fn failed(&self, stream: &str) -> String;
}

pub const ALL: [&dyn Wire; 4] = [&Chat, &Responses, &Messages, &Gemini];

/// The id of a call in an answer, which no other answer has.
fn call_id(proof: &str, index: usize) -> String {
    format!("call_{}{index}", proof.get(..3).unwrap_or_default())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn parsed(value: &Value) -> Value {
    serde_json::from_str(value.as_str().unwrap_or_else(|| panic!("{value}"))).unwrap()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// Joins texts, whatever the number of parts they come in.
fn joined<'v>(parts: impl Iterator<Item = &'v Value>) -> String {
    parts.map(text).collect()
}

/// Appends the text of one member to that of another object.
fn append(to: &mut Value, more: &Value) {
    if let Some(more) = more.as_str() {
        *to = (text(to) + more).into();
    }
}

/// The events of a stream: their names, and their data as JSON or as text.
fn events(stream: &str) -> Vec<(String, Value)> {
    let parse = |event: bartizan::body::sse::Event| {
        let data = std::str::from_utf8(&event.data).unwrap();
        let name = std::str::from_utf8(&event.name).unwrap().to_owned();
        (name, serde_json::from_str(data).unwrap_or_else(|_| data.into()))
    };
    crate::gateway::events(stream.to_owned().into()).into_iter().map(parse).collect()
}

fn sse(name: &str, data: &Value) -> String {
    if name.is_empty() { format!("data: {data}\n\n") } else { format!("event: {name}\ndata: {data}\n\n") }
}
