"""Requests a second of the SDKs' protocols on one core, and the time until a thousand streaming clients know of a change.

usage: bench.py [--seconds S] [--connections N,N] [--clients N] [--changes N] [--only frontend|ofrep|livez|streams]

Beside requests a second stand requests a CPU second: of the thread that serves, user and system time together. The first is what wrk on the other core
gets out of the node, the second what a core of the node would serve if it did not wait for wrk.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from support import Failure, check, eventually, free_port

FRONTEND = "/compat/unleash/api/frontend?userId=7&sessionId=3&properties%5Bplan%5D=pro"
BULK = "/compat/ofrep/ofrep/v1/evaluate/flags"
STREAM = "/compat/unleash/api/client/streaming"


def flags(count):
    """A mix: on for all, rollouts with constraints, variants."""
    pro = [{"attribute": "plan", "operator": "in", "values": ["pro", "team"]}, {"attribute": "userId", "operator": "number_below", "values": ["1000"]}]
    on = {"kind": "targeted", "serve": {"serve": "on"}}
    made = []
    for number in range(count):
        key = f"feature-{number:04}"
        environment = {"enabled": True, "rules": [on]}
        variants = {}
        if number % 3 == 1:
            environment["rules"] = [on | {"constraints": pro, "share": {"part": 10_000, "salt": key}}]
        if number % 3 == 2:
            variants = {"blue": "#00f", "green": "#0f0"}
            environment["on"] = {"of": 1000, "parts": [{"variant": name, "weight": 500} for name in variants]}
        made.append({"key": key, "type": "string" if variants else "boolean", "family": "unleash", "purpose": "release", "project": "default",
                     "variants": variants, "environments": {"production": environment}})
    return made


COUNTER = itertools.count()


def changes(definitions):
    """Events that ask for them."""
    events = [{"specversion": "1.0", "id": f"{one['key']}-{next(COUNTER)}", "source": "/benches/flags", "type": "flags.change_requested.v1",
               "subject": f"flag/{one['key']}", "data": {"key": one["key"], "definition": one, "by": "bench", "reason": "measured"}} for one in definitions]
    return json.dumps(events).encode()


class Node:
    def __init__(self, folder, core):
        self.port = free_port()
        self.log = open(folder / "node.log", "w")
        command = ["taskset", "-c", str(core), os.environ["TOL_BIN"], "run", "--data", str(folder / "data"), "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen([*command, "--set", "http.workers=1"], stdout=self.log, stderr=subprocess.STDOUT)
        eventually("the node is ready", lambda: self.ask("/readyz"), 60)

    def ask(self, path, body=None, kind="application/json"):
        check(self.process.poll() is None, f"the node has ended; see {self.log.name}")
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, {"content-type": kind})
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read() or b"ok"
        except (urllib.error.HTTPError, urllib.error.URLError, ConnectionError) as problem:
            if body is not None:
                raise Failure(f"{path}: {problem} {getattr(problem, 'read', bytes)()[:300]}") from None
            return b""

    def serve(self, definitions):
        self.ask("/events", changes(definitions), "application/cloudevents-batch+json")

    def close(self):
        self.process.terminate()
        self.process.wait(30)


def busiest(pid):
    """CPU seconds of each thread so far, user and system."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            found[task.name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def wrk(node, path, seconds, connections, script=None):
    """Requests a second, requests a CPU second of the thread that served them, and the answers' p99."""
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    before = busiest(node.process.pid)
    output = subprocess.run([*command, *(["-s", script] if script else []), f"http://127.0.0.1:{node.port}{path}"], check=True, capture_output=True, text=True).stdout
    check("Non-2xx" not in output, output)
    spent = max(now - before.get(task, 0) for task, now in busiest(node.process.pid).items())
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])
    requests = int(re.search(r"(\d+) requests in", output)[1])
    p99 = re.search(r"99%\s+(\S+)", output)[1]
    return rate, requests / max(spent, 0.01), p99


def rates(node, options, folder):
    post = folder / "post.lua"
    context = json.dumps({"context": {"targetingKey": "7", "plan": "pro"}})
    post.write_text(f"wrk.method = 'POST'\nwrk.headers['content-type'] = 'application/json'\nwrk.body = '{context}'\n")
    for count, aim in [(5, "aim 45,000"), (350, "aim 10,000")]:
        node.serve(flags(count))
        eventually("the flags are served", lambda: len(json.loads(node.ask(FRONTEND))["toggles"]) == count, 30)
        for name, path, script in [("frontend", FRONTEND, None), ("ofrep", BULK, str(post)), ("livez", "/livez", None)]:
            if options.only not in (None, name) or (name == "livez" and count > 5):
                continue
            size = len(node.ask(path, context.encode() if script else None))
            wrk(node, path, 1, 32, script)
            for connections in map(int, options.connections.split(",")):
                rate, a_cpu_second, p99 = wrk(node, path, options.seconds, connections, script)
                of = "" if name == "livez" else f", {count} flags"
                print(f"{path.split('?')[0]}{of} ({size} bytes), {connections} connections: {rate:,.0f} requests/s, {a_cpu_second:,.0f} a CPU second, "
                      f"p99 {p99} ({'no aim' if name == 'livez' else aim})", flush=True)


async def follow(port, told):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    writer.write(f"GET {STREAM} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n".encode())
    try:
        async for line in reader:
            if line.startswith(b"data:"):
                told(time.perf_counter(), line)
    finally:
        writer.close()


async def streams(node, options):
    seen = {}
    connected = [0]

    def told(at, line):
        if b"hydration" in line:
            connected[0] += 1
        for mark in re.findall(rb"mark-(\d+)", line):
            seen.setdefault(int(mark), []).append(at)

    tasks = [asyncio.create_task(follow(node.port, told)) for _ in range(options.clients)]
    while connected[0] < options.clients:
        await asyncio.sleep(0.05)
    delays, answered = [], []
    for number in range(options.changes):
        body = changes([flags(2)[1] | {"description": f"mark-{number}"}])
        began = time.perf_counter()
        await asyncio.to_thread(node.ask, "/events", body, "application/cloudevents-batch+json")
        answered.append(time.perf_counter() - began)
        deadline = began + 20
        while len(seen.get(number, [])) < options.clients:
            check(time.perf_counter() < deadline, f"change {number}: only {len(seen.get(number, []))} of {options.clients} clients were told in 20 s")
            await asyncio.sleep(0.01)
        delays += [at - began for at in seen[number]]
    for task in tasks:
        task.cancel()
    delays.sort()
    at = lambda part: delays[min(int(len(delays) * part), len(delays) - 1)] * 1000
    print(f"{options.clients} streaming clients, {options.changes} changes: told p50 {at(0.5):.1f} ms, p99 {at(0.99):.1f} ms, worst {delays[-1] * 1000:.1f} ms after the "
          f"request was sent (aim p99 < 250 ms); the request itself took up to {max(answered) * 1000:.1f} ms", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--connections", default="32,256", help="of wrk; several, with commas")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--only", choices=["frontend", "ofrep", "livez", "streams"])
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 65_536, hard))
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        node = Node(folder, 0)
        try:
            if options.only != "streams":
                rates(node, options, folder)
            if options.only in (None, "streams"):
                node.serve(flags(350))
                asyncio.run(streams(node, options))
        except Failure as failure:
            print((folder / "node.log").read_text()[-2000:], file=sys.stderr)
            sys.exit(f"FAILED: {failure}")
        finally:
            node.close()


if __name__ == "__main__":
    main()
