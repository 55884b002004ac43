//! Clients of the older form of tools, `functions`: their answers have room for one call.

use memchr::memmem::Finder;
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    Exchange, Payload,
    dialect::json::{self, Member},
};

static FUNCTIONS: Member = Member::new(|| Finder::new(b"\"functions\""));

/// Answers such a client.
#[derive(Clone, Debug)]
pub(crate) struct Functions(Exchange);

impl Functions {
    /// `None` for a client that knows tools, or has neither.
    pub(crate) fn of(asked: &Payload) -> Option<Self> {
        #[derive(Deserialize)]
        struct Asked {
            functions: Option<Vec<IgnoredAny>>,
            tools: Option<Vec<IgnoredAny>>,
        }
        // Hardly anybody has them, and a look at the bytes is cheap.
        FUNCTIONS.value(asked.source())?;
        let Asked { functions, tools } = json::parse(asked.source()).ok()?;
        let has = |list: Option<Vec<IgnoredAny>>| list.is_some_and(|list| !list.is_empty());
        (has(functions) && !has(tools)).then(|| Self(asked.exchange().clone()))
    }

    /// Notes that the model has called more than the client can be told.
    pub(crate) fn lose_calls(&self) {
        self.0.lose("answer.tool_calls");
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{dialect::OPENAI_CHAT, payload::Head};

    /// A client of functions, and what it is told that was lost.
    pub(crate) fn client() -> (Functions, impl Fn() -> Vec<Box<str>>) {
        let exchange = Exchange::default();
        (Functions(exchange.clone()), move || exchange.learn(|learnt| learnt.lost.clone()))
    }

    #[test]
    fn a_client_of_functions_is_told_from_one_of_tools() {
        let is_one = |members: &str| {
            let source = format!(r#"{{"messages":[{{"content":"\"functions\":[1]"}}],{members}}}"#);
            let asked = Payload::new(&OPENAI_CHAT, Head::default(), source.into(), Exchange::default());
            Functions::of(&asked).is_some()
        };

        assert!(is_one(r#""functions":[{"name":"f"}]"#));
        assert!(is_one(r#""metadata":{"functions":"x"},"tools":[],"functions":[{"name":"f"}]"#));
        assert!(!is_one(r#""functions":[{"name":"f"}],"tools":[{"type":"function"}]"#));
        assert!(!is_one(r#""functions":[]"#) && !is_one(r#""functions":null"#));
        assert!(!is_one(r#""tools":[{"function":{"parameters":{"functions":[1]}}}]"#));
    }
}
