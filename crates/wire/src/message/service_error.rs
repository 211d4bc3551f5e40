//! The errors of `org.varlink.service`.

use serde_json::{Map, Value, json};

use super::{Reply, SERVICE_INTERFACE};

/// The errors that every Varlink service may answer with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// No such interface.
    #[error("there is no interface '{interface}'")]
    InterfaceNotFound {
        /// The interface that was asked for.
        interface: String,
    },
    /// No such method in the interface.
    #[error("there is no method '{method}'")]
    MethodNotFound {
        /// The method that was asked for.
        method: String,
    },
    /// The method is described but not there.
    #[error("the method '{method}' is not implemented")]
    MethodNotImplemented {
        /// The method that was asked for.
        method: String,
    },
    /// A parameter is missing or has a wrong value.
    #[error("the parameter '{parameter}' is missing or wrong")]
    InvalidParameter {
        /// Its name.
        parameter: String,
    },
    /// The caller may not do this.
    #[error("permission denied")]
    PermissionDenied,
    /// The method has many replies, and the call did not say `more`.
    #[error("the call must say 'more'")]
    ExpectedMore,
}

impl ServiceError {
    /// The error as a reply.
    pub fn to_reply(&self) -> Reply {
        let (name, key, value) = match self {
            ServiceError::InterfaceNotFound { interface } => {
                ("InterfaceNotFound", "interface", interface.as_str())
            }
            ServiceError::MethodNotFound { method } => {
                ("MethodNotFound", "method", method.as_str())
            }
            ServiceError::MethodNotImplemented { method } => {
                ("MethodNotImplemented", "method", method.as_str())
            }
            ServiceError::InvalidParameter { parameter } => {
                ("InvalidParameter", "parameter", parameter.as_str())
            }
            ServiceError::PermissionDenied => ("PermissionDenied", "", ""),
            ServiceError::ExpectedMore => ("ExpectedMore", "", ""),
        };
        let mut parameters = Map::new();
        if !key.is_empty() {
            parameters.insert(key.to_owned(), json!(value));
        }
        Reply::error(format!("{SERVICE_INTERFACE}.{name}"), parameters)
    }

    /// The error in a reply, if it is one of these.
    pub fn from_reply(reply: &Reply) -> Option<Self> {
        let (interface, name) = reply.error.as_deref()?.rsplit_once('.')?;
        if interface != SERVICE_INTERFACE {
            return None;
        }
        let text = |key: &str| {
            let value = reply.parameters.get(key).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        Some(match name {
            "InterfaceNotFound" => ServiceError::InterfaceNotFound {
                interface: text("interface"),
            },
            "MethodNotFound" => ServiceError::MethodNotFound {
                method: text("method"),
            },
            "MethodNotImplemented" => ServiceError::MethodNotImplemented {
                method: text("method"),
            },
            "InvalidParameter" => ServiceError::InvalidParameter {
                parameter: text("parameter"),
            },
            "PermissionDenied" => ServiceError::PermissionDenied,
            "ExpectedMore" => ServiceError::ExpectedMore,
            _ => return None,
        })
    }
}
