use crate::cli::client::{Client, Failure, Outcome, client_command};
use crate::cli::output::{card, print_answer};
use crate::proto::v1::GetOrderRequest;

client_command! {
    /// Show one order.
    #[argh(subcommand, name = "get", example = "pvz get 1\npvz get --order-id=1 --output=json")]
    pub struct Get {
        /// the order's key
        #[argh(positional, arg_name = "order-id")]
        order: Option<String>,
        /// the order's key, as an option
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
        print_answer(client.format, &order, std::slice::from_ref(&order), || card(&order))?;
        Ok(0)
    }
}

/// The id, given in one of the two ways.
pub(super) fn order_id(argument: Option<String>, option: Option<String>) -> Result<String, Failure> {
    match (argument, option) {
        (Some(_), Some(_)) => {
            Err(Failure::usage("the order was given twice, as an argument and by --order-id"))
        }
        (argument, option) => Ok(argument.or(option).unwrap_or_default()),
    }
}
