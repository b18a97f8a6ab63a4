//! Trouble that lasts: told when it begins, when it becomes another, once a minute, and when it is over.

use std::error::Error;
use std::time::{Duration, Instant};

use crate::server_error::with_causes;

/// A driver asks once a second or so; nobody reads a line for each.
const AGAIN: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Trouble(Option<Lasting>);

struct Lasting {
    began: Instant,
    told: Instant,
    what: String,
}

impl Trouble {
    /// Whether it is to be told now.
    pub(super) fn is_news(&mut self, error: &(dyn Error + 'static)) -> bool {
        let what = with_causes(error);
        let now = Instant::now();
        let began = match &self.0 {
            Some(known) if known.what == what && known.told + AGAIN > now => return false,
            Some(known) => known.began,
            None => now,
        };
        self.0 = Some(Lasting {
            began,
            told: now,
            what,
        });
        true
    }

    /// How many seconds it lasted, if there was any.
    pub(super) fn end(&mut self) -> Option<u64> {
        self.0.take().map(|over| over.began.elapsed().as_secs())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::Trouble;

    #[test]
    fn the_same_trouble_is_told_once_until_it_is_over() {
        let mut trouble = Trouble::default();
        let refused = Error::from(ErrorKind::ConnectionRefused);
        assert!(trouble.is_news(&refused));
        assert!(!trouble.is_news(&refused));
        assert!(trouble.is_news(&Error::from(ErrorKind::PermissionDenied)));
        assert!(trouble.end().is_some());
        assert_eq!(trouble.end(), None);
        assert!(trouble.is_news(&refused));
    }
}
