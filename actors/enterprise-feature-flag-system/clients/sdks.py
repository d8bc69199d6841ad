"""Eight SDKs against a node: their answers before a change and after it, by polling, by streaming and evaluated remotely, and what they count as events.

usage: sdks.py (by `run`, which installs the SDKs). TOL_URL names the node; without it, or for what stops a node, one is started.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import requests
from growthbook import GrowthBook
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from support import Failure, check, eventually, free_port
from UnleashClient import UnleashClient

USER = "user-7"
PATIENCE_S = 60


def definitions(changed):
    """The flags, of each format's family, before the change and after it."""
    colour = "green" if changed else "blue"
    on = {"kind": "targeted", "serve": {"serve": "on"}}

    def served(name):
        return {"serve": "variant", "name": name}

    def flag(key, family, type_, environment, variants=None):
        return {"key": key, "type": type_, "family": family, "variants": variants or {}, "environments": {"production": environment}}

    return [
        flag("demo", "unleash", "boolean", {"enabled": changed, "rules": [on | {"share": {"part": 10000, "by": "userId", "salt": "demo"}}]}),
        flag("paid", "unleash", "boolean", {"enabled": True, "rules": [on | {"segments": [7]}]}),
        flag("colour", "unleash", "string", {"enabled": True, "rules": [on], "on": {"by": "userId", "of": 1000, "parts": [{"variant": colour, "weight": 1000}]}},
             {colour: colour.upper()}),
        flag("price", "growthbook", "number", {
            "enabled": True, "otherwise": served("usual"), "rules": [
                {"kind": "targeted", "constraints": [{"attribute": "plan", "operator": "equals", "values": ["pro"]}], "serve": served("pro")}]},
             {"usual": 1, "pro": 30 if changed else 20}),
        flag("button", "growthbook", "string", {
            "enabled": True, "otherwise": served("none"), "rules": [
                {"kind": "targeted", "serve": {"serve": "split", "of": 1000, "parts": [
                    {"variant": "left", "weight": 0 if changed else 1000}, {"variant": "right", "weight": 1000 if changed else 0}]}}]},
             {"none": "none", "left": "left", "right": "right"}),
        flag("limits", "flagd", "object", {"enabled": True, "otherwise": served("large" if changed else "small")},
             {"small": {"seats": 5, "ratio": 1.0}, "large": {"seats": 50, "ratio": 2.5}}),
    ]


def requests_for(changed):
    """The same as events that ask for them."""
    who = {"by": "sdks.py", "reason": "test"}
    number = 2 if changed else 1
    segment = {"id": 7, "name": "pro", "constraints": [{"contextName": "plan", "operator": "IN", "values": ["pro"]}]}
    asked = [("flags.shared_change_requested.v1", "flag-set/production", {"environment": "production", "format": "unleash", "shared": {"segments": [segment]}})]
    asked += [("flags.change_requested.v1", f"flag/{one['key']}", {"key": one["key"], "definition": one}) for one in definitions(changed)]
    return [{"specversion": "1.0", "id": f"{subject}-{number}", "source": "/tests/sdks", "type": type_, "subject": subject, "data": data | who}
            for type_, subject, data in asked]


def expected(sdk, changed):
    """What each SDK must answer."""
    colour = ["green", "GREEN"] if changed else ["blue", "BLUE"]
    limits = {"seats": 50, "ratio": 2.5} if changed else {"seats": 5, "ratio": 1.0}
    if sdk.startswith("growthbook"):
        price = 1 if sdk == "growthbook-remote-free" else 30 if changed else 20
        button = "right" if changed else "left"
        answer = {"demo": changed, "price": price, "button": button, "tracked": ["button", int(changed), button]}
        # Evaluated on the server, no rule comes here.
        return answer | ({} if sdk == "growthbook-python" else {"sees_rules": sdk == "growthbook-streaming"})
    answer = {"demo": changed, "colour": colour}
    if "ofrep" not in sdk:
        return answer | {"paid": True}
    if sdk == "ofrep-provider":
        answer["missing"] = [True, "FLAG_NOT_FOUND"]
    return answer | {"limits": limits}


class Node:
    """A node's HTTP interface."""

    def __init__(self, url):
        self.url = url

    def serve(self, changed):
        headers = {"content-type": "application/cloudevents-batch+json"}
        answer = requests.post(f"{self.url}/events", json=requests_for(changed), headers=headers, timeout=30)
        check(answer.ok, f"a change of flags: {answer.status_code} {answer.text}")

    def events(self, type_):
        answer = requests.get(f"{self.url}/events", params={"type": type_, "limit": 1000}, timeout=30)
        check(answer.ok, f"events: {answer.status_code} {answer.text}")
        return answer.json()["items"]

    def close(self):
        """Nothing: others use it."""


class OwnNode(Node):
    """A node on the embedded log, of this program."""

    def __init__(self, folder):
        super().__init__(f"http://127.0.0.1:{free_port()}")
        folder.mkdir()
        self.folder, self.log = folder, open(folder / "node.log", "w+")
        command = [os.environ["TOL_BIN"], "run", "--data", str(folder / "data"), "--listen", self.url.removeprefix("http://")]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)
        eventually("the node is ready", self.is_ready, PATIENCE_S)

    def is_ready(self):
        check(self.process.poll() is None, "the node has ended")
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).ok
        except requests.ConnectionError:
            return False

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Failure("the node did not stop within 30 s, with streams open") from None

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if sys.exc_info()[0]:
            print((self.folder / "node.log").read_text()[-3000:], file=sys.stderr)


class JavaScript:
    """The SDKs in JavaScript, in one process that tells when an answer changes."""

    def __init__(self, url, folder):
        # Node.js looks for packages beside the file that imports them.
        shutil.copy(Path(__file__).with_name("sdks.mjs"), folder)
        (folder / "node_modules").symlink_to(Path(os.environ["FLAG_SDKS"]) / "node_modules")
        environment = {**os.environ, "FLAG_BACKUP": str(folder)}
        self.process = subprocess.Popen(["node", "--no-warnings", "sdks.mjs", url], cwd=folder, stdout=subprocess.PIPE, text=True, env=environment,
                                        start_new_session=True)
        self.answers, self.errors = {}, []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            try:
                told = json.loads(line)
            except ValueError:
                print(line, end="", file=sys.stderr)
                continue
            if "error" in told:
                self.errors.append(told)
            else:
                self.answers[told["sdk"]] = (told["answer"], time.monotonic())

    def close(self):
        # The package's `node` is a program that starts another.
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def python_unleash(url, folder, name, **options):
    client = UnleashClient(
        url=f"{url}/compat/unleash/api", app_name=name, instance_id=f"{name}-1", custom_headers={"Authorization": "*:production.secret"},
        refresh_interval=1, metrics_interval=1, cache_directory=str(folder), **options)
    client.initialize_client()
    return client


def unleash_answer(client):
    context = {"userId": USER, "plan": "pro"}
    variant = client.get_variant("colour", context)
    return {"demo": client.is_enabled("demo", context), "paid": client.is_enabled("paid", context),
            "colour": [variant["name"], variant.get("payload", {}).get("value")]}


def ofrep_answer():
    client, context = api.get_client(), EvaluationContext(targeting_key=USER, attributes={"plan": "pro"})
    colour = client.get_string_details("colour", "none", context)
    missing = client.get_boolean_details("nope", True, context)
    return {"demo": client.get_boolean_value("demo", False, context), "colour": [colour.variant, colour.value],
            "limits": client.get_object_value("limits", {}, context), "missing": [missing.value, missing.error_code and ErrorCode(missing.error_code).value]}


def growthbook_answer(client, tracked):
    answer = {"demo": client.is_on("demo"), "price": client.get_feature_value("price", 0), "button": client.get_feature_value("button", "")}
    return answer | {"tracked": tracked[-1]}


def main():
    checks = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = os.environ.get("TOL_URL")
        node = Node(given) if given else OwnNode(folder / "node")
        javascript = None
        try:
            node.serve(changed=False)
            for sub in ["python", "python-streaming", "javascript"]:
                (folder / sub).mkdir()
            refused = node.events("flags.request_refused.v1")
            check(not refused, f"refused: {refused}")
            javascript = JavaScript(node.url, folder / "javascript")
            polling = python_unleash(node.url, folder / "python", "unleash-python")
            streaming = python_unleash(node.url, folder / "python-streaming", "unleash-python-streaming", experimental_mode={"type": "streaming"},
                                       disable_metrics=True)
            polling.impact_metrics.define_counter("purchases", "how many")
            polling.impact_metrics.increment_counter("purchases", 3)
            api.set_provider(OFREPProvider(base_url=f"{node.url}/compat/ofrep"))
            tracked = [None]

            def track(experiment, result, **_):
                tracked.append([experiment.key, result.variationId, result.value])

            growthbook = GrowthBook(attributes={"id": USER, "plan": "pro"}, api_host=f"{node.url}/compat/growthbook", client_key="sdk-production",
                                    cache_ttl=1, on_experiment_viewed=track)
            growthbook.load_features()

            def refreshed():
                growthbook.load_features()
                return growthbook_answer(growthbook, tracked)

            in_python = {
                "unleash-python": lambda: unleash_answer(polling),
                "unleash-python-streaming": lambda: unleash_answer(streaming),
                "ofrep-python": ofrep_answer,
                "growthbook-python": refreshed,
            }
            in_javascript = ["unleash-client", "unleash-client-streaming", "unleash-client-delta", "unleash-proxy-client", "ofrep-provider",
                             "ofrep-web-provider", "growthbook-streaming", "growthbook-remote", "growthbook-remote-free"]
            for changed in [False, True]:
                if changed:
                    node.serve(changed=True)
                began = time.monotonic()
                for sdk in in_javascript:
                    wanted = expected(sdk, changed)
                    eventually(lambda: f"{sdk} answers {wanted}, not {javascript.answers.get(sdk)}; errors: {javascript.errors[-3:]}",
                               lambda: javascript.answers.get(sdk, (None, 0))[0] == wanted, PATIENCE_S)
                    checks.append(f"{sdk} {'after' if changed else 'before'} the change: {max(javascript.answers[sdk][1] - began, 0):.2f} s")
                for sdk, answer in in_python.items():
                    wanted = expected("ofrep-provider" if sdk.startswith("ofrep") else sdk, changed)
                    last = {}
                    eventually(lambda: f"{sdk} answers {wanted}, not {last.get('answer')}", lambda: last.update(answer=answer()) or last["answer"] == wanted, PATIENCE_S)
                    checks.append(f"{sdk} {'after' if changed else 'before'} the change: {time.monotonic() - began:.2f} s")
            check(not javascript.errors, f"errors of the SDKs in JavaScript: {javascript.errors[:5]}")
            checks += counted(node)
            polling.destroy()
            streaming.destroy()
            checks.append(stopped_while_followed(folder))
        finally:
            if javascript:
                javascript.close()
            node.close()
    for one in checks:
        print(f"ok  {one}")
    print(f"{len(checks)} checks passed")
    # The SDKs' own threads may not end by themselves.
    sys.stdout.flush()
    os._exit(0)


def stopped_while_followed(folder):
    """A node stops in time, though SDKs follow it."""
    node = OwnNode(folder / "stopped")
    javascript = None
    try:
        node.serve(changed=False)
        (folder / "followers").mkdir()
        javascript = JavaScript(node.url, folder / "followers")
        for sdk in ["unleash-client-streaming", "growthbook-streaming"]:
            eventually(lambda: f"{sdk} follows the node; errors: {javascript.errors[-3:]}", lambda: javascript.answers.get(sdk, (None, 0))[0] == expected(sdk, False), PATIENCE_S)
        node.stop()
    finally:
        if javascript:
            javascript.close()
        node.close()
    return "the node stopped while streams were open"


def counted(node):
    """What the SDKs counted is there as events, each once."""
    def reporters():
        return {event["data"].get("reporter", "") for event in node.events("flags.counts_reported.v1") if event["subject"] == "flag/demo"}

    def has(name):
        return any(name in reporter for reporter in reporters())

    found = []
    for sdk in ["unleash-python", "unleash-client", "unleash-proxy-client"]:
        eventually(lambda: f"counts of {sdk} are events, not only those of {reporters()}", lambda: has(sdk), PATIENCE_S)
        found.append(f"counts of {sdk} are events")
    measured = eventually("the impact metric is an event", lambda: [event for event in node.events("flags.metric_reported.v1") if event["subject"] == "metric/purchases"],
                          PATIENCE_S)
    check(sum(event["data"].get("value") or 0 for event in measured) == 3, f"the impact metric says {measured}")
    found.append("impact metrics are events")
    return found


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        print(f"FAILED: {failure}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)
