//! `HEAD|GET …/resolve/{rev}/{path}`: a file, whole or a range of it. Answered directly, without a redirect.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use strongroom_domain::Commit;
use strongroom_storage::{FileEntry, ObjectId};

use super::file::file_at;
use super::path;
use crate::call::Call;
use crate::gate::Gate;
use crate::refused::Refused;
use crate::routes::Answer;
use crate::stream::{Sending, send};

/// Headers only; no key is asked for.
///
/// # Errors
/// 404 with the word that clients know.
pub async fn head(gate: Arc<Gate>, call: Call) -> Answer {
    answer(gate, call, false).await
}

/// The bytes.
///
/// # Errors
/// 404, 416, 429.
pub async fn get(gate: Arc<Gate>, call: Call) -> Answer {
    answer(gate, call, true).await
}

async fn answer(gate: Arc<Gate>, call: Call, with_body: bool) -> Answer {
    let (revision, path) = (call.revision()?, path(&call)?);
    let grant = call.authorize_repo(&gate, Some(&revision), Some(path.as_str())).await?;
    let found = file_at(&gate, grant, &revision, &path).await?;
    let (commit, file) = (found.commit.id, &found.file);
    let asked = range(call.header(header::RANGE), file.size);
    let mut response = Response::new(Body::empty());
    describe(response.headers_mut(), file, commit, path.file_name())?;
    let range = match asked {
        Asked::Whole => 0..file.size,
        Asked::Part(range) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let text = format!("bytes {}-{}/{}", range.start, range.end - 1, file.size);
            response.headers_mut().insert(header::CONTENT_RANGE, value(&text)?);
            range
        }
        Asked::Outside => {
            let text = format!("bytes */{}", file.size);
            let refused = Refused::new(StatusCode::RANGE_NOT_SATISFIABLE, "the range lies outside of the file");
            return Err(refused.with_header(header::CONTENT_RANGE, text));
        }
    };
    response.headers_mut().insert(header::CONTENT_LENGTH, value(&(range.end - range.start).to_string())?);
    if with_body {
        let reference = found.reference(&gate, &path).await?;
        let sending = Sending { object: ObjectId(file.object), reference, range };
        *response.body_mut() = send(&gate, found.grant, &call.peer, sending).await?;
    }
    Ok(response)
}

fn value(text: &str) -> Result<HeaderValue, Refused> {
    HeaderValue::from_str(text).map_err(|_| Refused::bad("a name that can't stand in a header"))
}

fn describe(headers: &mut HeaderMap, file: &FileEntry, commit: Commit, name: &str) -> Result<(), Refused> {
    let etag = if file.lfs { file.sha256.to_string() } else { file.blob.to_string() };
    headers.insert(header::ETAG, value(&format!("\"{etag}\""))?);
    headers.insert("x-repo-commit", value(&commit.to_string())?);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if file.lfs {
        headers.insert("x-linked-etag", value(&format!("\"{etag}\""))?);
        headers.insert("x-linked-size", value(&file.size.to_string())?);
    }
    let plain: String =
        name.chars().map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\') { c } else { '_' }).collect();
    headers.insert(header::CONTENT_DISPOSITION, value(&format!("attachment; filename=\"{plain}\";"))?);
    Ok(())
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(Range<u64>),
    Outside,
}

/// One range of bytes (RFC 9110 section 14.1.2); anything else is ignored, as the RFC lets a server do.
fn range(header: Option<&str>, size: u64) -> Asked {
    let Some(spec) = header.and_then(|text| text.strip_prefix("bytes=")) else { return Asked::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Asked::Whole };
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    match (first, last) {
        ("", last) => match number(last) {
            Some(0) => Asked::Outside,
            Some(_) if size == 0 => Asked::Outside,
            Some(count) => Asked::Part(size.saturating_sub(count)..size),
            None => Asked::Whole,
        },
        (first, last) => {
            let end =
                if last.is_empty() { Some(size) } else { number(last).map(|last| last.saturating_add(1).min(size)) };
            match (number(first), end) {
                (Some(start), Some(end)) if start < end => Asked::Part(start..end),
                (Some(start), Some(_)) if start >= size => Asked::Outside,
                _ => Asked::Whole,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_served_one_outside_is_416_and_anything_else_is_the_whole_file() {
        let cases = [
            (None, Asked::Whole),
            (Some("bytes=0-"), Asked::Part(0..10)),
            (Some("bytes=3-5"), Asked::Part(3..6)),
            (Some("bytes=3-999"), Asked::Part(3..10)),
            (Some("bytes=-4"), Asked::Part(6..10)),
            (Some("bytes=-999"), Asked::Part(0..10)),
            (Some("bytes=10-"), Asked::Outside),
            (Some("bytes=10-12"), Asked::Outside),
            (Some("bytes=-0"), Asked::Outside),
            (Some("bytes=5-3"), Asked::Whole),
            (Some("bytes=1-2,4-5"), Asked::Whole),
            (Some("bytes=a-b"), Asked::Whole),
            (Some("bytes=+1-2"), Asked::Whole),
            (Some("bytes=1-18446744073709551615"), Asked::Part(1..10)),
            (Some("lines=1-2"), Asked::Whole),
        ];
        for (header, asked) in cases {
            assert_eq!(range(header, 10), asked, "{header:?}");
        }
        assert_eq!(range(Some("bytes=0-"), 0), Asked::Outside);
    }
}
