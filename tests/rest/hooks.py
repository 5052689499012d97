"""What schemathesis cannot know of the service, so that it gets past the first
check."""

import datetime
import json

import schemathesis

PACKAGING = [[], ["bag"], ["box"], ["film"], ["box", "film"], ["film", "bag"]]


@schemathesis.serializer("application/x-ndjson")
def ndjson(_context, value):
    """Rows are text; the document cannot say what is in their lines."""
    if isinstance(value, bytes):
        return {"data": value}
    return {"data": (value if isinstance(value, str) else json.dumps(value)).encode()}


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """What is right by the schema is made right by the rules, mostly: values
    that break the schema stay as they are."""
    if isinstance(case.body, dict):
        if case.body.get("requestId") and case.headers:
            case.headers.pop("Idempotency-Key", None)
        soon(case.body)
        known(case.body)
    if case.query and "pageToken" in case.query:
        case.query.pop("pageToken")


def soon(body):
    """An instant that is one becomes one within the next year."""
    given = body.get("storageUntil")
    try:
        instant = datetime.datetime.fromisoformat(given.replace("Z", "+00:00"))
        if instant.tzinfo is None:
            return
    except (AttributeError, ValueError):
        return
    days = 1 + instant.toordinal() % 360
    until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    body["storageUntil"] = until.isoformat()


def known(body):
    """A list of texts becomes packaging that exists, but not always."""
    given = body.get("packaging")
    if isinstance(given, list) and all(isinstance(code, str) for code in given):
        choice = sum(map(len, given)) % (len(PACKAGING) + 1)
        if choice < len(PACKAGING):
            body["packaging"] = PACKAGING[choice]
