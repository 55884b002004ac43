use std::collections::{BTreeMap, HashMap, HashSet};

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::{Error as YamlError, Options, options};

use super::{
    Config, ConfigError, Key,
    check::step,
    problem::{Place, Problem},
    read::message,
};
use crate::directory::{Document, Section};

/// A document that is not in force, because it contradicts what else there is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// Where it belongs.
    pub section: Section,
    /// What it is called there.
    pub name: String,
    /// All that is wrong with it.
    pub why: String,
}

impl Config {
    /// This configuration with what was set while it runs, and the documents that are left out because they
    /// contradict it or each other. Where both have a name, this one wins; of two keys that are the same, the
    /// first by name.
    ///
    /// # Errors
    ///
    /// If this configuration contradicts itself.
    pub fn join<'a>(
        &self,
        documents: impl IntoIterator<Item = &'a Document>,
    ) -> Result<(Self, Vec<LeftOut>), ConfigError> {
        let keys: HashSet<&str> = self.keys.iter().map(|key| key.name.as_str()).collect();
        let is_of_file = |document: &Document| match document.section {
            Section::Keys => keys.contains(&*document.name),
            section => self.has(section, &document.name),
        };
        let mut wanted: Vec<_> = documents.into_iter().filter(|document| !is_of_file(document)).collect();
        let mut left_out = Vec::new();
        loop {
            let (config, problems) = self.with(&wanted);
            if problems.is_empty() {
                return Ok((config, left_out));
            }
            let mut wrong: BTreeMap<usize, Vec<String>> = BTreeMap::new();
            for (index, problem) in &problems {
                index.iter().for_each(|index| wrong.entry(*index).or_default().push(problem.text()));
            }
            if wrong.is_empty() {
                let problems = problems.into_iter().map(|(_, problem)| problem).collect();
                return Err(ConfigError { file: "the configuration".to_owned(), problems });
            }
            left_out.extend(wrong.iter().map(|(index, why)| LeftOut {
                section: wanted[*index].section,
                name: wanted[*index].name.to_string(),
                why: why.join("; "),
            }));
            // What was left out may be what others need.
            let stays = wanted.iter().enumerate().filter(|(index, _)| !wrong.contains_key(index));
            wanted = stays.map(|(_, document)| *document).collect();
        }
    }

    /// This configuration with all of `documents`, and what is wrong with it; with the index of the document, if
    /// it is one's.
    fn with(&self, documents: &[&Document]) -> (Self, Vec<(Option<usize>, Problem)>) {
        let mut config = self.clone();
        let mut problems = Vec::new();
        let mut indices = HashMap::new();
        for (index, document) in documents.iter().enumerate() {
            match config.add(document) {
                Ok(path) => drop(indices.insert(path, index)),
                Err(problem) => problems.push((Some(index), problem)),
            }
        }
        let of_document = |problem: Problem| {
            let Place::Value(path) = &problem.place else { return (None, problem) };
            let steps = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
            let owner = steps.filter_map(|end| Some((indices.get(&path[..end])?, end))).next_back();
            let Some((index, end)) = owner else { return (None, problem) };
            let place = match path.get(end + 1..) {
                Some(inside) => Place::Value(inside.to_owned()),
                None => Place::File,
            };
            (Some(*index), Problem { place, ..problem })
        };
        problems.extend(config.check().into_iter().map(of_document));
        (config, problems)
    }

    /// Adds one document, and says where it is.
    fn add(&mut self, document: &Document) -> Result<String, Problem> {
        let (content, name) = (&*document.content, &*document.name);
        match document.section {
            Section::Customers => {
                self.customers.insert(name.to_owned(), read(content)?);
            }
            Section::Teams => {
                self.teams.insert(name.to_owned(), read(content)?);
            }
            Section::Keys => {
                self.keys.push(read::<Key>(content)?);
                return Ok(format!("keys[{}]", self.keys.len() - 1));
            }
            Section::Prices => {
                self.prices.insert(name.to_owned(), read(content)?);
            }
        }
        Ok(format!("{}.{}", document.section.as_str(), step(name)))
    }

    /// Whether it has a customer, a team, a key or a price of this name.
    pub fn has(&self, section: Section, name: &str) -> bool {
        match section {
            Section::Customers => self.customers.contains_key(name),
            Section::Teams => self.teams.contains_key(name),
            Section::Keys => self.keys.iter().any(|key| key.name == name),
            Section::Prices => self.prices.contains_key(name),
        }
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

        let (config, left_out) = file().join(&documents).unwrap();

        assert_eq!(left_out, []);
        assert_eq!(*config.teams["search"].budget[0].usd.unwrap(), NanoUsd::from_usd(9));
        assert_eq!(*config.keys[1].budget[0].usd.unwrap(), NanoUsd(1_500_000_000));
        let keys = config.virtual_keys();
        assert_eq!((keys[1].0, keys[1].1.customer.as_deref()), (digest, Some("acme")));
    }

    fn left_out(documents: &[Document]) -> Vec<(String, String)> {
        let (_, left_out) = file().join(documents).unwrap();
        left_out.into_iter().map(|one| (one.name, one.why)).collect()
    }

    #[test]
    fn what_contradicts_itself_is_left_out_and_told() {
        for (section, content, expected) in [
            (
                Section::Teams,
                r#"{"customer":"nobody"}"#,
                "customer: unknown customer `nobody`, there are none",
            ),
            (Section::Teams, r#"{"buget":{}}"#, "buget: unknown field `buget`, did you mean `budget`?"),
            (Section::Teams, r#"{"budget":{"usd":"much","per":"day"}}"#, "budget.usd: expected an amount"),
            (Section::Keys, r#"{"name":"x.y"}"#, "has neither `key` nor `sha256`"),
            // There are no variables.
            (Section::Teams, r#"{"customer":"${HOME}"}"#, "customer: unknown customer `${HOME}`"),
        ] {
            let left_out = left_out(&[document(section, "x.y", content)]);

            assert_eq!(left_out.len(), 1, "{content}");
            assert!(left_out[0].1.starts_with(expected), "{left_out:?}");
        }
    }

    #[test]
    fn who_needs_what_is_left_out_is_left_out_and_nobody_else() {
        let key = |name: &str, of: &str, team: &str| {
            let digest = KeyDigest::of(of);
            let content = format!(r#"{{"name":"{name}","sha256":"{digest}","team":"{team}"}}"#);
            document(Section::Keys, name, &content)
        };
        let documents = [
            document(Section::Teams, "ads", r#"{"customer":"gone"}"#),
            document(Section::Teams, "sales", "{}"),
            key("a", "one", "ads"),
            key("b", "two", "sales"),
            key("c", "two", "sales"),
        ];

        let (config, _) = file().join(&documents).unwrap();

        let names: Vec<_> = config.keys.iter().map(|key| &*key.name).collect();
        assert_eq!((names, config.teams.len()), (vec!["main", "b"], 2));
        let expected = [
            ("ads", "customer: unknown customer `gone`, there are none"),
            ("c", "is the same key as keys[2]"),
            ("a", "team: unknown team `ads`, expected one of sales, search"),
        ];
        assert_eq!(left_out(&documents), expected.map(|(name, why)| (name.to_owned(), why.to_owned())));
    }

    #[test]
    fn ten_thousand_keys_of_a_team_that_is_gone_are_left_out_quickly() {
        let content = |name: &str| {
            let digest = KeyDigest::of(name);
            format!(r#"{{"name":"{name}","sha256":"{digest}","team":"gone"}}"#)
        };
        let names = (0..10_000).map(|number| format!("k{number}"));
        let documents: Vec<_> = names.map(|name| document(Section::Keys, &name, &content(&name))).collect();
        let begun = std::time::Instant::now();

        let (_, left_out) = file().join(&documents).unwrap();

        assert_eq!(left_out.len(), 10_000);
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }

    #[test]
    fn what_says_nothing_is_left_out() {
        let value = serde_json::json!({ "a": null, "b": [], "c": { "d": {} }, "e": false, "f": [null] });

        assert_eq!(tidy(value), serde_json::json!({ "e": false, "f": [null] }));
    }
}
