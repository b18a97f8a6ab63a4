//! The bars of a command on its terminal, and what is written above them.

use std::io::Write;
use std::sync::LazyLock;

use indicatif::{MultiProgress, ProgressDrawTarget, ProgressStyle};

/// Bars are narrow where the words need the room.
pub(crate) fn style() -> ProgressStyle {
    let (columns, _) = crate::text::size();
    let width = if columns >= 130 { 40 } else { 14 };
    let template = format!("{{prefix:8}} {{bar:{width}.cyan/blue}} {{percent:>3}}% {{wide_msg}}");
    ProgressStyle::with_template(&template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// None are drawn where standard output is no terminal.
pub(crate) fn bars() -> &'static MultiProgress {
    static BARS: LazyLock<MultiProgress> =
        LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stdout()));
    &BARS
}

/// Standard error, written above the bars: a line of the log would tear them.
pub(crate) struct AboveBars;

impl Write for AboveBars {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        bars().suspend(|| std::io::stderr().write(text))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}
