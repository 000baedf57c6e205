//! How serde writes and reads those fields of the model that `settings::field` does not know.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::BasicAuth;
use settings::Secret;

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
