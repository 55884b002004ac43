use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::{Error as YamlError, Options, options};

use super::{
    Config, ConfigError, Key,
    problem::{Place, Problem},
    read::message,
};
use crate::directory::{Document, Section};

impl Config {
    /// This configuration with what was set while it runs. Where both have a name, this one wins.
    ///
    /// # Errors
    ///
    /// If a document is malformed, or what both say together contradicts itself.
    pub fn with<'a>(&self, documents: impl IntoIterator<Item = &'a Document>) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut config = self.clone();
        for document in documents {
            if let Err(problem) = config.add(document, self) {
                problems.push(problem.inside(document.section, &document.name));
            }
        }
        if problems.is_empty() {
            problems = config.check();
        }
        if problems.is_empty() {
            return Ok(config);
        }
        Err(ConfigError { file: "what was set by the API".to_owned(), problems })
    }

    /// Adds one document, unless `file` has its name.
    fn add(&mut self, document: &Document, file: &Self) -> Result<(), Problem> {
        let (content, name) = (&*document.content, &*document.name);
        if file.has(document.section, name) {
            return Ok(());
        }
        match document.section {
            Section::Customers => {
                self.customers.insert(name.to_owned(), read(content)?);
            }
            Section::Teams => {
                self.teams.insert(name.to_owned(), read(content)?);
            }
            Section::Keys => self.keys.push(read::<Key>(content)?),
        }
        Ok(())
    }

    /// Whether it has a customer, a team or a key of this name.
    pub fn has(&self, section: Section, name: &str) -> bool {
        match section {
            Section::Customers => self.customers.contains_key(name),
            Section::Teams => self.teams.contains_key(name),
            Section::Keys => self.keys.iter().any(|key| key.name == name),
        }
    }
}

impl Problem {
    fn inside(self, section: Section, name: &str) -> Self {
        let within = match self.place {
            Place::Value(path) => format!(".{path}"),
            _ => String::new(),
        };
        Self { place: Place::Value(format!("{}.\"{name}\"{within}", section.as_str())), ..self }
    }
}

/// Reads one value of a configuration from JSON, as it may stand in a file: `200` is an amount as `"200"` is.
/// There are no variables in it.
pub(crate) fn read<T: DeserializeOwned>(json: &str) -> Result<T, Problem> {
    let options: Options = options! { with_snippet: false };
    let mut path = String::new();
    let value = serde_saphyr::with_deserializer_from_str_with_options(json, options, |yaml| {
        serde_path_to_error::deserialize(yaml).map_err(|error| {
            path = error.path().to_string();
            error.into_inner()
        })
    });
    value.map_err(|error: YamlError| {
        let place = if path.is_empty() || path == "." { Place::File } else { Place::Value(path) };
        Problem { place, message: message(&error) }
    })
}

/// The same value without what says nothing: `null`, empty lists, empty objects.
pub(crate) fn tidy(value: Value) -> Value {
    let says_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| (name, tidy(value)));
            members.filter(|(_, value)| !says_nothing(value)).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{auth::KeyDigest, directory::Revision, price::NanoUsd};

    fn document(section: Section, name: &str, content: &str) -> Document {
        Document {
            section,
            name: name.into(),
            content: content.into(),
            version: Revision(1),
            changed: SystemTime::UNIX_EPOCH,
        }
    }

    fn file() -> Config {
        let text = "teams: { search: { budget: { usd: 9, per: day } } }\n\
                    keys: [ { name: main, key: 0123456789abcdef, team: search } ]\n";
        Config::read(text, "f", &|_| None).unwrap()
    }

    #[test]
    fn documents_are_added_and_the_file_wins() {
        let digest = KeyDigest::of("another");
        let key = format!(
            r#"{{"name":"app","sha256":"{digest}","team":"ads","budget":{{"usd":1.5,"per":"day"}}}}"#
        );
        let documents = [
            document(Section::Customers, "acme", "{}"),
            document(Section::Keys, "app", &key),
            document(Section::Teams, "ads", r#"{"customer":"acme","limits":{"requests":["5/minute"]}}"#),
            document(Section::Teams, "search", r#"{"budget":{"usd":"1","per":"day"}}"#),
        ];

        let config = file().with(&documents).unwrap();

        assert_eq!(*config.teams["search"].budget[0].usd.unwrap(), NanoUsd::from_usd(9));
        assert_eq!(*config.keys[1].budget[0].usd.unwrap(), NanoUsd(1_500_000_000));
        let keys = config.virtual_keys();
        assert_eq!((keys[1].0, keys[1].1.customer.as_deref()), (digest, Some("acme")));
    }

    #[test]
    fn what_contradicts_itself_is_said_with_its_place() {
        let error = |section, name, content| {
            file().with(&[document(section, name, content)]).unwrap_err().to_string()
        };

        for (section, content, expected) in [
            (Section::Teams, r#"{"customer":"nobody"}"#, "teams.x.customer: unknown customer `nobody`"),
            (Section::Teams, r#"{"buget":{}}"#, "unknown field `buget`, did you mean `budget`?"),
            (
                Section::Teams,
                r#"{"budget":{"usd":"much","per":"day"}}"#,
                r#"teams."x".budget.usd: expected an amount"#,
            ),
            (Section::Keys, r#"{"name":"x"}"#, "keys[1]: has neither `key` nor `sha256`"),
        ] {
            let error = error(section, "x", content);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn variables_are_not_put_in() {
        let document = document(Section::Teams, "x", r#"{"customer":"${HOME}"}"#);

        assert!(file().with(&[document]).unwrap_err().to_string().contains("`${HOME}`"));
    }

    #[test]
    fn what_says_nothing_is_left_out() {
        let value = serde_json::json!({ "a": null, "b": [], "c": { "d": {} }, "e": false, "f": [null] });

        assert_eq!(tidy(value), serde_json::json!({ "e": false, "f": [null] }));
    }
}
