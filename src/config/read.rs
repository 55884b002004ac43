use std::{env, fs, path::Path};

use serde::Deserialize;
use serde_saphyr::{DefaultMessageFormatter, Error as YamlError, MessageFormatter, Options, options};

use super::{
    Config,
    interpolate::{Filled, Filler},
    problem::{ConfigError, Place, Problem, unknown},
};

impl Config {
    /// Reads a YAML or JSON file, puts in variables of the environment, and checks what it says.
    ///
    /// # Errors
    ///
    /// The file can't be read, is malformed, has a field that doesn't exist or a value that doesn't
    /// fit (the first one is reported), or contradicts itself (all problems are reported).
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("the file can't be read: {error}");
                return Err(ConfigError { file, problems: vec![Problem { place: Place::File, message }] });
            }
        };
        Self::read(&text, &file, &|name| env::var(name).ok())
    }

    /// Like [`from_file`](Self::from_file), from a text.
    ///
    /// # Errors
    ///
    /// Those of [`from_file`](Self::from_file).
    pub fn from_text(text: &str) -> Result<Self, ConfigError> {
        Self::read(text, "configuration", &|name| env::var(name).ok())
    }

    /// Like [`from_file`](Self::from_file), from a text, with `file` as its name in errors and the
    /// values of variables from `lookup`.
    ///
    /// # Errors
    ///
    /// Those of [`from_file`](Self::from_file).
    pub fn read(
        text: &str,
        file: &str,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let filler = Filler::new(lookup);
        let problems = match parse(text, &filler) {
            Ok(config) => match config.check() {
                problems if problems.is_empty() => return Ok(config),
                problems => problems,
            },
            Err(error) => vec![problem(&error, text)],
        };
        let filled = filler.filled.borrow();
        let without_values = |problem| without_values(problem, &filled);
        Err(ConfigError {
            file: file.to_owned(),
            problems: problems.into_iter().map(without_values).collect(),
        })
    }
}

fn parse(text: &str, filler: &Filler<'_>) -> Result<Config, YamlError> {
    if is_blank(text) {
        return Ok(Config::default());
    }
    let options: Options = options! { with_snippet: false };
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
        Config::deserialize(Filled::new(yaml, filler))
    })
}

/// An empty file is a configuration that says nothing, not a `null`.
fn is_blank(text: &str) -> bool {
    text.lines().map(str::trim_start).all(|line| line.is_empty() || line.starts_with('#'))
}

fn problem(error: &YamlError, text: &str) -> Problem {
    let message = message(error);
    let place = match error.location() {
        Some(location) => place(text, location.line(), location.column()),
        None => Place::File,
    };
    Problem { place, message }
}

/// What went wrong, in our words. The parser's own messages quote values, so only what can't hold a
/// value is taken from them.
fn message(error: &YamlError) -> String {
    match error.without_snippet() {
        YamlError::SerdeUnknownField { field, expected, .. } => {
            unknown("field", field, expected.iter().copied())
        }
        YamlError::SerdeUnknownVariant { variant, expected, .. } => {
            unknown("value", variant, expected.iter().copied())
        }
        YamlError::SerdeMissingField { field, .. } => format!("the field `{field}` is missing"),
        YamlError::SerdeInvalidType { expected, .. }
        | YamlError::SerdeInvalidValue { expected, .. }
        | YamlError::SerdeInvalidLength { expected, .. } => format!("expected {expected}"),
        YamlError::Message { msg, .. } => msg.clone(),
        other => DefaultMessageFormatter.format_message(other).trim_end_matches('.').to_owned(),
    }
}

fn place(text: &str, line: u64, column: u64) -> Place {
    let (line, column) = (usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1));
    let excerpt = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    Place::Text { line, column: column.max(1), excerpt: without_secrets(excerpt) }
}

/// Fields whose values are secret.
const SECRET: [&str; 5] = ["key", "authorization", "token", "secret", "password"];

/// A line of the file with `***` for the secrets that stand in it literally. Columns stay as they
/// are up to the first of them.
fn without_secrets(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(colon) = rest.find(':') {
        let (before, after) = rest.split_at(colon + 1);
        let name = before[..colon].trim_end_matches(['"', '\'', ' ']).to_ascii_lowercase();
        let value = after.trim_start_matches([' ', '"', '\'']);
        shown.push_str(before);
        rest = after;
        let is_variable = value.starts_with("${") || value.starts_with("os.environ/");
        if SECRET.iter().any(|secret| name.ends_with(secret)) && !is_variable && !value.is_empty() {
            shown.push_str(&after[..after.len() - value.len()]);
            shown.push_str("***");
            rest = &value[value.find(['"', '\'', ',', '}']).unwrap_or(value.len())..];
        }
    }
    shown.push_str(rest);
    shown
}

/// Takes out of a message what came from the environment.
fn without_values(mut problem: Problem, filled: &[(String, String)]) -> Problem {
    for (written, value) in filled.iter().filter(|(_, value)| value.len() > 3) {
        problem.message = problem.message.replace(value.as_str(), written);
    }
    problem
}
