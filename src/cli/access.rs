//! Flags about the deployments' accounts, of every command that goes to a deployment.

use crate::config::{Layer, TlsMode};

/// No password among them: a command line shows in the process list. See docs/configuration.md.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct AccessFlags {
    /// The account on the deployments [default: the control database's]
    #[arg(long, value_name = "USER")]
    deployment_user: Option<String>,
    /// How the way to the deployments is protected, as MySQL's clients name it [default: PREFERRED]
    #[arg(long, value_name = "MODE", ignore_case = true, value_parser = TlsMode::ALL.map(TlsMode::name))]
    deployment_ssl_mode: Option<String>,
    /// The authority's certificate (PEM) for VERIFY_CA and VERIFY_IDENTITY
    #[arg(long, value_name = "FILE")]
    deployment_ssl_ca: Option<std::path::PathBuf>,
}

impl AccessFlags {
    pub fn layer(&self) -> Layer {
        let authority = self.deployment_ssl_ca.as_ref();
        Layer::named("the command line")
            .with("deployment.user", self.deployment_user.clone())
            .with("deployment.ssl_mode", self.deployment_ssl_mode.clone())
            .with(
                "deployment.ssl_ca",
                authority.map(|path| path.display().to_string()),
            )
    }
}
