"""A node under schemathesis and under attack: it answers as /openapi.json says, keeps answering others, and never panics.

    attack [--seed 1] [--examples 20] [--seconds 420] [--connections 10000] [--malformed 3000] [--tags flags,events]

Schemathesis takes the operations of each tag to a node of their own, two tags at a time, so that what it finds depends on the seed alone;
the attacks go to one more. All nodes are on the loopback address; each part is bounded in count, and schemathesis by --seconds in time.
"""

import argparse
import hashlib
import os
import random
import re
import resource
import secrets
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support import Failure, Steps, Workspace, check

HERE = Path(__file__).resolve().parent
WORKERS = 2
REQUESTS = [
    b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /events/a%2Fb?source=/x HTTP/1.1\r\nhost: localhost\r\nx-api-key: KEY\r\n\r\n",
    b"GET /projections/customers?limit=10&as_of=1997-06-30 HTTP/1.1\r\nhost: localhost\r\nx-api-key: KEY\r\n\r\n",
    b'POST /events HTTP/1.1\r\nhost: localhost\r\nx-api-key: KEY\r\ncontent-type: application/cloudevents+json\r\ncontent-length: 75\r\n\r\n'
    b'{"specversion":"1.0","id":"1","source":"/a","type":"a.b.v1","subject":"k/1"}',
    b"POST /events HTTP/1.1\r\nhost: localhost\r\nx-api-key: KEY\r\nce-specversion: 1.0\r\nce-id: 1\r\nce-source: /a\r\nce-type: a.b.v1\r\nce-subject: k/1\r\n"
    b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"GET /docs/..%2f..%2fetc/passwd HTTP/1.1\r\nhost: localhost\r\n\r\n",
]
SPLICES = [b"\r\n", b"\n", b"\0", b"%", b"%00", b"%ff", b"\xff\xfe", b":", b" ", b"\t", b"chunked", b"transfer-encoding: chunked\r\n", b"content-length: 99999999999\r\n", b"../" * 9, b"a" * 9000]


def started(workspace, name="node"):
    """A node with one key for all."""
    key = "tol_" + secrets.token_urlsafe(32)
    config = workspace.folder / f"{name}.toml"
    digest = hashlib.sha256(key.encode()).hexdigest()
    config.write_text(f'[http]\nrequest_timeout_s = 5\n\n[[security.api_keys]]\nname = "attack"\nhash = "sha256:{digest}"\nscopes = ["admin"]\n')
    node = workspace.node(name=name, config=config, key=key)
    node.start()
    return node


def tags(node):
    """The tags of /openapi.json, those with most operations first. An operation without one would be left out."""
    methods = [operation for path in node.get("/openapi.json")["paths"].values() for operation in path.values()]
    untagged = [operation["operationId"] for operation in methods if len(operation.get("tags", [])) != 1]
    check(not untagged, f"not exactly one tag: {untagged}")
    return [tag for tag, _ in Counter(operation["tags"][0] for operation in methods).most_common()]


def schemathesis(workspace, options):
    """0 failures, at a fixed seed."""
    deadline = time.monotonic() + options.seconds
    first = started(workspace, "schema")
    known = tags(first)
    first.stop()
    wanted = options.tags.split(",") if options.tags else known
    check(set(wanted) <= set(known), f"tags are {known}")
    with ThreadPoolExecutor(WORKERS) as workers:
        runs = [workers.submit(one_tag, workspace, tag, options, deadline) for tag in wanted]
    failures = [str(run.exception()) for run in runs if run.exception()]
    check(not failures, "\n".join(failures))
    cases = [run.result() for run in runs]
    return f"{sum(cases)} cases for {len(cases)} tags, seed {options.seed}"


def one_tag(workspace, tag, options, deadline):
    """How many cases schemathesis made for the operations of a tag, none of which failed."""
    begun = time.monotonic()
    node = started(workspace, f"tag-{tag}")
    # What is there makes more than 404 of the answers.
    event = b'{"specversion":"1.0","id":"order-1001","source":"/shop","type":"shop.seen.v1","subject":"customer/42","data":{}}'
    status, answer = node.request("POST", "/events", event, "application/cloudevents+json")
    check(status == 200, f"POST /events answered {status}: {answer}")
    # It keeps a database of examples in its folder: that must not be the checkout.
    folder = workspace.folder / f"schemathesis-{tag}"
    folder.mkdir()
    command = [Path(sys.executable).with_name("st"), "--config-file", HERE / "schemathesis.toml", "run", f"{node.url}/openapi.json"]
    command += ["--include-tag", tag, "--seed", options.seed, "--max-examples", options.examples, "--workers", 1, "--request-timeout", 5]
    command += ["--header", f"X-Api-Key: {node.key}", "--no-color", "--output-truncate", "false"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HERE)}
    log = folder / "output.log"
    with log.open("w") as output:
        try:
            code = subprocess.run([str(part) for part in command], cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT,
                                  timeout=max(1, deadline - time.monotonic())).returncode
        except subprocess.TimeoutExpired:
            raise Failure(f"{tag}: schemathesis was not done when the {options.seconds} s of all tags were over") from None
    text = log.read_text(errors="replace")
    summary = re.search(r"^Test cases:\n +(\d+) generated", text.replace(",", ""), re.M)
    if code or not summary:
        print(text)
    check(code == 0 and summary, f"{tag}: exit code {code}; its output is above")
    unharmed(node)
    node.stop()
    print(f"{'':7} {time.monotonic() - begun:6.1f}s  {tag}: {summary.group(1)} cases", flush=True)
    return int(summary.group(1))


def connect(node):
    return socket.create_connection(("127.0.0.1", node.port), timeout=10)


def alive(node):
    """Seconds that a query took."""
    begun = time.monotonic()
    for path in ("/livez", "/readyz", "/projections/customers?limit=1"):
        status, answer = node.request("GET", path)
        check(status == 200, f"GET {path} answered {status}: {answer}")
    return (time.monotonic() - begun) / 3


def idle_connections(node, number):
    """As many connections as there may be, each with half a head: others are answered, and those are closed in time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    number = min(number, hard - 200)
    open_ones, slowest = [], 0.0
    begun = time.monotonic()
    try:
        while len(open_ones) < number:
            connection = connect(node)
            connection.sendall(b"GET /livez HTTP/1.1\r\nhost: local")
            open_ones.append(connection)
            if len(open_ones) % 1000 == 0:
                slowest = max(slowest, alive(node))
        opened = time.monotonic() - begun
        for _ in range(20):
            slowest = max(slowest, alive(node))
        still_open = sum(1 for connection in open_ones if not is_closed(connection))
        # http.request_timeout_s is 5: whoever does not finish a head is sent away.
        deadline = time.monotonic() + 30
        while any(not is_closed(connection) for connection in open_ones):
            check(time.monotonic() < deadline, "connections with half a head are still open after 30 s")
            time.sleep(0.2)
    finally:
        for connection in open_ones:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return f"{number} opened in {opened:.1f} s, {still_open} of them open at once, slowest of three queries beside them {slowest * 1000:.1f} ms on average"


def is_closed(connection):
    connection.setblocking(False)
    try:
        # The answer 408 is read first, then the end.
        while connection.recv(4096):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def malformed(node, number, seed):
    """Seeded mutations of good requests, as raw bytes."""
    draw = random.Random(seed)
    statuses = {}
    for count in range(number):
        request = bytearray(draw.choice(REQUESTS).replace(b"KEY", node.key.encode()))
        for _ in range(draw.randint(1, 6)):
            place = draw.randrange(len(request))
            kind = draw.randrange(4)
            if kind == 0:
                request[place] = draw.randrange(256)
            elif kind == 1:
                del request[place : place + draw.randint(1, 20)]
            elif kind == 2:
                request[place:place] = draw.choice(SPLICES)
            else:
                request[place:place] = request[place : place + draw.randint(1, 200)]
            if not request:
                break
        with connect(node) as connection:
            connection.settimeout(0.02)
            try:
                connection.sendall(bytes(request))
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(65536)
            except OSError:
                answer = b""
        status = answer[9:12].decode(errors="replace") if answer.startswith(b"HTTP/1.1 ") else "none"
        check(not status.startswith("5") or status == "503", f"request {count} of seed {seed} was answered {status}: {bytes(request)!r}")
        statuses[status] = statuses.get(status, 0) + 1
        if count % 500 == 0:
            alive(node)
    return ", ".join(f"{status}: {found}" for status, found in sorted(statuses.items())) + f", seed {seed}"


def unharmed(node):
    """The node is the one that was started, well, and its log tells of no panic."""
    alive(node)
    check(node.process.poll() is None, "the node ended")
    log = node.log.read_text(errors="replace")
    told = [line for line in log.splitlines() if "panicked" in line or "abandoned" in line]
    check(not told, "its log tells of a panic:\n" + "\n".join(told[:10]))
    status, version = node.request("GET", "/version")
    check(status == 200 and version["log"] == "embedded", f"GET /version answered {status}: {version}")
    return f"{len(log.splitlines())} lines of log, no panic"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--examples", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=420)
    parser.add_argument("--tags", help="these only, separated by commas")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--malformed", type=int, default=3_000)
    options = parser.parse_args()
    steps = Steps()
    with Workspace() as workspace:
        steps.run("schemathesis finds nothing against /openapi.json", lambda: schemathesis(workspace, options))
        node = started(workspace)
        steps.run("idle connections keep nobody waiting", lambda: idle_connections(node, options.connections))
        steps.run("malformed requests do no harm", lambda: malformed(node, options.malformed, options.seed))
        steps.run("the node is unharmed", lambda: unharmed(node))
    return steps.exit_code()


sys.exit(main())
