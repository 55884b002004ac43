//! What is asked and answered, in no dialect.

use bartizan::Tokens;
use serde_json::{Value, json};

/// The picture in a question, which is a PNG by its first bytes.
pub const PICTURE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ";

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    pub system: String,
    pub turns: Vec<Turn>,
    /// Whether the model may call [`tool`].
    pub has_tool: bool,
    /// Whether the answer is to be of [`schema`].
    pub has_schema: bool,
    /// Whether the model is to think hard, and to let its thoughts be read.
    pub thinks: bool,
}

/// A piece of the conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn {
    User {
        text: String,
        has_picture: bool,
    },
    Assistant {
        text: String,
        calls: Vec<Call>,
    },
    /// What came of the calls before it, in their order.
    Results(Vec<String>),
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub name: String,
    pub arguments: Value,
}

/// The id of a call in a question, by its place.
pub fn id(turn: usize, call: usize) -> String {
    format!("call_{turn}_{call}")
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub reasoning: String,
    pub text: String,
    pub calls: Vec<Call>,
    pub finish: Finish,
    pub tokens: Tokens,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    Stop,
    Length,
    Calls,
    Refused,
}

impl Question {
    pub fn new(text: &str) -> Self {
        Self {
            system: "Be \"brief\".".into(),
            turns: vec![Turn::User { text: text.into(), has_picture: false }],
            ..Self::default()
        }
    }
}

impl Answer {
    pub fn new(text: &str) -> Self {
        let tokens = Tokens { input: 1000, cached: 400, output: 200, reasoning: 50, ..Tokens::default() };
        Self { reasoning: String::new(), text: text.into(), calls: Vec::new(), finish: Finish::Stop, tokens }
    }

    pub fn calling(calls: Vec<Call>) -> Self {
        Self { calls, finish: Finish::Calls, ..Self::new("") }
    }
}

pub fn weather(city: &str) -> Call {
    Call { name: "get_weather".into(), arguments: json!({"city": city, "days": 2}) }
}

pub const TOOL: &str = "get_weather";

/// What the tool takes.
pub fn parameters() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]})
}

/// What an answer is to be.
pub fn schema() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false})
}

/// A text in two pieces, as streams have it; it may be cut anywhere but in a character.
pub fn halves(text: &str) -> [&str; 2] {
    let middle = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let (begin, end) = text.split_at(middle);
    [begin, end]
}
