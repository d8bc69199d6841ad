"""Publishers, queries and probes, and the count of what became of the facts."""

import random
import threading
import time
from collections import Counter, defaultdict
from urllib.parse import quote

from cluster import PARTITIONS, check
from flags import ANSWERS, Flags

BATCH = 20
CUSTOMERS = 400
SOURCE = "/chaos"


def order(row, number, customer):
    return {
        "specversion": "1.0",
        "id": f"{row}-{number}",
        "source": SOURCE,
        "type": "commerce.order_placed.v1",
        "subject": f"customer/{customer}",
        "time": "2026-01-05T10:00:00Z",
        "correlationid": row,
        "datacontenttype": "application/json",
        "data": {"order_id": f"{row}-{number}", "customer_id": str(customer), "total": {"minor": 100, "currency": "USD"}},
    }


class Load:
    """Publishers that send a batch again, to any node, until it is acknowledged; readers that ask for rows and flags all the while."""

    def __init__(self, cluster, row, seed, publishers=3, pause_s=0.02):
        self.cluster, self.row, self.pause_s = cluster, row, pause_s
        self.lock, self.ending = threading.Lock(), threading.Event()
        self.sent = self.acknowledged = self.refused = self.queries = self.unanswered = 0
        self.acknowledged_ids = set()
        self.problems = Counter()
        self.threads = [threading.Thread(target=self.publish, args=(random.Random(f"{seed} {number}"), number), daemon=True) for number in range(publishers)]
        self.flags = Flags(self)
        others = {"query": self.query, "flags": self.flags.write, "evaluate": self.flags.read}
        self.threads += [threading.Thread(target=target, args=(random.Random(f"{seed} {name}"),), daemon=True) for name, target in others.items()]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self.ending.set()
        if kind is None:
            for thread in self.threads:
                thread.join(timeout=120)
                check(not thread.is_alive(), f"a publisher of {self.row} could not get its last batch acknowledged in 120 s: {self.problems.most_common(3)}")

    def publish(self, source, publisher):
        number = 0
        while not self.ending.is_set():
            batch = [order(self.row, f"{publisher}-{number + offset}", source.randrange(CUSTOMERS)) for offset in range(BATCH)]
            number += BATCH
            if not self.offer_until_taken(source, batch):
                return
            time.sleep(self.pause_s)

    def offer_until_taken(self, source, batch):
        """What was begun is brought to its end, so that every fact sent is one acknowledged; whether it was."""
        with self.lock:
            self.sent += len(batch)
        until = None
        while not self.offer(source, batch):
            if self.ending.is_set():
                until = until or time.monotonic() + 90
                if time.monotonic() > until:
                    return False
            time.sleep(0.05)
        return True

    def offer(self, source, batch):
        nodes = self.cluster.alive()
        if not nodes:
            return False
        status, answer = source.choice(nodes).publish(batch)
        with self.lock:
            if status == 200:
                check(answer["accepted"] + answer["duplicates"] == len(batch), f"{len(batch)} were sent, the node says {answer}")
                self.acknowledged += len(batch)
                self.acknowledged_ids.update(fact["id"] for fact in batch)
                return True
            self.refused += 1
            self.problems[f"{status} {answer.get('detail', answer)[:120] if isinstance(answer, dict) else str(answer)[:60]}"] += 1
            return False

    def query(self, source):
        while not self.ending.is_set():
            for node in self.cluster.alive():
                status, answer = node.send("GET", f"/projections/customers/{source.randrange(CUSTOMERS)}", timeout=5)
                if status == 503 and answer["type"].endswith("/not-ready"):
                    continue  # it is starting, and /readyz says so
                with self.lock:
                    self.queries += 1
                    self.unanswered += status not in (200, 404)
            time.sleep(0.02)


class Probe:
    """How long until every partition acknowledges a fact again."""

    acknowledged = defaultdict(set)  # ids, of each row
    customers = {}  # of each cluster, a customer in each partition

    def __init__(self, cluster, row, patience_s=90):
        self.places = self.customers_of(cluster)
        self.cluster, self.row, self.patience_s = cluster, row, patience_s
        self.started = time.monotonic()
        self.took = {}
        self.count = 0

    @classmethod
    def acknowledged_of(cls, row):
        """Ids of the row's probes that were acknowledged."""
        return cls.acknowledged[row]

    @classmethod
    def customers_of(cls, cluster):
        """A customer in each partition: the node says where a fact came to lie."""
        found = cls.customers.setdefault(id(cluster), {})
        number = 0
        while len(found) < PARTITIONS:
            customer, number = f"probe-{number}", number + 1
            status, answer = cluster.alive()[0].publish([order("places", customer, customer)])
            check(status == 200, f"a probe was answered {status}: {answer}")
            found.setdefault(next(iter(answer["positions"])), customer)
        return list(found.values())

    def partition(self, place, number):
        attempt = 0
        while time.monotonic() - self.started < self.patience_s:
            nodes = self.cluster.alive()
            if nodes:
                fact = order(self.row, f"probe-{self.started}-{number}", place)
                status, answer = nodes[attempt % len(nodes)].publish([fact], timeout=4)
                attempt += 1
                if status == 200:
                    self.acknowledged[self.row].add(fact["id"])
                    self.took[place] = time.monotonic() - self.started
                    return
            time.sleep(0.02)

    def all(self):
        """Seconds from the probe's making to the last partition's acknowledgement."""
        threads = [threading.Thread(target=self.partition, args=(place, number), daemon=True) for number, place in enumerate(self.places)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check(len(self.took) == len(self.places), f"{len(self.places) - len(self.took)} of {len(self.places)} probes were not acknowledged within {self.patience_s} s")
        self.count = len(self.places)
        return max(self.took.values())


def found(node, row):
    """Ids of the row's facts in the log, with how often each is there; and of its requests about flags, how often each was answered."""
    ids, answered, cursor, until = Counter(), Counter(), "", time.monotonic() + 30
    while True:
        status, page = node.send("GET", f"/events?correlation={quote(row)}&limit=500{cursor}", timeout=120)
        if status == 503 and time.monotonic() < until:
            time.sleep(0.2)  # it opens its store anew; the answer says to ask again
            continue
        check(status == 200, f"GET /events answered {status}: {page}")
        ids.update(item["id"] for item in page["items"] if item["source"] == SOURCE)
        answered.update(item.get("causationid") for item in page["items"] if item["type"] in ANSWERS)
        if not page.get("next_cursor"):
            return ids, answered
        cursor = "&cursor=" + quote(page["next_cursor"], safe="")
