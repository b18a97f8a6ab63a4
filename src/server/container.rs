//! A server in a container, where Docker answers.
//!
//! testcontainers starts it. Its removal hangs on a pipe that a `docker rm` waits at, because a destructor
//! runs neither for a killed process nor for what a test binary holds to its end.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testcontainers::core::{IntoContainerPort as _, WaitFor};
use testcontainers::runners::AsyncRunner as _;
use testcontainers::{CopyDataSource, GenericImage, ImageExt as _};

use super::error::ServerError;
use super::find::blocking;
use super::options::ServerOptions;
use super::process::{account_statements, free_port};
use super::supervisor::stand_by;
use super::{POLL, START_DEADLINE, root};
use crate::config::{ConnectionSettings, Secret};

/// Names the image to run.
const IMAGE_VARIABLE: &str = "LOCKKEEPER_MYSQL_IMAGE";
/// Made by docker/debian-mysql.sh.
const OWN_IMAGE: &str = "lockkeeper-mysql";
const PUBLIC_IMAGE: &str = "mysql:9";
const INIT_FILE: &str = "/tmp/lockkeeper-init.sql";

/// The image to run: present, or pulled now. The reason is for people.
pub(super) async fn available() -> Result<String, String> {
    blocking(|| {
        docker(&["version", "--format", "{{.Server.Version}}"])?;
        let named = std::env::var(IMAGE_VARIABLE)
            .ok()
            .filter(|name| !name.is_empty());
        let candidates = match &named {
            Some(name) => vec![name.as_str()],
            None => vec![OWN_IMAGE, PUBLIC_IMAGE],
        };
        for image in &candidates {
            if docker(&["image", "inspect", image]).is_ok() {
                return Ok((*image).to_owned());
            }
        }
        let image = named.as_deref().unwrap_or(PUBLIC_IMAGE);
        docker(&["pull", "--quiet", image])?;
        Ok(image.to_owned())
    })
    .await
}

/// Runs the docker client; its complaint if it has one.
fn docker(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("docker: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(said.lines().next().unwrap_or("docker failed").to_owned())
    }
}

#[derive(Debug)]
pub(super) struct ContainerServer {
    remover: Remover,
    id: String,
    port: u16,
    password: Secret,
}

impl ContainerServer {
    pub(super) async fn start(image: &str, options: &ServerOptions) -> Result<Self, ServerError> {
        let password = Secret::new(hex::encode(rand::random::<[u8; 20]>()));
        let port = free_port();
        let (name, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let mut arguments = options.arguments();
        let request = GenericImage::new(name, tag)
            .with_wait_for(WaitFor::Nothing)
            // A fixed port, so that a restart finds it again.
            .with_mapped_port(port, 3306.tcp())
            .with_label("lockkeeper", &options.name);
        let request = if name == OWN_IMAGE {
            arguments.push(format!("--init-file={INIT_FILE}"));
            let init = account_statements(&password, "%");
            request.with_copy_to(INIT_FILE, CopyDataSource::Data(init.into_bytes()))
        } else {
            // How the entry points of public images take it.
            request
                .with_env_var("MYSQL_ROOT_PASSWORD", password.expose())
                .with_env_var("MYSQL_ROOT_HOST", "%")
        };
        let container = request
            .with_cmd(arguments)
            .start()
            .await
            .map_err(|error| ServerError::Container(error.to_string()))?;
        let id = container.id().to_owned();
        let remover = Remover::of(&id)?;
        // The remover does it, also where no destructor runs.
        std::mem::forget(container);
        let server = Self {
            remover,
            id,
            port,
            password,
        };
        server.wait_until_ready().await?;
        Ok(server)
    }

    async fn wait_until_ready(&self) -> Result<(), ServerError> {
        let deadline = Instant::now() + START_DEADLINE;
        let settings = self.administrator();
        while let Err(error) = settings.probe().await {
            let running = self.ask(&["container", "top"]).await.is_ok();
            if !running || Instant::now() > deadline {
                return Err(ServerError::Container(format!(
                    "{error}; its log says:\n{}",
                    self.log().await
                )));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    async fn log(&self) -> String {
        let id = self.id.clone();
        blocking(move || {
            let output = Command::new("docker")
                .args(["logs", "--tail", "20", &id])
                .stdin(Stdio::null())
                .output();
            output.map_or_else(
                |error| error.to_string(),
                |output| String::from_utf8_lossy(&output.stderr).into_owned(),
            )
        })
        .await
    }

    /// `docker COMMAND… ID`.
    async fn ask(&self, command: &'static [&'static str]) -> Result<(), ServerError> {
        let id = self.id.clone();
        blocking(move || {
            let mut arguments = command.to_vec();
            arguments.push(&id);
            docker(&arguments)
        })
        .await
        .map_err(ServerError::Container)
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn administrator(&self) -> ConnectionSettings {
        root(self.port, &self.password)
    }

    pub(super) async fn kill(&self) -> Result<(), ServerError> {
        self.ask(&["kill"]).await
    }

    pub(super) async fn restart(&self) -> Result<(), ServerError> {
        self.ask(&["start"]).await?;
        self.wait_until_ready().await
    }

    pub(super) async fn freeze(&self) -> Result<(), ServerError> {
        self.ask(&["pause"]).await
    }

    pub(super) async fn thaw(&self) -> Result<(), ServerError> {
        self.ask(&["unpause"]).await
    }

    pub(super) fn leave_running(self) {
        self.remover.dismiss();
    }
}

/// A process that removes a container once our end of its pipe is closed, by whatever.
#[derive(Debug)]
struct Remover {
    process: Option<Child>,
}

impl Remover {
    fn of(container: &str) -> Result<Self, ServerError> {
        let script = "cat >/dev/null; exec docker rm --force --volumes \"$1\" >/dev/null 2>&1";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh", container]);
        stand_by(&mut shell, Stdio::piped()).map(|process| Self {
            process: Some(process),
        })
    }

    fn dismiss(mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        drop(process.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Ok(None) = process.try_wait()
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
