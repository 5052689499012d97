"""The steps of run.py."""

import html.parser
import json
import os
import pathlib
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request

import server
import tools

HERE = pathlib.Path(__file__).parent

PYTHON = ("openapi-python-client==0.29.1", "openapi-spec-validator==0.9.0", "schemathesis==4.32.5")
NODE = (
    "@asyncapi/parser@3.6.6",
    "@redocly/cli@2.77.0",
    "@stoplight/spectral-cli@6.16.3",
    "@types/node@24.19.2",
    "newman@6.2.2",
    "openapi-fetch@0.17.0",
    "openapi-typescript@7.13.0",
    "playwright-core@1.65.1",
    "typescript@5.9.3",
    "vnu-jar@26.9.27",
)

# Requests that the fuzzer generates for each operation.
MAX_EXAMPLES = 300


def document(binary, cache, artefacts):
    """Checks that the served document is valid OpenAPI 3.1, and follows the recommended
    rules of redocly and spectral without a warning."""
    programs = tools.python(cache, *PYTHON)
    folder = tools.node(cache, *NODE)
    served = artefacts / "openapi.json"
    with server.running(binary) as base:
        urllib.request.urlretrieve(f"{base}/openapi.json", served)
    subprocess.run([programs / "openapi-spec-validator", "--schema", "3.1", served], check=True)
    shutil.copy(HERE / "spectral.yaml", folder)
    # No reports of use, no look for a newer release.
    quiet = {**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    redocly = ["redocly", "lint", "--extends=recommended", "--max-problems=1000", "--format=json"]
    spectral = ["spectral", "lint", "--ruleset=spectral.yaml", "--fail-severity=hint", "--quiet"]
    report = run_node(folder, [*redocly, served], quiet)
    totals = json.loads(report.stdout[report.stdout.index("{") :])["totals"]
    if report.returncode != 0 or any(totals[kind] for kind in ("errors", "warnings")):
        raise SystemExit(f"redocly: {report.stdout}\n{report.stderr}")
    report = run_node(folder, [*spectral, served], quiet)
    if report.returncode != 0:
        raise SystemExit(f"spectral: {report.stdout}\n{report.stderr}")


def run_node(folder, command, environment):
    """Runs a program of npm."""
    program = folder / "node_modules" / ".bin" / command[0]
    return subprocess.run(
        [program, *command[1:]], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def events(binary, cache, artefacts):
    """Checks that the document of the event topic is valid AsyncAPI 3."""
    folder = tools.node(cache, *NODE)
    script = folder / "events.mjs"
    shutil.copy(HERE / "events.mjs", script)
    document = HERE.parent.parent / "proto" / "pvz" / "asyncapi.json"
    subprocess.run(["node", script, document], cwd=folder, check=True)


def fuzz(binary, cache, artefacts):
    """Checks that no response is a 5xx and that every response matches the document."""
    programs = tools.python(cache, *PYTHON)
    log = artefacts / "fuzz.log"
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "hooks",
        "PYTHONPATH": str(HERE),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with server.running(binary) as base, open(log, "w", encoding="utf-8") as out:
        command = [
            programs / "schemathesis",
            f"--config-file={HERE / 'schemathesis.toml'}",
            "run",
            f"{base}/openapi.json",
            f"--max-examples={MAX_EXAMPLES}",
            "--no-color",
            # An endless stream; tests/it/http_streams.rs tests it.
            "--exclude-operation-id=watchEvents",
        ]
        ended = subprocess.run(
            command, env=environment, cwd=artefacts, stdout=out, stderr=subprocess.STDOUT, check=False
        )
    text = log.read_text(encoding="utf-8")
    if ended.returncode != 0:
        raise SystemExit(f"{text}\nthe fuzzer found faults; see {log}")
    tested = re.search(r"Tested: (\d+)", text)
    if not tested or int(tested[1]) < 11:
        raise SystemExit(f"the fuzzer skipped operations; see {log}")
    print(text[text.rfind("Test cases:") :])


def client(binary, cache, artefacts):
    """Checks that a client generated from the document compiles and works."""
    folder = tools.node(cache, *NODE)
    work = folder / "client"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    shutil.copy(HERE / "client.ts", work)
    programs = folder / "node_modules" / ".bin"
    with server.running(binary) as base:
        generate = [programs / "openapi-typescript", f"{base}/openapi.json", "-o", work / "schema.ts"]
        subprocess.run(generate, check=True, stdout=subprocess.DEVNULL)
        flags = ["--strict", "--noUncheckedIndexedAccess", "--target", "es2022"]
        modules = ["--module", "nodenext", "--moduleResolution", "nodenext", "--lib", "es2022,dom,dom.iterable", "--types", "node"]
        subprocess.run([programs / "tsc", *flags, *modules, "client.ts"], cwd=work, check=True)
        subprocess.run(["node", "client.js", base], cwd=work, check=True)


def python_client(binary, cache, artefacts):
    """Checks that openapi-python-client generates a client for every operation, and that
    the client works."""
    programs = tools.python(cache, *PYTHON)
    work = artefacts / "python-client"
    shutil.rmtree(work, ignore_errors=True)
    # It formats the client with ruff, from the same environment.
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    with server.running(binary) as base:
        generate = ["generate", "--url", f"{base}/openapi.json", "--meta=none", f"--output-path={work / 'pvz_client'}"]
        ended = subprocess.run(
            [programs / "openapi-python-client", *generate],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode != 0 or "will not be generated" in ended.stdout + ended.stderr:
            raise SystemExit(f"openapi-python-client: {ended.stdout}\n{ended.stderr}")
        script = shutil.copy(HERE / "client.py", work)
        subprocess.run([programs / "python", script, base], check=True)


def browser(binary, cache, artefacts):
    """Checks that Swagger UI works in a browser without access to other hosts."""
    chromium = tools.require("chromium", "chromium")
    folder = tools.node(cache, *NODE)
    script = folder / "browser.mjs"
    shutil.copy(HERE / "browser.mjs", script)
    with server.running(binary) as base:
        command = ["node", script, chromium, base, artefacts / "swagger-ui.png"]
        subprocess.run(command, cwd=folder, check=True)


class Links(html.parser.HTMLParser):
    """Collects the links of a page."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name == "href" and tag == "a"]


def crawl(base):
    """Returns the text of every page that the index leads to, by its path."""
    found, left = {}, ["/"]
    while left:
        path = left.pop()
        if path in found or path.startswith("/swagger-ui/"):
            continue
        with urllib.request.urlopen(base + path) as response:
            if response.headers.get_content_type() != "text/html":
                continue
            found[path] = response.read().decode()
        for link in Links(found[path]).found:
            url = urllib.parse.urljoin(base + path, link)
            if url.startswith(f"{base}/"):
                left.append(urllib.parse.urlsplit(url).path)
    return found


def pages(binary, cache, artefacts):
    """Checks that the pages are valid HTML and fit a phone, in light and dark."""
    chromium = tools.require("chromium", "chromium")
    folder = tools.node(cache, *NODE)
    script = folder / "pages.mjs"
    shutil.copy(HERE / "pages.mjs", script)
    saved = artefacts / "pages"
    shutil.rmtree(saved, ignore_errors=True)
    saved.mkdir()
    with server.running(binary) as base:
        found = crawl(base)
        if len(found) < 40:
            raise SystemExit(f"the index leads to {len(found)} pages only: {sorted(found)}")
        for path, text in found.items():
            (saved / f"{path.strip('/').replace('/', '-') or 'index'}.html").write_text(text, encoding="utf-8")
        validator = folder / "node_modules" / "vnu-jar" / "build" / "dist" / "vnu.jar"
        subprocess.run(["java", "-jar", validator, "--Werror", *saved.glob("*.html")], check=True)
        command = ["node", script, chromium, base, artefacts / "index.png", *sorted(found)]
        subprocess.run(command, cwd=folder, check=True)


# Requests of the collection that a server without dead letters refuses.
WITHOUT_DEAD_LETTERS = {"/v1/deadLetters:retry": 404, "/v1/deadLetters:drop": 404}


def collection(binary, cache, artefacts):
    """Sends the requests of the Postman collection in order; each must succeed."""
    folder = tools.node(cache, *NODE)
    plain = artefacts / "collection.json"
    with server.running(binary) as base:
        with urllib.request.urlopen(f"{base}/postman.json") as response:
            served = json.load(response)
        endless = 0
        for group in served["item"]:
            finite = [entry for entry in group["item"] if not entry["request"]["url"]["raw"].endswith(":watch")]
            endless += len(group["item"]) - len(finite)
            group["item"] = finite
        if endless != 1:
            raise SystemExit(f"{endless} requests of the collection watch events")
        plain.write_text(json.dumps(served), encoding="utf-8")
        groups = [group["name"] for group in served["item"]]
        # Only published events can be published again.
        of_operators = groups.index("outbox")
        sent = newman(folder, plain, groups[:of_operators], artefacts)
        wait_until_published(base)
        sent += newman(folder, plain, groups[of_operators:], artefacts)
    wrong = []
    for execution in sent:
        path = "/" + "/".join(execution["request"]["url"]["path"])
        status = execution["response"]["code"]
        if status != WITHOUT_DEAD_LETTERS.get(path, 200):
            body = bytes(execution["response"]["stream"]["data"]).decode()
            wrong.append(f"{execution['request']['method']} {path}: {status} {body}")
    if wrong or len(sent) < 18:
        raise SystemExit("\n".join([f"{len(sent)} requests were sent", *wrong]))
    print(f"{len(sent)} requests of the collection succeed in order")


def newman(folder, plain, groups, artefacts):
    """Sends the requests of some groups of a collection, and returns them with their answers."""
    report = artefacts / "newman.json"
    program = folder / "node_modules" / ".bin" / "newman"
    flags = ["--silent", "--reporters=json", f"--reporter-json-export={report}", "--timeout-request=30000"]
    subprocess.run([program, "run", plain, *flags, *(f"--folder={group}" for group in groups)], check=True)
    return json.loads(report.read_text(encoding="utf-8"))["run"]["executions"]


def wait_until_published(base):
    """Waits until the relay has published every event, at most a minute."""
    end = time.monotonic() + 60
    while True:
        with urllib.request.urlopen(f"{base}/v1/outbox") as response:
            if json.load(response)["lagEvents"] == "0":
                return
        if time.monotonic() > end:
            raise SystemExit("the relay does not publish")
        time.sleep(0.02)
