//! The advertised address of a member, and the default port of other members.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use crate::config::MemberlistConfig;

/// The port of entries of `join_members` without one.
pub(super) fn default_port(config: &MemberlistConfig, bound: SocketAddr) -> u16 {
    if config.bind_port == 0 {
        bound.port()
    } else {
        config.bind_port
    }
}

/// The advertised address, given the address that this member listens on.
pub(super) fn advertised(config: &MemberlistConfig, bound: SocketAddr) -> SocketAddr {
    let ip = match config.advertise_addr {
        Some(ip) => ip,
        None if !bound.ip().is_unspecified() => bound.ip(),
        None => own_address(bound.ip()),
    };
    let port = if config.advertise_port == 0 {
        bound.port()
    } else {
        config.advertise_port
    };
    SocketAddr::new(ip, port)
}

/// The address that this host uses to reach others. Nothing is sent: connecting a UDP socket only
/// chooses the route.
fn own_address(bound: IpAddr) -> IpAddr {
    let routed = |local: &str, documentation: &str| {
        let socket = UdpSocket::bind((local, 0)).ok()?;
        socket.connect((documentation, 9)).ok()?;
        let ip = socket.local_addr().ok()?.ip();
        (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
    };
    let v4 = || routed("0.0.0.0", "192.0.2.1");
    let v6 = || {
        bound
            .is_ipv6()
            .then(|| routed("::", "2001:db8::1"))
            .flatten()
    };
    v4().or_else(v6).unwrap_or_else(|| {
        tracing::warn!(
            "this host has no route to other hosts: advertising 127.0.0.1. Set advertise_addr if other \
             members are on other hosts"
        );
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    })
}
