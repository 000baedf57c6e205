//! Files of credentials.

use expect_test::expect;

use crate::read_credentials;

fn read(text: &str) -> Result<Vec<::credentials::CredentialConfig>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.yaml");
    std::fs::write(&path, text).unwrap();
    let folder = format!("{}/", folder.path().display());
    read_credentials(&path).map_err(|errors| errors.to_string().replace(&folder, ""))
}

#[test]
fn entries_are_users_and_tokens() {
    let text = "credentials:\n- {username: a, password: p, tenants: [x, y]}\n- bearer_token: t\n";
    let list = read(text).unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!((list[0].label(), list[0].tenants.len()), ("a", 2));
    assert_eq!(list[1].bearer_token.as_ref().unwrap().expose(), "t");
}

#[test]
fn mistakes_have_their_lines_and_no_secrets() {
    let text = "credentials:\n\
                - username: a\n  password: hush\n  bearer_token: hush\n\
                - {username: b}\n\
                - pasword: hush\n\
                - {bearer_token: hush, tenants: [a/b]}\n\
                - 7\n\
                users: {}\n";
    let mistakes = read(text).unwrap_err();
    assert!(!mistakes.contains("hush"), "{mistakes}");
    expect![[r#"
        the configuration has 6 mistakes:
          c.yaml:9: users: unknown key; known here: credentials
          c.yaml:4: credentials[0].bearer_token: is one of several secrets (password, bearer_token); keep one
          c.yaml:5: credentials[1].password: missing; an entry needs one of password, password_file, bearer_token and bearer_token_file
          c.yaml:6: credentials[2].pasword: unknown key; did you mean password?
          c.yaml:7: credentials[3].tenants: got "a/b"; the tenant ID "a/b" contains '/'; allowed are letters, digits and !-_.*'()
          c.yaml:8: credentials[4]: got a single value; must be a mapping"#]]
    .assert_eq(&mistakes);
}

#[test]
fn a_file_that_would_refuse_everything_is_refused() {
    for text in ["", "{}", "credentials: []", "credentials: {}"] {
        read(text).unwrap_err();
    }
}
