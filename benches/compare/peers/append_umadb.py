"""Appends to a UmaDB server in a closed loop, and reads everything back: URL WRITERS BATCH BYTES SECONDS SUBJECTS. Prints one JSON line."""

import json
import random
import string
import sys
import threading
import time

import umadb

url, writers, batch, size, seconds, subjects = sys.argv[1], *map(int, sys.argv[2:5]), float(sys.argv[5]), int(sys.argv[6])
random.seed(1)
payloads = [json.dumps({"amount": 1, "note": "".join(random.choices(string.ascii_letters + string.digits, k=max(0, size - 26)))}).encode() for _ in range(512)]
times, counts, failures = [], [0] * writers, []
began = time.monotonic()
count_from, until = began + 0.5, began + 0.5 + seconds


def write(writer):
    try:
        client, number, own = umadb.Client(url), 0, []
        while time.monotonic() < until:
            events = []
            for _ in range(batch):
                events.append(umadb.Event("bench.amount.v1", payloads[(number * 7 + writer) % len(payloads)], [f"customer/{(number * 31 + writer) % subjects}"]))
                number += 1
            sent = time.monotonic()
            client.append(events)
            done = time.monotonic()
            counts[writer] += batch
            if sent >= count_from and done <= until:
                own.append(done - sent)
        times.extend(own)
    except Exception as failure:
        failures.append(failure)


threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if failures:
    raise failures[0]
times.sort()
client, began, read = umadb.Client(url, batch_size=5000), time.monotonic(), 0
response = client.read()
while events := response.next_batch():
    read += len(events)
took = time.monotonic() - began
if read != sum(counts):
    raise SystemExit(f"{read} events read back of {sum(counts)} acknowledged")
at = lambda share: times[min(len(times) - 1, int(len(times) * share))] * 1e3
print(json.dumps({"event": "appended", "rate": len(times) * batch / seconds, "p50_ms": at(0.5), "p99_ms": at(0.99), "requests": len(times), "read_rate": read / took, "read": read}))
