use crate::cli::client::{Client, Outcome, client_command};
use crate::cli::output::{print_answer, table};
use crate::proto::v1::ListPackagingRequest;

client_command! {
    /// Show the packaging on offer: what each kind adds to the price, and how much it can carry.
    #[argh(subcommand, name = "packaging", example = "pvz packaging")]
    pub struct Packaging {}
}

impl Packaging {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let client = Client::connect(self.common()).await?;
        let answer = client
            .call(ListPackagingRequest {}, async |mut grpc, request| grpc.list_packaging(request).await)
            .await?;
        print_answer(client.format, &answer, &answer.kinds, || table(&answer.kinds))?;
        Ok(0)
    }
}
