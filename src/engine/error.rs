//! What can go wrong on a deployment, as the driver must answer it.

use std::borrow::Cow;

use super::syntax::quote_table;
use crate::text::cut;
use crate::{server_error, server_version};

/// How the driver answers an [`EngineError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// May pass by itself: report it, give up the operation, try again when due.
    Retryable,
    /// Only a person can change it.
    Permanent,
    /// The lease, or the deployment's fence, belongs to somebody else: touch nothing more.
    LeaseLost,
    /// A swap took place, or nobody knows yet whether it did, and something is left to do: call `cut_over` again. It must not be
    /// reported as one that has failed.
    SwapUnknown,
}

/// A failure of the engine, with a message for people: value, rule, next step.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nothing is wrong with the change; the same call may succeed later.
    #[error("{message}")]
    Retryable {
        /// What happened, and to what.
        message: String,
        /// What the server or the network said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The change cannot go on as it is.
    #[error("{message}")]
    Permanent {
        /// What happened, the rule, and what to do.
        message: String,
        /// What the server said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Somebody else owns the operation now.
    #[error("the lease was lost: {0}")]
    LeaseLost(String),
    /// The reply to a swap was lost and the tables could not be looked at yet; or they have swapped, and the rest is still to do.
    #[error("the swap is not settled yet: {0}; it is looked into again")]
    SwapUnknown(String),
}

/// A message is stored in a column of 1,024 characters, and something may be added to it.
const MESSAGE_CHARACTERS: usize = 800;

impl EngineError {
    /// A failure that may pass by itself.
    pub fn retryable(message: impl Into<String>) -> Self {
        Self::Retryable {
            message: message.into(),
            source: None,
        }
    }

    /// A failure that stays until a person acts.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::Permanent {
            message: message.into(),
            source: None,
        }
    }

    /// What may pass, when it comes after the swap: that took place.
    #[must_use]
    pub fn after_swap(self) -> Self {
        match self {
            Self::Retryable { message, .. } => Self::SwapUnknown(message),
            other => other,
        }
    }

    /// Whatever comes before a swap that may have taken place is looked into: nobody knows yet what it is about.
    #[must_use]
    pub fn of_unsettled(self) -> Self {
        match self {
            Self::Retryable { message, .. } | Self::Permanent { message, .. } => {
                Self::SwapUnknown(message)
            }
            other => other,
        }
    }

    /// Somebody removed one of the tables of a change.
    pub fn table_gone(schema: &str, name: &str) -> Self {
        Self::permanent(format!(
            "the table {} is gone: somebody dropped or renamed it; once the apply has ended, submit the change \
             again for this deployment",
            quote_table(schema, name)
        ))
    }

    /// How to answer.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Retryable { .. } => ErrorKind::Retryable,
            Self::Permanent { .. } => ErrorKind::Permanent,
            Self::LeaseLost(_) => ErrorKind::LeaseLost,
            Self::SwapUnknown(_) => ErrorKind::SwapUnknown,
        }
    }

    /// What came of a statement, where that is the cause.
    pub fn cause(&self) -> Option<&sqlx::Error> {
        std::error::Error::source(self)?.downcast_ref::<sqlx::Error>()
    }

    /// The server's error number, where a server's answer is the cause.
    pub fn server_number(&self) -> Option<u16> {
        self.cause().and_then(server_error::number)
    }

    /// Has the deployment no room left? Then trying at once again only takes what others need.
    pub fn is_no_room(&self) -> bool {
        self.server_number()
            .is_some_and(server_error::means_no_room)
    }

    /// May a row be to blame? Not where a right or the table is missing, or a whole transaction is too large for the binlog's cache.
    pub fn may_be_of_a_row(&self) -> bool {
        let cause = self.cause();
        cause.is_some_and(|cause| {
            !server_error::is_denied(cause)
                && !matches!(
                    server_error::number(cause),
                    None | Some(1049 | 1146 | 1197 | 1705)
                )
        })
    }

    /// The whole story, cut where it is too long to be stored.
    pub fn message(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            let answer = cause.downcast_ref::<sqlx::Error>();
            let cause_text = answer.map_or_else(|| cause.to_string(), server_error::story);
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source().filter(|_| answer.is_none());
        }
        cut(&text, MESSAGE_CHARACTERS)
    }

    /// Says what was being done when a statement failed, and sorts the failure by the
    /// server's error number: see [`server_error_kind`].
    pub fn while_doing(doing: impl Into<Cow<'static, str>>) -> impl FnOnce(sqlx::Error) -> Self {
        let doing = doing.into();
        move |error| {
            let mut message = format!("{doing} failed: {}", server_error::story(&error));
            match server_error::number(&error) {
                Some(number) if server_error::means_no_room(number) => message.push_str(NO_ROOM),
                Some(number) if server_error::means_not_let_in(number) => {
                    message.push_str(NOT_LET_IN);
                }
                Some(1461) => {
                    message.push_str("; ");
                    message.push_str(server_error::MORE_PREPARED);
                }
                Some(_) | None => {}
            }
            let kind = server_error_kind(&error);
            let source: Option<Box<dyn std::error::Error + Send + Sync>> = Some(Box::new(error));
            match kind {
                ErrorKind::Permanent => Self::Permanent { message, source },
                ErrorKind::Retryable | ErrorKind::LeaseLost | ErrorKind::SwapUnknown => {
                    Self::Retryable { message, source }
                }
            }
        }
    }
}

/// What to do when there is no room.
const NO_ROOM: &str = "; the deployment has no room left (disk, file size limit or tablespace), and the \
    application needs it too: make room, and the change goes on from its checkpoint, or CALL \
    apply_cancel, which gives back what the copy takes";

/// What to do when the server doesn't let a driver in.
pub(super) const NOT_LET_IN: &str = "; give the drivers that may claim this deployment an account that it lets in, or leave it out \
    of their scope: it is tried again meanwhile";

/// Whether a failed statement may be tried again as it is. What has no number never reached the server, or lost its answer.
pub fn server_error_kind(error: &sqlx::Error) -> ErrorKind {
    let may_pass = server_error::number(error).is_none_or(server_error::may_pass);
    match may_pass && server_version::refused(error).is_none() {
        true => ErrorKind::Retryable,
        false => ErrorKind::Permanent,
    }
}

#[cfg(test)]
mod tests {
    use super::{EngineError, ErrorKind};
    use crate::server_version::Unsupported;

    #[test]
    fn a_server_that_is_not_supported_does_not_become_so() {
        let unsupported = Unsupported("10.11.6-MariaDB".to_owned());
        let said = unsupported.to_string();
        let error = sqlx::Error::Configuration(Box::new(unsupported));
        let error = EngineError::while_doing("opening a session")(error);
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert_eq!(error.message(), format!("opening a session failed: {said}"));
    }

    #[test]
    fn health_knows_an_unsettled_swap_by_our_words() {
        let health = include_str!("../../sql/views/health.sql");
        let said = super::EngineError::SwapUnknown(String::new()).to_string();
        let known = health
            .split("LIKE '")
            .skip(1)
            .filter_map(|rest| rest.split_once("%'"));
        assert!(
            known
                .map(|(words, _)| words)
                .any(|words| said.starts_with(words)),
            "{said}"
        );
    }
}
