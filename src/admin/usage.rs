use serde_json::{Value, json};

use super::{answer::Query, entry::unknown, layer::Office};
use crate::{
    Error, Kind,
    directory::Section,
    labels::Labels,
    ledger::{Scope, Usage, usage},
};

/// What may be asked for, and the section that it has to be in.
const KINDS: [(&str, Option<Section>); 4] = [
    ("key", Some(Section::Keys)),
    ("team", Some(Section::Teams)),
    ("customer", Some(Section::Customers)),
    ("user", None),
];

impl Office {
    /// What one account has used.
    pub(super) async fn usage(&self, query: &Query) -> Result<Value, Error> {
        query.only(&KINDS.map(|(kind, _)| kind))?;
        let mut asked = KINDS.iter().filter_map(|(kind, section)| Some((*kind, *section, query.get(kind)?)));
        let (Some((kind, section, name)), None) = (asked.next(), asked.next()) else {
            let message = "say whose usage: one of `key`, `team`, `customer` or `user`";
            return Err(Error::new(Kind::InvalidRequest, message));
        };
        let scopes = match section {
            Some(section) => self.scopes(section, name)?,
            None => {
                let labels = Labels { user: Some(name.into()), ..Labels::default() };
                self.settings.config().label_rules().scopes(&labels)
            }
        };
        let usage = usage(&*self.ledger, &scopes).await?;
        Ok(json!({ kind: name, "usage": usage }))
    }

    /// What stands on the accounts of a key.
    pub(super) async fn usage_of_key(&self, name: &str) -> Result<Vec<Usage>, Error> {
        let scopes = self.scopes(Section::Keys, name)?;
        usage(&*self.ledger, &scopes).await
    }

    fn scopes(&self, section: Section, name: &str) -> Result<Vec<Scope>, Error> {
        self.settings.config().scopes(Some(section), name).ok_or_else(|| unknown(section, name))
    }
}
