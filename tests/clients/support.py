"""What the client tests share: a node and a broker of their own, and CDNOW counted without the node."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import date, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "/import/cdnow"
# 2,357 customers and 6,919 purchases, the size of the real file.
SYNTHETIC_CUSTOMERS, SYNTHETIC_PURCHASES = 2357, 6919
PATIENCE_S = 120
# Two runs at the same time must not draw the same.
PORTS = random.SystemRandom()


class Failure(Exception):
    """A check that did not hold."""


def check(holds, message):
    if not holds:
        raise Failure(message)


def free_port():
    """A port that is free now. Below those that the system gives to outgoing connections: one of these could take it while its process is down."""
    for _ in range(200):
        port = PORTS.randrange(12_000, 32_000)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Failure("no free port between 12000 and 32000")


def eventually(what, probe, patience_s=PATIENCE_S):
    """Calls probe until it returns something true, and returns that."""
    deadline = time.monotonic() + patience_s
    while True:
        found = probe()
        if found:
            return found
        check(time.monotonic() < deadline, f"{what() if callable(what) else what}: not within {patience_s} s")
        time.sleep(0.1)


class Order:
    """One line of CDNOW."""

    def __init__(self, line, customer, day, units, dollars):
        self.line, self.customer, self.day, self.units = line, customer, day, units
        whole, _, cents = dollars.partition(".")
        self.minor = int(whole) * 100 + int(cents.ljust(2, "0"))

    def time(self):
        return f"{self.day[:4]}-{self.day[4:6]}-{self.day[6:]}T00:00:00Z"

    def attributes(self):
        return {
            "specversion": "1.0",
            "id": f"cdnow-{self.line}",
            "source": SOURCE,
            "type": "commerce.order_placed.v1",
            "subject": f"customer/{self.customer}",
            "time": self.time(),
        }

    def data(self):
        return {"order_id": f"cdnow-{self.line}", "customer_id": self.customer, "total": {"minor": self.minor, "currency": "USD"}}


def cdnow(folder):
    """The file and its orders; where the file is absent, a seeded one of the same shape."""
    given = Path(os.environ.get("TOL_DATA") or ROOT.parent / "shared" / "data") / "commerce" / "CDNOW_sample.txt"
    path = given if given.is_file() else synthetic(Path(folder) / "CDNOW_sample.txt")
    orders = []
    for line, text in enumerate(path.read_text(encoding="ascii").splitlines(), start=1):
        customer, _, day, units, dollars = text.split()
        orders.append(Order(line, customer, day, int(units), dollars))
    return path, orders


def synthetic(path):
    source = random.Random(1)
    rows = []
    for index in range(SYNTHETIC_PURCHASES):
        customer = index + 1 if index < SYNTHETIC_CUSTOMERS else 1 + int(source.random() * SYNTHETIC_CUSTOMERS)
        day = date(1997, 1, 1) + timedelta(days=int(source.random() * 540))
        rows.append((customer, day, 1 + int(source.random() * 5), int(source.random() * 20000)))
    rows.sort(key=lambda row: row[:2])
    path.write_text("".join(f" {c:05} {c:04} {d:%Y%m%d} {u:2} {m // 100:4}.{m % 100:02}\n" for c, d, u, m in rows), encoding="ascii")
    return path


def recount(orders, up_to=None):
    """{customer: (orders, minor units, first day, last day)}, up to a day (YYYYMMDD) and including it."""
    counted = {}
    for order in orders:
        if up_to and order.day > up_to:
            continue
        number, minor, first, last = counted.get(order.customer, (0, 0, order.day, order.day))
        counted[order.customer] = (number + 1, minor + order.minor, min(first, order.day), max(last, order.day))
    return counted


class Broker:
    """An Apache Kafka on free ports in a folder of its own."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.draw_ports()

    def draw_ports(self):
        self.port = free_port()
        self.environment = {**os.environ, "KAFKA_DIR": str(self.folder), "KAFKA_PORT": str(self.port), "KAFKA_CONTROLLER_PORT": str(free_port())}
        self.address = f"127.0.0.1:{self.port}"

    def command(self, verb):
        subprocess.run([ROOT / "scripts" / "kafka.sh", verb], env=self.environment, check=True, stdout=subprocess.DEVNULL)

    def start(self):
        """For the first time: another process may take a port between its being found free and its being used, so others are tried."""
        for last in (False, False, True):
            try:
                return self.command("up")
            except subprocess.CalledProcessError:
                log = self.folder / "broker.log"
                if last or "Address already in use" not in (log.read_text(errors="replace") if log.exists() else ""):
                    raise
                shutil.rmtree(self.folder, ignore_errors=True)
                self.draw_ports()


class Node:
    """A `tol run`, and HTTP to it."""

    def __init__(self, folder, kafka=None, name="node", config=None, key=None, settings=()):
        self.data, self.kafka, self.port = Path(folder) / name, kafka, free_port()
        self.config, self.key, self.settings = config, key, settings
        self.log = Path(folder) / f"{name}.log"
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self, wait=True):
        command = [binary(), "run", "--data", self.data, "--listen", f"127.0.0.1:{self.port}"]
        command += ["--kafka", self.kafka] if self.kafka else []
        command += ["--config", self.config] if self.config else []
        command += [part for setting in self.settings for part in ("--set", setting)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            self.wait_ready()

    def wait_ready(self):
        def ready():
            check(self.process.poll() is None, f"the node ended with {self.process.returncode}:\n{self.tail()}")
            try:
                return self.request("GET", "/readyz")[0] == 200
            except OSError:
                return False

        eventually("the node is ready", ready)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.kill()

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])

    def request(self, method, path, body=None, content_type="application/json", **query):
        """Status and answer; an error status is an answer too."""
        target = self.url + path + ("?" + urllib.parse.urlencode(query, doseq=True) if query else "")
        # An empty body, not none: some servers ask a POST for its length.
        body = b"" if body is None and method == "POST" else body
        headers = {"content-type": content_type, **({"x-api-key": self.key} if self.key else {})}
        request = urllib.request.Request(target, data=body, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            return status, json.loads(text or "null")
        except json.JSONDecodeError:
            return status, text.decode(errors="replace")

    def get(self, path, **query):
        status, answer = self.request("GET", path, **query)
        check(status == 200, f"GET {path} answered {status}: {answer}")
        return answer

    def customers(self, **query):
        """All rows of the customers projection, by customer."""
        rows, cursor = {}, None
        while True:
            more = {"limit": 500, **query, **({"cursor": cursor} if cursor else {})}
            status, page = self.request("GET", "/projections/customers", **more)
            if status == 202:
                check(page.get("state") != "failed", f"the as-of failed: {page}")
                time.sleep(0.2)
                continue
            check(status == 200, f"GET /projections/customers answered {status}: {page}")
            for item in page["items"]:
                check(item["key"] not in rows, f"row {item['key']} came twice")
                rows[item["key"]] = item["value"]
            cursor = page.get("next_cursor")
            if not cursor:
                return rows

    def digest(self, projection="customers"):
        return self.get(f"/projections/{projection}/digest")["digest"]

    def settled(self):
        """No system and no projection lags. Asked twice: what a system had just taken may still lead to events that a projection folds."""
        return all(one["lag"] == 0 for path in 2 * ("/systems", "/projections") for one in self.get(path))

    def wait_for_orders(self, number):
        seen = 0

        def there():
            nonlocal seen
            seen = sum(row["orders"] for row in self.customers().values())
            return seen >= number and self.settled()

        eventually(lambda: f"{number} orders in the customers projection, which has {seen}", there)

    def rebuild(self, projection):
        status, answer = self.request("POST", f"/projections/{projection}/rebuild")
        check(status in (200, 202), f"POST rebuild answered {status}: {answer}")

        def done():
            state = self.get(f"/projections/{projection}/rebuild")
            check(state["state"] not in ("failed", "cancelled"), f"the rebuild ended {state}")
            return state["state"] == "done"

        eventually(f"rebuild of {projection}", done)


def compare(rows, expected):
    """Every customer's orders and total, to the cent."""
    check(set(rows) == set(expected), f"{len(rows)} customers instead of {len(expected)}; of one side only: {sorted(set(rows) ^ set(expected))[:5]}")
    for customer, (orders, minor, first, last) in expected.items():
        row = rows[customer]
        spent = [] if minor == 0 and not row["spent"] else [{"minor": minor, "currency": "USD"}]
        found = (row["orders"], row["spent"], days(row["first_order_at"]), days(row["last_order_at"]))
        check(found == (orders, spent, first, last), f"customer {customer}: {found} instead of {(orders, spent, first, last)}")


def days(moment):
    return re.sub(r"-", "", str(moment)[:10])


def binary():
    path = Path(os.environ.get("TOL_BIN") or ROOT / "bin" / "tol")
    check(path.is_file(), f"{path} does not exist; run make build, or set TOL_BIN")
    return path


class Steps:
    """Runs named checks, and prints them as a table."""

    def __init__(self):
        self.rows = []

    def run(self, name, step):
        started = time.monotonic()
        try:
            result, detail = "ok", step() or ""
        except Exception as error:  # whatever a client library throws: the other checks still run
            result, detail = "FAILED", f"{type(error).__name__}: {error}"
        self.rows.append((result, name))
        print(f"{result:7} {time.monotonic() - started:6.1f}s  {name}  {detail}", flush=True)
        return result == "ok"

    def exit_code(self):
        failed = sum(result != "ok" for result, _ in self.rows)
        print(f"{len(self.rows) - failed} of {len(self.rows)} checks passed")
        return 1 if failed else 0


class Workspace:
    """A throw-away folder; removed at the end, and whatever was started is stopped."""

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="tol-clients."))
        self.closing = []
        # A test that is told to end must stop its node and broker too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return self

    def __exit__(self, *_):
        for close in reversed(self.closing):
            try:
                close()
            except (OSError, subprocess.SubprocessError) as error:
                print(f"closing: {error}", file=sys.stderr)
        if os.environ.get("TOL_KEEP"):
            print(f"kept: {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def broker(self):
        broker = Broker(self.folder / "kafka")
        self.closing.append(lambda: broker.command("down"))
        broker.start()
        return broker

    def node(self, **arguments):
        node = Node(self.folder, **arguments)
        self.closing.append(node.stop)
        return node
