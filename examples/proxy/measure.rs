use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use bartizan::{
    BoxError,
    config::Gauges,
    metrics::{ALL, Form, Metric, MetricsLayer, describe},
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// How often what histograms were told is summed up: until then it takes memory.
const UPKEEP: Duration = Duration::from_secs(5);

/// What is measured, for Prometheus.
///
/// The library measures for whatever recorder its host has installed, so this one belongs to the program.
#[derive(Clone)]
pub struct Measurements(PrometheusHandle);

impl Measurements {
    /// There is one recorder for the process.
    pub fn begin() -> Result<Self, BoxError> {
        static INSTALLED: LazyLock<Result<PrometheusHandle, String>> =
            LazyLock::new(|| install().map_err(|error| format!("can't measure: {error}")));
        Ok(Self(INSTALLED.clone()?))
    }

    /// Sums up, for ever.
    pub fn upkeep(&self) -> impl Future<Output = ()> + use<> {
        let handle = self.0.clone();
        async move {
            loop {
                tokio::time::sleep(UPKEEP).await;
                handle.run_upkeep();
            }
        }
    }

    /// Shows everything, after `gauges` has looked up what holds at the moment.
    pub fn layer(&self, gauges: Arc<Gauges>) -> MetricsLayer {
        let handle = self.0.clone();
        MetricsLayer::new(move || {
            let (gauges, handle) = (gauges.clone(), handle.clone());
            Box::pin(async move {
                gauges.look().await;
                handle.render()
            })
        })
    }
}

fn install() -> Result<PrometheusHandle, BoxError> {
    let mut builder = PrometheusBuilder::new();
    for Metric { name, form, .. } in ALL {
        if let Form::Histogram(bounds) = form {
            builder = builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), bounds)?;
        }
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    describe();
    Ok(handle)
}
