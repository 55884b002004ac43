use std::fmt;

use crate::suggest;

/// A configuration that can't be used, and everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file's name, or `configuration`.
    pub file: String,
    /// What is wrong; at least one thing.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// What it is: lower case, no full stop, never a value that came from the environment.
    pub message: String,
}

/// Where a problem is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// The file as a whole.
    File,
    /// A place in the text; lines and columns are counted from one.
    Text {
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
        /// What stands around it in the line, without secrets.
        excerpt: String,
        /// Where the column is in the excerpt, in characters, from one.
        caret: usize,
    },
    /// A value, such as `models.chat.targets[0].use`.
    Value(String),
}

impl Problem {
    /// A problem with the value at `path`.
    pub(super) fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: Place::Value(path.into()), message: message.into() }
    }

    /// The message, with the value that it is about.
    pub(crate) fn text(&self) -> String {
        match &self.place {
            Place::Value(path) => format!("{path}: {}", self.message),
            _ => self.message.clone(),
        }
    }
}

impl ConfigError {
    /// Everything that is wrong, a line each, without what stands in the file: for where it is kept.
    pub fn without_excerpts(&self) -> String {
        let lines: Vec<_> = self.problems.iter().map(|problem| self.line(problem)).collect();
        lines.join("\n")
    }

    fn line(&self, Problem { place, message }: &Problem) -> String {
        let file = &self.file;
        match place {
            Place::File => format!("{file}: {message}"),
            Place::Value(path) => format!("{file}: {path}: {message}"),
            Place::Text { line, column, .. } => format!("{file}:{line}:{column}: {message}"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let lead = if index == 0 { "" } else { "\n" };
            write!(f, "{lead}{}", self.line(problem))?;
            if let Place::Text { line, excerpt, caret, .. } = &problem.place {
                let (margin, before) = (line.to_string().len(), " ".repeat(caret.saturating_sub(1)));
                write!(f, "\n {line} | {excerpt}")?;
                write!(f, "\n {:margin$} | {before}^", "")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// "unknown `what` `name`", with the nearest of `known`, or all of them if there are few.
pub(super) fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match suggest::nearest(name, &known) {
        Some(nearest) => format!("unknown {what} `{name}`, did you mean `{nearest}`?"),
        None if known.is_empty() => format!("unknown {what} `{name}`, there are none"),
        None if known.len() <= 12 => format!("unknown {what} `{name}`, expected one of {}", known.join(", ")),
        None => format!("unknown {what} `{name}`"),
    }
}
