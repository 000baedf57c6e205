//! The environment variables of OpenTelemetry that decide whether and where traces are sent. The SDK
//! reads the others (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`,
//! `OTEL_BSP_*`) itself.

use std::path::PathBuf;
use std::time::Duration;

/// Where traces are sent to, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// CA certificates of the receiver; those of the system if `None`.
    pub(super) ca_file: Option<PathBuf>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    /// For one request to the receiver.
    pub(super) timeout: Duration,
    /// Whether the environment names the service.
    pub(super) names_service: bool,
}

/// A variable with a value that does not work here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is {value:?}: {what}")]
pub struct Problem {
    variable: &'static str,
    value: String,
    what: &'static str,
}

/// As in the specification of OpenTelemetry.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

impl Settings {
    /// Reads the environment. `None` if it does not ask for traces: neither is an endpoint named,
    /// nor is `OTEL_TRACES_EXPORTER` `otlp`.
    ///
    /// # Errors
    /// A variable has a value that does not work here.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Problem> {
        let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        if get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let exporter = get("OTEL_TRACES_EXPORTER");
        let has_endpoint = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
            .or_else(|| get("OTEL_EXPORTER_OTLP_ENDPOINT"))
            .is_some();
        match exporter.as_deref() {
            None if !has_endpoint => return Ok(None),
            Some("none") => return Ok(None),
            None | Some("otlp") => {}
            Some(other) => {
                return Err(Problem {
                    variable: "OTEL_TRACES_EXPORTER",
                    value: other.to_owned(),
                    what: "traces can be sent by otlp only; set otlp or none",
                });
            }
        }
        check_protocol(&get)?;
        check_sampler(&get)?;
        let file = |name: &str| of_traces(&get, name).map(|(_, value)| PathBuf::from(value));
        Ok(Some(Self {
            ca_file: file("CERTIFICATE"),
            cert_file: file("CLIENT_CERTIFICATE"),
            key_file: file("CLIENT_KEY"),
            timeout: timeout(&get)?,
            names_service: get("OTEL_SERVICE_NAME").is_some()
                || get("OTEL_RESOURCE_ATTRIBUTES")
                    .is_some_and(|attributes| attributes.contains("service.name=")),
        }))
    }
}

/// `OTEL_EXPORTER_OTLP_<name>`; the variant for traces wins. Which of the two it is comes first.
fn of_traces(get: &impl Fn(&str) -> Option<String>, name: &str) -> Option<(bool, String)> {
    let own = get(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}")).map(|value| (true, value));
    own.or_else(|| get(&format!("OTEL_EXPORTER_OTLP_{name}")).map(|value| (false, value)))
}

fn check_protocol(get: &impl Fn(&str) -> Option<String>) -> Result<(), Problem> {
    match of_traces(get, "PROTOCOL") {
        Some((is_own, value)) if value != "http/protobuf" => Err(Problem {
            variable: match is_own {
                true => "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
                false => "OTEL_EXPORTER_OTLP_PROTOCOL",
            },
            value,
            what: "traces are sent by http/protobuf; use that, and the receiver's port for it \
                   (4318 by default)",
        }),
        _ => Ok(()),
    }
}

fn check_sampler(get: &impl Fn(&str) -> Option<String>) -> Result<(), Problem> {
    let Some(sampler) = get("OTEL_TRACES_SAMPLER") else {
        return Ok(());
    };
    if !SAMPLERS.contains(&sampler.as_str()) {
        return Err(Problem {
            variable: "OTEL_TRACES_SAMPLER",
            value: sampler,
            what: "the samplers are always_on, always_off and traceidratio, each also with \
                   parentbased_ before it",
        });
    }
    if !sampler.ends_with("traceidratio") {
        return Ok(());
    }
    let ratio = get("OTEL_TRACES_SAMPLER_ARG").unwrap_or_default();
    match ratio.parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(()),
        _ => Err(Problem {
            variable: "OTEL_TRACES_SAMPLER_ARG",
            value: ratio,
            what: "the sampler traceidratio needs a share from 0 to 1, for example 0.01",
        }),
    }
}

fn timeout(get: &impl Fn(&str) -> Option<String>) -> Result<Duration, Problem> {
    let Some((is_own, value)) = of_traces(get, "TIMEOUT") else {
        return Ok(DEFAULT_TIMEOUT);
    };
    match value.parse() {
        Ok(millis) if millis > 0 => Ok(Duration::from_millis(millis)),
        _ => Err(Problem {
            variable: match is_own {
                true => "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
                false => "OTEL_EXPORTER_OTLP_TIMEOUT",
            },
            value,
            what: "it must be a number of milliseconds, at least 1",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<Settings>, Problem> {
        Settings::read(|name| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn traces_are_off_unless_they_are_asked_for() {
        const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        for off in [
            &[][..],
            &[("OTEL_SERVICE_NAME", "s")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "true")],
        ] {
            assert_eq!(read(off), Ok(None), "{off:?}");
        }
        for on in [
            &[ENDPOINT][..],
            &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/v1/traces")],
            &[("OTEL_TRACES_EXPORTER", "otlp")],
        ] {
            let settings = read(on).unwrap().unwrap();
            assert_eq!(settings.timeout, DEFAULT_TIMEOUT);
            assert!(!settings.names_service);
        }
    }

    #[test]
    fn the_variant_for_traces_wins() {
        let settings = read(&[
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=s"),
        ]);
        let settings = settings.unwrap().unwrap();
        assert_eq!(settings.timeout, Duration::from_millis(250));
        assert_eq!(settings.ca_file, Some("ca.pem".into()));
        assert!(settings.names_service);
    }

    #[test]
    fn what_does_not_work_is_named() {
        const ON: (&str, &str) = ("OTEL_TRACES_EXPORTER", "otlp");
        for (wrong, variable) in [
            (
                &[("OTEL_TRACES_EXPORTER", "zipkin")][..],
                "OTEL_TRACES_EXPORTER",
            ),
            (
                &[ON, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
                "OTEL_EXPORTER_OTLP_PROTOCOL",
            ),
            (
                &[ON, ("OTEL_TRACES_SAMPLER", "jaeger_remote")],
                "OTEL_TRACES_SAMPLER",
            ),
            (
                &[ON, ("OTEL_TRACES_SAMPLER", "traceidratio")],
                "OTEL_TRACES_SAMPLER_ARG",
            ),
            (
                &[
                    ON,
                    ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                    ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
                ],
                "OTEL_TRACES_SAMPLER_ARG",
            ),
            (
                &[ON, ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")],
                "OTEL_EXPORTER_OTLP_TIMEOUT",
            ),
        ] {
            assert_eq!(read(wrong).unwrap_err().variable, variable, "{wrong:?}");
        }
    }
}
