"""Durable append and reading it back: us embedded and on Kafka, Apache Kafka alone with its own load tool, UmaDB."""

import os
import random
import re
import string
import subprocess
import time
from pathlib import Path

from harness import JARS, PEER_JAVA, ROOT, US, VENV, Broker, Failure, Process, call, free_port, say

PEERS = ROOT / "benches/compare/peers"
BULK = 500


def shapes():
    """(writers, bytes) of the write workloads of log-workloads, or nothing: `TOL_DATA` or ../shared/data."""
    for folder in (os.environ.get("TOL_DATA"), ROOT.parent / "shared/data"):
        found = Path(folder or "") / "log-workloads"
        if folder and found.is_dir():
            break
    else:
        say("  log-workloads is not here (TOL_DATA): its rows are skipped")
        return []
    read = lambda name, text: int(re.search(rf"{name}: *(\d+)", text)[1])
    texts = [path.read_text() for path in sorted(found.glob("baseline-writes-w*.yaml"))]
    rows = sorted({(read("writers", text), read("event_size_bytes", text)) for text in texts})
    sizes = re.search(r"event_sizes: *\[([\d, ]+)\]", (found / "scaling__event-size.yaml").read_text())
    return rows + [(4, int(size)) for size in (sizes[1].split(",") if sizes else []) if int(size) not in (256, 512, 128)]


def ours(folder, name, seconds, broker=None, sync=True, writers=4, batch=1, size=256):
    data = folder / name
    command = [US, "append", "--data", data, "--writers", writers, "--batch", batch, "--bytes", size, "--seconds", seconds]
    command += ["--bootstrap", broker.bootstrap] if broker else []
    command += [] if sync else ["--no-sync"]
    return call(command, folder / f"{name}.log")


class Umadb:
    def __init__(self, folder):
        self.port = free_port()
        self.process = Process([VENV / "bin/umadb", "--listen", f"127.0.0.1:{self.port}", "--db-path", folder / "umadb"], folder / "umadb.log")
        time.sleep(1.5)

    def append(self, folder, seconds, writers=4, batch=1, size=256):
        return call([VENV / "bin/python", PEERS / "append_umadb.py", f"http://127.0.0.1:{self.port}", writers, batch, size, seconds, 1000], folder / "append-umadb.log")


def perf_tool(broker, folder, topic, records, size, flush_each):
    """Apache Kafka's own tools: producing with acks=all, then consuming."""
    call([US, "prepare", "--bootstrap", broker.bootstrap, "--empty", topic, *(["--flush-each"] if flush_each else [])], folder / "topic.log")
    tool = lambda name, *arguments: subprocess.run(
        ["java", *PEER_JAVA, "-cp", f"{JARS}/*", f"org.apache.kafka.tools.{name}", "--bootstrap-server", broker.bootstrap, "--topic", topic, *map(str, arguments)],
        capture_output=True, text=True, timeout=240)
    # The same kind of JSON as everyone else's: the tool's own random bytes would not compress at all.
    random.seed(1)
    note = lambda: "".join(random.choices(string.ascii_letters + string.digits, k=size - 23))
    (folder / "payload").write_text("\n".join(f'{{"amount":1,"note":"{note()}"}}' for _ in range(2048)))
    produced = tool("ProducerPerformance", "--num-records", records, "--payload-file", folder / "payload", "--throughput", -1,
                    "--command-property", "acks=all", "linger.ms=5", "compression.type=lz4")
    found = re.findall(r"([\d.]+) records/sec .*?([\d.]+) ms 50th, [\d.]+ ms 95th, ([\d.]+) ms 99th", produced.stdout)
    if not found:
        raise Failure(f"kafka-producer-perf-test: {produced.stdout[-800:]}{produced.stderr[-800:]}")
    consumed = tool("ConsumerPerformance", "--num-records", records, "--timeout", 30000)
    # start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, …
    line = [row for row in consumed.stdout.splitlines() if row[:2] == "20"]
    return {"rate": float(found[-1][0]), "p50_ms": float(found[-1][1]), "p99_ms": float(found[-1][2]),
            "read_rate": float(line[-1].split(",")[5]) if line else None}


def compare(folder, seconds, records):
    """Rows of (what, durability, shape) with rate, latency and the rate of reading back."""
    folder.mkdir(parents=True)
    rows = []

    def row(who, durability, shape, result):
        rows.append({"who": who, "durability": durability, "shape": shape, **{name: result.get(name) for name in ("rate", "p50_ms", "p99_ms", "read_rate")}})
        say(f"  {who}, {shape}, {durability}: {result['rate']:,.0f}/s p99 {result['p99_ms']:.2f} ms, read {result.get('read_rate') or 0:,.0f}/s")

    synced, cached = "synced before the answer", "page cache (Kafka's default)"
    for number, (writers, size) in enumerate(shapes()):
        shape = f"{writers} writers, 1 event a request, {size} bytes"
        row("us, embedded", synced, shape, ours(folder, f"embedded-{number}", seconds, writers=writers, size=size))
        umadb = Umadb(folder / f"umadb-{number}") if (folder / f"umadb-{number}").mkdir() is None else None
        try:
            row("UmaDB", synced, shape, umadb.append(folder, seconds, writers=writers, size=size))
        finally:
            umadb.process.stop()
        broker = Broker(folder / f"kafka-{number}")
        try:
            row("us, on Kafka", cached, shape, ours(folder, f"on-kafka-{number}", seconds, broker, writers=writers, size=size))
        finally:
            broker.down()
    size = 256
    shape = f"bulk: 16 writers, {BULK} events a request, {size} bytes"
    tool_shape = f"bulk: perf tool, open loop (32 MB under way), its batches (16 KB, linger 5 ms, lz4), {size} bytes"
    row("us, embedded", synced, shape, ours(folder, "embedded-bulk", seconds, writers=16, batch=BULK, size=size))
    row("us, embedded", "not synced", shape, ours(folder, "embedded-bulk-unsynced", seconds, sync=False, writers=16, batch=BULK, size=size))
    (folder / "umadb-bulk").mkdir()
    umadb = Umadb(folder / "umadb-bulk")
    try:
        row("UmaDB", synced, shape, umadb.append(folder, seconds, writers=16, batch=BULK, size=size))
    finally:
        umadb.process.stop()
    broker = Broker(folder / "kafka-bulk")
    try:
        # A fresh broker spends more on its compiler than on records: whoever came first would pay for all. This load is nobody's row.
        perf_tool(broker, folder, "warm-up", records, size, False)
        row("us, on Kafka", cached, shape, ours(folder, "on-kafka-bulk", seconds, broker, writers=16, batch=BULK, size=size))
        row("Apache Kafka alone", cached, tool_shape, perf_tool(broker, folder, "perf", records, size, False))
        row("Apache Kafka alone", "synced before the answer (flush.messages=1)", tool_shape, perf_tool(broker, folder, "perf-flush", records // 2, size, True))
    finally:
        broker.down()
    return rows
