//! One server for several processes: the tests of a run.
//!
//! A pointer file names the folder of the server that was started last. Whoever wants it opens the lifeline
//! in that folder; nobody counts users, the kernel does.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{ServerError, file_error};
use super::find::{blocking, lock};
use super::options::ServerOptions;
use super::process::{ProcessServer, write_private};
use super::program::Program;
use super::supervisor::Lifeline;
use crate::config::Secret;

/// In the private folder of a shared server, for its owner only.
#[derive(Serialize, Deserialize)]
struct Address {
    port: u16,
    password: String,
}

pub(super) async fn join_or_start(
    pointer: &Path,
    program: &Program,
    options: &ServerOptions,
) -> Result<ProcessServer, ServerError> {
    let lock_path = pointer.with_extension("lock");
    let lock = blocking(move || lock(&lock_path)).await?;
    if let Some(server) = join(pointer, program)
        && server.administrator().probe().await.is_ok()
    {
        return Ok(server);
    }
    let mut server = ProcessServer::start(program, options).await?;
    server.share();
    let folder = server.folder();
    let address = Address {
        port: server.port(),
        password: server.password().expose().to_owned(),
    };
    let address = serde_json::to_string(&address).expect("an address is plain JSON");
    write_private(&folder.join("address"), &address)?;
    write_private(&folder.join("open"), "")?;
    fs::write(pointer, folder.as_os_str().as_encoded_bytes())
        .map_err(file_error("cannot be written:", pointer))?;
    drop(lock);
    Ok(server)
}

fn join(pointer: &Path, program: &Program) -> Option<ProcessServer> {
    let folder = PathBuf::from(fs::read_to_string(pointer).ok()?);
    let lifeline = Lifeline::join(&folder)?;
    // Looked for after the lifeline is ours: see supervisor.sh.
    if !folder.join("open").exists() {
        return None;
    }
    let address = fs::read_to_string(folder.join("address")).ok()?;
    let address: Address = serde_json::from_str(&address).ok()?;
    Some(ProcessServer::joined(
        lifeline,
        program.clone(),
        folder,
        address.port,
        Secret::new(address.password),
    ))
}
