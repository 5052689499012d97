//! What a stranger can find out: reflection and health.

use futures::StreamExt as _;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1 as reflection;

use super::service::Service;

#[tokio::test(flavor = "multi_thread")]
async fn reflection_and_health_tell_of_every_service() {
    use reflection::server_reflection_request::MessageRequest;
    use reflection::server_reflection_response::MessageResponse;
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), "");
    let channel = service.channel().await;
    let ask =
        |request| reflection::ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let asks = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("pvz.v1.OrderService".to_owned())),
        ask(MessageRequest::FileContainingSymbol("google.rpc.ErrorInfo".to_owned())),
        ask(MessageRequest::FileContainingSymbol("pvz.v1.BatchRefusal".to_owned())),
    ];
    let mut client = reflection::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let answers = client.server_reflection_info(futures::stream::iter(asks)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(|answer| answer.unwrap().message_response.unwrap()).collect().await;
    let [MessageResponse::ListServicesResponse(list), symbols @ ..] = answers.as_slice() else {
        panic!("{answers:?}");
    };
    let mut names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "pvz.v1.OrderService",]
    );
    assert!(
        symbols.iter().all(|answer| matches!(answer, MessageResponse::FileDescriptorResponse(_))),
        "{symbols:?}"
    );

    let mut health = HealthClient::new(channel);
    for name in ["", "pvz.v1.OrderService"] {
        let ask = HealthCheckRequest { service: name.to_owned() };
        let mut watch = health.watch(ask).await.unwrap().into_inner();
        while watch.next().await.unwrap().unwrap().status() != ServingStatus::Serving {}
    }
    let nobody = HealthCheckRequest { service: "nobody".to_owned() };
    assert_eq!(health.check(nobody).await.unwrap_err().code(), Code::NotFound);
    service.stop();
}
