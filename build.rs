//! Embeds `migrations/` and `sql/` into the program, and the commit that it is built from.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Folder of `sql/`, and the variant of `install::Kind`.
const KINDS: [(&str, &str); 5] = [
    ("functions", "Function"),
    ("views", "View"),
    ("procedures", "Procedure"),
    ("triggers", "Trigger"),
    ("data", "Data"),
];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let mut code =
        String::from("pub(in crate::install) static OBJECTS: &[(Kind, &str, &str)] = &[\n");
    for (folder, kind) in KINDS {
        for file in sql_files(&root.join("sql").join(folder)) {
            let name = stem(&file);
            writeln!(
                code,
                "    (Kind::{kind}, {name:?}, include_str!({file:?})),"
            )
            .expect("text");
        }
    }
    code.push_str("];\n\npub(in crate::install) static MIGRATIONS: &[(&str, &str)] = &[\n");
    for file in sql_files(&root.join("migrations")) {
        let name = stem(&file);
        writeln!(code, "    ({name:?}, include_str!({file:?})),").expect("text");
    }
    code.push_str("];\n");
    fs::write(out.join("embedded.rs"), code).expect("the generated list");

    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=sql");
    println!("cargo::rerun-if-changed=migrations");
    println!("cargo::rustc-env=LOCKKEEPER_COMMIT={}", commit(&root));
}

/// In the order of their names, on every machine.
fn sql_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    files
}

fn stem(file: &Path) -> &str {
    file.file_stem()
        .and_then(|stem| stem.to_str())
        .expect("file names are plain")
}

/// The commit that somebody says it is, else that of the work tree, or the one that a package was made from.
fn commit(root: &Path) -> String {
    println!("cargo::rerun-if-env-changed=LOCKKEEPER_COMMIT");
    if let Ok(said) = env::var("LOCKKEEPER_COMMIT")
        && !said.trim().is_empty()
    {
        return said.trim().to_owned();
    }
    if let Ok(info) = fs::read_to_string(root.join(".cargo_vcs_info.json"))
        && let Some(sha) = info.split('"').find(|word| {
            word.len() == 40 && word.chars().all(|character| character.is_ascii_hexdigit())
        })
    {
        return sha[..12].to_owned();
    }
    let git = |arguments: &[&str]| {
        Command::new("git")
            .arg("-C")
            .arg(root)
            .args(arguments)
            .output()
            .ok()
            .filter(|output| output.status.success())
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        // Every commit and checkout adds a line to it.
        println!("cargo::rerun-if-changed={}", root.join(log).display());
    }
    git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned())
}
