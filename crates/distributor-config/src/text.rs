//! How serde writes and reads the fields of the model: as text, empty where there is nothing.

/// Go's notation.
pub(super) mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::units::{format_duration, parse_duration};

    pub(crate) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).ok_or_else(|| D::Error::custom("not a duration"))
    }
}

/// Stands for a number that is derived.
pub(super) const AUTO: &str = "auto";

/// A number, or [`AUTO`].
pub(super) mod number_or_auto {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::AUTO;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Value {
        Number(u64),
        Text(String),
    }

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(number) => serializer.serialize_u64(*number),
            None => serializer.serialize_str(AUTO),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u64>, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Number(number) => Ok(Some(number)),
            Value::Text(text) if text == AUTO => Ok(None),
            Value::Text(_) => Err(D::Error::custom("neither a number nor auto")),
        }
    }
}

/// Whatever parses from text and displays as the same.
pub(super) mod optional {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_str(""),
        }
    }

    pub(crate) fn deserialize<'de, T: FromStr, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error>
    where
        T::Err: Display,
    {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(D::Error::custom)
    }
}

pub(super) mod optional_path {
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match path {
            Some(path) => serializer.collect_str(&path.display()),
            None => serializer.serialize_str(""),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Some(text)
            .filter(|text| !text.is_empty())
            .map(PathBuf::from))
    }
}

pub(super) mod optional_secret {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::secret::Secret;

    pub(crate) fn serialize<S: Serializer>(
        secret: &Option<Secret>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        secret.clone().unwrap_or_default().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Secret>, D::Error> {
        Ok(Some(Secret::deserialize(deserializer)?).filter(|secret| !secret.is_empty()))
    }
}

pub(super) mod optional_basic_auth {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::model::BasicAuth;
    use crate::secret::Secret;

    pub(crate) fn serialize<S: Serializer>(
        auth: &Option<BasicAuth>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let nothing = || BasicAuth {
            username: String::new(),
            password: Secret::default(),
        };
        auth.clone().unwrap_or_else(nothing).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<BasicAuth>, D::Error> {
        Ok(Some(BasicAuth::deserialize(deserializer)?).filter(|auth| !auth.username.is_empty()))
    }
}
