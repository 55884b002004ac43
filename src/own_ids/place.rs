use serde::{Deserialize, Serialize};

use super::Seal;
use crate::{Error, Kind};

/// Where something is that a provider keeps.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Place {
    /// The model as the client names it, by which its route is found.
    pub(crate) model: Box<str>,
    /// `provider/model`: which of the route's targets it is.
    pub(crate) target: Box<str>,
    /// The provider's own id.
    pub(crate) id: Box<str>,
}

impl Place {
    /// The id for the client, beginning with `prefix`.
    pub(crate) fn sealed(&self, prefix: &str, seal: &Seal) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        format!("{prefix}{}", seal.close(&text))
    }

    /// What a client's id leads to.
    pub(crate) fn open(id: &str, prefix: &str, seal: &Seal) -> Result<Self, Error> {
        let unknown = || Error::new(Kind::NotFound, "there is nothing with this id").with_param("id");
        let text = id.strip_prefix(prefix).and_then(|sealed| seal.open(sealed)).ok_or_else(unknown)?;
        let place: Self = serde_json::from_str(&text).map_err(|_| unknown())?;
        if is_one_thing(&place.id) { Ok(place) } else { Err(unknown()) }
    }
}

/// Whether an id leads to one thing in a path, and not up, nor to the list of all. Who has a key can seal
/// whatever there is.
fn is_one_thing(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    !id.is_empty() && !id.starts_with('.') && id.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::KeyDigest;

    #[test]
    fn an_id_leads_to_one_thing() {
        let seal = Seal::new(&KeyDigest::of("k"));
        let open = |id: &str| {
            let place = Place { model: "m".into(), target: "p/m".into(), id: id.into() };
            Place::open(&place.sealed("video_", &seal), "video_", &seal).map(|place| place.id)
        };

        assert_eq!(open("cgt-2025_a.b:c").ok().as_deref(), Some("cgt-2025_a.b:c"));
        for other in ["", ".", "..", "../files", "a/b", "a?b", "a%2f", "a b"] {
            assert_eq!(open(other).map_err(|error| error.kind()), Err(Kind::NotFound), "{other}");
        }
    }
}
