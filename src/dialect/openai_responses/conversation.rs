//! The items of a client's request, put into turns.

use serde_json::value::RawValue;

use super::items;
use crate::{
    Error,
    dialect::{
        canonical::{Content, Part, Role, Turn},
        extras::Extras,
        text::Str,
    },
};

/// Collects items into turns.
///
/// What the operator says before anything else is the system text. Everything that comes from the model is
/// one turn up to the next thing that doesn't; results of tools that follow each other are one turn, and so
/// is what the user says right after them.
pub(crate) struct Conversation<'e, 'a> {
    extras: &'e mut Extras<'a>,
    system: Vec<Part<'a>>,
    turns: Vec<Turn<'a>>,
    /// How many items were read.
    count: usize,
}

impl<'e, 'a> Conversation<'e, 'a> {
    pub(crate) fn new(extras: &'e mut Extras<'a>) -> Self {
        Self { extras, system: Vec::new(), turns: Vec::new(), count: 0 }
    }

    /// The system text and the turns.
    pub(crate) fn finish(self) -> (Vec<Part<'a>>, Vec<Turn<'a>>) {
        (self.system, self.turns)
    }

    /// Begins with what the operator says beside the items.
    pub(crate) fn instructions(&mut self, instructions: Option<Str<'a>>) {
        self.system.extend(instructions.map(|text| Content::Text(text.into()).into()));
    }

    /// Adds what the user says, where that is all there is.
    pub(crate) fn said(&mut self, text: Str<'a>) {
        self.add(Role::User, vec![Content::Text(text.into()).into()]);
    }

    /// Adds the next item.
    pub(crate) fn item(&mut self, raw: &'a RawValue) -> Result<(), Error> {
        let index = self.count;
        self.count += 1;
        let (role, parts) = items::read(raw, &|| format!("input[{index}]"), self.extras)?;
        self.add(role, parts);
        Ok(())
    }

    fn add(&mut self, role: Role, parts: Vec<Part<'a>>) {
        if role == Role::System && self.turns.is_empty() {
            return self.system.extend(parts);
        }
        let goes_on = |turn: &&mut Turn<'_>| {
            turn.role == role && (role == Role::Assistant || role == Role::User && ends_with_result(turn))
        };
        match self.turns.last_mut().filter(goes_on) {
            Some(turn) => turn.parts.extend(parts),
            None => self.turns.push(Turn { role, parts }),
        }
    }
}

fn ends_with_result(turn: &Turn<'_>) -> bool {
    matches!(turn.parts.last(), Some(Part { content: Content::ToolResult { .. }, .. }))
}

#[cfg(test)]
mod tests {
    use super::super::{decode, testing::brief};
    use crate::dialect::canonical::{Request, Role};

    fn read(items: &str) -> Request<'_> {
        decode::request(format!(r#"{{"model":"m","instructions":"I","input":{items}}}"#).leak().as_bytes())
            .unwrap()
    }

    fn turns(request: &Request<'_>) -> Vec<(Role, String)> {
        request.turns.iter().map(|turn| (turn.role, brief(&turn.parts))).collect()
    }

    #[test]
    fn a_text_is_what_the_user_says() {
        // C19
        let request = read("\"hi\"");

        assert_eq!(brief(&request.system), "I");
        assert_eq!(turns(&request), [(Role::User, "hi".into())]);
    }

    #[test]
    fn the_operator_speaks_first_and_in_between() {
        // C18
        let request = read(
            r#"[{"role":"system","content":"S"},{"role":"developer","content":[{"type":"input_text","text":"D"}]},
            {"role":"user","content":"a"},{"role":"developer","content":"E"}]"#,
        );

        assert_eq!(brief(&request.system), "I S D");
        assert_eq!(turns(&request), [(Role::User, "a".into()), (Role::System, "E".into())]);
    }

    #[test]
    fn all_that_comes_from_the_model_is_one_turn() {
        // C20, C22, C23
        let request = read(
            r#"[{"role":"user","content":"w?"},
            {"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"},
            {"type":"message","role":"assistant","id":"msg_1","status":"completed","content":[{"type":"output_text","text":"let me see","annotations":[]}]},
            {"type":"function_call","id":"fc_1","call_id":"a","name":"f","arguments":"{}"},
            {"type":"custom_tool_call","call_id":"b","name":"g","input":"select 1"},
            {"type":"function_call_output","call_id":"a","output":"1"},
            {"type":"custom_tool_call_output","call_id":"b","output":[{"type":"input_text","text":"x"},{"type":"input_text","text":"y"}]},
            {"role":"user","content":"and?"},
            {"role":"user","content":"well?"}]"#,
        );

        assert_eq!(
            turns(&request),
            [
                (Role::User, "w?".into()),
                (Role::Assistant, "(#openai:rs_1:gAAA) let me see a=f({}) b=g!(select 1)".into()),
                (Role::User, "a:[1] b:[x y] and?".into()),
                (Role::User, "well?".into()),
            ]
        );
        assert!(request.extras.is_empty());
    }
}
