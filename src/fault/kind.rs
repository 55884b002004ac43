use std::{fmt, str::FromStr, time::Duration};

use http::StatusCode;

use crate::scaled;

/// One way in which a provider fails, written as in the table of the [module](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It answers with this status, from 400 to 599.
    Status(StatusCode),
    /// Its answer comes so much later.
    Delay(Duration),
    /// It can't be connected to.
    Refuse,
    /// The connection breaks before there is an answer.
    Reset,
    /// There is no answer.
    Hang,
    /// What it says can't be read.
    Malformed,
    /// It says nothing.
    Empty,
    /// It says that it has failed, with a status of success.
    Error,
    /// Its stream breaks after so many events, and a whole answer at once.
    Cut {
        /// How many.
        events: usize,
    },
}

/// A text that names no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAFault;

impl fmt::Display for NotAFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Fault::FORM)
    }
}

impl std::error::Error for NotAFault {}

impl Fault {
    /// What can be written.
    pub(crate) const FORM: &str =
        "a status such as 503, delay 2s, refuse, reset, hang, malformed, empty, error, or cut 3";
}

impl FromStr for Fault {
    type Err = NotAFault;

    fn from_str(text: &str) -> Result<Self, NotAFault> {
        let (name, value) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let fault = match (name, value.trim()) {
            ("refuse", "") => Self::Refuse,
            ("reset", "") => Self::Reset,
            ("hang", "") => Self::Hang,
            ("malformed", "") => Self::Malformed,
            ("empty", "") => Self::Empty,
            ("error", "") => Self::Error,
            ("delay", time) => Self::Delay(scaled::duration(time).ok_or(NotAFault)?),
            ("cut", events) => Self::Cut { events: events.parse().map_err(|_| NotAFault)? },
            ("status", status) | (status, "") => Self::Status(failure(status).ok_or(NotAFault)?),
            _ => return Err(NotAFault),
        };
        Ok(fault)
    }
}

fn failure(text: &str) -> Option<StatusCode> {
    let status = StatusCode::from_bytes(text.as_bytes()).ok()?;
    (status.is_client_error() || status.is_server_error()).then_some(status)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{}", status.as_u16()),
            Self::Delay(time) if time.subsec_millis() == 0 => write!(f, "delay {}s", time.as_secs()),
            Self::Delay(time) => write!(f, "delay {}ms", time.as_millis()),
            Self::Refuse => f.write_str("refuse"),
            Self::Reset => f.write_str("reset"),
            Self::Hang => f.write_str("hang"),
            Self::Malformed => f.write_str("malformed"),
            Self::Empty => f.write_str("empty"),
            Self::Error => f.write_str("error"),
            Self::Cut { events } => write!(f, "cut {events}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_as_it_is_written() {
        for text in [
            "503",
            "delay 2s",
            "delay 1500ms",
            "refuse",
            "reset",
            "hang",
            "malformed",
            "empty",
            "error",
            "cut 3",
        ] {
            assert_eq!(text.parse::<Fault>().map(|fault| fault.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("status 429".parse(), Ok(Fault::Status(StatusCode::TOO_MANY_REQUESTS)));
    }

    #[test]
    fn what_is_no_failure_is_no_fault() {
        for text in ["", "200", "302", "600", "delay", "delay 2", "cut", "cut -1", "reset 3", "rain", "5 03"]
        {
            assert_eq!(text.parse::<Fault>(), Err(NotAFault), "{text}");
        }
    }
}
