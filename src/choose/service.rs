use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::Request;
use tower::Service;

use super::{ChooseLayer, Facts, Used, chosen::Chosen, spent, strip, wishes};
use crate::{
    Error, Kind, Payload,
    auth::Caller,
    dispatch::{Dispatch, Route},
    future::Admission,
    headers,
    ledger::Ledger,
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
                let mut ready = mem::replace(&mut self.inner, not_ready);
                let settings = self.settings.clone();
                Admission::waiting(Box::pin(async move {
                    let req = chosen(&settings.dispatch, settings.ledger.as_ref(), route, req).await?;
                    ready.call(req).await.map_err(Into::into)
                }))
            }
        }
    }
}

/// The choice, if nothing has to be waited for and the client leaves it to the gateway; otherwise the route back.
pub(crate) fn at_once(route: Arc<Route>, req: &Request<Payload>) -> Result<Chosen, Arc<Route>> {
    let head = req.body().head();
    let mut chosen = Chosen::plainly(route);
    // What a provider keeps is where it is.
    if head.resource.is_some() || head.batch.is_some() {
        return Ok(chosen);
    }
    if head.has_wishes || chosen.route.waits() || req.headers().contains_key(headers::CHOOSE) {
        return Err(chosen.route);
    }
    if chosen.route.decides() {
        let facts = Facts::new(req.body(), req.headers()).caller(req.extensions().get());
        chosen.advance(&facts);
    }
    Ok(chosen)
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
    let caller = req.extensions().get::<Caller>();
    let used = match (ledger, caller) {
        (Some(ledger), Some(caller)) if route.reads_spend() => spent::used(ledger, caller, req.body()).await,
        _ => Used::default(),
    };
    let facts = Facts::new(req.body(), req.headers()).caller(caller).used(used);
    let Some(wishes) = wishes::Wishes::of(req.body(), req.headers())? else {
        let chosen = Chosen::decided(route, &facts).await;
        return Ok(req.map(|payload| payload.going(chosen)));
    };
    let mut chosen = Chosen::decided(route.clone(), &facts).await;
    let mut others = Vec::new();
    for model in wishes.models(req.body().model()).skip(1) {
        let other = permitted(dispatch, caller, model)?;
        others.push(Chosen::decided(other, &facts).await.route);
    }
    let (route, is_for_provider) = wishes.applied(wishes::joined(&chosen.route, &others))?;
    chosen.route = Arc::new(route);
    drop(facts);
    strip::stripped(req, chosen, is_for_provider)
}

/// The route of a model that is asked for besides.
fn permitted(dispatch: &Dispatch, caller: Option<&Caller>, model: &str) -> Result<Arc<Route>, Error> {
    if caller.is_some_and(|caller| !caller.may_use(model)) {
        let message = format!("this key may not use the model `{model}`");
        return Err(Error::new(Kind::Forbidden, message).with_param("models"));
    }
    dispatch.route(model).ok_or_else(|| {
        let message = format!("the model `{model}` does not exist, or this gateway has no route for it");
        Error::new(Kind::NoRoute, message).with_param("models")
    })
}
