//! How far it is: a moving bar on a terminal, lines of text anywhere else.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use super::super::output;
use crate::progress::{Names, Operation, bars, in_words, style};
use crate::text::{folded, width_of};

/// Without a terminal: a line for each change of state or phase, and for what else changes one this often.
const LINE_EVERY: Duration = Duration::from_secs(5);

pub(super) enum Screen {
    Bar(ProgressBar),
    Lines(Lines),
}

pub(super) struct Lines {
    name: String,
    /// Standard output is for the one object of `--json`.
    is_json: bool,
    stage: String,
    last: String,
    said: Option<Instant>,
}

impl Screen {
    pub fn new(name: &str, is_json: bool) -> Self {
        if std::io::stdout().is_terminal() && !is_json {
            let bar = bars().add(ProgressBar::new(1000));
            bar.set_style(style());
            bar.set_prefix(name.to_owned());
            Self::Bar(bar)
        } else {
            Self::Lines(Lines {
                name: name.to_owned(),
                is_json,
                stage: String::new(),
                last: String::new(),
                said: None,
            })
        }
    }

    pub fn show(&mut self, operation: &Operation) {
        let words = in_words(operation, Names::Nobody);
        match self {
            Self::Bar(bar) => {
                bar.set_position((operation.percent * 10.0) as u64);
                bar.set_message(words);
            }
            Self::Lines(lines) => {
                let stage = format!("{} {:?}", operation.state, operation.phase);
                let line = format!("{}  {:>5.1} %  {words}", lines.name, operation.percent);
                let is_time = lines.said.is_none_or(|at| at.elapsed() >= LINE_EVERY);
                if stage != lines.stage || (is_time && line != lines.last) {
                    lines.line(&line);
                    lines.stage = stage;
                    lines.last = line;
                    lines.said = Some(Instant::now());
                }
            }
        }
    }

    /// Something to know or to do meanwhile.
    pub fn note(&self, text: &str) {
        match self {
            Self::Bar(_) => {
                let lines = folded(text, width_of(&std::io::stdout()), "", "");
                let _ = bars().println(lines.join("\n"));
            }
            Self::Lines(lines) => lines.line(text),
        }
    }

    /// What follows says how it ended.
    pub fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Lines {
    fn line(&self, text: &str) {
        if self.is_json {
            output::note(text);
        } else {
            output::line(text);
        }
    }
}
