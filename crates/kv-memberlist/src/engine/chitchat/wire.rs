//! What is between chitchat and the link: sealing, checking, counting, and who was heard.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use chitchat::{ChitchatId, ChitchatMessage, Deserializable, Serializable};
use kv_core::lock;

use super::contacts::Contacts;
use super::inspect::{COPY, Summary, inspect, without};
use super::snapshot::asks::Asks;
use super::snapshot::message::{self, Message, Word};
use super::snapshot::receiving::Receiving;
use crate::admission::{Admission, Arrived};
use crate::engine::history::{MessageHistory, Remembered};
use crate::link::foreign::{Answered, ForeignProtocol};
use crate::link::{LastError, Link, Via};
use crate::seal::refusal::Refusal;
use crate::status::History;

/// Streams that are remembered as to be used once.
const MAX_STREAMS: usize = 1_000;

/// Sends and receives messages for chitchat.
pub(super) struct Wire {
    admission: Arc<Admission>,
    link: Arc<dyn Link>,
    advertised: SocketAddr,
    /// Addresses to which the next message goes over a stream.
    streams: Mutex<HashSet<SocketAddr>>,
    /// Lock order: chitchat's lock first (where it is held at all), then this one, then what
    /// [`Admission`] locks.
    contacts: Mutex<Contacts>,
    history: Option<MessageHistory>,
    receiving: Receiving,
    asks: Asks,
}

/// A message that may be chitchat's.
struct Letter {
    /// The other end as the network says it.
    from: SocketAddr,
    /// The sender, for all that is known.
    reply_to: SocketAddr,
    body: Vec<u8>,
}

impl Wire {
    pub(super) fn new(
        admission: Arc<Admission>,
        link: Arc<dyn Link>,
        advertised: SocketAddr,
        history_bytes: usize,
    ) -> Self {
        Self {
            admission,
            link,
            advertised,
            streams: Mutex::default(),
            contacts: Mutex::new(Contacts::new()),
            history: MessageHistory::of_size(history_bytes),
            receiving: Receiving::default(),
            asks: Asks::default(),
        }
    }

    /// Where other members reach this one.
    pub(super) fn advertised(&self) -> SocketAddr {
        self.advertised
    }

    /// Decides whom is sent to and whose packets are taken.
    pub(super) fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The snapshot that this member is being sent.
    pub(super) fn receiving(&self) -> &Receiving {
        &self.receiving
    }

    /// Who asks this member for a snapshot.
    pub(super) fn asks(&self) -> &Asks {
        &self.asks
    }

    /// Who was heard.
    pub(super) fn contacts(&self) -> MutexGuard<'_, Contacts> {
        lock(&self.contacts)
    }

    /// Why the last stream to this address failed.
    pub(super) fn last_error(&self, address: SocketAddr) -> Option<LastError> {
        self.link.last_error(address)
    }

    /// Which other protocol is spoken at an address that closed the last stream.
    pub(super) async fn identify(
        &self,
        address: SocketAddr,
        label: &str,
    ) -> Option<ForeignProtocol> {
        self.link.identify(address, label).await
    }

    /// Whether this address closed the last stream without an answer.
    pub(super) fn was_closed(&self, address: SocketAddr) -> bool {
        self.link.was_closed(address)
    }

    /// Which kind of gossip is spoken at an address.
    pub(super) async fn ask(&self, address: SocketAddr, label: &str) -> Option<Answered> {
        self.link.ask(address, label).await
    }

    pub(super) fn history(&self) -> Option<History> {
        self.history.as_ref().map(MessageHistory::snapshot)
    }

    /// The next packet to this address goes over a stream.
    pub(super) fn use_stream_once(&self, address: SocketAddr) {
        self.contacts().contact(address);
        let mut streams = lock(&self.streams);
        if streams.len() < MAX_STREAMS {
            streams.insert(address);
        }
    }

    /// Sends what is not chitchat's, over a stream: it arrives, and in order, or the stream breaks.
    pub(super) fn send_over_stream(&self, to: SocketAddr, body: &[u8]) {
        self.admission.send(to, body, Via::Stream);
    }

    /// Says something to a member that has just sent something.
    pub(super) fn say(&self, to: SocketAddr, word: Word) {
        let body = Message::Word(word).encode();
        self.admission.send(to, &body, Via::SizeDecides);
    }

    /// Sends a message of chitchat's.
    pub(super) fn send(&self, to: SocketAddr, message: &ChitchatMessage, buffer: &mut Vec<u8>) {
        buffer.clear();
        message.serialize(buffer);
        let own = self.contacts().own_if_heard_any();
        if let Some(own) = own {
            self.receiving.hide_gaps(&own, buffer);
        }
        self.send_body(to, buffer);
    }

    fn send_body(&self, to: SocketAddr, body: &[u8]) {
        // An earlier run of this member may be remembered with the same address.
        if to == self.advertised {
            return;
        }
        let via = if lock(&self.streams).remove(&to) {
            Via::Stream
        } else {
            Via::SizeDecides
        };
        if let Some(history) = &self.history
            && let Ok(summary) = inspect(body, true)
            && !summary.keys.is_empty()
        {
            history.keep_sent(remembered(to, body.len(), summary));
        }
        self.admission.send(to, body, via);
    }

    /// The next message that chitchat may see, and whom it is from. Can be dropped while it waits
    /// without losing a message.
    pub(super) async fn next(&self) -> (SocketAddr, ChitchatMessage) {
        loop {
            let Some(letter) = self.next_letter().await else {
                continue;
            };
            match self.check(&letter) {
                Ok(message) => return (letter.reply_to, message),
                Err(refusal) => {
                    self.admission.refuse(letter.from, refusal);
                    if refusal == Refusal::TooManyMembers {
                        self.has_no_room_for(letter.reply_to);
                    }
                }
            }
        }
    }

    /// The next message; `None` if what came was none, or not for chitchat.
    async fn next_letter(&self) -> Option<Letter> {
        if let Some((member, body)) = self.receiving.message() {
            return Some(Letter {
                from: member,
                reply_to: member,
                body,
            });
        }
        let Arrived { from, envelope } = self.admission.next().await;
        let reply_to = envelope.reply_to;
        let refusal = match self.admission.unpack(&envelope) {
            Ok(body) => match message::read(&body) {
                Some(Ok(message)) => {
                    self.take(reply_to, message);
                    return None;
                }
                Some(Err(refusal)) => refusal,
                None => {
                    return Some(Letter {
                        from,
                        reply_to,
                        body,
                    });
                }
            },
            Err(refusal) => refusal,
        };
        self.admission.refuse(from, refusal);
        None
    }

    /// Takes what is not chitchat's.
    fn take(&self, from: SocketAddr, message: Message<'_>) {
        match message {
            Message::Ask(ask) => self.asks.ask(from, ask),
            Message::Part(head, part) => {
                self.contacts().hear_part_from(from);
                self.receiving.take(from, head, part);
            }
            Message::Word(Word::Full) => self.contacts().is_full(from),
            Message::Word(word) => {
                self.contacts().hear_part_from(from);
                self.receiving.hear(from, word);
            }
        }
    }

    /// There is no room for a member that spoke: this one's table of members is full.
    fn has_no_room_for(&self, member: SocketAddr) {
        self.contacts().is_full(member);
        self.say(member, Word::Full);
    }

    /// What chitchat may see of a message.
    fn check(&self, letter: &Letter) -> Result<ChitchatMessage, Refusal> {
        let summary = inspect(&letter.body, self.history.is_some())?;
        let left_out = self.admit(letter, &summary)?;
        let body = if left_out.is_empty() {
            Cow::Borrowed(&letter.body)
        } else {
            Cow::Owned(without(&letter.body, &left_out).ok_or(Refusal::Malformed)?)
        };
        let message = ChitchatMessage::deserialize(&mut body.as_slice()).map_err(|error| {
            tracing::debug!(%error, from = %letter.reply_to, "chitchat cannot decode a message");
            Refusal::Malformed
        })?;
        self.received(letter.reply_to, body.len(), summary);
        Ok(message)
    }

    /// The members that a message names and chitchat is not told of, or why it is refused as a
    /// whole.
    fn admit(&self, letter: &Letter, summary: &Summary) -> Result<Vec<ChitchatId>, Refusal> {
        let left_out = self
            .contacts()
            .admit(letter.reply_to, summary, &self.admission)?;
        if left_out.names {
            self.admission.refuse(letter.from, Refusal::MemberName);
        }
        if !left_out.unproven.is_empty() {
            self.admission.refuse(letter.from, Refusal::UnprovenMembers);
        }
        for address in left_out.unproven {
            self.admission.hear_of(address);
        }
        Ok(left_out.members)
    }

    /// Takes note of a message.
    fn received(&self, from: SocketAddr, size: usize, summary: Summary) {
        self.contacts().hear(from, &summary);
        if let Some(history) = &self.history
            && !summary.keys.is_empty()
        {
            history.keep_received(remembered(from, size, summary));
        }
    }
}

/// What is kept of a message. One may tell of a member's state only, and of no entry.
fn remembered(peer: SocketAddr, size: usize, summary: Summary) -> Remembered {
    let keys = summary.keys.into_iter();
    Remembered {
        peer,
        size,
        kind: summary.kind.as_str(),
        keys: keys
            .filter_map(|key| key.strip_prefix(COPY).map(str::to_owned))
            .collect(),
    }
}
