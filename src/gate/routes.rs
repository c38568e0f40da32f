//! The route table: method, path, action, handler. A route without an action does not compile; an action without a route
//! does not start.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use strongroom_domain::{Action, RepoKind};
use strongroom_protocol::{Call as Origin, Refusal};

use crate::call::{Call, Rest, credential};
use crate::gate::Gate;
use crate::http::{Peer, clean};
use crate::metrics::counted;
use crate::refused::Refused;
use crate::{api, hub};

/// What a handler answers.
pub type Answer = Result<Response<Body>, Refused>;
/// How a handler is called.
pub type Handler = fn(Arc<Gate>, Call) -> Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What a path begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Root,
    /// `/api/models` and `/api/datasets`.
    Api,
    /// Nothing for models, `/datasets` for datasets.
    Web,
}

/// A line of the table.
pub struct Route {
    /// The method.
    pub method: Method,
    /// What its path begins with.
    pub base: Base,
    /// The rest of the path.
    pub path: &'static str,
    /// What it needs.
    pub action: Action,
    /// What answers.
    pub handler: Handler,
}

impl Route {
    /// Method and pattern, for the record: never the raw URL.
    pub fn label(&self) -> String {
        format!("{} {}", self.method, self.pattern())
    }

    /// The method, of the few that the table names.
    fn method_word(&'static self) -> &'static str {
        self.method.as_str()
    }

    fn pattern(&self) -> String {
        let base = match self.base {
            Base::Root => "",
            Base::Api => "/api/{kind}s",
            Base::Web => "/{kind}",
        };
        format!("{base}{}", self.path)
    }

    fn paths(&self) -> Vec<(String, Option<RepoKind>)> {
        match self.base {
            Base::Root => vec![(self.path.to_owned(), None)],
            Base::Api => RepoKind::ALL.map(|kind| (format!("/api/{}s{}", kind.word(), self.path), Some(kind))).to_vec(),
            Base::Web => RepoKind::ALL
                .map(|kind| (format!("/{}{}", kind.url_prefix(), self.path.trim_start_matches('/')), Some(kind)))
                .to_vec(),
        }
    }
}

macro_rules! routes {
    ($($method:ident $base:ident $path:literal $action:ident $handler:path;)*) => {
        &[$(Route {
            method: Method::$method,
            base: Base::$base,
            path: $path,
            action: Action::$action,
            handler: |gate, call| Box::pin($handler(gate, call)),
        },)*]
    };
}

/// All of them, but `/healthz`, which says `ok` to anyone.
#[rustfmt::skip]
static ROUTES: &[Route] = routes! {
    // Reading
    HEAD   Web  "/{ns}/{name}/resolve/{rev}/{*path}"             RepoRead   hub::resolve::head;
    GET    Web  "/{ns}/{name}/resolve/{rev}/{*path}"             RepoRead   hub::resolve::get;
    GET    Api  ""                                               RepoList   hub::list::get;
    GET    Api  "/{ns}/{name}"                                   RepoRead   hub::info::get;
    GET    Api  "/{ns}/{name}/revision/{rev}"                    RepoRead   hub::info::get;
    GET    Api  "/{ns}/{name}/tree/{rev}"                        RepoRead   hub::tree::get;
    GET    Api  "/{ns}/{name}/tree/{rev}/{*path}"                RepoRead   hub::tree::get;
    POST   Api  "/{ns}/{name}/paths-info/{rev}"                  RepoRead   hub::paths_info::post;
    GET    Api  "/{ns}/{name}/refs"                              RepoRead   hub::refs::get;
    GET    Api  "/{ns}/{name}/commits/{rev}"                     RepoRead   hub::commits::get;
    GET    Api  "/{ns}/{name}/auth-check"                        RepoRead   hub::misc::auth_check;
    GET    Api  "/{ns}/{name}/auth-check/write"                  RepoWrite  hub::misc::auth_check;
    GET    Root "/api/whoami-v2"                                 Whoami     hub::misc::whoami;
    GET    Root "/api/agent-harnesses"                           Whoami     hub::misc::agent_harnesses;
    // Writing
    POST   Root "/api/validate-yaml"                             Whoami     hub::misc::validate_yaml;
    POST   Root "/api/repos/create"                              RepoCreate hub::create::post;
    POST   Root "/api/repos/move"                                RepoManage hub::manage::move_repo;
    DELETE Root "/api/repos/delete"                              RepoDelete hub::manage::delete;
    PUT    Api  "/{ns}/{name}/settings"                          RepoManage hub::manage::settings;
    POST   Api  "/{ns}/{name}/preupload/{rev}"                   RepoWrite  hub::preupload::post;
    POST   Api  "/{ns}/{name}/commit/{rev}"                      RepoWrite  hub::commit::post;
    POST   Api  "/{ns}/{name}/branch/{rev}"                      RepoWrite  hub::branch::create;
    DELETE Api  "/{ns}/{name}/branch/{rev}"                      RepoWrite  hub::branch::delete;
    POST   Api  "/{ns}/{name}/tag/{rev}"                         RepoWrite  hub::tag::create;
    DELETE Api  "/{ns}/{name}/tag/{rev}"                         RepoWrite  hub::tag::delete;
    POST   Api  "/{ns}/{name}/super-squash/{rev}"                RepoManage hub::branch::squash;
    // Asking for access
    POST   Web  "/{ns}/{name}/ask-access"                        RepoAsk    hub::access::ask::post;
    GET    Api  "/{ns}/{name}/user-access-request/{status}"      ShareManage hub::access::list::get;
    POST   Api  "/{ns}/{name}/user-access-request/handle"        ShareManage hub::access::handle::post;
    POST   Api  "/{ns}/{name}/user-access-request/grant"         ShareManage hub::access::grant::post;
    // Large files
    POST   Web  "/{ns}/{name}/info/lfs/objects/batch"            RepoRead   hub::lfs::batch;
    PUT    Root "/lfs/{ticket}"                                  RepoWrite  hub::lfs::put;
    GET    Root "/lfs/{ticket}"                                  RepoRead   hub::lfs::get;
    GET    Api  "/{ns}/{name}/xet-write-token/{rev}"             RepoWrite  hub::xet::write_token;
    POST   Root "/xet/{scope}/v1/xorbs/default/{hash}"           RepoWrite  hub::xet::xorb;
    POST   Root "/xet/{scope}/v1/shards"                         RepoWrite  hub::shard::post;
    GET    Root "/xet/{scope}/v1/chunks/default/{hash}"          RepoWrite  hub::xet::absent;
    POST   Root "/xet/{scope}/v1/xorb-grants/default/{hash}"     RepoWrite  hub::xet::absent;
    POST   Root "/xet/{scope}/v2/shards"                         RepoWrite  hub::xet::absent;
    // Operators and analysts
    POST   Root "/api/strongroom/v1/user"                        UserManage  api::admin::post;
    POST   Root "/api/strongroom/v1/role"                        RoleManage  api::admin::post;
    POST   Root "/api/strongroom/v1/token"                       TokenManage api::admin::post;
    POST   Root "/api/strongroom/v1/token/claim"                 Whoami      api::admin::post;
    POST   Root "/api/strongroom/v1/partner"                     PartnerManage api::admin::post;
    POST   Root "/api/strongroom/v1/partner/sponsored"           Whoami      api::admin::post;
    POST   Root "/api/strongroom/v1/review"                      ReviewManage api::admin::post;
    POST   Root "/api/strongroom/v1/approval"                    Whoami      api::admin::post;
    POST   Root "/api/strongroom/v1/share"                       ShareManage api::share::post;
    POST   Root "/api/strongroom/v1/share/terms"                 Whoami      api::share::post;
    POST   Root "/api/strongroom/v1/access"                      ShareManage api::access::post;
    POST   Root "/api/strongroom/v1/access/mine"                 RepoAsk    api::access::post;
    GET    Root "/api/strongroom/v1/sealed/{kind}/{ns}/{name}/{rev}/{*path}" RepoRead api::sealed::get;
    POST   Root "/api/strongroom/v1/lock"                        LockManage  api::admin::post;
    POST   Root "/api/strongroom/v1/audit"                       AuditRead   api::admin::post;
    POST   Root "/api/strongroom/v1/alert"                       AlertRead   api::admin::post;
    POST   Root "/api/strongroom/v1/decoy"                       DecoyManage api::admin::post;
    GET    Root "/api/strongroom/audit/{log}/checkpoint"         AuditRead   api::log::checkpoint;
    GET    Root "/api/strongroom/audit/{log}/tile/{*path}"       AuditRead   api::log::tile;
    POST   Root "/api/strongroom/v1/key"                         KeyRotate   api::admin::post;
    POST   Root "/api/strongroom/v1/quota"                       QuotaManage api::quota::post;
    POST   Root "/api/strongroom/v1/key/recover"                 KeyRecover  api::recover::post;
    GET    Root "/api/strongroom/metrics"                        MetricsRead api::metrics::get;
    GET    Root "/api/strongroom/traces"                         MetricsRead api::traces::get;
    POST   Root "/api/strongroom/v1/seal"                        SystemSeal  api::admin::post;
    POST   Root "/api/strongroom/v1/unseal"                      SystemUnseal api::unseal::post;
};

/// The actions that routes name, each once.
pub fn actions() -> Vec<Action> {
    let mut actions: Vec<Action> = ROUTES.iter().map(|route| route.action).collect();
    actions.sort();
    actions.dedup();
    actions
}

/// The table as a service.
pub fn router(gate: Arc<Gate>) -> Router {
    let health = gate.clone();
    let mut router = Router::new().route("/healthz", on(MethodFilter::GET, move || healthz(health)));
    for route in ROUTES {
        // The table names only methods that axum knows.
        let filter = MethodFilter::try_from(route.method.clone()).expect("a common method");
        // One leak a route, at the start: labels live as long as the table.
        let label: &'static str = route.pattern().leak();
        for (path, kind) in route.paths() {
            let gate = gate.clone();
            let handler = move |params: Params, request: Request| {
                counted(route.method_word(), label, run(gate, route, kind, params, request))
            };
            router = router.route(&path, on(filter, handler));
        }
    }
    let (missing, method) = (gate.clone(), gate);
    router
        .fallback(move |request: Request| {
            counted("other", "none", nothing(missing, request, StatusCode::NOT_FOUND, "no such route"))
        })
        .method_not_allowed_fallback(move |request: Request| {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            counted("other", "none", nothing(method, request, status, "no such method on this route"))
        })
}

async fn healthz(gate: Arc<Gate>) -> Response<Body> {
    match gate.keeper.status().await {
        Ok(false) => Response::new(Body::from("ok")),
        Ok(true) => Response::new(Body::from("sealed")),
        Err(refusal) => Refused::from(refusal).into_response(),
    }
}

fn request_id(request: &Request) -> String {
    let given = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let plain = |text: &&str| {
        !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if let Some(given) = given("x-request-id").or_else(|| given("x-amzn-trace-id")).filter(plain) {
        return given.to_owned();
    }
    let mut random = [0; 8];
    // Only a name: without randomness it is a poor one.
    let _ = aws_lc_rs::rand::fill(&mut random);
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn peer(request: &Request) -> Peer {
    // Each connection has one; see `http::accept`.
    let nobody = || Peer { ip: std::net::Ipv4Addr::UNSPECIFIED.into(), cut: Arc::default() };
    request.extensions().get::<Peer>().cloned().unwrap_or_else(nobody)
}

/// What a path captured; refused where it is not UTF-8 once decoded.
type Params = Result<RawPathParams, RawPathParamsRejection>;

async fn run(
    gate: Arc<Gate>,
    route: &'static Route,
    kind: Option<RepoKind>,
    params: Params,
    request: Request,
) -> Response<Body> {
    let (id, peer) = (request_id(&request), peer(&request));
    let address = peer.ip;
    let (parts, body) = request.into_parts();
    let origin = Origin { request_id: id.clone(), address, route: route.label() };
    let refuse = async |refused: Refused| {
        let (reason, status) = (refused.message.clone(), refused.status.as_u16());
        // Whatever reached a route is recorded, or is not answered.
        match gate.keeper.reject(origin.clone(), reason, status).await {
            Ok(()) => refused.into_response(),
            // A sealed keeper has no log: whoever types a share learns what is wrong with it.
            Err(Refusal::Sealed) if route.action == Action::SystemUnseal => refused.into_response(),
            Err(refusal) => Refused::from(refusal).into_response(),
        }
    };
    let host = match clean(&parts.method, &parts.uri, &parts.headers, &gate.hosts) {
        Ok(clean) => clean.host,
        Err(reason) => {
            let refused = Refused::bad(reason).with_header(header::CONNECTION, "close");
            return finish(refuse(refused).await, &id);
        }
    };
    let decided = crate::call::Flag::default();
    let rest = Rest::new(body, gate.body_deadline);
    let Ok(params) = params else {
        return finish(refuse(Refused::bad("a path is UTF-8 once it is decoded")).await, &id);
    };
    let call = Call {
        route,
        kind,
        id: id.clone(),
        peer,
        credential: credential(&parts.headers),
        params: params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        query: form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect(),
        headers: parts.headers,
        body: rest.clone(),
        base: format!("https://{host}"),
        decided: decided.clone(),
    };
    let answer = match (route.handler)(gate.clone(), call).await {
        Ok(response) => response,
        Err(refused) if decided.load(Ordering::Relaxed) => refused.into_response(),
        Err(refused) => refuse(refused).await,
    };
    rest.drain().await;
    finish(answer, &id)
}

async fn nothing(gate: Arc<Gate>, request: Request, status: StatusCode, reason: &str) -> Response<Body> {
    let (id, address) = (request_id(&request), peer(&request).ip);
    let origin = Origin { request_id: id.clone(), address, route: format!("{} (none)", request.method()) };
    let answer = match gate.keeper.reject(origin, reason.to_owned(), status.as_u16()).await {
        // To a stranger there is nothing at all.
        Ok(()) if credential(request.headers()).is_none() => Refused::from(Refusal::Anonymous).into_response(),
        Ok(()) => Refused::new(status, reason).into_response(),
        Err(refusal) => Refused::from(refusal).into_response(),
    };
    finish(answer, &id)
}

/// What every answer bears.
fn finish(mut answer: Response<Body>, id: &str) -> Response<Body> {
    let headers = answer.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert("x-request-id", id);
    }
    headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-store"));
    answer
}

/// Says where the next page is.
pub fn link_next(response: &mut Response<Body>, url: &str) {
    if let Ok(link) = HeaderValue::from_str(&format!("<{url}>; rel=\"next\"")) {
        response.headers_mut().insert(header::LINK, link);
    }
}

/// A JSON answer.
pub fn json(value: &serde_json::Value) -> Response<Body> {
    json_text(value.to_string())
}

/// JSON that the keeper composed.
pub fn json_text(text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
