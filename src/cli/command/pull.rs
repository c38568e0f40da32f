//! `pull`: files of a sealed share, opened here with the partner's own identity.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use serde_json::{Value, json};
use strongroom_domain::RepoPath;
use strongroom_envelope::{HEADER_BYTES_MAX, Header, Identity, NONCE_BYTES, Opener};
use zeroize::Zeroizing;

use crate::Failed;
use crate::arguments::Pull;
use crate::client::Client;
use crate::show::show;

/// Bytes of ciphertext that are opened at once.
const RUN: usize = 256 * 1024;

/// `strongroom pull …`.
///
/// # Errors
/// The server's reason, or why a file does not open; what does not open whole is not left behind.
pub fn run(pull: Pull) -> Result<(), Failed> {
    let (identity, client) = (identity(&pull.identity)?, Client::new(&pull.remote)?);
    let (kind, repo) = (pull.kind.kind, &pull.at.repo);
    let revision = encoded(&pull.at.revision.to_string(), false);
    let found = client.json("GET", &format!("/api/{kind}s/{repo}/revision/{revision}"), &Value::Null)?;
    let commit = found["sha"].as_str().ok_or_else(|| Failed("the server's answer has no commit".to_owned()))?;
    let named = found["siblings"].as_array().into_iter().flatten();
    let named = named.filter_map(|file| file["rfilename"].as_str().map(str::to_owned));
    let wanted: Vec<String> = if pull.paths.is_empty() { named.collect() } else { pull.paths };
    let mut pulled = Vec::new();
    for path in wanted {
        // As the server checks them: no path leads out of the folder.
        let path: RepoPath = path.parse().map_err(|error| Failed(format!("{path}: {error}")))?;
        let url = format!("/api/strongroom/v1/sealed/{kind}/{repo}/{commit}/{}", encoded(path.as_str(), true));
        let mut answer = client.send("GET", &url, &Value::Null)?;
        let bytes = write(&pull.to.join(path.as_str()), answer.body_mut().as_reader(), &identity);
        let bytes = bytes.map_err(|Failed(why)| Failed(format!("{path}: {why}")))?;
        pulled.push(json!({"path": path.as_str(), "bytes": bytes}));
    }
    show(&json!({"commit": commit, "pulled": pulled}), pull.remote.json);
    Ok(())
}

fn identity(path: &Path) -> Result<Identity, Failed> {
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| Failed(format!("{}: {error}", path.display())))?;
    let line = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1"));
    let line = line.ok_or_else(|| Failed(format!("{} holds no AGE-SECRET-KEY-1…", path.display())))?;
    line.trim().parse().map_err(|error| Failed(format!("{}: {error}", path.display())))
}

/// As it stands in a URL; a path keeps its slashes.
fn encoded(text: &str, path: bool) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || path && byte == b'/';
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Writes what an age file holds, and only once it is known to be whole under its name.
fn write(to: &Path, from: impl Read, identity: &Identity) -> Result<u64, Failed> {
    let failed = |error: std::io::Error| Failed(error.to_string());
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = to.with_file_name(name);
    let mut file = File::create(&part).map_err(failed)?;
    let opened = open(&mut file, from, identity).and_then(|bytes| {
        file.sync_all().and_then(|()| fs::rename(&part, to)).map_err(failed)?;
        Ok(bytes)
    });
    if opened.is_err() {
        // Made above, and of no use.
        let _ = fs::remove_file(&part);
    }
    opened
}

fn open(to: &mut File, mut from: impl Read, identity: &Identity) -> Result<u64, Failed> {
    let failed = |error: std::io::Error| Failed(error.to_string());
    let damaged = |error: &dyn std::fmt::Display| Failed(format!("it does not open: {error}"));
    let mut start = Vec::new();
    from.by_ref().take((HEADER_BYTES_MAX + NONCE_BYTES) as u64).read_to_end(&mut start).map_err(failed)?;
    let (header, rest) = Header::split_from(&start).map_err(|error| damaged(&error))?;
    let key = header.open(identity).map_err(|error| damaged(&error))?;
    let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(|| damaged(&"it is cut"))?;
    let mut opener = Opener::new(&key, nonce);
    let (mut buffer, mut plain, mut bytes) = (vec![0; RUN], Zeroizing::new(Vec::new()), 0);
    opener.push(rest, &mut plain).map_err(|error| damaged(&error))?;
    loop {
        to.write_all(&plain).map_err(failed)?;
        bytes += plain.len() as u64;
        plain.clear();
        match from.read(&mut buffer).map_err(failed)? {
            0 => break,
            read => opener.push(&buffer[..read], &mut plain).map_err(|error| damaged(&error))?,
        }
    }
    opener.finish(&mut plain).map_err(|error| damaged(&error))?;
    to.write_all(&plain).map_err(failed)?;
    Ok(bytes + plain.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_cut_or_of_another_recipient_leaves_nothing_behind() {
        let (identity, other) = (Identity::generate(), Identity::generate());
        let content = vec![7; 200_000];
        let (header, payload) = strongroom_envelope::seal_whole(&content, &[identity.to_recipient()]).unwrap();
        let whole = [header.as_bytes(), &payload].concat();
        let folder = std::env::temp_dir().join(format!("strongroom-pull-{}", std::process::id()));
        let to = folder.join("a").join("b.bin");
        assert!(write(&to, &whole[..whole.len() - 1], &identity).is_err());
        assert!(write(&to, whole.as_slice(), &other).is_err());
        assert_eq!(fs::read_dir(folder.join("a")).unwrap().count(), 0);
        assert!(matches!(write(&to, whole.as_slice(), &identity), Ok(200_000)));
        assert_eq!(fs::read(&to).unwrap(), content);
        fs::remove_dir_all(folder).unwrap();
    }
}
