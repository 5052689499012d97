use crate::cli::client::{Client, Outcome, client_command, request_id};
use crate::cli::output::{card, print_answer};
use crate::proto::v1::AcceptReturnRequest;

client_command! {
    /// Take an issued order back from its customer, within the return window.
    #[argh(
        subcommand,
        name = "accept-return",
        example = "pvz accept-return --order-id=1 --customer-id=123"
    )]
    pub struct AcceptReturn {
        /// the order's key
        #[argh(option, arg_name = "id")]
        order_id: Option<String>,
        /// the customer at the counter; must be the order's
        #[argh(option, arg_name = "id")]
        customer_id: Option<String>,
        /// the counter (default: the one configured at the server)
        #[argh(option, arg_name = "id")]
        pickup_point: Option<String>,
        /// a key of your own for this request (default: a fresh one)
        #[argh(option, arg_name = "key")]
        request_id: Option<String>,
    }
}

impl AcceptReturn {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let client = Client::connect(self.common()).await?;
        let key = request_id(self.request_id);
        let request = AcceptReturnRequest {
            order_id: self.order_id.unwrap_or_default(),
            customer_id: self.customer_id.unwrap_or_default(),
            pickup_point_id: self.pickup_point,
            request_id: Some(key.clone()),
        };
        let answer =
            client.mutate(&key, request, async |mut grpc, request| grpc.accept_return(request).await).await?;
        print_answer(client.format, &answer, answer.order.as_slice(), || {
            answer.order.as_ref().map(card).unwrap_or_default()
        })?;
        Ok(0)
    }
}
