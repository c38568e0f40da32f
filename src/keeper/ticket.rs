//! Tickets: what stands in an LFS URL or is a Xet access token. Stateless: MACed by the keeper over the access token, the
//! repository, the one purpose and the end, so that any replica redeems them and a revoked token revokes its tickets.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use strongroom_envelope::{keyed_hash, keyed_hash_is};
use strongroom_protocol::{Purpose, SecretText};

/// Seconds that a ticket is good for: a client sends one object with it, or renews it (Xet).
pub const LIFE_S: i64 = 15 * 60;
/// Characters of the longest ticket that is looked at.
const TICKET_CHARS_MAX: usize = 512;

/// What a ticket says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// For which access token.
    pub token: u64,
    /// About which repository.
    pub repo: u64,
    /// For what.
    pub purpose: Purpose,
    /// Unix second at which it ends.
    pub end: i64,
}

impl Ticket {
    /// The text that a client is given.
    pub fn sign(&self, key: &[u8; 32]) -> SecretText {
        // Postcard into a growing vector fails for no value of these types.
        let mut bytes = postcard::to_stdvec(self).expect("plain values");
        let mac = keyed_hash(key, &[b"ticket", &bytes]);
        bytes.extend_from_slice(&mac);
        SecretText::new(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What a text says, where it is this keeper's and not over.
    pub fn open(text: &str, key: &[u8; 32], now_s: i64) -> Option<Self> {
        if text.len() > TICKET_CHARS_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, mac) = bytes.split_last_chunk::<32>()?;
        if !keyed_hash_is(key, &[b"ticket", body], mac) {
            return None;
        }
        let ticket: Self = postcard::from_bytes(body).ok()?;
        (ticket.end > now_s).then_some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_for_what_it_says_until_it_ends_and_under_its_key_only() {
        let ticket = Ticket { token: 1, repo: 2, purpose: Purpose::Xet, end: 100 };
        let text = ticket.sign(&[1; 32]);
        assert_eq!(Ticket::open(text.expose(), &[1; 32], 99), Some(ticket));
        assert_eq!(Ticket::open(text.expose(), &[1; 32], 100), None);
        assert_eq!(Ticket::open(text.expose(), &[2; 32], 99), None);
        for at in 0..text.expose().len() {
            let mut changed = text.expose().to_owned().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(Ticket::open(std::str::from_utf8(&changed).unwrap(), &[1; 32], 99), None, "character {at}");
        }
    }
}
