//! The lines of a Prometheus text exposition, or of OpenMetrics.

use std::borrow::Cow;

/// One line of an exposition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'t> {
    /// The metric.
    pub name: &'t str,
    /// What stands between the braces; checked.
    labels: &'t str,
    /// The value.
    pub value: f64,
}

/// A line that is no sample. A page with one fails its scrape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no sample: {0}")]
pub struct NotASample(pub String);

impl<'t> Sample<'t> {
    /// `name{label="value",…} value …`
    fn parse(line: &'t str) -> Option<Self> {
        let (name, rest) = line.split_at(line.find(['{', ' '])?);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(inside) => {
                let (labels, rest) = inside.split_at(labels_end(inside)?);
                (labels, rest.strip_prefix('}')?)
            }
            None => ("", rest),
        };
        // A timestamp or an exemplar may follow.
        let value = rest.split_whitespace().next()?.parse().ok()?;
        Some(Self {
            name,
            labels,
            value,
        })
    }

    /// Names and values of its labels, in order.
    pub fn labels(&self) -> impl Iterator<Item = (&'t str, Cow<'t, str>)> + use<'t> {
        let mut rest = self.labels;
        std::iter::from_fn(move || {
            let (name, value, after) = next_label(rest)?;
            rest = after;
            Some((name, value))
        })
    }

    /// The value of the label with this name.
    pub fn label(&self, name: &str) -> Option<Cow<'t, str>> {
        let mut labels = self.labels();
        labels
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }
}

/// Where the closing brace is, if all before it are labels.
fn labels_end(inside: &str) -> Option<usize> {
    let mut rest = inside;
    loop {
        let at_label = rest.trim_start_matches(',');
        if at_label.starts_with('}') {
            return Some(inside.len() - at_label.len());
        }
        (_, _, rest) = next_label(at_label)?;
    }
}

/// Name and value of the first label, and what follows it.
fn next_label(labels: &str) -> Option<(&str, Cow<'_, str>, &str)> {
    let (name, quoted) = labels.trim_start_matches(',').split_once("=\"")?;
    let (value, after) = unquote(quoted)?;
    Some((name, value, after))
}

/// The value up to the closing quote, and what follows it.
fn unquote(quoted: &str) -> Option<(Cow<'_, str>, &str)> {
    let (plain, rest) = quoted.split_at(quoted.find(['"', '\\'])?);
    if let Some(after) = rest.strip_prefix('"') {
        return Some((Cow::Borrowed(plain), after));
    }
    let mut value = plain.to_owned();
    let mut chars = rest.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return Some((Cow::Owned(value), &rest[index + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

/// All samples of a page.
pub fn samples(page: &str) -> impl Iterator<Item = Result<Sample<'_>, NotASample>> {
    page.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| Sample::parse(line).ok_or_else(|| NotASample(line.to_owned())))
}

/// The samples of one metric, by its whole name. Other lines are not read: this is for a few metrics
/// of a page that may be large. Lines that are no samples are left out.
pub fn samples_named<'t>(page: &'t str, name: &'t str) -> impl Iterator<Item = Sample<'t>> {
    page.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        if !rest.starts_with(['{', ' ']) {
            return None;
        }
        Sample::parse(line)
    })
}

/// The sum over all samples of a counter or gauge, as a whole number; 0 without any.
pub fn sum(page: &str, name: &str) -> u64 {
    samples_named(page, name)
        .map(|sample| sample.value)
        .sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_by_their_whole_name() {
        let text = "# HELP a_total x\n# TYPE a_total counter\na_total{user=\"x y\"} 3\n\
                    a_total{user=\"z\"} 4.0\na_total_more 100\nb_total 1\n";
        assert_eq!(sum(text, "a_total"), 7);
        assert_eq!(sum(text, "b_total"), 1);
        assert_eq!(sum(text, "c_total"), 0);
    }

    #[test]
    fn labels_are_found_by_their_whole_name() {
        let text = "p{kv_name=\"k\",store=\"consul\"} 1\np{store=\"memberlist\"} 0\n";
        let samples: Vec<_> = samples_named(text, "p").collect();
        let stores: Vec<_> = samples
            .iter()
            .map(|sample| (sample.label("store"), sample.value))
            .collect();
        let named = |name: &'static str| Some(Cow::Borrowed(name));
        assert_eq!(stores, [(named("consul"), 1.0), (named("memberlist"), 0.0)]);
        assert_eq!(samples[0].label("name"), None);
    }

    #[test]
    fn lines_that_are_no_samples_are_found() {
        for line in [
            "a",
            "a ",
            "a x",
            "a{b=\"c\" 1",
            "a{b=\"c} 1",
            "a{b} 1",
            "a{b=\"\\",
        ] {
            assert_eq!(Sample::parse(line), None, "{line}");
            assert!(samples(line).next().unwrap().is_err(), "{line}");
        }
        let empty = Sample::parse("a{} 1").unwrap();
        assert_eq!((empty.labels().count(), empty.value), (0, 1.0));
    }
}
