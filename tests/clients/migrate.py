"""An embedded log moved to Apache Kafka by `tol migrate`: interrupted, gone on with, and the same digests. Started by tests/clients/run --migrate."""

import json
import os
import subprocess
import sys
import time

from support import ROOT, PATIENCE_S, Steps, Workspace, binary, cdnow, check, compare, eventually, recount

PROJECTIONS = ("customers", "revenue", "deployments")


class Move:
    def __init__(self, space, file, orders):
        self.file, self.orders, self.folder = file, orders, space.folder
        self.broker = space.broker()
        self.node = space.node()
        self.digests, self.positions = {}, None

    def fill(self):
        self.node.start()
        answer = self.imported()
        check(answer["accepted"] == len(self.orders), f"tol import says {answer}")
        self.node.wait_for_orders(len(self.orders))
        self.digests = {name: self.node.digest(name) for name in PROJECTIONS}
        self.positions = self.log_positions()
        refused = self.migrate()
        check(refused.returncode == 1 and "in use" in refused.stderr, f"not under a running node: {refused.stderr}")
        self.node.stop()
        return f"{answer['accepted']} facts"

    def imported(self):
        environment = {**os.environ, "XDG_STATE_HOME": str(self.folder / "state")}
        command = [binary(), "--url", self.node.url, "--output", "json", "import", self.file, "--mapping", ROOT / "config" / "imports" / "cdnow.toml"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=environment)
        check(run.returncode == 0, f"tol import ended with {run.returncode}: {run.stderr.strip()[:400]}")
        return json.loads(run.stdout)

    def log_positions(self):
        """Where the facts of some customers lie."""
        def of(customer):
            items = self.node.get("/events", subject=f"customer/{customer}", limit=500)["items"]
            return [(item["id"], item["logposition"]) for item in items]

        customers = sorted({order.customer for order in self.orders})[:50]
        eventually("the index has them", lambda: all(of(customer) for customer in customers))
        return {customer: of(customer) for customer in customers}

    def command(self):
        return [binary(), "--output", "json", "migrate", "--from", self.node.data, "--to-kafka", self.broker.address]

    def migrate(self):
        return subprocess.run(self.command(), capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    def interrupted(self):
        moving = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        there = 0
        while moving.poll() is None and there < len(self.orders) // 10:
            there = self.facts_there()
            time.sleep(0.02)
        ended = moving.poll()
        moving.kill()
        moving.wait()
        return f"killed when {there} facts were there" if ended is None else "it was done before it could be killed"

    def facts_there(self):
        """Facts about customers in Kafka."""
        from confluent_kafka import Consumer, KafkaException, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.broker.address, "group.id": "tests", "enable.auto.commit": False})
        try:
            partitions = consumer.list_topics("facts.customer", timeout=10).topics["facts.customer"].partitions
            return sum(consumer.get_watermark_offsets(TopicPartition("facts.customer", number), timeout=10)[1] for number in partitions)
        except KafkaException:
            return 0
        finally:
            consumer.close()

    def gone_on(self):
        run = self.migrate()
        check(run.returncode == 0, f"tol migrate ended with {run.returncode}: {run.stderr.strip()[:600]}")
        answer = json.loads(run.stdout)
        again = json.loads(self.migrate().stdout)
        check((again["found"], again["appended"]) == (answer["records"], 0), f"moved again: {again}")
        return f"{answer['records']} records: {answer['found']} were there, {answer['appended']} appended"

    def on_kafka(self):
        self.node.kafka = self.broker.address
        self.node.start()
        self.node.wait_for_orders(len(self.orders))
        eventually("the same digests", lambda: {name: self.node.digest(name) for name in PROJECTIONS} == self.digests)
        compare(self.node.customers(), recount(self.orders))
        check(self.log_positions() == self.positions, "facts lie at other positions")
        return f"digest {self.digests['customers'][:16]}"

    def known(self):
        answer = self.imported()
        check((answer["accepted"], answer["duplicates"]) == (0, len(self.orders)), f"tol import says {answer}")

    def refused(self):
        self.node.stop()
        run = self.migrate()
        check(run.returncode == 1 and "positions would differ" in run.stderr, f"moved into a log that has gone on: {run.returncode} {run.stderr}")
        return run.stderr.strip().splitlines()[-1][:120]


def main():
    steps = Steps()
    with Workspace() as space:
        file, orders = cdnow(space.folder)
        move = Move(space, file, orders)
        _ = (
            steps.run("a node with the embedded log takes all orders", move.fill)
            and steps.run("moving them is killed", move.interrupted)
            and steps.run("moving goes on, and again finds everything there", move.gone_on)
            and steps.run("the node on Kafka: digests, recount and positions are the same", move.on_kafka)
            and steps.run("imported again, every fact is known", move.known)
            and steps.run("into a log that has gone on nothing is moved", move.refused)
        )
        if steps.exit_code():
            print(f"the node's log ends:\n{move.node.tail()}", file=sys.stderr)
            sys.exit(1)


main()
