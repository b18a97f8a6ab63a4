//! docs/reference.md: every public view and procedure, from the header comment of its file.

use std::fmt::Write as _;

use super::set::{Kind, files};

const HEAD: &str = "# Reference

Made by `lockkeeper docs reference` from the comments at the head of each file in `sql/`; a test keeps it current.

Conventions: a procedure is called by position and ends in one result set of at most one row (more only where it says so).
NULL for a JSON option means the default. Times are UTC. A refusal is SQLSTATE 45000 with one of the numbers at the end; its
message says what was passed, what the rule is and what to do.
";

/// The whole page.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for (kind, title) in [(Kind::View, "Views"), (Kind::Procedure, "Procedures")] {
        let _ = writeln!(page, "\n## {title}");
        for (_, name, text) in files().filter(|(of, name, _)| *of == kind && !name.starts_with('_'))
        {
            let _ = writeln!(page, "\n### `{}`\n", signature(kind, name, text));
            page.push_str(&prose(text));
        }
    }
    page.push_str("\n## Errors\n\n| number | name | what to do |\n| --- | --- | --- |\n");
    for (_, _, text) in
        files().filter(|(kind, name, _)| *kind == Kind::Data && *name == "error_code")
    {
        for row in text.lines().filter_map(error_row) {
            page.push_str(&row);
        }
    }
    page
}

/// `name(in_a, in_b)`, or a view's name: its columns follow as prose.
fn signature(kind: Kind, name: &str, text: &str) -> String {
    match kind {
        Kind::Procedure => {
            let statement = text.split("CREATE PROCEDURE").nth(1).unwrap_or_default();
            let head = statement.split("COMMENT").next().unwrap_or_default();
            let words: Vec<&str> = head
                .split(|c: char| !(c.is_alphanumeric() || c == '_'))
                .collect();
            let parameters: Vec<&str> = words
                .iter()
                .copied()
                .filter(|word| word.starts_with("in_"))
                .collect();
            format!("{name}({})", parameters.join(", "))
        }
        Kind::View | Kind::Function | Kind::Trigger | Kind::Data => name.to_owned(),
    }
}

/// The header comment: paragraphs, lists of parameters, indented tables; then the columns of a view.
fn prose(text: &str) -> String {
    let header: Vec<&str> = text
        .lines()
        .take_while(|line| line.starts_with("--"))
        .skip(1)
        .map(|line| line.strip_prefix("-- ").unwrap_or(""))
        .collect();
    let mut out = String::new();
    for paragraph in header
        .split(|line| line.is_empty())
        .filter(|lines| !lines.is_empty())
    {
        let is_list = paragraph[0].starts_with("in_");
        let mut lines = paragraph.iter().peekable();
        while let Some(line) = lines.next() {
            let mut line = (*line).to_owned();
            if is_list {
                // What goes on below is indented.
                while let Some(more) = lines.next_if(|more| more.starts_with(' ')) {
                    line.push(' ');
                    line.push_str(more.trim());
                }
                let (name, meaning) = line.split_once(' ').unwrap_or((&line, ""));
                let _ = writeln!(out, "- `{name}`: {}", meaning.trim());
            } else if let Some(row) = line.strip_prefix("  ") {
                let _ = writeln!(out, "    {row}");
            } else {
                if out.ends_with(|c| c != '\n')
                    || out
                        .lines()
                        .last()
                        .is_some_and(|last| last.starts_with("    "))
                {
                    out.push('\n');
                }
                let _ = writeln!(out, "{line}");
                if lines.peek().is_some_and(|next| next.starts_with("  ")) {
                    out.push('\n');
                }
            }
        }
        out.push('\n');
    }
    if let Some(columns) = columns(text) {
        let _ = writeln!(out, "Columns: {columns}");
    } else {
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

fn columns(text: &str) -> Option<String> {
    let statement = text.split("\nVIEW ").nth(1)?;
    let list = statement.split_once('(')?.1.split_once(')')?.0;
    let names: Vec<String> = list
        .split(',')
        .map(|name| format!("`{}`", name.trim()))
        .collect();
    Some(names.join(", "))
}

/// `(50001, 'bad_argument', 'pass …'),` as a row of a table.
fn error_row(line: &str) -> Option<String> {
    let rest = line.split_once("(5")?.1;
    let (number, rest) = rest.split_once(',')?;
    let mut quoted = rest.split('\'');
    let (name, remedy) = (quoted.nth(1)?, quoted.nth(1)?);
    Some(format!("| 5{number} | {name} | {remedy} |\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `LOCKKEEPER_GOLDEN=write` brings the page up to date.
    #[test]
    fn the_page_is_up_to_date() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md");
        if std::env::var_os("LOCKKEEPER_GOLDEN").is_some_and(|value| value == "write") {
            std::fs::write(&path, reference()).expect("written");
        }
        let page = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            page == reference(),
            "run `lockkeeper docs reference > docs/reference.md`"
        );
    }

    #[test]
    fn every_public_procedure_has_its_parameters_and_every_view_its_columns() {
        let page = reference();
        assert!(
            page.contains("### `apply_cutover(in_apply_id, in_options, in_reason)`"),
            "{page}"
        );
        for (kind, name, text) in files().filter(|(_, name, _)| !name.starts_with('_')) {
            match kind {
                Kind::View => assert!(columns(text).is_some(), "{name}"),
                Kind::Procedure => assert!(text.contains("IN in_"), "{name} has no parameter"),
                Kind::Function | Kind::Trigger | Kind::Data => {}
            }
        }
        assert!(page.contains("| 50101 | lease_lost |"), "{page}");
    }
}
