//! How far an apply is: rows of the views, the same in words, and as a moving bar.

mod bars;
mod rows;
mod words;

pub(crate) use bars::{AboveBars, bars, style};
pub(crate) use rows::{Operation, Stand, apply, operations};
pub(crate) use words::{Names, in_words, phase};
