//! Names of tools that OpenAI does not allow, replaced by ones that it does.

use std::collections::HashSet;

use crate::dialect::canonical::{Content, Request};

/// The longest name OpenAI takes, in bytes.
const MAX_LENGTH: usize = 64;

/// The names a request has to use instead of the client's.
#[derive(Debug, Default)]
pub(crate) struct Names(Vec<(Box<str>, Box<str>)>);

impl Names {
    /// Finds a new name for each that is not allowed. No two tools get the same one, and names that
    /// are allowed stay.
    pub(crate) fn of(request: &Request<'_>) -> Self {
        let tools = request.tools.iter().map(|tool| &*tool.name);
        let called =
            request.turns.iter().flat_map(|turn| &turn.parts).filter_map(|part| match &part.content {
                Content::ToolCall(call) => Some(&*call.name),
                _ => None,
            });
        let names = || tools.clone().chain(called.clone());
        if names().all(is_allowed) {
            return Self::default();
        }
        let mut taken: HashSet<Box<str>> = names().filter(|name| is_allowed(name)).map(Into::into).collect();
        let mut renamed: Vec<(Box<str>, Box<str>)> = Vec::new();
        for name in names().filter(|name| !is_allowed(name)) {
            if !renamed.iter().any(|(original, _)| **original == *name) {
                let new = free(name, &taken);
                taken.insert(new.clone());
                renamed.push((name.into(), new));
            }
        }
        Self(renamed)
    }

    /// The name to send.
    pub(crate) fn sent<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.iter().find(|(original, _)| **original == *name).map_or(name, |(_, sent)| sent)
    }

    /// The names that had to change, and what they became.
    pub(crate) fn into_renamed(self) -> Vec<(Box<str>, Box<str>)> {
        self.0
    }
}

fn is_allowed(name: &str) -> bool {
    (1..=MAX_LENGTH).contains(&name.len()) && name.bytes().all(is_allowed_byte)
}

fn is_allowed_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// `name` in what is allowed, as many bytes of it as `length`.
pub(crate) fn cleaned(name: &str, length: usize) -> String {
    let allowed =
        |letter: char| if letter.is_ascii() && is_allowed_byte(letter as u8) { letter } else { '_' };
    let clean: String = name.chars().take(length).map(allowed).collect();
    if clean.is_empty() { "_".into() } else { clean }
}

fn free(name: &str, taken: &HashSet<Box<str>>) -> Box<str> {
    let clean = cleaned(name, MAX_LENGTH);
    let mut candidate = clean.clone();
    let mut count = 2u32;
    while taken.contains(&*candidate) {
        let suffix = format!("_{count}");
        candidate = format!("{}{suffix}", &clean[..clean.len().min(MAX_LENGTH - suffix.len())]);
        count += 1;
    }
    candidate.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::canonical::{Tool, ToolInput};

    fn names(names: &[&'static str]) -> Names {
        let tool = |name: &&'static str| Tool {
            name: (*name).into(),
            description: None,
            input: ToolInput::Schema(None),
            strict: None,
            cache: None,
        };
        Names::of(&Request { tools: names.iter().map(tool).collect(), ..Request::default() })
    }

    #[test]
    fn no_two_tools_get_the_same_name() {
        // C42
        let names = names(&["a/b", "a_b", "a.b", "a/b", "ok"]);

        assert_eq!(names.sent("a_b"), "a_b");
        assert_eq!(names.sent("a/b"), "a_b_2");
        assert_eq!(names.sent("a.b"), "a_b_3");
        assert_eq!(names.sent("ok"), "ok");
        assert_eq!(names.into_renamed().len(), 2);
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        // C42
        const ONE: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_one";
        const TWO: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_two";

        let names = names(&[ONE, TWO, "wörld", ""]);

        assert_eq!(names.sent(ONE).len(), 64);
        assert_eq!(names.sent(TWO).len(), 64);
        assert!(names.sent(TWO).ends_with("a_2"));
        assert_eq!(names.sent("wörld"), "w_rld");
        assert_eq!(names.sent(""), "_");
    }
}
