//! A measured number, beside its target.

use std::fmt;

use serde::Serialize;

/// One measured number.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What it was measured on: how many operations (0 where their number plays no part), or which table.
    pub on: String,
    pub what: String,
    pub value: f64,
    pub unit: &'static str,
    pub target: Option<Target>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Figure {
    pub(super) fn new(
        on: impl ToString,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) -> Self {
        Self {
            on: on.to_string(),
            what: what.into(),
            value,
            unit,
            target: None,
        }
    }

    #[must_use]
    pub(super) fn at_most(mut self, limit: f64) -> Self {
        self.target = Some(Target::AtMost(limit));
        self
    }

    #[must_use]
    pub(super) fn at_least(mut self, limit: f64) -> Self {
        self.target = Some(Target::AtLeast(limit));
        self
    }

    /// Whether the target is reached; true where there is none.
    pub fn holds(&self) -> bool {
        match self.target {
            None => true,
            Some(Target::AtMost(limit)) => self.value <= limit,
            Some(Target::AtLeast(limit)) => self.value >= limit,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            on,
            what,
            value,
            unit,
            target,
        } = self;
        write!(f, "{on:>8}  {what:<58} {value:>10.3} {unit:<7}")?;
        match target {
            None => Ok(()),
            Some(Target::AtMost(limit)) => write!(f, " at most {limit}: {}", verdict(self)),
            Some(Target::AtLeast(limit)) => write!(f, " at least {limit}: {}", verdict(self)),
        }
    }
}

/// The middle one; of none it is no number.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn verdict(figure: &Figure) -> &'static str {
    if figure.holds() { "yes" } else { "NO" }
}

#[cfg(test)]
mod tests {
    use super::Figure;

    #[test]
    fn a_target_is_reached_by_its_limit_itself() {
        assert!(Figure::new("x", "x", 3.0, "rows").at_most(3.0).holds());
        assert!(!Figure::new("x", "x", 3.1, "rows").at_most(3.0).holds());
        assert!(!Figure::new("x", "x", 0.64, "").at_least(0.65).holds());
    }

    #[test]
    fn a_program_reads_a_figure_with_its_target() {
        let figure = Figure::new("x", "rate", 3.5, "rows/s").at_least(3.0);
        let object = serde_json::json!({
            "on": "x", "what": "rate", "value": 3.5, "unit": "rows/s", "target": {"at_least": 3.0},
        });
        assert_eq!(serde_json::json!(figure), object);
    }
}
