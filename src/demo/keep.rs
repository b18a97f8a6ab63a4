//! Servers that stay after the demo, and how to look at them.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::servers::Fleet;
use crate::config::ConnectionSettings;
use crate::server::Server;

/// Lets go of the servers; the text says how to connect, what to look at, and how to end them.
pub(super) fn keep(fleet: Fleet) -> anyhow::Result<String> {
    let folder = tempfile::Builder::new()
        .prefix("lockkeeper-demo-")
        .tempdir()
        .context("a folder for the option files")?
        .keep();
    let client = client(&fleet.control_server);
    let mut text =
        String::from("\nThe servers stay. Each has an option file with address and password:\n");
    let control = option_file(&folder, "control", &fleet.control)?;
    let _ = writeln!(
        text,
        "\n  # the control database\n  {client} --defaults-file={} {}",
        control.display(),
        fleet.control.schema()
    );
    for deployment in &fleet.deployments {
        let file = option_file(&folder, &deployment.name, &deployment.administrator)?;
        let _ = writeln!(
            text,
            "\n  # {}\n  {client} --defaults-file={} {}",
            deployment.name,
            file.display(),
            deployment.administrator.schema()
        );
    }
    let _ = write!(
        text,
        "\nTo look at, in the control database:\n\
         \x20 SELECT * FROM operation_status ORDER BY position;\n\
         \x20 SELECT occurred_at, deployment, actor, event, from_state, to_state, detail FROM event_log ORDER BY event_id;\n\
         \x20 SELECT * FROM health;   -- empty when all is well\n\
         \nTo end and remove them:\n  {}",
        end_command(&fleet, &folder)
    );
    let Fleet {
        control_server,
        deployments,
        ..
    } = fleet;
    control_server.leave_running();
    for deployment in deployments {
        deployment.server.leave_running();
    }
    Ok(text)
}

/// The client that came with the server, where it is not on PATH.
fn client(server: &Server) -> String {
    let launcher = server
        .program()
        .map(|program| program.path().with_file_name("mysql"))
        .filter(|path| path.is_file());
    launcher.map_or_else(|| "mysql".to_owned(), |path| path.display().to_string())
}

/// Only its owner reads it.
fn option_file(
    folder: &Path,
    name: &str,
    settings: &ConnectionSettings,
) -> anyhow::Result<PathBuf> {
    let path = folder.join(format!("{name}.cnf"));
    let text = format!(
        "[client]\nhost={}\nport={}\nprotocol=TCP\nuser={}\npassword={}\n",
        settings.host,
        settings.port,
        settings.credentials.user,
        settings.credentials.password.expose()
    );
    File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| path.display().to_string())?;
    Ok(path)
}

fn end_command(fleet: &Fleet, folder: &Path) -> String {
    let servers: Vec<&Server> = std::iter::once(&fleet.control_server)
        .chain(
            fleet
                .deployments
                .iter()
                .map(|deployment| &deployment.server),
        )
        .collect();
    let pids: Vec<String> = servers
        .iter()
        .filter_map(|server| server.pid())
        .map(|pid| pid.to_string())
        .collect();
    let containers: Vec<&str> = servers
        .iter()
        .filter_map(|server| server.container())
        .collect();
    let folders: Vec<String> = servers
        .iter()
        .filter_map(|server| server.folder())
        .chain([folder])
        .map(|folder| folder.display().to_string())
        .collect();
    let end = match containers[..] {
        [] => format!("kill {} && sleep 5", pids.join(" ")),
        _ => format!("docker rm --force --volumes {}", containers.join(" ")),
    };
    format!("{end}; rm -r {}", folders.join(" "))
}
