//! Kinds of values: parsing, canonical form, and their names.

use std::net::{IpAddr, Ipv4Addr};

use http::HeaderName;

use crate::setting::Setting;
use crate::units::{format_duration, parse_duration, parse_size};

/// Stands for a number that is derived.
pub const AUTO: &str = "auto";

/// The type of a setting.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `true` or `false`, or one of the other words of Go and YAML 1.1.
    Bool,
    /// A port number.
    Port,
    /// A whole number from 0.
    Unsigned,
    /// Finite and not negative.
    Float,
    /// As Go writes it, such as `1m30s`.
    Duration,
    /// Bytes.
    Size,
    /// Bytes, or `auto`.
    SizeOrAuto,
    /// Any text.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// An IP address, or nothing.
    Address,
    /// IP addresses, written as a [`Kind::List`].
    Addresses,
    /// Path of a file.
    Path,
    /// An http or https URL.
    Url,
    /// Name of an HTTP header, or nothing.
    HeaderName,
    /// Text values, written as a YAML list or with commas.
    List,
    /// Header name to value; YAML only.
    Headers,
    /// A YAML list of mappings, whose settings these are; elsewhere their `url`s with commas.
    Records(&'static [Setting]),
    /// Tenant to limits; YAML only.
    Tenants,
}

/// A parsed value, independent of the type of its field.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Port`], [`Kind::Unsigned`] and [`Kind::Size`].
    Number(u64),
    /// Of [`Kind::Float`].
    Float(f64),
    /// Of every other kind, in canonical form: durations as Go prints them, addresses in figures.
    Text(String),
    /// Of [`Kind::List`] and [`Kind::Addresses`].
    List(Vec<String>),
}

impl Value {
    /// Whether it is 0 or empty text.
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Number(number) => *number == 0,
            Self::Float(number) => *number == 0.0,
            Self::Text(text) => text.is_empty() || text == "0s",
            Self::Bool(_) | Self::List(_) => false,
        }
    }
}

impl Kind {
    /// Parses one scalar. `None`: not of this kind. Mappings and [`Kind::Records`] are never scalars.
    pub fn parse(self, text: &str) -> Option<Value> {
        let text = text.trim();
        Some(match self {
            Self::Bool => Value::Bool(parse_bool(text)?),
            Self::Port => Value::Number(text.parse::<u16>().ok()?.into()),
            Self::Unsigned => Value::Number(text.parse().ok()?),
            Self::Float => {
                let number: f64 = text.parse().ok()?;
                if !number.is_finite() || number < 0.0 {
                    return None;
                }
                // Without the addition `-0` stays `-0` and is shown as such.
                Value::Float(number + 0.0)
            }
            Self::Duration => Value::Text(format_duration(parse_duration(text)?)),
            Self::SizeOrAuto if text == AUTO => Value::Text(text.to_owned()),
            Self::Size | Self::SizeOrAuto => Value::Number(parse_size(text)?),
            Self::Text | Self::Path => Value::Text(text.to_owned()),
            Self::OneOf(choices) => {
                Value::Text((*choices.iter().find(|choice| **choice == text)?).to_owned())
            }
            Self::Address => match text {
                "" => Value::Text(String::new()),
                address => Value::Text(parse_address(address)?.to_string()),
            },
            Self::Addresses => {
                let addresses = split_list(text).into_iter();
                let addresses = addresses.map(|text| Some(parse_address(&text)?.to_string()));
                Value::List(addresses.collect::<Option<Vec<String>>>()?)
            }
            Self::Url => {
                let url = url::Url::parse(text).ok()?;
                if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                    return None;
                }
                Value::Text(text.to_owned())
            }
            Self::HeaderName => {
                if !text.is_empty() {
                    HeaderName::from_bytes(text.as_bytes()).ok()?;
                }
                Value::Text(text.to_owned())
            }
            Self::List => Value::List(split_list(text)),
            Self::Headers | Self::Records(_) | Self::Tenants => return None,
        })
    }

    /// Completes "must be …".
    pub fn expected(self) -> String {
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
    pub fn word(self) -> &'static str {
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
    pub fn accumulates(self) -> bool {
        matches!(self, Self::List | Self::Addresses | Self::Records(_))
    }
}

/// Go's `strconv.ParseBool`, and the words that YAML 1.1 adds to it.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" | "on" => Some(true),
        "false" | "f" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// An IP address, or the one name that stands for the same address everywhere.
pub fn parse_address(text: &str) -> Option<IpAddr> {
    match text.trim() {
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        address => address.parse().ok(),
    }
}

/// Splits at commas; blanks around an item and empty items are dropped.
pub fn split_list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_string)
        .collect()
}
