//! What a setting may hold: parsing, canonical form, and the words for it.

use std::net::{IpAddr, Ipv4Addr};

use figment::value::Value;
use http::HeaderName;

use super::setting::Setting;
use super::text::AUTO;
use super::units::{format_duration, parse_duration, parse_size};

/// The type of a setting.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Bool,
    Port,
    Unsigned,
    /// Finite and not negative.
    Float,
    Duration,
    /// Bytes.
    Size,
    /// Bytes, or `auto`.
    SizeOrAuto,
    Text,
    OneOf(&'static [&'static str]),
    /// An IP address, or nothing.
    Address,
    /// IP addresses, written as a [`Kind::List`].
    Addresses,
    Path,
    Url,
    HeaderName,
    /// Text values, written as a YAML list or with commas.
    List,
    /// Header name to value; YAML only.
    Headers,
    /// A YAML list of mappings, whose settings these are; elsewhere their `url`s with commas.
    Records(&'static [Setting]),
    /// Tenant to limits; only in the runtime configuration.
    Tenants,
}

impl Kind {
    /// Parses one scalar to the form in which figment holds it. `None`: not of this kind.
    /// Mappings and [`Kind::Records`] are never scalars.
    pub(super) fn parse(self, text: &str) -> Option<Value> {
        let text = text.trim();
        Some(match self {
            Self::Bool => Value::from(parse_bool(text)?),
            Self::Port => Value::from(text.parse::<u16>().ok()?),
            Self::Unsigned => Value::from(text.parse::<u64>().ok()?),
            Self::Float => {
                let number: f64 = text.parse().ok()?;
                if !number.is_finite() || number < 0.0 {
                    return None;
                }
                // Without the addition `-0` stays `-0` and is shown as such.
                Value::from(number + 0.0)
            }
            Self::Duration => Value::from(format_duration(parse_duration(text)?)),
            Self::SizeOrAuto if text == AUTO => Value::from(text),
            Self::Size | Self::SizeOrAuto => Value::from(parse_size(text)?),
            Self::Text | Self::Path => Value::from(text),
            Self::OneOf(choices) => Value::from(*choices.iter().find(|choice| **choice == text)?),
            Self::Address => match text {
                "" => Value::from(""),
                address => Value::from(parse_address(address)?.to_string()),
            },
            Self::Addresses => {
                let addresses = split_list(text).into_iter();
                let addresses = addresses.map(|text| Some(parse_address(&text)?.to_string()));
                Value::from(addresses.collect::<Option<Vec<String>>>()?)
            }
            Self::Url => {
                let url = url::Url::parse(text).ok()?;
                if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                    return None;
                }
                Value::from(text)
            }
            Self::HeaderName => {
                if !text.is_empty() {
                    HeaderName::from_bytes(text.as_bytes()).ok()?;
                }
                Value::from(text)
            }
            Self::List => Value::from(split_list(text)),
            Self::Headers | Self::Records(_) | Self::Tenants => return None,
        })
    }

    /// Completes "must be …".
    pub(super) fn expected(self) -> String {
        let text = match self {
            Self::Bool => "true or false",
            Self::Port => "a port number from 0 to 65535",
            Self::Unsigned => "a whole number from 0",
            Self::Float => "a number from 0",
            Self::Duration => "a duration such as 1m30s or 500ms",
            Self::Size => "a size in bytes, or with a unit such as 100MiB or 1GB",
            Self::SizeOrAuto => "auto, or a size in bytes or with a unit such as 100MiB or 1GB",
            Self::Text => "text",
            Self::OneOf([only]) => return format!("{only} (nothing else is available)"),
            Self::OneOf(choices) => return format!("one of {}", choices.join(", ")),
            Self::Address => "an IP address, or empty",
            Self::Addresses => "a list of IP addresses",
            Self::Path => "a path",
            Self::Url => "an http:// or https:// URL with a host",
            Self::HeaderName => "the name of an HTTP header",
            Self::List => "a list",
            Self::Headers => "a mapping of header names to values",
            Self::Records(_) => "a list of mappings",
            Self::Tenants => "a mapping of tenants to limits",
        };
        text.to_string()
    }

    /// The word for it in `-help` and in the reference.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Port | Self::Unsigned => "int",
            Self::Float => "float",
            Self::Duration => "duration",
            Self::Size => "size",
            Self::SizeOrAuto => "size or `auto`",
            Self::Text | Self::HeaderName | Self::OneOf(_) => "string",
            Self::Address => "address",
            Self::Addresses => "list of addresses",
            Self::Path => "path",
            Self::Url => "url",
            Self::List => "list of strings",
            Self::Headers => "map of string to string",
            Self::Records(_) => "list",
            Self::Tenants => "map of tenant to limits",
        }
    }

    /// Whether several flags of one name add up.
    pub(super) fn accumulates(self) -> bool {
        matches!(self, Self::List | Self::Addresses | Self::Records(_))
    }
}

/// Go's `strconv.ParseBool`, and the words that YAML 1.1 adds to it.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" | "on" => Some(true),
        "false" | "f" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// An IP address, or the one name that stands for the same address everywhere.
pub(super) fn parse_address(text: &str) -> Option<IpAddr> {
    match text.trim() {
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        address => address.parse().ok(),
    }
}

/// Splits at commas; blanks around an item and empty items are dropped.
pub(super) fn split_list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_string)
        .collect()
}
