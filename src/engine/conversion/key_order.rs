//! Whether a key range of the original is the same range of the shadow.

use super::types::{same_type, type_text};
use crate::engine::table::{Column, DataType, TablePlan};

/// Why the rows of both tables could not be compared range by range; for preflight.
pub fn not_comparable(plan: &TablePlan) -> Option<String> {
    let (original, shadow, key) = (
        plan.original.as_ref()?,
        plan.shadow.as_ref()?,
        plan.key.as_ref()?,
    );
    let pairs = key.source.iter().zip(&key.target);
    let columns = |(s, t): (&usize, &usize)| (&original.columns[*s], &shadow.columns[*t]);
    let (was, now) = pairs
        .map(columns)
        .find(|(was, now)| !keeps_order(was, now))?;
    Some(format!(
        "column {} of {} goes from {} to {}: it is part of {}, the key that rows are compared by, \
         and the changed table could not be verified; keep this column as it is",
        was.name,
        original.quoted(),
        type_text(was),
        type_text(now),
        key.source_index
    ))
}

/// Whether a key column sorts in the shadow as it does in the original, by the same literals.
pub fn keeps_order(source: &Column, target: &Column) -> bool {
    same_type(source, target)
        || source.data_type.is_integer() && target.data_type.is_integer()
        || source.data_type.is_text() && target.data_type.is_text() && source.compares_as(target)
        || source.data_type == target.data_type
            && matches!(
                source.data_type,
                DataType::VarBinary | DataType::Decimal | DataType::DateTime | DataType::Timestamp
            )
            && target.scale == source.scale
}
