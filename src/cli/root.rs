//! The root identity on this machine: read where it lies, or asked for.

use strongroom_envelope::Identity;
use strongroom_keeper::root::Root;
use strongroom_protocol::SecretText;
use zeroize::Zeroizing;

use crate::Failed;
use crate::config::Config;

/// The root identity. A passphrase or shares come from standard input, a line each.
///
/// # Errors
/// Why there is none.
pub fn read(config: &Config) -> Result<Identity, Failed> {
    match config.root().read().map_err(|error| Failed(error.to_string()))? {
        Root::Identity(root) => Ok(root),
        Root::Waiting(mut waiting) => loop {
            let mut line = Zeroizing::new(String::new());
            let read =
                std::io::stdin().read_line(&mut line).map_err(|error| Failed(format!("standard input: {error}")))?;
            if read == 0 {
                return Err(Failed("the root key needs its passphrase, or more shares".to_owned()));
            }
            if let Some(root) = waiting.take(&SecretText::new(line.trim().to_owned())).map_err(Failed)? {
                return Ok(root);
            }
        },
    }
}
