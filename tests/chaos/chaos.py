#!/usr/bin/env python3
"""Faults on real nodes, a real broker, a real disk. Started by scripts/chaos, which says what the arguments are."""

import argparse
import math
import os
import random
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

sys.dont_write_bytecode = True
from cluster import PROJECTIONS, Cluster  # noqa: E402
from load import Load, Probe, found  # noqa: E402
from rows import EMBEDDED, KAFKA, OWN_NODE, QUICK, Skipped, mount_tmpfs  # noqa: E402
from support import ROOT, Failure, Workspace  # noqa: E402


class Run:
    """What a row needs, and what it leaves."""

    def __init__(self, cluster, row, source, quick):
        self.cluster, self.row, self.source, self.quick = cluster, row, source, quick
        self.load = None
        self.damaged = self.loses = False

    def quiet(self):
        """Ends the load before the fault: what it sent is acknowledged."""
        self.load.__exit__(None)

    def may_lose(self):
        """The fault takes acknowledged facts from the disk: that they are gone must be told, not denied."""
        self.loses = True


class Table:
    """The rows so far, on the terminal and as Markdown."""

    HEADER = ("fault", "recovery", "acknowledged", "found", "lost", "twice", "digests", "queries refused", "remarks")

    def __init__(self):
        self.rows, self.failed, self.kills = [], 0, []

    def add(self, name, fault, values, ok):
        self.failed += not ok
        self.rows.append((fault, *values))
        print(f"{'ok' if ok else 'FAILED':7} {name:22} " + "  ".join(f"{title} {value}" for title, value in zip(self.HEADER[1:], values) if value != ""), flush=True)

    def markdown(self, arguments):
        commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
        model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "unknown processor")
        lines = [
            "# Reliability",
            "",
            "Written by `scripts/chaos`, which does these things to real nodes, a real Apache Kafka and a real disk while publishers and queries go on. "
            "A publisher sends a batch again, to any node, with the same ids, until it is acknowledged; recovery is the time from the fault until every partition acknowledges a fact again. "
            "Found, lost and twice count the row's facts in the log; digests are those of the customers and revenue projections on all nodes. "
            "Queries refused count those to a node that was down or starting, too: nobody chose another node for them.",
            "",
            f"{datetime.now(timezone.utc):%Y-%m-%d}, commit {commit}, {os.cpu_count()} cores ({model}), {memory} GB, seed {arguments.seed}, `scripts/chaos {' '.join(arguments.given)}`",
            "",
            "| " + " | ".join(self.HEADER) + " |",
            "|" + "---|" * len(self.HEADER),
        ]
        lines += ["| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |" for row in self.rows]
        if self.kills:
            lines += ["", "## Kills in a row", "", "| | kills | recovery p50 | p99 | worst | acknowledged | found | lost | twice | digests |", "|---|---|---|---|---|---|---|---|---|---|"]
            lines += ["| " + " | ".join(map(str, kills)) + " |" for kills in self.kills]
        return "\n".join(lines) + "\n"


class Progress:
    """A bar, on a terminal only."""

    def __init__(self, total):
        self.total, self.done, self.terminal = max(total, 1), 0, sys.stderr.isatty()

    def step(self, what, count=0):
        self.done += count
        if self.terminal:
            filled = 30 * self.done // self.total
            print(f"\r\x1b[K[{'#' * filled}{'.' * (30 - filled)}] {self.done}/{self.total} {what}", end="", file=sys.stderr, flush=True)

    def clear(self):
        if self.terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def percentile(values, share):
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def checked(run, took, remark):
    """What became of the row's facts."""
    load, cluster = run.load, run.cluster
    cluster.settle()
    node = run.source.choice(cluster.alive())
    ids = found(node, run.row)
    twice = sum(count - 1 for count in ids.values())
    lost = max(0, load.acknowledged + load.probed - len(ids))
    digests = cluster.digests()
    equal = all(len(digests[projection]) == 1 for projection in PROJECTIONS)
    ok = twice == 0 and equal and (lost == 0 or run.loses) and len(ids) <= load.sent + load.probed
    refused = f"{load.unanswered} of {load.queries}"
    values = (f"{took:.2f} s", load.acknowledged + load.probed, len(ids), lost, twice, "equal" if equal else f"DIFFER {digests}", refused, remark)
    return values, ok


def one_row(cluster, name, inject, arguments, number):
    run = Run(cluster, f"{name}-{number}", random.Random(f"{arguments.seed} {name}"), arguments.quick)
    fault = inject.__doc__
    started_probes = Probe.acknowledged_of(run.row)
    Probe.customers_of(cluster)
    try:
        with Load(cluster, run.row, f"{arguments.seed} {name}") as load:
            run.load = load
            time.sleep(0.5 if arguments.quick else 1.5)
            took, remark = inject(run)
            if run.damaged:
                load.ending.set()
            else:
                cluster.wait_whole()
                time.sleep(0.3 if arguments.quick else 1.0)
    except Skipped as reason:
        return fault, ("skipped", "", "", "", "", "", "", str(reason)), True
    except Failure as failure:
        if not run.damaged:
            ends = "; ".join(f"{node.name} ends: {node.tail()[-300:]}" for node in cluster.nodes if not node.runs())
            return fault, ("none", "", "", "", "", "", "", f"{failure} {ends}"), False
    if run.damaged:
        return fault, ("none", load.acknowledged, "", "", "", "", "", remark), run.loses
    load.probed = Probe.acknowledged_of(run.row) - started_probes
    try:
        values, ok = checked(run, took, remark)
    except Failure as failure:
        return fault, (f"{took:.2f} s", load.acknowledged, "", "", "", "", "", str(failure)[:400]), False
    return fault, values, ok


def kill_loop(cluster, name, inject, arguments, progress):
    """Kills in a row under one load."""
    run = Run(cluster, f"{name}-loop", random.Random(f"{arguments.seed} {name} loop"), arguments.quick)
    times = []
    with Load(cluster, run.row, f"{arguments.seed} {name} loop", pause_s=0.1) as load:
        run.load = load
        for number in range(arguments.kills):
            progress.step(f"kill {number + 1} of {arguments.kills}, {name}", 1)
            if time.monotonic() > arguments.deadline:
                break
            time.sleep(run.source.random() * 0.5)
            times.append(inject(run)[0])
            cluster.wait_whole()
    load.probed = Probe.acknowledged_of(run.row)
    values, ok = checked(run, max(times), "")
    summary = (name, len(times), f"{percentile(times, 0.5):.2f} s", f"{percentile(times, 0.99):.2f} s", f"{max(times):.2f} s", *values[1:6])
    return summary, ok


def rows_on(kafka, names, space, arguments, table, progress):
    known = KAFKA if kafka else EMBEDDED
    cluster = fresh = None
    for number, name in enumerate(names):
        progress.step(name)
        if time.monotonic() > arguments.deadline:
            table.add(name, known[name].__doc__, ("not run", "", "", "", "", "", "", "the time given was over"), True)
            continue
        own = None
        if name in OWN_NODE:
            folder = space.folder / name
            try:
                if name == "disk-full":
                    mount_tmpfs(folder, 192)
                    space.closing.append(lambda mounted=folder: subprocess.run(["umount", "-l", mounted], check=False))
            except Skipped as reason:
                table.add(name, known[name].__doc__, ("skipped", "", "", "", "", "", "", str(reason)), True)
                continue
            folder.mkdir(exist_ok=True)
            own = Cluster(space, 1, kafka=False, folder=folder)
        elif cluster is None:
            cluster = Cluster(space, 3 if kafka else 1, kafka=kafka, folder=fresh)
        fault, values, ok = one_row(own or cluster, name, known[name], arguments, number)
        progress.clear()
        table.add(name, fault, values, ok)
        progress.step(name, 1)
        if own:
            own.nodes[0].stop()
        elif not ok:
            # What comes next must not suffer from it.
            for node in cluster.nodes:
                node.stop()
            if kafka:
                cluster.broker.command("down")
            cluster, fresh = None, break_folder(space, f"after-{name}")
    if arguments.kills and names is not None and time.monotonic() < arguments.deadline:
        cluster = cluster or Cluster(space, 3 if kafka else 1, kafka=kafka, folder=fresh)
        inject = KAFKA["node-killed"] if kafka else EMBEDDED["killed"]
        try:
            summary, ok = kill_loop(cluster, "takeover by another node, Apache Kafka" if kafka else "restart of the node, embedded log", inject, arguments, progress)
        except Failure as failure:
            summary, ok = ("Apache Kafka" if kafka else "embedded", "", str(failure)[:300]), False
        progress.clear()
        table.kills.append(summary)
        table.failed += not ok
        print(f"{'ok' if ok else 'FAILED':7} kills: {summary}", flush=True)
    for node in cluster.nodes if cluster else ():
        node.stop()


def break_folder(space, name):
    """A fresh folder for the next cluster, below the one that is removed at the end."""
    (space.folder / name).mkdir(parents=True)
    return space.folder / name


def main():
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seconds", type=int, default=3600, help="begin no row after so many seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", help="these only, separated by commas")
    parser.add_argument("--log", choices=("embedded", "kafka", "both"), default="both")
    parser.add_argument("--kills", type=int, default=0, help="and so many kills in a row on each log")
    parser.add_argument("--quick", action="store_true", help="the rows of CI, with short waits")
    parser.add_argument("--report", help="write the table to this file")
    arguments = parser.parse_args()
    arguments.given = sys.argv[1:]
    arguments.deadline = time.monotonic() + arguments.seconds
    chosen = arguments.rows.split(",") if arguments.rows else QUICK if arguments.quick else [*KAFKA, *EMBEDDED]
    if arguments.rows == "none":
        chosen = []
    unknown = [name for name in chosen if name not in KAFKA and name not in EMBEDDED]
    if unknown:
        parser.error(f"unknown rows {unknown}; there are {', '.join([*KAFKA, *EMBEDDED])}")
    order = random.Random(arguments.seed)
    table, plans = Table(), []
    for kafka in (True, False):
        names = [name for name in chosen if name in (KAFKA if kafka else EMBEDDED)]
        order.shuffle(names)
        if arguments.log in ("both", "kafka" if kafka else "embedded") and (names or arguments.kills):
            plans.append((kafka, names))
    for kafka, names in plans:
        print(f"{'Apache Kafka' if kafka else 'embedded log'}, seed {arguments.seed}: {', '.join(names)}", flush=True)
    progress = Progress(sum(len(names) + arguments.kills for _, names in plans))
    for kafka, names in plans:
        with Workspace() as space:
            rows_on(kafka, names, space, arguments, table, progress)
    progress.clear()
    if arguments.report:
        Path(arguments.report).write_text(table.markdown(arguments), encoding="utf-8")
    print(f"{len(table.rows) + len(table.kills) - table.failed} of {len(table.rows) + len(table.kills)} rows as they should be")
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main())
