use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{HeaderValue, Request, Response};
use tokio::time::Instant;
use tower::Service;

use super::{Candidate, Route, Table};
use crate::{
    BoxBody, BoxFuture, Error, Ingested, Kind, Payload,
    exchange::{Deadline, Exchange, Outcome},
    headers,
};

/// Sends requests to targets that answer; see the [module](super). Clones share the table.
#[derive(Clone, Debug)]
pub struct Dispatch {
    table: Arc<ArcSwap<Table>>,
}

impl Dispatch {
    /// Sends requests along the routes of `table`.
    pub fn new(table: Table) -> Self {
        Self { table: Arc::new(ArcSwap::from_pointee(table)) }
    }

    /// Exchanges the table. Requests under way keep the route they started with.
    pub fn reload(&self, table: Table) {
        self.table.store(Arc::new(table));
    }

    pub(super) fn table(&self) -> arc_swap::Guard<Arc<Table>> {
        self.table.load()
    }
}

impl<B: Ingested> Service<Request<B>> for Dispatch {
    type Response = Response<BoxBody>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    /// Always ready: a target's readiness is asked for after it is chosen, so that one that is full
    /// never stands in the way of another.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Request<B>) -> Self::Future {
        let (parts, body) = req.into_parts();
        let req = Request::from_parts(parts, body.payload().clone());
        match self.table.load().find(req.body().model()) {
            Some(route) => Box::pin(run(route, req)),
            None => {
                let message = format!(
                    "the model `{}` does not exist, or this gateway has no route for it",
                    req.body().model()
                );
                Box::pin(std::future::ready(Err(Error::new(Kind::NoRoute, message).with_param("model"))))
            }
        }
    }
}

async fn run(route: Arc<Route>, mut req: Request<Payload>) -> Result<Response<BoxBody>, Error> {
    let exchange = req.body().exchange().clone();
    let deadline = route.total.map(|total| Deadline(Instant::now() + total));
    if let Some(deadline) = deadline {
        req.extensions_mut().insert(deadline);
    }
    if route.drain {
        exchange.learn(|learnt| learnt.drain = true);
    }
    let mut failure = None;
    for candidate in &route.candidates {
        match ask(candidate, &route, &req, &exchange, deadline).await {
            Ok(mut res) => {
                candidate.sign(&mut res);
                describe(&exchange, &mut res);
                return Ok(res);
            }
            Err(error) if error.is_failover() && !is_past(deadline) => failure = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(failure.unwrap_or_else(|| Error::new(Kind::NoRoute, "the route has no targets").with_param("model")))
}

/// Asks one target, again and again if that may help.
async fn ask(
    candidate: &Candidate,
    route: &Route,
    req: &Request<Payload>,
    exchange: &Exchange,
    deadline: Option<Deadline>,
) -> Result<Response<BoxBody>, Error> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let begun = exchange.learn(|learnt| learnt.attempts.len());
        let error = match attempt(candidate.call(req.clone()), deadline).await {
            Ok(res) => return Ok(res),
            Err(error) => error,
        };
        note(exchange, begun, &error);
        let Some(wait) = route.retry.wait(&error, attempts) else { return Err(error) };
        if deadline.is_some_and(|deadline| Instant::now() + wait >= deadline.0) {
            return Err(error);
        }
        tracing::debug!(id = %exchange.id(), target = %candidate.target(), kind = %error.kind(), ?wait, "trying again");
        tokio::time::sleep(wait).await;
    }
}

async fn attempt(
    call: BoxFuture<'static, Result<Response<BoxBody>, Error>>,
    deadline: Option<Deadline>,
) -> Result<Response<BoxBody>, Error> {
    match deadline {
        None => call.await,
        Some(deadline) => tokio::time::timeout_at(deadline.0, call)
            .await
            .unwrap_or_else(|_| Err(Error::new(Kind::Timeout, "the deadline of the request passed"))),
    }
}

fn is_past(deadline: Option<Deadline>) -> bool {
    deadline.is_some_and(|deadline| deadline.0 <= Instant::now() + Duration::from_millis(1))
}

/// What was begun has failed, and why is known best here: inside it looked like leaving. A candidate
/// that refused by itself has begun nothing.
fn note(exchange: &Exchange, begun: usize, error: &Error) {
    exchange.learn(|learnt| {
        for attempt in learnt.attempts.iter_mut().skip(begun) {
            attempt.outcome = Outcome::Failed(error.kind());
        }
    });
}

/// Says in an answer how it came about.
fn describe(exchange: &Exchange, res: &mut Response<BoxBody>) {
    let (attempts, lost) = exchange
        .learn(|learnt| (learnt.attempts.len(), (!learnt.lost.is_empty()).then(|| learnt.lost.join(", "))));
    res.headers_mut().insert(headers::ATTEMPTS, HeaderValue::from(attempts));
    // Clients choose the names, line breaks included.
    let lost = lost.map(|lost| lost.replace(char::is_control, "?"));
    if let Some(lost) = lost.and_then(|lost| HeaderValue::try_from(lost).ok()) {
        res.headers_mut().insert(headers::LOST, lost);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn what_is_lost_is_said_whatever_its_name_is() {
        let exchange = Exchange::default();
        exchange.learn(|learnt| learnt.lost = vec!["top_k".into(), "two\nlines".into()]);
        let body = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
        let mut res = Response::new(body);

        describe(&exchange, &mut res);

        assert_eq!(res.headers()[headers::LOST], "top_k, two?lines");
    }
}
