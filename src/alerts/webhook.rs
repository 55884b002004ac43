use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use ring::hmac;
use serde_json::json;
use tokio::{sync::mpsc, time::sleep};

use super::{Alert, Tell};
use crate::{BoxError, secret::Secret, upstream::SmallClient};

/// The most alerts that wait to be sent to one webhook.
const MOST: usize = 1_000;
/// How often one is tried to be sent, and the pause before the second time, which doubles.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_secs(1);
/// How long a connection, and an answer, may take.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);

/// What is sent to a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// [All of it](Alert::body), as JSON.
    #[default]
    Json,
    /// Its sentence, as Slack and those like it have it: `{"text": …}`.
    Slack,
}

/// Where a webhook is, and how it is called.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    uri: Uri,
    secret: Option<Vec<u8>>,
    format: Format,
}

impl WebhookOptions {
    /// The webhook at `url`, which is not shown to anybody but by its host: others are secrets in themselves.
    ///
    /// # Errors
    ///
    /// If it is not an address of `http` or `https`, or has a user.
    pub fn new(url: &Secret) -> Result<Self, &'static str> {
        const FORM: &str = "expected an address such as https://example.com/hook";
        let uri: Uri = url.expose().parse().map_err(|_| FORM)?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        if !is_http || uri.host().is_none_or(str::is_empty) {
            return Err(FORM);
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("has a user, who wouldn't be sent");
        }
        Ok(Self { uri, secret: None, format: Format::default() })
    }

    /// Sets the secret with which messages are signed: `whsec_` and base64, or any other text as it is.
    ///
    /// # Errors
    ///
    /// If there is no base64 behind `whsec_`, or nothing at all.
    pub fn secret(self, secret: &Secret) -> Result<Self, &'static str> {
        let secret = match secret.expose().strip_prefix("whsec_") {
            Some(base64) => STANDARD.decode(base64).map_err(|_| "expected base64 behind `whsec_`")?,
            None => secret.expose().as_bytes().to_vec(),
        };
        if secret.is_empty() {
            return Err("is empty");
        }
        Ok(Self { secret: Some(secret), ..self })
    }

    /// Sets what is sent.
    #[must_use]
    pub fn format(self, format: Format) -> Self {
        Self { format, ..self }
    }
}

/// Sends alerts to an address, as [Standard Webhooks](https://www.standardwebhooks.com) has it.
///
/// A message is a POST of JSON with the headers `webhook-id`, `webhook-timestamp` and, if there is a secret,
/// `webhook-signature`. It has arrived when the answer is a 2xx. It is sent again after 1, 2, 4, 8 and 16
/// seconds if there is no answer within 10 seconds, or one of 408, 429 or 5xx; the id stays the same.
/// Redirects are not followed. At most 1,000 messages wait; what finds no room, or was tried for the last time,
/// is counted in the log, where the alert itself has been written before.
pub struct Webhook {
    queue: mpsc::Sender<Arc<Alert>>,
    host: Box<str>,
    dropped: AtomicU64,
}

impl Webhook {
    /// The webhook and its worker: spawn it, and await it at shutdown, when the webhook is gone.
    pub fn new(options: WebhookOptions) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, waiting) = mpsc::channel(MOST);
        let host: Box<str> = options.uri.host().unwrap_or_default().into();
        let worker = Worker { options, host: host.clone(), client: SmallClient::new(CONNECT) };
        (Self { queue, host, dropped: AtomicU64::default() }, worker.run(waiting))
    }
}

impl Tell for Webhook {
    fn tell(&self, alert: &Arc<Alert>) {
        if self.queue.try_send(alert.clone()).is_err() {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            // Once for every power of two, so that a broken webhook does not fill the log instead.
            if dropped.is_power_of_two() {
                tracing::warn!(host = %self.host, dropped, "alerts are not sent: too many wait for their webhook");
            }
        }
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("host", &self.host).finish_non_exhaustive()
    }
}

struct Worker {
    options: WebhookOptions,
    host: Box<str>,
    client: SmallClient,
}

/// Why a message has not arrived.
enum Failed {
    /// It may if it is sent again.
    Again(String),
    /// It won't.
    Never(String),
}

impl Worker {
    async fn run(self, mut waiting: mpsc::Receiver<Arc<Alert>>) {
        while let Some(alert) = waiting.recv().await {
            if let Err(error) = self.deliver(&alert).await {
                tracing::warn!(host = %self.host, id = %alert.id, error, "an alert could not be sent");
            }
        }
    }

    async fn deliver(&self, alert: &Alert) -> Result<(), String> {
        let body = match self.options.format {
            Format::Json => alert.body(),
            Format::Slack => json!({ "text": escaped(&alert.text()) }),
        };
        let body = Bytes::from(body.to_string());
        let mut pause = PAUSE;
        for attempt in 1.. {
            match self.send(&alert.id, body.clone()).await {
                Ok(()) => break,
                Err(Failed::Again(_)) if attempt < ATTEMPTS => {
                    sleep(pause).await;
                    pause *= 2;
                }
                Err(Failed::Again(error) | Failed::Never(error)) => return Err(error),
            }
        }
        Ok(())
    }

    async fn send(&self, id: &str, body: Bytes) -> Result<(), Failed> {
        let request =
            self.request(id, SystemTime::now(), body).map_err(|error| Failed::Never(error.to_string()))?;
        // Errors of the client name no address.
        let answer =
            self.client.send(request, ANSWER).await.map_err(|error| Failed::Again(error.to_string()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status if is_passing(status) => Err(Failed::Again(format!("it answered {status}"))),
            status => Err(Failed::Never(format!("it answered {status}"))),
        }
    }

    fn request(&self, id: &str, at: SystemTime, body: Bytes) -> Result<Request<Full<Bytes>>, BoxError> {
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut request = Request::post(self.options.uri.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "bartizan")
            .header("webhook-id", id)
            .header("webhook-timestamp", at);
        if let Some(secret) = &self.options.secret {
            request = request.header("webhook-signature", signature(secret, id, at, &body));
        }
        Ok(request.body(Full::new(body))?)
    }
}

/// Whether the same message may be welcome later.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

fn signature(secret: &[u8], id: &str, at: u64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(format!("{id}.{at}.").as_bytes());
    context.update(body);
    format!("v1,{}", STANDARD.encode(context.sign()))
}

/// The three characters that mean something to Slack.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::Value;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinHandle,
    };

    use super::*;
    use crate::alerts::{What, alert::Velocity};

    fn alert() -> Arc<Alert> {
        Arc::new(Alert::new(What::Velocity(Velocity {
            account: "user:<you & me>".into(),
            spent: crate::price::NanoUsd::from_usd(6),
            over: Duration::from_secs(300),
            usual: crate::price::NanoUsd::from_usd(1),
        })))
    }

    /// Answers one request after the other with these statuses, and returns the requests.
    async fn listener(statuses: &'static [u16]) -> (Secret, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks/T0/very-secret", listener.local_addr().unwrap());
        let received = tokio::spawn(async move {
            let mut received = Vec::new();
            for status in statuses {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !String::from_utf8_lossy(&request).ends_with('}') {
                    assert!(socket.read_buf(&mut request).await.unwrap() > 0);
                }
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                socket.write_all(answer.as_bytes()).await.unwrap();
                received.push(String::from_utf8(request).unwrap());
            }
            received
        });
        (Secret::new(url), received)
    }

    async fn sent(options: WebhookOptions, received: JoinHandle<Vec<String>>) -> (Arc<Alert>, Vec<String>) {
        let (webhook, worker) = Webhook::new(options);
        let alert = alert();

        webhook.tell(&alert);
        drop(webhook);
        worker.await;

        (alert, received.await.unwrap())
    }

    fn header<'r>(request: &'r str, name: &str) -> Option<&'r str> {
        request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    #[tokio::test]
    async fn a_message_is_signed_and_sent_again_until_it_has_arrived() {
        let (url, received) = listener(&[503, 204]).await;
        let options = WebhookOptions::new(&url).unwrap().secret(&Secret::new("whsec_c2VjcmV0")).unwrap();
        let begun = Instant::now();

        let (alert, received) = sent(options, received).await;

        let [first, second] = &received[..] else { panic!("{received:?}") };
        assert!(begun.elapsed() >= PAUSE);
        assert!(second.starts_with("POST /hooks/T0/very-secret HTTP/1.1\r\n"), "{second}");
        let (_, body) = second.split_once("\r\n\r\n").unwrap();
        assert_eq!(serde_json::from_str::<Value>(body).unwrap(), alert.body());
        assert_eq!([first, second].map(|request| header(request, "webhook-id")), [Some(&*alert.id); 2]);
        let at = header(second, "webhook-timestamp").unwrap().parse().unwrap();
        let expected = signature(b"secret", &alert.id, at, body.as_bytes());
        assert_eq!(header(second, "webhook-signature"), Some(&*expected));
    }

    #[tokio::test]
    async fn slack_gets_a_sentence_and_a_refusal_is_final() {
        let (url, received) = listener(&[404]).await;

        let (_, received) = sent(WebhookOptions::new(&url).unwrap().format(Format::Slack), received).await;

        let (head, body) = received[0].split_once("\r\n\r\n").unwrap();
        assert_eq!(
            body,
            r#"{"text":"user:&lt;you &amp; me&gt; has spent 6 usd in 5m, where 1 usd is usual"}"#
        );
        assert_eq!(header(head, "webhook-signature"), None);
    }

    #[test]
    fn the_signature_is_that_of_the_standard() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();

        let signature =
            signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);

        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn what_finds_no_room_is_counted_and_the_address_is_not_shown() {
        let (webhook, _worker) = Webhook::new(WebhookOptions::new(&Secret::new("https://h/secret")).unwrap());

        (0..MOST + 3).for_each(|_| webhook.tell(&alert()));

        assert_eq!(webhook.dropped.load(Ordering::Relaxed), 3);
        assert_eq!(format!("{webhook:?}"), r#"Webhook { host: "h", .. }"#);
    }

    #[test]
    fn addresses_and_secrets_are_checked() {
        for wrong in ["", "h/x", "ftp://h/", "/x", "https://me:secret@h/x"] {
            assert!(WebhookOptions::new(&Secret::new(wrong)).is_err(), "{wrong}");
        }
        let options = WebhookOptions::new(&Secret::new("http://h")).unwrap();
        assert!(options.clone().secret(&Secret::new("whsec_***")).is_err());
        assert!(options.secret(&Secret::new("any text")).is_ok());
    }
}
