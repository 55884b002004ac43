use serde::{Deserialize, Serialize};

use super::Seal;
use crate::{
    Error, Kind,
    batch::{Proof, Requests},
};

/// Where something is that a provider keeps, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Place {
    /// The model as the client names it, by which its route is found.
    pub(crate) model: Box<str>,
    /// `provider/model`: which of the route's targets it is.
    pub(crate) target: Box<str>,
    /// The provider's own id.
    pub(crate) id: Box<str>,
    /// The requests of a file or of a batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) requests: Option<Requests>,
    /// What only the gateway can have made of all that; there are no requests without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) proof: Option<Box<str>>,
}

impl Place {
    /// A place that tells nothing of requests.
    pub(crate) fn new(model: &str, target: &str, id: &str) -> Self {
        Self { model: model.into(), target: target.into(), id: id.into(), requests: None, proof: None }
    }

    /// The id for the client, beginning with `prefix`.
    pub(crate) fn sealed(&self, prefix: &str, seal: &Seal) -> String {
        format!("{prefix}{}", seal.close(&self.text()))
    }

    /// What a client's id leads to.
    pub(crate) fn open(id: &str, prefix: &str, seal: &Seal) -> Result<Self, Error> {
        let text = id.strip_prefix(prefix).and_then(|sealed| seal.open(sealed)).ok_or_else(unknown)?;
        let place: Self = serde_json::from_str(&text).map_err(|_| unknown())?;
        if is_one_thing(&place.id) { Ok(place) } else { Err(unknown()) }
    }

    /// The requests of a file or of a batch, and by what they are known.
    pub(crate) fn take_requests(&mut self) -> Option<(Requests, Proof)> {
        let seal = self.proof.take()?;
        Some((self.requests.take()?, Proof { id: self.id.clone(), seal }))
    }

    /// The same with the requests, and with a proof that `secret` makes.
    pub(crate) fn proven(self, requests: &Requests, secret: &Seal) -> Self {
        let place = Self { requests: Some(requests.clone()), proof: None, ..self };
        let proof = secret.proof(&place.text());
        Self { proof: Some(proof.into()), ..place }
    }

    /// Everything but the proof is covered by it.
    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

pub(super) fn unknown() -> Error {
    Error::new(Kind::NotFound, "there is nothing with this id").with_param("id")
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
            let place = Place::new("m", "p/m", id);
            Place::open(&place.sealed("video_", &seal), "video_", &seal).map(|place| place.id)
        };

        assert_eq!(open("cgt-2025_a.b:c").ok().as_deref(), Some("cgt-2025_a.b:c"));
        for other in ["", ".", "..", "../files", "a/b", "a?b", "a%2f", "a b"] {
            assert_eq!(open(other).map_err(|error| error.kind()), Err(Kind::NotFound), "{other}");
        }
    }

    #[test]
    fn a_proof_is_of_everything_that_is_told() {
        let (secret, requests) = (Seal::new(&KeyDigest::of("s")), Requests::default());
        let place = Place::new("m", "p/m", "x");
        let proof = |place: Place, requests: &Requests| place.proven(requests, &secret).proof.unwrap();

        let whole = proof(place.clone(), &requests);

        assert_eq!(whole, proof(place.clone(), &requests));
        for other in [Place::new("n", "p/m", "x"), Place::new("m", "p/n", "x"), Place::new("m", "p/m", "y")] {
            assert_ne!(whole, proof(other, &requests));
        }
        assert_ne!(whole, proof(place.clone(), &Requests { input: 1, ..requests.clone() }));
        assert_ne!(whole, place.proven(&requests, &Seal::new(&KeyDigest::of("t"))).proof.unwrap());
    }
}
