use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::Request;
use tower::Service;

use super::{
    ChooseLayer, Facts, Used,
    chosen::{Chosen, Way},
    rehearsal::Rehearsal,
    spent, strip,
    unpaid::Unpaid,
    wishes,
};
use crate::{
    Error, Kind, Payload,
    auth::Caller,
    dispatch::{Dispatch, Route},
    future::Admission,
    headers,
    ledger::Ledger,
    payload::Head,
};

/// Middleware of [`ChooseLayer`].
#[derive(Clone, Debug)]
pub struct Choose<S> {
    pub(super) inner: S,
    pub(super) settings: ChooseLayer,
}

impl<S> Service<Request<Payload>> for Choose<S>
where
    S: Service<Request<Payload>> + Clone + Send + 'static,
    S::Error: Into<Error>,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = Error;
    type Future = Admission<S::Future, S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request<Payload>) -> Self::Future {
        // Innermost it is said that there is none.
        let Some(route) = self.settings.dispatch.route(req.body().model()) else {
            return Admission::called(self.inner.call(req));
        };
        match at_once(route, &req) {
            Ok(chosen) => Admission::called(self.inner.call(req.map(|payload| payload.going(chosen)))),
            Err(route) => {
                let not_ready = self.inner.clone();
                let ready = mem::replace(&mut self.inner, not_ready);
                let settings = self.settings.clone();
                Admission::waiting(Box::pin(choose_and_call(ready, settings, route, req)))
            }
        }
    }
}

async fn choose_and_call<S>(
    mut ready: S,
    settings: ChooseLayer,
    route: Arc<Route>,
    req: Request<Payload>,
) -> Result<S::Response, Error>
where
    S: Service<Request<Payload>>,
    S::Error: Into<Error>,
{
    let ledger = settings.ledger.as_ref();
    let unpaid = Unpaid::watch(ledger, &req);
    let called = match chosen(&settings.dispatch, ledger, route, req).await {
        Ok(req) => ready.call(req),
        Err(error) => return Err(unpaid.refused(error).await),
    };
    let error: Error = match called.await {
        Ok(res) => {
            unpaid.answered();
            return Ok(res);
        }
        Err(error) => error.into(),
    };
    Err(unpaid.refused(error).await)
}

/// The choice, if nothing has to be waited for and the client leaves it to the gateway; otherwise the route back.
pub(crate) fn at_once(route: Arc<Route>, req: &Request<Payload>) -> Result<Chosen, Arc<Route>> {
    let head = req.body().head();
    if head.has_wishes || req.headers().contains_key(headers::CHOOSE) {
        return Err(route);
    }
    if is_kept(head) {
        return Ok(Chosen::plainly(route));
    }
    if route.waits() {
        return Err(route);
    }
    if !route.decides() {
        return Ok(Chosen::plainly(route));
    }
    let mut way = Way::new(route);
    way.advance(&facts(req));
    Ok(noted(way.into(), req))
}

/// Whether it is about what a provider keeps, which is where it is.
fn is_kept(head: &Head) -> bool {
    head.resource.is_some() || head.batch.is_some()
}

/// The choice, with its rule written down.
fn noted(chosen: Chosen, req: &Request<Payload>) -> Chosen {
    if let Some(rule) = chosen.rule() {
        req.body().exchange().learn(|learnt| learnt.rule = Some(rule.clone()));
    }
    chosen
}

/// The request, with the choice of where it goes that asked for the model of `route`.
pub(crate) async fn chosen(
    dispatch: &Dispatch,
    ledger: Option<&Arc<dyn Ledger>>,
    route: Arc<Route>,
    req: Request<Payload>,
) -> Result<Request<Payload>, Error> {
    let route = match at_once(route, &req) {
        Ok(chosen) => return Ok(req.map(|payload| payload.going(chosen))),
        Err(route) => route,
    };
    let wishes = wishes::Wishes::of(req.body(), req.headers())?;
    if is_kept(req.body().head()) {
        wishes.iter().try_for_each(|wishes| wishes.check_kept(&route, req.body().head()))?;
        return Ok(req.map(|payload| payload.going(Chosen::plainly(route))));
    }
    let caller = req.extensions().get::<Caller>();
    let used = match (ledger, caller) {
        (Some(ledger), Some(caller)) if route.reads_spend() => spent::used(ledger, caller, req.body()).await,
        _ => Used::default(),
    };
    let facts = facts(&req).used(used).wishes(wishes.as_ref());
    let Some(wishes) = &wishes else {
        let chosen = noted(Way::decided(route, &facts).await.into(), &req);
        return Ok(req.map(|payload| payload.going(chosen)));
    };
    let first = req.body().model();
    let others = wishes.models(first).skip(1).map(|model| permitted(dispatch, caller, model, first));
    let others = others.collect::<Result<Vec<_>, _>>()?;
    // Nobody is asked on the way before all of them may be.
    let first = Way::decided(route, &facts).await;
    let bounds = first.route.clone();
    let mut ways = vec![first];
    for other in others {
        // Where the first has to stay, nobody outside gets to see the request on the way to another either.
        ways.push(Way::decided(other, &facts.within(&bounds)).await);
    }
    let rehearsal = req.extensions().get::<Rehearsal>();
    let joined = wishes::joined(&ways, req.body(), rehearsal)?;
    let (route, is_for_provider) = wishes.applied(joined, caller, rehearsal)?;
    let chosen = noted(Chosen::joined(route, ways), &req);
    drop(facts);
    strip::stripped(req, chosen, is_for_provider)
}

fn facts(req: &Request<Payload>) -> Facts<'_> {
    let extensions = req.extensions();
    Facts::new(req.body(), req.headers()).caller(extensions.get()).rehearsed(extensions.get())
}

/// The route of a model that is asked for beside the `first`, whose limits the request is held to.
fn permitted(
    dispatch: &Dispatch,
    caller: Option<&Caller>,
    model: &str,
    first: &str,
) -> Result<Arc<Route>, Error> {
    if caller.is_some_and(|caller| caller.has_more_limits_for(model, first)) {
        let message =
            format!("there are limits of its own for the model `{model}`, which has to be asked for alone");
        return Err(Error::new(Kind::Forbidden, message).with_param("models"));
    }
    if caller.is_some_and(|caller| !caller.may_use(model)) {
        let message = format!("this key may not use the model `{model}`");
        return Err(Error::new(Kind::Forbidden, message).with_param("models"));
    }
    dispatch.route(model).ok_or_else(|| {
        let message = format!("the model `{model}` does not exist, or this gateway has no route for it");
        Error::new(Kind::NoRoute, message).with_param("models")
    })
}
