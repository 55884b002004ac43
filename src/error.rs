//! [`Error`]: the one way in which anything that isn't an answer travels outwards.
//!
//! A layer that refuses or fails returns an [`Error`]; only
//! [`RenderErrorsLayer`](crate::render_errors::RenderErrorsLayer) turns it into a response, in the
//! dialect of the client. Layers match on the [`Kind`], people read the message, operators the source.

use std::{convert::Infallible, error::Error as StdError, fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::BoxError;

/// Why there is no answer.
///
/// The kinds are the classes in which providers and this gateway can fail; each dialect has a status
/// and a type name of its own for every one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// The client's key is missing, unknown, expired or disabled.
    Unauthenticated,
    /// The client's key may not use this model.
    Forbidden,
    /// The request is malformed, or asks for what the provider refuses.
    InvalidRequest,
    /// The input has more tokens than the model takes.
    ContextTooLong,
    /// The prompt was refused by a content policy.
    ContentFiltered,
    /// There is no such endpoint.
    NotFound,
    /// The endpoint exists, but not for this method.
    MethodNotAllowed,
    /// What is to be made is there already, or has been changed meanwhile.
    Conflict,
    /// The body is not JSON by its content type, or is compressed.
    UnsupportedMediaType,
    /// The client took too long to send its body.
    RequestTimeout,
    /// The body is larger than the limit.
    TooLarge,
    /// No route serves the model, or the provider doesn't know it.
    NoRoute,
    /// A request limit was reached: the gateway's own or the provider's.
    RateLimited,
    /// A budget of the caller is used up.
    BudgetExhausted,
    /// The same is asked for again and again, or too much is spent at once.
    RunawayLoop,
    /// The request may use more than one request may.
    TooExpensive,
    /// The account of the gateway at the provider is out of credit.
    Billing,
    /// The provider refused the gateway's own credentials.
    UpstreamAuth,
    /// A deadline passed.
    Timeout,
    /// The gateway or the provider has no capacity left.
    Overloaded,
    /// No connection, or it broke before there was an answer.
    Unreachable,
    /// The provider failed, or its answer can't be understood.
    Upstream,
    /// A fault of the gateway itself.
    Internal,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 23] = [
        Self::Unauthenticated,
        Self::Forbidden,
        Self::InvalidRequest,
        Self::ContextTooLong,
        Self::ContentFiltered,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::UnsupportedMediaType,
        Self::RequestTimeout,
        Self::TooLarge,
        Self::NoRoute,
        Self::RateLimited,
        Self::BudgetExhausted,
        Self::RunawayLoop,
        Self::TooExpensive,
        Self::Billing,
        Self::UpstreamAuth,
        Self::Timeout,
        Self::Overloaded,
        Self::Unreachable,
        Self::Upstream,
        Self::Internal,
    ];

    /// Whether the request is refused for what it is, or for what its caller may do; otherwise something doesn't work,
    /// whatever the status by which clients are told.
    ///
    /// [`RateLimited`](Self::RateLimited) and [`NoRoute`](Self::NoRoute) are such refusals of the gateway; where a
    /// provider was asked, they are failures of it.
    pub fn is_refusal(self) -> bool {
        !matches!(
            self,
            Self::Billing
                | Self::UpstreamAuth
                | Self::Timeout
                | Self::Overloaded
                | Self::Unreachable
                | Self::Upstream
                | Self::Internal
        )
    }

    /// The name used in logs and records, such as `rate_limited`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::InvalidRequest => "invalid_request",
            Self::ContextTooLong => "context_too_long",
            Self::ContentFiltered => "content_filtered",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict => "conflict",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::RequestTimeout => "request_timeout",
            Self::TooLarge => "too_large",
            Self::NoRoute => "no_route",
            Self::RateLimited => "rate_limited",
            Self::BudgetExhausted => "budget_exhausted",
            Self::RunawayLoop => "runaway_loop",
            Self::TooExpensive => "too_expensive",
            Self::Billing => "billing",
            Self::UpstreamAuth => "upstream_auth",
            Self::Timeout => "timeout",
            Self::Overloaded => "overloaded",
            Self::Unreachable => "unreachable",
            Self::Upstream => "upstream",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a provider answered instead of success, kept so that a client of the same dialect gets its
/// very words.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The provider's status.
    pub status: StatusCode,
    /// The provider's headers, all of them.
    pub headers: HeaderMap,
    /// The provider's body, cut at a limit.
    pub body: Bytes,
    /// The [id](crate::dialect::Dialect::id) of the dialect in which the provider speaks.
    pub dialect: &'static str,
}

/// One error for the whole stack.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    param: Option<String>,
    retry_after: Option<Duration>,
    allow: Option<String>,
    reply: Option<Reply>,
    source: Option<BoxError>,
    nothing_begun: bool,
    elsewhere: bool,
}

impl Error {
    /// An error with a message for the client: lower case, no full stop, no secret.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            param: None,
            retry_after: None,
            allow: None,
            reply: None,
            source: None,
            nothing_begun: false,
            elsewhere: false,
        }))
    }

    /// Names the field of the request that is to blame.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    /// For an endpoint that is asked for by another method than these.
    pub(crate) fn other_method(methods: &[Method]) -> Self {
        let names: Vec<_> = methods.iter().map(Method::as_str).collect();
        Self::new(Kind::MethodNotAllowed, format!("this endpoint takes {}", names.join(" or ")))
            .with_allow(methods)
    }

    /// Names the methods by which an endpoint can be asked for (RFC 9110, section 10.2.1).
    #[must_use]
    pub fn with_allow(mut self, methods: &[Method]) -> Self {
        let names: Vec<_> = methods.iter().map(Method::as_str).collect();
        self.0.allow = Some(names.join(", "));
        self
    }

    /// Says when it is worth trying again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Keeps the provider's own words.
    #[must_use]
    pub fn with_reply(mut self, reply: Reply) -> Self {
        self.0.reply = Some(reply);
        self
    }

    /// Keeps the cause, for the operator; clients never see it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says that the target can't have begun with what it was asked for, whatever the kind.
    #[must_use]
    pub fn with_nothing_begun(mut self) -> Self {
        self.0.nothing_begun = true;
        self
    }

    /// Says that the target was not asked and need not be asked again for now, while another one may be.
    #[must_use]
    pub fn with_elsewhere(mut self) -> Self {
        self.0.nothing_begun = true;
        self.0.elsewhere = true;
        self
    }

    /// Whether the target need not be asked again for now, which somebody else sees to.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.0.elsewhere
    }

    /// Applies `change` to the message and to the provider's own words, to take secrets out.
    #[must_use]
    pub(crate) fn scrubbed(mut self, change: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Self {
        if let Some(clean) = change(self.0.message.as_bytes()) {
            self.0.message = String::from_utf8_lossy(&clean).into_owned();
        }
        if let Some(reply) = &mut self.0.reply
            && let Some(clean) = change(&reply.body)
        {
            reply.body = clean.into();
        }
        self
    }

    /// The class of the failure.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The message for the client.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The field of the request that is to blame.
    pub fn param(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    /// When it is worth trying again, counted from now.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The methods by which the endpoint can be asked for, as the header `allow` has them.
    pub fn allow(&self) -> Option<&str> {
        self.0.allow.as_deref()
    }

    /// What the provider said, if it was a provider that failed.
    pub fn reply(&self) -> Option<&Reply> {
        self.0.reply.as_ref()
    }

    /// Whether the same target may well answer if it is asked again.
    pub fn is_retryable(&self) -> bool {
        let passes = matches!(
            self.0.kind,
            Kind::RateLimited | Kind::Timeout | Kind::Overloaded | Kind::Unreachable | Kind::Upstream
        );
        passes && !self.0.elsewhere
    }

    /// Whether the target has certainly not begun with what it was asked for.
    pub fn has_begun_nothing(&self) -> bool {
        let refusals =
            [Kind::RateLimited, Kind::Overloaded, Kind::UpstreamAuth, Kind::Billing, Kind::NoRoute];
        self.0.nothing_begun || refusals.contains(&self.0.kind)
    }

    /// Whether the target may have done what it was asked for, although its answer was lost on the way.
    pub fn is_lost_answer(&self) -> bool {
        let is_loss = matches!(self.0.kind, Kind::Timeout | Kind::Unreachable);
        is_loss && self.0.reply.is_none() && !self.has_begun_nothing()
    }

    /// Whether another target may answer although this one did not.
    pub fn is_failover(&self) -> bool {
        let is_of_target = matches!(self.0.kind, Kind::UpstreamAuth | Kind::Billing | Kind::NoRoute);
        self.is_retryable() || self.0.elsewhere || is_of_target
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("param", &self.0.param)
            .field("status", &self.0.reply.as_ref().map(|reply| reply.status))
            .field("source", &self.0.source)
            .finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Lets middleware of tower and tower-http stand between these layers: an [`Error`] inside comes out
/// as it was, tower's `Elapsed` and `Overloaded` keep their meaning.
impl From<BoxError> for Error {
    fn from(error: BoxError) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(ours) => return *ours,
            Err(other) => other,
        };
        if error.is::<tower::timeout::error::Elapsed>() {
            Self::new(Kind::Timeout, "the deadline of the gateway passed").with_source(error)
        } else if error.is::<tower::load_shed::error::Overloaded>() {
            Self::new(Kind::Overloaded, "the gateway has no capacity left").with_source(error)
        } else {
            Self::new(Kind::Internal, "the gateway failed").with_source(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_comes_out_of_a_box_as_it_went_in() {
        let boxed: BoxError = Box::new(Error::new(Kind::RateLimited, "slow down"));

        assert_eq!(Error::from(boxed).kind(), Kind::RateLimited);
    }

    #[test]
    fn the_errors_of_tower_keep_their_meaning() {
        let elapsed: BoxError = tower::timeout::error::Elapsed::new().into();
        let shed: BoxError = tower::load_shed::error::Overloaded::new().into();

        assert_eq!(Error::from(elapsed).kind(), Kind::Timeout);
        assert_eq!(Error::from(shed).kind(), Kind::Overloaded);
    }

    #[test]
    fn the_client_sees_the_message_and_not_the_cause() {
        let error = Error::new(Kind::Internal, "the gateway failed").with_source("sk-secret");

        assert_eq!(error.to_string(), "the gateway failed");
    }
}
