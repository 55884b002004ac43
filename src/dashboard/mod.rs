//! Pages that show what the gateway does: the dashboard at `/logs`.
//!
//! [`DashboardLayer`] answers `/logs` and all below it; everything else goes inwards. Where nothing is inside,
//! [`into_service`](DashboardLayer::into_service) makes it a service of its own, which can be mounted in any program
//! that has hyper or axum. Pages, scripts and styles are part of the program, and are loaded from nowhere else.
//!
//! Whoever has the key of the administrators logs in with it, and has a session of twelve hours in a cookie that no
//! script and no other site sees. A session is signed with that key and kept nowhere: every node of the same key
//! knows it, and another key ends it. Changes are only taken from the dashboard's own pages. After ten wrong keys in
//! a minute no further ones of the same [client](crate::exchange::ClientAddress) are tried.
//!
//! Records come from [`Logs`](crate::logs::Logs), the state of targets from
//! [`health`](DashboardLayer::health). Keys, budgets, limits and the configuration are those of the
//! administration's API, which takes the session for its key.
//!
//! | | |
//! |---|---|
//! | `GET /logs` | the overview; `/logs/requests`, `/logs/spend` and so on are the other pages |
//! | `GET /logs/api/requests` | records, newest first; filtered like the page, `limit`, `before` |
//! | `GET /logs/api/requests/{id}` | one of them, with all that is known |
//! | `GET /logs/api/sums` | sums of them; `span` or `from` and `until`, `step` in seconds, `by`, `top` |
//! | `GET /logs/api/drift` | what changed against the time before, and why; `by`, `share` |
//! | the same with `.csv` and `.json` | to be kept as a file |
//! | `GET /logs/api/health` | how the targets stand |
//! | `GET`, `POST`, `DELETE /logs/api/session` | says whether somebody is logged in, logs in and out |
//!
//! What a model or a client has written is shown as text. The pages' policy forbids scripts from elsewhere, and
//! making HTML of text at all.
//!
//! ```
//! use bartizan::{dashboard::DashboardLayer, secret::Secret};
//! use http::{Request, StatusCode};
//! use http_body_util::Empty;
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), bartizan::BoxError> {
//! let dashboard = DashboardLayer::new(|| Some(Secret::new("the-key-of-the-administrators"))).into_service();
//!
//! let page = Request::get("/logs").body(Empty::new())?;
//! assert_eq!(dashboard.clone().oneshot(page).await?.status(), StatusCode::OK);
//!
//! let data = Request::get("/logs/api/requests").body(Empty::new())?;
//! assert_eq!(dashboard.oneshot(data).await?.status(), StatusCode::UNAUTHORIZED);
//! # Ok(())
//! # }
//! ```

mod answer;
mod assets;
mod drift;
mod export;
mod future;
mod layer;
mod respond;
mod service;
mod sums;
#[cfg(test)]
mod tests;
mod tries;
mod wanted;

pub use self::{future::ResponseFuture, layer::DashboardLayer, service::Dashboard};
