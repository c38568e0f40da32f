//! Access tokens: `srt_`, 43 characters of base64url of 32 random bytes and six of a checksum, so that secret scanners
//! know one when they see it and a mistyped one is told from a revoked one. Only its SHA-256 is stored.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use strongroom_protocol::SecretText;
use zeroize::Zeroizing;

use crate::keys::{KeyError, random};

/// What each token begins with.
pub const PREFIX: &str = "srt_";
const BODY_CHARS: usize = 43;
const CHECK_CHARS: usize = 6;

/// A fresh token.
///
/// # Errors
/// [`KeyError::Randomness`].
pub fn generate() -> Result<SecretText, KeyError> {
    let body = Zeroizing::new(URL_SAFE_NO_PAD.encode(Zeroizing::new(random::<32>()?).as_slice()));
    Ok(SecretText::new(format!("{PREFIX}{}{}", body.as_str(), check(&body))))
}

/// Whether a text has a token's form and checksum.
pub fn is_well_formed(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(PREFIX) else { return false };
    rest.len() == BODY_CHARS + CHECK_CHARS && rest.is_ascii() && check(&rest[..BODY_CHARS]) == rest[BODY_CHARS..]
}

/// What is stored.
pub fn hash(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref()); // SHA-256 has 32 bytes
    hash
}

fn check(body: &str) -> String {
    let mut text = URL_SAFE_NO_PAD.encode(hash(body));
    text.truncate(CHECK_CHARS);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_token_is_known_by_its_checksum() {
        let token = generate().unwrap();
        let text = token.expose();
        assert!(is_well_formed(text) && text.starts_with(PREFIX));
        for at in 0..text.len() {
            let mut typed = text.to_owned().into_bytes();
            typed[at] = if typed[at] == b'A' { b'B' } else { b'A' };
            assert!(!is_well_formed(std::str::from_utf8(&typed).unwrap()), "character {at}");
        }
        assert!(!is_well_formed("") && !is_well_formed("srt_") && !is_well_formed(&format!("{text}A")));
        assert_ne!(text, generate().unwrap().expose());
    }
}
