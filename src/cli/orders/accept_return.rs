use crate::cli::client::{Client, client_command, request_id};
use crate::cli::failure::Outcome;
use crate::cli::output::{card, print_response};
use crate::proto::v1::AcceptReturnRequest;

client_command! {
    /// Take back an issued order from its customer, within the return window.
    #[argh(
        subcommand,
        name = "accept-return",
        example = "pvz accept-return --order-id=1 --customer-id=123"
    )]
    pub struct AcceptReturn {
        /// the id of the order
        #[argh(option, arg_name = "id")]
        order_id: Option<String>,
        /// the customer who returns the order; must be the customer of the order
        #[argh(option, arg_name = "id")]
        customer_id: Option<String>,
        /// the pickup point (default: the one that the server is configured with)
        #[argh(option, arg_name = "id")]
        pickup_point: Option<String>,
        /// the request id, to repeat the request safely (default: a random one)
        #[argh(option, arg_name = "id")]
        request_id: Option<String>,
    }
}

impl AcceptReturn {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let client = Client::connect(self.common()).await?;
        let request_id = request_id(self.request_id);
        let request = AcceptReturnRequest {
            order_id: self.order_id.unwrap_or_default(),
            customer_id: self.customer_id.unwrap_or_default(),
            pickup_point_id: self.pickup_point,
            request_id: Some(request_id.clone()),
        };
        let response = client
            .mutate(&request_id, request, async |mut grpc, request| grpc.accept_return(request).await)
            .await?;
        print_response(client.format, &response, response.order.as_slice(), || {
            response.order.as_ref().map(card).unwrap_or_default()
        })?;
        Ok(0)
    }
}
