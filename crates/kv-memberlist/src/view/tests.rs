//! The merged view: random writes in random order, adoption, tombstones.

use std::collections::BTreeMap;

use kv_core::conformance::{CODEC, Counter};
use prometheus_client::registry::Registry;
use proptest::prelude::*;

use super::*;

/// A member as gossip sees it: a view, and the last copy of each key that it published.
struct Member {
    view: View<Counter>,
    published: BTreeMap<String, String>,
}

impl Member {
    fn new() -> Self {
        let metrics = Metrics::register(&mut Registry::default());
        Self {
            view: View::new(Arc::new(CODEC), metrics),
            published: BTreeMap::new(),
        }
    }

    fn cas(
        &mut self,
        key: &str,
        now_ms: i64,
        mut update: impl FnMut(Option<&Counter>) -> CasUpdate<Counter> + Send,
    ) {
        let outcome = self.view.cas(key, now_ms, &mut update);
        assert!(outcome.is_ok());
        let dirty = self.view.take_dirty().into_iter();
        self.published
            .extend(dirty.map(|entry| (entry.key, entry.text)));
    }

    fn hears(&self, key: &str, text: &str) {
        assert!(self.view.apply(key, text, Sender::Ours).is_ok());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Increment,
    /// A value that the values' own merge holds for older.
    PutOlder,
    Delete,
    /// Another member hears what this one publishes of the key now.
    Deliver(usize),
}

fn steps() -> impl Strategy<Value = Vec<(usize, usize, i64, Step)>> {
    let step = prop_oneof![
        3 => Just(Step::Increment),
        1 => Just(Step::PutOlder),
        1 => Just(Step::Delete),
        5 => (0..4usize).prop_map(Step::Deliver),
    ];
    // Members' clocks differ.
    prop::collection::vec((0..4usize, 0..3usize, 0i64..50, step), 1..80)
}

fn counter(value: i64, writer: usize) -> Counter {
    Counter {
        value,
        writer: writer.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Random operations on random members with random delivery end in the same view everywhere.
    #[test]
    fn all_members_end_with_the_same_view(
        steps in steps(),
        order in prop::collection::vec(0..16usize, 48),
    ) {
        let mut members: Vec<Member> = (0..4).map(|_| Member::new()).collect();
        for (member, key, now_ms, step) in steps {
            let key = format!("key-{key}");
            match step {
                Step::Increment => members[member].cas(&key, now_ms, |current| {
                    CasUpdate::Put(counter(current.map_or(0, |c| c.value) + 1, member))
                }),
                Step::PutOlder => members[member].cas(&key, now_ms, |current| {
                    CasUpdate::Put(counter(current.map_or(0, |c| c.value) - 1, member))
                }),
                Step::Delete => members[member].cas(&key, now_ms, |_| CasUpdate::Delete),
                Step::Deliver(to) => {
                    if let Some(text) = members[member].published.get(&key) {
                        members[to].hears(&key, text);
                    }
                }
            }
        }
        // In some order, with repetitions; then all that was left out.
        let pairs = order.iter().map(|pair| (pair / 4, pair % 4));
        let all = (0..16).map(|pair| (pair / 4, pair % 4));
        for (from, to) in pairs.chain(all) {
            for (key, text) in &members[from].published {
                members[to].hears(key, text);
            }
        }
        let content = members[0].view.content();
        for member in &members[1..] {
            prop_assert_eq!(&member.view.content(), &content);
        }
    }
}

#[test]
fn the_writer_reads_what_it_wrote_whatever_it_wrote() {
    let mut member = Member::new();
    for value in [5, 3, 9, -1] {
        member.cas("key", 1, |_| CasUpdate::Put(counter(value, 0)));
        assert_eq!(member.view.get("key"), Some(counter(value, 0)));
    }
    member.cas("key", 1, |_| CasUpdate::Delete);
    assert_eq!(member.view.get("key"), None);
    assert_eq!(member.view.list(""), Vec::<String>::new());
    member.cas("key", 1, |seen| {
        assert_eq!(seen, None);
        CasUpdate::Put(counter(0, 0))
    });
    assert_eq!(member.view.get("key"), Some(counter(0, 0)));
}

#[tokio::test(start_paused = true)]
async fn superseded_copies_and_tombstones_are_due_in_time() {
    let (mut ours, mut theirs) = (Member::new(), Member::new());
    ours.cas("key", 1, |_| CasUpdate::Put(counter(1, 0)));
    theirs.hears("key", &ours.published["key"]);
    theirs.cas("key", 2, |_| CasUpdate::Put(counter(2, 1)));
    ours.hears("key", &theirs.published["key"]);
    let grace = Duration::from_secs(10);
    assert!(ours.view.long_superseded(grace).is_empty());
    tokio::time::advance(grace).await;
    let due = ours.view.long_superseded(grace);
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].key, "key");
    // No other member has it yet: asked about again.
    ours.view.still_superseded(vec!["key".to_owned()]);
    tokio::time::advance(grace).await;
    assert_eq!(ours.view.long_superseded(grace).len(), 1);
    ours.view.dropped_own(&["key".to_owned()]);

    ours.cas("key", 3, |_| CasUpdate::Delete);
    assert!(ours.view.expire_tombstones(grace).is_empty());
    assert_eq!(ours.view.infos().len(), 1);
    tokio::time::advance(grace).await;
    assert_eq!(ours.view.expire_tombstones(grace), ["key"]);
    assert_eq!(ours.view.infos().len(), 0);
}

#[test]
fn what_nobody_publishes_is_taken_over_at_the_second_sweep() {
    let (mut dead, survivor) = (Member::new(), Member::new());
    dead.cas("key", 1, |_| CasUpdate::Put(counter(1, 0)));
    survivor.hears("key", &dead.published["key"]);
    let sweep = |take: bool| {
        let sweep = survivor.view.sweep();
        sweep.adopt_orphans(0, |_, again| take && again).orphans
    };
    assert_eq!(sweep(true), 1);
    assert!(survivor.view.take_dirty().is_empty());
    assert_eq!(sweep(true), 1);
    let adopted = survivor.view.take_dirty();
    let expected = EntryText {
        key: "key".to_owned(),
        text: dead.published["key"].clone(),
        is_live: true,
    };
    assert_eq!(adopted, [expected]);
    let mut held = survivor.view.sweep();
    held.held(Holder::Other, "key", &adopted[0].text);
    assert_eq!(held.adopt_orphans(0, |_, _| true), Swept::default());
    let mut doubly = survivor.view.sweep();
    doubly.held(Holder::Other, "key", &adopted[0].text);
    doubly.held(Holder::Before, "key", &adopted[0].text);
    let swept = doubly.adopt_orphans(0, |_, _| true);
    assert_eq!((swept.orphans, swept.redundant.len()), (0, 1));
    assert_eq!(survivor.view.sweep().missing(), 1);
}
