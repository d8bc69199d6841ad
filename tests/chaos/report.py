"""What a run of scripts/chaos found: lines on the terminal, the page docs/reliability.md, and the summary in the README."""

import math
import os
import re
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

from support import ROOT, binary

BEGIN, END = "<!-- scripts/chaos: begin -->", "<!-- scripts/chaos: end -->"
EMBEDDED_P99_S, TAKEOVER_P99_S = 5.0, 15.0
LOGS = {True: "Three nodes on one Apache Kafka", False: "One node on the embedded log"}
EXPLAINED = """\
Written by `scripts/chaos --kills 100 --report docs/reliability.md`, which does these things to real nodes, a real Apache Kafka and a real disk while publishers and readers go on.

- A publisher sends a batch again, to any node, with the same ids, until it is acknowledged. **Recovery** is the time from the fault until every partition acknowledges a fact again.
- **Found**, **lost** and **twice** count the row's facts in the log after everything has settled, by id.
- **Digests** are those of the customers, revenue and flags projections and of every system's states: on all nodes of a cluster, one of which folds everything from zero in the last row; on a single
  node the projections' as served and after a rebuild from the log, and the systems' before and after all is folded from zero.
- **Flags**: a writer changes and kills flags, a reader asks every node for all of them by OFREP. A process that has served flags once must not refuse while it runs, also while the broker is away
  (then it says that they are the last known), and never serves an older value after a newer one. After all has settled every node serves the last change that was acknowledged, and each request was answered by one event.
- **Queries refused** count those to a node that was down or starting, too: nobody chose another node for them."""


def percentile(values, share):
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


class Kills:
    """Kills in a row on one log."""

    def __init__(self, kafka, wanted):
        self.kafka, self.wanted, self.times = kafka, wanted, []
        self.acknowledged = self.found = self.lost = self.twice = 0
        self.digests = self.late = ""
        self.problem = self.flags = None

    def target(self):
        return TAKEOVER_P99_S if self.kafka else EMBEDDED_P99_S

    def name(self):
        return "takeover by another node, Apache Kafka" if self.kafka else "restart of the node, embedded log"

    def percentiles(self):
        if not self.times:
            return "", "", ""
        return tuple(f"{value:.2f} s" for value in (percentile(self.times, 0.5), percentile(self.times, 0.99), max(self.times)))

    def ok(self):
        whole = self.problem is None and len(self.times) == self.wanted and self.digests == "equal"
        return whole and self.lost == 0 and self.twice == 0 and percentile(self.times, 0.99) < self.target()

    def cells(self):
        p50, p99, worst = self.percentiles()
        return (self.name(), f"{len(self.times)} of {self.wanted}", p50, p99, f"< {self.target():.0f} s", worst, self.acknowledged, self.found, self.lost, self.twice, self.digests, self.flags and self.flags.cell())


class Table:
    """The rows so far."""

    HEADER = ("fault", "recovery", "acknowledged", "found", "lost", "twice", "digests", "queries refused", "flags", "remarks")
    KILLS = ("", "kills", "recovery p50", "p99", "target", "worst", "acknowledged", "found", "lost", "twice", "digests", "flags")

    def __init__(self):
        self.rows, self.kills = {True: [], False: []}, []
        self.failed = self.count = self.skipped = 0
        self.acknowledged = self.lost = self.twice = 0
        self.flags_asked = self.flags_refused = 0
        self.started = time.monotonic()

    def add(self, kafka, name, row):
        self.count += 1
        self.failed += not row.ok
        self.skipped += row.skipped
        self.acknowledged += row.acknowledged or 0
        self.twice += row.twice or 0
        self.lost += 0 if row.loses else row.lost or 0
        self.add_flags(row.flags)
        cells = row.cells()
        self.rows[kafka].append(cells if row.ok else (cells[0], *cells[1:-1], f"**not as it should be** {cells[-1]}"))
        self.say(row.ok, name, self.HEADER[1:], cells[1:], row.seconds)

    def add_kills(self, kills):
        self.count += 1
        self.failed += not kills.ok()
        self.acknowledged += kills.acknowledged
        self.lost += kills.lost
        self.twice += kills.twice
        self.add_flags(kills.flags)
        self.kills.append(kills)
        self.say(kills.ok(), "kills", self.KILLS[1:], kills.cells()[1:], 0)
        for note in (kills.problem, kills.late):
            if note:
                print(f"        {note}", flush=True)

    def add_flags(self, flags):
        if flags:
            self.flags_asked += flags.asked
            self.flags_refused += flags.refused

    @staticmethod
    def say(ok, name, titles, cells, seconds):
        took = f"{seconds:5.0f}s " if seconds else ""
        print(f"{'ok' if ok else 'FAILED':7} {took}{name:22} " + "  ".join(f"{title} {cell}" for title, cell in zip(titles, cells) if cell not in ("", None)), flush=True)

    def summary(self):
        """What the targets are, and what became of them."""
        good = self.count - self.failed - self.skipped
        lines = ["| | measured | target |", "|---|---|---|"]
        lines.append(f"| acknowledged facts lost | {self.lost} of {self.acknowledged:,} | 0 |")
        lines.append(f"| facts twice | {self.twice} of {self.acknowledged:,} | 0 |")
        lines.append(f"| flags refused by a node that runs and has served them | {self.flags_refused} of {self.flags_asked:,} | 0 |")
        for kills in self.kills:
            p50, p99, worst = kills.percentiles()
            lines.append(f"| {kills.name()}, {len(kills.times)} times `kill -9` | p50 {p50}, p99 {p99}, worst {worst} | p99 < {kills.target():.0f} s |")
        lines.append(f"| faults that end as they should | {good} of {self.count - self.skipped}" + (f" ({self.skipped} not possible here)" if self.skipped else "") + " | all |")
        return "\n".join(lines)

    def measured(self, arguments):
        return (
            f"{datetime.now(timezone.utc):%Y-%m-%d}, commit {commit()}, {machine()}, {versions()}, seed {arguments.seed}, "
            f"`scripts/chaos {' '.join(arguments.given)}`, {(time.monotonic() - self.started) / 60:.0f} minutes"
        )

    def page(self, arguments):
        parts = ["# Reliability", EXPLAINED, f"Measured: {self.measured(arguments)}.", self.summary()]
        for kafka, rows in self.rows.items():
            if rows:
                parts += [f"## {LOGS[kafka]}", markdown(self.HEADER, rows)]
        if self.kills:
            parts += ["## Kills in a row", "`kill -9` of a node under load, again and again; the next one comes when every node is ready and owns partitions again."]
            parts.append(markdown(self.KILLS, [kills.cells() for kills in self.kills]))
            parts += [note for kills in self.kills for note in (kills.problem, kills.late) if note]
        return "\n\n".join(parts) + "\n"

    def write(self, arguments):
        page = Path(arguments.report)
        page.write_text(self.page(arguments), encoding="utf-8")
        readme = Path(ROOT) / "README.md"
        text = readme.read_text(encoding="utf-8")
        if page.resolve() == (Path(ROOT) / "docs" / "reliability.md").resolve() and BEGIN in text:
            before, rest = text.split(BEGIN, 1)
            after = rest.split(END, 1)[1]
            readme.write_text(f"{before}{BEGIN}\n{self.summary()}\n\nMeasured: {self.measured(arguments)}.\n{END}{after}", encoding="utf-8")


def markdown(header, rows):
    clean = [[str("" if cell is None else cell).replace("|", "/").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *clean])


def commit():
    def git(*command):
        return subprocess.run(["git", "-C", ROOT, *command], capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/reliability.md", ":!README.md")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def machine():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "unknown processor")
    return f"{os.cpu_count()} cores ({model}), {memory} GB, {os.uname().sysname} {os.uname().release}"


def versions():
    tol = subprocess.run([binary(), "--version"], capture_output=True, text=True, check=False).stdout.strip()
    kafka = re.search(r"<kafka.version>(.*)</kafka.version>", (Path(ROOT) / "scripts/kafka/pom.xml").read_text())
    lock = (Path(ROOT) / "Cargo.lock").read_text()

    def below(crate):
        found = re.search(rf'name = "{crate}"\nversion = "[^"+]*\+([^"]*)"', lock)
        return found.group(1) if found else "unknown"

    return f"{tol}, Apache Kafka {kafka.group(1)}, librdkafka {below('rdkafka-sys')}, RocksDB {below('librocksdb-sys')}"


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
