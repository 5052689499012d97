"""Tests a client that openapi-python-client generated: it imports a file, and tells an
issued order from a refused one by their types.

    client.py BASE_URL
"""

import datetime
import io
import json
import sys

from pvz_client import Client
from pvz_client.api.orders import import_orders, issue_orders
from pvz_client.models.batch_mode import BatchMode
from pvz_client.models.issue_orders_request import IssueOrdersRequest
from pvz_client.models.order_result_order import OrderResultOrder
from pvz_client.models.order_result_refusal import OrderResultRefusal
from pvz_client.types import File

client = Client(base_url=sys.argv[1])
until = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=30)).isoformat()
rows = [{"orderId": order_id, "customerId": "1", "storageUntil": until} for order_id in ("1", "2", "bad id")]
text = "\n".join(json.dumps(row) for row in rows)
imported = import_orders.sync_detailed(client=client, body=File(payload=io.BytesIO(text.encode())))
assert imported.status_code == 200, imported
results = sorted(map(json.loads, imported.content.splitlines()), key=lambda line: int(line["index"]))
reasons = [line["result"].get("refusal", {}).get("reason") for line in results]
assert reasons == [None, None, "VALIDATION_FAILED"], reasons

request = IssueOrdersRequest(order_ids=["1", "3"], mode=BatchMode.BATCH_MODE_PARTIAL)
first, second = issue_orders.sync(client=client, body=request).results
assert isinstance(first, OrderResultOrder) and first.order.version == "2", first
assert isinstance(second, OrderResultRefusal) and second.refusal.reason == "ORDER_NOT_FOUND", second
print("the client of openapi-python-client works")
