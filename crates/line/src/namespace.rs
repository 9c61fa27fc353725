//! The near end's network namespace and both ends' devices.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output};

use nix::sched::{CloneFlags, setns};

use crate::bridge::Bridge;
use crate::pump::Pump;
use crate::tun::Tun;

/// What the names of namespaces begin with; the process id follows.
const NAME: &str = "switchyard-line-";
/// The device in the namespace.
const NEAR: &str = "line0";
/// Packets that wait in the kernel for the pump, beyond which it drops them without our knowing: a tenth of a second of 1 Gbit/s.
const DEVICE_QUEUE: &str = "10000";
/// Bits of the network that both ends are in.
pub const PREFIX_LENGTH: u8 = 24;
/// What addresses begin with.
const PRIVATE: [u8; 2] = [10, 213];
/// And those that programs take for public ones; they are for measurements (RFC 2544), and nobody's on the internet.
const PUBLIC: [u8; 2] = [198, 18];

/// Why a namespace or one of its parts could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// `ip`, of iproute2, can't be run.
    #[error("running `ip`, which is iproute2's: {0}")]
    NoIp(#[source] io::Error),
    /// `ip` refused.
    #[error("`ip {arguments}` failed: {said}")]
    Ip {
        /// What it was told.
        arguments: String,
        /// What it said.
        said: String,
    },
    /// There is no device to be had.
    #[error("making a TUN device (needs root, and the kernel's /dev/net/tun): {0}")]
    Tun(#[source] io::Error),
    /// The namespace can't be entered.
    #[error("entering the namespace: {0}")]
    Enter(#[source] io::Error),
    /// The thread can't be started.
    #[error("starting a thread: {0}")]
    Thread(#[source] io::Error),
    /// All networks are taken.
    #[error("all of 10.213.0.0/16, or of 198.18.0.0/16, is in use")]
    NoNetwork,
    /// The address isn't one of the line's, or is taken.
    #[error("{address} is none of the line's other addresses, which are {network}.2 to {network}.254")]
    Address {
        /// What was wished.
        address: Ipv4Addr,
        /// The first three bytes of all of the line's.
        network: String,
    },
}

/// A namespace with one way out. Gone when dropped, with all its devices; processes in it live on without a network.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// The device outside.
    far_device: String,
    near: Ipv4Addr,
    far: Ipv4Addr,
}

impl Namespace {
    /// Makes a namespace and both devices, and lets packets through the bridge. What a former run left behind is removed first. `public`: with addresses that programs don't
    /// take for private.
    pub fn create(bridge: Bridge, public: bool) -> Result<(Self, Pump), NamespaceError> {
        sweep()?;
        let id = std::process::id();
        let far = free_network(id, public)?;
        let [a, b, c, _] = far.octets();
        let name = format!("{NAME}{id}");
        ip(&format!("netns add {name}"))?;
        let namespace = Self { name, far_device: format!("line{id}"), near: Ipv4Addr::new(a, b, c, 2), far };
        let far_tun = Tun::new(&namespace.far_device).map_err(NamespaceError::Tun)?;
        let near_tun = in_namespace(&namespace.name, || Tun::new(NEAR))?.map_err(NamespaceError::Tun)?;
        // IPv6 finds no address to speak from: the line carries IPv4 only.
        namespace.inside("link set lo up")?;
        namespace.inside(&format!("link set {NEAR} mtu 1500 txqueuelen {DEVICE_QUEUE} addrgenmode none"))?;
        namespace.inside(&format!("address add {}/{PREFIX_LENGTH} dev {NEAR}", namespace.near))?;
        namespace.up()?;
        ip(&format!("link set {} mtu 1500 txqueuelen {DEVICE_QUEUE} addrgenmode none", namespace.far_device))?;
        ip(&format!("address add {far}/{PREFIX_LENGTH} dev {}", namespace.far_device))?;
        ip(&format!("link set {} up", namespace.far_device))?;
        let pump = Pump::start(bridge, near_tun, far_tun).map_err(NamespaceError::Thread)?;
        Ok((namespace, pump))
    }

    /// For `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address inside.
    pub fn near(&self) -> Ipv4Addr {
        self.near
    }

    /// The address at which the near end reaches what runs outside.
    pub fn far(&self) -> Ipv4Addr {
        self.far
    }

    /// Takes the near link down, as a pulled cable or Wi-Fi that is gone.
    pub fn down(&self) -> Result<(), NamespaceError> {
        self.inside(&format!("link set {NEAR} down"))
    }

    /// Brings it up, with its way out.
    pub fn up(&self) -> Result<(), NamespaceError> {
        self.inside(&format!("link set {NEAR} up"))?;
        self.inside(&format!("route replace default dev {NEAR}"))
    }

    /// Gives the near end another address, by default the next one, and takes its former one away.
    pub fn set_address(&mut self, address: Option<Ipv4Addr>) -> Result<(), NamespaceError> {
        let [a, b, c, last] = self.near.octets();
        let next = if last < 254 { last + 1 } else { 2 };
        let address = address.unwrap_or(Ipv4Addr::new(a, b, c, next));
        let here = address.octets()[..3] == [a, b, c] && (2..255).contains(&address.octets()[3]);
        if !here || address == self.near {
            return Err(NamespaceError::Address { address, network: format!("{a}.{b}.{c}") });
        }
        self.inside(&format!("address del {}/{PREFIX_LENGTH} dev {NEAR}", self.near))?;
        self.near = address;
        self.inside(&format!("address add {address}/{PREFIX_LENGTH} dev {NEAR}"))?;
        self.inside(&format!("route replace default dev {NEAR}"))
    }

    /// The ids of the processes that run inside.
    pub fn processes(&self) -> Result<Vec<u32>, NamespaceError> {
        Ok(ip(&format!("netns pids {}", self.name))?.split_whitespace().filter_map(|id| id.parse().ok()).collect())
    }

    fn inside(&self, arguments: &str) -> Result<(), NamespaceError> {
        ip(&format!("-n {} {arguments}", self.name)).map(drop)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&format!("netns del {}", self.name)) {
            eprintln!("{error}");
        }
    }
}

/// Does something in a namespace, on a thread of its own.
pub fn in_namespace<T: Send>(name: &str, action: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
    let enter_and_act = || {
        let namespace = File::open(Path::new("/run/netns").join(name))?;
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        Ok(action())
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, enter_and_act).map_err(NamespaceError::Thread)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(NamespaceError::Enter)
    })
}

/// Removes the namespaces of processes that are gone: one that was killed had no time to.
fn sweep() -> Result<(), NamespaceError> {
    for line in ip("netns list")?.lines() {
        let Some(name) = line.split_whitespace().next() else { continue };
        let Some(id) = name.strip_prefix(NAME).and_then(|id| id.parse::<u32>().ok()) else { continue };
        if !fs::exists(format!("/proc/{id}")).unwrap_or(true) {
            ip(&format!("netns del {name}"))?;
        }
    }
    Ok(())
}

/// The far address of a network that no device has an address of. Lines that begin at the same time begin to look in different places.
fn free_network(id: u32, public: bool) -> Result<Ipv4Addr, NamespaceError> {
    let [first, second] = if public { PUBLIC } else { PRIVATE };
    for offset in 0..=255 {
        let third = (id.wrapping_add(offset) & 0xff) as u8;
        let taken = ip(&format!("-o address show to {first}.{second}.{third}.0/{PREFIX_LENGTH}"))?;
        if taken.trim().is_empty() {
            return Ok(Ipv4Addr::new(first, second, third, 1));
        }
    }
    Err(NamespaceError::NoNetwork)
}

/// Runs `ip`; what it writes.
fn ip(arguments: &str) -> Result<String, NamespaceError> {
    let Output { status, stdout, stderr } = Command::new("ip").args(arguments.split_whitespace()).output().map_err(NamespaceError::NoIp)?;
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr).trim().to_owned();
        return Err(NamespaceError::Ip { arguments: arguments.to_owned(), said: if said.is_empty() { status.to_string() } else { said } });
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}
