use std::{borrow::Cow, fmt, sync::OnceLock, time::SystemTime};

use http::{HeaderMap, HeaderName, header};

use super::{rehearsal::Rehearsal, said, wishes::Wishes};
use crate::{
    Exchange, Payload, Target, Tokens, Work, auth::Caller, dispatch::Route, headers, labels::Labels,
    preset::Object,
};

/// What a condition may ask of a request. What is not asked for is not looked for.
pub struct Facts<'a> {
    payload: &'a Payload,
    headers: &'a HeaderMap,
    caller: Option<&'a Caller>,
    labels: Labels,
    used: Used,
    now: SystemTime,
    /// The routes whose bounds the request is kept within: the one where it is, and that of the model before.
    routes: [Option<&'a Route>; 2],
    /// Who shall answer, as far as the client says so.
    wishes: Option<&'a Wishes>,
    /// What is to be said of the way, where nobody is to be asked on it.
    rehearsal: Option<&'a Rehearsal>,
    said: Said<'a>,
}

/// What was looked for in the body: once, however many conditions ask for it.
#[derive(Default)]
struct Said<'a> {
    body: OnceLock<Option<Object<'a>>>,
    text: OnceLock<Cow<'a, str>>,
    tools: OnceLock<Vec<Cow<'a, str>>>,
    parameters: OnceLock<Vec<(Box<str>, serde_json::Value)>>,
}

/// Which share of its budgets and limits a caller has used: 0.8 is four fifths. Of several that count the same it is
/// that of which the largest share is used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Used {
    /// Of budgets of money, what is held included.
    pub budget: f64,
    /// Of limits of requests.
    pub requests: f64,
    /// Of limits of tokens.
    pub tokens: f64,
    /// Of limits of tokens of input.
    pub input: f64,
    /// Of limits of tokens of output.
    pub output: f64,
    /// Of places for requests at the same time.
    pub concurrent: f64,
}

impl<'a> Facts<'a> {
    /// The facts of a request of `payload`, which came with `headers`.
    pub fn new(payload: &'a Payload, headers: &'a HeaderMap) -> Self {
        Self {
            payload,
            headers,
            caller: None,
            labels: payload.exchange().learn(|learnt| learnt.labels.clone()),
            used: Used::default(),
            now: SystemTime::now(),
            routes: [None; 2],
            wishes: None,
            rehearsal: None,
            said: Said::default(),
        }
    }

    /// Sets who asks.
    #[must_use]
    pub fn caller(self, caller: Option<&'a Caller>) -> Self {
        Self { caller, ..self }
    }

    /// Sets what the caller has used of what it may.
    #[must_use]
    pub fn used(self, used: Used) -> Self {
        Self { used, ..self }
    }

    /// Sets what time it is.
    #[must_use]
    pub fn at(self, now: SystemTime) -> Self {
        Self { now, ..self }
    }

    /// Sets whether it is only to be seen where the request would go: nobody gets to see it, and nothing counts.
    pub(super) fn rehearsed(self, rehearsal: Option<&'a Rehearsal>) -> Self {
        Self { rehearsal, ..self }
    }

    /// Sets who shall answer: whoever may not gets to see nothing on the way either.
    pub(super) fn wishes(self, wishes: Option<&'a Wishes>) -> Self {
        Self { wishes, ..self }
    }

    /// The same facts, kept within the bounds of `route`.
    pub(super) fn within<'b>(&'b self, route: &'b Route) -> Facts<'b> {
        let Self { payload, headers, caller, used, now, wishes, rehearsal, .. } = *self;
        let (labels, said) = (self.labels.clone(), self.said.again());
        let routes = [Some(route), self.routes[1].or(self.routes[0])];
        Facts { payload, headers, caller, labels, used, now, routes, wishes, rehearsal, said }
    }

    /// What is to be said of the way, where it is only to be seen where the request would go.
    pub(super) fn rehearsal(&self) -> Option<&'a Rehearsal> {
        self.rehearsal
    }

    /// Whether a target may get to see the request on the way: as far as the caller's key, its budgets, the regions of
    /// the route and what the client says of who shall answer go. None may where the caller pays its provider itself.
    pub fn may_be_read_by(&self, target: &Target) -> bool {
        self.rehearsal.is_none() && self.forbids(target).is_none()
    }

    /// Whether a target may be paid on the way for so many tokens that it reads: not more than the answer may cost, and
    /// no more for each than the client wants to pay. Where there is no such bound, its price doesn't matter.
    pub fn may_be_paid(&self, target: &Target, tokens: u64) -> bool {
        self.is_too_dear(target, tokens).is_none()
    }

    /// Why a target doesn't get to see the request on the way, where it would read so many tokens, if it doesn't.
    pub(super) fn keeps_from(&self, target: &Target, tokens: u64) -> Option<String> {
        self.forbids(target).or_else(|| self.is_too_dear(target, tokens))
    }

    fn forbids(&self, target: &Target) -> Option<String> {
        if self.exchange().learn(|learnt| learnt.own_key) {
            return Some("the caller pays its provider itself".to_owned());
        }
        let by_key = self.caller.and_then(|caller| caller.may_be_answered_by(target).err());
        let by_route = || self.routes.iter().flatten().find_map(|route| route.is_inside(target).err());
        if let Some(error) = by_key.or_else(by_route) {
            return Some(error.message().to_owned());
        }
        let is_up = || self.used.is_up().then(|| "the caller has used up what it may use".to_owned());
        self.wishes.and_then(|wishes| wishes.rules_out(target)).or_else(is_up)
    }

    fn is_too_dear(&self, target: &Target, tokens: u64) -> Option<String> {
        if self.wishes.is_some_and(|wishes| wishes.is_too_dear_to_read(target)) {
            return Some("dearer than `provider.max_price`, or its price is not known".to_owned());
        }
        let routes = self.routes.iter().flatten().filter_map(|route| route.known_max_cost());
        let most = routes.chain(self.wishes.and_then(Wishes::max_cost)).min()?;
        let work = Work::from(Tokens { input: tokens, ..Tokens::default() });
        match target.known_price().and_then(|price| price.cost_of(&work)) {
            // What was asked on the way before counts too.
            Some(cost) if self.exchange().cost() + cost <= most => None,
            Some(cost) => Some(format!("it would cost ${cost}, and the answer may cost ${most}")),
            None => Some(format!("the answer may cost ${most}, and what it costs is not known")),
        }
    }

    /// The model that is asked for.
    pub fn model(&self) -> &str {
        self.payload.model()
    }

    /// The [id](crate::Dialect::id) of the client's dialect.
    pub fn dialect(&self) -> &'static str {
        self.payload.dialect().id()
    }

    /// Whether the answer is to be a stream.
    pub fn stream(&self) -> bool {
        self.payload.head().stream
    }

    /// How many tokens of input the request probably has.
    pub fn tokens(&self) -> u64 {
        self.payload.input().likely()
    }

    /// The client's cap on the tokens of the answer.
    pub fn max_output(&self) -> Option<u64> {
        self.payload.head().max_output
    }

    /// The names of the tools that are offered, or their types where they have no name; 128 at the most, and 256 bytes
    /// of each.
    pub fn tools(&self) -> &[Cow<'a, str>] {
        self.said.tools.get_or_init(|| self.body().map(said::tools).unwrap_or_default())
    }

    /// What the user has said last; its first 16 KiB if it is longer.
    pub fn text(&self) -> &str {
        self.said.text.get_or_init(|| self.body().and_then(said::last_text).unwrap_or_default())
    }

    /// What the body says beside its contents, as far as it is a number, a text or yes or no: `temperature`; 64
    /// at the most.
    pub fn parameters(&self) -> &[(Box<str>, serde_json::Value)] {
        self.said.parameters.get_or_init(|| self.body().map(said::parameters).unwrap_or_default())
    }

    /// Who asks.
    pub fn who(&self) -> Option<&Caller> {
        self.caller
    }

    /// Whom and what the request is for.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The headers of the request that are text, but for those that hold credentials.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let texts = self.headers.iter().filter(|(name, _)| !is_secret(name));
        texts.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
    }

    /// What is learnt of the request.
    pub(super) fn exchange(&self) -> &Exchange {
        self.payload.exchange()
    }

    /// What the caller has used of what it may.
    pub fn share(&self) -> &Used {
        &self.used
    }

    /// What time it is.
    pub fn now(&self) -> SystemTime {
        self.now
    }

    fn body(&self) -> Option<&Object<'a>> {
        let read = || {
            let text = std::str::from_utf8(self.payload.source()).ok()?;
            Object::read(text.trim_ascii())
        };
        self.said.body.get_or_init(read).as_ref()
    }
}

impl<'a> Said<'a> {
    /// What was found already, for others to whom the request is led.
    fn again<'b>(&'b self) -> Said<'b>
    where
        'a: 'b,
    {
        let text = self.text.get().map(|text| OnceLock::from(Cow::Borrowed(&**text)));
        let tools = self.tools.get().map(|tools| OnceLock::from(tools.clone()));
        let body = self.body.get().map(|body| OnceLock::from(body.clone()));
        Said {
            body: body.unwrap_or_default(),
            text: text.unwrap_or_default(),
            tools: tools.unwrap_or_default(),
            parameters: self.parameters.clone(),
        }
    }
}

fn is_secret(name: &HeaderName) -> bool {
    const ALSO: [&str; 3] = ["x-api-key", "api-key", "x-goog-api-key"];
    [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE, headers::PROVIDER_KEY].contains(name)
        || ALSO.contains(&name.as_str())
}

impl fmt::Debug for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts").field("model", &self.model()).finish_non_exhaustive()
    }
}
