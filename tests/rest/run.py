#!/usr/bin/env python3
"""Tests REST with tools that share no code with pvz: validators for the OpenAPI and
AsyncAPI documents, a fuzzer, generated clients, Swagger UI and the pages in a browser,
and the Postman collection.

    tests/rest/run.py PVZ [document|events|fuzz|client|python_client|browser|pages|collection ...]

PVZ is the path of the binary. pip and npm install the tools into $PVZ_TEST_CACHE
once; later runs reuse them. The screenshot and the fuzzer's log are written to
$PVZ_TEST_CACHE/rest.
"""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import steps  # noqa: E402

STEPS = {
    "document": steps.document,
    "events": steps.events,
    "fuzz": steps.fuzz,
    "client": steps.client,
    "python_client": steps.python_client,
    "browser": steps.browser,
    "pages": steps.pages,
    "collection": steps.collection,
}


def main() -> int:
    if len(sys.argv) < 2 or any(name not in STEPS for name in sys.argv[2:]):
        print(__doc__, file=sys.stderr)
        return 2
    binary = pathlib.Path(sys.argv[1]).resolve()
    default = pathlib.Path.home() / ".cache" / "pvz-tests"
    cache = pathlib.Path(os.environ.get("PVZ_TEST_CACHE", default))
    artefacts = cache / "rest"
    artefacts.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or STEPS:
        print(f"-- {name}", flush=True)
        STEPS[name](binary, cache, artefacts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
