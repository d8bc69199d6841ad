"""What is done to the nodes and the broker. Each row injects a fault, says how long recovery took, and leaves everything running."""

import os
import shutil
import subprocess
import time
from pathlib import Path

from cluster import check, eventually, wait_seconds
from load import Probe, order


class Skipped(Exception):
    """A row that this machine cannot run, and why."""


# --- three nodes on one Kafka ---------------------------------------------------------------------------------------------------


def node_killed(run):
    """kill -9 of a node; the others take over; later it is started again"""
    node = run.source.choice(run.cluster.nodes)
    probe = Probe(run.cluster, run.row)
    node.kill()
    took = probe.all()
    node.start()
    return took, "takeover by the others"


def node_restarted(run):
    """kill -9 of a node that is started again at once"""
    node = run.source.choice(run.cluster.nodes)
    probe = Probe(run.cluster, run.row)
    node.kill()
    node.start(wait=False)
    took = probe.all()
    node.wait_ready()
    return took, "it takes up what it owned"


def broker_killed(run):
    """kill -9 of the broker, which is started again"""
    run.cluster.broker.command("crash")
    probe = Probe(run.cluster, run.row)
    run.cluster.broker.command("up")
    return probe.all(), "the broker's own start included"


def both_killed(run):
    """kill -9 of the broker and of a node, both started again"""
    node = run.source.choice(run.cluster.nodes)
    probe = Probe(run.cluster, run.row)
    node.kill()
    run.cluster.broker.command("crash")
    run.cluster.broker.command("up")
    node.start(wait=False)
    took = probe.all()
    node.wait_ready()
    return took, "the broker's own start included"


def zombie(run):
    """SIGSTOP of a node for 30 s; it comes back as a zombie"""
    node = run.source.choice(run.cluster.nodes)
    seconds = 9 if run.quick else 30
    probe = Probe(run.cluster, run.row)
    node.freeze(True)
    took = probe.all()
    wait_seconds(max(0, seconds - (time.monotonic() - probe.started)))
    node.freeze(False)
    return took, f"frozen {seconds} s"


def broker_stalls(run):
    """SIGSTOP of the broker"""
    seconds = 4 if run.quick else 10
    run.cluster.broker.freeze(True)
    try:
        wait_seconds(seconds)
    finally:
        probe = Probe(run.cluster, run.row)
        run.cluster.broker.freeze(False)
    return probe.all(), f"frozen {seconds} s, counted from its end"


def rebalances(run):
    """a fourth node joins and leaves every few seconds"""
    until = time.monotonic() + (8 if run.quick else 30)
    worst, times = 0.0, 0
    node = run.cluster.add("guest")
    try:
        while time.monotonic() < until:
            node.start(wait=False)
            eventually("the guest owns something", node.owned, 60)
            worst = max(worst, Probe(run.cluster, run.row).all())
            probe = Probe(run.cluster, run.row)
            # In turn: it leaves in order, or is killed.
            node.stop() if times % 2 == 0 else node.kill()
            worst = max(worst, probe.all())
            times += 1
    finally:
        node.stop()
        run.cluster.nodes.remove(node)
    return worst, f"{times} times; the longest wait"


def cache_deleted(run):
    """kill -9 of a node, and its cache folder deleted"""
    node = run.source.choice(run.cluster.nodes)
    probe = Probe(run.cluster, run.row)
    node.kill()
    shutil.rmtree(node.data / "projections")
    node.start(wait=False)
    took = probe.all()
    node.wait_ready()
    return took, ""


def clock_jumps(run):
    """the clock of a node jumps an hour ahead, an hour back, and home"""
    library = next((path for path in faketime_libraries() if path.exists()), None)
    if library is None:
        raise Skipped("libfaketime is not installed; scripts/setup test installs it")
    jump = Path(run.cluster.folder) / "faketime"
    node = run.source.choice(run.cluster.nodes)
    node.stop()
    jump.write_text("+0\n")
    node.environment = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(jump), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
    worst = 0.0
    try:
        node.start()
        run.cluster.wait_whole()
        for offset in ("+3600", "-3600", "+0"):
            jump.write_text(f"{offset}\n")
            worst = max(worst, Probe(run.cluster, run.row).all())
            wait_seconds(1 if run.quick else 3)
    finally:
        node.stop()
        node.environment = {}
        node.start()
    return worst, "the longest wait after a jump"


def faketime_libraries():
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tol" / "tools"
    places = [cache / "libfaketimeMT.so.1", *Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]
    return [Path(place) for place in places]


# --- one node on the embedded log -----------------------------------------------------------------------------------------------


def killed(run):
    """kill -9 of the node, started again at once"""
    node = run.cluster.nodes[0]
    probe = Probe(run.cluster, run.row)
    node.kill()
    node.start(wait=False)
    took = probe.all()
    node.wait_ready()
    return took, ""


def tail_torn(run):
    """kill -9, and a torn batch at the log's end"""
    node = run.cluster.nodes[0]
    run.quiet()
    probe = Probe(run.cluster, run.row)
    node.kill()
    segment = segments(node)[-1]
    # The beginning of a batch that never became whole: what a power cut leaves of an append that nobody was told of.
    with open(segment, "r+b") as file:
        file.seek(written_end(segment))
        file.write(segment.read_bytes()[64:64 + 37])
    size = node.log.stat().st_size
    node.start(wait=False)
    took = probe.all()
    node.wait_ready()
    return took, told(node, size, ("torn", "cut off"))


def tail_truncated(run):
    """kill -9, and the last 200 bytes of the log cut off: acknowledged facts are gone from the disk"""
    node = run.cluster.nodes[0]
    run.quiet()
    node.kill()
    segment = segments(node)[-1]
    end = written_end(segment)
    os.truncate(segment, end - 200)
    run.may_lose()
    return restarted_after_damage(run, node)


def segment_flipped(run):
    """kill -9, and a byte flipped in the middle of a log segment"""
    node = run.cluster.nodes[0]
    run.quiet()
    node.kill()
    segment = segments(node)[-1]
    flip(segment, written_end(segment) // 2)
    run.may_lose()
    return restarted_after_damage(run, node)


def sst_flipped(run):
    """kill -9, and a byte flipped in an SST of the caches"""
    node = run.cluster.nodes[0]
    run.quiet()
    # A rebuild flushes what it folded; what the load wrote may still lie in memory.
    node.rebuild("customers")
    node.stop()
    tables = sorted((node.data / "projections").rglob("*.sst"), key=lambda path: path.stat().st_size)
    check(tables, "there is no SST yet")
    flip(tables[-1], tables[-1].stat().st_size // 2)
    return restarted_after_damage(run, node)


def restarted_after_damage(run, node):
    size = node.log.stat().st_size
    started = time.monotonic()
    node.start(wait=False)
    try:
        took = Probe(run.cluster, run.row, patience_s=20).all()
    except Exception:
        run.damaged = True
        ended = "" if node.runs() else "; the node ended"
        return time.monotonic() - started, f"does not take facts{ended}; {told(node, size, ('corrupt', 'checksum'))}"
    return took, told(node, size, ("corrupt", "checksum", "torn", "cut off"))


def disk_full(run):
    """the disk is full for a few seconds"""
    node = run.cluster.nodes[0]
    filler = run.cluster.folder / "filler"
    free = shutil.disk_usage(run.cluster.folder).free
    with open(filler, "wb") as file:
        try:
            for _ in range(free // 65536 + 2):
                file.write(bytes(65536))
                file.flush()
        except OSError:
            pass
    answers = set()
    until = time.monotonic() + (4 if run.quick else 10)
    number = 0
    while time.monotonic() < until:
        number += 1
        answers.add(node.publish([order("full", f"full-{number}", number)], timeout=15)[0])
        time.sleep(0.05)
    answering = node.send("GET", "/projections/customers?limit=1")[0]
    filler.unlink()
    probe = Probe(run.cluster, run.row, patience_s=40)
    try:
        took = probe.all()
    except Exception:
        # Known: the store may not resume by itself.
        node.kill()
        node.start()
        took = probe_again(run)
        return took, f"answers while full: {sorted(map(str, answers))}; did NOT resume without a restart"
    return took, f"answers while full: {sorted(map(str, answers))}, a query {answering}; counted from the first free byte"


def probe_again(run):
    return Probe(run.cluster, run.row).all()


def segments(node):
    return sorted((node.data / "log").glob("*.log"))


def written_end(segment):
    """Where the written part ends: a segment may be allocated ahead, with zeros."""
    return len(segment.read_bytes().rstrip(b"\0"))


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x40]))


def told(node, since, words):
    lines = node.said(since, words)
    return f"told: {lines[0][-160:]}" if lines else "NOT told in the node's log"


def mount_tmpfs(folder, megabytes):
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode != 0:
        raise Skipped("mounting a tmpfs is not permitted here")


KAFKA = {
    "node-killed": node_killed,
    "node-restarted": node_restarted,
    "broker-killed": broker_killed,
    "both-killed": both_killed,
    "zombie": zombie,
    "broker-stalls": broker_stalls,
    "rebalances": rebalances,
    "cache-deleted": cache_deleted,
    "clock-jumps": clock_jumps,
}
EMBEDDED = {
    "killed": killed,
    "tail-torn": tail_torn,
    "clock-jumps-embedded": clock_jumps,
    "disk-full": disk_full,
    "sst-flipped": sst_flipped,
    "tail-truncated": tail_truncated,
    "segment-flipped": segment_flipped,
}
# Each leaves its node damaged, or needs a disk of its own: it gets a node of its own.
OWN_NODE = {"disk-full", "sst-flipped", "tail-truncated", "segment-flipped"}
QUICK = ["node-killed", "node-restarted", "broker-killed", "zombie", "killed", "tail-torn", "disk-full"]
