//! Founding a network with the real commands, as its authorities would.

use crate::binaries::{command, run};
use genesis::container::Container;
use ledger::genesis::Params;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Short ids and names of the authorities of a local network; further ones are numbered.
const AUTHORITIES: [(&str, &str); 4] = [
    ("bamf", "Bundesamt für Migration und Flüchtlinge"),
    ("lds-sachsen", "Landesdirektion Sachsen"),
    ("stadt-leipzig", "Stadt Leipzig, Ausländerbehörde"),
    ("vg-leipzig", "Verwaltungsgericht Leipzig"),
];

/// Domain of local networks.
pub const DOMAIN: &str = "nachweis.test";

/// A founded authority: where its files are and which ports its node uses.
#[derive(Clone, Debug)]
pub struct Founder {
    /// Short id.
    pub id: String,
    /// Folder with its keys and application.
    pub keys: PathBuf,
    /// libp2p address in the genesis, `/ip4/127.0.0.1/tcp/PORT`.
    pub peer: String,
    /// libp2p address that its node listens at.
    pub listen: String,
    /// Address of the HTTP API.
    pub api: SocketAddr,
}

/// Ports that no system hands out by itself: a node that restarts must find its own still free, and a connection that
/// somebody opened meanwhile could have been given one of the others.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// What is at the address of a node that the genesis names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The node.
    Direct,
    /// Something that a test puts there; the node listens elsewhere.
    Between,
}

/// Three free ports for each of `count` authorities. They are free at this moment; nothing holds them.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    static LOOKED_AT: AtomicUsize = AtomicUsize::new(0);
    let process = usize::try_from(std::process::id()).unwrap_or(0);
    let mut held = Vec::new();
    for _ in PORTS {
        // Processes begin far from each other, so that two ceremonies at once seldom meet.
        let at = process * 67 + LOOKED_AT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + u16::try_from(at % PORTS.len()).unwrap_or(0);
        held.extend(
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(|listener| (listener, port)),
        );
        if held.len() == count * 3 {
            return Ok(held.into_iter().map(|(_, port)| port).collect());
        }
    }
    Err(io::Error::other("too few free ports"))
}

/// A free address on loopback for one more API.
///
/// # Errors
/// If no port is free.
pub fn free_address() -> io::Result<SocketAddr> {
    let ports = free_ports(1)?;
    Ok((Ipv4Addr::LOCALHOST, ports[0]).into())
}

/// Runs the ceremony in `dir`: keys, applications, genesis signed by all, trust files.
///
/// Leaves `keys/<authority>/`, `genesis.nachweis`, `trust.policy`, `trust.json`.
///
/// # Errors
/// What a command refused.
pub fn found(
    dir: &Path,
    validators: usize,
    reach: Reach,
    params: &Params,
) -> io::Result<Vec<Founder>> {
    let ports = free_ports(validators)?;
    let mut founders = Vec::new();
    for at in 0..validators {
        let (id, name) = AUTHORITIES.get(at).map_or_else(
            || {
                (
                    format!("authority-{:02}", at + 1),
                    format!("Authority {}", at + 1),
                )
            },
            |(id, name)| ((*id).to_owned(), (*name).to_owned()),
        );
        let (peer, api, other) = (ports[3 * at], ports[3 * at + 1], ports[3 * at + 2]);
        let listen = match reach {
            Reach::Direct => peer,
            Reach::Between => other,
        };
        founders.push((id, name, [peer, listen, api]));
    }
    let founders = founders
        .into_iter()
        .map(|(id, name, ports)| apply(dir, &id, &name, ports))
        .collect::<io::Result<Vec<_>>>()?;
    let genesis = dir.join("genesis.nachweis");
    let mut assemble = command("nachweis-genesis")?;
    assemble
        .arg("assemble")
        .args(founders.iter().map(|f| f.keys.join("application.json")));
    run(assemble.arg("--out").arg(&genesis))?;
    if *params != Params::default() {
        let unsigned = Container::load(&genesis).map_err(io::Error::other)?;
        let mut content = unsigned.genesis().clone();
        content.params = *params;
        fs::remove_file(&genesis)?;
        let changed = Container::new(content).create(&genesis);
        changed.map_err(io::Error::other)?;
    }
    for founder in &founders {
        let mut sign = command("nachweis-genesis")?;
        sign.arg("sign").arg("--genesis").arg(&genesis);
        run(sign.arg("--key").arg(founder.keys.join("admin.key")))?;
    }
    run(command("nachweis-genesis")?.arg("check").arg(&genesis))?;
    run(command("nachweis-genesis")?
        .arg("trust")
        .arg(&genesis)
        .arg("--out")
        .arg(dir))?;
    Ok(founders)
}

fn apply(dir: &Path, id: &str, name: &str, [peer, listen, api]: [u16; 3]) -> io::Result<Founder> {
    let keys = dir.join("keys").join(id);
    fs::create_dir_all(dir.join("keys"))?;
    let [peer, listen] = [peer, listen].map(|port| format!("/ip4/127.0.0.1/tcp/{port}"));
    let mut apply = command("nachweis-genesis")?;
    apply.args([
        "apply",
        "--authority",
        id,
        "--name",
        name,
        "--domain",
        DOMAIN,
    ]);
    run(apply.args(["--address", &peer]).arg("--out").arg(&keys))?;
    Ok(Founder {
        id: id.to_owned(),
        keys,
        peer,
        listen,
        api: ([127, 0, 0, 1], api).into(),
    })
}
