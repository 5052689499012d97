"""Hooks for schemathesis: they turn most generated requests into ones that the rules
of the service accept, so that the fuzzer gets past validation."""

import datetime
import json

import schemathesis

PACKAGING = [[], ["bag"], ["box"], ["film"], ["box", "film"], ["film", "bag"]]


@schemathesis.serializer("application/x-ndjson")
def ndjson(_context, value):
    """Serializes rows. The document describes the body of an import as plain text."""
    if isinstance(value, bytes):
        return {"data": value}
    return {"data": (value if isinstance(value, str) else json.dumps(value)).encode()}


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Makes values that match the schema match the rules too. Values that break the
    schema are left alone."""
    if isinstance(case.body, dict):
        if case.body.get("requestId") and case.headers:
            case.headers.pop("Idempotency-Key", None)
        future_deadline(case.body)
        known_packaging(case.body)
    if case.query and "pageToken" in case.query:
        case.query.pop("pageToken")


def future_deadline(body):
    """Moves a valid storage deadline into the next year."""
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


def known_packaging(body):
    """Replaces most lists of strings by packaging that exists."""
    given = body.get("packaging")
    if isinstance(given, list) and all(isinstance(code, str) for code in given):
        choice = sum(map(len, given)) % (len(PACKAGING) + 1)
        if choice < len(PACKAGING):
            body["packaging"] = PACKAGING[choice]
