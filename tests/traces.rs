//! A driver's traces, as a collector gets them.

mod support;

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use support::TestDatabase;
use tokio::net::TcpListener;
use tokio::process::Command;
use tonic::transport::server::TcpIncoming;

/// The collector's side of the protocol; keeps what it gets.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let scopes = request.into_inner().resource_spans.into_iter();
        let spans = scopes
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans);
        self.0.lock().expect("the spans").extend(spans);
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("its address");
        let service = TraceServiceServer::new(self.clone());
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpIncoming::from(listener)),
        );
        at
    }

    fn named(&self, name: &str) -> Vec<Span> {
        let spans = self.0.lock().expect("the spans");
        spans.iter().filter(|s| s.name == name).cloned().collect()
    }
}

fn text(span: &Span, key: &str) -> Option<String> {
    let attribute = span.attributes.iter().find(|a| a.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

async fn drive(database: &TestDatabase, endpoint: &str) -> (bool, String) {
    let driver = Command::from(support::program())
        .args(["drive", "--until-idle", "--otlp-endpoint", endpoint])
        .env("LOCKKEEPER_URL", database.url())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(Duration::from_secs(120), driver);
    let ended = ended.await.expect("in time").expect("the program runs");
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    (ended.status.success(), log)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_a_trace_with_its_phases() {
    let database = TestDatabase::fresh().await;
    let schema = database.submit_a_small_change().await;
    let collector = Collector::default();
    let at = collector.start().await;
    let (is_done, log) = drive(&database, &format!("http://{at}")).await;
    assert!(is_done, "{log}");

    let [operation] = &collector.named("operation")[..] else {
        panic!("one operation: {:#?}", collector.named("operation"));
    };
    assert_eq!(text(operation, "deployment").as_deref(), Some("d0"));
    assert_eq!(text(operation, "operation").as_deref(), Some("1"));
    for phase in ["preflight", "copy", "index", "verify", "cutover"] {
        let [span] = &collector.named(phase)[..] else {
            panic!("one {phase}: {:#?}", collector.named(phase));
        };
        assert_eq!(span.trace_id, operation.trace_id, "{phase}");
        assert_eq!(span.parent_span_id, operation.span_id, "{phase}");
        assert!(span.start_time_unix_nano >= operation.start_time_unix_nano);
        assert!(span.end_time_unix_nano <= operation.end_time_unix_nano);
    }
    database.drop_schema(&schema).await;
}

/// Traces are for looking at: a rollout does not wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_does_not_answer_holds_nothing_up() {
    let database = TestDatabase::fresh().await;
    let schema = database.submit_a_small_change().await;
    let (is_done, log) = drive(&database, "http://127.0.0.1:9").await;
    assert!(is_done, "{log}");
    assert!(
        log.contains("127.0.0.1:9") || log.contains("Export"),
        "{log}"
    );
    let (is_done, log) = drive(&database, "not an address").await;
    assert!(!is_done && log.contains("otlp_endpoint"), "{log}");
    database.drop_schema(&schema).await;
}
