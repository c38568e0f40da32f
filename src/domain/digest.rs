//! Content digests in their text form: lower-case hex and nothing else.

use std::fmt;
use std::str::FromStr;

/// Why a text is not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is exactly {expected} lower-case hex digits")]
pub struct DigestError {
    expected: usize,
}

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Takes the digest's bytes, most significant first as hex prints them.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The digest's bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = DigestError;

            fn from_str(text: &str) -> Result<Self, DigestError> {
                let mut bytes = [0; $bytes];
                decode_hex(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }
    };
}

digest!(
    /// SHA-256 of a file's plaintext: the oid of an LFS object, the ETag of a large file.
    Sha256,
    32
);
digest!(
    /// SHA-1 that git gives a blob (`blob LEN\0` and the bytes): the ETag of a small file.
    GitBlob,
    20
);
digest!(
    /// SHA-1 of a commit object, 40 hex digits: clients treat a revision of this shape as immutable.
    Commit,
    20
);

fn decode_hex(text: &str, bytes: &mut [u8]) -> Result<(), DigestError> {
    let wrong = DigestError { expected: bytes.len() * 2 };
    if text.len() != bytes.len() * 2 {
        return Err(wrong);
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = [nibble(pair[0]), nibble(pair[1])];
        *byte = high.zip(low).map(|(high, low)| high << 4 | low).ok_or(wrong)?;
    }
    Ok(())
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_prints_as_it_was_read() {
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(text.parse::<Sha256>().map(|digest| digest.to_string()), Ok(text.to_owned()));
    }

    #[test]
    fn upper_case_short_long_and_foreign_digits_are_refused() {
        let good = "a".repeat(40);
        assert!(good.parse::<Commit>().is_ok());
        for bad in ["A".repeat(40), "a".repeat(39), "a".repeat(41), "g".repeat(40), "é".repeat(20), String::new()] {
            assert!(bad.parse::<Commit>().is_err(), "{bad}");
        }
    }
}
