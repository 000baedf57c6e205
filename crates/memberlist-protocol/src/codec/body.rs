//! The bodies of messages: which fields each has, in which order, and what they must be.

use bytes::Bytes;

use super::limits::MAX_NAME;
use super::msgpack::{
    Fault, Reader, put_boolean, put_map, put_raw, put_raw_or_nil, put_signed, put_unsigned,
};
use crate::message::{
    Accusation, Addr, Alive, IndirectPing, MAX_META, Message, NodeState, Ping, Source, State, Vsn,
};

pub(super) const PING: u8 = 0;
pub(super) const INDIRECT_PING: u8 = 1;
pub(super) const ACK: u8 = 2;
pub(super) const SUSPECT: u8 = 3;
pub(super) const ALIVE: u8 = 4;
pub(super) const DEAD: u8 = 5;
pub(super) const PUSH_PULL: u8 = 6;
pub(super) const COMPOUND: u8 = 7;
pub(super) const USER: u8 = 8;
pub(super) const COMPRESS: u8 = 9;
pub(super) const ENCRYPT: u8 = 10;
pub(super) const NACK: u8 = 11;
pub(super) const HAS_CRC: u8 = 12;
pub(super) const ERROR: u8 = 13;
pub(super) const LABEL: u8 = 244;

/// Most bytes of an error's text.
const MAX_ERROR_TEXT: usize = 4096;

/// Writes a message as it stands in packets, type byte first.
pub(super) fn write(message: &Message, out: &mut Vec<u8>) {
    match message {
        Message::Ping(ping) => write_ping(ping, out),
        Message::IndirectPing(ping) => write_indirect_ping(ping, out),
        Message::Ack { seq_no, payload } => {
            out.push(ACK);
            put_map(out, 2);
            put_raw(out, b"Payload");
            match payload {
                Some(payload) => put_raw(out, payload),
                None => put_raw_or_nil(out, b""),
            }
            put_seq_no(out, *seq_no);
        }
        Message::Nack { seq_no } => {
            out.push(NACK);
            put_map(out, 1);
            put_seq_no(out, *seq_no);
        }
        Message::Suspect(accusation) => write_accusation(SUSPECT, accusation, out),
        Message::Dead(accusation) => write_accusation(DEAD, accusation, out),
        Message::Alive(alive) => {
            out.push(ALIVE);
            put_map(out, 6);
            put_place_and_meta(out, alive);
            put_text(out, b"Node", &alive.node);
            put_port(out, b"Port", alive.port);
            put_vsn(out, alive.vsn);
        }
        Message::User(bytes) => {
            out.push(USER);
            out.extend_from_slice(bytes);
        }
        Message::Error(text) => {
            out.push(ERROR);
            put_map(out, 1);
            put_text(out, b"Error", text);
        }
    }
}

/// Writes a node of an exchange of states, which has no type byte.
pub(super) fn write_node(node: &NodeState, out: &mut Vec<u8>) {
    put_map(out, 7);
    put_place_and_meta(out, &node.alive);
    put_text(out, b"Name", &node.alive.node);
    put_port(out, b"Port", node.alive.port);
    put_raw(out, b"State");
    put_signed(out, node.state as u32);
    put_vsn(out, node.alive.vsn);
}

/// What an exchange of states begins with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) join: bool,
    pub(super) nodes: u32,
    pub(super) user_state: u32,
}

pub(super) fn write_header(header: Header, out: &mut Vec<u8>) {
    out.push(PUSH_PULL);
    put_map(out, 3);
    put_raw(out, b"Join");
    put_boolean(out, header.join);
    put_raw(out, b"Nodes");
    put_signed(out, header.nodes);
    put_raw(out, b"UserStateLen");
    put_signed(out, header.user_state);
}

pub(super) fn write_user_header(length: u32, out: &mut Vec<u8>) {
    out.push(USER);
    put_map(out, 1);
    put_raw(out, b"UserMsgLen");
    put_signed(out, length);
}

fn write_ping(ping: &Ping, out: &mut Vec<u8>) {
    out.push(PING);
    put_map(out, 2 + source_fields(ping.source.as_ref()));
    put_text(out, b"Node", &ping.node);
    put_seq_no(out, ping.seq_no);
    put_source(out, ping.source.as_ref());
}

fn write_indirect_ping(ping: &IndirectPing, out: &mut Vec<u8>) {
    out.push(INDIRECT_PING);
    put_map(out, 5 + source_fields(ping.source.as_ref()));
    put_raw(out, b"Nack");
    put_boolean(out, ping.nack);
    put_text(out, b"Node", &ping.node);
    put_port(out, b"Port", ping.port);
    put_seq_no(out, ping.seq_no);
    put_source(out, ping.source.as_ref());
    put_raw(out, b"Target");
    put_raw(out, ping.target.as_bytes());
}

fn write_accusation(kind: u8, accusation: &Accusation, out: &mut Vec<u8>) {
    out.push(kind);
    put_map(out, 3);
    put_text(out, b"From", &accusation.from);
    put_incarnation(out, accusation.incarnation);
    put_text(out, b"Node", &accusation.node);
}

/// A source without a name leaves the name out.
fn source_fields(source: Option<&Source>) -> u8 {
    source.map_or(0, |source| 2 + u8::from(!source.node.is_empty()))
}

fn put_source(out: &mut Vec<u8>, source: Option<&Source>) {
    let Some(source) = source else { return };
    put_raw(out, b"SourceAddr");
    put_raw(out, source.addr.as_bytes());
    if !source.node.is_empty() {
        put_text(out, b"SourceNode", &source.node);
    }
    put_port(out, b"SourcePort", source.port);
}

fn put_place_and_meta(out: &mut Vec<u8>, alive: &Alive) {
    put_raw(out, b"Addr");
    put_raw(out, alive.addr.as_bytes());
    put_incarnation(out, alive.incarnation);
    put_raw(out, b"Meta");
    put_raw_or_nil(out, &alive.meta);
}

fn put_text(out: &mut Vec<u8>, name: &[u8], text: &str) {
    put_raw(out, name);
    put_raw(out, text.as_bytes());
}

fn put_port(out: &mut Vec<u8>, name: &[u8], port: u16) {
    put_raw(out, name);
    put_unsigned(out, port.into());
}

fn put_seq_no(out: &mut Vec<u8>, seq_no: u32) {
    put_raw(out, b"SeqNo");
    put_unsigned(out, seq_no);
}

fn put_incarnation(out: &mut Vec<u8>, incarnation: u32) {
    put_raw(out, b"Incarnation");
    put_unsigned(out, incarnation);
}

fn put_vsn(out: &mut Vec<u8>, vsn: Vsn) {
    put_raw(out, b"Vsn");
    put_raw(out, &vsn.0);
}

/// The source of a ping as it is sent: three fields, each of which may be missing.
#[derive(Default)]
struct RawSource {
    addr: Option<Addr>,
    port: u16,
    node: String,
}

impl RawSource {
    fn field(&mut self, name: &'static str, reader: &mut Reader<'_>) -> Result<(), Fault> {
        match name {
            "SourceAddr" => self.addr = read_addr(reader)?,
            "SourcePort" => self.port = reader.unsigned()?,
            _ => self.node = reader.text(MAX_NAME)?,
        }
        Ok(())
    }

    /// Without an address and a port, the answer goes to the packet's sender.
    fn source(self) -> Option<Source> {
        let addr = self.addr.filter(|_| self.port != 0)?;
        Some(Source {
            addr,
            port: self.port,
            node: self.node,
        })
    }
}

pub(super) fn read_ping(reader: &mut Reader<'_>) -> Result<Ping, Fault> {
    const NAMES: [&str; 5] = ["SeqNo", "Node", "SourceAddr", "SourcePort", "SourceNode"];
    let (mut seq_no, mut node, mut source) = (0, String::new(), RawSource::default());
    reader.structure(&NAMES, |name, reader| {
        match name {
            "SeqNo" => seq_no = reader.unsigned()?,
            "Node" => node = reader.text(MAX_NAME)?,
            _ => source.field(name, reader)?,
        }
        Ok(())
    })?;
    Ok(Ping {
        seq_no,
        node,
        source: source.source(),
    })
}

pub(super) fn read_indirect_ping(reader: &mut Reader<'_>) -> Result<IndirectPing, Fault> {
    const NAMES: [&str; 8] = [
        "SeqNo",
        "Target",
        "Port",
        "Node",
        "Nack",
        "SourceAddr",
        "SourcePort",
        "SourceNode",
    ];
    let (mut seq_no, mut target, mut port, mut nack) = (0, None, 0, false);
    let (mut node, mut source) = (String::new(), RawSource::default());
    reader.structure(&NAMES, |name, reader| {
        match name {
            "SeqNo" => seq_no = reader.unsigned()?,
            "Target" => target = read_addr(reader)?,
            "Port" => port = reader.unsigned()?,
            "Node" => node = reader.text(MAX_NAME)?,
            "Nack" => nack = reader.boolean()?,
            _ => source.field(name, reader)?,
        }
        Ok(())
    })?;
    Ok(IndirectPing {
        seq_no,
        target: target.ok_or(Fault::Invalid("it has no target"))?,
        port,
        node,
        nack,
        source: source.source(),
    })
}

pub(super) fn read_ack(reader: &mut Reader<'_>) -> Result<Message, Fault> {
    let (mut seq_no, mut payload) = (0, None);
    reader.structure(&["SeqNo", "Payload"], |name, reader| {
        match name {
            "SeqNo" => seq_no = reader.unsigned()?,
            _ => payload = reader.bytes()?,
        }
        Ok(())
    })?;
    let payload = payload.map(|payload| Bytes::from(payload.into_owned()));
    Ok(Message::Ack { seq_no, payload })
}

pub(super) fn read_nack(reader: &mut Reader<'_>) -> Result<Message, Fault> {
    let mut seq_no = 0;
    reader.structure(&["SeqNo"], |_, reader| {
        seq_no = reader.unsigned()?;
        Ok(())
    })?;
    Ok(Message::Nack { seq_no })
}

pub(super) fn read_error(reader: &mut Reader<'_>) -> Result<String, Fault> {
    let mut text = String::new();
    reader.structure(&["Error"], |_, reader| {
        let bytes = reader.bytes()?.unwrap_or_default();
        let shown = bytes.get(..MAX_ERROR_TEXT).unwrap_or(&bytes);
        text = String::from_utf8_lossy(shown).into_owned();
        Ok(())
    })?;
    Ok(text)
}

pub(super) fn read_accusation(reader: &mut Reader<'_>) -> Result<Accusation, Fault> {
    let mut read = Accusation {
        incarnation: 0,
        node: String::new(),
        from: String::new(),
    };
    reader.structure(&["Incarnation", "Node", "From"], |name, reader| {
        match name {
            "Incarnation" => read.incarnation = reader.unsigned()?,
            "Node" => read.node = reader.text(MAX_NAME)?,
            _ => read.from = reader.text(MAX_NAME)?,
        }
        Ok(())
    })?;
    if read.node.is_empty() {
        return Err(Fault::Invalid("it names no node"));
    }
    Ok(read)
}

/// What a node says of itself, as it is sent: nothing of it is checked.
#[derive(Default)]
pub(super) struct RawNode {
    name: Vec<u8>,
    addr: Vec<u8>,
    port: u16,
    meta: Vec<u8>,
    incarnation: u32,
    state: u32,
    vsn: Vec<u8>,
}

impl RawNode {
    fn field(&mut self, name: &'static str, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let bytes = match name {
            "Incarnation" => {
                self.incarnation = reader.unsigned()?;
                return Ok(());
            }
            "Port" => {
                self.port = reader.unsigned()?;
                return Ok(());
            }
            "State" => {
                self.state = reader.unsigned()?;
                return Ok(());
            }
            "Addr" => &mut self.addr,
            "Meta" => &mut self.meta,
            "Vsn" => &mut self.vsn,
            _ => &mut self.name,
        };
        *bytes = reader.bytes()?.unwrap_or_default().into_owned();
        Ok(())
    }

    /// The node, if it is one that may be kept and relayed: a record with other lengths poisons or
    /// ends Go's members that get it.
    pub(super) fn checked(self) -> Result<NodeState, &'static str> {
        let Ok(node) = String::from_utf8(self.name) else {
            return Err("the node's name is not UTF-8");
        };
        if node.is_empty() || node.len() > MAX_NAME {
            return Err("the node's name is empty or too long");
        }
        let Some(addr) = Addr::from_bytes(&self.addr) else {
            return Err("the node's address has neither 4 nor 16 bytes");
        };
        let Ok(vsn) = self.vsn.try_into() else {
            return Err("the node's versions are not 6 bytes");
        };
        if self.meta.len() > MAX_META {
            return Err("the node's metadata is too long");
        }
        let state = match self.state {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Dead,
            3 => State::Left,
            _ => return Err("the node's state does not exist"),
        };
        Ok(NodeState {
            alive: Alive {
                incarnation: self.incarnation,
                node,
                addr,
                port: self.port,
                meta: Bytes::from(self.meta),
                vsn: Vsn(vsn),
            },
            state,
        })
    }
}

pub(super) fn read_alive(reader: &mut Reader<'_>) -> Result<Alive, Fault> {
    const NAMES: [&str; 6] = ["Incarnation", "Node", "Addr", "Port", "Meta", "Vsn"];
    let mut raw = RawNode::default();
    reader.structure(&NAMES, |name, reader| raw.field(name, reader))?;
    Ok(raw.checked().map_err(Fault::Invalid)?.alive)
}

pub(super) fn read_node(reader: &mut Reader<'_>) -> Result<RawNode, Fault> {
    const NAMES: [&str; 7] = [
        "Name",
        "Addr",
        "Port",
        "Meta",
        "Incarnation",
        "State",
        "Vsn",
    ];
    let mut raw = RawNode::default();
    reader.structure(&NAMES, |name, reader| raw.field(name, reader))?;
    Ok(raw)
}

pub(super) fn read_header(reader: &mut Reader<'_>) -> Result<Header, Fault> {
    let mut header = Header::default();
    reader.structure(&["Nodes", "UserStateLen", "Join"], |name, reader| {
        match name {
            "Nodes" => header.nodes = reader.unsigned()?,
            "UserStateLen" => header.user_state = reader.unsigned()?,
            _ => header.join = reader.boolean()?,
        }
        Ok(())
    })?;
    Ok(header)
}

pub(super) fn read_user_header(reader: &mut Reader<'_>) -> Result<u32, Fault> {
    let mut length = 0;
    reader.structure(&["UserMsgLen"], |_, reader| {
        length = reader.unsigned()?;
        Ok(())
    })?;
    Ok(length)
}

/// `None` if the bytes are nil or empty.
fn read_addr(reader: &mut Reader<'_>) -> Result<Option<Addr>, Fault> {
    let bytes = reader.bytes()?.unwrap_or_default();
    if bytes.is_empty() {
        return Ok(None);
    }
    match Addr::from_bytes(&bytes) {
        Some(addr) => Ok(Some(addr)),
        None => Err(Fault::Invalid("an address has neither 4 nor 16 bytes")),
    }
}
