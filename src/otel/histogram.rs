use opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint;

/// How often what was measured, since the beginning.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
    least: f64,
    most: f64,
}

impl Histogram {
    /// Nothing yet, spread over these upper bounds.
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let counts = vec![0; bounds.len() + 1];
        Self { bounds, counts, sum: 0.0, least: f64::INFINITY, most: f64::NEG_INFINITY }
    }

    pub(super) fn note(&mut self, value: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum += value;
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }

    /// All of it, but for whose it is and when it was.
    pub(super) fn point(&self) -> HistogramDataPoint {
        HistogramDataPoint {
            count: self.counts.iter().sum(),
            sum: Some(self.sum),
            bucket_counts: self.counts.clone(),
            explicit_bounds: self.bounds.to_vec(),
            min: Some(self.least),
            max: Some(self.most),
            ..HistogramDataPoint::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_below_the_first_bound_that_is_not_less() {
        let mut histogram = Histogram::new(&[1.0, 2.0]);

        for value in [0.5, 1.0, 1.5, 2.5] {
            histogram.note(value);
        }

        let point = histogram.point();
        assert_eq!((point.count, point.sum, point.bucket_counts), (4, Some(5.5), vec![2, 1, 1]));
        assert_eq!((point.min, point.max), (Some(0.5), Some(2.5)));
    }
}
