//! Which setting wins, and what is refused.

use super::*;

fn file(text: &str) -> Result<Settings, ConfigError> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    Settings::of(
        Layer::named("flags"),
        Layer::named("environment"),
        read(file.path())?,
    )
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let file = Layer::named("file")
        .with("driver", Some("of-file"))
        .with("concurrency", Some(2))
        .with("deployment.user", Some("of-file"))
        .with("deployment.ssl_mode", Some("REQUIRED"));
    let variables = |name: &str| match name {
        "LOCKKEEPER_CONCURRENCY" => Some("3".to_owned()),
        "LOCKKEEPER_DEPLOYMENT_USER" => Some("of-environment".to_owned()),
        "LOCKKEEPER_DRIVER" => Some(String::new()),
        _ => None,
    };
    let flags = Layer::named("flags").with("concurrency", Some(4));
    let settings = Settings::of(flags, environment(variables).expect("good"), file).expect("good");
    assert_eq!(settings.concurrency, Some(4));
    assert_eq!(settings.deployment.user.as_deref(), Some("of-environment"));
    assert_eq!(settings.deployment.ssl_mode, Some(TlsMode::Required));
    assert_eq!(
        settings.driver.as_deref(),
        Some("of-file"),
        "an empty variable is none"
    );
}

/// What is said of TLS in the file, in the environment and by flags.
fn tls_of(sources: [(Option<&str>, Option<&str>); 3]) -> (Option<TlsMode>, Option<String>) {
    let [file, environment, flags] = sources.map(|(mode, authority)| {
        Layer::named("one")
            .with("deployment.ssl_mode", mode)
            .with("deployment.ssl_ca", authority)
    });
    let settings = Settings::of(flags, environment, file).expect("good settings");
    let authority = settings.deployment.ssl_ca;
    (
        settings.deployment.ssl_mode,
        authority.map(|path| path.display().to_string()),
    )
}

#[test]
fn a_mode_and_an_authority_that_void_each_other_do_not_come_together_from_two_sources() {
    let none = (None, None);
    let checks = (Some("VERIFY_IDENTITY"), Some("A"));
    let not = (Some("REQUIRED"), None);
    let authority = (None, Some("B"));
    let required = (Some(TlsMode::Required), None);
    assert_eq!(tls_of([checks, none, not]), required);
    assert_eq!(tls_of([checks, not, none]), required);
    assert_eq!(tls_of([none, checks, not]), required);
    assert_eq!(tls_of([not, none, authority]), (None, Some("B".to_owned())));
    let other = (Some(TlsMode::VerifyIdentity), Some("B".to_owned()));
    assert_eq!(tls_of([checks, none, authority]), other);
    assert_eq!(tls_of([checks, not, authority]), other);
}

#[test]
fn a_source_of_the_password_beats_another_one_of_a_lower_source() {
    let file = || Layer::named("file").with("deployment.password_file", Some("/of/the/file"));
    let environment = Layer::named("environment").with("deployment.password", Some("its"));
    let settings = Settings::of(Layer::named("flags"), environment, file()).expect("good");
    assert!(settings.deployment.password.is_some());
    assert_eq!(settings.deployment.password_file, None);
    let both = file().with("deployment.password", Some("its"));
    let refused = Settings::of(Layer::named("flags"), Layer::named("environment"), both);
    assert!(refused.is_err(), "two in one place");
}

#[test]
fn a_flag_or_a_variable_stands_over_what_the_file_says_of_one_deployment() {
    let text = "[deployments.\"eu.1\"]\nuser = \"own\"\npassword_file = \"/own\"\nssl_mode = \"REQUIRED\"\n";
    let given = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(given.path(), text).expect("written");
    let of = |flags, environment| {
        let file = read(given.path()).expect("good");
        let settings = Settings::of(flags, environment, file).expect("good settings");
        settings.deployments["eu.1"].clone()
    };
    let one = of(
        Layer::named("flags").with("deployment.ssl_ca", Some("/of/a/flag")),
        Layer::named("environment").with("deployment.password", Some("its")),
    );
    assert_eq!(one.user.as_deref(), Some("own"), "what nobody else says");
    assert_eq!((one.password_file, one.ssl_mode), (None, None));
    let one = of(
        Layer::named("flags").with("deployment.ssl_mode", Some("VERIFY_IDENTITY")),
        Layer::named("environment").with("deployment.user", Some("of-environment")),
    );
    assert_eq!((one.user, one.ssl_mode), (None, None));
    assert!(one.password_file.is_some());
}

#[test]
fn numbers_and_addresses_within_their_bounds_are_taken() {
    for number in [1, 1000] {
        let settings = file(&format!("concurrency = {number}\n")).expect("good");
        assert_eq!(settings.concurrency, Some(number));
    }
    let settings = file("end_seconds = 3600\n").expect("good");
    assert_eq!(settings.end_seconds, Some(3600));
    let settings = file("metrics_listen = \"[::1]:9187\"\n").expect("good");
    assert_eq!(settings.metrics_listen, "[::1]:9187".parse().ok());
}

#[test]
fn a_refusal_names_the_key_and_where_it_stands() {
    for (text, key) in [
        (
            "[deployment]\nssl_mode = \"REQUIERD\"\n",
            "deployment.ssl_mode",
        ),
        (
            "[deployments.eu-1]\nssl_mode = \"REQUIERD\"\n",
            "deployments.eu-1.ssl_mode",
        ),
    ] {
        let refused = file(text).expect_err(text).to_string();
        assert!(refused.starts_with(&format!("{key} (/")), "{refused}");
        assert!(refused.contains("'REQUIERD' is unknown"), "{refused}");
    }
    for (text, said) in [
        (
            "concurrency = 0\n",
            "0 is refused; it is a number from 1 to 1000",
        ),
        (
            "end_seconds = 0\n",
            "0 is refused; it is a number from 1 to 3600",
        ),
        (
            "concurrency = 60000\n",
            "60000 is refused; it is a number from 1 to 1000",
        ),
        (
            "metrics_listen = \"localhost:9187\"\n",
            "'localhost:9187' is refused; it is an IP address and a port, such as 127.0.0.1:9187",
        ),
    ] {
        let refused = file(text).expect_err(text).to_string();
        let (key, _) = text.split_once(' ').expect("a key");
        assert!(refused.starts_with(&format!("{key} (/")), "{refused}");
        assert!(refused.ends_with(said), "{refused}");
    }
    let text = "[deployments.\"db-1.eu\"]\npassword_file = \"a\"\npassword = \"b\"\n";
    let refused = file(text).expect_err(text).to_string();
    assert!(refused.starts_with("deployments.db-1.eu (/"), "{refused}");
}

#[test]
fn a_password_of_digits_stays_text() {
    let variables =
        |name: &str| (name == "LOCKKEEPER_DEPLOYMENT_PASSWORD").then(|| "0123".to_owned());
    let none = || Layer::named("none");
    let settings =
        Settings::of(none(), environment(variables).expect("good"), none()).expect("good");
    let password = settings.deployment.password.expect("a password");
    assert_eq!(password.expose(), "0123");
}

#[test]
fn no_message_about_a_file_repeats_a_secret() {
    for text in [
        "[deployment]\npassword = hunter2\n",
        "[deployment]\npassword = \"hunter2\nuser = \"a\"\n",
        "[deployments.eu-1]\npassword = [\"hunter2\"]\n",
        "[deployments.eu-1]\npassword = 42424242\n",
        "[deployment]\npassword = \"hunter2\"\npasword = \"x\"\n",
        "[deployment]\npassword = \"hunter2\"\npassword_file = \"x\"\n",
    ] {
        let refused = file(text).expect_err(text);
        let said = format!("{refused} {refused:?}");
        assert!(
            !said.contains("hunter2") && !said.contains("42424242"),
            "{said}"
        );
    }
}

#[test]
fn debug_output_hides_every_secret() {
    let settings =
        file("url = \"mysql://a:hunter2@db\"\n[deployments.x]\npassword = \"hunter2\"\n");
    let settings = settings.expect("good");
    assert!(!format!("{settings:?} {settings:#?}").contains("hunter2"));
}

#[test]
fn a_file_with_secrets_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "[deployment]\npassword = \"x\"\n").expect("written");
    let allow = |mode| {
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).expect("set");
        read(file.path()).map(drop)
    };
    assert!(allow(0o600).is_ok());
    let refused = allow(0o640).expect_err("others may read it").to_string();
    assert!(refused.contains("chmod 600"), "{refused}");
    std::fs::write(file.path(), "driver = \"x\"\n").expect("written");
    assert!(allow(0o644).is_ok(), "nothing secret is in it");
}

#[test]
fn an_unknown_key_is_named() {
    let refused = file("concurency = 3\n").expect_err("a slip").to_string();
    assert!(refused.contains("concurency"), "{refused}");
}

/// The table in the documentation is this one.
#[test]
fn the_documentation_has_every_option() {
    let mut expected =
        String::from("| file | environment | flag | meaning |\n| --- | --- | --- | --- |\n");
    for option in OPTIONS {
        let code = |text: Option<&str>| text.map_or("–".to_owned(), |text| format!("`{text}`"));
        expected.push_str(&format!(
            "| `{}` | {} | {} | {} |\n",
            option.key,
            code(Some(option.variable)),
            code(option.flag),
            option.meaning
        ));
    }
    let page = include_str!("../../docs/configuration.md");
    assert!(
        page.contains(&expected),
        "docs/configuration.md has no such table:\n{expected}"
    );
}

#[test]
fn a_mistyped_variable_is_named_and_those_of_others_are_passed() {
    let found = |name: &str| mistyped([name.to_owned()].into_iter());
    let said = found("LOCKKEEPER_CONCURENCY").expect("mistyped");
    assert!(said.contains("write LOCKKEEPER_CONCURRENCY"), "{said}");
    assert!(found("LOCKKEEPER_DEPLOYMENT_PASWORD").is_some());
    for name in [
        "LOCKKEEPER_URL",
        "LOCKKEEPER_CONFIG",
        "LOCKKEEPER_PORT",
        "LOCKKEEPER_SERVICE_HOST",
        "LOCKKEEPER_TEST_URL",
        "LOCKKEEPER_FAIL_AT",
    ] {
        assert_eq!(found(name), None, "{name}");
    }
}
