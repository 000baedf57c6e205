//! [`GossipMesh`]: distributors that gossip, and the network between them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener as StdListener, UdpSocket as StdSocket};
use std::sync::Arc;

use admin_api::{MemberState, Memberlist};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::distributor::{CONFIG_FILE, OVERLAY_FILE};
use crate::{Distributor, LONG, Port};

/// From the number of a member and its `memberlist` section to its whole configuration.
type Configure = Box<dyn Fn(usize, Value) -> MemberConfig + Send + Sync>;

/// The configuration of a member: a file, and perhaps another one that wins over it.
pub struct MemberConfig {
    /// YAML.
    pub yaml: String,
    /// YAML; what it says wins.
    pub overlay: Option<String>,
}

impl From<String> for MemberConfig {
    fn from(yaml: String) -> Self {
        Self {
            yaml,
            overlay: None,
        }
    }
}

/// Distributors on loopback that know each other's addresses before they start.
///
/// Those of [`GossipMesh::launch`] share one IP address and reach each other directly. Those of
/// [`GossipMesh::launch_apart`] have an address each and reach each other through forwarders, so
/// that [`GossipMesh::partition`] can keep them apart.
pub struct GossipMesh {
    /// The members; how many there are does not change.
    pub distributors: Vec<Distributor>,
    seats: Vec<Seat>,
    configure: Configure,
    network: Option<Network>,
}

/// Where a member is.
#[derive(Debug)]
struct Seat {
    port: Port,
    listens: Ipv4Addr,
    advertises: Ipv4Addr,
}

/// What `/memberlist` says.
#[derive(Debug, Clone)]
pub struct MembersPage {
    /// All members that the asked one knows, by name.
    pub members: BTreeMap<String, MemberRow>,
    /// The keys that have a value.
    pub keys: BTreeSet<String>,
    /// The asked one's name.
    pub own_name: String,
}

/// One member on a [`MembersPage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    /// Where it says that it is.
    pub address: String,
    /// How it is.
    pub state: MemberState,
}

impl GossipMesh {
    /// Starts `count` distributors at once, waiting for nothing. `configure` is given the number of
    /// a member and its `memberlist` section, and makes the configuration.
    pub fn launch<C: Into<MemberConfig>>(
        count: usize,
        configure: impl Fn(usize, Value) -> C + Send + Sync + 'static,
    ) -> Self {
        let seats = (0..count).map(|_| Seat::shared()).collect();
        Self::start(seats, boxed(configure), None)
    }

    /// As [`GossipMesh::launch`], with a network between them that can be partitioned: member N
    /// listens at 127.0.1.(N+1) and is told to the others as 127.0.2.(N+1).
    ///
    /// # Panics
    /// When a forwarder cannot listen.
    pub async fn launch_apart(
        count: usize,
        configure: impl Fn(usize, Value) -> String + Send + Sync + 'static,
    ) -> Self {
        let seats: Vec<Seat> = (0..count).map(Seat::apart).collect();
        let network = Network::start(&seats).await;
        Self::start(seats, boxed(configure), Some(network))
    }

    fn start(seats: Vec<Seat>, configure: Configure, network: Option<Network>) -> Self {
        let mut this = Self {
            distributors: Vec::new(),
            seats,
            configure,
            network,
        };
        for number in 0..this.seats.len() {
            let MemberConfig { yaml, overlay } = this.config(number);
            let name = name(number);
            this.distributors.push(match overlay {
                Some(overlay) => Distributor::launch_over(&name, &yaml, &overlay),
                None => Distributor::launch(&name, &yaml),
            });
        }
        this
    }

    /// Waits until all of them are ready.
    pub async fn wait_ready(&mut self) {
        for distributor in &mut self.distributors {
            distributor.wait_ready().await;
        }
    }

    /// Where the others reach each member.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.seats.iter().map(Seat::advertised).collect()
    }

    /// Where a member listens.
    pub fn listens(&self, number: usize) -> SocketAddr {
        self.seats[number].listening()
    }

    /// The `memberlist` section that `configure` is given.
    fn section(&self, number: usize) -> Value {
        let seat = &self.seats[number];
        let others = self.addresses().into_iter().enumerate();
        let others = others.filter(|(other, _)| *other != number);
        json!({
            "node_name": name(number),
            "bind_addr": [seat.listens],
            "bind_port": seat.port.number(),
            "advertise_addr": seat.advertises,
            "advertise_port": seat.port.number(),
            "join_members": others.map(|(_, address)| address.to_string()).collect::<Vec<_>>(),
        })
    }

    fn config(&self, number: usize) -> MemberConfig {
        (self.configure)(number, self.section(number))
    }

    /// Asks a member to stop and waits until it has, in peace.
    ///
    /// # Panics
    /// When it exits with an error or not at all.
    pub async fn stop(&mut self, number: usize) {
        let process = &mut self.distributors[number].process;
        process.sigterm();
        let status = process.wait_exit(LONG).await;
        assert!(status.success(), "{}: {status}", process.name());
    }

    /// Starts a member that is stopped, or kills it before; waits for nothing. Its configuration is
    /// written again.
    pub fn relaunch(&mut self, number: usize) {
        let MemberConfig { yaml, overlay } = self.config(number);
        let distributor = &mut self.distributors[number];
        distributor.write_file(CONFIG_FILE, &yaml);
        if let Some(overlay) = overlay {
            distributor.write_file(OVERLAY_FILE, &overlay);
        }
        distributor.process.restart();
    }

    /// [`GossipMesh::relaunch`], and waits until it is ready.
    pub async fn restart(&mut self, number: usize) {
        self.relaunch(number);
        self.distributors[number].wait_ready().await;
    }

    /// From their next start on the members are asked to be what this makes of them.
    pub fn reconfigure(
        &mut self,
        configure: impl Fn(usize, Value) -> String + Send + Sync + 'static,
    ) {
        self.configure = boxed(configure);
    }

    /// From their next start on all members have other addresses.
    ///
    /// # Panics
    /// When there are forwarders, which stay where they are.
    pub fn move_all(&mut self) {
        assert!(self.network.is_none(), "forwarders do not move");
        let moved: Vec<Seat> = self.seats.iter().map(|_| Seat::shared()).collect();
        // The old ports are free for others only now, so that none of them is taken again.
        self.seats = moved;
    }

    /// Nothing gets from one group to another: datagrams are lost, connections are reset. Members
    /// in no group are cut off from all others.
    ///
    /// # Panics
    /// When there are no forwarders.
    pub fn partition(&self, groups: &[&[usize]]) {
        let group_of = |member: usize| groups.iter().position(|group| group.contains(&member));
        let sides = (0..self.seats.len()).map(group_of).collect();
        self.wish(Wish { sides: Some(sides) });
    }

    /// Ends [`GossipMesh::partition`].
    ///
    /// # Panics
    /// When there are no forwarders.
    pub fn heal(&self) {
        self.wish(Wish { sides: None });
    }

    fn wish(&self, wish: Wish) {
        let network = self.network.as_ref().unwrap();
        network.shared.wish.send_replace(wish);
    }

    /// What a member shows at `/memberlist`.
    ///
    /// # Errors
    /// When there is no answer, or gossip is not running.
    pub async fn page(&self, number: usize) -> Result<MembersPage, String> {
        MembersPage::of(&self.distributors[number]).await
    }

    /// The pages of these members, if they all are right: active is exactly who of them runs now,
    /// and all others are shown as gone.
    ///
    /// # Errors
    /// What is not right yet.
    pub async fn settled(&self, running: &[usize]) -> Result<Vec<MembersPage>, String> {
        let mut pages = Vec::new();
        for number in running {
            let page = self.page(*number).await;
            pages.push(page.map_err(|error| format!("{}: {error}", name(*number)))?);
        }
        let expected: BTreeMap<&str, String> = running
            .iter()
            .zip(&pages)
            .map(|(number, page)| {
                let address = self.seats[*number].advertised().to_string();
                (page.own_name.as_str(), address)
            })
            .collect();
        for (number, page) in running.iter().zip(&pages) {
            let active: BTreeMap<&str, String> = page
                .members
                .iter()
                .filter(|(_, row)| row.state == MemberState::Active)
                .map(|(name, row)| (name.as_str(), row.address.clone()))
                .collect();
            let gone =
                |row: &MemberRow| [MemberState::Left, MemberState::Dead].contains(&row.state);
            let others_gone = page
                .members
                .iter()
                .all(|(name, row)| expected.contains_key(name.as_str()) || gone(row));
            if active != expected || !others_gone {
                return Err(format!(
                    "{} shows {:?}; running are {expected:?}",
                    name(*number),
                    page.members
                ));
            }
        }
        Ok(pages)
    }
}

impl fmt::Debug for GossipMesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GossipMesh")
            .field("distributors", &self.distributors)
            .field("seats", &self.seats)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

impl MembersPage {
    /// The page of any distributor.
    ///
    /// # Errors
    /// When there is no answer, or it says that gossip is not used.
    pub async fn of(distributor: &Distributor) -> Result<Self, String> {
        let page: Memberlist = distributor.page("/memberlist").await?;
        let mut own_names = Vec::new();
        let mut members = BTreeMap::new();
        for row in &page.members {
            if row.is_self {
                own_names.push(row.name.clone());
            }
            let member = MemberRow {
                address: row.address.clone(),
                state: row.state,
            };
            if members.insert(row.name.clone(), member).is_some() {
                return Err(format!("a member is there twice: {page:?}"));
            }
        }
        let [own_name] = own_names.as_slice() else {
            return Err(format!("not one member is the asked one: {page:?}"));
        };
        let alive = page.store.iter().filter(|entry| !entry.deleted);
        Ok(Self {
            own_name: own_name.clone(),
            members,
            keys: alive.map(|entry| entry.key.clone()).collect(),
        })
    }

    /// How many members of a state it shows.
    pub fn count(&self, state: MemberState) -> usize {
        self.members
            .values()
            .filter(|row| row.state == state)
            .count()
    }
}

fn boxed<C: Into<MemberConfig>>(
    configure: impl Fn(usize, Value) -> C + Send + Sync + 'static,
) -> Configure {
    Box::new(move |number, section| configure(number, section).into())
}

fn name(number: usize) -> String {
    format!("d{number}")
}

impl Seat {
    fn shared() -> Self {
        Self {
            port: Port::reserve(),
            listens: Ipv4Addr::LOCALHOST,
            advertises: Ipv4Addr::LOCALHOST,
        }
    }

    fn apart(number: usize) -> Self {
        let host = u8::try_from(number + 1).unwrap();
        loop {
            let seat = Self {
                port: Port::reserve(),
                listens: Ipv4Addr::new(127, 0, 1, host),
                advertises: Ipv4Addr::new(127, 0, 2, host),
            };
            // Others may be there on one address only.
            let is_free = |at| StdListener::bind(at).is_ok() && StdSocket::bind(at).is_ok();
            if is_free(seat.listening()) && is_free(seat.advertised()) {
                return seat;
            }
        }
    }

    fn listening(&self) -> SocketAddr {
        (self.listens, self.port.number()).into()
    }

    fn advertised(&self) -> SocketAddr {
        (self.advertises, self.port.number()).into()
    }
}

/// What the test wants of the network.
#[derive(Debug)]
struct Wish {
    /// The side of each member; `None` without a partition.
    sides: Option<Vec<Option<usize>>>,
}

impl Wish {
    fn lets(&self, from: usize, to: usize) -> bool {
        match &self.sides {
            None => true,
            Some(sides) => sides[from].is_some() && sides[from] == sides[to],
        }
    }
}

/// Forwarders at the addresses that members are known by. They tell who sends by the address that
/// it comes from, and pass it on from the address that the sender is known by.
#[derive(Debug)]
struct Network {
    shared: Arc<Forwarders>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Forwarders {
    listening: Vec<SocketAddr>,
    datagrams: Vec<UdpSocket>,
    wish: watch::Sender<Wish>,
}

impl Network {
    async fn start(seats: &[Seat]) -> Self {
        let mut datagrams = Vec::new();
        let mut listeners = Vec::new();
        for seat in seats {
            datagrams.push(UdpSocket::bind(seat.advertised()).await.unwrap());
            listeners.push(TcpListener::bind(seat.advertised()).await.unwrap());
        }
        let shared = Arc::new(Forwarders {
            listening: seats.iter().map(Seat::listening).collect(),
            datagrams,
            wish: watch::Sender::new(Wish { sides: None }),
        });
        let mut tasks = JoinSet::new();
        for (to, listener) in listeners.into_iter().enumerate() {
            tasks.spawn(Arc::clone(&shared).forward_datagrams(to));
            tasks.spawn(Arc::clone(&shared).accept(to, listener));
        }
        Self {
            shared,
            _tasks: tasks,
        }
    }
}

impl Forwarders {
    /// The member that sends from this address, if it may reach `to`.
    fn sender(&self, from: SocketAddr, to: usize) -> Option<usize> {
        let from = self.number_of(from.ip())?;
        self.wish.borrow().lets(from, to).then_some(from)
    }

    fn number_of(&self, ip: IpAddr) -> Option<usize> {
        self.listening.iter().position(|member| member.ip() == ip)
    }

    async fn forward_datagrams(self: Arc<Self>, to: usize) {
        let mut buffer = vec![0; 65_536];
        loop {
            // Failures are about a datagram that was sent before, to a member that is down.
            let Ok((size, from)) = self.datagrams[to].recv_from(&mut buffer).await else {
                continue;
            };
            if let Some(from) = self.sender(from, to) {
                let outside = &self.datagrams[from];
                let _ = outside.send_to(&buffer[..size], self.listening[to]).await;
            }
        }
    }

    async fn accept(self: Arc<Self>, to: usize, listener: TcpListener) {
        // Owned by this loop, so that connections end with it.
        let mut connections = JoinSet::new();
        loop {
            let Ok((stream, from)) = listener.accept().await else {
                continue;
            };
            match self.sender(from, to) {
                Some(from) => {
                    let this = Arc::clone(&self);
                    connections.spawn(async move { this.forward_stream(stream, from, to).await });
                }
                None => stream.set_zero_linger().unwrap(),
            }
            while connections.try_join_next().is_some() {}
        }
    }

    /// One connection, until it ends, fails or is cut.
    async fn forward_stream(&self, mut stream: TcpStream, from: usize, to: usize) {
        let mut onward = None;
        let ended = {
            let mut wish = self.wish.subscribe();
            tokio::select! {
                biased;
                _ = wish.wait_for(|wish| !wish.lets(from, to)) => false,
                result = self.join(&mut stream, &mut onward, from, to) => result.is_ok(),
            }
        };
        if !ended {
            // Closing them now resets them. It fails for one that is gone already.
            for stream in [Some(stream), onward].into_iter().flatten() {
                let _ = stream.set_zero_linger();
            }
        }
    }

    async fn join(
        &self,
        stream: &mut TcpStream,
        onward: &mut Option<TcpStream>,
        from: usize,
        to: usize,
    ) -> io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.datagrams[from].local_addr()?.ip(), 0).into())?;
        let onward = onward.insert(socket.connect(self.listening[to]).await?);
        stream.set_nodelay(true)?;
        onward.set_nodelay(true)?;
        tokio::io::copy_bidirectional(stream, onward)
            .await
            .map(drop)
    }
}
