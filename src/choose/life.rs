use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    audit::{Event, EventKind, Trail},
    dispatch::Route,
    metrics,
};

const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// How long a model's name is served, and what comes after it.
///
/// Answers say it: `Deprecation` (RFC 9745), `Sunset` (RFC 8594) and links.
#[derive(Clone, Debug, Default)]
pub struct Life {
    sunset: Option<SystemTime>,
    successor: Option<Arc<Route>>,
    says: HeaderMap,
    /// Whether the successor was led to.
    has_ended: Arc<AtomicBool>,
    trail: Option<Trail>,
}

impl Life {
    /// Sets since when, or from when on, the name is not to be used any more.
    #[must_use]
    pub fn deprecated(mut self, since: SystemTime) -> Self {
        let seconds = since.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if let Ok(value) = HeaderValue::try_from(format!("@{seconds}")) {
            self.says.insert(DEPRECATION, value);
        }
        self
    }

    /// Sets until when it is served by its own targets.
    #[must_use]
    pub fn sunset(mut self, at: SystemTime) -> Self {
        if let Ok(value) = HeaderValue::try_from(httpdate::fmt_http_date(at)) {
            self.says.insert(SUNSET, value);
        }
        Self { sunset: Some(at), ..self }
    }

    /// Sets who serves it then.
    #[must_use]
    pub fn successor(self, route: Route) -> Self {
        let link =
            format!("</v1/models/{}>; rel=\"successor-version\"", crate::percent::encoded(route.name()));
        Self { successor: Some(Arc::new(route)), ..self }.linked(&link)
    }

    /// Sets where it is written about.
    #[must_use]
    pub fn link(self, url: &str) -> Self {
        self.linked(&format!("<{url}>; rel=\"deprecation\"; type=\"text/html\""))
    }

    /// Shares with what comes after a reload that the end was told.
    #[must_use]
    pub fn told(self, has_ended: Arc<AtomicBool>) -> Self {
        Self { has_ended, ..self }
    }

    /// Notes in `trail` when the successor is led to for the first time.
    #[must_use]
    pub fn audit(self, trail: Trail) -> Self {
        Self { trail: Some(trail), ..self }
    }

    fn linked(mut self, link: &str) -> Self {
        if let Ok(value) = HeaderValue::try_from(link) {
            self.says.append(header::LINK, value);
        }
        self
    }

    /// What answers say.
    pub(super) fn says(&self) -> &HeaderMap {
        &self.says
    }

    /// Whether a successor waits for something before it can choose.
    pub(crate) fn successor_waits(&self) -> (bool, bool) {
        self.successor.as_ref().map_or((false, false), |route| (route.waits(), route.reads_spend()))
    }

    /// Who serves it, if its own targets do not any more.
    pub(super) fn at(&self, now: SystemTime) -> Option<&Arc<Route>> {
        self.successor.as_ref().filter(|_| self.sunset.is_some_and(|sunset| sunset <= now))
    }

    /// Counts a request for `model` that came to a target, and tells of the first one that was led to the successor.
    pub(super) fn asked(&self, model: &str, has_ended: bool) {
        metrics::deprecated(model, has_ended);
        if let Some(route) = self.successor.as_ref().filter(|_| has_ended)
            && !self.has_ended.swap(true, Relaxed)
        {
            tracing::warn!(
                target: "bartizan::audit",
                model,
                successor = &**route.name(),
                sunset = self.says.get(SUNSET).and_then(|at| at.to_str().ok()),
                "a model is served by its successor from now on"
            );
            self.note(model, route.name());
        }
    }

    fn note(&self, model: &str, successor: &str) {
        /// How long it is remembered that it was noted: by all nodes, and after they were started again.
        const LASTS: Duration = Duration::from_secs(10 * 365 * 86_400);

        let Some(trail) = &self.trail else { return };
        let sunset = self.says.get(SUNSET).and_then(|at| at.to_str().ok()).unwrap_or_default();
        let what = format!("serves `{model}` by its successor `{successor}` from now on");
        let event = Event::new(EventKind::Model, "the gateway", what)
            .detail("model", model)
            .detail("successor", successor)
            .detail("sunset", sunset);
        trail.note(event.once(format!("audit:successor:{model}:{successor}:{sunset}"), LASTS));
    }
}
