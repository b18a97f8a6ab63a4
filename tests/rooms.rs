//! The rooms of the engine stand one above the other, as ARCHITECTURE.md lists them: each uses only rooms below its own.

use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// As they are listed, from the leaves up.
fn rooms() -> Vec<String> {
    let text = fs::read_to_string(repository().join("ARCHITECTURE.md")).expect("a map");
    let (_, table) = text.split_once("from the leaves up").expect("a table");
    let rows = table.lines().skip_while(|line| !line.starts_with("| `"));
    rows.map_while(|row| row.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| {
            name.trim_end_matches('/')
                .trim_end_matches(".rs")
                .to_owned()
        })
        .collect()
}

fn sources(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(sources(&path)),
            false => found.push(path),
        }
    }
    found
}

/// The first names of all paths that begin with `prefix`: of `a::b` it is `a`, of `{a::b, c}` both `a` and `c`.
fn named_after(prefix: &str, code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in code.split(prefix).skip(1) {
        let mut depth = 0;
        let mut name = Some(String::new());
        for c in rest.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => {
                    names.extend(name.replace(String::new()));
                    continue;
                }
                _ => {}
            }
            let is_part = c.is_alphanumeric() || c == '_';
            match &mut name {
                Some(part) if is_part => part.push(c),
                Some(part) if !part.is_empty() => names.extend(name.take()),
                Some(_) | None => {}
            }
            if depth == 0 && !is_part {
                break;
            }
        }
    }
    names
}

#[test]
fn first_names_are_read_from_paths_and_groups() {
    let code = "use x::a::b; let c = x::d::E; use x::{f::{g, h}, i,\n j};";
    assert_eq!(named_after("x::", code), ["a", "d", "f", "i", "j"]);
}

#[test]
fn a_room_uses_only_rooms_below_it() {
    let rooms = rooms();
    let engine = repository().join("src/engine");
    let mut upward = Vec::new();
    for (floor, room) in rooms.iter().enumerate() {
        let top = engine.join(format!("{room}.rs"));
        assert!(top.is_file(), "{room} is listed and is no room");
        let mut files = sources(&engine.join(room));
        files.push(top.clone());
        for file in files {
            let text = fs::read_to_string(&file).expect("a source");
            let code: Vec<&str> = text
                .lines()
                .map(|line| line.split("//").next().unwrap_or(line))
                .collect();
            let code = code.join("\n");
            let mut names = named_after("crate::engine::", &code);
            if file == top {
                names.extend(named_after("super::", &code));
            }
            let above = names
                .iter()
                .filter(|name| rooms[floor + 1..].contains(name));
            upward.extend(above.map(|name| format!("{} uses {name}", file.display())));
        }
    }
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

#[test]
fn every_folder_of_the_engine_is_listed() {
    let rooms = rooms();
    for entry in fs::read_dir(repository().join("src/engine")).expect("the engine") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        assert!(
            !path.is_dir() || rooms.contains(&name.into_owned()),
            "{}",
            path.display()
        );
    }
}
