//! What keys mean: a command is asked about before it is called.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Stop,
    Start,
    Cutover,
    Release,
    Revert,
}

impl Call {
    pub fn procedure(self) -> &'static str {
        match self {
            Self::Stop => "apply_stop",
            Self::Start => "apply_start",
            Self::Cutover => "apply_cutover",
            Self::Release => "apply_release",
            Self::Revert => "apply_revert",
        }
    }

    /// Of which this screen passes none.
    pub fn has_options(self) -> bool {
        matches!(self, Self::Cutover | Self::Revert)
    }

    fn question(self, apply: &str) -> String {
        match self {
            Self::Stop => format!("Stop {apply}? A start resumes it. y/n"),
            Self::Start => format!("Start {apply} again? y/n"),
            Self::Cutover => format!("Let the next deployment of {apply} swap? y/n"),
            Self::Release => format!("Go on behind the failed deployment of {apply}? y/n"),
            Self::Revert => {
                format!("Revert {apply}? What is in its revert window swaps back. y/n")
            }
        }
    }
}

/// What a key comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Look,
    Call(Call, u64),
    Quit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Call(Call, u64),
    Quit,
}

/// Ctrl-C and Ctrl-D, which a terminal in raw mode hands over as keys.
pub(super) fn is_interrupt(key: &KeyEvent) -> bool {
    key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('c' | 'd'))
}

#[derive(Debug, Default)]
pub(super) struct Keys {
    applies: Vec<(u64, String)>,
    selected: Option<u64>,
    /// Whether the user has moved the mark: it stays then.
    is_chosen: bool,
    scroll: usize,
    asked: Option<Asked>,
    said: String,
    said_at: Option<Instant>,
}

/// What is said gives way to what has become of it.
const SAID_FOR: Duration = Duration::from_secs(10);

const NOT_UP_TO_DATE: &str = "not up to date: ";

/// Lines that PgUp and PgDn move by: less than the smallest screen has.
const PAGE: usize = 8;

impl Keys {
    /// The applies that are on the screen now, in its order.
    pub fn see(&mut self, applies: impl Iterator<Item = (u64, String)>) {
        self.applies = applies.collect();
        let is_there = self
            .applies
            .iter()
            .any(|(id, _)| Some(*id) == self.selected);
        if !is_there || (!self.is_chosen && self.asked.is_none()) {
            self.selected = self.applies.first().map(|(id, _)| *id);
            self.is_chosen = false;
        }
        let is_old = self.said_at.is_some_and(|at| at.elapsed() > SAID_FOR);
        if is_old || self.said.starts_with(NOT_UP_TO_DATE) {
            self.said.clear();
        }
    }

    pub fn selected(&self) -> Option<u64> {
        self.selected
    }

    pub fn scroll(&self) -> usize {
        self.scroll
    }

    /// What is shown ends there, now.
    pub fn scroll_at_most(&mut self, lines: usize) {
        self.scroll = self.scroll.min(lines);
    }

    pub fn say(&mut self, text: String) {
        self.said = text;
        self.said_at = Some(Instant::now());
    }

    /// The screen stays as it was.
    pub fn say_not_up_to_date(&mut self, error: &dyn std::fmt::Display) {
        self.say(format!("{NOT_UP_TO_DATE}{error}"));
    }

    pub fn message(&self) -> String {
        let question = match self.asked {
            Some(Asked::Call(call, apply)) => call.question(&self.name(apply)),
            Some(Asked::Quit) => "Quit? The changes go on without this screen. y/n".to_owned(),
            None => return self.said.clone(),
        };
        // Whoever answers should know.
        match self.said.starts_with(NOT_UP_TO_DATE) {
            true => format!("{question} ({})", self.said),
            false => question,
        }
    }

    pub fn press(&mut self, key: KeyEvent) -> Wish {
        if is_interrupt(&key) {
            return Wish::Quit;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return Wish::Nothing;
        }
        if let Some(asked) = self.asked.take() {
            return match (key.code, asked) {
                (KeyCode::Char('y' | 'Y'), Asked::Call(call, apply)) => {
                    self.said = "asking…".to_owned();
                    Wish::Call(call, apply)
                }
                (KeyCode::Char('y' | 'Y' | 'q'), Asked::Quit) => Wish::Quit,
                _ => Wish::Nothing,
            };
        }
        self.said.clear();
        match key.code {
            KeyCode::Char('s') => self.ask(Call::Stop),
            KeyCode::Char('S') => self.ask(Call::Start),
            KeyCode::Char('c') => self.ask(Call::Cutover),
            KeyCode::Char('r') => self.ask(Call::Release),
            KeyCode::Char('R') => self.ask(Call::Revert),
            KeyCode::Char('q') | KeyCode::Esc => self.asked = Some(Asked::Quit),
            KeyCode::Up | KeyCode::Char('k') => self.choose(-1),
            KeyCode::Down | KeyCode::Char('j') => self.choose(1),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(PAGE),
            KeyCode::PageDown => self.scroll += PAGE,
            _ => {}
        }
        Wish::Nothing
    }

    fn ask(&mut self, call: Call) {
        match self.selected {
            Some(apply) => self.asked = Some(Asked::Call(call, apply)),
            None => self.said = "There is no apply to act on.".to_owned(),
        }
    }

    fn choose(&mut self, by: isize) {
        let at = self
            .applies
            .iter()
            .position(|(id, _)| Some(*id) == self.selected);
        let to = at.and_then(|at| at.checked_add_signed(by));
        if let Some((id, _)) = to.and_then(|to| self.applies.get(to)) {
            self.selected = Some(*id);
            self.is_chosen = true;
        }
    }

    fn name(&self, apply: u64) -> String {
        let name = self.applies.iter().find(|(id, _)| *id == apply);
        name.map_or_else(
            || format!("apply {apply}"),
            |(id, name)| format!("apply {id} ({name})"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(keys: &mut Keys, character: char) -> Wish {
        keys.press(KeyEvent::new(KeyCode::Char(character), KeyModifiers::NONE))
    }

    fn keys() -> Keys {
        let mut keys = Keys::default();
        keys.see([(7, "b".to_owned()), (3, "a".to_owned())].into_iter());
        keys
    }

    #[test]
    fn a_command_is_called_only_after_a_yes() {
        let mut keys = keys();
        assert_eq!(press(&mut keys, 's'), Wish::Nothing);
        assert!(keys.message().contains("apply 7 (b)"), "{}", keys.message());
        assert_eq!(press(&mut keys, 'n'), Wish::Nothing);
        assert_eq!(
            press(&mut keys, 'y'),
            Wish::Nothing,
            "nothing is asked any more"
        );
        for (key, command) in [
            ('s', Call::Stop),
            ('S', Call::Start),
            ('c', Call::Cutover),
            ('r', Call::Release),
            ('R', Call::Revert),
        ] {
            press(&mut keys, key);
            assert_eq!(press(&mut keys, 'y'), Wish::Call(command, 7));
        }
    }

    #[test]
    fn what_was_asked_about_stays_what_is_called() {
        let mut keys = keys();
        press(&mut keys, 'j');
        press(&mut keys, 'c');
        // Another apply takes its place on the screen meanwhile.
        keys.see([(9, "c".to_owned()), (7, "b".to_owned())].into_iter());
        assert_eq!(press(&mut keys, 'y'), Wish::Call(Call::Cutover, 3));
    }

    #[test]
    fn the_mark_is_on_what_begins_unless_somebody_has_moved_it() {
        let mut keys = keys();
        let later = || [(9, "c"), (7, "b"), (3, "a")].map(|(id, name)| (id, name.to_owned()));
        keys.see(later().into_iter());
        assert_eq!(keys.selected(), Some(9));
        press(&mut keys, 'j');
        keys.see([(11, "d".to_owned())].into_iter().chain(later()));
        assert_eq!(keys.selected(), Some(7));
    }

    #[test]
    fn a_question_does_not_hide_that_the_screen_is_old() {
        let mut keys = keys();
        press(&mut keys, 's');
        keys.say_not_up_to_date(&"no server answers");
        let message = keys.message();
        assert!(message.starts_with("Stop apply 7"), "{message}");
        assert!(
            message.contains("not up to date: no server answers"),
            "{message}"
        );
        keys.see([(7, "b".to_owned())].into_iter());
        assert!(!keys.message().contains("not up to date"));
    }

    #[test]
    fn quitting_is_asked_about_and_control_c_is_not() {
        let mut keys = keys();
        assert_eq!(press(&mut keys, 'q'), Wish::Nothing);
        assert_eq!(press(&mut keys, 'y'), Wish::Quit);
        let control = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(keys.press(control), Wish::Quit);
    }
}
