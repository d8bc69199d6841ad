"""Nodes and a broker that are made to suffer."""

import http.client
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "clients"))
from support import Broker, Failure, Node, binary, check, eventually, free_port  # noqa: E402

PARTITIONS = 8
PROJECTIONS = ("customers", "revenue", "flags")


class Member(Node):
    """A node of a cluster, or the one on the embedded log."""

    def __init__(self, folder, kafka=None, name="node", environment=None):
        super().__init__(folder, kafka=kafka, name=name)
        self.name, self.environment, self.stopped = name, environment or {}, False

    def start(self, wait=True):
        command = [binary(), "run", "--data", self.data, "--listen", f"127.0.0.1:{self.port}", "--set", f"node.name={self.name}", "--set", f"log.partitions={PARTITIONS}"]
        command += ["--kafka", self.kafka] if self.kafka else []
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **self.environment})
        if wait:
            self.wait_ready()

    def start_anywhere(self):
        """For the first time: on another port if somebody took this one meanwhile."""
        for _ in range(3):
            self.start(wait=False)
            try:
                return self.wait_ready()
            except Failure:
                if self.runs() or "in use" not in self.tail():
                    raise
                self.port = free_port()
                self.url = f"http://127.0.0.1:{self.port}"
        raise Failure(f"{self.name} found no port:\n{self.tail()}")

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def answers(self):
        """Whether clients should use it."""
        return self.runs() and not self.stopped

    def freeze(self, frozen):
        self.process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)
        self.stopped = frozen

    def stop(self):
        if self.stopped and self.runs():
            self.freeze(False)
        # From here on it may turn clients away.
        self.stopped = True
        super().stop()
        self.stopped = False

    def send(self, method, path, body=None, content_type="application/json", timeout=15):
        """Status and JSON; (None, reason) when nobody answers."""
        return self.exchange(method, path, body, content_type, timeout)[:2]

    def exchange(self, method, path, body=None, content_type="application/json", timeout=15):
        """Status, JSON and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, {"content-type": content_type} if body is not None else {})
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text or b"null"), answer.headers
        except (OSError, http.client.HTTPException, ValueError) as error:
            return None, str(error), {}
        finally:
            connection.close()

    def publish(self, events, timeout=15):
        return self.send("POST", "/events", json.dumps(events).encode(), "application/cloudevents-batch+json", timeout)

    def owned(self):
        """Partitions whose facts it takes."""
        status, answer = self.send("GET", "/systems/tree-of-life-system", timeout=5)
        if status != 200:
            return set()
        return {partition["partition"] for partition in answer["partitions"] if partition["phase"] == "active"}

    def said(self, since, words):
        """Lines of its log since a size, with any of these words."""
        with open(self.log, "rb") as log:
            log.seek(since)
            lines = log.read().decode(errors="replace").splitlines()
        return [line for line in lines if any(word in line.lower() for word in words)]


class ChaosBroker(Broker):
    """Apache Kafka that can be frozen."""

    def freeze(self, frozen):
        os.kill(int((self.folder / "pid").read_text()), signal.SIGSTOP if frozen else signal.SIGCONT)


class Cluster:
    """Nodes on one Kafka, or one node on the embedded log."""

    def __init__(self, space, nodes, kafka=True, environment=None, folder=None):
        self.space, self.folder = space, Path(folder or space.folder)
        self.broker = None
        if kafka:
            self.broker = ChaosBroker(self.folder / "kafka")
            space.closing.append(lambda: self.broker.command("down"))
            self.broker.start()
        self.nodes = []
        for number in range(nodes):
            self.add(f"node-{number}" if kafka else "embedded", environment)
        for node in self.nodes:
            node.start_anywhere()
        self.wait_whole()

    def close(self):
        """Nothing of it runs any more."""
        for node in self.nodes:
            node.stop()
        if self.broker:
            self.broker.command("down")

    def add(self, name, environment=None):
        node = Member(self.folder, kafka=self.broker and self.broker.address, name=name, environment=environment)
        self.space.closing.append(node.stop)
        self.nodes.append(node)
        return node

    def alive(self):
        return [node for node in self.nodes if node.answers()]

    def wait_whole(self, patience_s=90):
        """All nodes are ready, all partitions owned, by each node some."""
        for node in self.alive():
            node.wait_ready()

        last = {}

        def shared():
            last.update({node.name: sorted(node.owned()) for node in self.alive()})
            owned = list(last.values())
            return sum(map(len, owned)) == PARTITIONS and len(set().union(*owned)) == PARTITIONS and all(owned)

        eventually(lambda: f"partitions shared out among the nodes ({last})", shared, patience_s)

    def settle(self, patience_s=120):
        """No system and no projection has anything left to do, on any node."""
        last = {}

        def lags(node):
            behind = {}
            for path in ("/systems", "/projections"):
                status, answer = node.send("GET", path, timeout=30)
                if status != 200:
                    return {path: status}
                behind.update({one["name"]: one["lag"] for one in answer if one["lag"]})
            for name in list(behind):
                status, answer = node.send("GET", f"/systems/{name}", timeout=30)
                if status == 200:
                    behind[name] = (behind[name], {partition["partition"]: (partition["phase"], partition["last_problem"]) for partition in answer["partitions"]})
            return behind

        def settled():
            last.update({node.name: lags(node) for node in self.alive()})
            return not any(last.values())

        eventually(lambda: f"everything decided and folded ({last})", lambda: settled() and settled(), patience_s)

    def digests(self):
        """By projection and by system, the set of the nodes' digests: one, if they agree."""
        found = {}
        for node in self.alive():
            paths = [f"/projections/{projection}" for projection in PROJECTIONS] + [f"/systems/{system}" for system in systems_of(node)]
            for path in paths:
                status, answer = node.send("GET", f"{path}/digest", timeout=60)
                found.setdefault(path, set()).add(answer["digest"] if status == 200 else f"{node.name}: {status} {answer}")
        return found


def systems_of(node):
    """Names of all its systems."""
    status, answer = node.send("GET", "/systems", timeout=30)
    check(status == 200 and answer, f"{node.name} does not say which systems it has: {status} {answer}")
    return [system["name"] for system in answer]


__all__ = ["Cluster", "Member", "PARTITIONS", "PROJECTIONS", "check", "eventually"]
