//! [`Names`]: tools whose names Anthropic would refuse get others for one request.

use crate::dialect::canonical::{Content, Request, ToolChoice};

const MAX_LENGTH: usize = 128;

/// The names that had to be changed: the client's, the provider's.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<(Box<str>, Box<str>)>);

impl Names {
    /// Finds new names for whatever `request` calls by a name that can't be sent.
    pub(super) fn of(request: &Request<'_>) -> Self {
        let mut names = Self::default();
        each_name(request, &mut |name| {
            if !is_sendable(name) && !names.0.iter().any(|(known, _)| **known == *name) {
                names.0.push((name.into(), "".into()));
            }
        });
        if names.0.is_empty() {
            return names;
        }
        // Names that are valid already have priority, wherever they stand.
        let mut taken: Vec<String> = Vec::new();
        each_name(request, &mut |name| {
            if is_sendable(name) {
                taken.push(name.to_owned());
            }
        });
        for (original, sent) in &mut names.0 {
            let new = free_name(original, &taken);
            *sent = new.as_str().into();
            taken.push(new);
        }
        names
    }

    /// The name under which the provider knows the tool `name`.
    pub(super) fn sent<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.iter().find(|(original, _)| **original == *name).map_or(name, |(_, sent)| sent)
    }

    /// All of them, to be undone in the answer.
    pub(super) fn into_renamed(self) -> Vec<(Box<str>, Box<str>)> {
        self.0
    }
}

fn each_name(request: &Request<'_>, visit: &mut dyn FnMut(&str)) {
    request.tools.iter().for_each(|tool| visit(&tool.name));
    match &request.tool_choice {
        Some(ToolChoice::Named(name)) => visit(name),
        Some(ToolChoice::Allowed { names, .. }) => names.iter().for_each(|name| visit(name)),
        _ => {}
    }
    for part in request.turns.iter().flat_map(|turn| &turn.parts) {
        if let Content::ToolCall(call) = &part.content {
            visit(&call.name);
        }
    }
}

fn is_allowed(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '_' | '-')
}

fn is_sendable(name: &str) -> bool {
    (1..=MAX_LENGTH).contains(&name.len()) && name.chars().all(is_allowed)
}

/// `name` in the characters that can be sent, and unlike all those `taken`.
pub(super) fn free_name(name: &str, taken: &[String]) -> String {
    let replace = |char| if is_allowed(char) { char } else { '_' };
    let base: String = name.chars().map(replace).take(MAX_LENGTH).collect();
    let base = if base.is_empty() { "tool".to_owned() } else { base };
    let is_free = |name: &String| !taken.contains(name);
    if is_free(&base) {
        return base;
    }
    let numbered = |number: usize| {
        let suffix = format!("_{number}");
        format!("{}{suffix}", &base[..base.len().min(MAX_LENGTH - suffix.len())])
    };
    // One more number than there are names: one of them is free.
    (2..=taken.len() + 2).map(numbered).find(is_free).unwrap_or(base)
}
