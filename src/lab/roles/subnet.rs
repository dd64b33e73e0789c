//! A subnet as `address/prefix`, of either family, with the few questions the lab asks of one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use anyhow::{Context, bail};

/// A subnet; the host bits of `base` are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Subnet {
    /// First address.
    pub(super) base: IpAddr,
    /// Prefix length.
    pub(super) prefix: u8,
}

impl Subnet {
    /// The subnet of that prefix length which holds `address`; a prefix too long is cut to the family's width.
    pub(super) fn around(address: IpAddr, prefix: u8) -> Self {
        let prefix = prefix.min(width(address));
        let base = match address {
            IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from(u32::from(a) & mask4(prefix))),
            IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from(u128::from(a) & mask6(prefix))),
        };
        Self { base, prefix }
    }

    /// The subnet of one address.
    pub(super) fn single(address: IpAddr) -> Self {
        Self::around(address, width(address))
    }

    /// Whether the address lies inside.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.base.is_ipv4() == address.is_ipv4() && Self::around(address, self.prefix) == *self
    }

    /// Whether the two share an address.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        if self.prefix <= other.prefix { self.contains(other.base) } else { other.contains(self.base) }
    }

    /// The gateway by AWF's convention: the first address after the base.
    pub(super) fn gateway(&self) -> IpAddr {
        match self.base {
            IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from(u32::from(a).wrapping_add(1))),
            IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from(u128::from(a).wrapping_add(1))),
        }
    }

    /// Whether it stands for "everywhere": a default route, or a half or quarter of one as VPNs install them.
    pub(super) fn is_default(&self) -> bool {
        self.prefix <= if self.base.is_ipv4() { 1 } else { 3 }
    }
}

impl FromStr for Subnet {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (address, prefix) = text.split_once('/').with_context(|| format!("{text:?} is not address/prefix"))?;
        let address: IpAddr = address.parse().with_context(|| format!("address in {text:?}"))?;
        let prefix: u8 = prefix.parse().with_context(|| format!("prefix in {text:?}"))?;
        if prefix > width(address) {
            bail!("prefix in {text:?} is longer than the address");
        }
        Ok(Self::around(address, prefix))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

/// Bits of an address of this family.
pub(super) const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Netmask of an IPv4 prefix.
pub(super) fn mask4(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

/// Netmask of an IPv6 prefix.
pub(super) fn mask6(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Subnet {
        text.parse().expect("a subnet")
    }

    #[test]
    fn parsing_clears_host_bits_and_refuses_nonsense() {
        assert_eq!(net("10.1.2.3/16").to_string(), "10.1.0.0/16");
        assert_eq!(net("fd00::1/64").to_string(), "fd00::/64");
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "::/129", "a/8", "10.0.0.0/-1"] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn overlap_is_symmetric_and_per_family() {
        let cases = [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.0.0.0/16", "10.1.0.0/16", false),
            ("0.0.0.0/0", "203.0.113.0/24", true),
            ("0.0.0.0/0", "2001:db8::/32", false),
            ("203.0.113.7/32", "203.0.113.0/24", true),
        ];
        for (a, b, expected) in cases {
            assert_eq!(net(a).overlaps(&net(b)), expected, "{a} {b}");
            assert_eq!(net(b).overlaps(&net(a)), expected, "{b} {a}");
        }
    }

    #[test]
    fn gateway_and_default() {
        assert_eq!(net("172.30.0.0/24").gateway().to_string(), "172.30.0.1");
        assert!(net("0.0.0.0/0").is_default() && net("128.0.0.0/1").is_default() && net("2000::/3").is_default());
        assert!(!net("10.0.0.0/8").is_default());
    }
}
