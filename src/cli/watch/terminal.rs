//! The terminal: its own screen while it is watched, as it was before when that ends, however it ends.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap,
    EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use crossterm::{cursor, execute, queue};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::super::{CliError, output};
use super::keys;
use super::screen::{Line, Tone};
use crate::text;

const INPUT_POLL: Duration = Duration::from_millis(200);

pub(super) enum Input {
    Key(KeyEvent),
    Resized,
}

pub(super) struct Terminal {
    inputs: mpsc::UnboundedReceiver<Input>,
    /// Typed while something else was waited for.
    typed_ahead: VecDeque<Input>,
    terminated: Signal,
    /// Ctrl-C is a key here; this is somebody else's.
    interrupted: Signal,
    hung_up: Signal,
    has_colours: bool,
}

impl Terminal {
    pub fn open() -> Result<Self, CliError> {
        if !(std::io::stdout().is_terminal() && std::io::stdin().is_terminal()) {
            return Err(CliError::usage(
                "there is no terminal to draw on; pass --once for plain text",
            ));
        }
        // Taken over first: a terminal that is left in raw mode is of no use to anybody.
        let terminated = signal(SignalKind::terminate()).map_err(CliError::failed)?;
        let interrupted = signal(SignalKind::interrupt()).map_err(CliError::failed)?;
        let hung_up = signal(SignalKind::hangup()).map_err(CliError::failed)?;
        enable_raw_mode().map_err(CliError::failed)?;
        let (sender, inputs) = mpsc::unbounded_channel();
        let terminal = Self {
            inputs,
            typed_ahead: VecDeque::new(),
            terminated,
            interrupted,
            hung_up,
            has_colours: output::wants_colours(),
        };
        execute!(
            std::io::stdout(),
            EnterAlternateScreen,
            DisableLineWrap,
            cursor::Hide
        )
        .map_err(CliError::failed)?;
        // A thread: reading a terminal blocks. It sees that nobody listens any more, and ends.
        std::thread::spawn(move || read(&sender));
        Ok(terminal)
    }

    /// The next key; `None` once there will be none.
    pub async fn input(&mut self) -> Option<Input> {
        match self.typed_ahead.pop_front() {
            Some(input) => Some(input),
            None => self.next().await,
        }
    }

    /// What `work` comes to; `None` if Ctrl-C came first. A server that hangs must not hold whoever looks at it.
    pub async fn unless_interrupted<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                input = self.next() => match input {
                    Some(Input::Key(key)) if keys::is_interrupt(&key) => return None,
                    Some(input) => self.typed_ahead.push_back(input),
                    None => return None,
                },
            }
        }
    }

    async fn next(&mut self) -> Option<Input> {
        tokio::select! {
            input = self.inputs.recv() => input,
            _ = self.terminated.recv() => None,
            _ = self.interrupted.recv() => None,
            _ = self.hung_up.recv() => None,
        }
    }

    pub fn draw(&mut self, lines: &[Line]) -> Result<(), CliError> {
        let mut frame = Vec::new();
        self.queue(&mut frame, lines).map_err(CliError::failed)?;
        let mut out = std::io::stdout().lock();
        out.write_all(&frame)
            .and_then(|()| out.flush())
            .map_err(CliError::failed)
    }

    fn queue(&self, frame: &mut Vec<u8>, lines: &[Line]) -> std::io::Result<()> {
        queue!(frame, BeginSynchronizedUpdate)?;
        for (row, line) in (0..).zip(lines) {
            // Cleared first: behind a line of the full width, the cursor is still on its last character.
            queue!(frame, cursor::MoveTo(0, row), Clear(ClearType::CurrentLine))?;
            for (tone, text) in &line.0 {
                self.tone(frame, *tone)?;
                queue!(
                    frame,
                    Print(text),
                    SetAttribute(Attribute::Reset),
                    ResetColor
                )?;
            }
        }
        // The lines are as many as the terminal has, but for one that has become higher meanwhile.
        queue!(frame, EndSynchronizedUpdate)
    }

    fn tone(&self, frame: &mut Vec<u8>, tone: Tone) -> std::io::Result<()> {
        let colour = match tone {
            Tone::Plain => return Ok(()),
            Tone::Bold => return queue!(frame, SetAttribute(Attribute::Bold)),
            Tone::Faint => return queue!(frame, SetAttribute(Attribute::Dim)),
            Tone::Good => Color::Green,
            Tone::Busy => Color::Cyan,
            Tone::Bad => Color::Red,
        };
        if self.has_colours {
            queue!(frame, SetForegroundColor(colour))?;
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = execute!(
            std::io::stdout(),
            cursor::Show,
            EnableLineWrap,
            LeaveAlternateScreen
        );
        let _ = disable_raw_mode();
    }
}

fn read(sender: &mpsc::UnboundedSender<Input>) {
    while !sender.is_closed() {
        let input = match event::poll(INPUT_POLL) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(error) => Err(error),
        };
        let sent = match input {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                sender.send(Input::Key(key))
            }
            Ok(Event::Resize(..)) => sender.send(Input::Resized),
            Ok(_) => continue,
            Err(_) => return,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// How wide plain text is, where nobody has said it.
pub(super) fn width() -> usize {
    let told = || std::env::var("COLUMNS").ok()?.parse().ok();
    text::width_of(&std::io::stdout()).unwrap_or_else(|| told().unwrap_or(80).max(20))
}
