"""Stateful count and sum per key from one Kafka topic to another, exactly once."""

import sys

import peers
from harness import US, Broker, Failure, Process, call, median, say

GROUP = "count-sum-peer"


def arguments(workload):
    return [part for name, value in workload.items() for part in (f"--{name}", value)]


def one(contestant, workload, folder, keep=False):
    """One contestant on a fresh broker of its own: everyone finds the same."""
    folder.mkdir(parents=True)
    broker = Broker(folder / "kafka")
    try:
        ours = contestant == "us"
        call([US, "prepare", "--bootstrap", broker.bootstrap, *arguments(workload), *(["--facts"] if ours else ["--raw", "input", "--empty", "output"])], folder / "prepare.log")
        broker_before = broker.cpu_seconds()
        data = folder / "data"
        if ours:
            process = Process([US, "process", "--bootstrap", broker.bootstrap, "--data", data, *arguments(workload)], folder / "us.log")
            watcher = process
        else:
            process = Process(peers.command(contestant, broker.bootstrap, GROUP, data, workload), folder / "peer.log")
            watcher = Process([US, "watch", "--bootstrap", broker.bootstrap, "--group", GROUP, "--input", "input", "--output", "output", "--partitions", workload["partitions"]], folder / "watch.log")
        try:
            done = watcher.wait_for(lambda event: event["event"] == "done", 400, None if ours else process)
            cpu = process.cpu_seconds()
        except Failure as failure:
            raise Failure(f"{contestant}: {failure}; {process.tail()}") from failure
        finally:
            broker_used = broker.cpu_seconds() - broker_before
            process.stop()
            watcher.stop()
        checked = call([US, "verify", "--bootstrap", broker.bootstrap, *arguments(workload), *(["--system", "count-sum"] if ours else ["--raw", "output"])], folder / "verify.log")
        steady = (done["done_ms"] - done["first_output_ms"]) / 1e3
        whole = (done["done_ms"] - process.began_ms) / 1e3
        result = {
            "whole_s": whole,
            "start_s": whole - steady,
            "steady_s": steady,
            "rate": workload["records"] / max(steady, 0.001),
            "rate_whole": workload["records"] / whole,
            "cpu_s": cpu,
            "broker_cpu_s": broker_used,
            "outputs": checked["outputs"],
            "keys": checked["keys"],
            "sum": checked["sum"],
        }
        say(f"  {contestant}: {result['rate']:,.0f} records/s ({whole:.1f} s with {whole - steady:.1f} s of start; cpu {cpu} s, broker {broker_used:.1f} s)")
        if keep:
            return result, broker
        return result
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            broker.down()


def compare(folder, workload, contestants, runs):
    """Every contestant `runs` times, in turn; medians. Their outcomes must be the same."""
    results = {contestant: [] for contestant in contestants}
    for turn in range(runs):
        for contestant in contestants:
            results[contestant].append(one(contestant, workload, folder / f"{contestant}-{turn}"))
    outcomes = {(result["outputs"], result["keys"], result["sum"]) for series in results.values() for result in series}
    if len(outcomes) != 1:
        raise Failure(f"the contestants do not agree: {results}")
    middle = {}
    for contestant, series in results.items():
        middle[contestant] = {name: median([result[name] for result in series]) for name in ("whole_s", "start_s", "steady_s", "rate", "rate_whole", "cpu_s", "broker_cpu_s")}
        middle[contestant]["rates"] = [result["rate"] for result in series]
    return {"workload": workload, "runs": runs, "contestants": middle, "raw": results}


if __name__ == "__main__":
    # For trying: processing.py CONTESTANT RECORDS [KEYS]
    from pathlib import Path

    from harness import throwaway

    with throwaway() as name:
        workload = {"records": int(sys.argv[2]), "keys": int((sys.argv[3:] or ["10000"])[0]), "bytes": 100, "partitions": 4}
        print(one(sys.argv[1], workload, Path(name) / "one"))
