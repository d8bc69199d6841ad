#!/usr/bin/env python3
"""Faults on real nodes, a real broker, a real disk. Started by scripts/chaos, which says what the arguments are."""

import argparse
import random
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from cluster import PROJECTIONS, Cluster, check, eventually  # noqa: E402
from load import Load, Probe, found  # noqa: E402
from report import Kills, Progress, Table  # noqa: E402
from rows import EMBEDDED, KAFKA, LAST, OWN_NODE, QUICK, Skipped, mount_tmpfs  # noqa: E402
from support import Failure, Workspace  # noqa: E402


class Run:
    """What a row needs, and what it leaves."""

    def __init__(self, cluster, row, source, quick):
        self.cluster, self.row, self.source, self.quick = cluster, row, source, quick
        self.load = None
        # The node does not take facts any more; acknowledged facts may be gone; the damage must be in the node's log.
        self.damaged = self.loses = self.must_tell = False
        # The log was away for so long that flags' answers must have said they are the last known.
        self.log_was_away = False

    def quiet(self):
        """Ends the load before the fault: what it sent is acknowledged."""
        self.load.__exit__(None)

    def may_lose(self):
        """The fault takes acknowledged facts from the disk: that they are gone must be told, not denied."""
        self.loses = True


class Row:
    """One line of the table."""

    def __init__(self, fault):
        self.fault, self.recovery, self.digests, self.refused, self.remark, self.late = fault, "", "", "", "", ""
        self.acknowledged = self.found = self.lost = self.twice = self.flags = None
        self.ok, self.skipped, self.loses, self.seconds = True, False, False, 0.0

    def cells(self):
        return (self.fault, self.recovery, self.acknowledged, self.found, self.lost, self.twice, self.digests, self.refused, self.flags and self.flags.cell(), self.remark)

    def not_run(self, reason):
        self.recovery, self.remark, self.skipped = "not run", reason, True
        return self

    def broken(self, problem):
        self.ok, self.remark = False, f"{self.remark} {problem}".strip()[:600]
        return self


def digests_agree(cluster, patience_s=30):
    """Of projections and of systems' states. Between the nodes, each of which hears of the last facts in its own time; of a single one, between the
    projections that it serves and those that it folds anew (its systems' states are folded from zero in a row of its own)."""
    until = time.monotonic() + patience_s
    before = cluster.digests()
    while any(len(digests) > 1 for digests in before.values()) and time.monotonic() < until:
        time.sleep(0.5)
        before = cluster.digests()
    if len(cluster.nodes) == 1:
        for projection in PROJECTIONS:
            cluster.nodes[0].rebuild(projection)
        for path, digests in cluster.digests().items():
            before.setdefault(path, set()).update(digests)
    return "equal" if all(len(digests) == 1 for digests in before.values()) else f"DIFFER {before}"


def count(run, into):
    """What became of the facts of a row or of kills, by id."""
    load, cluster = run.load, run.cluster
    cluster.settle()
    node = run.source.choice(cluster.alive())
    acknowledged = load.acknowledged_ids | Probe.acknowledged_of(run.row)
    began = time.monotonic()
    ids, answered = found(node, run.row)
    missing = acknowledged - ids.keys()
    while missing and time.monotonic() - began < 30:
        # A node may not have heard of what another one wrote; but what is in the log is found in time.
        time.sleep(0.5)
        ids, answered = found(node, run.row)
        if acknowledged <= ids.keys():
            into.late = f"{len(missing)} facts were found on {node.name} only {time.monotonic() - began:.1f} s later"
        missing = acknowledged - ids.keys()
    into.acknowledged, into.found = len(acknowledged), len(ids)
    into.lost, into.twice = len(missing), sum(ids.values()) - len(ids)
    into.digests = digests_agree(cluster)
    check(not missing or run.loses, f"not found on {node.name}: {sorted(missing)[:20]}")
    load.flags.verify(answered, complete=not run.loses)


def one_row(cluster, name, inject, arguments, number):
    run = Run(cluster, f"{name}-{number}", random.Random(f"{arguments.seed} {name}"), arguments.quick)
    row = Row(inject.__doc__)
    started = time.monotonic()
    try:
        Probe.customers_of(cluster)
        with Load(cluster, run.row, f"{arguments.seed} {name}") as load:
            run.load = load
            time.sleep(0.5)
            took, row.remark = inject(run)
            row.recovery = "none" if run.damaged else f"{took:.2f} s"
            if run.damaged:
                load.ending.set()
            else:
                cluster.wait_whole()
                time.sleep(0.3)
        row.refused = f"{load.unanswered} of {load.queries}"
        row.flags, row.loses = load.flags, run.loses
        if run.damaged:
            row.acknowledged = load.acknowledged
            check(run.loses, "it should go on")
        else:
            count(run, row)
            row.remark = f"{row.remark}; {row.late}".strip("; ") if row.late else row.remark
            check(row.twice == 0 and row.digests == "equal" and (row.lost == 0 or run.loses), "")
        check(not run.log_was_away or load.flags.last_known, "no answer with flags said that they are the last known, though the log was away")
        check(not run.must_tell or "told:" in row.remark.replace("NOT told", ""), "nothing in the node's log names the damage")
    except Skipped as reason:
        row.not_run(str(reason))
    except Failure as failure:
        ends = "; ".join(f"{node.name} ends: {node.tail()[-300:]}" for node in cluster.nodes if not node.runs())
        row.broken(f"{failure} {ends}")
    row.seconds = time.monotonic() - started
    return row


def kill_loop(cluster, kafka, wanted, arguments, progress):
    """Kills in a row under one load: the next comes when the last is recovered from and facts were acknowledged since."""
    kills = Kills(kafka, wanted)
    inject = KAFKA["node-killed"] if kafka else EMBEDDED["killed"]
    run = Run(cluster, f"kills-{'kafka' if kafka else 'embedded'}", random.Random(f"{arguments.seed} kills {kafka}"), arguments.quick)
    try:
        with Load(cluster, run.row, f"{arguments.seed} kills {kafka}", pause_s=0.1) as load:
            run.load, kills.flags = load, load.flags
            for number in range(wanted):
                progress.step(f"kill {number + 1} of {wanted}", 1)
                check(time.monotonic() < arguments.deadline, "the time given was over")
                before = load.acknowledged
                eventually("facts are acknowledged", lambda: load.acknowledged > before, 60)
                time.sleep(run.source.random() * 0.3)
                kills.times.append(inject(run)[0])
                cluster.wait_whole()
        count(run, kills)
    except Failure as failure:
        kills.problem = str(failure)[:600]
    return kills


def node_of_its_own(space, name):
    """For a row that damages its node, or needs a disk of its own."""
    folder = space.folder / name
    if name == "disk-full":
        mount_tmpfs(folder, 192)
        space.closing.append(lambda: subprocess.run(["umount", "-l", folder], check=False))
    folder.mkdir(exist_ok=True)
    return Cluster(space, 1, kafka=False, folder=folder)


def rows_on(kafka, names, kills, space, arguments, table, progress):
    known = KAFKA if kafka else EMBEDDED
    cluster, folder = None, space.folder
    for number, name in enumerate(names):
        progress.step(name)
        row, own = Row(known[name].__doc__), None
        if time.monotonic() > arguments.deadline:
            row.not_run("the time given was over")
        else:
            try:
                if name in OWN_NODE:
                    own = node_of_its_own(space, name)
                else:
                    cluster = cluster or Cluster(space, 3 if kafka else 1, kafka=kafka, folder=folder)
                row = one_row(own or cluster, name, known[name], arguments, number)
            except Skipped as reason:
                row.not_run(str(reason))
            except (Failure, subprocess.CalledProcessError) as failure:
                row.broken(f"the nodes did not start: {failure}")
        progress.clear()
        table.add(kafka, name, row)
        progress.step(name, 1)
        if own:
            own.close()
        elif not row.ok and cluster:
            # What comes next must not suffer from it.
            cluster.close()
            cluster, folder = None, space.folder / f"after-{name}"
            folder.mkdir()
    if kills:
        try:
            cluster = cluster or Cluster(space, 3 if kafka else 1, kafka=kafka, folder=folder)
            done = kill_loop(cluster, kafka, kills, arguments, progress)
        except (Failure, subprocess.CalledProcessError) as failure:
            done = Kills(kafka, kills)
            done.problem = f"the nodes did not start: {failure}"
        progress.clear()
        table.add_kills(done)
    if cluster:
        cluster.close()


def parsed():
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seconds", type=int, default=1500, help="begin no row and no kill after so many seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", help="these only, separated by commas; none for no row")
    parser.add_argument("--log", choices=("embedded", "kafka", "both"), default="both")
    parser.add_argument("--kills", type=int, default=0, help="and so many kills, shared by the two logs")
    parser.add_argument("--quick", action="store_true", help="the rows of CI, with short waits")
    parser.add_argument("--report", help="write the page to this file; docs/reliability.md also has its summary in the README")
    arguments = parser.parse_args()
    arguments.given = sys.argv[1:]
    arguments.deadline = time.monotonic() + arguments.seconds
    if arguments.rows == "none":
        arguments.chosen = []
    else:
        arguments.chosen = arguments.rows.split(",") if arguments.rows else QUICK if arguments.quick else [*KAFKA, *EMBEDDED]
    unknown = [name for name in arguments.chosen if name not in KAFKA and name not in EMBEDDED]
    if unknown:
        parser.error(f"unknown rows {unknown}; there are {', '.join([*KAFKA, *EMBEDDED])}")
    return arguments


def main():
    arguments = parsed()
    order = random.Random(arguments.seed)
    table, plans = Table(), []
    logs = [kafka for kafka in (True, False) if arguments.log in ("both", "kafka" if kafka else "embedded")]
    for number, kafka in enumerate(logs):
        names = [name for name in arguments.chosen if name in (KAFKA if kafka else EMBEDDED)]
        order.shuffle(names)
        # What all the others led to is folded from zero.
        names.sort(key=lambda name: name in LAST)
        kills = (arguments.kills + number) // len(logs)
        if names or kills:
            plans.append((kafka, names, kills))
            print(f"{'Apache Kafka' if kafka else 'embedded log'}, seed {arguments.seed}: {', '.join(names)}{f', {kills} kills' if kills else ''}", flush=True)
    progress = Progress(sum(len(names) + kills for _, names, kills in plans))
    for kafka, names, kills in plans:
        with Workspace() as space:
            rows_on(kafka, names, kills, space, arguments, table, progress)
    progress.clear()
    if arguments.report:
        table.write(arguments)
    print(table.summary())
    print(f"{table.count - table.failed - table.skipped} of {table.count} as they should be, {table.skipped} not run")
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main())
