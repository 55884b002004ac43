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
