//! Resolves the addresses and DNS names of `join_members`.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::proto::rr::{Name, RData};

/// Timeout of one name.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Most addresses of all names together.
const MAX_ADDRESSES: usize = 512;

/// One entry of `join_members`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JoinMember {
    /// An address, or a host name with A or AAAA records.
    Host { host: String, port: u16 },
    /// A name with SRV records, which have the ports.
    Srv { name: String },
}

/// Why an entry of `join_members` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("join_members: got {entry:?}; {problem}")]
pub struct JoinMemberError {
    /// The entry.
    pub entry: String,
    /// What is wrong with it, and what is expected.
    pub problem: String,
}

/// The forms of an entry.
const SHAPE: &str = "must be host:port, dns+host:port or dnssrv+name";

/// Whether an entry of `join_members` has the right form; nothing is resolved.
pub fn check_join_member(entry: &str) -> Result<(), JoinMemberError> {
    JoinMember::parse(entry, 1).map(|_| ())
}

/// The result of resolving names.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) addresses: Vec<SocketAddr>,
    /// Names that did not resolve, and why.
    pub(crate) failed: Vec<String>,
}

impl JoinMember {
    pub(crate) fn parse(entry: &str, default_port: u16) -> Result<Self, JoinMemberError> {
        let fail = |problem| JoinMemberError {
            entry: entry.to_owned(),
            problem,
        };
        let (is_srv, place) = match entry.split_once('+') {
            Some(("dnssrv" | "dnssrvnoa", name)) => (true, name),
            Some(("dns", place)) => (false, place),
            Some((prefix, _)) => {
                return Err(fail(format!("{prefix}+ is not a known prefix; {SHAPE}")));
            }
            None => (false, entry),
        };
        let (host, port) = split(place).map_err(fail)?;
        Ok(if is_srv {
            // A port is accepted but ignored: the records have their own.
            Self::Srv { name: host }
        } else {
            Self::Host {
                host,
                port: port.unwrap_or(default_port),
            }
        })
    }
}

/// Host and port; an IPv6 address needs brackets only where a port follows.
fn split(place: &str) -> Result<(String, Option<u16>), String> {
    let inside = place
        .strip_prefix('[')
        .and_then(|place| place.strip_suffix(']'))
        .unwrap_or(place);
    if let Ok(ip) = inside.parse::<Ipv6Addr>() {
        return Ok((ip.to_string(), None));
    }
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (place, None),
    };
    if host.is_empty() {
        return Err(format!("it has no host; {SHAPE}"));
    }
    let in_brackets = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match in_brackets {
        Some(host) if host.parse::<Ipv6Addr>().is_ok() => host,
        Some(_) => return Err("brackets must contain an IPv6 address".to_owned()),
        // Letters of all scripts are allowed: a resolver may know such names.
        None if host
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.')) =>
        {
            host
        }
        None => return Err(SHAPE.to_owned()),
    };
    let port = port
        .map(|port| port.parse::<u16>().ok().filter(|port| *port != 0))
        .map(|port| port.ok_or("the port must be a number from 1 to 65535"))
        .transpose()?;
    Ok((host.to_owned(), port))
}

/// Resolves names again each time.
pub(crate) struct Resolver {
    members: Vec<JoinMember>,
    /// Made when the first SRV name is asked for; `None` if the system's configuration is unusable.
    dns: Option<TokioResolver>,
}

impl Resolver {
    pub(crate) fn new(members: Vec<JoinMember>) -> Self {
        let wanted = members
            .iter()
            .any(|member| matches!(member, JoinMember::Srv { .. }));
        let dns = wanted.then(system_resolver).flatten();
        Self { members, dns }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Resolves all names at once, each within its timeout.
    pub(crate) async fn resolve(&self) -> Resolved {
        let each = self.members.iter().map(|member| async move {
            match tokio::time::timeout(RESOLVE_TIMEOUT, self.resolve_one(member)).await {
                Ok(Ok(addresses)) => Ok(addresses),
                Ok(Err(error)) => Err(format!("{}: {error}", member.name())),
                Err(_) => Err(format!(
                    "{}: no answer within {RESOLVE_TIMEOUT:?}",
                    member.name()
                )),
            }
        });
        let mut resolved = Resolved::default();
        for result in futures::future::join_all(each).await {
            match result {
                Ok(addresses) => resolved.addresses.extend(addresses),
                Err(error) => resolved.failed.push(error),
            }
        }
        resolved.addresses.sort_unstable();
        resolved.addresses.dedup();
        resolved.addresses.truncate(MAX_ADDRESSES);
        resolved
    }

    async fn resolve_one(&self, member: &JoinMember) -> Result<Vec<SocketAddr>, String> {
        match member {
            JoinMember::Host { host, port } => lookup(host, *port).await,
            JoinMember::Srv { name } => self.resolve_srv(name).await,
        }
    }

    async fn resolve_srv(&self, name: &str) -> Result<Vec<SocketAddr>, String> {
        let Some(dns) = &self.dns else {
            return Err("the system's DNS configuration cannot be read".to_owned());
        };
        let answer = dns
            .srv_lookup(name)
            .await
            .map_err(|error| error.to_string())?;
        let mut addresses = Vec::new();
        for (target, port) in srv_records(&answer) {
            let ips = dns
                .lookup_ip(target)
                .await
                .map_err(|error| error.to_string())?;
            addresses.extend(ips.iter().map(|ip| SocketAddr::new(ip, port)));
        }
        Ok(addresses)
    }
}

impl JoinMember {
    fn name(&self) -> &str {
        match self {
            JoinMember::Host { host, .. } => host,
            JoinMember::Srv { name } => name,
        }
    }
}

/// A and AAAA records, as the system resolves names (its hosts file included).
async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| error.to_string())?;
    Ok(found.collect())
}

fn system_resolver() -> Option<TokioResolver> {
    let built = TokioResolver::builder_tokio().and_then(|mut builder| {
        // Caching would prevent new answers.
        builder.options_mut().cache_size = 0;
        builder.build()
    });
    built
        .inspect_err(|error| tracing::error!(%error, "the system's DNS configuration"))
        .ok()
}

fn srv_records(answer: &Lookup) -> Vec<(Name, u16)> {
    answer
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => Some((srv.target.clone(), srv.port)),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed check panics")]

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::op::{Message, MessageType, OpCode, ResponseCode};
    use hickory_resolver::proto::rr::rdata::{A, SRV};
    use hickory_resolver::proto::rr::{Record, RecordType};
    use tokio::net::UdpSocket;

    use super::*;

    fn host(host: &str, port: u16) -> JoinMember {
        JoinMember::Host {
            host: host.to_owned(),
            port,
        }
    }

    fn srv(name: &str) -> JoinMember {
        JoinMember::Srv {
            name: name.to_owned(),
        }
    }

    #[test]
    fn every_form_of_an_entry() {
        for (entry, expected) in [
            ("10.0.0.1:7000", host("10.0.0.1", 7000)),
            ("10.0.0.1", host("10.0.0.1", 7946)),
            ("::1", host("::1", 7946)),
            ("[::1]", host("::1", 7946)),
            ("[::1]:7000", host("::1", 7000)),
            (
                "gossip-ring.ns.svc.cluster.local:7000",
                host("gossip-ring.ns.svc.cluster.local", 7000),
            ),
            ("dns+gossip-ring", host("gossip-ring", 7946)),
            ("dns+gossip-ring:7000", host("gossip-ring", 7000)),
            ("dnssrv+_gossip._tcp.ring", srv("_gossip._tcp.ring")),
            ("dnssrvnoa+_gossip._tcp.ring:9", srv("_gossip._tcp.ring")),
        ] {
            assert_eq!(JoinMember::parse(entry, 7946).unwrap(), expected, "{entry}");
        }
        for entry in [
            "",
            ":7946",
            "dns+",
            "a:0",
            "a:x",
            "a b:1",
            "http://a:1",
            "x+a:1",
            "[a]:1",
            "a:b:1",
        ] {
            let error = check_join_member(entry).unwrap_err();
            assert!(error.to_string().contains(&format!("{entry:?}")), "{error}");
        }
    }

    #[tokio::test]
    async fn hosts_are_resolved_and_failures_named() {
        let members = ["127.0.0.1:1", "localhost:2", "name.invalid:3"]
            .map(|entry| JoinMember::parse(entry, 7946).unwrap());
        let resolved = Resolver::new(members.into()).resolve().await;
        assert!(resolved.addresses.contains(&([127, 0, 0, 1], 1).into()));
        assert!(resolved.addresses.iter().any(|address| address.port() == 2));
        assert_eq!(resolved.failed.len(), 1);
        assert!(
            resolved.failed[0].starts_with("name.invalid: "),
            "{resolved:?}"
        );
    }

    /// A name server that knows two members by SRV records, and the second only from the second
    /// time on.
    async fn name_server() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut asked = 0;
            let mut buffer = [0; 1500];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let query = Message::from_vec(&buffer[..length]).unwrap();
                let question = query.queries[0].clone();
                let mut answer =
                    Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
                answer.metadata.response_code = ResponseCode::NoError;
                answer.metadata.recursion_available = true;
                answer.add_query(question.clone());
                match question.query_type() {
                    RecordType::SRV => {
                        asked += 1;
                        for number in 0..asked.min(2) {
                            let target =
                                Name::from_ascii(format!("member-{number}.ring.")).unwrap();
                            let data = SRV::new(0, 0, 7000 + number, target);
                            answer.add_answer(Record::from_rdata(
                                question.name().clone(),
                                1,
                                RData::SRV(data),
                            ));
                        }
                    }
                    RecordType::A => {
                        let last = u8::from(question.name().to_ascii().starts_with("member-1"));
                        let data = RData::A(A::new(10, 0, 0, last));
                        answer.add_answer(Record::from_rdata(question.name().clone(), 1, data));
                    }
                    _ => {}
                }
                socket
                    .send_to(&answer.to_vec().unwrap(), from)
                    .await
                    .unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn srv_records_are_followed_and_asked_for_again() {
        let server = name_server().await;
        let mut udp = ConnectionConfig::udp();
        udp.port = server.port();
        let config = ResolverConfig::from_parts(
            None,
            vec![],
            vec![NameServerConfig::new(server.ip(), true, vec![udp])],
        );
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().cache_size = 0;
        let resolver = Resolver {
            members: vec![srv("_gossip._tcp.ring.")],
            dns: Some(builder.build().unwrap()),
        };
        let first = resolver.resolve().await;
        assert_eq!(first.failed, Vec::<String>::new());
        assert_eq!(first.addresses, [([10, 0, 0, 0], 7000).into()]);
        let second = resolver.resolve().await;
        assert_eq!(
            second.addresses,
            [([10, 0, 0, 0], 7000).into(), ([10, 0, 0, 1], 7001).into()]
        );
    }
}
