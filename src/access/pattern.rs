use std::{fmt, str::FromStr};

/// Names of models, with `*` for any run of characters: `chat`, `anthropic/*`, `*/gpt-4o*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Whether `name` is one of them.
    ///
    /// ```
    /// use bartizan::access::Pattern;
    ///
    /// assert!(Pattern::new("anthropic/*").matches("anthropic/claude-haiku-4-5"));
    /// assert!(!Pattern::new("anthropic/*").matches("openai/gpt-4o"));
    /// ```
    pub fn matches(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else {
            return *self.0 == *name;
        };
        let Some(mut name) = name.strip_prefix(first) else {
            return false;
        };
        let mut pieces = rest.split('*').peekable();
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_none() {
                return name.ends_with(piece);
            }
            match name.find(piece) {
                Some(at) => name = &name[at + piece.len()..],
                None => return false,
            }
        }
        true
    }

    /// The names that `text` describes.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }
}

impl FromStr for Pattern {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run() {
        let matches = |pattern: &str, name: &str| Pattern::new(pattern).matches(name);

        assert!(matches("chat", "chat"));
        assert!(matches("*", ""));
        assert!(matches("a*c*e", "abcde"));
        assert!(matches("*/gpt-4o*", "openai/gpt-4o-mini"));
        assert!(!matches("chat", "chats"));
        assert!(!matches("a*bc", "abcd"));
        assert!(!matches("ab*ba", "aba"));
    }
}
