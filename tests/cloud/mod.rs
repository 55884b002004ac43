//! A gateway of a configuration, and the cloud that it asks.

// Each suite needs another part of it.
#![allow(dead_code)]

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, body::to_bytes, extract::Request as AxumRequest};
use bartizan::{
    BoxBody, Kind,
    auth::{AuthLayer, Caller, VirtualKey},
    config::{Builder, Config},
    dialect::Dialects,
    dispatch::Dispatch,
    ingest::IngestLayer,
    render_errors::RenderErrorsLayer,
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, ServiceExt, util::BoxCloneService};

/// A request as the cloud got it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub uri: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Asked {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What the cloud says to a request for a model.
#[derive(Clone, Debug)]
pub struct Said {
    pub status: u16,
    pub headers: &'static [(&'static str, &'static str)],
    pub body: String,
}

impl Said {
    pub fn json(status: u16, body: &Value) -> Self {
        Self { status, headers: &[("content-type", "application/json")], body: body.to_string() }
    }

    pub fn stream(events: &str) -> Self {
        Self { status: 200, headers: &[("content-type", "text/event-stream")], body: events.to_owned() }
    }
}

/// Hands out numbered tokens below `/token`, and says the same to everything else.
#[derive(Clone)]
pub struct Cloud {
    says: Said,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Cloud {
    /// The cloud, and where it is.
    pub async fn start(says: Said) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let cloud = Self { says, asked: Arc::default() };
        let this = cloud.clone();
        let app = Router::new().fallback(move |req: AxumRequest| this.clone().answer(req));
        tokio::spawn(async { axum::serve(listener, app).await });
        (cloud, url)
    }

    async fn answer(self, req: AxumRequest) -> Response<axum::body::Body> {
        let (parts, body) = req.into_parts();
        let body = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().into()).unwrap();
        let uri = parts.uri.to_string();
        let is_token = uri.contains("/token");
        self.asked.lock().unwrap().push(Asked { uri, headers: parts.headers, body });
        let says = if is_token {
            let token = format!("token-{}", self.tokens().len());
            Said::json(200, &json!({"access_token": token, "expires_in": 3599}))
        } else {
            self.says
        };
        let mut res = Response::builder().status(says.status);
        for (name, value) in says.headers {
            res = res.header(*name, *value);
        }
        res.body(says.body.into()).unwrap()
    }

    /// The requests for models.
    pub fn asked(&self) -> Vec<Asked> {
        self.requests(false)
    }

    /// The requests for tokens.
    pub fn tokens(&self) -> Vec<Asked> {
        self.requests(true)
    }

    fn requests(&self, for_tokens: bool) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.uri.contains("/token") == for_tokens).cloned().collect()
    }
}

/// A credentials file of Google with the login of a person, which leads to a cloud.
pub struct Login(PathBuf);

impl Login {
    pub fn new(url: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("bartizan-login-{}-{number}", std::process::id()));
        let file = json!({
            "type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r",
            "quota_project_id": "q", "token_uri": format!("{url}/token"),
        });
        std::fs::write(&path, file.to_string()).unwrap();
        Self(path)
    }
}

impl std::fmt::Display for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.display())
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a client got.
#[derive(Debug)]
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
    /// The class of the error, if it is one.
    pub kind: Option<Kind>,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The data of the events of a stream, but for an end that is no JSON.
    pub fn events(&self) -> Vec<Value> {
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter_map(|data| serde_json::from_str(data).ok()).collect()
    }
}

/// A gateway that everybody may use.
#[derive(Clone)]
pub struct Gateway(BoxCloneService<Request<Full<Bytes>>, Response<BoxBody>, Infallible>);

impl Gateway {
    /// The gateway of a configuration without `auth`.
    pub fn new(config: &str) -> Self {
        let text = format!("auth: open\n{config}");
        let config = Config::read(&text, "test", &|_| None).unwrap_or_else(|error| panic!("{error}"));
        let stack = ServiceBuilder::new()
            .map_response(|res: Response<_>| {
                res.map(|body| BodyExt::map_err(body, Into::into).boxed_unsync())
            })
            .layer(RenderErrorsLayer::new(Dialects::default()))
            .layer(AuthLayer::open(Caller::new(VirtualKey::new("everybody"))))
            .layer(IngestLayer::new(Dialects::default()))
            .service(Dispatch::new(Builder::default().table(&config).unwrap()));
        Self(BoxCloneService::new(stack))
    }

    pub async fn ask(&self, path: &str, body: impl Into<String>) -> Got {
        self.send(Request::post(path), body.into()).await
    }

    pub async fn send(&self, req: http::request::Builder, body: String) -> Got {
        let req = req.header("authorization", "Bearer sk-client").body(Full::from(body)).unwrap();
        let (parts, body) =
            self.0.clone().oneshot(req).await.unwrap_or_else(|never| match never {}).into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Got {
            status: parts.status,
            kind: parts.extensions.get().copied(),
            headers: parts.headers,
            body: String::from_utf8(body.into()).unwrap(),
        }
    }
}
