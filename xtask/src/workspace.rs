//! Where the workspace is, and cargo in it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    let here = PathBuf::from(here);
    here.parent().map_or(here.clone(), Path::to_path_buf)
}

/// The folder that cargo builds into.
pub(crate) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// Cargo in the workspace, without the variables of the cargo that runs this program.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(root()).stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// The executables that were built.
pub(crate) struct Programs {
    /// The command line.
    pub(crate) arrival: PathBuf,
    /// The manager.
    pub(crate) arrivald: PathBuf,
}

/// Builds the command line and the manager in a profile of the workspace.
pub(crate) fn build(profile: &str) -> Outcome<Programs> {
    let output = cargo()
        .args(["build", "--workspace", "--bins", "--profile", profile])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the programs could not be built".into());
    }
    let found = |name: &str| {
        executable(&String::from_utf8_lossy(&output.stdout), name)
            .ok_or_else(|| format!("cargo built no executable '{name}'"))
    };
    Ok(Programs {
        arrival: found("arrival")?,
        arrivald: found("arrivald")?,
    })
}

/// The path of an executable in cargo's messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let path = PathBuf::from(message.get("executable")?.as_str()?);
        (path.file_name()? == name).then_some(path)
    })
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_is_found_in_cargos_messages() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"executable\":null}\n",
            "{\"reason\":\"compiler-artifact\",\"executable\":\"/t/debug/arrivald\"}\n",
            "{\"reason\":\"compiler-artifact\",\"executable\":\"/t/debug/arrival\"}\n",
        );
        let found = executable(messages, "arrival");
        assert_eq!(found, Some(PathBuf::from("/t/debug/arrival")));
        assert_eq!(executable(messages, "xtask"), None);
    }
}
