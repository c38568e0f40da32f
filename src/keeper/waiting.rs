//! A keeper that has no root identity yet: it waits for shares of it, or for the passphrase that opens it.

use std::io::Read;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use blahaj::{Share, Sharks};
use strongroom_envelope::Identity;
use strongroom_protocol::SecretText;
use zeroize::Zeroizing;

use crate::root::RootError;

const PREFIX: &str = "srs";
const CHECK_CHARS: usize = 6;

/// What is still missing.
pub enum Waiting {
    /// Shares of the root identity (Shamir over GF(256)), and those that came.
    Shares(Vec<(u8, Share)>),
    /// The passphrase of this age file.
    Passphrase(Vec<u8>),
}

/// Cuts a root identity into `shares` texts of which any `threshold` give it back, and fewer say nothing about it.
pub fn split(root: &Identity, threshold: u8, shares: u8) -> Vec<SecretText> {
    let secret = root.to_secret_text();
    let dealt = Sharks(threshold).dealer(secret.as_bytes()).take(usize::from(shares));
    dealt
        .map(|share| {
            let bytes = Zeroizing::new(Vec::from(&share));
            let body = Zeroizing::new(URL_SAFE_NO_PAD.encode(&*bytes));
            let check = check(threshold, &body);
            SecretText::new(format!("{PREFIX}.{threshold}.{}.{check}", body.as_str()))
        })
        .collect()
}

fn check(threshold: u8, body: &str) -> String {
    let mut text = URL_SAFE_NO_PAD.encode(digest(&SHA256, format!("{threshold}.{body}").as_bytes()));
    text.truncate(CHECK_CHARS);
    text
}

fn parse(text: &str) -> Option<(u8, Share)> {
    let [PREFIX, threshold, body, sum] = text.trim().split('.').collect::<Vec<_>>()[..] else { return None };
    let threshold: u8 = threshold.parse().ok().filter(|threshold| *threshold > 0)?;
    if check(threshold, body) != sum {
        return None;
    }
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(body).ok()?);
    Some((threshold, Share::try_from(bytes.as_slice()).ok()?))
}

impl Waiting {
    /// What it waits for, as the log says it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Shares(_) => "by shares of the root key",
            Self::Passphrase(_) => "by the passphrase of the root key",
        }
    }

    /// Takes one share, or the passphrase. Gives the identity once it is whole.
    ///
    /// # Errors
    /// Why the text is of no use. What came before is kept, unless the shares do not belong together.
    pub fn take(&mut self, text: &SecretText) -> Result<Option<Identity>, String> {
        match self {
            Self::Passphrase(file) => open(file, text).map(Some),
            Self::Shares(held) => {
                let (threshold, share) = parse(text.expose()).ok_or("not a share, or mistyped")?;
                if held.iter().any(|(other, _)| *other != threshold) {
                    held.clear();
                    return Err("a share of another key; all shares are forgotten, begin again".to_owned());
                }
                if held.iter().any(|(_, other)| other.x == share.x) {
                    return Err("this share was given already".to_owned());
                }
                held.push((threshold, share));
                if held.len() < usize::from(threshold) {
                    return Ok(None);
                }
                let shares: Vec<&Share> = held.iter().map(|(_, share)| share).collect();
                let sharks = Sharks(threshold);
                let secret = sharks.recover(shares).map(Zeroizing::new);
                held.clear();
                let apart = || "these shares do not belong together; begin again".to_owned();
                let secret = secret.map_err(|_| apart())?;
                std::str::from_utf8(&secret).ok().and_then(|text| text.parse().ok()).map(Some).ok_or_else(apart)
            }
        }
    }
}

/// The age file that holds an identity under a passphrase (age spec, "The scrypt recipient type"): `age -d` opens it too.
///
/// # Errors
/// [`RootError::Passphrase`].
pub fn protect(root: &Identity, passphrase: &SecretText) -> Result<Vec<u8>, RootError> {
    let failed = |_| RootError::Passphrase;
    let passphrase = age::secrecy::SecretString::from(passphrase.expose().to_owned());
    let mut file = Vec::new();
    let mut writer = age::Encryptor::with_user_passphrase(passphrase).wrap_output(&mut file).map_err(failed)?;
    std::io::Write::write_all(&mut writer, root.to_secret_text().as_bytes()).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(file)
}

/// Work that a passphrase file may ask for, as a power of two: some seconds, and 1 GiB of memory at most.
const WORK_MAX: u8 = 20;

fn open(file: &[u8], passphrase: &SecretText) -> Result<Identity, String> {
    let wrong = || "not the passphrase of the root key".to_owned();
    let mut identity = age::scrypt::Identity::new(passphrase.expose().to_owned().into());
    identity.set_max_work_factor(WORK_MAX);
    let decryptor = age::Decryptor::new(file).map_err(|_| wrong())?;
    let mut reader = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).map_err(|_| wrong())?;
    let mut text = Zeroizing::new(String::new());
    reader.read_to_string(&mut text).map_err(|_| wrong())?;
    text.trim().parse().map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_three_of_five_shares_give_the_key_and_two_do_not() {
        let root = Identity::generate();
        let shares = split(&root, 3, 5);
        for (a, b, c) in [(0, 1, 2), (4, 2, 0), (1, 3, 4)] {
            let mut waiting = Waiting::Shares(Vec::new());
            assert!(waiting.take(&shares[a]).unwrap().is_none());
            assert!(waiting.take(&shares[a]).is_err(), "the same share twice");
            assert!(waiting.take(&shares[b]).unwrap().is_none());
            let whole = waiting.take(&shares[c]).unwrap().unwrap();
            assert_eq!(whole.to_secret_text(), root.to_secret_text());
        }
        let mut waiting = Waiting::Shares(Vec::new());
        let other = split(&Identity::generate(), 3, 5);
        waiting.take(&shares[0]).unwrap();
        waiting.take(&shares[1]).unwrap();
        assert!(waiting.take(&other[2]).is_err(), "a share of another key");
        let typed = shares[0].expose().replace(".3.", ".2.");
        assert!(Waiting::Shares(Vec::new()).take(&SecretText::new(typed)).is_err());
    }

    #[test]
    fn a_passphrase_opens_what_it_protects_and_another_does_not() {
        let root = Identity::generate();
        let file = protect(&root, &SecretText::new("correct horse".to_owned())).unwrap();
        let mut waiting = Waiting::Passphrase(file);
        assert!(waiting.take(&SecretText::new("wrong horse".to_owned())).is_err());
        let whole = waiting.take(&SecretText::new("correct horse".to_owned())).unwrap().unwrap();
        assert_eq!(whole.to_secret_text(), root.to_secret_text());
    }
}
