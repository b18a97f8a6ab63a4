//! Where a server can come from on this machine, in the order that is tried.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::container;
use super::error::{ServerError, file_error};
use super::packages;
use super::program::Program;

/// What a private server can be started from.
#[derive(Clone, Debug)]
pub enum Source {
    Program(Program),
    /// An image that is present, or can be pulled.
    Container(String),
}

/// mysqld on PATH or unpacked before, else a container, else Debian's packages (about 100 MB, once).
///
/// Answered once for each process.
pub async fn find() -> Result<Source, ServerError> {
    static FOUND: OnceLock<Source> = OnceLock::new();
    if let Some(source) = FOUND.get() {
        return Ok(source.clone());
    }
    let source = search().await?;
    Ok(FOUND.get_or_init(|| source).clone())
}

/// Names the only kind of source to use: `program`, `container` or `packages`.
const SOURCE_VARIABLE: &str = "LOCKKEEPER_SERVER";

async fn search() -> Result<Source, ServerError> {
    let only = std::env::var(SOURCE_VARIABLE).unwrap_or_default();
    if !matches!(only.as_str(), "" | "program" | "container" | "packages") {
        return Err(ServerError::UnknownSource { value: only });
    }
    let wanted = |source: &str| only.is_empty() || only == source;
    let mut tried = Vec::new();
    let unpacked = cache_folder()?.join("mysql");
    let candidates = if wanted("program") {
        candidates(&unpacked)
    } else {
        Vec::new()
    };
    for path in candidates {
        match blocking(move || Program::examine(&path)).await {
            Ok(program) => return Ok(Source::Program(program)),
            Err(reason) => tried.push(format!("- {reason}")),
        }
    }
    if tried.is_empty() && wanted("program") {
        tried.push("- no mysqld on PATH, none unpacked by an earlier run".to_owned());
    }
    if wanted("container") {
        match container::available().await {
            Ok(image) => return Ok(Source::Container(image)),
            Err(reason) => tried.push(format!("- no container: {reason}")),
        }
    }
    if !wanted("packages") {
        return Err(ServerError::Nothing { tried });
    }
    match blocking(move || packages::unpack(&unpacked)).await {
        Ok(path) => Program::examine(&path)
            .map(Source::Program)
            .map_err(|reason| ServerError::Nothing {
                tried: vec![format!("- {reason}")],
            }),
        Err(error) => {
            tried.push(format!("- {error}"));
            Err(ServerError::Nothing { tried })
        }
    }
}

/// Each mysqld in sight. Servers are often outside of a user's PATH.
fn candidates(unpacked: &Path) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin", "/usr/local/mysql/bin"].map(PathBuf::from);
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in std::env::split_paths(&path)
        .chain(usual)
        .chain([unpacked.to_owned()])
    {
        let file = folder.join("mysqld");
        if file.is_file() && !found.contains(&file) {
            found.push(file);
        }
    }
    found
}

/// The user's own cache: what is unpacked or initialised once.
pub(super) fn cache_folder() -> Result<PathBuf, ServerError> {
    let folder = directories::ProjectDirs::from("", "", "lockkeeper")
        .ok_or(ServerError::NoCacheFolder)?
        .cache_dir()
        .to_owned();
    std::fs::create_dir_all(&folder).map_err(file_error("cannot be made:", &folder))?;
    Ok(folder)
}

/// Held until dropped, against other processes too.
pub(super) fn lock(path: &Path) -> Result<File, ServerError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(file_error("cannot be opened:", path))?;
    file.lock().map_err(file_error("cannot be locked:", path))?;
    Ok(file)
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
