//! Layers, flags and environment.

use std::time::Duration;

use expect_test::expect;

use super::{Process, flag_mistakes};
use crate::{Invocation, LogLevel};

#[test]
fn later_sources_win() {
    let file = (
        "c.yaml",
        "server: {http_listen_port: 1, grpc_listen_port: 2, log_level: debug}\n",
    );
    let second = ("d.yaml", "server: {grpc_listen_port: 3}\n");
    let config = Process {
        files: &[file, second],
        variables: &[
            ("HA_DISTRIBUTOR_SERVER__HTTP_LISTEN_PORT", "4"),
            ("HA_DISTRIBUTOR_SERVER__GRACEFUL_SHUTDOWN_TIMEOUT", "5s"),
            ("OTHER", "x"),
        ],
        flags: &["-server.graceful-shutdown-timeout=6s"],
    }
    .config();
    assert_eq!(config.server.http_listen_port, 4, "environment over YAML");
    assert_eq!(config.server.grpc_listen_port, 3, "later file over earlier");
    assert_eq!(
        config.server.log_level,
        LogLevel::Debug,
        "YAML over default"
    );
    assert_eq!(
        config.server.graceful_shutdown_timeout,
        Duration::from_secs(6),
        "flag over environment"
    );
    assert_eq!(
        config.limits.push.ha_replica_label, "__replica__",
        "default"
    );
}

#[test]
fn files_by_repeated_flags_and_by_commas() {
    let files = [
        ("a.yaml", "no_auth_tenant: a"),
        ("b.yaml", "no_auth_tenant: b"),
        ("c.yaml", ""),
    ];
    let loaded = Process {
        files: &files,
        flags: &["-config.file", "b.yaml, c.yaml"],
        ..Process::default()
    }
    .loaded();
    assert_eq!(loaded.files.len(), 5);
    assert_eq!(loaded.config.no_auth_tenant, "b");
}

#[test]
fn flags_are_as_in_go() {
    let flags = [
        "-server.http-listen-port",
        "1",
        "--server.grpc-listen-port=2",
        "-distributor.ha-tracker.enable",
        "-distributor.ha-tracker.enable-for-all-users=true",
        "--auth.multitenancy-enabled=false",
        "-distributor.ha-tracker.replica",
        "first",
        "-distributor.ha-tracker.replica=last=wins",
        "-distributor.ha-tracker.cluster",
        "-dash",
        "-distributor.downstream.url=http://a/push",
        "-distributor.downstream.url=http://b/push,https://c:1/push",
    ];
    let config = Process {
        flags: &flags,
        ..Process::default()
    }
    .config();
    assert_eq!(
        (
            config.server.http_listen_port,
            config.server.grpc_listen_port
        ),
        (1, 2)
    );
    assert!(config.distributor.ha_tracker.enable_ha_tracker);
    assert!(config.limits.push.accept_ha_samples);
    assert!(!config.multitenancy_enabled);
    assert_eq!(config.limits.push.ha_replica_label, "last=wins");
    assert_eq!(config.limits.push.ha_cluster_label, "-dash");
    let names: Vec<_> = config
        .distributor
        .push
        .downstream
        .iter()
        .map(|d| d.name.as_str())
        .collect();
    assert_eq!(names, ["a:80", "b:80", "c:1"]);
}

#[test]
fn booleans_are_as_in_go() {
    let is_on = |flags: &[&str]| {
        let process = Process {
            flags,
            ..Process::default()
        };
        process.config().distributor.ha_tracker.enable_ha_tracker
    };
    let name = "distributor.ha-tracker.enable";
    for value in ["1", "t", "T", "TRUE", "true", "True"] {
        assert!(is_on(&[&format!("-{name}={value}")]), "{value}");
        assert!(is_on(&[&format!("--{name}={value}"), "--"]), "{value}");
    }
    for value in ["0", "f", "F", "FALSE", "false", "False"] {
        assert!(!is_on(&[&format!("--{name}"), &format!("-{name}={value}")]));
    }
    // Go ends the flags at a value that follows without `=`, and drops the rest silently.
    expect![[r#"
        the configuration has 3 mistakes:
          false: the value of a boolean flag follows its =; write -distributor.ha-tracker.enable=false
          0: the value of a boolean flag follows its =; write -server.register-instrumentation=0
          -target=all: not a flag; flags begin with a dash"#]]
    .assert_eq(&flag_mistakes(&[
        &format!("-{name}"),
        "false",
        "-server.register-instrumentation",
        "0",
        "--",
        "-target=all",
    ]));
}

#[test]
fn a_flag_of_mimirs_takes_its_value() {
    let loaded = Process {
        flags: &[
            "-distributor.downstream.url=http://backend/push",
            "-ingester.ring.prefix=",
            "--ingester.ring.store",
            "-dash",
            "-ingester.ring.zone-awareness-enabled",
            "-ingester.ring.store=again",
            "-distributor.ha-tracker.sample-failover-timeout=7s",
        ],
        ..Process::default()
    }
    .loaded();
    let elections = &loaded.config.limits.elections;
    assert_eq!(elections.sample_failover_timeout, Duration::from_secs(7));
    let expected = "ignored settings of Mimir that have no effect in this program: \
                    -ingester.ring.prefix, -ingester.ring.store, -ingester.ring.zone-awareness-enabled";
    assert_eq!(loaded.warnings, [expected]);
    expect![[r#"
        the configuration has 2 mistakes:
          -ingester.ring.stoer: unknown flag; did you mean -ingester.ring.store?
          -ingester.ring.store: ingester.ring.kvstore.store: needs a value: text"#]]
    .assert_eq(&flag_mistakes(&[
        "-ingester.ring.stoer=a",
        "-ingester.ring.store",
    ]));
}

#[test]
fn flags_that_are_wrong() {
    let flags = [
        "-server.http-listen-prot=1",
        "stray",
        "-zzzzzzzzzzzz",
        "-distributor.ha-tracker.enable=perhaps",
        "-config.check=perhaps",
        "-distributor.downstream.url=http://a,ftp://u:hunter2@b",
        "-distributor.ha-tracker.store=consul",
        "-log.level",
    ];
    expect![[r#"
        the configuration has 7 mistakes:
          -server.http-listen-prot: unknown flag; did you mean -server.http-listen-port?
          stray: not a flag; flags begin with a dash
          -zzzzzzzzzzzz: unknown flag; -help-all lists all
          -log.level: server.log_level: needs a value: one of debug, info, warn, error
          -distributor.ha-tracker.enable: distributor.ha_tracker.enable_ha_tracker: got "perhaps"; must be true or false
          -config.check: got "perhaps"; must be true or false
          -distributor.downstream.url: distributor.downstream[1].url: got "ftp://********@b"; must be an http:// or https:// URL with a host"#]]
    .assert_eq(&flag_mistakes(&flags));
}

#[test]
fn environment_that_is_wrong() {
    let process = Process {
        variables: &[
            ("HA_DISTRIBUTOR_SERVER__HTTP_LISTEN_PROT", "1"),
            ("HA_DISTRIBUTOR_SERVER__HTTP_LISTEN_PORT", "65536"),
            ("HA_DISTRIBUTOR_QQQ__ZZZ", "1"),
        ],
        ..Process::default()
    };
    expect![[r#"
        the configuration has 3 mistakes:
          HA_DISTRIBUTOR_QQQ__ZZZ: unknown variable; no setting has this name
          HA_DISTRIBUTOR_SERVER__HTTP_LISTEN_PORT: server.http_listen_port: got "65536"; must be a port number from 0 to 65535
          HA_DISTRIBUTOR_SERVER__HTTP_LISTEN_PROT: unknown variable; did you mean HA_DISTRIBUTOR_SERVER__HTTP_LISTEN_PORT?"#]]
    .assert_eq(&process.mistakes());
}

#[test]
fn environment_takes_lists_and_top_level_settings() {
    let config = Process {
        variables: &[
            ("HA_DISTRIBUTOR_MULTITENANCY_ENABLED", "false"),
            (
                "HA_DISTRIBUTOR_DISTRIBUTOR__DOWNSTREAM",
                "http://a/, http://b/",
            ),
        ],
        ..Process::default()
    }
    .config();
    assert!(!config.multitenancy_enabled);
    assert_eq!(config.distributor.push.downstream.len(), 2);

    let earlier_place = "HA_DISTRIBUTOR_DISTRIBUTOR__HA_TRACKER__HA_TRACKER_FAILOVER_TIMEOUT";
    let process = Process {
        variables: &[(earlier_place, "50s")],
        ..Process::default()
    };
    assert_eq!(
        process.config().limits.elections.failover_timeout,
        Duration::from_secs(50)
    );
}

#[test]
fn variables_that_kubernetes_makes_of_services_are_no_mistake() {
    let variables = [
        ("HA_DISTRIBUTOR_SERVICE_HOST", "10.0.0.1"),
        ("HA_DISTRIBUTOR_SERVICE_PORT", "8080"),
        ("HA_DISTRIBUTOR_SERVICE_PORT_HTTP_METRICS", "8080"),
        ("HA_DISTRIBUTOR_PORT", "tcp://10.0.0.1:8080"),
        ("HA_DISTRIBUTOR_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("HA_DISTRIBUTOR_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("HA_DISTRIBUTOR_GOSSIP_PORT_7946_UDP_PROTO", "udp"),
    ];
    Process {
        variables: &variables,
        ..Process::default()
    }
    .config();
}

#[test]
fn what_the_command_line_asks_for() {
    let start = |flags: &[&str]| {
        Process {
            flags,
            ..Process::default()
        }
        .start()
    };
    assert!(matches!(start(&["-version"]), Ok(Invocation::Version)));
    assert!(matches!(
        start(&["--config.check"]),
        Ok(Invocation::Check(_))
    ));
    assert!(matches!(
        start(&["-config.check=false"]),
        Ok(Invocation::Run(_))
    ));
    assert!(matches!(start(&["-h"]), Ok(Invocation::Help(_))));
    assert!(start(&["-config.check", "-log.level=loud"]).is_err());
}

#[test]
fn expands_the_environment_in_files_when_asked() {
    let text = "\
no_auth_tenant: ${TENANT}
server:
  http_listen_port: ${PORT:8081}
  grpc_listen_port: $GRPC
  log_level: '${EMPTY:debug}'
limits:
  ha_replica_label: a$$b$
  ha_cluster_label: c${MISSING}
";
    let variables = [("TENANT", "t\n1"), ("GRPC", "9096"), ("EMPTY", "")];
    let loaded = Process {
        files: &[("c.yaml", text)],
        variables: &variables,
        flags: &["-config.expand-env=true"],
    }
    .loaded();
    let config = loaded.config;
    assert_eq!(config.no_auth_tenant, "t1");
    assert_eq!(
        (
            config.server.http_listen_port,
            config.server.grpc_listen_port
        ),
        (8081, 9096)
    );
    assert_eq!(config.server.log_level, LogLevel::Debug);
    assert_eq!(config.limits.push.ha_replica_label, "a$b$");
    assert_eq!(config.limits.push.ha_cluster_label, "c");
    expect![[r#"
        [
            "c.yaml: these environment variables are empty and have no default, so they are replaced by an empty text: MISSING",
            "no downstream is configured (distributor.downstream): accepted samples are counted and DROPPED; set the URL of a remote-write backend",
        ]
    "#]]
    .assert_debug_eq(&loaded.warnings);

    let unexpanded = Process {
        files: &[(
            "c.yaml",
            "no_auth_tenant: a\nlimits: {ha_replica_label: \"${X}\"}",
        )],
        ..Process::default()
    };
    assert_eq!(unexpanded.config().limits.push.ha_replica_label, "${X}");
}
