//! What the fuzzer calls.

use chitchat::{ChitchatMessage, Deserializable};

use super::inspect::inspect;
use super::snapshot::message::{Message, read};
use crate::seal::keyring::Keyring;
use crate::seal::packet::{MAX_BODY, Sealer};

thread_local! {
    static SEALER: Sealer = Sealer::new(Keyring::default(), String::new(), false, true);
}

/// Opens a packet that is not encrypted and inspects what it holds; and inspects the same bytes as
/// if they were a message.
///
/// # Panics
/// If a message passes that chitchat cannot decode, or a packet that cannot be made again.
pub fn open_and_inspect(packet: &[u8]) {
    SEALER.with(|sealer| {
        if let Ok(opened) = sealer.open(packet) {
            assert!(opened.body.len() <= MAX_BODY);
            let again = sealer.open(&sealer.seal(opened.reply_to, &opened.body));
            assert_eq!(again.as_ref(), Ok(&opened));
            check(&opened.body);
        }
    });
    check(packet);
}

fn check(body: &[u8]) {
    if let Some(Ok(Message::Part(_, message))) = read(body) {
        check(message);
    }
    let Ok(summary) = inspect(body, true) else {
        return;
    };
    let mut rest = body;
    let decoded = ChitchatMessage::deserialize(&mut rest);
    assert!(
        decoded.is_ok(),
        "{summary:?}, but chitchat says {decoded:?}"
    );
    assert!(rest.is_empty(), "chitchat leaves {} bytes", rest.len());
}
