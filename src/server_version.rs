//! Versions of MySQL, and the oldest that is supported.

use std::fmt;

/// The oldest server that Lockkeeper runs on.
pub const OLDEST: Version = Version(8, 0, 22);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16, pub u16);

impl Version {
    /// The numbers that a text like `8.0.22-log` begins with.
    pub fn of(text: &str) -> Option<Self> {
        let mut numbers = text
            .split(|c: char| !c.is_ascii_digit())
            .map(|number| number.parse().ok());
        Some(Self(numbers.next()??, numbers.next()??, numbers.next()??))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert_eq!(Version::of("8.0.22-log"), Some(OLDEST));
        assert_eq!(Version::of("9.7.4-2"), Some(Version(9, 7, 4)));
        assert!(Version::of("8.0.9").unwrap() < OLDEST);
        assert!(Version::of("10.1.0").unwrap() > OLDEST);
        assert_eq!(Version::of("next"), None);
    }
}
