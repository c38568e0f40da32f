//! Traces of the last requests, as OpenTelemetry has them (OTLP/JSON, opentelemetry-proto 1.x: `TracesData`, one a line). They
//! wait here until somebody with the right fetches them: the exposed process opens no way to the outside for them
//! (docs/decisions/0020). Names and attributes are words of ours: routes by their pattern, what the keeper was asked, a status.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use strongroom_protocol::SPANS;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

/// Requests that are kept; older ones go. Some 2 KiB each.
const KEPT_MAX: usize = 2048;
/// Spans of one request, at most: a commit of many files asks the store for each.
const SPANS_MAX: usize = 128;
/// Traces of one answer, at most.
pub const PAGE_MAX: usize = 500;

static KEPT: Mutex<Kept> = Mutex::new(Kept { traces: VecDeque::new(), next: 1 });

struct Kept {
    traces: VecDeque<(u64, Vec<Span>)>,
    next: u64,
}

/// One that ended.
#[derive(Debug)]
struct Span {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    start: SystemTime,
    end: SystemTime,
}

/// One that has not, and those that ended below it.
struct Open {
    attributes: Vec<(&'static str, String)>,
    start: SystemTime,
    below: Vec<Span>,
}

/// Traces after a number, oldest first, as lines of OTLP/JSON; and the number of the last.
pub fn after(number: u64) -> (String, u64) {
    let held = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    // A number that was never given is one of a gate before this.
    let number = if number >= held.next { 0 } else { number };
    let from = held.traces.partition_point(|(at, _)| *at <= number);
    let mut last = number;
    let mut text = String::new();
    for (at, spans) in held.traces.iter().skip(from).take(PAGE_MAX) {
        text += &otlp(spans).to_string();
        text.push('\n');
        last = *at;
    }
    (text, last)
}

fn hex<const N: usize>() -> String {
    let mut random = [0; N];
    // Only a name: without randomness it is a poor one.
    let _ = aws_lc_rs::rand::fill(&mut random);
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The last of them is the request.
fn otlp(spans: &[Span]) -> Value {
    let (trace, root) = (hex::<16>(), hex::<8>());
    let nanos = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string();
    let line = |(at, span): (usize, &Span)| {
        let top = at + 1 == spans.len();
        let attributes =
            span.attributes.iter().map(|(key, value)| json!({"key": key, "value": {"stringValue": value}}));
        json!({
            "traceId": trace,
            "spanId": if top { root.clone() } else { hex::<8>() },
            "parentSpanId": if top { "" } else { &root },
            "name": span.name,
            // SPAN_KIND_SERVER and SPAN_KIND_INTERNAL.
            "kind": if top { 2 } else { 1 },
            "startTimeUnixNano": nanos(span.start),
            "endTimeUnixNano": nanos(span.end),
            "attributes": attributes.collect::<Vec<_>>(),
        })
    };
    let spans: Vec<Value> = spans.iter().enumerate().map(line).collect();
    let service = json!([{"key": "service.name", "value": {"stringValue": "strongroom"}}]);
    json!({"resourceSpans": [{
        "resource": {"attributes": service},
        "scopeSpans": [{"scope": {"name": "strongroom.gate", "version": env!("CARGO_PKG_VERSION")}, "spans": spans}],
    }]})
}

impl Visit for Open {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.attributes.push((field.name(), format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.attributes.push((field.name(), value.to_owned()));
    }
}

/// Collects the spans of requests; all other spans and events are not its business.
pub struct Collect;

/// Lets through what [`Collect`] collects.
pub struct Ours;

impl<S> Filter<S> for Ours {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        metadata.is_span() && metadata.target() == SPANS
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Collect {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut open = Open { attributes: Vec::new(), start: SystemTime::now(), below: Vec::new() };
        attributes.record(&mut open);
        span.extensions_mut().insert(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            values.record(open);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(open) = span.extensions_mut().remove::<Open>() else { return };
        let Open { attributes, start, mut below } = open;
        let ended = Span { name: span.name(), attributes, start, end: SystemTime::now() };
        if let Some(parent) = span.parent() {
            if let Some(above) = parent.extensions_mut().get_mut::<Open>()
                && above.below.len() < SPANS_MAX
            {
                above.below.append(&mut below);
                above.below.push(ended);
            }
        } else if ended.name == "request" {
            below.push(ended);
            let mut held = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
            let number = held.next;
            held.next += 1;
            held.traces.push_back((number, below));
            if held.traces.len() > KEPT_MAX {
                held.traces.pop_front();
            }
        }
    }
}
