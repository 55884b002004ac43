use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Secret;

/// Who may set what while the gateway runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Admin {
    /// The key for `/admin/v1` and `/key`, at least 16 characters; without one these paths are not there.
    pub key: Option<Secret>,
}

/// Where it is kept who changed what and when. Takes a restart to change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Audit {
    /// Where budgets are: see `store`.
    #[default]
    Store,
    /// In this file, one JSON object a line.
    File(PathBuf),
}
