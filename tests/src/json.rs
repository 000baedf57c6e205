//! JSON values, which configurations are made of: JSON is YAML as well.

use serde_json::Value;

/// Puts all that `more` says into `into`, mappings into mappings.
pub fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more.clone(),
    }
}
