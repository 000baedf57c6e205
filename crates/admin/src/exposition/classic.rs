//! Prometheus's text format 0.0.4, from the OpenMetrics text that the library writes.
//!
//! Samples are the same in both. The comments differ: the text format uses the names of the samples
//! (`x_total`, not `x`) and has fewer types, no units and no end marker.

use std::fmt::{self, Write};

/// Translates OpenMetrics to the text format, and writes it to `out`.
pub(super) struct Classic<W> {
    out: W,
    /// The comment that is being written, as far as it has arrived.
    comment: String,
    place: Place,
    /// Metric and text of a `HELP` whose `TYPE` has not arrived yet; the type determines the sample
    /// names.
    help: Option<(String, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    LineStart,
    Comment,
    Sample,
}

impl<W: Write> Classic<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            comment: String::new(),
            place: Place::LineStart,
            help: None,
        }
    }

    pub(super) fn into_inner(self) -> W {
        self.out
    }

    fn write_comment(&mut self) -> fmt::Result {
        let comment = std::mem::take(&mut self.comment);
        let mut parts = comment.trim_end().splitn(4, ' ').skip(1);
        match (parts.next(), parts.next(), parts.next()) {
            (Some("HELP"), Some(name), text) => {
                self.help = Some((name.to_owned(), text.unwrap_or_default().to_owned()));
                Ok(())
            }
            (Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = samples(kind);
                if let Some((_, text)) = self.help.take().filter(|(of, _)| of == name) {
                    writeln!(self.out, "# HELP {name}{suffix} {text}")?;
                }
                writeln!(self.out, "# TYPE {name}{suffix} {kind}")
            }
            _ => Ok(()),
        }
    }
}

/// Suffix of sample names of this type, and the type in the text format.
fn samples(kind: &str) -> (&'static str, &str) {
    match kind {
        "counter" => ("_total", kind),
        "info" => ("_info", "gauge"),
        "stateset" => ("", "gauge"),
        "unknown" => ("", "untyped"),
        _ => ("", kind),
    }
}

impl<W: Write> Write for Classic<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive('\n') {
            if self.place == Place::LineStart {
                self.place = if part.starts_with('#') {
                    Place::Comment
                } else {
                    Place::Sample
                };
            }
            let ends = part.ends_with('\n');
            if self.place == Place::Sample {
                self.out.write_str(part)?;
            } else {
                self.comment.push_str(part);
                if ends {
                    self.write_comment()?;
                }
            }
            if ends {
                self.place = Place::LineStart;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::metrics::info::Info;
    use prometheus_client::registry::{Registry, Unit};

    use super::*;

    #[test]
    fn comments_name_what_is_in_the_samples() {
        let mut registry = Registry::default();
        let requests = Family::<[(&str, &str); 1], Counter>::default();
        requests.get_or_create(&[("user", "a # b\n\"\\")]).inc();
        registry.register("requests", "Requests, # of \\ \"them\"", requests);
        registry.register("build", "Build", Info::new([("version", "1")]));
        registry.register_with_unit("load", "Load", Unit::Bytes, Gauge::<i64>::default());
        let took = Histogram::new([1.0]);
        took.observe(0.5);
        registry.register("took_seconds", "Took", took);
        let mut classic = Classic::new(String::new());
        prometheus_client::encoding::text::encode(&mut classic, &registry).unwrap();
        let expected = "\
# HELP requests_total Requests, # of \\ \"them\".
# TYPE requests_total counter
requests_total{user=\"a # b\\n\\\"\\\\\"} 1
# HELP build_info Build.
# TYPE build_info gauge
build_info{version=\"1\"} 1
# HELP load_bytes Load.
# TYPE load_bytes gauge
load_bytes 0
# HELP took_seconds Took.
# TYPE took_seconds histogram
took_seconds_sum 0.5
took_seconds_count 1
took_seconds_bucket{le=\"1.0\"} 1
took_seconds_bucket{le=\"+Inf\"} 1
";
        assert_eq!(classic.into_inner(), expected);
    }

    #[test]
    fn where_the_text_is_cut_does_not_matter() {
        let text = "# HELP x y.\n# TYPE x counter\nx_total{a=\"#\"} 1\n# EOF\n";
        let mut whole = Classic::new(String::new());
        whole.write_str(text).unwrap();
        let mut letters = Classic::new(String::new());
        for letter in text.chars() {
            letters.write_char(letter).unwrap();
        }
        let whole = whole.into_inner();
        assert_eq!(
            whole,
            "# HELP x_total y.\n# TYPE x_total counter\nx_total{a=\"#\"} 1\n"
        );
        assert_eq!(letters.into_inner(), whole);
    }
}
