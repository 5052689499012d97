use crate::cli::client::{Client, client_command};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{card, print_response};
use crate::proto::v1::GetOrderRequest;

client_command! {
    /// Show one order.
    #[argh(subcommand, name = "get", example = "pvz get 1\npvz get --order-id=1 --output=json")]
    pub struct Get {
        /// the id of the order
        #[argh(positional, arg_name = "order-id")]
        order: Option<String>,
        /// the id of the order, as an option
        #[argh(option, arg_name = "id")]
        order_id: Option<String>,
    }
}

impl Get {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let common = self.common();
        let order_id = order_id(self.order, self.order_id)?;
        let client = Client::connect(common).await?;
        let request = GetOrderRequest { order_id };
        let order = client.call(request, async |mut grpc, request| grpc.get_order(request).await).await?;
        print_response(client.format, &order, std::slice::from_ref(&order), || card(&order))?;
        Ok(0)
    }
}

/// Returns the id, given as an argument or as an option.
pub(super) fn order_id(argument: Option<String>, option: Option<String>) -> Result<String, Failure> {
    match (argument, option) {
        (Some(_), Some(_)) => {
            Err(Failure::usage("the order id was given twice, as an argument and as --order-id"))
        }
        (argument, option) => Ok(argument.or(option).unwrap_or_default()),
    }
}
