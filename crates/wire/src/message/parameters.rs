//! Parameters as types, with the name of the one that is wrong.

use std::cell::RefCell;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess};
use serde_json::Value;

use super::Parameters;

/// Reads parameters as a type; an error comes with the name of the parameter that caused it.
pub(super) fn from_parameters<T: DeserializeOwned>(
    parameters: &Parameters,
) -> Result<T, (String, String)> {
    let current = RefCell::new(String::new());
    let fields = Fields {
        rest: parameters.iter(),
        value: None,
        current: &current,
    };
    T::deserialize(MapAccessDeserializer::new(fields)).map_err(|error| {
        let message = error.to_string();
        // serde names a missing or unknown field in backticks, after all values were read.
        let named = ["missing field `", "unknown field `", "duplicate field `"]
            .iter()
            .find_map(|start| message.strip_prefix(start)?.split_once('`'))
            .map(|(name, _)| name.to_owned());
        (named.unwrap_or_else(|| current.take()), message)
    })
}

/// The parameters as serde reads them, remembering which one is being read.
struct Fields<'a> {
    rest: serde_json::map::Iter<'a>,
    value: Option<&'a Value>,
    current: &'a RefCell<String>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Self::Error> {
        let Some((key, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        self.current.replace(key.clone());
        let key = serde::de::value::StrDeserializer::<Self::Error>::new(key);
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, Self::Error> {
        seed.deserialize(self.value.take().unwrap_or(&Value::Null))
    }
}
