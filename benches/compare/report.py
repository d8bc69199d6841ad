"""The tables as Markdown, the main one for the README, and plots of growth as SVG."""

import re

from harness import ROOT
from peers import GUARANTEES

NAMES = {"us": "Tree of Life", "kafka-streams": "Kafka Streams", "kafka-streams-1s": "Kafka Streams, commits every 1 s", "quixstreams": "quixstreams"}
BEGIN, END = "<!-- benches/compare: begin -->", "<!-- benches/compare: end -->"


def table(head, rows):
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join(lines + [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows])


def number(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}"


def versions(facts):
    return {"us": f"commit {facts['commit']}", "kafka-streams": f"{facts['Kafka Streams']}, {facts['java'].split('(')[0].strip()}", "kafka-streams-1s": facts["Kafka Streams"], "quixstreams": f"{facts['quixstreams']}, Python {facts['python']}"}


def processing(result, facts):
    workload, rows = result["workload"], []
    for contestant, middle in result["contestants"].items():
        spread = " / ".join(number(rate) for rate in middle["rates"])
        rows.append((NAMES[contestant], versions(facts)[contestant], number(middle["rate"]), spread, f"{middle['whole_s']:.1f} s", f"{middle['start_s']:.1f} s",
                     f"{middle['cpu_s']:.1f} s", f"{middle['broker_cpu_s']:.1f} s", GUARANTEES[contestant]))
    ours = result["contestants"]["us"]["rate"]
    best = max((middle["rate"], name) for name, middle in result["contestants"].items() if name != "us")
    return [
        "## Stateful count and sum per key, one Kafka topic to another, exactly once",
        f"{workload['records']:,} records of {workload['bytes']} bytes of JSON over {workload['keys']:,} keys, {workload['partitions']} partitions, all there before the contestant starts; "
        f"each input leads to one output with count and sum; {result['runs']} runs each in turn (those with one rate: once), each on a fresh broker; medians, every run's rate beside. "
        "Every output of every run was read back and checked record by record: each key's counts 1, 2, 3, … once and in order, with the right sum.",
        table(("contestant", "version", "records/s", "runs", "from process start to all committed", "of it until the first output", "its CPU", "broker's CPU", "guarantee"), rows),
        f"We are at {ours / best[0]:.2f} times {NAMES[best[1]]}. records/s counts from the first output to the last commit, so the start of the JVM does not count against it; its compiler still warms up in it. "
        "Kafka Streams and quixstreams read raw JSON and write raw JSON; we read admitted facts (CloudEvents in binary mode, about 300 bytes of headers more) and write numbered events with as many, "
        "through the runtime as the node wires it: supervision, owners, claims, RocksDB caches; without HTTP, projections and index. Admission, which made the facts, is not in the time. "
        "Kafka Streams: Processor API, cached RocksDB store, 2 threads, a session of 6 s as ours, all else default. quixstreams: one process, defaults.",
    ]


def restore(result):
    rows = []
    for contestant, middle in result["contestants"].items():
        rows.append((NAMES[contestant], number(middle["records"]), f"{middle['whole_s']:.2f} s", f"{middle['restoring_s']:.2f} s", number(middle["unanswered"]), number(middle["behind"]), number(middle["answered"])))
    return [
        "## The same state restored after its local copy was deleted",
        f"The state of the run above ({result['workload']['keys']:,} keys, {result['workload']['records']:,} records), {result['runs']} times, medians; a query for one key every 20 ms in the same process from its start on. "
        "Ours is done when every owner is active again and has decided every fact; Kafka Streams when its store answers. Kafka Streams restores from its changelog topic (fewer records: its cache writes a key once a commit), we from our events. "
        "Each restart comes 7 s after the process before ended, and both groups have a session of 6 s (the default of Kafka Streams is 45 s), so that nobody waits for a dead member.",
        table(("contestant", "records read", "process start to serving", "restoring alone", "queries refused", "answered with what was folded so far", "answered currently"), rows),
    ]


def append(rows):
    return [
        "## Durable append and reading back",
        "Closed loop: each writer sends its next request when the last is acknowledged; half a second of warm-up, then the time counts. Ours go through admission (deduplicated, numbered, memory of ids on RocksDB), in process; "
        "UmaDB through its gRPC server and its Python client, whose own cost is in the figure. Reading back: everything, decoded, by one reader.",
        table(("who", "durability", "shape", "events/s", "p50 ms", "p99 ms", "read back, events/s"),
              [(row["who"], row["durability"], row["shape"], number(row["rate"]), number(row["p50_ms"], 2), number(row["p99_ms"], 2), number(row["read_rate"])) for row in rows]),
    ]


def growth(series):
    parts = ["## How the cost of an event grows", "Embedded log, synced. Microseconds an event; append and process are measured one after the other. From half of the count to the count; for `events` all in one run. With several systems it is the cost of a fact, which each of them decides."]
    for what, points in series.items():
        parts.append(table((what, "append, µs", "process, µs"), [(number(point["at"]), number(point["append_us"], 1), number(point["process_us"], 1)) for point in points]))
    events = series.get("events", [])
    if len(events) > 1:
        for name in ("append_us", "process_us"):
            values = [point[name] for point in events]
            spread = max(values) / values[0] - 1
            parts.append(f"{name[:-3].capitalize()}: from {events[0]['at']:,} to {events[-1]['at']:,} events at most {spread:+.0%} against the first: {'flat' if spread <= 0.2 else 'not flat'} within 20%.")
    return parts


def rebuild(text):
    return ["## Rebuild of a projection while it serves", "`scripts/bench rebuild`, the same machine and run:", text] if text else []


def markdown(results):
    facts = results["facts"]
    parts = ["# Performance", "Written by `benches/compare/run --report docs/performance.md`; how each is measured is in [benches/compare](../benches/compare/README.md). Raw figures: [performance.json](performance.json).",
             table(("", ""), [(name, value) for name, value in facts.items()])]
    parts += processing(results["processing"], facts) if "processing" in results else []
    parts += restore(results["restore"]) if "restore" in results else []
    parts += append(results["append"]) if "append" in results else []
    parts += rebuild(results.get("rebuild"))
    if "growth" in results:
        parts += growth(results["growth"]) + ["![Growth](performance-growth.svg)"]
    return "\n\n".join(parts) + "\n"


def summary(results):
    """For the README."""
    facts, rows = results["facts"], []
    if "processing" in results:
        for contestant, middle in results["processing"]["contestants"].items():
            rows.append(("count and sum per key, Kafka to Kafka, exactly once", NAMES[contestant], f"{number(middle['rate'])} records/s"))
    if "restore" in results:
        for contestant, middle in results["restore"]["contestants"].items():
            rows.append(("restore of that state, process start to serving", NAMES[contestant], f"{middle['whole_s']:.2f} s, {number(middle['unanswered'])} queries refused"))
    for row in results.get("append", []):
        if row["shape"].startswith("bulk"):
            rows.append((f"append, {row['durability']}", row["who"], f"{number(row['rate'])} events/s, read back {number(row['read_rate'])}/s"))
    return (f"Measured {facts['date']} at {facts['commit']} on {facts['processor']} with {facts['cores'].replace(',', ' cores,', 1)}, by `benches/compare/run`; versions, durability, shapes and how costs grow are in [docs/performance.md](docs/performance.md).\n\n"
            + table(("what", "who", "measured"), rows))


def write_readme(results):
    path = ROOT / "README.md"
    text = path.read_text()
    if BEGIN not in text:
        raise SystemExit(f"README.md has no line {BEGIN}")
    path.write_text(re.sub(re.escape(BEGIN) + ".*" + re.escape(END), lambda _: f"{BEGIN}\n{summary(results)}\n{END}", text, flags=re.S))


def svg(series):
    """One small plot a series: logarithmic across, microseconds up."""
    import math

    width, height, margin = 360, 220, 46
    parts, place = [], 0
    for what, points in series.items():
        left, top = (place % 2) * width, (place // 2) * height
        place += 1
        highest = max(max(point["append_us"], point["process_us"]) for point in points) * 1.15
        low, high = math.log10(points[0]["at"]), math.log10(points[-1]["at"])
        across = lambda at: left + margin + (math.log10(at) - low) / ((high - low) or 1) * (width - 2 * margin)
        up = lambda us: top + height - margin + 10 - us / highest * (height - 2 * margin + 10)
        parts.append(f'<text x="{left + width / 2}" y="{top + 18}" text-anchor="middle" font-weight="bold">{what}</text>')
        parts.append(f'<path d="M{left + margin} {up(highest)}V{up(0)}H{left + width - margin}" fill="none" stroke="#888"/>')
        for share in (0.5, 1):
            parts.append(f'<text x="{left + margin - 4}" y="{up(highest * share) + 4}" text-anchor="end">{highest * share:.0f}</text>')
        for point in points:
            parts.append(f'<text x="{across(point["at"])}" y="{up(0) + 14}" text-anchor="middle">{point["at"]:,}</text>')
        for name, colour in (("append_us", "#1f77b4"), ("process_us", "#d62728")):
            line = " ".join(f"{across(point['at']):.1f},{up(point[name]):.1f}" for point in points)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
    rows = (place + 1) // 2
    key = f'<text x="{width}" y="{rows * height + 16}" text-anchor="middle">µs an event: <tspan fill="#1f77b4">append</tspan>, <tspan fill="#d62728">process</tspan></text>'
    size = f'width="{2 * width}" height="{rows * height + 28}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="10"><rect {size} fill="white"/>{"".join(parts)}{key}</svg>\n'
