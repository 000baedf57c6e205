//! The types that fields of settings can have: from the default's text, and as serde writes and reads
//! them: durations in Go's notation, and empty text where there is nothing.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::kind::{AUTO, Kind, Value, parse_address};
use crate::secret::{Secret, SecretUrl};
use crate::units::{format_duration, parse_duration};

/// The type of a field that holds a setting.
pub trait Field: Sized {
    /// What `value` is as this type; `None` if it is of another kind.
    fn from_value(value: Value) -> Option<Self>;

    /// Whether it is 0 or empty, so that a setting that must not be is wrong.
    fn is_zero(&self) -> bool {
        false
    }

    /// Writes it as it stands in a configuration.
    ///
    /// # Errors
    /// The serializer's.
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;

    /// Reads what [`Field::write`] wrote.
    ///
    /// # Errors
    /// The deserializer's, or that it is no such value.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// For `#[serde(with = "settings::field")]`.
///
/// # Errors
/// The serializer's.
pub fn serialize<T: Field, S: Serializer>(field: &T, serializer: S) -> Result<S::Ok, S::Error> {
    field.write(serializer)
}

/// For `#[serde(with = "settings::field")]`.
///
/// # Errors
/// The deserializer's, or that it is no such value.
pub fn deserialize<'de, T: Field, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::read(deserializer)
}

/// The value of a default, whose text stands in the source code.
///
/// # Panics
/// If the text is not of the kind, or the kind does not match the type; any use of the struct's
/// defaults shows this.
pub fn built_in<T: Field>(kind: Kind, text: &str) -> T {
    let value = match kind {
        // A mapping, and a URL that is required, have no text: they are empty until they are set.
        Kind::Headers | Kind::Url if text.is_empty() => Some(Value::Text(String::new())),
        kind => kind.parse(text),
    };
    match value.and_then(T::from_value) {
        Some(value) => value,
        None => unreachable!("the default {text:?} is not {}", kind.expected()),
    }
}

/// Types that serde writes and reads as they are.
macro_rules! plain {
    ($($type:ty: $pattern:pat => $value:expr, $is_zero:expr;)+) => {$(
        impl Field for $type {
            fn from_value(value: Value) -> Option<Self> {
                match value {
                    $pattern => $value,
                    _ => None,
                }
            }

            fn is_zero(&self) -> bool {
                $is_zero(self)
            }

            fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Serialize::serialize(self, serializer)
            }

            fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Deserialize::deserialize(deserializer)
            }
        }
    )+};
}

plain! {
    bool: Value::Bool(value) => Some(value), |_: &Self| false;
    u16: Value::Number(number) => u16::try_from(number).ok(), |number: &Self| *number == 0;
    u64: Value::Number(number) => Some(number), |number: &Self| *number == 0;
    f64: Value::Float(number) => Some(number), |number: &Self| *number == 0.0;
    String: Value::Text(text) => Some(text), Self::is_empty;
    Secret: Value::Text(text) => Some(Self::new(text)), Self::is_empty;
    SecretUrl: Value::Text(text) => Some(Self::new(text)), |url: &Self| url.expose().is_empty();
}

/// Types that are text in a configuration.
macro_rules! text {
    ($($type:ty: $is_zero:expr, $write:expr, $read:expr;)+) => {$(
        impl Field for $type {
            fn from_value(value: Value) -> Option<Self> {
                match value {
                    Value::Text(text) => $read(text),
                    _ => None,
                }
            }

            fn is_zero(&self) -> bool {
                $is_zero(self)
            }

            fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&$write(self))
            }

            fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $read(text).ok_or_else(|| D::Error::custom("not of the setting's kind"))
            }
        }
    )+};
}

text! {
    Duration:
        Self::is_zero,
        |duration: &Self| format_duration(*duration),
        |text: String| parse_duration(&text);
    Option<IpAddr>:
        Self::is_none,
        shown,
        |text: String| if text.is_empty() { Some(None) } else { parse_address(&text).map(Some) };
    Option<String>:
        Self::is_none,
        shown,
        |text: String| Some(Some(text).filter(|text| !text.is_empty()));
    Option<PathBuf>:
        Self::is_none,
        |path: &Self| shown(&path.as_ref().map(|path| path.display())),
        |text: String| Some(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from));
}

fn shown<T: Display>(value: &Option<T>) -> String {
    value.as_ref().map(ToString::to_string).unwrap_or_default()
}

impl Field for Option<Secret> {
    fn from_value(value: Value) -> Option<Self> {
        Secret::from_value(value).map(some_secret)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.clone().unwrap_or_default().serialize(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Secret::deserialize(deserializer).map(some_secret)
    }
}

/// Names to values; its only text is the empty one.
impl Field for BTreeMap<String, Secret> {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Text(text) if text.is_empty() => Some(Self::new()),
            _ => None,
        }
    }

    fn is_zero(&self) -> bool {
        self.is_empty()
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

/// A number, or `auto`.
impl Field for Option<u64> {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Number(number) => Some(Some(number)),
            Value::Text(text) if text == AUTO => Some(None),
            _ => None,
        }
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(number) => serializer.serialize_u64(*number),
            None => serializer.serialize_str(AUTO),
        }
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(number) => Value::Number(number),
            NumberOrText::Text(text) => Value::Text(text),
        };
        Self::from_value(value).ok_or_else(|| D::Error::custom("neither a number nor auto"))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

fn some_secret(secret: Secret) -> Option<Secret> {
    Some(secret).filter(|secret| !secret.is_empty())
}

/// An item of a list.
pub trait Item: Serialize + DeserializeOwned {
    /// What `text` is as this type, if it is one.
    fn from_text(text: String) -> Option<Self>;
}

impl Item for String {
    fn from_text(text: String) -> Option<Self> {
        Some(text)
    }
}

impl Item for IpAddr {
    fn from_text(text: String) -> Option<Self> {
        parse_address(&text)
    }
}

impl Item for PathBuf {
    fn from_text(text: String) -> Option<Self> {
        Some(text.into())
    }
}

impl Item for Secret {
    fn from_text(text: String) -> Option<Self> {
        Some(Self::new(text))
    }
}

impl Item for SecretUrl {
    fn from_text(text: String) -> Option<Self> {
        Some(Self::new(text))
    }
}

impl<T: Item> Field for Vec<T> {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::List(items) => items.into_iter().map(T::from_text).collect(),
            _ => None,
        }
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}
