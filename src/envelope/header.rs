//! The header: one file key, wrapped for recipients, under a MAC of the file key (age spec, "Header").

use age::Recipient as _;
use age_core::format::Stanza;
use aws_lc_rs::{hkdf, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::keys::{FileKey, Identity, Recipient};

/// Bytes of a header: an X25519 stanza has about 100, so this is some 600 recipients.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;

const VERSION_LINE: &str = "age-encryption.org/v1\n";
const BODY_LINE_CHARS: usize = 64;

/// Why a header is refused or does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Against the grammar, too long, or a stanza that its identity finds malformed.
    #[error("not an age v1 header")]
    Form,
    /// No stanza is for this identity.
    #[error("the header is not for this identity")]
    NoMatch,
    /// The MAC is not that of the file key: the header was changed.
    #[error("the header was changed after it was sealed")]
    Mac,
    /// No recipient given, or one that cannot be wrapped for.
    #[error("a header needs at least one recipient")]
    Recipients,
}

/// A well-formed header, from its version line to the end of its MAC line.
pub struct Header {
    bytes: Vec<u8>,
    stanzas: Vec<Stanza>,
    /// Bytes that the MAC covers: to the end of `---`.
    covered: usize,
    mac: [u8; 32],
}

impl Header {
    /// Wraps the file key for each recipient. Needs no secret but the key itself.
    ///
    /// # Errors
    /// [`HeaderError::Recipients`] for none.
    pub fn seal(key: &FileKey, recipients: &[Recipient]) -> Result<Self, HeaderError> {
        let mut text = VERSION_LINE.to_owned();
        for recipient in recipients {
            let (stanzas, _) = recipient.0.wrap_file_key(&key.to_age()).map_err(|_| HeaderError::Recipients)?;
            stanzas.iter().for_each(|stanza| write_stanza(&mut text, stanza));
        }
        text += "---";
        let mac = hmac::sign(&mac_key(key), text.as_bytes());
        text += &format!(" {}\n", STANDARD_NO_PAD.encode(mac));
        Self::parse(text.as_bytes()).map_err(|_| HeaderError::Recipients)
    }

    /// Reads a header that is all of these bytes.
    ///
    /// # Errors
    /// [`HeaderError::Form`].
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        match Self::split_from(bytes)? {
            (header, []) => Ok(header),
            _ => Err(HeaderError::Form),
        }
    }

    /// Reads the header at the beginning of an age file; the rest is the payload.
    ///
    /// # Errors
    /// [`HeaderError::Form`].
    pub fn split_from(file: &[u8]) -> Result<(Self, &[u8]), HeaderError> {
        let mut lines = Lines { bytes: &file[..file.len().min(HEADER_BYTES_MAX)], at: 0 };
        if lines.next()? != VERSION_LINE.trim_end() {
            return Err(HeaderError::Form);
        }
        let mut stanzas = Vec::new();
        loop {
            let start = lines.at;
            let line = lines.next()?;
            if let Some(mac) = line.strip_prefix("--- ") {
                let mac = STANDARD_NO_PAD.decode(mac).map_err(|_| HeaderError::Form)?;
                let mac = mac.try_into().map_err(|_| HeaderError::Form)?;
                // A passphrase stanza stands alone, or the file would authenticate nobody (age spec, "scrypt").
                if stanzas.is_empty() || stanzas.len() > 1 && stanzas.iter().any(|s: &Stanza| s.tag == "scrypt") {
                    return Err(HeaderError::Form);
                }
                let bytes = file[..lines.at].to_vec();
                return Ok((Self { bytes, stanzas, covered: start + 3, mac }, &file[lines.at..]));
            }
            stanzas.push(read_stanza(line, &mut lines)?);
        }
    }

    /// The header as it is stored, and as an age file begins.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The file key, where the header is for this identity and was not changed.
    ///
    /// # Errors
    /// [`HeaderError`], all but `Recipients`.
    pub fn open(&self, identity: &Identity) -> Result<FileKey, HeaderError> {
        let found = self.stanzas.iter().find_map(|stanza| identity.opening.unwrap(stanza).transpose());
        let key = found.ok_or(HeaderError::NoMatch)??;
        // Constant time.
        hmac::verify(&mac_key(&key), &self.bytes[..self.covered], &self.mac).map_err(|_| HeaderError::Mac)?;
        Ok(key)
    }

    /// A header with the same file key for other recipients: the payload stays as it is.
    ///
    /// # Errors
    /// [`HeaderError`].
    pub fn rewrap(&self, identity: &Identity, recipients: &[Recipient]) -> Result<Self, HeaderError> {
        Self::seal(&self.open(identity)?, recipients)
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Header({} stanzas)", self.stanzas.len())
    }
}

/// `HKDF-SHA-256(ikm = file key, salt = empty, info = "header")`.
fn mac_key(key: &FileKey) -> hmac::Key {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]);
    let prk = salt.extract(key.expose());
    let info: [&[u8]; 1] = [b"header"];
    // Expanding to 32 bytes can't fail: HKDF-SHA-256 gives up to 255 times that (RFC 5869 section 2.3).
    let okm = prk.expand(&info, hmac::HMAC_SHA256).expect("32 bytes are within HKDF's limit");
    hmac::Key::from(okm)
}

fn write_stanza(text: &mut String, stanza: &Stanza) {
    *text += "-> ";
    *text += &stanza.tag;
    stanza.args.iter().for_each(|arg| *text += &format!(" {arg}"));
    *text += "\n";
    let body = STANDARD_NO_PAD.encode(&stanza.body);
    // The last line is shorter than 64, and so empty after a body of full lines.
    let full = body.len() / BODY_LINE_CHARS * BODY_LINE_CHARS;
    for at in (0..full).step_by(BODY_LINE_CHARS) {
        *text += &body[at..at + BODY_LINE_CHARS];
        *text += "\n";
    }
    *text += &body[full..];
    *text += "\n";
}

fn read_stanza(line: &str, lines: &mut Lines<'_>) -> Result<Stanza, HeaderError> {
    let arguments = line.strip_prefix("-> ").ok_or(HeaderError::Form)?;
    let mut arguments = arguments.split(' ').map(str::to_owned);
    let tag = arguments.next().ok_or(HeaderError::Form)?;
    let args: Vec<String> = arguments.collect();
    let visible = |word: &String| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible(&tag) || !args.iter().all(visible) {
        return Err(HeaderError::Form);
    }
    let mut body = String::new();
    loop {
        let line = lines.next()?;
        if line.len() > BODY_LINE_CHARS {
            return Err(HeaderError::Form);
        }
        body += line;
        if line.len() < BODY_LINE_CHARS {
            // Refuses padding and stray bits: one body has one text.
            let body = STANDARD_NO_PAD.decode(body).map_err(|_| HeaderError::Form)?;
            return Ok(Stanza { tag, args, body });
        }
    }
}

/// Lines that end in LF; a missing one is an error, as a header is never the end of a file.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a str, HeaderError> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(HeaderError::Form)?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| HeaderError::Form)
    }
}
