"""What all parts of the comparison share: the broker, processes that print JSON lines, and the machine's facts."""

import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
US = os.environ["COMPARE_US"]
JARS, CLASSES, VENV = (Path(os.environ[f"COMPARE_{name}"]) for name in ("JARS", "CLASSES", "VENV"))
# Both halves are given: a broker in quick-start mode would hold everyone back alike, but not as in production.
BROKER_JAVA = "-Xms512m -Xmx1g -XX:+UseSerialGC -XX:ActiveProcessorCount=2"
PEER_JAVA = ["-Xms256m", "-Xmx1g", "-XX:+UseSerialGC", "-XX:ActiveProcessorCount=2"]


# Everything is stopped on the way out, also when somebody ends us.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class Failure(Exception):
    """A contestant that did not end, or whose result is wrong."""


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Process:
    """A contestant: its JSON lines as they come, its CPU time at the end."""

    def __init__(self, command, log, **options):
        self.began_ms = int(time.time() * 1000)
        self.log = log
        self.output = open(log, "wb")
        self.child = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=self.output, **options)
        self.events = []
        self.arrived = threading.Condition()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.child.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                self.output.write(line)
                continue
            with self.arrived:
                self.events.append(event)
                self.arrived.notify_all()

    def wait_for(self, wanted, seconds, other=None):
        """The first event for which `wanted` holds; `other` is a process that must not end before."""
        until, seen = time.monotonic() + seconds, 0
        while True:
            with self.arrived:
                for event in self.events[seen:]:
                    if wanted(event):
                        return event
                seen = len(self.events)
                self.arrived.wait(0.1)
            if self.child.poll() is not None and not self.thread.is_alive() and seen == len(self.events):
                raise Failure(f"ended with {self.child.returncode}: {self.tail()}")
            if other is not None and other.child.poll() is not None:
                raise Failure(f"the contestant ended with {other.child.returncode}: {other.tail()}")
            if time.monotonic() > until:
                raise Failure(f"no answer within {seconds} s: {self.tail()}")

    def tail(self):
        self.output.flush()
        return Path(self.log).read_text(errors="replace")[-2000:]

    def cpu_seconds(self):
        try:
            fields = Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            return None

    def stop(self, seconds=30):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.thread.join(2)
        self.output.close()


def call(command, log, seconds=300):
    """Runs one of our commands to its end; its last JSON line."""
    process = Process(command, log)
    try:
        process.child.wait(seconds)
        process.thread.join(2)
        if process.child.returncode != 0:
            raise Failure(f"{' '.join(map(str, command[:3]))} … ended with {process.child.returncode}: {process.tail()}")
        return process.events[-1] if process.events else {}
    except subprocess.TimeoutExpired as late:
        raise Failure(f"{' '.join(map(str, command[:3]))} … did not end in {seconds} s") from late
    finally:
        process.stop()


class Broker:
    """An Apache Kafka of this run's own."""

    def __init__(self, folder):
        self.port = free_port()
        self.folder = folder
        self.environment = {**os.environ, "KAFKA_DIR": str(folder), "KAFKA_PORT": str(self.port), "KAFKA_CONTROLLER_PORT": str(free_port()), "KAFKA_JAVA": BROKER_JAVA}
        self.bootstrap = f"127.0.0.1:{self.port}"
        self._script("up")

    def _script(self, what):
        subprocess.run([ROOT / "scripts/kafka.sh", what], env=self.environment, check=True, stdout=subprocess.DEVNULL)

    def cpu_seconds(self):
        pid = (self.folder / "pid").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def down(self):
        self._script("down")
        shutil.rmtree(self.folder, ignore_errors=True)


def java(main, *arguments, options=()):
    return ["java", *PEER_JAVA, *options, "-cp", f"{CLASSES}:{JARS}/*", main, *arguments]


def throwaway():
    return tempfile.TemporaryDirectory(prefix="tol-compare-", dir="/var/tmp", ignore_cleanup_errors=True)


def median(values):
    return statistics.median(values)


def facts():
    """Without these a figure says nothing."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())[1]) / 1024 / 1024
    run = lambda *command: subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip()
    version = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr.splitlines()[0]
    jar = lambda name: next((path.name[len(name) + 1 : -4] for path in JARS.glob(f"{name}-[0-9]*.jar")), "?")
    broker = re.search(r"<kafka.version>(.*)</", (ROOT / "scripts/kafka/pom.xml").read_text())[1]
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)", (ROOT / "benches/compare/peers/requirements.txt").read_text(), re.M))
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": run("git", "describe", "--always", "--dirty", "--exclude=*") or "unknown",
        "processor": cpu[1] if cpu else "unknown",
        "cores": f"{os.cpu_count()}, shared by broker and contestant",
        "memory": f"{memory:.0f} GiB",
        "system": f"Linux {os.uname().release}",
        "load before": " ".join(Path("/proc/loadavg").read_text().split()[:2]),
        "broker": f"Apache Kafka {broker}, one broker, java {BROKER_JAVA}",
        "java": version,
        "Kafka Streams": jar("kafka-streams"),
        "quixstreams": pinned["quixstreams"],
        "umadb": pinned["umadb"],
        "python": sys.version.split()[0],
    }
