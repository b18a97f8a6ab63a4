//! What is shipped: the package's files, the Debian package, the manual pages.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The answer of a program that succeeds.
#[track_caller]
fn run(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> String {
    let output = support::without_settings(&mut Command::new(program))
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("the program runs");
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_crate_has_all_that_its_build_and_its_tests_read() {
    let list = run(
        env!("CARGO"),
        &["package", "--list", "--allow-dirty", "--offline"],
    );
    for file in [
        "build.rs",
        "sql/views/health.sql",
        "migrations/V0001__create_installed_object.sql",
        "docker/debian-mysql.sh",
        "docker/grafana/dashboards/lockkeeper.json",
        "docker/alerts.yaml",
        "docs/reference.md",
        "tests/golden/watch-80.txt",
        "src/server/supervisor.sh",
        "README.md",
    ] {
        assert!(
            list.lines().any(|line| line == file),
            "{file} is not in the package"
        );
    }
    assert!(!list.contains("target/"), "{list}");
}

#[test]
fn the_image_is_built_with_a_compiler_that_the_crate_takes() {
    let text = |file| std::fs::read_to_string(root().join(file)).expect(file);
    let manifest = text("Cargo.toml");
    let (_, rest) = manifest.split_once("rust-version = \"").expect("it is set");
    let (version, _) = rest.split_once('"').expect("a version");
    let image = text("docker/driver.Dockerfile");
    assert!(image.contains(&format!("FROM rust:{version}-")), "{image}");
}

/// The environment beats the file: what the unit sets, nobody could change there.
#[test]
fn the_service_is_set_up_by_its_file_alone() {
    let unit = std::fs::read_to_string(root().join("packaging/lockkeeper.service")).expect("read");
    assert!(!unit.contains("LOCKKEEPER_"), "{unit}");
    let shipped = std::fs::read_to_string(root().join("packaging/config.toml")).expect("read");
    assert!(shipped.contains("\nlog = \"info\"\n"), "{shipped}");

    // With everything in it that it shows as an example.
    let uncommented = shipped.lines().map(|line| match line.strip_prefix("# ") {
        Some(example) if example.starts_with('[') || example.contains(" = ") => example,
        _ => line,
    });
    let uncommented: String = uncommented.map(|line| format!("{line}\n")).collect();
    assert!(uncommented.contains("\n[deployment]\n"), "{uncommented}");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), uncommented).expect("written");
    let path = file.path().to_str().expect("a plain path");
    run(
        env!("CARGO_BIN_EXE_lockkeeper"),
        &["--config", path, "install", "--print"],
    );
}

/// No `.git` is in its context: what `--version` tells there is handed over.
#[test]
fn the_image_is_told_which_commit_it_is_built_from() {
    let text = |file| std::fs::read_to_string(root().join(file)).expect(file);
    let image = text("docker/driver.Dockerfile");
    let (before, _) = image.split_once("RUN cargo build").expect("it is built");
    assert!(before.contains("\nARG LOCKKEEPER_COMMIT\n"), "{image}");
    assert!(text("docker/compose.yaml").contains("LOCKKEEPER_COMMIT: ${LOCKKEEPER_COMMIT"));
    assert!(text("build.rs").contains("env::var(\"LOCKKEEPER_COMMIT\")"));
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a plain path");
    run(env!("CARGO_BIN_EXE_lockkeeper"), &["docs", "man", path]);
    for page in [
        "lockkeeper.1",
        "lockkeeper-submit.1",
        "lockkeeper-watch.1",
        "lockkeeper-drive.1",
    ] {
        let text = std::fs::read_to_string(folder.path().join(page)).expect(page);
        assert!(text.contains(".TH"), "{page}");
    }
}

/// Into a folder, as root of its own namespace at best: its scripts and dependencies are for a real system.
fn is_installed_and_removed_by_dpkg(package: &str, place: &Path) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: dpkg --install is not tested");
        return;
    }
    for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates"] {
        std::fs::create_dir_all(place.join(folder)).expect("a folder");
    }
    std::fs::write(place.join("var/lib/dpkg/status"), "").expect("written");
    let root = format!("--root={}", place.display());
    let dpkg = |arguments: &[&str]| {
        let mut all = vec![
            root.as_str(),
            "--force-depends",
            "--force-script-chrootless",
        ];
        all.extend(arguments);
        run("dpkg", &all)
    };
    // Configuring would make an account on this very machine.
    dpkg(&["--unpack", package]);
    let status = dpkg(&["--status", "lockkeeper"]);
    assert!(status.contains("install ok unpacked"), "{status}");
    assert!(place.join("usr/bin/lockkeeper").exists());
    dpkg(&["--remove", "lockkeeper"]);
    assert!(!place.join("usr/bin/lockkeeper").exists());
}

#[test]
fn the_debian_package_has_its_files_with_their_modes() {
    if !Path::new("/usr/bin/dpkg-deb").exists() {
        eprintln!("no dpkg-deb here: the Debian package is not tested");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a plain path");
    run(
        "packaging/deb.sh",
        &[env!("CARGO_BIN_EXE_lockkeeper"), path],
    );
    let package = std::fs::read_dir(folder.path())
        .expect("listed")
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .expect("a package");
    let package = package.to_str().expect("a plain path");
    let contents = run("dpkg-deb", &["--contents", package]);
    for (mode, file) in [
        ("-rwxr-xr-x", "./usr/bin/lockkeeper"),
        ("-rw-------", "./etc/lockkeeper/config.toml"),
        ("-rw-r--r--", "./usr/lib/systemd/system/lockkeeper.service"),
        ("-rw-r--r--", "./usr/share/man/man1/lockkeeper.1.gz"),
        ("-rw-r--r--", "./usr/share/doc/lockkeeper/docs/operators.md"),
        ("-rw-r--r--", "./usr/share/doc/lockkeeper/copyright"),
    ] {
        assert!(
            contents
                .lines()
                .any(|line| line.starts_with(mode) && line.ends_with(file)),
            "{mode} {file}: {contents}"
        );
    }
    let tree = folder.path().join("tree");
    run(
        "dpkg-deb",
        &["--extract", package, tree.to_str().expect("a plain path")],
    );
    let version = run(tree.join("usr/bin/lockkeeper"), &["--version"]);
    assert!(
        version.contains("(commit ") && version.contains("API version 1)"),
        "{version}"
    );
    is_installed_and_removed_by_dpkg(package, &folder.path().join("root"));
    for (destination, mode) in assets() {
        assert!(
            contents
                .lines()
                .any(|line| line.starts_with(mode) && line.contains(&format!("./{destination}"))),
            "{mode} {destination} of [package.metadata.deb]: {contents}"
        );
    }
    // And nothing else, but for what `license-file` becomes.
    let files = contents.lines().filter(|line| line.starts_with('-'));
    for line in files.filter(|line| !line.ends_with("/copyright")) {
        let known = assets()
            .iter()
            .any(|(destination, _)| line.contains(&format!("./{destination}")));
        assert!(known, "not in [package.metadata.deb]: {line}");
    }
    let scripts = std::fs::read_dir(root().join("packaging/debian")).expect("listed");
    let control = run("dpkg-deb", &["--info", package]);
    for script in scripts.flatten() {
        let name = script.file_name().into_string().expect("a plain name");
        assert!(control.contains(&format!("*  {name}")), "{name}: {control}");
    }
}

/// Where `cargo deb` puts files, and their modes as `dpkg-deb` shows them.
fn assets() -> Vec<(String, &'static str)> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let (_, assets) = manifest.split_once("\nassets = [\n").expect("its assets");
    let (assets, _) = assets.split_once("\n]").expect("their end");
    let each = assets.lines().map(|line| {
        let [_, destination, mode]: [String; 3] =
            serde_json::from_str(line.trim().trim_end_matches(',')).expect("three texts");
        let mode = match mode.as_str() {
            "755" => "-rwxr-xr-x",
            "644" => "-rw-r--r--",
            "600" => "-rw-------",
            other => panic!("mode {other}"),
        };
        (destination, mode)
    });
    each.collect()
}
