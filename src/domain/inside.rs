//! Addresses at which a server reaches itself, its neighbours or its cloud's own services: nothing that a URL names may lead there
//! unless an operator said so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is none of the public internet: this machine, a private or local network, what is reserved, and what only
/// translates to one of these.
pub fn is_inside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_inside_v4(address),
        IpAddr::V6(address) => is_inside_v6(address),
    }
}

fn is_inside_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    // RFC 6890 and the registry that it began; 169.254/16 has the metadata of clouds, 100.64/10 that of one.
    matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., ..)
            | (169, 254, _)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (192, 0, 0)
            // The relays of 6to4 (RFC 7526): what is sent there goes to whoever says to be the nearest.
            | (192, 88, 99)
            | (100, 64..=127, _)
            | (172, 16..=31, _)
    )
}

fn is_inside_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_inside_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b, c, d, e, f) {
        // ::, ::1, and IPv4 written as IPv6.
        (0, 0, 0, 0, 0, 0) => true,
        // RFC 2765: the same for a translator without state.
        (0, 0, 0, 0, 0xffff, 0) => v4(g, h),
        // RFC 6052: what a translator makes of it.
        (0x64, 0xff9b, 0, 0, 0, 0) => v4(g, h),
        (0x64, 0xff9b, 1, ..) => true,
        // RFC 3056.
        (0x2002, high, low, ..) => v4(high, low),
        // RFC 4380: the tunnel's other end is in the address, veiled.
        (0x2001, 0, ..) => true,
        // Unique local, link-local, the old site-local, multicast; discarded (RFC 6666).
        (0xfc00..=0xfdff | 0xfe80..=0xfeff | 0xff00..=0xffff, ..) | (0x100, 0, 0, 0, ..) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_inside_is_known_however_it_is_written() {
        for inside in [
            "127.0.0.1",
            "127.1.2.3",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.100.100.200",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "192.88.99.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:192.88.99.1",
            "::ffff:0:127.0.0.1",
            "::ffff:0:a9fe:a9fe",
            "::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001:0:1::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(is_inside(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "192.0.2.1",
            "192.88.98.1",
            "2606:4700::1",
            "2002:101:101::1",
            "::ffff:1.1.1.1",
            "::ffff:0:1.1.1.1",
        ] {
            assert!(!is_inside(outside.parse().unwrap()), "{outside}");
        }
    }
}
