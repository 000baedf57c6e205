//! A whole exposition, for lookups.

use std::collections::BTreeMap;

use crate::text_format::{NotASample, samples};

/// Label names and values.
pub type Labels = BTreeMap<String, String>;

/// The samples of one scrape.
#[derive(Debug, Clone, Default)]
pub struct Metrics(BTreeMap<(String, Labels), f64>);

impl Metrics {
    /// Reads the text format or OpenMetrics.
    ///
    /// # Errors
    /// A line is neither: such a page would fail its scrape.
    pub fn parse(text: &str) -> Result<Self, NotASample> {
        let samples = samples(text).map(|sample| {
            let sample = sample?;
            let labels = sample.labels();
            let labels = labels.map(|(name, value)| (name.to_owned(), value.into_owned()));
            Ok(((sample.name.to_owned(), labels.collect()), sample.value))
        });
        samples.collect::<Result<_, _>>().map(Self)
    }

    /// The value of the one series with this name whose labels include `labels`.
    ///
    /// # Panics
    /// When several match.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut matching = self.matching(name, labels);
        let value = matching.next();
        assert!(
            matching.next().is_none(),
            "several series match {name} {labels:?}"
        );
        value
    }

    /// The sum over all series with this name whose labels include `labels`; 0 without any.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).sum()
    }

    /// All series: name, labels, value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Labels, f64)> {
        self.0
            .iter()
            .map(|((name, labels), value)| (name.as_str(), labels, *value))
    }

    fn matching(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = f64> {
        self.iter()
            .filter(move |(n, l, _)| {
                *n == name
                    && labels
                        .iter()
                        .all(|(key, value)| l.get(*key).is_some_and(|v| v == value))
            })
            .map(|(_, _, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_escapes_and_exemplars() {
        let metrics = Metrics::parse(
            "# HELP a x\na 1\nb_total{x=\"1\",y=\"q\\\"\\\\\\n}\"} 2.5 # {t=\"i\"} 1\n\
             b_total{x=\"2\",} +Inf\n# EOF\n",
        )
        .unwrap();
        assert_eq!(metrics.get("a", &[]), Some(1.0));
        assert_eq!(metrics.get("b_total", &[("y", "q\"\\\n}")]), Some(2.5));
        assert_eq!(metrics.sum("b_total", &[]), f64::INFINITY);
        assert_eq!(metrics.get("c", &[]), None);
    }
}
