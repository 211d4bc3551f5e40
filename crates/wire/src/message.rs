//! The calls and replies of Varlink.
//!
//! ```text
//! call   = { "method": name, "parameters"?: object, "more"?: bool, "oneway"?: bool, "upgrade"?: bool }
//! reply  = { "parameters"?: object, "continues"?: bool, "error"?: name }
//! name   = interface "." member            org.arrivald.Services.Start
//! interface = word "." word { "." word }   letters, digits and inner hyphens; the first a letter
//! member = upper-case letter { letter | digit }
//! ```
//!
//! Source: <https://varlink.org/Method-Call>, <https://varlink.org/Interface-Definition>,
//! <https://varlink.org/Service>. Keys that nobody knows are ignored, as Varlink asks; a `null` counts
//! as absent.

mod parameters;
mod service_error;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use parameters::from_parameters;
pub use service_error::ServiceError;

/// The interface that every Varlink service has.
pub const SERVICE_INTERFACE: &str = "org.varlink.service";

/// The most bytes of a method's or error's name.
pub const NAME_LIMIT: usize = 255;

/// The parameters of a call or reply.
pub type Parameters = Map<String, Value>;

/// Bytes that are no call or no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not JSON, or not of the right form.
    #[error("not a Varlink {what}: {cause}")]
    Form {
        /// `call` or `reply`.
        what: &'static str,
        /// What is wrong, and where.
        cause: String,
    },
    /// The name of the method or error is malformed.
    #[error("'{0}' names no method or error (expected the form org.example.Interface.Member)")]
    Name(String),
    /// A call that asks for no reply and for many.
    #[error("'oneway' and 'more' exclude each other")]
    OnewayMore,
}

/// The parts of a method's or error's name: the interface and the member.
///
/// # Errors
///
/// [`MessageError::Name`] if the name is not of the form at the top of this page.
pub fn split_name(name: &str) -> Result<(&str, &str), MessageError> {
    let bad = || MessageError::Name(name.chars().take(NAME_LIMIT).collect());
    if name.len() > NAME_LIMIT {
        return Err(bad());
    }
    let (interface, member) = name.rsplit_once('.').ok_or_else(bad)?;
    let good_member = member.starts_with(|c: char| c.is_ascii_uppercase())
        && member.chars().all(|c| c.is_ascii_alphanumeric());
    if good_member && is_interface(interface) {
        Ok((interface, member))
    } else {
        Err(bad())
    }
}

/// Whether the text can name an interface.
pub fn is_interface(name: &str) -> bool {
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphanumeric())
            && word.ends_with(|c: char| c.is_ascii_alphanumeric())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    name.len() <= NAME_LIMIT
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.contains('.')
        && name.split('.').all(word)
}

/// A method call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The method with its interface.
    pub method: String,
    /// Its parameters by name.
    #[serde(
        default,
        deserialize_with = "absent",
        skip_serializing_if = "Map::is_empty"
    )]
    pub parameters: Parameters,
    /// Whether the caller accepts more than one reply.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_false")]
    pub more: bool,
    /// Whether the caller wants no reply.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_false")]
    pub oneway: bool,
    /// Whether the connection speaks another protocol after the reply.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_false")]
    pub upgrade: bool,
}

/// A reply, or an error if `error` names one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The results by name, or the error's details.
    #[serde(
        default,
        deserialize_with = "absent",
        skip_serializing_if = "Map::is_empty"
    )]
    pub parameters: Parameters,
    /// Whether more replies to the same call follow.
    #[serde(default, deserialize_with = "absent", skip_serializing_if = "is_false")]
    pub continues: bool,
    /// The error's name with its interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Reads a value; `null` counts as absent.
fn absent<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

fn parse<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, MessageError> {
    // A derived struct would also take a JSON array, which is no Varlink message.
    let object: Parameters = serde_json::from_slice(bytes).map_err(|error| MessageError::Form {
        what,
        cause: error.to_string(),
    })?;
    serde_json::from_value(Value::Object(object)).map_err(|error| MessageError::Form {
        what,
        cause: error.to_string(),
    })
}

/// The object that a value is written as.
///
/// # Errors
///
/// A type that is written as anything but an object cannot be parameters.
pub fn to_parameters<T: Serialize>(value: T) -> Result<Parameters, serde_json::Error> {
    match serde_json::to_value(value)? {
        Value::Object(object) => Ok(object),
        Value::Null => Ok(Map::new()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(serde_json::Error::custom("parameters must be an object"))
        }
    }
}

impl Call {
    /// A call without parameters.
    pub fn new(method: impl Into<String>) -> Self {
        Call {
            method: method.into(),
            ..Call::default()
        }
    }

    /// The same with these parameters.
    ///
    /// # Errors
    ///
    /// As [`to_parameters`].
    pub fn with<T: Serialize>(self, parameters: T) -> Result<Self, serde_json::Error> {
        Ok(Call {
            parameters: to_parameters(parameters)?,
            ..self
        })
    }

    /// Reads a call from one message.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it; the connection can go on.
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let call: Call = parse(bytes, "call")?;
        split_name(&call.method)?;
        if call.oneway && call.more {
            return Err(MessageError::OnewayMore);
        }
        Ok(call)
    }

    /// The interface of the method.
    pub fn interface(&self) -> &str {
        self.method
            .rsplit_once('.')
            .map_or("", |(interface, _)| interface)
    }

    /// The method without its interface.
    pub fn member(&self) -> &str {
        self.method
            .rsplit_once('.')
            .map_or("", |(_, member)| member)
    }

    /// Reads the parameters as the method's own type.
    ///
    /// # Errors
    ///
    /// [`ServiceError::InvalidParameter`] with the name of the first wrong or missing one.
    pub fn parameters_as<T: DeserializeOwned>(&self) -> Result<T, ServiceError> {
        from_parameters(&self.parameters)
            .map_err(|(parameter, _)| ServiceError::InvalidParameter { parameter })
    }
}

impl Reply {
    /// A single or last reply.
    ///
    /// # Errors
    ///
    /// As [`to_parameters`].
    pub fn new<T: Serialize>(parameters: T) -> Result<Self, serde_json::Error> {
        Ok(Reply {
            parameters: to_parameters(parameters)?,
            ..Reply::default()
        })
    }

    /// A reply that others follow.
    ///
    /// # Errors
    ///
    /// As [`to_parameters`].
    pub fn more<T: Serialize>(parameters: T) -> Result<Self, serde_json::Error> {
        Ok(Reply {
            continues: true,
            ..Reply::new(parameters)?
        })
    }

    /// An error.
    pub fn error(name: impl Into<String>, parameters: Parameters) -> Self {
        Reply {
            parameters,
            continues: false,
            error: Some(name.into()),
        }
    }

    /// Reads a reply from one message.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        let reply: Reply = parse(bytes, "reply")?;
        if let Some(error) = &reply.error {
            split_name(error)?;
        }
        Ok(reply)
    }

    /// Reads the parameters as the method's own type.
    ///
    /// # Errors
    ///
    /// [`MessageError::Form`] if they are of another form.
    pub fn parameters_as<T: DeserializeOwned>(&self) -> Result<T, MessageError> {
        from_parameters(&self.parameters).map_err(|(parameter, cause)| MessageError::Form {
            what: "reply",
            cause: format!("parameter '{parameter}': {cause}"),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Start {
        name: String,
        #[serde(default)]
        arguments: Vec<String>,
        within: Option<u32>,
    }

    fn call(text: &str) -> Result<Call, String> {
        Call::parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_call_is_read_with_every_flag_or_none() {
        let plain = call(r#"{"method":"org.arrivald.Services.List"}"#).unwrap();
        assert_eq!(plain, Call::new("org.arrivald.Services.List"));
        assert_eq!(plain.interface(), "org.arrivald.Services");
        assert_eq!(plain.member(), "List");
        let full =
            call(r#"{"method":"a.b.C","parameters":{"x":[1]},"more":true,"upgrade":true,"new":1}"#)
                .unwrap();
        assert!(full.more && full.upgrade && !full.oneway);
        assert_eq!(full.parameters["x"], json!([1]));
        let nulls = r#"{"method":"a.b.C","parameters":null,"more":null,"oneway":null}"#;
        assert_eq!(call(nulls).unwrap(), Call::new("a.b.C"));
    }

    #[test]
    fn what_is_no_call_gets_an_exact_error() {
        let rows = [
            (
                "",
                "not a Varlink call: EOF while parsing a value at line 1 column 0",
            ),
            (
                "{",
                "not a Varlink call: EOF while parsing an object at line 1 column 1",
            ),
            (
                "[]",
                "not a Varlink call: invalid type: sequence, expected a map at line 1 column 0",
            ),
            ("{}", "not a Varlink call: missing field `method`"),
            (
                "{} x",
                "not a Varlink call: trailing characters at line 1 column 4",
            ),
            (
                r#"{"method":5}"#,
                "not a Varlink call: invalid type: integer `5`, expected a string",
            ),
            (
                r#"{"method":"a.b.C","parameters":[]}"#,
                "not a Varlink call: invalid type: sequence, expected a map",
            ),
            (
                r#"{"method":"a.b.C","more":1}"#,
                "not a Varlink call: invalid type: integer `1`, expected a boolean",
            ),
            (
                r#"{"method":"Start"}"#,
                "'Start' names no method or error (expected the form org.example.Interface.Member)",
            ),
            (
                r#"{"method":"a.b.C","more":true,"oneway":true}"#,
                "'oneway' and 'more' exclude each other",
            ),
        ];
        for (text, message) in rows {
            assert_eq!(call(text).unwrap_err(), message, "{text}");
        }
        let deep = format!(r#"{{"method":"a.b.C","parameters":{}"#, "[".repeat(60_000));
        assert!(
            call(&deep)
                .unwrap_err()
                .contains("recursion limit exceeded")
        );
        assert!(Call::parse(b"{\"method\":\"\xff\"}").is_err());
    }

    #[test]
    fn names_follow_the_interface_grammar() {
        for good in [
            "a.b.C",
            "org.varlink.service.GetInfo",
            "com.a-b.c2.D3",
            "x1.y.Z",
        ] {
            assert!(split_name(good).is_ok(), "{good}");
        }
        let bad = [
            "",
            ".",
            "a",
            "a.B",
            "a.b.c",
            "a..B",
            "1a.b.C",
            "a.-b.C",
            "a.b-.C",
            "a.b.C-",
            "a.b.C.",
            "a.b .C",
            "\u{e4}.b.C",
            "a.b.\u{c4}",
        ];
        for bad in bad {
            assert!(split_name(bad).is_err(), "{bad}");
        }
        assert!(split_name(&format!("a.{}.C", "b".repeat(NAME_LIMIT))).is_err());
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        let rows = [
            (r#"{}"#, "name"),
            (r#"{"name":5}"#, "name"),
            (r#"{"name":"a","arguments":["x",5]}"#, "arguments"),
            (r#"{"name":"a","within":-1}"#, "within"),
            (r#"{"name":"a","wihtin":1}"#, "wihtin"),
        ];
        for (parameters, name) in rows {
            let call = call(&format!(
                r#"{{"method":"a.b.C","parameters":{parameters}}}"#
            ))
            .unwrap();
            let parameter = name.to_owned();
            assert_eq!(
                call.parameters_as::<Start>(),
                Err(ServiceError::InvalidParameter { parameter }),
                "{parameters}"
            );
        }
        let good = call(r#"{"method":"a.b.C","parameters":{"name":"a","within":null}}"#).unwrap();
        let expected = Start {
            name: "a".to_owned(),
            arguments: Vec::new(),
            within: None,
        };
        assert_eq!(good.parameters_as::<Start>(), Ok(expected));
        let reply = Reply::new(json!({"name": 5})).unwrap();
        assert_eq!(
            reply.parameters_as::<Start>().unwrap_err().to_string(),
            "not a Varlink reply: parameter 'name': invalid type: integer `5`, expected a string"
        );
    }

    #[test]
    fn every_service_error_survives_the_wire() {
        let errors = [
            ServiceError::InterfaceNotFound {
                interface: "a.b".to_owned(),
            },
            ServiceError::MethodNotFound {
                method: "a.b.C".to_owned(),
            },
            ServiceError::MethodNotImplemented {
                method: "a.b.C".to_owned(),
            },
            ServiceError::InvalidParameter {
                parameter: "x".to_owned(),
            },
            ServiceError::PermissionDenied,
            ServiceError::ExpectedMore,
        ];
        for error in errors {
            let bytes = serde_json::to_vec(&error.to_reply()).unwrap();
            let reply = Reply::parse(&bytes).unwrap();
            assert_eq!(ServiceError::from_reply(&reply), Some(error));
        }
        let text = serde_json::to_string(&ServiceError::PermissionDenied.to_reply()).unwrap();
        assert_eq!(text, r#"{"error":"org.varlink.service.PermissionDenied"}"#);
        let other = Reply::error("org.arrivald.Services.NoSuchService", Map::new());
        assert_eq!(ServiceError::from_reply(&other), None);
    }

    #[test]
    fn replies_are_written_without_what_is_absent() {
        let write = |reply: Reply| serde_json::to_string(&reply).unwrap();
        assert_eq!(write(Reply::new(()).unwrap()), "{}");
        assert_eq!(
            write(Reply::more(json!({"a": 1})).unwrap()),
            r#"{"parameters":{"a":1},"continues":true}"#
        );
        assert!(Reply::new(5).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Call::parse(&bytes);
            let _ = Reply::parse(&bytes);
        }

        #[test]
        fn no_damage_to_a_call_makes_the_parser_panic(
            at in 0usize..70, byte in any::<u8>(), length in 0usize..90,
        ) {
            let mut bytes =
                br#"{"method":"org.a.B","parameters":{"a":{"b":[1,"x",null]}},"more":true}"#.to_vec();
            bytes[at] = byte;
            bytes.truncate(length);
            if let Ok(call) = Call::parse(&bytes) {
                let written = serde_json::to_vec(&call).unwrap();
                prop_assert_eq!(Call::parse(&written), Ok(call));
            }
        }
    }
}
