"""Flags under faults: one writer changes and kills them, a reader asks every node for them all the while, and at the end all nodes serve the last word."""

import json
import time
from collections import Counter

from cluster import check, eventually

FLAGS = 4
ENVIRONMENT = "production"
# Every so many requests about a flag one kills it; the next change releases it.
KILL_EVERY = 5
ANSWERS = ("flags.flag_changed.v1", "flags.flag_killed.v1", "flags.request_refused.v1")


class Flags:
    """A writer and a reader, run by the threads of a Load."""

    def __init__(self, load):
        self.load = load
        self.requests, self.wanted = [], {}
        self.asked = self.refused = self.last_known = 0
        self.problems = Counter()
        # What each process served of each flag, as only a process of its own may know less than the one before it.
        self.seen, self.served = {}, set()

    def keys(self):
        return [f"{self.load.row}-flag-{number}" for number in range(FLAGS)]

    def request(self, key, number):
        """The request, and what its flag serves from then on: a number that only grows, or None while it is killed."""
        who = {"key": key, "by": "chaos", "reason": f"request {number}"}
        event = {"specversion": "1.0", "id": f"{key}-{number}", "source": "/chaos", "subject": f"flag/{key}", "correlationid": self.load.row}
        if number % KILL_EVERY == KILL_EVERY - 1:
            return event | {"type": "flags.kill_requested.v1", "data": who}, None
        definition = {"key": key, "type": "number", "family": "flagd", "variants": {"now": number},
                      "environments": {ENVIRONMENT: {"enabled": True, "otherwise": {"serve": "variant", "name": "now"}}}}
        return event | {"type": "flags.change_requested.v1", "data": who | {"definition": definition}}, number

    def write(self, source):
        number = 0
        while not self.load.ending.is_set():
            for key in self.keys():
                event, value = self.request(key, number)
                if not self.load.offer_until_taken(source, [event]):
                    return
                self.requests.append(event["id"])
                self.wanted[key] = value
                time.sleep(0.02)
            number += 1

    def read(self, _):
        while not self.load.ending.is_set():
            for node in self.load.cluster.alive():
                self.ask(node)
            time.sleep(0.02)

    def ask(self, node):
        process = node.process
        status, answer, headers = evaluated(node)
        if status is None and "reset by peer" in answer:
            # As every HTTP client does: a connection that was reset before an answer is tried once more.
            status, answer, headers = evaluated(node)
        self.asked += 1
        if status == 200:
            self.served.add(process.pid)
            self.last_known += "x-tol-flags-last-known" in headers
            for key, value in values(answer).items():
                before = self.seen.get((process.pid, key), -1)
                if value is not None:
                    self.seen[process.pid, key] = value
                    if value < before:
                        self.problems[f"{node.name} served {before} of {key}, and then {value}"] += 1
        elif process.pid in self.served:
            # It has served flags before. Was it killed, frozen or told to stop meanwhile? A process that is being killed refuses before it has ended.
            time.sleep(0.2)
            if node.process is process and node.answers():
                self.refused += 1
                self.problems[f"{node.name} answered {status} {answer}"[:200]] += 1

    def verify(self, answers, complete):
        """Once all has settled: every node serves the last word, every request was answered once, and nobody was refused meanwhile."""
        check(not self.refused and not self.problems, f"flags: {self.refused} of {self.asked} requests refused; {self.problems.most_common(3)}")
        if not complete:
            return
        for node in self.load.cluster.alive():
            last = {}

            def agrees(node=node, last=last):
                status, answer, _ = evaluated(node)
                served = values(answer) if status == 200 else {}
                last.update({key: (served.get(key), value) for key, value in self.wanted.items()})
                return all(mine == value for mine, value in last.values())

            eventually(lambda: f"{node.name} serves the last word (served, wanted): {last}", agrees, 20)
        wrong = {request: answers[request] for request in self.requests if answers[request] != 1}
        check(not wrong, f"flags: {len(wrong)} of {len(self.requests)} requests were not answered once: {dict(list(wrong.items())[:5])}")

    def cell(self):
        told = f", {self.last_known} with the last known" if self.last_known else ""
        return f"{len(self.requests)} changes; {self.refused} of {self.asked} refused{told}"


def evaluated(node):
    """All flags as OFREP has them: status, answer, headers."""
    body = json.dumps({"context": {"targetingKey": "someone"}}).encode()
    return node.exchange("POST", "/compat/ofrep/ofrep/v1/evaluate/flags", body, timeout=5)


def values(answer):
    return {flag["key"]: flag.get("value") for flag in answer["flags"]}
