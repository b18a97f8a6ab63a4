//! The server's refusals as types.

use crate::server_error;

/// The numbers of the refusals; `sql/data/error_code.sql` has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    BadArgument = 50001,
    NotFound = 50002,
    TransactionOpen = 50003,
    LeaseLost = 50101,
    IllegalMove = 50201,
    ApiNotServed = 50401,
    /// Of the printed installation, as the next two.
    InstallRunning = 50402,
    SchemaNewer = 50403,
    SchemaInUse = 50404,
    RefusedNow = 50501,
    TableHeld = 50502,
    NameTaken = 50503,
    PositionTaken = 50504,
}

impl ErrorCode {
    pub const ALL: [Self; 13] = [
        Self::BadArgument,
        Self::NotFound,
        Self::TransactionOpen,
        Self::LeaseLost,
        Self::IllegalMove,
        Self::ApiNotServed,
        Self::InstallRunning,
        Self::SchemaNewer,
        Self::SchemaInUse,
        Self::RefusedNow,
        Self::TableHeld,
        Self::NameTaken,
        Self::PositionTaken,
    ];

    /// What the server sends as the error number.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The name in the table `error_code`.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadArgument => "bad_argument",
            Self::NotFound => "not_found",
            Self::TransactionOpen => "transaction_open",
            Self::LeaseLost => "lease_lost",
            Self::IllegalMove => "illegal_move",
            Self::ApiNotServed => "api_not_served",
            Self::InstallRunning => "install_running",
            Self::SchemaNewer => "schema_newer",
            Self::SchemaInUse => "schema_in_use",
            Self::RefusedNow => "refused_now",
            Self::TableHeld => "table_held",
            Self::NameTaken => "name_taken",
            Self::PositionTaken => "position_taken",
        }
    }
}

/// A call that was refused, or that did not come through.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A procedure refused; the message says value, rule and next step.
    #[error("{message}")]
    Refused { code: ErrorCode, message: String },
    /// The call, or its answer, was lost on the way; whether it took effect is unknown, and asking again is safe.
    #[error("the control database does not answer")]
    Unreachable(#[source] sqlx::Error),
    /// The server said something else.
    #[error("the control database refused a call")]
    Server(#[source] sqlx::Error),
    /// A procedure answered without a row.
    #[error("a procedure of the control database gave no answer; run `lockkeeper doctor`")]
    NoAnswer,
    /// A procedure answered with a word that this program does not know.
    #[error(
        "the control database answered '{0}', which this version does not know; run a newer lockkeeper"
    )]
    Unknown(String),
}

impl ControlError {
    /// Why it was refused, if it was.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Unreachable(_) | Self::Server(_) | Self::NoAnswer | Self::Unknown(_) => None,
        }
    }

    /// Whether the same call may succeed a little later: the connection broke, the primary moved, the server is busy.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Server(error) => server_error::number(error)
                .is_some_and(|number| server_error::may_pass(number) || is_replaced(number)),
            Self::Refused { .. } | Self::NoAnswer | Self::Unknown(_) => false,
        }
    }
}

/// What an upgrade replaces at this moment: a procedure that is away, has other parameters than its caller still passes, or is not yet
/// granted again; a view whose function is away. And what a call that is killed rarely says instead (1105, 1329).
fn is_replaced(number: u16) -> bool {
    matches!(number, 1105 | 1305 | 1318 | 1329 | 1356 | 1370)
}

impl From<sqlx::Error> for ControlError {
    fn from(error: sqlx::Error) -> Self {
        let Some(number) = server_error::number(&error) else {
            return Self::Unreachable(error);
        };
        match ErrorCode::ALL
            .into_iter()
            .find(|code| code.number() == number)
        {
            Some(code) => Self::Refused {
                code,
                message: error
                    .as_database_error()
                    .map(|error| error.message().to_owned())
                    .unwrap_or_default(),
            },
            None => Self::Server(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ErrorCode;
    use crate::install;

    #[test]
    fn the_numbers_are_those_of_the_table_and_all_that_are_raised() {
        let rows = include_str!("../../sql/data/error_code.sql");
        for code in ErrorCode::ALL {
            let row = format!("({}, '{}',", code.number(), code.name());
            assert!(rows.contains(&row), "{row}");
        }
        let listed = rows.lines().filter(|line| line.contains("(50")).count();
        assert_eq!(listed, ErrorCode::ALL.len());

        // The whole of sql/ is in it.
        let printed = install::print("lockkeeper").expect("the set");
        let raised: BTreeSet<u16> = ["_refuse(", "MYSQL_ERRNO = "]
            .iter()
            .flat_map(|before| printed.split(before).skip(1))
            .filter_map(|text| text.get(..5)?.parse().ok())
            .collect();
        let known = ErrorCode::ALL.map(ErrorCode::number);
        assert_eq!(raised, BTreeSet::from(known));
    }
}
