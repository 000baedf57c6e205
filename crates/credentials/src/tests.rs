//! Who is recognised, and which lists are refused.

use settings::{Report, Secret};

use super::*;

fn user(name: &str, password: &str) -> CredentialConfig {
    CredentialConfig {
        username: name.to_owned(),
        password: Some(Secret::new(password)),
        ..CredentialConfig::default()
    }
}

fn token(token: &str) -> CredentialConfig {
    CredentialConfig {
        bearer_token: Some(Secret::new(token)),
        ..CredentialConfig::default()
    }
}

fn basic(pair: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
    format!("Basic {encoded}")
}

fn identify<'c>(credentials: &'c Credentials, header: &str) -> Result<&'c str, Denied> {
    let header = HeaderValue::from_str(header).unwrap();
    let identity = credentials.identify(Some(&header))?;
    Ok(&identity.name)
}

#[test]
fn users_and_tokens_are_recognised() {
    let list = [
        user("one", "p:1"),
        user("two", "ü"),
        CredentialConfig {
            name: "named".to_owned(),
            ..token("t0ken")
        },
    ];
    let credentials = Credentials::new(&list, Path::new("")).unwrap();
    for (header, expected) in [
        (basic("one:p:1"), Ok("one")),
        (basic("two:ü"), Ok("two")),
        (basic("one:p:1").replace("Basic", "bAsIc"), Ok("one")),
        ("Bearer t0ken".to_owned(), Ok("named")),
        ("bearer  t0ken".to_owned(), Ok("named")),
        (basic("one:p:2"), Err(Denied::Unknown)),
        (basic("one"), Err(Denied::Unknown)),
        (basic("t0ken"), Err(Denied::Unknown)),
        ("Bearer one:p:1".to_owned(), Err(Denied::Unknown)),
        ("Bearer T0ken".to_owned(), Err(Denied::Unknown)),
        ("Basic !".to_owned(), Err(Denied::Malformed)),
        ("Digest x".to_owned(), Err(Denied::Malformed)),
        ("t0ken".to_owned(), Err(Denied::Malformed)),
    ] {
        assert_eq!(identify(&credentials, &header), expected, "{header}");
    }
    assert_eq!(credentials.identify(None), Err(Denied::Missing));
    let shown = format!("{credentials:?}");
    assert!(!shown.contains("t0ken"), "{shown}");
}

#[test]
fn an_empty_list_recognises_nothing() {
    let nothing = Credentials::new(&[], Path::new("")).unwrap();
    assert_eq!(identify(&nothing, &basic(":")), Err(Denied::Unknown));
    assert_eq!(identify(&nothing, "Bearer "), Err(Denied::Unknown));
}

#[test]
fn secrets_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("password"), "p\n").unwrap();
    std::fs::write(folder.path().join("token"), " t ").unwrap();
    let list = [
        CredentialConfig {
            password: None,
            password_file: Some("password".into()),
            ..user("one", "")
        },
        CredentialConfig {
            bearer_token_file: Some("token".into()),
            ..CredentialConfig::default()
        },
    ];
    let credentials = Credentials::new(&list, folder.path()).unwrap();
    assert_eq!(identify(&credentials, &basic("one:p")), Ok("one"));
    assert_eq!(identify(&credentials, "Bearer t"), Ok("a bearer token"));
    assert_eq!(credentials.files().len(), 2);
    std::fs::write(folder.path().join("token"), "\n").unwrap();
    let error = Credentials::new(&list, folder.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("token: is empty; it must contain the secret")
    );
}

#[test]
fn a_credential_may_be_bound_to_tenants() {
    let identity = |tenants: &[&str]| Identity {
        name: "x".to_owned(),
        tenants: tenants.iter().map(|tenant| (*tenant).to_owned()).collect(),
    };
    assert!(identity(&[]).may_send_for("a"));
    assert!(identity(&["a", "b"]).may_send_for("b"));
    assert!(!identity(&["a", "b"]).may_send_for("c"));
    assert_eq!(identity(&["a"]).only_tenant(), Some("a"));
    assert_eq!(identity(&["a", "b"]).only_tenant(), None);
    assert_eq!(identity(&[]).only_tenant(), None);
}

#[test]
fn an_entry_has_one_secret_and_a_user_only_with_a_password() {
    let mistakes = |config: &CredentialConfig| {
        let mut report = Report::default();
        config.check(&mut report);
        let result = report.into_result();
        result.map_or_else(|mistakes| mistakes.to_string(), |()| String::new())
    };
    assert_eq!(mistakes(&user("one", "p")), "");
    assert_eq!(mistakes(&token("t")), "");
    for (config, expected) in [
        (CredentialConfig::default(), "password: missing"),
        (user("", "p"), "username: missing"),
        (user("a:b", "p"), "contains a colon"),
        (
            CredentialConfig {
                username: "one".to_owned(),
                ..token("t")
            },
            "a bearer token has no user",
        ),
        (
            CredentialConfig {
                bearer_token: Some(Secret::new("t")),
                ..user("one", "p")
            },
            "bearer_token: is one of several secrets (password, bearer_token); keep one",
        ),
    ] {
        let found = mistakes(&config);
        assert!(found.contains(expected), "{found}");
    }
}
