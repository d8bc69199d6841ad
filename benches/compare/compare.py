"""The comparison with other systems; see `run`."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import appending
import growing
import processing
import report
import restoring
from harness import ROOT, Failure, facts, say, throwaway

PARTS = ("processing", "restore", "append", "rebuild", "growth")


def rebuild(folder, events):
    """The load program's own table: a rebuild while queries run, and the bare reading of the same log."""
    results = folder / "rebuild.md"
    done = subprocess.run([ROOT / "scripts/bench", "rebuild", "--events", str(events), "--results", results], capture_output=True, text=True, timeout=400)
    if done.returncode != 0:
        raise Failure(f"scripts/bench rebuild: {done.stderr[-1500:]}")
    rows = [line for line in results.read_text().splitlines() if line.startswith("|")]
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(prog="run")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--readme", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    parts = options.only.split(",") if options.only else (["processing", "restore"] if options.quick else list(PARTS))
    results = {"facts": facts()}
    with throwaway() as name:
        folder = Path(name)
        small = {"records": 20_000, "keys": 1_000, "bytes": 100, "partitions": 4}
        full = {"records": 1_000_000, "keys": 100_000, "bytes": 100, "partitions": 4}
        if "processing" in parts:
            say("count and sum per key")
            if options.quick:
                results["processing"] = processing.compare(folder / "processing", small, ["kafka-streams", "us"], 1)
            else:
                results["processing"] = processing.compare(folder / "processing", full, ["kafka-streams", "us"], options.runs)
                # A tenth of the others' speed: once is enough of it.
                results["processing"]["contestants"] |= processing.compare(folder / "quixstreams", full, ["quixstreams"], 1)["contestants"]
        if "restore" in parts:
            say("restore")
            results["restore"] = restoring.compare(folder / "restore", small if options.quick else full, 1 if options.quick else options.runs)
        if "append" in parts:
            say("append")
            results["append"] = appending.compare(folder / "append", 0.5 if options.quick else 3, 20_000 if options.quick else 1_000_000)
        if "rebuild" in parts:
            say("rebuild")
            results["rebuild"] = rebuild(folder, 100_000 if options.quick else 2_000_000)
        if "growth" in parts:
            say("growth")
            results["growth"] = growing.compare(folder / "growth", 100_000 if options.quick else 10_000_000, 20_000 if options.quick else 200_000)
    text = report.markdown(results)
    if options.report:
        options.report.write_text(text)
        options.report.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
        if "growth" in results:
            options.report.with_name(options.report.stem + "-growth.svg").write_text(report.svg(results["growth"]))
    else:
        print(text)
    if options.readme:
        report.write_readme(results)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        say(f"FAILED: {failure}")
        sys.exit(1)
