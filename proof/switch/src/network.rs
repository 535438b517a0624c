//! The namespaces, their devices, and the thread that carries packets between them.

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio_tun::{Tun, TunBuilder};

use crate::Error;
use crate::fabric::{Counts, Fabric, Parcel};
use crate::namespace::{Namespace, ip, remove_leftovers};
use crate::rule::Rule;

/// Subnets of 198.18.0.0/15, which is set apart for tests of networks.
const SUBNETS: u16 = 512;

/// Ports beyond would have no address in the subnet.
const PORTS_MAX: usize = 200;

/// Room for the largest packet. Devices carry up to 1,500 bytes.
const PACKET_BYTES_MAX: usize = 2_048;

/// A network of namespaces that lasts as long as this value.
///
/// Port 0 is in the namespace of this process: from there its clients reach all others.
/// Ports 1 and up each have a namespace of their own. There is nothing but perfect cables
/// until rules are set.
#[derive(Debug)]
pub struct Network {
    subnet: u16,
    namespaces: Vec<Namespace>,
    carrier: Arc<Carrier>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and its owner share.
#[derive(Debug)]
struct Carrier {
    fabric: Mutex<Fabric>,
    /// Something is in the fabric that may be due before all else.
    came: Notify,
    subnet: u16,
}

impl Network {
    /// Makes so many namespaces and connects them. What their makers left behind is removed.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] without root, devices or tools; nothing is left then.
    pub fn create(namespaces: usize, seed: u64) -> Result<Self, Error> {
        assert!(namespaces < PORTS_MAX, "{namespaces} namespaces");
        need_root()?;
        remove_leftovers()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut devices, mut made) = (Vec::new(), Vec::new());
        let subnet = {
            // Devices report to the runtime that is entered when they are made.
            let _entered = runtime.enter();
            let (subnet, own) = take_subnet()?;
            devices.push(own);
            for port in 1..=namespaces {
                made.push(Namespace::create(subnet, port)?);
                devices.push(open(subnet, port)?);
            }
            subnet
        };
        let (device, address) = (device(subnet, 0), with_mask(subnet, 0));
        ip(&["address", "add", &address, "dev", &device])?;
        ip(&["link", "set", &device, "up"])?;
        for (port, namespace) in (1..).zip(&made) {
            move_in(namespace, subnet, port)?;
        }
        let fabric = Mutex::new(Fabric::new(devices.len(), seed));
        let carrier = Arc::new(Carrier { fabric, came: Notify::new(), subnet });
        let (stop, stopped) = oneshot::channel();
        let for_thread = Arc::clone(&carrier);
        let thread = std::thread::spawn(move || carry(&runtime, &for_thread, devices, stopped));
        let (stop, thread) = (Some(stop), Some(thread));
        Ok(Self { subnet, namespaces: made, carrier, stop, thread })
    }

    /// The ports that have a namespace of their own.
    pub fn ports(&self) -> impl Iterator<Item = usize> + use<> {
        1..=self.namespaces.len()
    }

    /// The name of the namespace behind a port from 1 up.
    ///
    /// # Panics
    ///
    /// There is no such port.
    pub fn namespace(&self, port: usize) -> &str {
        let namespace = port.checked_sub(1).and_then(|at| self.namespaces.get(at));
        namespace.expect("the port of a namespace").name()
    }

    /// The address of a port.
    pub fn address(&self, port: usize) -> Ipv4Addr {
        address(self.subnet, port)
    }

    /// From now on packets in this direction are treated so. Those that are on their way
    /// stay as they are.
    ///
    /// # Panics
    ///
    /// There is no such port.
    pub fn set(&self, from: usize, to: usize, rule: Rule) {
        self.fabric().set(from, to, rule);
    }

    /// Sets a rule in both directions.
    ///
    /// # Panics
    ///
    /// There is no such port.
    pub fn set_both(&self, one: usize, other: usize, rule: Rule) {
        self.set(one, other, rule);
        self.set(other, one, rule);
    }

    /// Perfect cables everywhere again.
    pub fn heal(&self) {
        let mut fabric = self.fabric();
        let last = self.namespaces.len();
        for (from, to) in (0..=last).flat_map(|from| (0..=last).map(move |to| (from, to))) {
            fabric.set(from, to, Rule::default());
        }
    }

    /// What happened to the packets in one direction so far.
    ///
    /// # Panics
    ///
    /// There is no such port.
    pub fn counts(&self, from: usize, to: usize) -> Counts {
        self.fabric().counts(from, to)
    }

    fn fabric(&self) -> MutexGuard<'_, Fabric> {
        self.carrier.fabric()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It has ended already if its devices broke.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // Its devices go with it. A panic was printed when it happened.
            let _ = thread.join();
        }
    }
}

impl Carrier {
    fn fabric(&self) -> MutexGuard<'_, Fabric> {
        self.fabric.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a packet that a port has sent. What is not for a port, as the multicasts of
    /// every kernel, is for nobody.
    fn take(&self, from: usize, packet: &[u8]) {
        let mut fabric = self.fabric();
        let to = destination(self.subnet, packet).filter(|to| *to < fabric.ports());
        if let Some(to) = to {
            fabric.take(Instant::now(), Parcel { from, to, packet: packet.to_vec() });
            self.came.notify_one();
        }
    }
}

/// Carries packets until it is told to stop.
fn carry(
    runtime: &Runtime,
    carrier: &Arc<Carrier>,
    devices: Vec<Tun>,
    stopped: oneshot::Receiver<()>,
) {
    runtime.block_on(async {
        let devices: Vec<Arc<Tun>> = devices.into_iter().map(Arc::new).collect();
        let mut tasks = JoinSet::new();
        for (port, device) in devices.iter().enumerate() {
            tasks.spawn(receive(Arc::clone(carrier), port, Arc::clone(device)));
        }
        tasks.spawn(deliver(Arc::clone(carrier), devices));
        // Sent, or its sender is gone: both mean the end.
        let _ = stopped.await;
    });
}

async fn receive(carrier: Arc<Carrier>, port: usize, device: Arc<Tun>) {
    let mut buffer = [0; PACKET_BYTES_MAX];
    loop {
        match device.recv(&mut buffer).await {
            Ok(bytes) => carrier.take(port, buffer.get(..bytes).unwrap_or_default()),
            Err(error) => {
                eprintln!("switch: port {port} is lost: {error}");
                return;
            }
        }
    }
}

async fn deliver(carrier: Arc<Carrier>, devices: Vec<Arc<Tun>>) {
    loop {
        let came = carrier.came.notified();
        let parcel = carrier.fabric().due(Instant::now());
        if let Some(parcel) = parcel {
            if let Some(device) = devices.get(parcel.to) {
                // A device that is down takes nothing; so does a cable without a machine.
                let _ = device.send(&parcel.packet).await;
            }
            continue;
        }
        let next = carrier.fabric().next();
        match next {
            None => came.await,
            Some(due) => tokio::select! {
                () = came => {}
                () = tokio::time::sleep_until(due.into()) => {}
            },
        }
    }
}

/// The port that a packet is for.
fn destination(subnet: u16, packet: &[u8]) -> Option<usize> {
    let is_ipv4 = packet.first().is_some_and(|first| first >> 4 == 4);
    let [a, b, c, last]: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    let port = usize::from(last).checked_sub(1)?;
    let is_ours = address(subnet, port) == Ipv4Addr::new(a, b, c, last);
    (is_ipv4 && is_ours).then_some(port)
}

fn address(subnet: u16, port: usize) -> Ipv4Addr {
    let [high, low] = subnet.to_be_bytes();
    let last = u8::try_from(port + 1).expect("there are fewer ports than addresses");
    Ipv4Addr::new(198, 18 + high, low, last)
}

fn with_mask(subnet: u16, port: usize) -> String {
    format!("{}/24", address(subnet, port))
}

fn device(subnet: u16, port: usize) -> String {
    format!("mgs{subnet}p{port}")
}

/// Finds a subnet that nobody uses. The name of the first device is taken by whoever comes
/// first, and is free again when that process ends, however it ends.
fn take_subnet() -> Result<(u16, Tun), Error> {
    let first: u16 = rand::random_range(0..SUBNETS);
    for subnet in (first..SUBNETS).chain(0..first) {
        let network = format!("{}/24", address(subnet, 0));
        if !ip(&["-4", "route", "show", "root", &network])?.is_empty() {
            continue;
        }
        match open(subnet, 0) {
            Err(Error::Failed(_)) => {}
            opened => return Ok((subnet, opened?)),
        }
    }
    Err(Error::Failed("all subnets of 198.18.0.0/15 are in use".to_owned()))
}

fn open(subnet: u16, port: usize) -> Result<Tun, Error> {
    let name = device(subnet, port);
    let builder = TunBuilder::new().name(&name).close_on_exec();
    let mut opened = builder.build().map_err(|error| match error {
        tokio_tun::Error::IoError(error) => classify(&error),
        tokio_tun::Error::NixError(error) => classify(&error.into()),
    })?;
    opened.pop().ok_or_else(|| Error::Failed(format!("{name}: no queue")))
}

/// Moves a device into its namespace, where it needs an address of its own.
fn move_in(namespace: &Namespace, subnet: u16, port: usize) -> Result<(), Error> {
    let device = device(subnet, port);
    ip(&["link", "set", &device, "netns", namespace.name()])?;
    namespace.ip(&["address", "add", &with_mask(subnet, port), "dev", &device])?;
    namespace.ip(&["link", "set", &device, "up"])
}

/// Tells a system that has no such devices, or forbids them, from one that failed.
fn classify(error: &io::Error) -> Error {
    let said = format!("/dev/net/tun: {error}");
    let is_missing = [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied];
    if is_missing.contains(&error.kind()) { Error::Unavailable(said) } else { Error::Failed(said) }
}

fn need_root() -> Result<(), Error> {
    let user = std::fs::metadata("/proc/self")?.uid();
    if user == 0 { Ok(()) } else { Err(Error::Unavailable("needs root".to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_for_the_port_whose_address_they_bear() {
        let mut packet = vec![0x45; 28];
        packet[16..20].copy_from_slice(&[198, 19, 1, 3]);
        assert_eq!(destination(257, &packet), Some(2));
        assert_eq!(destination(256, &packet), None, "another subnet");
        packet[16..20].copy_from_slice(&[224, 0, 0, 22]);
        assert_eq!(destination(257, &packet), None, "multicast");
        assert_eq!(destination(257, &packet[..17]), None, "cut short");
        assert_eq!(destination(257, &[0x60; 40]), None, "IPv6");
    }
}
