//! Canonical turns become contents: the user first, and every call answered right after it, in order.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
};

use super::{
    model::Traits,
    parts::Writer,
    wire::write::{Content as Wire, Data, FunctionResponse, Part as WirePart, Response, Said},
};
use crate::{
    Error, Kind,
    dialect::{
        canonical::{Content, Part, Request, Role, ToolCall, Turn},
        lost::Lost,
        names::Names,
    },
};

/// Stands where Gemini needs a text and the client has none.
const EMPTY: &str = "(empty)";
const INTERRUPTED: &str = "[no result: interrupted]";
/// Documented as the last resort where a signature is needed and there is none.
const NO_SIGNATURE: &str = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=";

/// What is said, as Gemini takes it.
#[derive(Debug)]
pub(super) struct Conversation<'a> {
    pub(super) system: Vec<WirePart<'a>>,
    pub(super) contents: Vec<Wire<'a>>,
}

/// Writes the conversation of `request`.
pub(super) fn conversation<'a>(
    request: &'a Request<'a>,
    traits: Traits,
    names: &'a Names<'a>,
    lost: &mut Lost,
) -> Result<Conversation<'a>, Error> {
    let leading = request.turns.iter().take_while(|turn| turn.role == Role::System).count();
    let (before, mut turns) = request.turns.split_at(leading);
    let mut history = History { writer: Writer { names, lost }, traits, contents: Vec::new() };
    let mut system = history.instructions(&request.system)?;
    for turn in before {
        system.extend(history.instructions(&turn.parts)?);
    }
    while let Some(turn) = turns.first() {
        let spoken = turns.iter().take_while(|turn| turn.role == Role::Assistant).count();
        if spoken == 0 {
            history.user(turn.parts.iter().collect())?;
            turns = &turns[1..];
            continue;
        }
        let (spoken, after) = turns.split_at(spoken);
        let answers = after.iter().take_while(|turn| turn.role != Role::Assistant).count();
        let (answers, after) = after.split_at(answers);
        history.round(spoken, answers)?;
        turns = after;
    }
    let mut contents = history.contents;
    if contents.is_empty() {
        let last = system.pop().ok_or_else(|| {
            Error::new(Kind::InvalidRequest, "messages: at least one message is required")
                .with_param("messages")
        })?;
        contents.push(Wire { role: "user", parts: vec![last] });
    }
    if contents.first().is_some_and(|content| content.role == "model") {
        contents.insert(0, Wire { role: "user", parts: vec![WirePart::text(EMPTY)] });
    }
    if traits.wants_signatures {
        sign(&mut contents);
    }
    Ok(Conversation { system, contents })
}

struct History<'a, 'w> {
    writer: Writer<'a, 'w>,
    traits: Traits,
    contents: Vec<Wire<'a>>,
}

impl<'a> History<'a, '_> {
    /// The texts of the operator, one part each.
    fn instructions(&mut self, parts: &'a [Part<'a>]) -> Result<Vec<WirePart<'a>>, Error> {
        let is_text = |part: &&Part<'_>| matches!(part.content, Content::Text(_));
        self.writer.lost.push_if(!parts.iter().all(|part| is_text(&part)), "system");
        self.writer.parts(parts.iter().filter(is_text))
    }

    /// Adds to the conversation; what a function returned stands in a content of its own.
    fn push(&mut self, role: &'static str, parts: Vec<WirePart<'a>>) {
        if parts.is_empty() {
            return;
        }
        let is_response = |parts: &[WirePart<'_>]| parts.first().is_some_and(WirePart::is_response);
        match self.contents.last_mut() {
            Some(last) if last.role == role && is_response(&last.parts) == is_response(&parts) => {
                last.parts.extend(parts);
            }
            _ => self.contents.push(Wire { role, parts }),
        }
    }

    /// What the user says, or the operator in the middle of the conversation. A result that answers
    /// nothing can only be told.
    fn user(&mut self, parts: Vec<&'a Part<'a>>) -> Result<(), Error> {
        let mut said = Vec::with_capacity(parts.len());
        for part in parts {
            match &part.content {
                Content::ToolResult { id, parts, .. } => {
                    said.push(WirePart::text(format!("[result of the tool call {id}]")));
                    said.extend(self.writer.parts(parts)?);
                }
                _ => said.extend(self.writer.parts([part])?),
            }
        }
        self.push("user", said);
        Ok(())
    }

    /// What the model said, the results of its calls in their order, and what else was said before it
    /// spoke again.
    fn round(&mut self, spoken: &'a [Turn<'a>], answers: &'a [Turn<'a>]) -> Result<(), Error> {
        let parts = || spoken.iter().flat_map(|turn| &turn.parts);
        let model = self.writer.parts(parts())?;
        self.push("model", model);
        let calls: Vec<&'a ToolCall<'a>> = parts()
            .filter_map(|part| match &part.content {
                Content::ToolCall(call) => Some(call),
                _ => None,
            })
            .collect();
        let mut open: HashMap<&str, VecDeque<usize>> = HashMap::with_capacity(calls.len());
        for (at, call) in calls.iter().enumerate() {
            open.entry(&call.id).or_default().push_back(at);
        }
        let mut results: Vec<Option<&'a Part<'a>>> = vec![None; calls.len()];
        let mut rest = Vec::new();
        for part in answers.iter().flat_map(|turn| &turn.parts) {
            let answered = match &part.content {
                Content::ToolResult { id, .. } => open.get_mut(&**id).and_then(VecDeque::pop_front),
                _ => None,
            };
            match answered {
                Some(at) => results[at] = Some(part),
                None => rest.push(part),
            }
        }
        self.results(&calls, results, rest)
    }

    fn results(
        &mut self,
        calls: &[&'a ToolCall<'a>],
        results: Vec<Option<&'a Part<'a>>>,
        mut rest: Vec<&'a Part<'a>>,
    ) -> Result<(), Error> {
        let mut responses = Vec::with_capacity(calls.len());
        let mut attached = Vec::new();
        for (call, result) in calls.iter().zip(results) {
            let name = self.writer.names.sent(&call.name);
            responses.push(match result.map(|part| &part.content) {
                Some(Content::ToolResult { parts, is_error, .. }) => {
                    self.response(name, parts, *is_error, &mut attached)?
                }
                _ => response(name, Response::Output(INTERRUPTED.into()), Vec::new()),
            });
        }
        self.push("user", responses);
        rest.splice(0..0, attached);
        self.user(rest)
    }

    /// A result: its text, and its media where the model takes them there.
    fn response(
        &mut self,
        name: &'a str,
        parts: &'a [Part<'a>],
        is_error: bool,
        attached: &mut Vec<&'a Part<'a>>,
    ) -> Result<WirePart<'a>, Error> {
        let (texts, media): (Vec<_>, Vec<_>) =
            parts.iter().partition(|part| matches!(part.content, Content::Text(_) | Content::Refusal(_)));
        let texts: Vec<&'a str> = texts
            .into_iter()
            .filter_map(|part| match &part.content {
                Content::Text(text) | Content::Refusal(text) => Some(&**text),
                _ => None,
            })
            .collect();
        let text: Cow<'a, str> = match texts[..] {
            [one] => Cow::Borrowed(one),
            [] if !media.is_empty() => Cow::Borrowed("[attached]"),
            _ => Cow::Owned(texts.join("\n")),
        };
        let own = match self.traits.takes_media_in_results {
            true => self.writer.parts(media)?,
            false => {
                attached.extend(media);
                Vec::new()
            }
        };
        Ok(response(name, if is_error { Response::Error(text) } else { Response::Output(text) }, own))
    }
}

fn response<'a>(name: &'a str, response: Response<'a>, parts: Vec<WirePart<'a>>) -> WirePart<'a> {
    Data::FunctionResponse(FunctionResponse { name, response, parts }).into()
}

/// Puts the placeholder on the first call of every step of the current turn that has no signature:
/// without one it would be refused.
fn sign(contents: &mut [Wire<'_>]) {
    let is_said = |content: &Wire<'_>| {
        content.role == "user" && !content.parts.first().is_some_and(WirePart::is_response)
    };
    let turn = contents.iter().rposition(is_said).unwrap_or(0);
    for content in contents[turn..].iter_mut().filter(|content| content.role == "model") {
        if let Some(WirePart::Said(Said { thought_signature: signature @ None, .. })) =
            content.parts.iter_mut().find(|part| part.is_call())
        {
            *signature = Some(Cow::Borrowed(NO_SIGNATURE));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::testing::{
            asking, assistant, call, contents, encoded, encoded_for, result, signed, system, text, user,
        },
        *,
    };
    use crate::dialect::canonical::Media;

    fn said(role: &str, texts: &[&str]) -> Value {
        let parts: Vec<_> = texts.iter().map(|text| json!({"text": text})).collect();
        json!({"role": role, "parts": parts})
    }

    fn returned(name: &str, output: &str) -> Value {
        json!({"functionResponse": {"name": name, "response": {"output": output}}})
    }

    /// C3, C17
    #[test]
    fn only_the_first_instructions_are_apart() {
        let mut request =
            asking(vec![system("S2"), user(vec![text("a")]), system("later"), assistant(vec![text("b")])]);
        request.system = vec![text("S1")];

        let (body, _) = encoded(&request);

        assert_eq!(body["systemInstruction"], json!({"parts": [{"text": "S1"}, {"text": "S2"}]}));
        assert_eq!(body["contents"], json!([said("user", &["a", "later"]), said("model", &["b"])]));
    }

    /// C4, C6
    #[test]
    fn the_user_speaks_first() {
        let only_system = asking(vec![system("S1"), system("S2")]);
        let (body, _) = encoded(&only_system);

        assert_eq!(body["systemInstruction"], json!({"parts": [{"text": "S1"}]}));
        assert_eq!(body["contents"], json!([said("user", &["S2"])]));
        assert_eq!(
            contents(vec![assistant(vec![text("hi")])]),
            json!([said("user", &["(empty)"]), said("model", &["hi"])])
        );
        assert_eq!(
            super::super::testing::try_encode(&asking(vec![])).unwrap_err().kind(),
            Kind::InvalidRequest
        );
    }

    /// C24, C25, C27, C29, C32, C35, C36
    #[test]
    fn results_stand_by_themselves_in_the_order_of_the_calls() {
        let failed = Content::ToolResult { id: "c".into(), parts: vec![text("bad")], is_error: true };
        let two = Content::ToolResult { id: "a".into(), parts: vec![text("x"), text("y")], is_error: false };
        let contents = contents(vec![
            user(vec![text("w?")]),
            assistant(vec![
                text("see"),
                call("a", "f", r#"{"n":1}"#),
                call("b", "f", ""),
                call("c", "g", ""),
            ]),
            user(vec![failed.into()]),
            user(vec![result("b", ""), two.into(), text("and?")]),
        ]);

        assert_eq!(
            contents,
            json!([
                said("user", &["w?"]),
                {"role": "model", "parts": [{"text": "see"},
                    {"functionCall": {"name": "f", "args": {"n": 1}}},
                    {"functionCall": {"name": "f", "args": {}}},
                    {"functionCall": {"name": "g", "args": {}}}]},
                {"role": "user", "parts": [returned("f", "x\ny"), returned("f", ""),
                    {"functionResponse": {"name": "g", "response": {"error": "bad"}}}]},
                said("user", &["and?"]),
            ])
        );
    }

    /// C30, C31
    #[test]
    fn a_call_without_a_result_gets_one_and_a_result_without_a_call_is_told() {
        let contents = contents(vec![
            user(vec![text("q"), result("x", "42")]),
            assistant(vec![call("a", "f", "{}")]),
            user(vec![text("go on")]),
        ]);

        assert_eq!(contents[0], said("user", &["q", "[result of the tool call x]", "42"]));
        assert_eq!(
            contents[2],
            json!({"role": "user", "parts": [returned("f", "[no result: interrupted]")]})
        );
        assert_eq!(contents[3], said("user", &["go on"]));
    }

    /// C10, C11, C13
    #[test]
    fn what_says_nothing_is_left_out() {
        let contents =
            contents(vec![user(vec![text("a")]), assistant(vec![text("")]), user(vec![text(""), text("b")])]);

        assert_eq!(contents, json!([said("user", &["a", "b"])]));
    }

    /// C28
    #[test]
    fn a_picture_in_a_result_stands_where_the_model_takes_it() {
        let picture =
            Content::Image(Media::Base64 { media_type: "image/png".into(), data: "iVBORw0KGgoA".into() });
        let turns = vec![
            user(vec![text("q")]),
            assistant(vec![signed("", "gemini:UzE="), call("a", "f", "{}")]),
            user(vec![
                Content::ToolResult { id: "a".into(), parts: vec![picture.into()], is_error: false }.into(),
            ]),
        ];

        let older = encoded_for("gemini-2.5-pro", &asking(turns.clone())).0["contents"].take();
        let newer = encoded_for("gemini-3-pro", &asking(turns)).0["contents"].take();

        let image = json!({"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgoA"}});
        assert_eq!(older[3], json!({"role": "user", "parts": [image.clone()]}));
        assert_eq!(older[2]["parts"][0], returned("f", "[attached]"));
        assert_eq!(newer[2]["parts"][0]["functionResponse"]["parts"], json!([image]));
    }

    /// C72, C73, T13
    #[test]
    fn a_call_of_this_turn_has_a_signature_where_the_model_wants_one() {
        let turns = vec![
            user(vec![text("before")]),
            assistant(vec![call("z", "f", "{}")]),
            user(vec![result("z", "0"), text("q")]),
            assistant(vec![call("a", "f", "{}"), call("b", "f", "{}")]),
            user(vec![result("a", "1"), result("b", "2")]),
            assistant(vec![signed("", "gemini:UzE="), call("c", "f", "{}")]),
            user(vec![result("c", "3")]),
        ];
        let signatures = |model: &str| {
            let (body, _) = encoded_for(model, &asking(turns.clone()));
            let contents = body["contents"].as_array().unwrap().clone();
            let models = contents.iter().filter(|content| content["role"] == "model");
            models
                .map(|content| {
                    content["parts"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|part| part["thoughtSignature"].clone())
                        .collect()
                })
                .collect::<Vec<Value>>()
        };

        assert_eq!(signatures("gemini-3-pro"), [json!([null]), json!([NO_SIGNATURE, null]), json!(["UzE="])]);
        assert_eq!(signatures("gemini-2.5-pro"), [json!([null]), json!([null, null]), json!(["UzE="])]);
    }
}
