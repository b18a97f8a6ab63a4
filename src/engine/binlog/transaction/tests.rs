//! Events that no healthy server sends.

use super::*;

use mysql_async::binlog::BinlogVersion;
use mysql_async::binlog::events::FormatDescriptionEvent;

fn assembler() -> Assembler {
    let owner = Owner {
        installation: "0a1b2c3d".into(),
        operation_id: 7,
        epoch: 1,
    };
    Assembler::new(&[], &owner, "b.000001", 4)
}

/// An event as the server sends it, without a checksum.
fn event(event_type: u8, body: &[u8]) -> Event {
    let size = u32::try_from(19 + body.len()).unwrap();
    let mut bytes = vec![0, 0, 0, 0, event_type, 1, 0, 0, 0];
    bytes.extend(size.to_le_bytes());
    bytes.extend(1_000_u32.to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend(body);
    let format = FormatDescriptionEvent::new(BinlogVersion::Version4);
    Event::read(&format, &bytes[..]).unwrap()
}

fn query(text: &str) -> Event {
    let mut body = vec![0; 13];
    body[8] = 1; // the schema's length
    body.extend(b"s\0");
    body.extend(text.as_bytes());
    event(kind::QUERY, &body)
}

/// The header of a compressed payload: compressed with zstd, so many bytes before, and some that are no zstd at all.
fn payload(size: u8) -> Event {
    event(
        kind::TRANSACTION_PAYLOAD,
        &[2, 1, 0, 3, 1, size, 1, 1, 4, 0, 1, 2, 3, 4],
    )
}

fn step(assembler: &mut Assembler, event: &Event) -> Result<Step, EngineError> {
    assembler.event(event, |_| {})
}

/// Whoever reads the stream hands out no event at all for what does not decompress.
#[test]
fn a_payload_out_of_which_too_little_comes_is_an_error() {
    let inside = query("BEGIN");
    let size = u8::try_from(inside.header().event_size()).unwrap();
    for (stated, fits) in [(size, true), (size + 1, false)] {
        let mut assembler = assembler();
        step(&mut assembler, &payload(stated)).unwrap();
        step(&mut assembler, &inside).unwrap();
        let next = step(&mut assembler, &event(kind::STOP, &[]));
        assert_eq!(next.is_ok(), fits);
        if let Err(error) = next {
            assert!(error.message().contains("does not decompress"), "{error}");
        }
    }
    let mut nothing = assembler();
    step(&mut nothing, &payload(90)).unwrap();
    assert!(step(&mut nothing, &payload(90)).is_err());
}

#[test]
fn a_payload_that_is_cut_off_is_an_error() {
    let whole = payload(90);
    for length in 0..8 {
        let cut = event(kind::TRANSACTION_PAYLOAD, &whole.data()[..length]);
        assert!(step(&mut assembler(), &cut).is_err(), "{length}");
    }
}

/// Also where the server numbers no transactions: how far behind a copy is, is told by that.
#[test]
fn a_transaction_has_the_time_of_its_commit_not_that_of_its_first_statement() {
    const COMMITTED_AT: u64 = 1_700_000_000_123_456;
    let mut body = vec![0; 1 + 16 + 8];
    body.extend([2; 17]); // logical clocks
    body.extend(&COMMITTED_AT.to_le_bytes()[..7]);
    body.push(90); // the transaction's length
    body.extend(80_400_u32.to_le_bytes());
    for (event_type, is_numbered) in [(kind::GTID, true), (kind::ANONYMOUS_GTID, false)] {
        let mut assembler = assembler();
        step(&mut assembler, &event(event_type, &body)).unwrap();
        step(&mut assembler, &query("BEGIN")).unwrap();
        let end = step(&mut assembler, &event(kind::XID, &[0; 8])).unwrap();
        let Step::End(ended, _) = end else {
            panic!("{end:?}")
        };
        assert_eq!(ended.committed_at, COMMITTED_AT);
        assert_eq!(ended.gtid.is_some(), is_numbered);
    }
}

#[test]
fn what_is_not_understood_ends_no_transaction() {
    let mut assembler = assembler();
    step(&mut assembler, &query("BEGIN")).unwrap();
    let refused = step(&mut assembler, &query("%$unreadable"));
    assert!(refused.is_err_and(|e| e.message().contains("'%$unreadable' inside a transaction")));
    let mut assembler = self::assembler();
    let alone = step(&mut assembler, &query("%$unreadable"));
    assert!(matches!(alone, Ok(Step::End(..))));
}

/// The server writes 32 bits of where an event ends, however long the file is.
#[test]
fn a_transaction_that_crosses_4_gib_ends_where_it_ends() {
    let gib = 1_u64 << 30;
    let mut assembler = assembler();
    // Heartbeats and events that are made up are no place; an end whose 32 bits are 0 looks like none.
    let ends = [
        gib,
        3 * gib,
        4 * gib - 1,
        4 * gib + 7,
        7 * gib,
        8 * gib,
        8 * gib + 40,
    ];
    let mut at = 4;
    for end in ends {
        let size = u32::try_from(end - at).unwrap_or(u32::MAX);
        assembler.advance(end as u32, size, 0, kind::WRITE_ROWS);
        assembler.advance(5, 0, 0, kind::HEARTBEAT_V2);
        assembler.advance(5, 0, kind::ARTIFICIAL_FLAG, kind::FORMAT_DESCRIPTION);
        let expected = if end == 8 * gib { 7 * gib } else { end };
        assert_eq!(assembler.offset, expected);
        at = end;
    }
}
