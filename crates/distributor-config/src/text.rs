//! How serde writes and reads those fields of the model that `settings::field` does not know.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::BasicAuth;
use settings::Secret;

/// A number, or `auto`.
pub(crate) mod number_or_auto {
    use serde::de::Error;
    use settings::AUTO;

    use super::{Deserialize, Deserializer, Serializer};

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

/// Empty names where there is no authentication.
pub(crate) mod optional_basic_auth {
    use super::{BasicAuth, Deserialize, Deserializer, Secret, Serialize, Serializer};

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
