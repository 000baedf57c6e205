//! What is shown of fleets.

use std::time::Duration;

use expect_test::{Expect, expect};

use super::fleets::{comparison, fleet};
use crate::json::to_json;
use crate::judge::judge;
use crate::screen::{Style, render};
use crate::snapshot::Snapshot;

fn screen(before: &Snapshot, now: &Snapshot, expected: &Expect) {
    let mut before = before.clone();
    before.at -= Duration::from_secs(2);
    let text = render(&before, now, &judge(&before, now, None), Style::Plain);
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    expected.assert_eq(&text);
}

#[test]
fn a_screen_of_a_fleet_in_order() {
    let before = fleet([2; 3]);
    let mut now = fleet([2; 3]);
    now.targets[0].1.as_mut().unwrap().writes += 5;
    screen(
        &before,
        &now,
        &expect![[r#"
            HA tracker: consul -> memberlist                                                2023-11-14T22:13:20Z
             0 old store   1 multi  [2 mirroring]  3 memberlist primary   4 mirroring off   5 memberlist

            distributor step  reads      mirrors to writes/s  errors  behind members clusters
            d0:8080        2  consul     memberlist      2.5       0       0       3        1
            d1:8080        2  consul     memberlist      0.0       0       0       3        1
            d2:8080        2  consul     memberlist      0.0       0       0       3        1

            All on step 2 (mirroring to memberlist). SAFE to take step 3: memberlist is the primary.
              kvstore:
                store: multi
                multi: {primary: memberlist, secondary: consul, mirror_enabled: true}
                consul: ...
                memberlist: {join_members: [...]}
        "#]],
    );
    let done = fleet([5; 3]);
    screen(
        &done,
        &done,
        &expect![[r#"
            HA tracker: the old store -> memberlist                                         2023-11-14T22:13:20Z
             0 old store   1 multi   2 mirroring   3 memberlist primary   4 mirroring off  [5 memberlist]

            distributor step  reads      mirrors to writes/s  errors  behind members clusters
            d0:8080        5  memberlist          -        -       -       -       3        1
            d1:8080        5  memberlist          -        -       -       -       3        1
            d2:8080        5  memberlist          -        -       -       -       3        1

            All on step 5 (memberlist alone). DONE.
              The old store is no longer used. Remove it when you will not go back.
        "#]],
    );
}

#[test]
fn a_screen_of_problems() {
    let mut snapshot = fleet([3, 2, 2]);
    snapshot.targets[1].1 = Err("no answer within 20s".to_owned());
    let waiting = snapshot.targets[2].1.as_mut().unwrap();
    waiting.not_ready =
        Some("memberlist: joining the cluster, 1 of 3 addresses answered so far".to_owned());
    comparison(|found| found.older = 12)(waiting);
    let before = snapshot.clone();
    snapshot.targets[2].1.as_mut().unwrap().errors = 3;
    screen(
        &before,
        &snapshot,
        &expect![[r#"
            HA tracker: consul -> memberlist                                                2023-11-14T22:13:20Z
             0 old store   1 multi  [2 mirroring] [3 memberlist primary]  4 mirroring off   5 memberlist

            distributor step  reads      mirrors to writes/s  errors  behind members clusters
            d0:8080        3  memberlist     consul      0.0       0       0       3        1
            d1:8080        -  no answer within 20s
            d2:8080        2  consul     memberlist      0.0       3      12       3        1

            STOP  d1:8080: does not answer: no answer within 20s
                  -> check the address (of its HTTP server, with https:// if it uses TLS), start the
                     distributor, or wait for it; remove it from --targets only if it will not come back
            STOP  d2:8080: is not ready: memberlist: joining the cluster, 1 of 3 addresses answered so far
                  -> wait; if this lasts, its log says why
            STOP  1 of 2 are on step 3, and d2:8080 on step 2: a rollout is in progress, or was not completed
                  -> roll it out to d2:8080 too (or back, on d0:8080)
            STOP  d2:8080: 3 recent writes to memberlist failed
                  -> check memberlist: until it accepts writes again, the two stores diverge
            STOP  d2:8080: its secondary is behind in 12 keys (0 missing, 12 older)
                  -> wait until they are copied; if the number does not fall, /distributor/multi_kv and the log
                     say why

            Between steps 2 and 3. NOT SAFE to continue. Step 3 is:
              kvstore:
                store: multi
                multi: {primary: memberlist, secondary: consul, mirror_enabled: true}
                consul: ...
                memberlist: {join_members: [...]}
        "#]],
    );
    let verdict = judge(&before, &snapshot, None);
    let json = serde_json::to_string_pretty(&to_json(&snapshot, &verdict)).unwrap();
    expect![[r#"
        {
          "at": 1700000000,
          "findings": [
            {
              "severity": "stop",
              "target": "http://d1:8080",
              "to_do": "check the address (of its HTTP server, with https:// if it uses TLS), start the distributor, or wait for it; remove it from --targets only if it will not come back",
              "what": "does not answer: no answer within 20s"
            },
            {
              "severity": "stop",
              "target": "http://d2:8080",
              "to_do": "wait; if this lasts, its log says why",
              "what": "is not ready: memberlist: joining the cluster, 1 of 3 addresses answered so far"
            },
            {
              "severity": "stop",
              "target": null,
              "to_do": "roll it out to d2:8080 too (or back, on d0:8080)",
              "what": "1 of 2 are on step 3, and d2:8080 on step 2: a rollout is in progress, or was not completed"
            },
            {
              "severity": "stop",
              "target": "http://d2:8080",
              "to_do": "check memberlist: until it accepts writes again, the two stores diverge",
              "what": "3 recent writes to memberlist failed"
            },
            {
              "severity": "stop",
              "target": "http://d2:8080",
              "to_do": "wait until they are copied; if the number does not fall, /distributor/multi_kv and the log say why",
              "what": "its secondary is behind in 12 keys (0 missing, 12 older)"
            }
          ],
          "next": null,
          "old_store": "consul",
          "safe": false,
          "step": null,
          "targets": [
            {
              "behind": 0,
              "clusters": 1,
              "comparison_age_seconds": 0,
              "members": 3,
              "mirror_write_errors_total": 0,
              "mirror_writes_total": 100,
              "multi_kv_config": false,
              "not_ready_because": null,
              "ready": true,
              "step": 3,
              "target": "http://d0:8080",
              "version": "0.1.0"
            },
            {
              "error": "no answer within 20s",
              "target": "http://d1:8080"
            },
            {
              "behind": 12,
              "clusters": 1,
              "comparison_age_seconds": 0,
              "members": 3,
              "mirror_write_errors_total": 3,
              "mirror_writes_total": 100,
              "multi_kv_config": false,
              "not_ready_because": "memberlist: joining the cluster, 1 of 3 addresses answered so far",
              "ready": false,
              "step": 2,
              "target": "http://d2:8080",
              "version": "0.1.0"
            }
          ]
        }"#]].assert_eq(&json);
}
