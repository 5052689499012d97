use super::ids;
use crate::cli::client::{Client, client_command, request_id};
use crate::cli::failure::Outcome;
use crate::cli::output::{card, print_orders};
use crate::proto::v1::AcceptReturnRequest;

client_command! {
    /// Take back an issued order from its customer, within the return window.
    #[argh(
        subcommand,
        name = "accept-return",
        example = "pvz accept-return 1 --customer-id=123"
    )]
    pub struct AcceptReturn {
        /// the id of the order (required, here or as --order-id)
        #[argh(positional, arg_name = "order-id")]
        order: Option<String>,
        /// the id of the order, as an option
        #[argh(option, arg_name = "id")]
        order_id: Option<String>,
        /// the customer who returns the order; must be the customer of the order
        #[argh(option, arg_name = "id")]
        customer_id: String,
        /// the pickup point (default: the one that the server is configured with)
        #[argh(option, arg_name = "id")]
        pickup_point: Option<String>,
        /// the request id, to repeat the request safely (default: a random one)
        #[argh(option, arg_name = "id")]
        request_id: Option<String>,
        /// print only the order ids, one per line
        #[argh(switch, short = 'q')]
        quiet: bool,
    }
}

impl AcceptReturn {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let common = self.common();
        let quiet = common.quiet(self.quiet)?;
        let order_id = ids::one(self.order, self.order_id)?;
        let client = Client::connect(common).await?;
        let request_id = request_id(self.request_id);
        let request = AcceptReturnRequest {
            order_id,
            customer_id: self.customer_id,
            pickup_point_id: self.pickup_point,
            request_id: Some(request_id.clone()),
        };
        let response = client
            .mutate(&request_id, request, async |mut grpc, request| grpc.accept_return(request).await)
            .await?;
        print_orders(client.format, quiet, &response, response.order.as_slice(), || {
            response.order.as_ref().map(card).unwrap_or_default()
        })?;
        Ok(0)
    }
}
