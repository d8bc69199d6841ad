"""The state is restored after its local copy was deleted, with a query every 20 ms from the start of the process on."""

import shutil
import time

import peers
from harness import US, Failure, Process, call, median, say
from processing import GROUP, arguments, one


# Longer than the session of either group: nobody waits for the process before.
PAUSE_S = 7


def kafka_streams(broker, folder, workload, turn):
    data = folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    time.sleep(PAUSE_S)
    process = Process(peers.command("kafka-streams", broker.bootstrap, GROUP, data, workload, query=True), folder / f"restore-{turn}.log")
    try:
        answers = process.wait_for(lambda event: event["event"] == "answers", 200)
        ends = [event for event in process.events if event["event"] == "restore_end"]
        begins = [event["at_ms"] for event in process.events if event["event"] == "restore_start"]
        records = sum(event["records"] for event in ends)
        if len(ends) < workload["partitions"]:
            raise Failure(f"answered after {len(ends)} partitions were restored")
        restoring = (max(event["at_ms"] for event in ends) - min(begins)) / 1e3
        return {"whole_s": (answers["at_ms"] - process.began_ms) / 1e3, "restoring_s": restoring, "records": records,
                "unanswered": answers["refused"], "behind": 0, "answered": 0}
    finally:
        process.stop()


def us(broker, folder, workload, turn):
    data = folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    time.sleep(PAUSE_S)
    process = Process([US, "restore", "--bootstrap", broker.bootstrap, "--data", data, *arguments(workload)], folder / f"restore-{turn}.log")
    try:
        restored = process.wait_for(lambda event: event["event"] == "restored", 200)
        whole = (restored["at_ms"] - process.began_ms) / 1e3
        started = next(event["at_ms"] for event in process.events if event["event"] == "started")
        process.child.wait(60)
        if process.child.returncode != 0:
            raise Failure(process.tail())
        return {"whole_s": whole, "restoring_s": (restored["at_ms"] - started) / 1e3, "records": workload["records"],
                "unanswered": restored["unanswered"], "behind": restored["behind"], "answered": restored["current"]}
    finally:
        process.stop()


def compare(folder, workload, runs):
    results = {}
    for contestant, restore in (("kafka-streams", kafka_streams), ("us", us)):
        _, broker = one(contestant, workload, folder / contestant, keep=True)
        try:
            results[contestant] = [restore(broker, folder / contestant, workload, turn) for turn in range(runs)]
        finally:
            broker.down()
        for result in results[contestant]:
            say(f"  {contestant}: restored {result['records']:,} records in {result['whole_s']:.2f} s, {result['restoring_s']:.2f} s without the start")
    middle = {contestant: {name: median([result[name] for result in series]) for name in series[0]} for contestant, series in results.items()}
    return {"workload": workload, "runs": runs, "contestants": middle, "raw": results}
