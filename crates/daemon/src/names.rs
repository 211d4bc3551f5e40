//! Whom services run as: looked up once, by a short-lived child, before anything is started.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrival_linux::host::Credentials;
use arrival_linux::host::identity::{self, IdentityError};
use arrival_model::definition::Definition;

/// Whom a service runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    /// The value of USER.
    pub(crate) user: String,
    /// The value of HOME.
    pub(crate) home: String,
    /// The ids to change to; none keeps the daemon's.
    pub(crate) credentials: Option<Credentials>,
}

/// A user and group that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NameError {
    #[error(transparent)]
    Unknown(#[from] IdentityError),
    #[error("cannot run with group '{0}': this daemon is not root")]
    NotRoot(String),
    #[error("cannot run with a user of its own: this daemon is not root")]
    NotRootForOwn,
}

type Key = (Option<String>, Option<String>);

/// What was looked up so far.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: Mutex<BTreeMap<Key, Arc<Person>>>,
}

impl Names {
    /// Whom the service runs as; looks it up, which may take seconds, unless it is known.
    pub(crate) fn of(&self, definition: &Definition) -> Result<Arc<Person>, NameError> {
        if definition.user.as_deref() == Some("own") {
            return own(definition).map(Arc::new);
        }
        let key = (definition.user.clone(), definition.group.clone());
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(person) = known.get(&key) {
            return Ok(Arc::clone(person));
        }
        drop(known);
        let person = Arc::new(look_up(key.0.as_deref(), key.1.as_deref())?);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key, Arc::clone(&person));
        Ok(person)
    }

    /// Forgets everything, so that changed users are looked up again.
    pub(crate) fn forget(&self) {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// A user that nobody else is, made for the service: it has an id, and no entry anywhere.
fn own(definition: &Definition) -> Result<Person, NameError> {
    if !rustix::process::geteuid().is_root() {
        return Err(NameError::NotRootForOwn);
    }
    let id = definition.name.own_id();
    let gid = definition
        .group
        .as_deref()
        .map_or(Ok(id), identity::group)?;
    Ok(Person {
        user: definition.name.to_string(),
        home: "/".to_owned(),
        credentials: Some(Credentials {
            uid: id,
            gid,
            groups: vec![gid],
        }),
    })
}

fn look_up(user: Option<&str>, group: Option<&str>) -> Result<Person, NameError> {
    let found = match user {
        Some(user) => identity::resolve(user)?,
        None => identity::current(),
    };
    let mut credentials = match user {
        Some(_) => found.credentials(),
        None => None,
    };
    if let Some(group) = group {
        let gid = identity::group(group)?;
        if rustix::process::geteuid().is_root() {
            let mut ids = credentials.unwrap_or(Credentials {
                uid: found.uid,
                gid,
                groups: found.groups,
            });
            ids.gid = gid;
            if !ids.groups.contains(&gid) {
                ids.groups.push(gid);
            }
            credentials = Some(ids);
        } else if rustix::process::getegid().as_raw() != gid {
            return Err(NameError::NotRoot(group.to_owned()));
        }
    }
    Ok(Person {
        user: found.name,
        home: found.home.to_string_lossy().into_owned(),
        credentials,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_service_without_a_user_keeps_the_daemons_identity() {
        let definition = Definition::new("a".parse().unwrap(), vec!["/bin/true".into()]);
        let names = Names::default();
        let person = names.of(&definition).unwrap();
        assert_eq!(person.credentials, None);
        assert!(Arc::ptr_eq(&person, &names.of(&definition).unwrap()));
    }

    #[test]
    fn an_unknown_user_is_named() {
        let mut definition = Definition::new("a".parse().unwrap(), vec!["/bin/true".into()]);
        definition.user = Some("no-such-user-here".into());
        let error = Names::default().of(&definition).unwrap_err();
        assert_eq!(error.to_string(), "user 'no-such-user-here' does not exist");
    }
}
