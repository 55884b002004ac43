//! Customers, teams, keys and prices that are set while the gateway runs: `/admin/v1`, and `/key` in the way of
//! LiteLLM.
//!
//! [`AdminLayer`] answers these paths, and `/openapi.json`, which describes them; all others go inwards. It
//! stands outside of auth, and asks for the key that the configuration has in `admin.key`, in any header in
//! which clients present keys; without one in the configuration these paths are not there. Whoever has logged in to
//! the dashboard need not present it. What administrators ask leaves no record.
//!
//! | | |
//! |---|---|
//! | `GET /admin/v1/keys` | sorted by name; `limit`, `after`, `prefix`, `team`, `customer` |
//! | `POST /admin/v1/keys` | makes a key, which is in this answer and in no other |
//! | `GET`, `PATCH`, `DELETE /admin/v1/keys/{name}` | a `PATCH` is merged (RFC 7396): `null` takes a field away |
//! | `POST /admin/v1/keys/{name}/rotate` | another key in its place; with `{"grace": "1h"}` both work so long |
//! | the same of `teams` and `customers` | |
//! | `GET /admin/v1/budgets`, `/admin/v1/limits` | what stands on them, sorted by account; `limit`, `after`, `scope`, `name`; those of each user, session and tag with `each` |
//! | `GET /admin/v1/prices` | what models cost, sorted by name; `limit`, `after`, `prefix`, `model`, `source`; with `set=true` what was set |
//! | `GET`, `PUT`, `DELETE /admin/v1/prices/{provider/model}` | what one model costs, or with `*` several |
//! | `GET /admin/v1/usage?key=…` | what an account has used; or of a `team`, a `customer`, a `user`, a `session`, a `tag`, a `provider`, or the gateway; with `since` and `until` day by day, in UTC |
//! | `GET /admin/v1/audit` | who changed what and when, newest first, and how the chain ends; `limit`, `before`, `kind`, `who`, `since`, `until` |
//! | `GET /admin/v1/config` | the configuration that is in force, without its secrets, and when its file was loaded |
//! | `GET /admin/v1/mirrors` | what came of [copies](crate::dispatch::Mirror) of requests and of their originals on this node, by model and target; of one `model` |
//!
//! An entry has the fields that it has in a configuration. It says whether it is of the configuration's
//! `file`, which wins and can't be changed here, or of the `api`, and which `version` it is; with `if-match` a
//! change is made of that version only.
//!
//! Budgets and limits are set with the customer, the team or the key that they are of, and only shown apart from
//! them: see the fields `budget` and `limits`. A price is in the form that `prices` has in a configuration; as
//! there, the longest name that fits a model is the one that counts, and the file's if both have the same.
//!
//! Every change is entered in the [audit](crate::audit) before it is made, and refused if it can't be: see
//! [`Settings::audit`].
//!
//! An entry that the file doesn't allow any more, such as a key whose team was taken out of it, is not in force.
//! It is shown with `out_of_force`, which says why, and can be changed or deleted.
//!
//! A `POST` that is sent again is not another entry: with the same `idempotency-key` it has the same answer
//! for ten minutes, on other nodes of the same [`Directory`](crate::directory::Directory) too, and one that would
//! make what is there already is told what there is, without the key. That the same `idempotency-key` is used for
//! another request is noticed by the node that has answered the first one.
//!
//! Keys are 256 random bits; what is kept is the SHA-256 of each. One that is made with an `idempotency-key` is the
//! digest of 256 random bits, which are kept too, and of the administrators' key and the request, which are not:
//! so that any node can make it again, for them alone. A change is in force at once here, and on
//! other nodes of the same [`Directory`](crate::directory::Directory) within two seconds: see [`Settings`].

mod answer;
mod audit;
mod audited;
mod configuration;
mod create;
mod entry;
mod explain;
mod layer;
mod litellm;
mod openapi;
mod operation;
mod prices;
mod replay;
mod service;
mod settings;
mod standing;
#[cfg(test)]
mod tests;
mod usage;

pub use self::{layer::AdminLayer, service::Administration, settings::Settings};
