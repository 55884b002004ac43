//! [`chosen`]: the tools that a client chooses by their names.

use std::{collections::HashSet, slice};

use super::canonical::{Request, Tool, ToolChoice};
use crate::{Error, Kind};

/// The names in the choice of `request`, as far as the tools are sent that bear them; none if it names no tool.
///
/// # Errors
///
/// Nothing that is chosen is sent: providers refuse that, and so would the client be refused by its own.
pub(crate) fn chosen<'a>(
    request: &'a Request<'_>,
    is_sent: impl Fn(&Tool<'_>) -> bool,
) -> Result<Vec<&'a str>, Error> {
    let names = match &request.tool_choice {
        Some(ToolChoice::Named(name)) => slice::from_ref(name),
        Some(ToolChoice::Allowed { names, .. }) => names,
        Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Required) | None => return Ok(Vec::new()),
    };
    let sent: HashSet<&str> =
        request.tools.iter().filter(|tool| is_sent(tool)).map(|tool| &*tool.name).collect();
    let chosen: Vec<&str> = names.iter().map(|name| &**name).filter(|name| sent.contains(name)).collect();
    if chosen.is_empty() {
        let message = "tool_choice: names a tool that isn't among the tools that can be sent";
        return Err(Error::new(Kind::InvalidRequest, message).with_param("tool_choice"));
    }
    Ok(chosen)
}
