//! EXPOSED: TLS, HTTP, the Hugging Face API, payload encryption. Holds no standing secret.
//!
//! A handler reads: parse, ask the keeper, do, reply. The route table is [`routes`]; each line has its action.

mod announced;
mod api;
mod buffers;
mod call;
mod gate;
mod http;
mod hub;
mod intake;
mod metrics;
mod payload;
mod refused;
mod routes;
mod sandbox;
mod sent;
mod share;
mod stream;
pub mod traces;
mod watch;
mod witness;

pub use gate::{ServeError, Settings, serve};
pub use http::Deadlines;
pub use sandbox::{Outgoing, Sandbox, check as check_sandbox, enter as enter_sandbox};
pub use strongroom_storage::{S3, S3Error};
pub use witness::{WitnessAnswer, WitnessPlace, serve as serve_witness};
