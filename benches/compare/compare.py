"""The comparison with other systems; see `run`."""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import appending
import growing
import processing
import report
import restoring
from harness import Failure, facts, say, throwaway

PARTS = ("processing", "restore", "append", "rebuild", "growth")


def rebuild(folder, events):
    """The load program's own table: a rebuild while queries run, and the bare reading of the same log."""
    results = folder / "rebuild.md"
    done = subprocess.run([os.environ["COMPARE_LOAD"], "rebuild", "--events", str(events), "--results", results], capture_output=True, text=True, timeout=400)
    if done.returncode != 0:
        raise Failure(f"load rebuild: {done.stderr[-1500:]}")
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
    results, failures = {"facts": facts(), "took_s": {}}, []
    with throwaway() as name:
        folder = Path(name)
        small = {"records": 20_000, "keys": 1_000, "bytes": 100, "partitions": 4}
        full = {"records": 1_000_000, "keys": 100_000, "bytes": 100, "partitions": 4}
        def part(name, measure):
            """One part; what fails is reported at the end, and the others are measured nonetheless."""
            if name in parts:
                say(name)
                began = time.monotonic()
                try:
                    results[name] = measure()
                except (Failure, OSError, subprocess.SubprocessError) as failure:
                    say(f"FAILED: {name}: {failure}")
                    failures.append(name)
                results["took_s"][name] = round(time.monotonic() - began)

        def process():
            if options.quick:
                return processing.compare(folder / "processing", small, ["kafka-streams", "us"], 1)
            compared = processing.compare(folder / "processing", full, ["kafka-streams", "us"], options.runs)
            # Beside the main two, once each.
            compared["contestants"] |= processing.compare(folder / "once", full, ["kafka-streams-1s", "quixstreams"], 1)["contestants"]
            return compared

        quick = options.quick
        part("processing", process)
        part("restore", lambda: restoring.compare(folder / "restore", small if quick else full, 1 if quick else options.runs))
        part("append", lambda: appending.compare(folder / "append", 0.5 if quick else 3, 20_000 if quick else 1_000_000))
        part("rebuild", lambda: rebuild(folder, 100_000 if quick else 2_000_000))
        part("growth", lambda: growing.compare(folder / "growth", 100_000 if quick else 10_000_000, 20_000 if quick else 200_000))
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
    if failures:
        raise Failure(f"not measured, or wrong: {', '.join(failures)}")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        say(f"FAILED: {failure}")
        sys.exit(1)
