use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
    time::SystemTime,
};

use http::Request;
use tower::Service;

use super::{
    Caller, KeyDigest, Lookup, VirtualKey,
    credentials::{self, Carried, Presented, ProviderKey},
    layer::Gate,
};
use crate::{BoxFuture, Error, Exchange, Kind, future::Admission, headers::PROVIDER_KEY};

/// Puts the [`Caller`] in the place of the client's key; see the [module](super).
#[derive(Clone, Debug)]
pub struct Auth<S> {
    pub(super) inner: S,
    pub(super) gate: Gate,
}

impl<S, B> Service<Request<B>> for Auth<S>
where
    S: Service<Request<B>> + Clone + Send + 'static,
    S::Error: Into<Error>,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = Error;
    type Future = Admission<S::Future, S::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut req: Request<B>) -> Self::Future {
        let carried = Carried::by(req.headers());
        let lookup = self.gate.lookup(carried, &req);
        if let Some(presented) = Presented::by(carried, req.uri()) {
            req.extensions_mut().insert(presented);
        }
        let own_key = ProviderKey::take(carried, req.headers_mut());
        let mut uri = mem::take(req.uri_mut());
        credentials::strip(carried, req.headers_mut(), &mut uri);
        *req.uri_mut() = uri;
        let found = lookup.and_then(|found| {
            own_key?.into_iter().for_each(|key| drop(req.extensions_mut().insert(key)));
            Ok(found)
        });
        match found {
            Ok(Found::Caller(caller)) => match introduced(req, caller) {
                Ok(req) => Admission::called(self.inner.call(req)),
                Err(error) => Admission::refused(error),
            },
            Ok(Found::Waiting(key, digest)) => {
                let not_ready = self.inner.clone();
                let ready = mem::replace(&mut self.inner, not_ready);
                Admission::waiting(Box::pin(admit(ready, key, digest, req)))
            }
            Err(error) => Admission::refused(error),
        }
    }
}

enum Found {
    Caller(Caller),
    Waiting(BoxFuture<'static, Result<Option<Arc<VirtualKey>>, Error>>, KeyDigest),
}

impl Gate {
    fn lookup<B>(&self, carried: Carried, req: &Request<B>) -> Result<Found, Error> {
        let keys = match self {
            // Whoever comes in is the same caller.
            Self::Open(caller) => return Ok(Found::Caller(caller.clone())),
            Self::Keys(keys) => keys,
        };
        let digest = credentials::digest_of(carried, req.headers(), req.uri())?;
        let digest = digest.ok_or_else(|| denied("the key is missing"))?;
        Ok(match keys.find(&digest) {
            Lookup::Known(key) => Found::Caller(valid(key)?.presented(digest)),
            Lookup::Waiting(key) => Found::Waiting(key, digest),
        })
    }
}

async fn admit<S, B>(
    mut ready: S,
    key: BoxFuture<'static, Result<Option<Arc<VirtualKey>>, Error>>,
    digest: KeyDigest,
    req: Request<B>,
) -> Result<S::Response, Error>
where
    S: Service<Request<B>>,
    S::Error: Into<Error>,
{
    let caller = valid(key.await?)?.presented(digest);
    ready.call(introduced(req, caller)?).await.map_err(Into::into)
}

fn valid(key: Option<Arc<VirtualKey>>) -> Result<Caller, Error> {
    let key = key.ok_or_else(|| denied("the key is not known"))?;
    if key.disabled {
        return Err(denied("the key is disabled"));
    }
    if key.expires.is_some_and(|at| at <= SystemTime::now()) {
        return Err(denied("the key has expired"));
    }
    Ok(Caller::new(key))
}

fn denied(message: &str) -> Error {
    Error::new(Kind::Unauthenticated, message)
}

fn introduced<B>(mut req: Request<B>, caller: Caller) -> Result<Request<B>, Error> {
    let own_key = req.extensions().get::<ProviderKey>().is_some();
    let may_bring = caller.own_provider_key;
    Exchange::open(&mut req).learn(|learnt| {
        learnt.caller = Some(caller.clone());
        learnt.own_key = own_key && may_bring;
    });
    if own_key && !may_bring {
        let message = format!("{PROVIDER_KEY}: this key may not bring a provider's key of its own");
        return Err(Error::new(Kind::Forbidden, message));
    }
    req.extensions_mut().insert(caller);
    Ok(req)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use http::{HeaderMap, HeaderValue};
    use tower::{Layer, ServiceExt, service_fn};

    use super::*;
    use crate::{
        auth::{AuthLayer, KeyStore, MemoryKeys},
        testing::{MustBeReady, is_shared},
    };

    #[derive(Debug)]
    struct SlowKeys(MemoryKeys);

    impl KeyStore for SlowKeys {
        fn find(&self, digest: &KeyDigest) -> Lookup {
            let Lookup::Known(key) = self.0.find(digest) else {
                panic!("memory does not wait");
            };
            Lookup::Waiting(Box::pin(async {
                tokio::task::yield_now().await;
                Ok(key)
            }))
        }
    }

    fn keys() -> MemoryKeys {
        let hour = Duration::from_secs(3_600);
        MemoryKeys::from_iter([
            (KeyDigest::of("good"), VirtualKey::new("search")),
            (KeyDigest::of("young"), VirtualKey::new("young").expires(SystemTime::now() + hour)),
            (KeyDigest::of("old"), VirtualKey::new("old").expires(SystemTime::now() - hour)),
            (KeyDigest::of("off"), VirtualKey::new("off").disabled(true)),
        ])
    }

    fn layers() -> [AuthLayer; 2] {
        [AuthLayer::new(Arc::new(keys())), AuthLayer::new(Arc::new(SlowKeys(keys())))]
    }

    fn with_key(key: &str) -> Request<()> {
        Request::builder().header("x-api-key", key).body(()).unwrap()
    }

    async fn inner(req: Request<()>) -> Result<(Arc<str>, HeaderMap), Error> {
        let caller = Caller::of(&req)?.name.clone();
        Ok((caller, req.into_parts().0.headers))
    }

    #[tokio::test]
    async fn a_known_key_becomes_the_caller() {
        for layer in layers() {
            let service = layer.layer(MustBeReady::new(inner));
            is_shared(&service);

            let mut req = with_key("good");
            let exchange = Exchange::open(&mut req);
            let (caller, _) = service.clone().oneshot(req).await.unwrap();
            let young = service.oneshot(with_key("young")).await.unwrap();

            assert_eq!(&*caller, "search");
            assert_eq!(&*young.0, "young");
            assert_eq!(&*exchange.learn(|learnt| learnt.caller.clone()).unwrap().name, "search");
        }
    }

    #[tokio::test]
    async fn every_other_key_is_refused_with_the_reason() {
        let unused = service_fn(async |_: Request<()>| -> Result<(), Infallible> { panic!("let in") });
        let cases = [
            ("", "the key is missing"),
            ("good ?", "the key is not known"),
            ("old", "the key has expired"),
            ("off", "the key is disabled"),
        ];

        for layer in layers() {
            for (key, message) in cases {
                let error = layer.layer(unused).oneshot(with_key(key)).await.unwrap_err();

                assert_eq!((error.kind(), error.message()), (Kind::Unauthenticated, message));
            }
        }
    }

    #[tokio::test]
    async fn no_secret_of_the_client_goes_inwards() {
        let names = [
            "authorization",
            "x-api-key",
            "api-key",
            "x-goog-api-key",
            "x-bf-vk",
            "cookie",
            "proxy-authorization",
        ];
        let mut req = Request::new(());
        req.headers_mut().extend(
            names.map(|name| (name.parse::<http::HeaderName>().unwrap(), HeaderValue::from_static("good"))),
        );
        req.headers_mut().append("cookie", HeaderValue::from_static("second"));
        req.headers_mut().insert("accept", HeaderValue::from_static("*/*"));

        for layer in layers() {
            let (_, headers) = layer.layer(service_fn(inner)).oneshot(req.clone()).await.unwrap();

            assert_eq!(headers.keys().collect::<Vec<_>>(), ["accept"]);
        }
    }

    #[tokio::test]
    async fn a_store_that_fails_lets_nobody_in() {
        #[derive(Debug)]
        struct Away;
        impl KeyStore for Away {
            fn find(&self, _: &KeyDigest) -> Lookup {
                Lookup::Waiting(Box::pin(async { Err(Error::new(Kind::Internal, "the store is away")) }))
            }
        }

        let service = AuthLayer::new(Arc::new(Away)).layer(service_fn(inner));

        assert_eq!(service.oneshot(with_key("good")).await.unwrap_err().kind(), Kind::Internal);
    }

    #[tokio::test]
    async fn an_open_gateway_knows_everybody_as_one_caller() {
        let caller = Caller::new(VirtualKey::new("anyone"));
        let service = AuthLayer::open(caller).layer(MustBeReady::new(inner));

        let (caller, headers) = service.oneshot(with_key("sk-placeholder")).await.unwrap();

        assert_eq!(&*caller, "anyone");
        assert!(headers.is_empty());
    }

    /// What the inner service gets of a key of the caller's own, and whether the exchange knows of it.
    async fn own_key(may_bring: bool, values: &[&'static str]) -> Result<(Option<String>, bool), Error> {
        let mut key = VirtualKey::new("a");
        key.own_provider_key = may_bring;
        let keys: MemoryKeys = [(KeyDigest::of("vk-app"), key)].into_iter().collect();
        let service = AuthLayer::new(Arc::new(keys)).layer(service_fn(async |req: Request<()>| {
            assert!(!req.headers().contains_key(PROVIDER_KEY));
            let own = req.extensions().get::<ProviderKey>().map(|key| key.0.expose().to_owned());
            Ok::<_, Infallible>((own, Exchange::of(&req).learn(|learnt| learnt.own_key)))
        }));
        let mut req = Request::new(());
        req.headers_mut().insert("authorization", HeaderValue::from_static("Bearer vk-app"));
        for value in values {
            req.headers_mut().append(PROVIDER_KEY, HeaderValue::from_static(value));
        }
        service.oneshot(req).await
    }

    #[tokio::test]
    async fn a_key_of_the_callers_own_is_taken_out_of_the_headers_where_it_may_be_brought() {
        assert_eq!(own_key(true, &["sk-own"]).await.unwrap(), (Some("sk-own".to_owned()), true));
        assert_eq!(own_key(true, &[]).await.unwrap(), (None, false));
        assert_eq!(own_key(false, &["sk-own"]).await.unwrap_err().kind(), Kind::Forbidden);
        for wrong in [&[""][..], &["sk-a", "sk-b"]] {
            assert_eq!(own_key(true, wrong).await.unwrap_err().kind(), Kind::InvalidRequest, "{wrong:?}");
        }
    }
}
