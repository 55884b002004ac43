use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Config, Records, Several, Store,
    problem::Problem,
    records,
    units::{Size, Written},
};
use crate::record::{ContentRules, KnownSecrets, LONGEST_CONTENT, Mask};

/// What is logged and recorded, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Log {
    /// How log lines look.
    pub format: LogFormat,
    /// The level, or a filter such as `info,bartizan=debug`.
    pub level: String,
    /// Where the record of each request goes: to one place or to several. Takes a restart to change.
    pub records: Several<Records>,
    /// For how long records are kept in databases, and in how much room in SQLite; what is reached first counts. Takes a
    /// restart to change.
    pub retention: Retention,
    /// How much is kept of what was asked and answered, where keys allow it with `log_content`. Takes a restart to
    /// change.
    pub content: KeptContent,
    /// Regular expressions of what is masked in it and in all that a record has of clients and providers, beside API keys,
    /// tokens and passwords of known forms and the secrets of this configuration. Takes a restart to change.
    pub mask: Several<String>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Auto,
            level: "info".to_owned(),
            records: [Records::Tracing, Records::Logs].into_iter().collect(),
            retention: Retention::default(),
            content: KeptContent::default(),
            mask: Several::default(),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
}

/// For how long records are kept, and in how much room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Retention {
    /// How old they may be; `null` for any age.
    pub age: Option<Written<Duration>>,
    /// How large their file in SQLite may be; `null` for any size.
    pub size: Option<Written<Size>>,
}

impl Default for Retention {
    fn default() -> Self {
        let age = Duration::from_secs(30 * 86_400);
        Self { age: Some(Written::new(age)), size: Some(Written::new(Size(10 << 30))) }
    }
}

/// How much is kept of what was asked and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct KeptContent {
    /// The most of a request, and the most of an answer; what is longer is cut.
    pub max: Written<Size>,
}

impl Default for KeptContent {
    fn default() -> Self {
        Self { max: Written::new(Size(64 << 10)) }
    }
}

impl Log {
    /// What of content is kept, as far as the patterns can be read, and what is masked in all of a record: also the
    /// secrets that are known.
    pub fn content_rules(&self, known: KnownSecrets) -> ContentRules {
        let mask = self.mask.iter().fold(Mask::default().known(known), |mask, pattern| {
            let known = mask.clone();
            mask.pattern(pattern).unwrap_or(known)
        });
        ContentRules::default().most(self.content.max.bytes()).mask(mask)
    }

    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        for (pattern, index) in self.mask.iter().zip(0..) {
            if let Err(error) = Mask::default().pattern(pattern) {
                let reason =
                    error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                problems.push(Problem::at(
                    format!("log.mask.{index}"),
                    format!("is no regular expression: {reason}"),
                ));
            }
        }
        if self.content.max.bytes() > LONGEST_CONTENT {
            problems.push(Problem::at("log.content.max", "is more than the 1MiB that is ever kept"));
        }
        records::check(&self.records, problems);
    }
}

impl Config {
    /// Where records are found again if `log.records` doesn't say where: beside the file of the store.
    pub fn logs_path(&self) -> Option<PathBuf> {
        let Store::Sqlite(path) = &self.store else { return None };
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Some(path.with_file_name(Path::new(&format!("{stem}-logs.db"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigError;

    fn read(text: &str) -> Result<Config, ConfigError> {
        Config::read(&format!("auth: open\n{text}"), "f", &|_| None)
    }

    #[test]
    fn records_go_to_one_place_or_to_several() {
        let records = |text: &str| read(text).unwrap().log.records.to_vec();

        assert_eq!(records(""), [Records::Tracing, Records::Logs]);
        assert_eq!(records("log: { records: none }"), [Records::None]);
        assert_eq!(records("log: { records: { sqlite: l.db } }"), [Records::Sqlite("l.db".into())]);
        assert_eq!(
            records("log: { records: [ tracing, { file: r.jsonl }, logs ] }"),
            [Records::Tracing, Records::File("r.jsonl".into()), Records::Logs]
        );
    }

    #[test]
    fn logs_are_beside_the_store_if_that_is_a_file() {
        let path = |text: &str| read(text).unwrap().logs_path();

        assert_eq!(path(""), Some("bartizan-logs.db".into()));
        assert_eq!(path("store: { sqlite: /var/lib/a.b.db }"), Some("/var/lib/a.b-logs.db".into()));
        assert_eq!(path("store: memory"), None);
    }

    #[test]
    fn retention_content_and_masks_are_read_and_checked() {
        let text =
            r"log: { retention: { age: 7d, size: null }, content: { max: 1KiB }, mask: '\d{3}-\d{2}' }";
        let log = read(text).unwrap().log;

        assert_eq!(log.retention.age.map(|age| *age), Some(Duration::from_secs(7 * 86_400)));
        assert_eq!((log.retention.size, *log.content.max), (None, Size(1024)));
        assert_eq!(log.mask.to_vec(), [r"\d{3}-\d{2}"]);
        let error = read("log: { mask: [ok, '('] }").unwrap_err().to_string();
        assert!(error.contains("log.mask.1: is no regular expression: unclosed group"), "{error}");
    }
}
