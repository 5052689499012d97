use chrono::{DateTime, Local, SecondsFormat, Utc};

use super::{deadline, fields, ids};
use crate::cli::client::{Client, client_command, request_id};
use crate::cli::failure::{Failure, Fields, Outcome};
use crate::cli::output::{card, print_orders};
use crate::proto::Timestamp;
use crate::proto::v1::AcceptOrderRequest;

client_command! {
    /// Accept an order from a courier. Repeating the command with the same --request-id is safe: the
    /// order is accepted once.
    #[argh(
        subcommand,
        name = "accept",
        example = "pvz accept 1 --customer-id=123 --storage-until=7d\n\
                   pvz accept 2 --customer-id=123 --storage-until=2026-12-31T13:00:00+03:00 \\\n\
                   \u{20}   --weight=1.5kg --price=199.90 --packaging=box+film",
        note = "--storage-until is one of\n\
                \u{20} 7d, 2w, 12h, 1d12h      counted from now: weeks, days of 24 hours, hours, minutes (min)\n\
                \u{20} 2026-12-31, 31.12.2026  the end of that day in the local time zone: 23:59:59.999999\n\
                \u{20} '2026-12-31 18:00'      a time in the local time zone (TZ)\n\
                \u{20} 2026-12-31T18:00+03:00  a time with its UTC offset, as in RFC 3339\n\
                Weights and prices are never rounded. A dot or a comma begins the decimals, and a space may\n\
                separate thousands, so --price=1,999 is refused: it has three decimals."
    )]
    pub struct Accept {
        /// the id of the order, not used before (required, here or as --order-id)
        #[argh(positional, arg_name = "order-id")]
        order: Option<String>,
        /// the id of the order, as an option
        #[argh(option, arg_name = "id")]
        order_id: Option<String>,
        /// the customer who may collect the order
        #[argh(option, arg_name = "id")]
        customer_id: String,
        /// the storage deadline: 7d from now, the date 2026-12-31, or a time (see the notes)
        #[argh(option, arg_name = "deadline")]
        storage_until: String,
        /// the weight: 1.5kg, 1,5 kg, 900g, or 1500 (grams); also in кг and г
        #[argh(option, arg_name = "weight")]
        weight: Option<String>,
        /// the price in major units, with at most two decimals: 1999, 199.90 or 199,90
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
        /// print only the order ids, one per line
        #[argh(switch, short = 'q')]
        quiet: bool,
    }
}

impl Accept {
    pub(in crate::cli) async fn run(mut self) -> Outcome {
        let common = self.common();
        let quiet = common.quiet(self.quiet)?;
        let counted_from_now = deadline::is_duration(&self.storage_until);
        if counted_from_now && self.request_id.as_deref().is_some_and(|id| !id.is_empty()) {
            return Err(Failure::usage(
                "--storage-until is counted from now, so a repeated command would not equal the first one; \
                 with --request-id, give a date or a time",
            )
            .into());
        }
        let request_id = request_id(self.request_id.take());
        let request = self.into_request(&request_id, now())?;
        let storage_until = request.storage_until.as_ref().and_then(Timestamp::to_chrono);
        let client = Client::connect(common).await?;
        let response = client
            .mutate(&request_id, request, async |mut grpc, request| grpc.accept_order(request).await)
            .await
            .map_err(|failure| match storage_until {
                Some(at) if counted_from_now => failure
                    .with_request_value("storage_until", &at.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
                _ => failure,
            })?;
        print_orders(client.format, quiet, &response, response.order.as_slice(), || {
            response.order.as_ref().map(card).unwrap_or_default()
        })?;
        Ok(0)
    }

    fn into_request(self, request_id: &str, now: DateTime<Utc>) -> Result<AcceptOrderRequest, Failure> {
        let mut fields = Fields::default();
        let storage_until = fields
            .read("storage_until", Some(&self.storage_until), |text| deadline::parse(text, now, &Local));
        let weight_grams = fields.read("weight_grams", self.weight.as_deref(), fields::weight);
        let price_minor = fields.read("price_minor", self.price.as_deref(), fields::price);
        fields.finish()?;
        Ok(AcceptOrderRequest {
            order_id: ids::one(self.order, self.order_id)?,
            customer_id: self.customer_id,
            storage_until,
            weight_grams,
            price_minor,
            packaging: fields::packaging(self.packaging.as_deref().unwrap_or_default()),
            pickup_point_id: self.pickup_point,
            request_id: Some(request_id.to_owned()),
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "the command line is a client: no rule depends on this time")]
fn now() -> DateTime<Utc> {
    Utc::now()
}
