//! Where a validator is reached: the multiaddresses that an application may carry.
//!
//! Only what the network layer dials: `/ip4/…`, `/ip6/…`, `/dns4/…`, `/dns6/…` or `/dns/…`, then `/tcp/PORT`.
//! The peer id is not part of it; it follows from the network key.

use ledger::codec::{List, OverBound, Text};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Addresses as the genesis holds them.
pub type Addresses = List<Text<128>, 8>;

/// A text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It does not have the form.
    #[error("{0:?} is no address")]
    Form(String),
    /// Host does not fit the protocol before it.
    #[error("{host:?} is no host for /{protocol}")]
    Host {
        /// What stands there.
        host: String,
        /// What it should be.
        protocol: String,
    },
    /// Not 1 to 65535.
    #[error("{0:?} is no port")]
    Port(String),
    /// Too long, or too many.
    #[error("addresses are over their bound")]
    Bound(#[from] OverBound),
    /// None at all.
    #[error("a validator without address cannot be reached")]
    None,
}

impl AddressError {
    /// What a person can do about it.
    pub const fn hint(&self) -> &'static str {
        "give 1 to 8 addresses like /ip4/192.0.2.1/tcp/7447 or /dns4/node.authority.example/tcp/7447"
    }
}

/// Checks one address.
///
/// # Errors
/// [`AddressError`] names the part that is wrong.
pub fn check(text: &str) -> Result<(), AddressError> {
    let form = || AddressError::Form(text.into());
    let parts: Vec<_> = text
        .strip_prefix('/')
        .ok_or_else(form)?
        .split('/')
        .collect();
    let [protocol, host, "tcp", port] = parts[..] else {
        return Err(form());
    };
    let fits = match protocol {
        "ip4" => host.parse::<Ipv4Addr>().is_ok(),
        "ip6" => host.parse::<Ipv6Addr>().is_ok(),
        "dns" | "dns4" | "dns6" => ledger::id::Domain::new(&host.to_ascii_lowercase()).is_ok(),
        _ => return Err(form()),
    };
    if !fits {
        return Err(AddressError::Host {
            host: host.into(),
            protocol: protocol.into(),
        });
    }
    match port.parse::<u16>() {
        Ok(number) if number > 0 && number.to_string() == port => Ok(()),
        Ok(_) | Err(_) => Err(AddressError::Port(port.into())),
    }
}

/// Checks the addresses of a validator: 1 to 8 of at most 128 bytes.
///
/// # Errors
/// The first fault.
pub fn collect(texts: &[String]) -> Result<Addresses, AddressError> {
    if texts.is_empty() {
        return Err(AddressError::None);
    }
    let mut addresses = Addresses::new();
    for text in texts {
        check(text)?;
        addresses.push(Text::try_from(text.clone())?)?;
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_the_network_dials() {
        for good in [
            "/ip4/192.0.2.1/tcp/7447",
            "/ip6/2001:db8::1/tcp/1",
            "/dns4/node.bamf.example/tcp/65535",
            "/dns/Node.example/tcp/80",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for bad in [
            "",
            "192.0.2.1:7447",
            "/ip4/192.0.2.1",
            "/ip4/192.0.2.256/tcp/1",
            "/ip4/192.0.2.1/udp/1",
            "/ip4/192.0.2.1/tcp/0",
            "/ip4/192.0.2.1/tcp/65536",
            "/ip4/192.0.2.1/tcp/+80",
            "/ip4/192.0.2.1/tcp/80/",
            "/ip4/192.0.2.1/tcp/80/p2p/x",
            "/dns4/not a host/tcp/80",
            "/unix/x/tcp/80",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert_eq!(collect(&[]), Err(AddressError::None));
        let nine = vec!["/ip4/192.0.2.1/tcp/1".to_owned(); 9];
        assert!(matches!(collect(&nine), Err(AddressError::Bound(_))));
    }
}
