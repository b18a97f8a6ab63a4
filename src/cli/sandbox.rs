//! A throw-away fleet: a control server and deployments with a table each, one account for all of them.

use sqlx::{AssertSqlSafe, Executor as _};

use super::{CliError, Global, output};
use crate::config::{ConnectionSettings, DEFAULT_SCHEMA, Secret};
use crate::server::{Server, ServerOptions};
use crate::{install, load};

/// The application's schema on each deployment; its table is `orders`.
const SHOP: &str = "shop";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many deployments
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    deployments: u8,
    /// How many rows shop.orders has on each
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(0..=100_000_000))]
    rows: u64,
}

/// A control server and deployments, until Ctrl-C.
pub(super) async fn run(global: &Global, args: Args) -> Result<(), CliError> {
    // Listened for from the beginning: Ctrl-C while servers start removes them too.
    tokio::select! {
        ended = fleet(global, args) => ended,
        () = wait_for_end() => Ok(()),
    }
}

async fn fleet(global: &Global, args: Args) -> Result<(), CliError> {
    if !global.json {
        output::note(&format!(
            "Starting {} MySQL servers; the first time, one is fetched.",
            u16::from(args.deployments) + 1
        ));
    }
    let starts = (0..=args.deployments).map(|number| {
        let name = match number {
            0 => "control".to_owned(),
            number => format!("cell-{number}"),
        };
        async move {
            let server = Server::start(ServerOptions::durable(&name)).await?;
            Ok::<_, CliError>((name, server))
        }
    });
    let servers = futures_util::future::try_join_all(starts).await?;
    let [(_, control), deployments @ ..] = servers.as_slice() else {
        return Err(CliError::failed("no control server was started"));
    };
    let settings = control.administrator().clone().with_schema(DEFAULT_SCHEMA);
    install::install(&settings)
        .await
        .map_err(|error| CliError::install(&settings, error))?;
    let password = &settings.credentials.password;
    let places: Vec<_> = futures_util::future::try_join_all(
        deployments
            .iter()
            .map(|(_, server)| prepare(server.administrator(), password, args.rows)),
    )
    .await?;
    let mut session = settings
        .connect()
        .await
        .map_err(|error| CliError::database(&settings, &error))?;
    for (position, ((name, _), place)) in deployments.iter().zip(&places).enumerate() {
        sqlx::query("CALL deployment_register(?, ?, ?, ?, NULL)")
            .bind(name)
            .bind(position as u64)
            .bind(&place.host)
            .bind(place.port)
            .execute(&mut session)
            .await
            .map_err(|error| CliError::database(&settings, &error))?;
    }
    drop(session);
    let names = deployments.iter().map(|(name, _)| name.as_str());
    show(global, &settings, &names.zip(&places).collect::<Vec<_>>());
    std::future::pending().await
}

/// The account of the control server, so that one address serves for all, and a table to change.
async fn prepare(
    administrator: &ConnectionSettings,
    password: &Secret,
    rows: u64,
) -> Result<ConnectionSettings, CliError> {
    let failed = |error: sqlx::Error| CliError::database(administrator, &error);
    let mut session = administrator.connect().await.map_err(failed)?;
    for statement in [
        "SET SESSION sql_log_bin = 0".to_owned(),
        // Hexadecimal: it needs no quoting.
        format!("ALTER USER USER() IDENTIFIED BY '{}'", password.expose()),
        "SET SESSION sql_log_bin = 1".to_owned(),
        format!("CREATE DATABASE {SHOP}"),
        format!("USE {SHOP}"),
        load::create_table().to_owned(),
    ] {
        session
            .execute(AssertSqlSafe(statement))
            .await
            .map_err(failed)?;
    }
    load::fill(&mut session, rows)
        .await
        .map_err(CliError::failed)?;
    session
        .execute("ANALYZE TABLE orders")
        .await
        .map_err(failed)?;
    let mut settings = administrator.clone().with_schema(SHOP);
    settings.credentials.password = password.clone();
    Ok(settings)
}

fn show(global: &Global, control: &ConnectionSettings, places: &[(&str, &ConnectionSettings)]) {
    if global.json {
        let fleet: Vec<_> = places
            .iter()
            .map(|(name, place)| serde_json::json!({"deployment": name, "url": url(place)}))
            .collect();
        output::json(&serde_json::json!({"control": url(control), "deployments": fleet}));
        return;
    }
    output::line(&format!("export LOCKKEEPER_URL='{}'", url(control)));
    for (name, place) in places {
        output::line(&format!("# {name}: {}", url(place)));
    }
    output::line(
        "# In another terminal, after that export:\n\
         #   lockkeeper submit --schema shop -e 'ALTER TABLE orders MODIFY note LONGTEXT'\n\
         #   lockkeeper drive &\n\
         #   lockkeeper watch\n\
         # Ctrl-C stops and removes these servers.",
    );
}

/// With the password: these servers exist to be played with, and go with this process.
fn url(settings: &ConnectionSettings) -> String {
    settings.url().expose().to_owned()
}

async fn wait_for_end() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated.recv() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
