//! What is shown while the demo runs: moving bars on a terminal, lines of text anywhere else.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::report::{grouped, milliseconds};
use crate::load::Running;
use crate::progress::{Names, Operation, in_words, style};
use crate::text::{folded, width_of};

/// Without a terminal: a line for each change of state, and all of them this often.
const LINES_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Screen {
    start: Instant,
    form: Form,
}

enum Form {
    Bars(Mutex<Bars>),
    Lines(Mutex<Lines>),
}

struct Bars {
    all: MultiProgress,
    operations: Vec<ProgressBar>,
    traffic: Option<ProgressBar>,
}

#[derive(Default)]
struct Lines {
    states: Vec<String>,
    said_all: Option<Instant>,
}

impl Screen {
    pub fn new() -> Self {
        let form = if std::io::stdout().is_terminal() {
            Form::Bars(Mutex::new(Bars {
                all: MultiProgress::with_draw_target(ProgressDrawTarget::stdout()),
                operations: Vec::new(),
                traffic: None,
            }))
        } else {
            Form::Lines(Mutex::default())
        };
        Self {
            start: Instant::now(),
            form,
        }
    }

    /// A stage of the demo begins.
    pub fn step(&self, text: &str) {
        self.say(&format!("{} {text}", self.clock()));
    }

    /// Something happened in the middle of a stage.
    pub fn note(&self, text: &str) {
        self.say(&format!("{} -> {text}", self.clock()));
    }

    /// How far all operations are.
    pub fn show(&self, operations: &[Operation], traffic: &[Running]) {
        match &self.form {
            Form::Bars(bars) => {
                if let Ok(mut bars) = bars.lock() {
                    bars.show(operations, traffic);
                }
            }
            Form::Lines(lines) => {
                if let Ok(mut lines) = lines.lock() {
                    lines.show(&self.clock(), operations, traffic);
                }
            }
        }
    }

    /// The bars stay as they are; what follows is written below them.
    pub fn finish(&self) {
        if let Form::Bars(bars) = &self.form
            && let Ok(mut bars) = bars.lock()
        {
            for bar in bars.operations.drain(..) {
                bar.abandon();
            }
            if let Some(bar) = bars.traffic.take() {
                bar.abandon();
            }
        }
    }

    fn say(&self, text: &str) {
        match &self.form {
            Form::Bars(bars) => {
                let width = width_of(&std::io::stdout());
                if let Ok(bars) = bars.lock() {
                    // Lines that fit, as a table's do, are left as they are.
                    for line in text.lines() {
                        let is_long = width.is_some_and(|width| line.chars().count() > width);
                        let lines = folded(line, width.filter(|_| is_long), "", "");
                        let _ = bars.all.println(lines.join("\n"));
                    }
                }
            }
            Form::Lines(_) => line(text),
        }
    }

    /// Text of several lines, after the bars.
    pub fn text(&self, text: &str) {
        self.say(text);
    }

    fn clock(&self) -> String {
        format!("[{:>3} s]", self.start.elapsed().as_secs())
    }
}

impl Bars {
    fn show(&mut self, operations: &[Operation], traffic: &[Running]) {
        while self.operations.len() < operations.len() {
            let bar = self.all.add(ProgressBar::new(1000));
            bar.set_style(style());
            self.operations.push(bar);
        }
        for (bar, operation) in self.operations.iter().zip(operations) {
            bar.set_prefix(operation.deployment.clone());
            bar.set_position((operation.percent * 10.0) as u64);
            bar.set_message(in_words(operation, Names::Driver));
        }
        let bar = self.traffic.get_or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
        bar.set_message(writes(traffic));
    }
}

impl Lines {
    fn show(&mut self, clock: &str, operations: &[Operation], traffic: &[Running]) {
        let is_time = self.said_all.is_none_or(|at| at.elapsed() >= LINES_EVERY);
        self.states.resize(operations.len(), String::new());
        for (state, operation) in self.states.iter_mut().zip(operations) {
            let driver = operation.driver.as_deref().unwrap_or_default();
            let now = format!("{} {driver} {}", operation.state, operation.is_stale);
            if *state != now || is_time {
                *state = now;
                line(&format!(
                    "{clock} {:<8} {:>5.1} %  {}",
                    operation.deployment,
                    operation.percent,
                    in_words(operation, Names::Driver)
                ));
            }
        }
        if is_time {
            self.said_all = Some(Instant::now());
            line(&format!("{clock} {}", writes(traffic)));
        }
    }
}

fn writes(traffic: &[Running]) -> String {
    let counters = || traffic.iter().map(Running::counters);
    let sum: u64 = counters()
        .map(|counters| counters.acknowledged.load(Ordering::Relaxed))
        .sum();
    let longest = counters().map(|counters| counters.longest()).max();
    format!(
        "writes acknowledged: {}   longest wait of one since the change was submitted: {}",
        grouped(sum),
        milliseconds(longest.unwrap_or_default())
    )
}

/// Standard output that has been closed is no failure.
fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
