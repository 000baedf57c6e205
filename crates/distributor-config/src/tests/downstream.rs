//! The list of downstreams: its defaults, rules, and its secrets.

use std::path::Path;
use std::time::Duration;

use expect_test::expect;

use super::{Process, from_yaml, yaml_mistakes};
use crate::{Mode, render_json, render_yaml};

const COMPLETE: &str = "\
distributor:
  downstream:
    - name: main
      url: https://mimir.example.com/api/v1/push
      remote_timeout: 5s
      headers:
        X-Api-Key: hunter2
      tenant_header: ''
      basic_auth: {username: user, password: hunter2}
      tls: {server_name: mimir, insecure_skip_verify: true}
      max_concurrency: 7
    - url: http://user:hunter2@b.example.com/write
    - url: http://[::1]:9009/push
      bearer_token: hunter2
";

#[test]
fn entries_take_their_settings_and_defaults() {
    let config = from_yaml(COMPLETE);
    let [main, second, third] = config.distributor.push.downstream.as_slice() else {
        panic!("three entries");
    };
    assert_eq!(main.name, "main");
    assert_eq!(main.remote_timeout, Duration::from_secs(5));
    assert_eq!(main.headers["X-Api-Key"].expose(), "hunter2");
    assert_eq!(main.tenant_header, "");
    assert_eq!(
        main.basic_auth.as_ref().unwrap().password.expose(),
        "hunter2"
    );
    assert_eq!(main.tls.server_name.as_deref(), Some("mimir"));
    assert!(main.tls.insecure_skip_verify);
    assert_eq!(main.max_concurrency, 7);
    assert_eq!(second.name, "b.example.com:80");
    assert_eq!(second.tenant_header, "X-Scope-OrgID");
    assert_eq!(
        second.url.expose(),
        "http://user:hunter2@b.example.com/write"
    );
    assert_eq!((&second.basic_auth, &second.bearer_token), (&None, &None));
    assert_eq!(second.remote_timeout, Duration::from_secs(20));
    assert_eq!(third.name, "[::1]:9009");
    assert_eq!(third.bearer_token.as_ref().unwrap().expose(), "hunter2");
}

#[test]
fn secrets_are_never_shown() {
    let config = from_yaml(COMPLETE);
    let shown = [
        format!("{config:?}"),
        format!("{config:#?}"),
        render_yaml(&config, Mode::Full),
        render_yaml(&config, Mode::Diff),
        render_json(&config, Mode::Full).to_string(),
        serde_json::to_string(&config).unwrap(),
    ];
    for text in shown {
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("********"), "{text}");
    }
}

#[test]
fn a_later_list_replaces_an_earlier_one() {
    let process = Process {
        files: &[("c.yaml", COMPLETE)],
        flags: &["-distributor.downstream.url=http://only/"],
        ..Process::default()
    };
    assert_eq!(process.config().distributor.push.downstream.len(), 1);
    assert!(
        from_yaml("distributor: {downstream: []}")
            .distributor
            .push
            .downstream
            .is_empty()
    );
}

#[test]
fn rules_of_an_entry() {
    let text = "\
distributor:
  downstream:
    - name: nameless
    - http://x
    - url: http://a/
      nme: x
      headers: {'bad name': x, Content-Type: y, X-Ok: \"a\\nhunter2\"}
    - url: http://b/
      bearer_token: hunter2
      bearer_token_file: /nonexistent/token
      basic_auth: {password: hunter2}
    - url: http://c/
      tls: {key_file: /nonexistent/key}
      remote_timeout: 0
      max_concurrency: 0
    - url: http://d:80/
      tenant_header: 'a b'
    - url: http://d/x
    - url: http://d/y
    - url: http://user:hunter2@/nohost
";
    expect![[r#"
        the configuration has 14 mistakes:
          c.yaml:3: distributor.downstream[0].url: missing; every downstream needs a url
          c.yaml:4: distributor.downstream[1]: got a single value; must be a mapping with a url
          c.yaml:6: distributor.downstream[2].nme: unknown key; did you mean name?
          c.yaml:7: distributor.downstream[2].headers.bad name: must be the name of an HTTP header
          c.yaml:7: distributor.downstream[2].headers.Content-Type: this header is set by the program; remove it
          c.yaml:7: distributor.downstream[2].headers.X-Ok: must be text that an HTTP header can hold
          c.yaml:8: distributor.downstream[3].basic_auth.username: missing; basic_auth needs a username
          c.yaml:10: distributor.downstream[3].bearer_token_file: several kinds of authentication are set (basic_auth.username, bearer_token, bearer_token_file); keep one of them
          c.yaml:10: distributor.downstream[3].bearer_token_file: got "/nonexistent/token"; must be a readable file: No such file or directory (os error 2)
          c.yaml:14: distributor.downstream[4].remote_timeout: got "0"; must be a duration such as 1m30s or 500ms; more than 0
          c.yaml:15: distributor.downstream[4].max_concurrency: got "0"; must be a whole number from 1
          c.yaml:17: distributor.downstream[5].tenant_header: got "a b"; must be the name of an HTTP header
          c.yaml:20: distributor.downstream[8].url: got "http://********@/nohost"; must be an http:// or https:// URL with a host
          c.yaml:19: distributor.downstream: an earlier entry also has the name "d:80"; give each a different name"#]].assert_eq(&yaml_mistakes(text));
}

#[test]
fn a_token_file_that_exists_is_taken() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = from_yaml(&format!(
        "distributor: {{downstream: [{{url: 'http://a/', bearer_token_file: '{}'}}]}}",
        file.path().display()
    ));
    let path = config.distributor.push.downstream[0]
        .bearer_token_file
        .as_deref();
    assert_eq!(path, Some::<&Path>(file.path()));
}
