//! What of a table is still to be copied, in chunks that follow each other.

use std::collections::VecDeque;

use crate::engine::state::checkpoint::CopiedRange;
use crate::engine::table::key_range::Bound;

/// What is still to be copied.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Ranges that a former driver had begun and not committed.
    gaps: VecDeque<Chunk>,
    /// From here on nothing is copied yet.
    pub tail: Option<Chunk>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Ranks chunks in the order of the key.
    pub sequence: u64,
    pub from: Bound,
    pub to: Bound,
}

impl Left {
    /// What the records of copied ranges leave to do. They follow each other by equal bounds, so that
    /// no keys need to be compared; a gap is filled by one chunk that takes the place of those that are
    /// missing.
    pub fn after(mut done: Vec<&CopiedRange>) -> Self {
        done.sort_by_key(|d| d.sequence);
        let mut left = Self::default();
        let mut at: Bound = None;
        let mut sequence = 0;
        for range in &done {
            if range.from != at {
                left.gaps.push_back(Chunk {
                    sequence,
                    from: at,
                    to: range.from.clone(),
                });
            }
            at = range.to.clone();
            sequence = range.sequence + 1;
        }
        if done.is_empty() || at.is_some() {
            left.tail = Some(Chunk {
                sequence,
                from: at,
                to: None,
            });
        }
        left
    }

    /// The next of the ranges that were begun before.
    pub fn gap(&mut self) -> Option<Chunk> {
        self.gaps.pop_front()
    }

    /// The part of `tail` up to `end`; the rest of it is left.
    pub fn cut(&mut self, tail: Chunk, end: Bound) -> Chunk {
        if end.is_some() {
            self.tail = Some(Chunk {
                sequence: tail.sequence + 1,
                from: end.clone(),
                to: None,
            });
        }
        Chunk { to: end, ..tail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::table::key_range::KeyText;

    fn bound(n: u32) -> Bound {
        Some(vec![KeyText::Plain(n.to_string())])
    }

    fn done(sequence: u64, from: Bound, to: Bound) -> CopiedRange {
        CopiedRange {
            table: 0,
            sequence,
            from,
            to,
            rows: 1,
        }
    }

    #[test]
    fn a_resume_fills_the_gaps_and_goes_on_at_the_end() {
        let all = [done(3, bound(30), bound(40)), done(0, None, bound(10))];
        let left = Left::after(all.iter().collect());
        assert_eq!(
            left.gaps,
            [Chunk {
                sequence: 1,
                from: bound(10),
                to: bound(30)
            }]
        );
        assert_eq!(
            left.tail,
            Some(Chunk {
                sequence: 4,
                from: bound(40),
                to: None
            })
        );
    }

    #[test]
    fn a_copy_that_reached_the_end_has_no_tail() {
        let all = [done(0, None, bound(10)), done(1, bound(10), None)];
        let left = Left::after(all.iter().collect());
        assert!(left.gaps.is_empty() && left.tail.is_none());
        assert_eq!(
            Left::after(Vec::new()).tail,
            Some(Chunk {
                sequence: 0,
                from: None,
                to: None
            })
        );
    }
}
