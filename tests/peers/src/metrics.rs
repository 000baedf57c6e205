//! Reading a Prometheus text exposition.

use std::collections::BTreeMap;

/// Label names and values.
pub type Labels = BTreeMap<String, String>;

/// The samples of one scrape.
#[derive(Debug, Clone, Default)]
pub struct Metrics(BTreeMap<(String, Labels), f64>);

impl Metrics {
    /// Reads the text format or OpenMetrics.
    ///
    /// # Panics
    /// On a line that is neither: such a page would fail its scrape.
    pub fn parse(text: &str) -> Self {
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(
            lines
                .map(|line| parse_line(line).unwrap_or_else(|| panic!("no sample: {line}")))
                .collect(),
        )
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

/// `name{label="value",…} value …`
fn parse_line(line: &str) -> Option<((String, Labels), f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start_matches(',');
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (key, quoted) = rest.split_once("=\"")?;
            let (value, after) = unquote(quoted)?;
            labels.insert(key.to_owned(), value);
            rest = after;
        }
    }
    // A timestamp or an exemplar may follow.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(((name.to_owned(), labels), value))
}

/// The value up to the closing quote, and what follows it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[index + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_escapes_and_exemplars() {
        let metrics = Metrics::parse(
            "# HELP a x\na 1\nb_total{x=\"1\",y=\"q\\\"\\\\\\n}\"} 2.5 # {t=\"i\"} 1\n\
             b_total{x=\"2\",} +Inf\n# EOF\n",
        );
        assert_eq!(metrics.get("a", &[]), Some(1.0));
        assert_eq!(metrics.get("b_total", &[("y", "q\"\\\n}")]), Some(2.5));
        assert_eq!(metrics.sum("b_total", &[]), f64::INFINITY);
        assert_eq!(metrics.get("c", &[]), None);
    }
}
