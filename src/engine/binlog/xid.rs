//! The name of an XA transaction.

use std::fmt;

use super::cursor::{Cursor, Malformed};

/// A name as the application gave it: any bytes, at most 64 in each part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xid {
    format: u32,
    global: Box<[u8]>,
    branch: Box<[u8]>,
}

impl Xid {
    pub fn new(format: u32, global: &[u8], branch: &[u8]) -> Self {
        Self {
            format,
            global: global.into(),
            branch: branch.into(),
        }
    }

    /// Reads the body of the event that ends the group: whether it commits in one phase, and the name.
    pub fn of_prepare(data: &[u8]) -> Result<(bool, Self), Malformed> {
        let mut c = Cursor::new(data);
        let one_phase = c.u8()? != 0;
        let format = c.u32()?;
        let (global, branch) = (c.u32()? as usize, c.u32()? as usize);
        Ok((
            one_phase,
            Self::new(format, c.bytes(global)?, c.bytes(branch)?),
        ))
    }

    /// Reads the name in `XA COMMIT X'…',X'…',1`. The server writes it anew, in this form, whatever
    /// the application's statement was.
    pub fn of_statement(text: &[u8]) -> Result<Self, Malformed> {
        let wrong = || {
            let text: String = String::from_utf8_lossy(text).chars().take(120).collect();
            Malformed::new(format!("'{text}' names no XA transaction"))
        };
        let read = || {
            let text = std::str::from_utf8(text).ok()?;
            let mut parts = text[text.find("X'")?..].split(',').map(str::trim);
            let mut bytes = || {
                let part = parts.next()?.strip_prefix("X'")?.strip_suffix('\'')?;
                hex::decode(part).ok()
            };
            let (global, branch) = (bytes()?, bytes()?);
            let format = parts.next()?.parse().ok()?;
            parts
                .next()
                .is_none()
                .then(|| Self::new(format, &global, &branch))
        };
        read().ok_or_else(wrong)
    }
}

/// As statements take it, whatever the bytes are.
impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "X'{}',X'{}',{}",
            hex::encode(&self.global),
            hex::encode(&self.branch),
            self.format
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_in_the_event_and_in_the_statement() {
        let xid = Xid::new(i32::MAX as u32, b"\0',X'\\", b"\xff,");
        let mut event = vec![0];
        event.extend((i32::MAX as u32).to_le_bytes());
        event.extend(6_u32.to_le_bytes());
        event.extend(2_u32.to_le_bytes());
        event.extend(b"\0',X'\\\xff,");
        assert_eq!(Xid::of_prepare(&event), Ok((false, xid.clone())));
        let statement = format!("XA COMMIT {xid}");
        assert_eq!(statement, "XA COMMIT X'00272c58275c',X'ff2c',2147483647");
        assert_eq!(Xid::of_statement(statement.as_bytes()), Ok(xid));
    }

    #[test]
    fn what_is_no_name_is_an_error() {
        for text in ["XA COMMIT", "XA COMMIT X'0',X'',1", "XA COMMIT X'00',X''"] {
            assert!(Xid::of_statement(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Xid::of_prepare(b"\0\x01\0\0\0\x05\0\0\0\0\0\0\0ab").is_err());
    }
}
