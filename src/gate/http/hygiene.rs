//! What hyper lets through and two readers could understand differently is refused before anything reads it.

use axum::http::{HeaderMap, Method, Uri, header};

/// A request whose framing and host are beyond doubt.
pub struct Clean {
    /// As in the `Host` header.
    pub host: String,
}

/// Checks framing headers and host. `hosts` are the names that this server answers to.
///
/// # Errors
/// The reason; the connection is then closed.
pub fn clean(method: &Method, uri: &Uri, headers: &HeaderMap, hosts: &[String]) -> Result<Clean, &'static str> {
    let count = |name: header::HeaderName| headers.get_all(name).iter().count();
    if count(header::HOST) != 1 {
        return Err("exactly one Host header");
    }
    if count(header::CONTENT_LENGTH) > 1 || count(header::TRANSFER_ENCODING) > 1 {
        return Err("one length of the body, said once");
    }
    if count(header::CONTENT_LENGTH) == 1 && count(header::TRANSFER_ENCODING) == 1 {
        return Err("Content-Length or Transfer-Encoding, not both");
    }
    if count(header::AUTHORIZATION) > 1 {
        return Err("one Authorization header");
    }
    if ["x-http-method-override", "x-http-method", "x-method-override"].iter().any(|name| headers.contains_key(*name)) {
        return Err("the method is in the request line, not in a header");
    }
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err("no such method here");
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).ok_or("a Host header of text")?;
    let known = hosts.iter().any(|known| known.eq_ignore_ascii_case(host));
    if !known {
        return Err("not a host of this server; the operator names them in server.hosts");
    }
    if uri.authority().is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(host)) {
        return Err("the request line and the Host header name different hosts");
    }
    Ok(Clean { host: host.to_ascii_lowercase() })
}
