//! Reflection and health services.

use futures::StreamExt as _;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1 as reflection;

use super::test_service::TestService;

#[tokio::test(flavor = "multi_thread")]
async fn reflection_and_health_list_every_service() {
    use reflection::server_reflection_request::MessageRequest;
    use reflection::server_reflection_response::MessageResponse;
    let dir = tempfile::tempdir().unwrap();
    let service = TestService::start(dir.path(), "");
    let channel = service.channel().await;
    let reflect =
        |request| reflection::ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let requests = [
        reflect(MessageRequest::ListServices(String::new())),
        reflect(MessageRequest::FileContainingSymbol("pvz.v1.OrderService".to_owned())),
        reflect(MessageRequest::FileContainingSymbol("google.rpc.ErrorInfo".to_owned())),
        reflect(MessageRequest::FileContainingSymbol("pvz.v1.BatchRefusal".to_owned())),
    ];
    let mut client = reflection::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let responses =
        client.server_reflection_info(futures::stream::iter(requests)).await.unwrap().into_inner();
    let responses: Vec<_> =
        responses.map(|response| response.unwrap().message_response.unwrap()).collect().await;
    let [MessageResponse::ListServicesResponse(list), symbols @ ..] = responses.as_slice() else {
        panic!("{responses:?}");
    };
    let mut names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "pvz.v1.OrderService",]
    );
    assert!(
        symbols.iter().all(|response| matches!(response, MessageResponse::FileDescriptorResponse(_))),
        "{symbols:?}"
    );

    let mut health = HealthClient::new(channel);
    for name in ["", "pvz.v1.OrderService"] {
        let request = HealthCheckRequest { service: name.to_owned() };
        let mut watch = health.watch(request).await.unwrap().into_inner();
        while watch.next().await.unwrap().unwrap().status() != ServingStatus::Serving {}
    }
    let unknown = HealthCheckRequest { service: "unknown".to_owned() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);
    service.stop();
}
