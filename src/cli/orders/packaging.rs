use crate::cli::client::{Client, client_command};
use crate::cli::failure::Outcome;
use crate::cli::output::{print_response, table};
use crate::cli::stderr;
use crate::proto::v1::ListPackagingRequest;

client_command! {
    /// Show the available packaging: the surcharge of each kind and its weight limit.
    #[argh(subcommand, name = "packaging", example = "pvz packaging")]
    pub struct Packaging {}
}

impl Packaging {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let client = Client::connect(self.common()).await?;
        let response = client
            .call(ListPackagingRequest {}, async |mut grpc, request| grpc.list_packaging(request).await)
            .await?;
        print_response(client.format, &response, &response.kinds, || table(&response.kinds))?;
        if response.kinds.is_empty() {
            stderr::line("no packaging is configured");
        }
        Ok(0)
    }
}
