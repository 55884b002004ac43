use std::{
    sync::Arc,
    task::{Context, Poll},
};

use arc_swap::ArcSwap;
use http::{Method, Request};
use tower::Service;

use super::{Labels, Rules};
use crate::{Error, Ingested, Kind, auth::Caller, batch::Stage, future::Admission, headers, payload::Head};

/// Middleware of [`LabelsLayer`](super::LabelsLayer).
#[derive(Clone, Debug)]
pub struct WithLabels<S> {
    pub(super) inner: S,
    pub(super) rules: Arc<ArcSwap<Rules>>,
}

impl<S, B> Service<Request<B>> for WithLabels<S>
where
    S: Service<Request<B>>,
    S::Error: Into<Error>,
    B: Ingested,
{
    type Response = S::Response;
    type Error = Error;
    type Future = Admission<S::Future, S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut req: Request<B>) -> Self::Future {
        match label(&mut req, &self.rules.load()) {
            Ok(()) => Admission::called(self.inner.call(req)),
            Err(error) => Admission::refused(error),
        }
    }
}

fn label<B: Ingested>(req: &mut Request<B>, rules: &Rules) -> Result<(), Error> {
    let labels = Labels::read(req.headers(), req.body().payload())?;
    let caller = Caller::of(req)?;
    let mut required = caller.required_tags.iter().filter(|_| !is_about_kept(req.body().payload().head()));
    if let Some(missing) = required.find(|name| labels.tag(name).is_none()) {
        let message = format!(
            "{}: the key `{}` has to say the tag `{missing}`, such as {missing}=value",
            headers::TAGS,
            caller.name
        );
        return Err(Error::new(Kind::InvalidRequest, message).with_param(headers::TAGS.as_str()));
    }
    if labels == Labels::default() {
        return Ok(());
    }
    let scopes = rules.scopes(caller.customer.as_deref(), &labels);
    if !scopes.is_empty() {
        let charged = caller.clone().charged(scopes);
        req.extensions_mut().insert(charged);
    }
    req.body().payload().exchange().learn(|learnt| learnt.labels = labels);
    Ok(())
}

/// Whether nothing new is made: what a provider keeps, which had its tags when it was made, is asked for,
/// deleted or cancelled. Most of that has no body to say a tag in.
fn is_about_kept(head: &Head) -> bool {
    let is_followed = || {
        let stage = head.batch.as_deref().map(|batch| &batch.stage);
        matches!(stage, Some(Stage::Followed { .. }))
    };
    head.resource
        .as_ref()
        .is_some_and(|resource| matches!(resource.method, Method::GET | Method::DELETE) || is_followed())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderName;
    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::{
        Exchange, Payload,
        access::Pattern,
        auth::VirtualKey,
        batch::{Batch, Requests},
        dialect::OPENAI_BATCHES,
        labels::{LabelsLayer, Rule},
        ledger::{Measure, Period, Quota, Scope},
        payload::Resource,
        testing::{MustBeReady, ask, is_shared},
    };

    const QUOTA: Quota = Quota::new(Measure::Requests, 1, Period::Day);

    fn rules() -> Rules {
        let other = Quota::new(Measure::Requests, 2, Period::Day);
        Rules::default().users([QUOTA]).sessions([QUOTA]).tag("feature", [QUOTA]).tag_value(
            "feature",
            "big",
            [other],
        )
    }

    /// The accounts that a request with such headers is charged to besides those of its key.
    async fn charged(key: VirtualKey, headers: &[(HeaderName, &'static str)]) -> Result<Vec<String>, Error> {
        let layer = LabelsLayer::new(rules());
        let service = layer
            .layer(MustBeReady::new(async |req: Request<Payload>| Ok::<_, Error>(Caller::of(&req)?.clone())));
        is_shared(&service);
        let mut req = ask("m", Some(key));
        for (name, value) in headers {
            req.headers_mut().append(name, value.parse().unwrap());
        }
        let caller = service.oneshot(req).await?;
        let limit = |scope: &Scope| scope.quota.map_or(0, |quota| quota.limit);
        let shown = |scope: &Scope| format!("{} {}", scope.account, limit(scope));
        Ok(caller.scopes_for("m").iter().skip(1).map(shown).collect())
    }

    #[test]
    fn a_quota_for_some_models_counts_apart_from_one_for_all() {
        let of_models = Rule::of_models(QUOTA, Pattern::new("*opus*"));
        let rules = Rules::default().users([Rule::from(QUOTA), of_models]);
        let labels = Labels { user: Some("u".into()), ..Labels::default() };

        let scopes = rules.scopes(None, &labels);

        let accounts: Vec<_> = scopes.iter().map(|scope| &*scope.account).collect();
        assert_eq!(accounts, ["user:u", "user:u *opus*"]);
    }

    #[tokio::test]
    async fn every_label_has_an_account_of_its_own() {
        let headers = [
            (headers::USER, "u-1"),
            (headers::SESSION, "s-1"),
            (headers::TAGS, "feature=search, env=prod"),
            (headers::TAGS, "team.name=a=b"),
        ];
        assert_eq!(
            charged(VirtualKey::new("a"), &headers).await.unwrap(),
            ["user:u-1 1", "session:s-1 1", "tag:feature=search 1"]
        );

        let big = [(headers::TAGS, "feature=big")];
        assert_eq!(charged(VirtualKey::new("a"), &big).await.unwrap(), ["tag:feature=big 2"]);
        assert!(charged(VirtualKey::new("a"), &[]).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_same_user_of_two_customers_is_two() {
        let of = async |customer: &str| {
            let mut key = VirtualKey::new("a");
            key.customer = Some(customer.into());
            let labels = [(headers::USER, "u"), (headers::SESSION, "s"), (headers::TAGS, "feature=search")];
            charged(key, &labels).await
        };

        let accounts = of("acme").await.unwrap();

        assert_eq!(accounts, ["customer:acme/user:u 1", "customer:acme/session:s 1", "tag:feature=search 1"]);
        assert_ne!(accounts, of("other").await.unwrap());
    }

    #[tokio::test]
    async fn a_key_may_require_tags() {
        let key = || VirtualKey::new("a").required_tag("feature");

        let refused = charged(key(), &[(headers::TAGS, "env=prod")]).await.unwrap_err();

        assert_eq!(refused.kind(), Kind::InvalidRequest);
        assert_eq!(
            refused.message(),
            "x-bartizan-tags: the key `a` has to say the tag `feature`, such as feature=value"
        );
        assert!(charged(key(), &[(headers::TAGS, "feature=x")]).await.is_ok());
    }

    #[test]
    fn what_is_kept_is_asked_for_without_tags() {
        let is_let_in = |method: Method, stage: Option<Stage>| {
            let resource = Resource { method, path: "/batches/b".into(), target: Some("p/m".into()) };
            let batch = stage.map(|stage| Batch { requests: Requests::default(), stage, proof: None });
            let batch = batch.map(Box::new);
            let head = Head { model: "m".into(), resource: Some(resource), batch, ..Head::default() };
            let payload = Payload::new(&OPENAI_BATCHES, head, Bytes::new(), Exchange::default());
            let mut req = Request::new(payload);
            req.extensions_mut().insert(Caller::new(VirtualKey::new("a").required_tag("feature")));
            label(&mut req, &rules()).is_ok()
        };
        let followed = || Some(Stage::Followed { hold: "h".into() });
        let begun = Some(Stage::Begun { file_at: 0..0, file: "f".into() });

        assert!(is_let_in(Method::GET, followed()) && is_let_in(Method::POST, followed()));
        assert!(is_let_in(Method::GET, Some(Stage::Stored)) && is_let_in(Method::DELETE, None));
        assert!(!is_let_in(Method::POST, Some(Stage::Stored)) && !is_let_in(Method::POST, begun));
        assert!(!is_let_in(Method::POST, None));
    }

    #[tokio::test]
    async fn labels_that_cannot_be_meant_are_refused_by_name() {
        let long: &'static str = Box::leak("x".repeat(513).into_boxed_str());
        let many: String = (0..17).map(|n| format!("t{n}=1,")).collect();
        let many: &'static str = Box::leak(many.into_boxed_str());

        for (name, value) in [
            (headers::USER, long),
            (headers::SESSION, ""),
            (headers::TAGS, "feature"),
            (headers::TAGS, "feature="),
            (headers::TAGS, "=x"),
            (headers::TAGS, "a b=x"),
            (headers::TAGS, "a=1,a=2"),
            (headers::TAGS, many),
        ] {
            let error = charged(VirtualKey::new("a"), &[(name.clone(), value)]).await.unwrap_err();
            assert_eq!((error.kind(), error.param()), (Kind::InvalidRequest, Some(name.as_str())), "{value}");
        }
    }

    #[tokio::test]
    async fn rules_are_exchanged_while_requests_run() {
        let layer = LabelsLayer::new(rules());
        let service = layer.layer(MustBeReady::new(async |req: Request<Payload>| {
            Ok::<_, Error>(Caller::of(&req)?.scopes_for("m").len())
        }));
        let labelled = || {
            let mut req = ask("m", Some(VirtualKey::new("a")));
            req.headers_mut().insert(headers::USER, "u".parse().unwrap());
            req
        };

        assert_eq!(service.clone().oneshot(labelled()).await.unwrap(), 2);
        layer.replace(Rules::default());
        assert_eq!(service.oneshot(labelled()).await.unwrap(), 1);
    }
}
