"""What is done to the nodes and the broker. Each row injects a fault, says how long recovery took, and leaves everything running."""

import os
import re
import shutil
import struct
import subprocess
import time
import urllib.request
from email.utils import parsedate_to_datetime
from pathlib import Path

from cluster import PARTITIONS, check, eventually
from load import Probe, found, order
from support import Failure


# How a node names damage in its log.
DAMAGE = ("corrupt", "checksum", "damaged")


class Skipped(Exception):
    """A row that this machine cannot run, and why."""


def restart(run, node, before=0.0):
    """kill -9, and a start after a while; how long partitions were without an owner."""
    probe = Probe(run.cluster, run.row)
    node.kill()
    time.sleep(before)
    node.start(wait=False)
    took = probe.all()
    node.wait_ready()
    return took


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
    return restart(run, run.source.choice(run.cluster.nodes)), "it takes up what it owned"


def node_returns(run):
    """kill -9 of a node that is started again just as the group gives its partitions away"""
    worst, times = 0.0, 1 if run.quick else 4
    for _ in range(times):
        worst = max(worst, restart(run, run.source.choice(run.cluster.nodes), run.source.uniform(4.0, 7.0)))
        run.cluster.wait_whole()
    return worst, f"{times} times; the longest wait"


def third_takes_over(run):
    """two nodes share the work; a third joins, both are killed with kill -9, and it takes over everything"""
    third = run.source.choice(run.cluster.nodes)
    pair = [node for node in run.cluster.nodes if node is not third]
    third.stop()
    run.cluster.wait_whole()
    shared = " and ".join(str(len(node.owned())) for node in pair)
    third.start()
    run.cluster.wait_whole()
    probe = Probe(run.cluster, run.row)
    for node in pair:
        node.kill()
    took = probe.all()
    eventually("the third owns everything", lambda: len(third.owned()) == PARTITIONS, 30)
    for node in pair:
        node.start()
    return took, f"{shared} partitions, then all {PARTITIONS} on the third"


def broker_killed(run):
    """kill -9 of the broker, which is started again"""
    run.cluster.broker.command("crash")
    probe = Probe(run.cluster, run.row)
    run.cluster.broker.command("up")
    run.log_was_away = True
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
    time.sleep(max(0, seconds - (time.monotonic() - probe.started)))
    node.freeze(False)
    return took, f"frozen {seconds} s"


def broker_stalls(run):
    """SIGSTOP of the broker"""
    seconds = 4 if run.quick else 10
    run.cluster.broker.freeze(True)
    try:
        time.sleep(seconds)
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
    return took, "refolded from the log"


def cache_deleted_embedded(run):
    """kill -9 at rest, and the cache folder deleted: all states and rows are folded from zero"""
    run.quiet()
    run.cluster.settle()
    node = run.cluster.nodes[0]
    before = run.cluster.digests()
    started = time.monotonic()
    node.kill()
    shutil.rmtree(node.data / "projections")
    node.start()
    run.cluster.wait_whole()
    run.cluster.settle()
    took, after = time.monotonic() - started, run.cluster.digests()
    # The hub keeps a ledger of starts, to which this one was added.
    same = {path: digests for path, digests in after.items() if path != "/systems/tree-of-life-system"}
    differ = {path: (before.get(path), digests) for path, digests in same.items() if before.get(path) != digests}
    check(before.keys() == after.keys() and not differ, f"folded from zero it is otherwise: {differ}")
    return took, f"until all is folded; {len(same)} digests as before"


def clock_jumps(run):
    """the clock of a node jumps an hour ahead, an hour back, and home"""
    node = run.source.choice(run.cluster.nodes)
    jump, library = run.cluster.folder / "clock", movable_clock(run.cluster.folder)
    jump.write_bytes(struct.pack("=q", 0))
    node.stop()
    node.environment = {"LD_PRELOAD": str(library), "TOL_CLOCK": str(jump)}
    worst = 0.0
    try:
        node.start()
        run.cluster.wait_whole()
        for hours in (1, -1, 0):
            with open(jump, "r+b") as file:
                file.write(struct.pack("=q", hours * 3600))
            worst = max(worst, Probe(run.cluster, run.row).all())
            # Its answers' dates are made once a while.
            eventually("the node's clock jumps", lambda at=hours: abs(clock_of(node) - at) < 0.1, 15)
            time.sleep(0 if run.quick else 2)
    finally:
        node.stop()
        node.environment = {}
        node.start()
    return worst, "the longest wait after a jump"


def movable_clock(folder):
    """The library that moves one process's clock."""
    library = folder / "clock.so"
    built = subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, Path(__file__).with_name("clock.c"), "-ldl"], capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise Skipped(f"cc does not build tests/chaos/clock.c here: {built.stderr[-200:]}")
    return library


def clock_of(node):
    """By how many hours the time in a node's answers is off."""
    with urllib.request.urlopen(node.url + "/livez", timeout=10) as answer:
        date = answer.headers["date"]
    return (parsedate_to_datetime(date).timestamp() - time.time()) / 3600


# --- one node on the embedded log -----------------------------------------------------------------------------------------------


def killed(run):
    """kill -9 of the node, started again at once"""
    return restart(run, run.cluster.nodes[0]), ""


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
    """kill -9, and the last 200 bytes of the log cut off, which a disk had confirmed"""
    node = run.cluster.nodes[0]
    run.quiet()
    node.kill()
    segment = segments(node)[-1]
    end = written_end(segment)
    os.truncate(segment, end - 200)
    run.may_lose()
    run.must_tell = True
    return restarted_after_damage(run, node)


def segment_flipped(run):
    """kill -9, and a byte flipped in the middle of a log segment"""
    node = run.cluster.nodes[0]
    run.quiet()
    node.kill()
    segment = segments(node)[-1]
    flip(segment, written_end(segment) // 2)
    run.may_lose()
    run.must_tell = True
    return restarted_after_damage(run, node)


def sst_flipped(run):
    """stop, and a byte flipped in every block of an SST of the caches"""
    node = run.cluster.nodes[0]
    run.quiet()
    # A rebuild flushes what it folded; what the load wrote may still lie in memory.
    node.rebuild("customers")
    node.stop()
    tables = sorted((node.data / "projections").rglob("*.sst"), key=lambda path: path.stat().st_size)
    check(tables, "there is no SST yet")
    # Every block, as only what is read is checked. The end holds the table's own index; without it, it is damaged already when it is opened.
    for at in range(2048, tables[-1].stat().st_size * 3 // 4, 4096):
        flip(tables[-1], at)
    size = node.log.stat().st_size
    run.must_tell = True
    took, remark = restarted_after_damage(run, node)
    if run.damaged:
        return took, remark

    def met():
        found(node, run.row)
        return not any(" " in digest for digests in run.cluster.digests().values() for digest in digests) and node.said(size, DAMAGE)

    eventually("the damage is met and told", met, 30)
    return took, told(node, size, DAMAGE)


def restarted_after_damage(run, node):
    size = node.log.stat().st_size
    started = time.monotonic()
    node.start(wait=False)
    try:
        eventually("the node is ready or ends", lambda: not node.runs() or node.send("GET", "/readyz")[0] == 200, 60)
        check(node.runs(), "it ended")
        took = time.monotonic() - started + Probe(run.cluster, run.row, patience_s=20).all()
    except Failure:
        run.damaged = True
        ended = "" if node.runs() else "; the node ended"
        return time.monotonic() - started, f"does not take facts{ended}; {told(node, size, ('corrupt', 'checksum'))}"
    return took, told(node, size, (*DAMAGE, "torn", "cut off"))


def disk_full(run):
    """the disk is full for a few seconds"""
    node = run.cluster.nodes[0]
    filler = run.cluster.folder / "filler"
    free = shutil.disk_usage(run.cluster.folder).free
    # Unbuffered: what no longer fits would be kept, written once more when the file is closed, and be refused there.
    with open(filler, "wb", buffering=0) as file:
        try:
            for _ in range(free // 65536 + 2):
                file.write(bytes(65536))
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
    except Failure:
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
    if not lines:
        return "NOT told in the node's log"
    # Without colours, time and module, and without the folder of this run.
    text = re.sub(r"\x1b\[[0-9;]*m", "", lines[0])
    text = re.sub(r"^\S+Z +[A-Z]+ +[\w:]+: ", "", text)
    return "told: " + re.sub(r"\S*/(embedded/)", r"\1", text)[:240]


def mount_tmpfs(folder, megabytes):
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode != 0:
        raise Skipped("mounting a tmpfs is not permitted here")


KAFKA = {
    "node-killed": node_killed,
    "node-restarted": node_restarted,
    "node-returns": node_returns,
    "third-takes-over": third_takes_over,
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
    "cache-deleted-embedded": cache_deleted_embedded,
    "tail-torn": tail_torn,
    "clock-jumps-embedded": clock_jumps,
    "disk-full": disk_full,
    "sst-flipped": sst_flipped,
    "tail-truncated": tail_truncated,
    "segment-flipped": segment_flipped,
}
# Each leaves its node damaged, or needs a disk of its own: it gets a node of its own.
OWN_NODE = {"disk-full", "sst-flipped", "tail-truncated", "segment-flipped"}
# These fold anew what the rows before them led to.
LAST = {"cache-deleted", "cache-deleted-embedded"}
QUICK = ["node-killed", "node-returns", "third-takes-over", "broker-killed", "zombie", "killed", "cache-deleted-embedded", "cache-deleted", "tail-torn", "disk-full", "sst-flipped", "segment-flipped"]
