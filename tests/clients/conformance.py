"""CDNOW through a node with clients that are not ours. Started by tests/clients/run."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from support import ROOT, SOURCE, PATIENCE_S, Steps, Workspace, binary, cdnow, check, compare, eventually, recount

REQUIRED = ("specversion", "id", "source", "type")
FIRST_HALF = "19970630"


def kcat(address, *arguments, **options):
    run = subprocess.run(["kcat", "-q", "-b", address, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, check=False, **options)
    check(run.returncode == 0, f"kcat ended with {run.returncode}: {run.stderr.strip()[:400]}")
    return run.stdout


class ThroughKafka:
    """Facts go to `inbox`: every other one by kcat in structured mode, the rest by confluent-kafka in binary mode."""

    def __init__(self, space, orders):
        self.orders = orders
        self.broker = space.broker()
        self.node = space.node(kafka=self.broker.address)
        self.lines = space.folder / "structured.jsonl"
        self.barriers = 0

    def publish(self):
        self.structured([{**order.attributes(), "datacontenttype": "application/json", "data": order.data()} for order in self.orders[0::2]])
        self.binary(self.orders[1::2])
        self.barrier()
        return f"{len(self.orders[0::2])} structured by kcat, {len(self.orders[1::2])} binary by confluent-kafka"

    def structured(self, events, *more):
        self.lines.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
        kcat(self.broker.address, "-P", "-t", "inbox", "-H", "content-type=application/cloudevents+json", *more, "-l", str(self.lines))

    def binary(self, orders):
        from confluent_kafka import Producer

        failures = []
        producer = Producer({"bootstrap.servers": self.broker.address})
        for order in orders:
            headers = {f"ce_{name}": value for name, value in order.attributes().items()}
            headers["content-type"] = "application/json"
            # The key is not the subject: a publisher may choose any.
            producer.produce("inbox", json.dumps(order.data()), key=f"key-{order.line}", headers=headers, on_delivery=lambda error, _: error and failures.append(error))
            producer.poll(0)
        check(producer.flush(PATIENCE_S) == 0 and not failures, f"confluent-kafka could not deliver: {failures[:3]}")

    def barrier(self):
        """One more record to each partition of inbox: when the node has admitted them, it has taken all that lies before."""
        self.barriers += 1
        kind = f"test.barrier_{self.barriers}.v1"
        partitions = json.loads(kcat(self.broker.address, "-L", "-J", "-t", "inbox"))["topics"][0]["partitions"]
        for partition in partitions:
            number = partition["partition"]
            event = {"specversion": "1.0", "id": f"{kind}-{number}", "source": "/tests", "type": kind, "subject": f"barrier/{number}", "time": "1997-01-01T00:00:00Z", "data": {}}
            self.structured([event], "-p", str(number))
        eventually("all of inbox is admitted", lambda: len(self.node.get("/events", type=kind, limit=100)["items"]) == len(partitions))

    def read_with_kcat(self, topic):
        """(headers, value) of every record."""
        for line in kcat(self.broker.address, "-C", "-e", "-o", "beginning", "-J", "-t", topic).splitlines():
            record = json.loads(line)
            names = record.get("headers") or []
            yield dict(zip(names[0::2], names[1::2])), record["payload"]

    def read_with_confluent(self, topic):
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.broker.address, "group.id": "tests", "enable.auto.commit": False, "enable.partition.eof": True})
        try:
            partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
            open_partitions = set(partitions)
            while open_partitions:
                message = consumer.poll(30)
                check(message is not None, f"confluent-kafka read nothing from {topic} for 30 s")
                if message.error():
                    check(message.error().name() == "_PARTITION_EOF", str(message.error()))
                    open_partitions.discard(message.partition())
                else:
                    yield message
        finally:
            consumer.close()

    def facts_by_kcat(self):
        ids, records = [], 0
        for headers, _ in self.read_with_kcat("facts.customer"):
            records += 1
            missing = [name for name in REQUIRED if not headers.get(f"ce_{name}")]
            check(not missing, f"a record of facts.customer lacks {missing}: {headers}")
            if headers["ce_source"] == SOURCE:
                check(all(headers.get(f"ce_{name}") for name in ("subject", "time")), f"a fact lost its subject or time: {headers}")
                ids.append(headers["ce_id"])
        self.each_once(ids)
        return f"{records} records, {len(ids)} facts, each once"

    def facts_by_confluent(self):
        ids = []
        for message in self.read_with_confluent("facts.customer"):
            event = self.cloud_event(message)
            if event["source"] == SOURCE:
                ids.append(event["id"])
        self.each_once(ids)
        return f"{len(ids)} facts, each once"

    def decisions_by_confluent(self):
        recognized = []
        for message in self.read_with_confluent("revenue-agent-system.events"):
            event = self.cloud_event(message)
            if event["type"] == "revenue.recognized.v1":
                check(event["source"] == "/systems/revenue-agent-system", f"an event of the revenue agent has source {event['source']}")
                recognized.append((event.data["reference"], event.data["amount"]["minor"]))
        expected = sorted((f"cdnow-{order.line}", order.minor) for order in self.orders if order.minor)
        check(sorted(recognized) == expected, f"{len(recognized)} orders recognised instead of {len(expected)}, or other amounts")
        return f"{len(recognized)} orders recognised, each once"

    def decisions_by_kcat(self):
        number = 0
        for headers, _ in self.read_with_kcat("revenue-agent-system.events"):
            missing = [name for name in REQUIRED if not headers.get(f"ce_{name}")]
            check(not missing, f"a record of the revenue agent lacks {missing}: {headers}")
            number += 1
        return f"{number} records"

    @staticmethod
    def cloud_event(message):
        from cloudevents.v1.kafka import KafkaMessage, from_binary

        headers = dict(message.headers() or [])
        # An event without data is a CloudEvent too; the package's own default would refuse it.
        return from_binary(KafkaMessage(headers=headers, key=message.key(), value=message.value()), data_unmarshaller=lambda value: json.loads(value) if value else None)

    def each_once(self, ids):
        expected = sorted(f"cdnow-{order.line}" for order in self.orders)
        check(sorted(ids) == expected, f"{len(ids)} facts ({len(set(ids))} different) instead of {len(expected)}")

    def further_steps(self, steps):
        steps.run("kcat reads facts.customer as CloudEvents", self.facts_by_kcat)
        steps.run("confluent-kafka and cloudevents read facts.customer", self.facts_by_confluent)
        steps.run("kcat reads revenue-agent-system.events", self.decisions_by_kcat)
        steps.run("confluent-kafka and cloudevents read revenue-agent-system.events", self.decisions_by_confluent)


class ThroughImport:
    """Facts come from `tol import`, into the embedded log."""

    def __init__(self, space, orders, file):
        self.orders, self.file, self.folder = orders, file, space.folder
        self.node = space.node()

    def publish(self):
        mapping = ROOT / "config" / "imports" / "cdnow.toml"
        environment = {**os.environ, "XDG_STATE_HOME": str(self.folder / "state")}
        command = [binary(), "--url", self.node.url, "--output", "json", "import", self.file, "--mapping", mapping]
        run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=environment)
        check(run.returncode == 0, f"tol import ended with {run.returncode}: {run.stderr.strip()[:400]}")
        answer = json.loads(run.stdout)
        check(answer["accepted"] + answer["duplicates"] == len(self.orders), f"tol import says {answer}")
        return f"accepted {answer['accepted']}, duplicates {answer['duplicates']}"

    def further_steps(self, steps):
        pass


def without_caches(node):
    """The log is the only truth: every RocksDB folder is removed while the node is down."""
    before = node.digest()
    node.stop()
    removed = 0
    for current in sorted(Path(node.data).rglob("CURRENT")):
        if current.parent.is_dir():
            shutil.rmtree(current.parent)
            removed += 1
    check(removed > 0, "no RocksDB folder was found")
    node.start()
    eventually("the same digest from the log alone", lambda: node.settled() and node.digest() == before)
    return f"{removed} folders removed"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embedded", action="store_true")
    arguments = parser.parse_args()
    steps = Steps()
    with Workspace() as space:
        file, orders = cdnow(space.folder)
        everyone = recount(orders)
        print(f"{file.name}{' (synthetic)' if file.parent == space.folder else ''}: {len(orders)} purchases by {len(everyone)} customers")
        path = ThroughImport(space, orders, file) if arguments.embedded else ThroughKafka(space, orders)
        node = path.node
        digests = {}

        def customers_equal(label):
            compare(node.customers(), everyone)
            digests[label] = node.digest()
            return f"digest {digests[label][:16]}"

        def same_again():
            path.publish()
            eventually("nothing lags", node.settled)
            check(node.digest() == digests["first"], "the digest changed")
            return customers_equal("again")

        def rebuilt():
            for projection in ("customers", "revenue"):
                before = node.digest(projection)
                node.rebuild(projection)
                check(node.digest(projection) == before, f"the digest of {projection} changed")

        def as_of():
            # The end of that day, so that what happened on it counts.
            compare(node.customers(as_of="1997-06-30T23:59:59Z"), recount(orders, FIRST_HALF))
            compare(node.customers(as_of="1997-06-30"), recount(orders, FIRST_HALF))

        ready = steps.run("the node starts", node.start) and steps.run("publish all orders", path.publish)
        if ready and steps.run("all orders reach the projection", lambda: node.wait_for_orders(len(orders))):
            steps.run("every customer equals the recount to the cent", lambda: customers_equal("first"))
            steps.run("published again, nothing changes", same_again)
            steps.run("rebuilt, the digests are the same", rebuilt)
            steps.run("as of 1997-06-30 equals the recount", as_of)
            path.further_steps(steps)
            steps.run("without its caches the node folds the same from the log", lambda: without_caches(node))
        if steps.exit_code():
            print(f"the node's log ends:\n{node.tail()}", file=sys.stderr)
            sys.exit(1)


main()
