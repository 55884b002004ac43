//! A stream of completions for a client.

use bytes::{BufMut, BytesMut};
use serde::Serialize;

use crate::{
    Tokens,
    dialect::{
        Encode,
        canonical::Event,
        openai_chat::{answer::now, finish, usage},
    },
};

/// Writes the chunks of a text.
#[derive(Debug)]
pub(super) struct Encoder {
    include_usage: bool,
    id: String,
    model: String,
    created: u64,
    tokens: Tokens,
}

#[derive(Serialize)]
pub(super) struct Completion<'a> {
    pub(super) id: &'a str,
    pub(super) object: &'static str,
    pub(super) created: u64,
    pub(super) model: &'a str,
    pub(super) choices: Vec<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<usage::Rendered>,
}

#[derive(Serialize)]
pub(super) struct Choice<'a> {
    pub(super) text: &'a str,
    pub(super) index: u32,
    pub(super) logprobs: Option<()>,
    pub(super) finish_reason: Option<&'static str>,
}

impl Encoder {
    pub(super) fn new(include_usage: bool) -> Self {
        Self {
            include_usage,
            id: String::new(),
            model: String::new(),
            created: now(),
            tokens: Tokens::default(),
        }
    }

    fn write(&self, choices: Vec<Choice<'_>>, usage: Option<usage::Rendered>, out: &mut BytesMut) {
        let (id, model, created) = (&*self.id, &*self.model, self.created);
        let chunk = Completion { id, object: "text_completion", created, model, choices, usage };
        out.put_slice(b"data: ");
        out.put_slice(&serde_json::to_vec(&chunk).unwrap_or_default());
        out.put_slice(b"\n\n");
    }
}

impl Encode for Encoder {
    fn event(&mut self, event: Event<'_>, out: &mut BytesMut) {
        match event {
            Event::Start { id, model, created } => {
                (self.id, self.model) = (id.into_owned(), model.into_owned());
                self.created = created.unwrap_or(self.created);
            }
            Event::Text { choice: index, text } | Event::Refusal { choice: index, text } => {
                self.write(
                    vec![Choice { text: &text, index, logprobs: None, finish_reason: None }],
                    None,
                    out,
                );
            }
            Event::Usage(tokens) => self.tokens = tokens,
            Event::Finish { choice: index, finish } => {
                let finish_reason = Some(finish::word(&finish));
                self.write(vec![Choice { text: "", index, logprobs: None, finish_reason }], None, out);
            }
            Event::Ping => out.put_slice(b": ping\n\n"),
            Event::End => {
                if self.include_usage {
                    self.write(Vec::new(), Some((&self.tokens).into()), out);
                }
                out.put_slice(b"data: [DONE]\n\n");
            }
            // Thoughts have no place in a text, and there are no tools.
            _ => {}
        }
    }
}
