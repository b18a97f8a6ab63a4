//! One mysqld on this machine: which version it is, how it is run, and an initialised data folder to copy.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use super::error::{ServerError, file_error};
use super::find::{cache_folder, lock};
use crate::server_version::{OLDEST, Version};

/// A mysqld that was asked for its version and is MySQL.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    version: Version,
    /// Set for an unpacked tree: the paths compiled into mysqld lead nowhere there.
    tree: Option<PathBuf>,
}

impl Program {
    /// Asks the program itself; the reason is for people.
    pub(super) fn examine(path: &Path) -> Result<Self, String> {
        let answer = Command::new(path)
            .args(["--no-defaults", "--version"])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        if text.contains("MariaDB") {
            return Err(format!("{} is MariaDB", path.display()));
        }
        let version = parse_version(&text)
            .ok_or_else(|| format!("{} tells no version ({})", path.display(), text.trim()))?;
        if version < OLDEST {
            return Err(format!(
                "{} is version {version}, older than {OLDEST}",
                path.display()
            ));
        }
        let tree = path.parent().map(|folder| folder.join("root"));
        Ok(Self {
            path: path.to_owned(),
            version,
            tree: tree.filter(|tree| tree.join("usr/share/mysql").is_dir()),
        })
    }

    pub fn version(&self) -> Version {
        self.version
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A program that came with the server, such as `mysql`; `None` where it did not.
    pub fn tool(&self, name: &str) -> Option<Command> {
        let Some(tree) = &self.tree else {
            let beside = self.path.with_file_name(name);
            let bin = self.path.parent()?.parent()?.join("bin").join(name);
            let found = [beside, bin].into_iter().find(|path| path.is_file())?;
            return Some(Command::new(found));
        };
        let tool = tree.join("usr/bin").join(name);
        if !tool.is_file() {
            return None;
        }
        // The tree has its own C library: started as its launchers do.
        let entries = |folder: PathBuf| {
            let mut paths: Vec<PathBuf> = fs::read_dir(folder)
                .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
                .unwrap_or_default();
            paths.sort();
            paths
        };
        let named = |path: &Path, prefix: &str, suffix: &str| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(prefix) && name.contains(suffix))
        };
        let loader = ["usr/lib64", "usr/lib"]
            .into_iter()
            .flat_map(|folder| entries(tree.join(folder)))
            .find(|path| named(path, "ld-linux-", ".so."))?;
        let mut libraries = vec![tree.join("usr/lib")];
        libraries.extend(
            entries(tree.join("usr/lib"))
                .into_iter()
                .filter(|path| path.is_dir() && named(path, "", "-linux-gnu")),
        );
        libraries.push(tree.join("usr/lib/mysql/private"));
        let mut command = Command::new(loader);
        command
            .arg("--library-path")
            .arg(std::env::join_paths(libraries).ok()?)
            .arg(tool);
        Some(command)
    }

    /// The arguments that every run of this program needs, before any other.
    pub(super) fn arguments(&self, data: &Path) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--no-defaults".into()];
        arguments.push(option("--datadir=", data));
        if let Some(tree) = &self.tree {
            let share = tree.join("usr/share/mysql");
            arguments.push(option("--lc-messages-dir=", &share));
            arguments.push(option("--character-sets-dir=", &share.join("charsets")));
            arguments.push(option("--plugin-dir=", &tree.join("usr/lib/mysql/plugin")));
        }
        // mysqld refuses to run as root unless told so.
        if rustix::process::geteuid().is_root() {
            arguments.push("--user=root".into());
        }
        arguments
    }

    /// An initialised, empty data folder to copy from, made once for each version and for what is settled then.
    pub(super) fn template(&self, settled: &[&String]) -> Result<PathBuf, ServerError> {
        let cache = cache_folder()?;
        let mut digest = Sha256::new_with_prefix(self.path.as_os_str().as_encoded_bytes());
        for flag in settled {
            digest.update(flag);
        }
        let digest = hex::encode(digest.finalize());
        let template = cache.join(format!("datadir-{}-{}", self.version, &digest[..8]));
        if template.is_dir() {
            return Ok(template);
        }
        let _lock = lock(&cache.join("datadir.lock"))?;
        if template.is_dir() {
            return Ok(template);
        }
        let work = tempfile::Builder::new()
            .prefix("datadir-")
            .tempdir_in(&cache)
            .map_err(file_error("a folder cannot be made in", &cache))?;
        let data = work.path().join("data");
        let output = Command::new(&self.path)
            .args(self.arguments(&data))
            .args([
                "--initialize-insecure",
                "--loose-innodb-redo-log-capacity=8M",
                "--secure-file-priv=NULL",
            ])
            .args(settled)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| ServerError::Spawn {
                program: self.path.display().to_string(),
                source,
            })?;
        if !output.status.success() {
            return Err(ServerError::Initialize {
                program: self.path.clone(),
                log: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            });
        }
        // Each copy is a server of its own and makes its own name and its own keys.
        for file in fs::read_dir(&data)
            .map_err(file_error("cannot be read:", &data))?
            .flatten()
        {
            let path = file.path();
            let is_key = path.extension().is_some_and(|extension| extension == "pem");
            if is_key || path.file_name().is_some_and(|name| name == "auto.cnf") {
                fs::remove_file(&path).map_err(file_error("cannot be removed:", &path))?;
            }
        }
        fs::rename(&data, &template).map_err(file_error("cannot be put in place:", &template))?;
        Ok(template)
    }
}

pub(super) fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}

/// `mysqld  Ver 9.7.4 for Linux …`
fn parse_version(text: &str) -> Option<Version> {
    let number = text.split("Ver ").nth(1)?.split_whitespace().next()?;
    Version::of(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_what_mysqld_says() {
        let said = "/x/mysqld  Ver 8.0.22-0ubuntu0.20.04.1 for Linux on x86_64 ((Ubuntu))";
        assert_eq!(parse_version(said), Some(Version(8, 0, 22)));
        assert!(Version(8, 4, 0) > OLDEST && Version(8, 0, 21) < OLDEST);
        assert_eq!(parse_version("mysqld: not found"), None);
    }
}
