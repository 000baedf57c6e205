//! What waits to be broadcast: each item is sent a limited number of times, and not at all once a
//! newer one about the same thing has come.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use crate::codec::PART_OVERHEAD;
use crate::message::Message;

/// How often an item is sent in a ring of `nodes` members: `factor` times the decimal digits of
/// their number, which reaches all of them with high probability.
pub fn transmit_limit(factor: u32, nodes: usize) -> u32 {
    // ceil(log10(n + 1)), in integers: the number of decimal digits of n.
    let digits = nodes.checked_ilog10().map_or(0, |log| log + 1);
    factor.saturating_mul(digits)
}

/// Something to be told to the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast {
    /// What it is about: the name of a node, or a key.
    pub topic: String,
    /// Which parts of the topic it is about; empty for all.
    pub contents: Vec<String>,
    /// Of two items about the same, the one with the higher version says more.
    pub version: u64,
    /// What is sent.
    pub message: Message,
    /// Bytes of the encoded message.
    pub len: usize,
}

impl Broadcast {
    /// Whether an item that was queued before has nothing to add.
    fn replaces(&self, older: &Self) -> bool {
        self.version >= older.version
            && older
                .contents
                .iter()
                .all(|content| self.contents.contains(content))
    }
}

/// Items that wait, in the order in which they are sent: those first that were sent least often, of
/// these the longest that fits, of these the newest.
#[derive(Debug)]
pub struct Queue {
    items: HashMap<u64, Item>,
    order: BTreeSet<Rank>,
    by_topic: HashMap<String, Vec<u64>>,
    next_id: u64,
    bytes: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Item {
    broadcast: Broadcast,
    transmits: u32,
}

/// Fields in the order in which they are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    transmits: u32,
    len: Reverse<usize>,
    id: Reverse<u64>,
}

impl Queue {
    /// An empty queue, which holds messages of this many bytes at most. Beyond that, the item that
    /// was sent most often goes first: whole states, which members exchange anyway, make up for it.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            items: HashMap::new(),
            order: BTreeSet::new(),
            by_topic: HashMap::new(),
            next_id: 0,
            bytes: 0,
            max_bytes,
        }
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether no item waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of the messages that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether an item about this topic waits.
    pub fn has(&self, topic: &str) -> bool {
        self.by_topic.contains_key(topic)
    }

    /// Adds an item, in place of those that it replaces; not one that is larger than the whole queue
    /// may be.
    pub fn push(&mut self, broadcast: Broadcast) {
        if broadcast.len > self.max_bytes {
            return;
        }
        let about = self.by_topic.get(&broadcast.topic);
        let replaced: Vec<u64> = about
            .into_iter()
            .flatten()
            .filter(|id| {
                let item = self.items.get(id);
                item.is_some_and(|item| broadcast.replaces(&item.broadcast))
            })
            .copied()
            .collect();
        for id in replaced {
            self.remove(id);
        }
        let id = self.next_id;
        self.next_id += 1;
        self.bytes += broadcast.len;
        let topic = broadcast.topic.clone();
        self.by_topic.entry(topic).or_default().push(id);
        let item = Item {
            broadcast,
            transmits: 0,
        };
        self.order.insert(item.rank(id));
        self.items.insert(id, item);
        while self.bytes > self.max_bytes {
            let Some(last) = self.order.last().map(|rank| rank.id.0) else {
                return;
            };
            self.remove(last);
        }
    }

    /// Appends messages for one packet, as many as fit into `budget` bytes, which shrinks by what they
    /// cost. An item that has been taken `limit` times is dropped.
    pub fn take(&mut self, limit: u32, budget: &mut usize, messages: &mut Vec<Message>) {
        let mut taken = Vec::new();
        let mut tier = self.order.first().map_or(0, |rank| rank.transmits);
        while let Some(free) = budget.checked_sub(PART_OVERHEAD) {
            let fits = Rank {
                transmits: tier,
                len: Reverse(free),
                id: Reverse(u64::MAX),
            };
            let Some(rank) = self.order.range(fits..).next().copied() else {
                break;
            };
            if rank.transmits != tier {
                tier = rank.transmits;
                continue;
            }
            self.order.remove(&rank);
            *budget = free - rank.len.0;
            taken.push(rank.id.0);
        }
        for id in taken {
            let Some(item) = self.items.get_mut(&id) else {
                continue;
            };
            messages.push(item.broadcast.message.clone());
            item.transmits += 1;
            if item.transmits < limit {
                self.order.insert(item.rank(id));
            } else {
                self.remove(id);
            }
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(item) = self.items.remove(&id) else {
            return;
        };
        self.order.remove(&item.rank(id));
        self.bytes -= item.broadcast.len;
        let topic = &item.broadcast.topic;
        if let Some(about) = self.by_topic.get_mut(topic) {
            about.retain(|other| *other != id);
            if about.is_empty() {
                self.by_topic.remove(topic);
            }
        }
    }
}

impl Item {
    fn rank(&self, id: u64) -> Rank {
        Rank {
            transmits: self.transmits,
            len: Reverse(self.broadcast.len),
            id: Reverse(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const ROOM: usize = 1 << 20;

    fn item(topic: &str, text: &'static str) -> Broadcast {
        Broadcast {
            topic: topic.to_owned(),
            contents: Vec::new(),
            version: 0,
            message: Message::User(Bytes::from_static(text.as_bytes())),
            len: text.len() + 1,
        }
    }

    fn take(queue: &mut Queue, limit: u32, mut budget: usize) -> Vec<String> {
        let mut messages = Vec::new();
        queue.take(limit, &mut budget, &mut messages);
        let text = |message: Message| match message {
            Message::User(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            other => panic!("{other:?}"),
        };
        messages.into_iter().map(text).collect()
    }

    #[test]
    fn the_limit_grows_with_the_digits_of_the_number_of_nodes() {
        let limits = [0, 1, 9, 10, 99, 100, 999, 1000].map(|nodes| transmit_limit(4, nodes));
        assert_eq!(limits, [0, 4, 4, 8, 8, 12, 12, 16]);
    }

    #[test]
    fn an_item_is_taken_as_often_as_the_limit_says() {
        let mut queue = Queue::new(ROOM);
        queue.push(item("a", "text"));
        for _ in 0..4 {
            assert_eq!(take(&mut queue, 4, ROOM), ["text"]);
        }
        assert!(queue.is_empty() && queue.bytes() == 0 && !queue.has("a"));
        assert_eq!(take(&mut queue, 4, ROOM), Vec::<String>::new());
    }

    #[test]
    fn rarely_sent_then_long_then_new_items_go_first() {
        let mut queue = Queue::new(ROOM);
        queue.push(item("sent", "sent before"));
        take(&mut queue, 9, ROOM);
        for (topic, text) in [("a", "aa"), ("b", "longest"), ("c", "cc"), ("d", "d")] {
            queue.push(item(topic, text));
        }
        let all = ["longest", "cc", "aa", "d", "sent before"];
        assert_eq!(take(&mut queue, 9, ROOM), all);
    }

    #[test]
    fn a_budget_is_filled_with_what_fits() {
        let mut queue = Queue::new(ROOM);
        for (topic, text) in [("a", "0123456789"), ("b", "01234"), ("c", "0")] {
            queue.push(item(topic, text));
        }
        // Each costs its length, its type and the length of a part: 13, 8 and 4.
        assert_eq!(take(&mut queue, 9, 3), Vec::<String>::new());
        assert_eq!(take(&mut queue, 9, 12), ["01234", "0"]);
        assert_eq!(take(&mut queue, 9, 16), ["0123456789"]);
        assert_eq!(take(&mut queue, 9, 25), ["0123456789", "01234", "0"]);
    }

    #[test]
    fn an_item_is_taken_once_for_a_packet() {
        let mut queue = Queue::new(ROOM);
        queue.push(item("a", "a"));
        queue.push(item("b", "bb"));
        assert_eq!(take(&mut queue, 9, ROOM), ["bb", "a"]);
    }

    #[test]
    fn a_newer_item_replaces_those_of_its_topic_that_have_nothing_to_add() {
        let part = |contents: &[&str], version, text| Broadcast {
            contents: contents.iter().map(|&content| content.to_owned()).collect(),
            version,
            ..item("ring", text)
        };
        let mut queue = Queue::new(ROOM);
        queue.push(item("other", "other"));
        queue.push(part(&["a"], 1, "a1"));
        queue.push(part(&["b"], 2, "b2"));
        queue.push(part(&[], 3, "none3"));
        // What is about nothing in particular is replaced by anything newer.
        queue.push(part(&["a", "c"], 4, "ac4"));
        assert_eq!(take(&mut queue, 9, ROOM), ["other", "ac4", "b2"]);
        // An older version does not replace a newer one.
        queue.push(part(&["a", "b", "c"], 1, "abc1"));
        assert_eq!(queue.len(), 4);
        queue.push(part(&["a", "b", "c"], 4, "abc4"));
        assert_eq!(take(&mut queue, 9, ROOM), ["abc4", "other"]);
    }

    #[test]
    fn beyond_its_bound_the_most_sent_go_first() {
        let mut queue = Queue::new(20);
        queue.push(item("a", "0123456"));
        take(&mut queue, 9, ROOM);
        queue.push(item("b", "0123456"));
        assert_eq!(queue.bytes(), 16);
        queue.push(item("c", "0123456"));
        assert!(!queue.has("a") && queue.has("b") && queue.has("c"));
        queue.push(item("d", "longer than all that the queue holds"));
        assert!(!queue.has("d") && queue.len() == 2);
    }
}
