"""Runs a server on free ports with a store in memory."""

import contextlib
import pathlib
import subprocess
import tempfile


@contextlib.contextmanager
def running(binary: pathlib.Path):
    """Yields the base URL, such as http://127.0.0.1:40123."""
    with tempfile.TemporaryDirectory() as folder, open(
        pathlib.Path(folder) / "log", "w+", encoding="utf-8"
    ) as log:
        flags = [f"--{listener}-addr=127.0.0.1:0" for listener in ("grpc", "http", "admin")]
        process = subprocess.Popen(
            [binary, "serve", "--store=memory:", f"--data-dir={folder}", *flags],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            yield base_url(process, log)
        finally:
            process.terminate()
            code = process.wait(timeout=60)
    if code != 0:
        raise SystemExit(f"the server ended with exit code {code}")


def base_url(process: subprocess.Popen, log) -> str:
    """Returns the REST URL that the server prints when it is ready."""
    for line in process.stdout:
        words = line.split()
        if words[:1] == ["REST"]:
            return words[1].removesuffix("/swagger-ui/")
    process.wait()
    log.seek(0)
    raise SystemExit(f"the server did not start:\n{log.read()}")
