//! [`Names`]: tools whose names a provider would refuse get others for one request.

use std::collections::{HashMap, HashSet};

use crate::dialect::canonical::{Content, Request, ToolChoice};

/// What a provider takes for a tool's name.
#[derive(Debug)]
pub(crate) struct Rule {
    /// The most bytes.
    pub(crate) longest: usize,
    /// Whether a byte may stand at a position.
    pub(crate) allows: fn(usize, u8) -> bool,
}

/// Room for the number that tells two names apart: an underscore and up to seven digits.
const SUFFIX: usize = 8;

impl Rule {
    /// The rule of most providers: letters, digits, `_` and `-`.
    pub(crate) const fn simple(longest: usize) -> Self {
        Self { longest, allows: |_, byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') }
    }

    pub(crate) fn takes(&self, name: &str) -> bool {
        let is_allowed = |(position, byte)| (self.allows)(position, byte);
        (1..=self.longest).contains(&name.len()) && name.bytes().enumerate().all(is_allowed)
    }

    /// `name` in what is allowed: other characters become `_`.
    pub(crate) fn cleaned(&self, name: &str) -> String {
        let clean = |(position, char): (usize, char)| match u8::try_from(char) {
            Ok(byte) if byte.is_ascii() && (self.allows)(position, byte) => char,
            _ => '_',
        };
        let clean: String = name.chars().take(self.longest).enumerate().map(clean).collect();
        if clean.is_empty() { "_".into() } else { clean }
    }
}

/// The names a request has to use instead of the client's.
#[derive(Debug, Default)]
pub(crate) struct Names<'r> {
    renamed: Vec<(&'r str, Box<str>)>,
    /// Where the new name of an old one stands.
    places: HashMap<&'r str, usize>,
}

impl<'r> Names<'r> {
    /// Finds a new name for each in `request` that is against the rule. No two tools get the same one,
    /// and names that may be sent stay, wherever they stand.
    pub(crate) fn of(request: &'r Request<'_>, rule: &Rule) -> Self {
        let mut names = Self::default();
        if all_names(request).all(|name| rule.takes(name)) {
            return names;
        }
        let (kept, refused): (Vec<_>, Vec<_>) = all_names(request).partition(|name| rule.takes(name));
        let mut free = FreeNames::new(rule, kept);
        for name in refused {
            if !names.places.contains_key(name) {
                names.places.insert(name, names.renamed.len());
                names.renamed.push((name, free.like(name).into()));
            }
        }
        names
    }

    /// The name under which the provider knows the tool `name`.
    pub(crate) fn sent<'a>(&'a self, name: &'a str) -> &'a str {
        match self.places.get(name) {
            Some(place) => &self.renamed[*place].1,
            None => name,
        }
    }

    /// What the provider's names were for the client.
    pub(crate) fn into_originals(self) -> HashMap<Box<str>, Box<str>> {
        self.renamed.into_iter().map(|(original, sent)| (sent, original.into())).collect()
    }
}

fn all_names<'r>(request: &'r Request<'_>) -> impl Iterator<Item = &'r str> {
    let tools = request.tools.iter().map(|tool| &*tool.name);
    let chosen: &[_] = match &request.tool_choice {
        Some(ToolChoice::Named(name)) => std::slice::from_ref(name),
        Some(ToolChoice::Allowed { names, .. }) => names,
        _ => &[],
    };
    let parts = request.turns.iter().flat_map(|turn| &turn.parts);
    let called = parts.filter_map(|part| match &part.content {
        Content::ToolCall(call) => Some(&*call.name),
        _ => None,
    });
    tools.chain(chosen.iter().map(|name| &**name)).chain(called)
}

/// Makes names that are not taken.
#[derive(Debug)]
pub(crate) struct FreeNames<'r> {
    rule: &'r Rule,
    taken: HashSet<Box<str>>,
    /// The next number to try behind a stem, so that many alike names are not tried again and again.
    numbers: HashMap<Box<str>, u32>,
}

impl<'r> FreeNames<'r> {
    /// Where these are taken.
    pub(crate) fn new<'n>(rule: &'r Rule, taken: impl IntoIterator<Item = &'n str>) -> Self {
        Self { rule, taken: taken.into_iter().map(Into::into).collect(), numbers: HashMap::new() }
    }

    /// A name that is as much like `name` as can be, which is taken from now on.
    pub(crate) fn like(&mut self, name: &str) -> String {
        let clean = self.rule.cleaned(name);
        if self.taken.insert(clean.as_str().into()) {
            return clean;
        }
        let stem = &clean[..clean.len().min(self.rule.longest - SUFFIX)];
        let number = self.numbers.entry(stem.into()).or_insert(1);
        loop {
            *number += 1;
            let numbered = format!("{stem}_{number}");
            if self.taken.insert(numbered.as_str().into()) {
                return numbered;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::canonical::{Tool, ToolInput};

    const RULE: Rule = Rule::simple(64);

    fn tool(name: &str) -> Tool<'_> {
        let input = ToolInput::Schema(None);
        Tool { name: name.into(), description: None, input, strict: None, cache: None }
    }

    fn asking<'a>(names: &[&'a str]) -> Request<'a> {
        Request { tools: names.iter().map(|name| tool(name)).collect(), ..Request::default() }
    }

    #[test]
    fn no_two_tools_get_the_same_name() {
        // C42
        let request = asking(&["a/b", "a_b", "a.b", "a/b", "ok"]);

        let names = Names::of(&request, &RULE);

        assert_eq!(names.sent("a_b"), "a_b");
        assert_eq!(names.sent("a/b"), "a_b_2");
        assert_eq!(names.sent("a.b"), "a_b_3");
        assert_eq!(names.sent("ok"), "ok");
        assert_eq!(names.into_originals().len(), 2);
    }

    #[test]
    fn a_name_that_is_only_chosen_is_changed_like_the_others() {
        let tool_choice = Some(ToolChoice::Named("a/b".into()));
        let request = Request { tool_choice, ..asking(&["a_b"]) };

        assert_eq!(Names::of(&request, &RULE).sent("a/b"), "a_b_2");
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        // C42
        let (one, two) = (format!("{}_one", "a".repeat(67)), format!("{}_two", "a".repeat(67)));
        let request = asking(&[&one, &two, "wörld", ""]);

        let names = Names::of(&request, &RULE);

        assert_eq!(names.sent(&one), "a".repeat(64));
        assert_eq!(names.sent(&two), format!("{}_2", "a".repeat(56)));
        assert_eq!(names.sent("wörld"), "w_rld");
        assert_eq!(names.sent(""), "_");
    }

    #[test]
    fn a_rule_may_look_at_the_position() {
        let rule = Rule { longest: 64, allows: |at, byte| byte.is_ascii_alphabetic() || at > 0 };

        assert_eq!(rule.cleaned("1st.tool"), "_st.tool");
    }
}
