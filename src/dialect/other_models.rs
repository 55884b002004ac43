//! Refuses to ask other models than the one that is checked and priced.

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::schema::Members;
use crate::{Error, Kind};

const ONLY_MODEL: &str = "only `model` can be asked for; the gateway's own routes have several targets";

/// Refuses the places in which OpenRouter takes other models that are not checked: settings that are stored there
/// under a name, and its plugins. A list of models is [for the gateway](crate::choose).
pub(crate) fn check(preset: Option<IgnoredAny>, plugins: Option<&RawValue>) -> Result<(), Error> {
    if preset.is_some() {
        return Err(refused("preset"));
    }
    let plugins = plugins.and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok());
    for (index, plugin) in plugins.into_iter().flatten().enumerate() {
        let Some(members) = Members::of(plugin) else { continue };
        let mut said = members.0.iter().filter(|(_, value)| value.get() != "null").map(|(name, _)| name);
        if let Some(name) = said.find(|name| name.ends_with("model") || name.ends_with("models")) {
            return Err(refused(&format!("plugins[{index}].{}", &**name)));
        }
    }
    Ok(())
}

/// The refusal of a field that names another model.
pub(crate) fn refused(field: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("{field}: {ONLY_MODEL}")).with_param(field)
}
