"""How the cost of an event grows with the number of events, keys, events of a subject, systems and partitions; on the embedded log."""

import shutil

from harness import US, call, say


def one(folder, name, records, marks=(), **workload):
    data = folder / "data"
    flags = [part for key, value in workload.items() for part in ([f"--{key}"] if value is True else [f"--{key}", value])]
    try:
        grown = call([US, "growth", "--data", data, "--records", records, "--marks", ",".join(map(str, marks or [records])), *flags], folder / "growth.log", 900)
    finally:
        shutil.rmtree(data, ignore_errors=True)
    for append, process in zip(grown["append"], grown["process"]):
        say(f"  {name}, {append['events']:,} events: append {append['us']:.1f} us, process {process['us']:.1f} us an event")
    return grown


def compare(folder, most, records):
    """Series of (what, points), each point with the cost of an event in microseconds."""
    folder.mkdir(parents=True)
    series = {}
    marks = [count for count in (100_000, 1_000_000, 10_000_000) if count <= most]
    grown = one(folder, "events", most, marks, keys=10_000)
    series["events"] = [{"at": append["events"], "append_us": append["us"], "process_us": process["us"]} for append, process in zip(grown["append"], grown["process"])]

    def sweep(what, values, arguments):
        series[what] = []
        for value in values:
            grown = one(folder, f"{value:,} {what}", **arguments(value))
            series[what].append({"at": value, "append_us": grown["append"][0]["us"], "process_us": grown["process"][0]["us"]})

    sweep("keys", (1_000, 10_000, 100_000, 1_000_000), lambda keys: {"records": max(records, keys), "keys": keys})
    # One partition, as a single subject has only one.
    sweep("events of a subject", (1, 100, 100_000), lambda each: {"records": 100_000, "keys": 100_000 // each, "partitions": 1, "even": True})
    sweep("systems", (1, 2, 4, 8, 17), lambda systems: {"records": 60_000, "systems": systems})
    sweep("partitions", (1, 2, 4, 8, 16, 32), lambda partitions: {"records": records, "partitions": partitions})
    return series
