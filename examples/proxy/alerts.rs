use std::{sync::Arc, time::Duration};

use bartizan::{
    BoxError,
    alerts::{Alerts, Webhook},
    config::Config,
    ledger::Ledger,
};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};

/// Where people are told what they want to know, and who does that.
pub struct Telling {
    alerts: Alerts,
    /// The webhooks' end when the one that looks has.
    tasks: Vec<JoinHandle<()>>,
}

impl Telling {
    pub fn begin(config: &Config, ledger: Arc<dyn Ledger>) -> Result<Self, BoxError> {
        let mut settings = config.alerts.settings();
        let mut workers = Vec::new();
        for options in config.alerts.webhooks()? {
            let (webhook, worker) = Webhook::new(options);
            settings = settings.tell(Arc::new(webhook));
            workers.push(tokio::spawn(worker));
        }
        let (alerts, task) = Alerts::new(ledger, settings);
        let tasks = [tokio::spawn(task)].into_iter().chain(workers).collect();
        Ok(Self { alerts, tasks })
    }

    pub fn alerts(&self) -> Alerts {
        self.alerts.clone()
    }

    /// Waits for what was noted last to be told, when nobody notes anything more.
    pub async fn close(self, patience: Duration) {
        let Self { alerts, tasks } = self;
        drop(alerts);
        let until = Instant::now() + patience;
        for mut task in tasks {
            if timeout_at(until, &mut task).await.is_err() {
                // It holds the ledger.
                task.abort();
                tracing::error!("not all alerts were sent; all are in the log");
            }
        }
    }
}
