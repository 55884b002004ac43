use bytes::Bytes;
use http::Request;

use super::{Place, Seal, place::unknown};
use crate::{Error, Payload, Target, batch::Requests, dialect::IdMember, preset::Object};

/// Writes the ids of one answer.
#[derive(Debug)]
pub(super) struct Ids {
    members: &'static [IdMember],
    /// Without an id.
    place: Place,
    requests: Option<Requests>,
    seal: Seal,
    secret: Seal,
}

impl Ids {
    /// Those of the answer to `req`.
    ///
    /// # Errors
    ///
    /// If nobody is known who asks, or what the request's own id tells was not written by the gateway.
    pub(super) fn of(req: &Request<Payload>, target: &Target, secret: &Seal) -> Result<Self, Error> {
        let head = req.body().head();
        let place = Place::new(&head.model, target.name(), "");
        let batch = head.batch.as_deref();
        if let Some((batch, proof)) = batch.and_then(|batch| Some((batch, batch.proof.as_ref()?))) {
            let known = Place { id: proof.id.clone(), ..place.clone() }.proven(&batch.requests, secret);
            if known.proof.as_ref() != Some(&proof.seal) {
                return Err(unknown());
            }
        }
        Ok(Self {
            members: req.body().dialect().ids(),
            place,
            requests: batch.map(|batch| batch.requests.clone()),
            seal: Seal::of(req.extensions())?,
            secret: secret.clone(),
        })
    }

    /// An answer with the ids of the client in place of the provider's.
    pub(super) fn written(&self, whole: Bytes) -> Bytes {
        let text = std::str::from_utf8(&whole).unwrap_or_default().trim_ascii();
        let Some(object) = Object::read(text) else { return whole };
        let found = |member: &IdMember| Some((object.get(member.name)?, object.text(member.name)?, *member));
        let mut ids: Vec<_> = self.members.iter().filter_map(found).collect();
        ids.sort_by_key(|(raw, ..)| raw.as_ptr() as usize);
        let (mut written, mut from) = (String::with_capacity(text.len() + 256), 0);
        for (raw, id, member) in ids {
            let at = raw.as_ptr() as usize - text.as_ptr() as usize;
            written.push_str(&text[from..at]);
            // Nothing in it has to be escaped.
            written.extend(["\"", &*self.sealed(&id, member), "\""]);
            from = at + raw.len();
        }
        written.push_str(&text[from..]);
        written.into()
    }

    fn sealed(&self, id: &str, member: IdMember) -> String {
        let place = Place { id: id.into(), ..self.place.clone() };
        let place = match &self.requests {
            Some(requests) if member.tells_requests => place.proven(requests, &self.secret),
            _ => place,
        };
        place.sealed(member.prefix, &self.seal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Exchange, Kind,
        auth::{Caller, VirtualKey},
        batch::{Batch, Proof, Stage},
        dialect::{Dialect, OPENAI_BATCHES, OPENAI_VIDEOS},
        payload::Head,
    };

    fn request(dialect: &'static dyn Dialect, batch: Option<Batch>) -> Request<Payload> {
        let head = Head { model: "m".into(), batch: batch.map(Box::new), ..Head::default() };
        let mut req = Request::new(Payload::new(dialect, head, Bytes::new(), Exchange::default()));
        req.extensions_mut().insert(Caller::new(VirtualKey::new("k")));
        req
    }

    fn ids(req: &Request<Payload>) -> Result<Ids, Error> {
        Ids::of(req, &Target::new("p", "m"), &Seal::secret(b"s"))
    }

    fn open(told: &Bytes, name: &str, prefix: &str, req: &Request<Payload>) -> Place {
        let told: serde_json::Value = serde_json::from_slice(told).unwrap();
        Place::open(told[name].as_str().unwrap(), prefix, &Seal::of(req.extensions()).unwrap()).unwrap()
    }

    #[test]
    fn ids_are_exchanged_and_nothing_else() {
        let req = request(&OPENAI_VIDEOS, None);
        let said = r#"{"seconds":"4","remixed_from_video_id":"v0","id" : "v1","error":null,"task_id":7}"#;

        let told = ids(&req).unwrap().written(said.into());

        assert_eq!(open(&told, "id", "video_", &req), Place::new("m", "p/m", "v1"));
        assert_eq!(open(&told, "remixed_from_video_id", "video_", &req).id, Box::<str>::from("v0"));
        let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
        assert_eq!((&told["seconds"], &told["task_id"]), (&"4".into(), &7.into()));
        assert_eq!(ids(&req).unwrap().written("[1]".into()), "[1]");
    }

    #[test]
    fn what_is_told_of_requests_is_believed_of_the_gateway_only() {
        let requests = Requests { input: 7, ..Requests::default() };
        let stored = Batch { requests, stage: Stage::Stored, proof: None };
        let req = request(&OPENAI_BATCHES, Some(stored.clone()));
        let said = r#"{"id":"b1","input_file_id":"f1","output_file_id":"f2","error_file_id":null}"#;
        let told = ids(&req).unwrap().written(said.into());
        let mut place = open(&told, "input_file_id", "file-", &req);
        assert_eq!(open(&told, "output_file_id", "file-", &req), Place::new("m", "p/m", "f2"));

        let (requests, proof) = place.take_requests().unwrap();
        let answer = |requests: &Requests, proof: &Proof| {
            let batch = Batch { requests: requests.clone(), proof: Some(proof.clone()), ..stored.clone() };
            ids(&request(&OPENAI_BATCHES, Some(batch))).map(|ids| ids.written(said.into()))
        };

        assert_eq!(answer(&requests, &proof).unwrap(), told);
        let cheaper = answer(&Requests { input: 6, ..requests.clone() }, &proof).unwrap_err();
        let other = answer(&requests, &Proof { id: "f2".into(), ..proof }).unwrap_err();
        assert_eq!((cheaper.kind(), other.kind()), (Kind::NotFound, Kind::NotFound));
    }
}
