//! Files with secrets: ours, and nobody else's to read.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{ConfigError, Secret};

/// Where systemd lays the credentials of a unit (`LoadCredential=`).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The text of a file that `setting` names. Whether others may read it is for [`check`], once it is known to hold a secret.
pub(super) fn read(path: &Path, setting: &str) -> Result<(String, Metadata), ConfigError> {
    let refused = |source: std::io::Error| {
        let us = rustix::process::geteuid().as_raw();
        let owner = std::fs::metadata(path).map(|metadata| metadata.uid());
        match (source.kind(), owner) {
            (std::io::ErrorKind::PermissionDenied, Ok(owner)) if owner != us => {
                ConfigError::FileOwner {
                    path: path.to_owned(),
                    owner,
                    us,
                }
            }
            _ => ConfigError::File {
                path: path.to_owned(),
                setting: setting.to_owned(),
                source,
            },
        }
    };
    let mut file = File::open(path).map_err(refused)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(refused)?;
    // Of the file that was read, whatever has the name by now.
    let metadata = file.metadata().map_err(refused)?;
    Ok((text, metadata))
}

pub(super) fn check(path: &Path, metadata: &Metadata) -> Result<(), ConfigError> {
    let us = rustix::process::geteuid().as_raw();
    let is_credential = lies_below(path, std::env::var_os(CREDENTIALS));
    judge(path, metadata.uid(), metadata.mode(), us, is_credential)
}

fn judge(
    path: &Path,
    owner: u32,
    mode: u32,
    us: u32,
    is_credential: bool,
) -> Result<(), ConfigError> {
    let mode = mode & 0o777;
    // Since version 254 systemd lets the unit's user in with an access control list, whose mask shows as the group's rights.
    if is_credential && owner == 0 && mode & !0o440 == 0 {
        return Ok(());
    }
    if mode & 0o077 != 0 {
        return Err(ConfigError::FileOpen {
            path: path.to_owned(),
            mode,
        });
    }
    // root reads it anyway, and may be somebody who looks after the service.
    if owner != us && us != 0 {
        return Err(ConfigError::FileOwner {
            path: path.to_owned(),
            owner,
            us,
        });
    }
    Ok(())
}

fn lies_below(path: &Path, folder: Option<OsString>) -> bool {
    let Some(folder) = folder.and_then(|folder| std::fs::canonicalize(folder).ok()) else {
        return false;
    };
    std::fs::canonicalize(path).is_ok_and(|path| path.starts_with(folder))
}

/// The first line, without its end.
pub(super) fn read_secret(path: &Path, setting: &str) -> Result<Secret, ConfigError> {
    let (text, metadata) = read(path, setting)?;
    check(path, &metadata)?;
    Ok(Secret::new(text.lines().next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: u32 = 0;
    const SERVICE: u32 = 970;
    const OTHER: u32 = 1000;

    fn judged(owner: u32, mode: u32, us: u32, is_credential: bool) -> Result<(), String> {
        let judged = judge(Path::new("secret"), owner, mode, us, is_credential);
        judged.map_err(|error| error.to_string())
    }

    #[test]
    fn a_private_file_is_read_by_its_owner_and_by_root() {
        for (owner, us) in [(SERVICE, SERVICE), (SERVICE, ROOT), (ROOT, ROOT)] {
            assert_eq!(judged(owner, 0o100_600, us, false), Ok(()));
            assert_eq!(judged(owner, 0o100_400, us, false), Ok(()));
            let refused = judged(owner, 0o100_640, us, false).unwrap_err();
            assert!(refused.contains("chmod 600 secret"), "{refused}");
        }
        let refused = judged(SERVICE, 0o100_600, OTHER, false).unwrap_err();
        assert!(
            refused.contains("sudo -u '#970' lockkeeper") && !refused.contains("chown"),
            "{refused}"
        );
    }

    #[test]
    fn a_credential_of_systemd_may_be_roots_and_readable_by_a_list() {
        for mode in [0o100_440, 0o100_400] {
            assert_eq!(judged(ROOT, mode, SERVICE, true), Ok(()));
            assert!(judged(ROOT, mode, SERVICE, false).is_err());
            assert!(judged(OTHER, mode, SERVICE, true).is_err());
        }
        for mode in [0o100_444, 0o100_460] {
            assert!(judged(ROOT, mode, SERVICE, true).is_err());
        }
    }

    #[test]
    fn a_credential_lies_in_the_folder_itself_and_not_behind_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let credentials = folder.path().join("credentials");
        std::fs::create_dir(&credentials).expect("made");
        let (inside, outside) = (credentials.join("eu-1"), folder.path().join("eu-1"));
        for path in [&inside, &outside] {
            std::fs::write(path, "secret").expect("written");
        }
        let link = credentials.join("link");
        std::os::unix::fs::symlink(&outside, &link).expect("linked");
        let below = |path| lies_below(path, Some(credentials.clone().into_os_string()));
        assert!(below(&inside));
        assert!(!below(&outside) && !below(&link));
        assert!(!lies_below(&inside, None) && !lies_below(&inside, Some("".into())));
    }
}
