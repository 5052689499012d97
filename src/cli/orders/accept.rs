use super::fields;
use crate::cli::client::{Client, client_command, request_id};
use crate::cli::failure::{Failure, Fields, Outcome};
use crate::cli::output::{card, print_response};
use crate::proto::Timestamp;
use crate::proto::v1::AcceptOrderRequest;

client_command! {
    /// Accept an order from a courier. Repeating the command with the same --request-id is safe: the
    /// order is accepted once.
    #[argh(
        subcommand,
        name = "accept",
        example = "pvz accept --order-id=1 --customer-id=123 --storage-until=2026-12-31T10:00:00Z\n\
                   pvz accept --order-id=2 --customer-id=123 --storage-until=2026-12-31T13:00:00+03:00 \\\n\
                   \u{20}   --weight=1.5kg --price=199.90 --packaging=box+film"
    )]
    pub struct Accept {
        /// the id of the order, not used before
        #[argh(option, arg_name = "id")]
        order_id: Option<String>,
        /// the customer who may collect the order
        #[argh(option, arg_name = "id")]
        customer_id: Option<String>,
        /// the storage deadline, with a UTC offset: 2026-12-31T10:00:00Z
        #[argh(option, arg_name = "instant")]
        storage_until: Option<String>,
        /// the weight: 1.5kg, 1500g or 1500 (grams)
        #[argh(option, arg_name = "weight")]
        weight: Option<String>,
        /// the price in major units, with at most two decimals: 199.90
        #[argh(option, arg_name = "amount")]
        price: Option<String>,
        /// the packaging, joined by +: box+film (see 'pvz packaging')
        #[argh(option, arg_name = "codes")]
        packaging: Option<String>,
        /// the pickup point (default: the one that the server is configured with)
        #[argh(option, arg_name = "id")]
        pickup_point: Option<String>,
        /// the request id, to repeat the request safely (default: a random one)
        #[argh(option, arg_name = "id")]
        request_id: Option<String>,
    }
}

impl Accept {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let common = self.common();
        let request_id = request_id(self.request_id.take());
        let request = self.into_request(&request_id)?;
        let client = Client::connect(common).await?;
        let response = client
            .mutate(&request_id, request, async |mut grpc, request| grpc.accept_order(request).await)
            .await?;
        print_response(client.format, &response, response.order.as_slice(), || {
            response.order.as_ref().map(card).unwrap_or_default()
        })?;
        Ok(0)
    }

    fn into_request(self, request_id: &str) -> Result<AcceptOrderRequest, Failure> {
        let mut fields = Fields::default();
        let storage_until =
            fields.read("storage_until", self.storage_until.as_deref(), Timestamp::parse_rfc3339);
        let weight_grams = fields.read("weight_grams", self.weight.as_deref(), fields::weight);
        let price_minor = fields.read("price_minor", self.price.as_deref(), fields::price);
        fields.finish()?;
        Ok(AcceptOrderRequest {
            order_id: self.order_id.unwrap_or_default(),
            customer_id: self.customer_id.unwrap_or_default(),
            storage_until,
            weight_grams,
            price_minor,
            packaging: fields::packaging(self.packaging.as_deref().unwrap_or_default()),
            pickup_point_id: self.pickup_point,
            request_id: Some(request_id.to_owned()),
        })
    }
}
