"""Six SDKs against a node: what each sends becomes a profile. Then one person is erased, and a byte search of the data folder finds nothing of them.

usage: sdks.py (by `run`, which installs the SDKs)
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from support import Steps, Workspace, check, eventually

HERE = Path(__file__).resolve().parent


def segment_python(url):
    import segment.analytics as analytics
    from segment.analytics.client import Client

    failed = []
    client = Client("writeKey", host=f"{url}/compat/segment", gzip=True, on_error=lambda error, batch: failed.append(error), upload_interval=0.1)
    calls(client, "segment-python", page=lambda who: client.page(who, name="Home"))
    client.join()
    check(not failed, f"{failed}")
    check(analytics is not None, "the module is there")


def rudder_python(url):
    from rudderstack.analytics.client import Client

    failed = []
    client = Client("writeKey", host=f"{url}/compat/segment", gzip=True, on_error=lambda error, batch: failed.append(error))
    calls(client, "rudder-python", page=lambda who: client.page(who, name="Home"))
    client.join()
    check(not failed, f"{failed}")


def calls(client, name, page):
    """The six calls, as Segment's and RudderStack's Python clients have them."""
    who, anonymous = f"u-{name}", f"a-{name}"
    client.track(anonymous_id=anonymous, event="Visited")
    client.identify(user_id=who, anonymous_id=anonymous, traits={"email": f"{name}@example.com", "plan": "pro"})
    client.track(user_id=who, event="Order Completed", properties={"revenue": 12.5})
    page(who)
    client.screen(who, name="Start")
    client.group(who, "g1", {"name": "Acme"})
    client.alias(f"old-{name}", who)
    client.flush()


def posthog_python(url):
    from posthog import Posthog

    failed = []
    client = Posthog("phc_test", host=f"{url}/compat/posthog", gzip=True, on_error=lambda error, batch: failed.append(error))
    who = "u-posthog-python"
    client.capture("Order Completed", distinct_id=who, properties={"amount": 12.5})
    client.set(distinct_id=who, properties={"email": "posthog-python@example.com", "plan": "pro"})
    client.alias("old-posthog-python", who)
    client.group_identify("company", "g1", {"name": "Acme"})
    flags = {"demo": client.get_feature_flag("demo", who), "colour": client.get_feature_flag("colour", who)}
    client.shutdown()
    check(not failed, f"{failed}")
    return flags


def node_sdk(name, url):
    command = ["node", str(HERE / "sdks.mjs"), name, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    check(done.returncode == 0, f"{done.stdout}{done.stderr}")
    lines = done.stdout.strip().splitlines()
    return json.loads(lines[-1]) if name == "posthog" and lines else None


def lookup(node, kind, value):
    status, profile = node.request("GET", "/cdp/profiles/lookup", type=kind, value=value)
    return profile if status == 200 else None


def is_unified(node, name):
    """All that an SDK sent is in one profile."""
    posthog = name.startswith("posthog")
    known = set()

    def there():
        nonlocal known
        profile = lookup(node, "user_id", f"u-{name}")
        known = {(one["type"], one["value"]) for one in profile["identifiers"]} if profile else set()
        wanted = {("user_id", f"u-{name}"), ("email", f"{name}@example.com"), ("user_id", f"old-{name}")} | (set() if posthog else {("anonymous_id", f"a-{name}")})
        return profile if wanted <= known and profile["traits"].get("plan") == "pro" else None

    profile = eventually(lambda: f"{name} in one profile, which has {known}", there, 20)

    def counted():
        export = node.get(f"/cdp/profiles/{profile['profile_id']}/export")
        return export if export["events"].get("Order Completed", {}).get("total", {}).get("count") == 1 else None

    export = eventually(f"the order of {name}", counted, 20)
    sums = export["events"]["Order Completed"]["total"]["sums"]
    check(list(sums.values()) == [12_500_000], f"{sums}")
    if not posthog:
        check(len(profile["merges"]) >= 1, f"the visitor was merged: {profile}")
    return f"{len(profile['identifiers'])} identifiers"


def define_flags(node):
    """A flag that is on, and one with a text."""
    on = {"kind": "targeted", "serve": {"serve": "on"}}
    demo = {"key": "demo", "type": "boolean", "family": "unleash", "variants": {}, "environments": {"production": {"enabled": True, "rules": [on]}}}
    colour = {"key": "colour", "type": "string", "family": "flagd", "variants": {"blue": "BLUE"},
              "environments": {"production": {"enabled": True, "otherwise": {"serve": "variant", "name": "blue"}}}}
    for flag in (demo, colour):
        body = {"definition": flag, "reason": "test"}
        status, answer = node.request("PUT", f"/flags/{flag['key']}", json.dumps(body).encode())
        check(status in (200, 202), f"PUT flag answered {status}: {answer}")


def flags_are(flags):
    check(flags == {"demo": True, "colour": "BLUE"}, f"{flags}")
    return json.dumps(flags)


def erased(node, name):
    """Erases a person; nothing of them is in a byte of the data folder."""
    profile = lookup(node, "user_id", f"u-{name}")
    status, started = node.request("DELETE", f"/cdp/profiles/{profile['profile_id']}")
    check(status == 202, f"DELETE answered {status}: {started}")
    eventually("the erasure", lambda: node.get(f"/cdp/erasures/{started['erasure_id']}")["state"] == "done", 20)
    for kind, value in (("user_id", f"u-{name}"), ("email", f"{name}@example.com"), ("anonymous_id", f"a-{name}")):
        eventually(f"{kind} is gone", lambda k=kind, v=value: lookup(node, k, v) is None, 20)
    late = {"batch": [{"type": "identify", "userId": f"u-{name}", "anonymousId": f"a-{name}", "messageId": "late", "traits": {"email": f"{name}@example.com"}}]}
    status, answer = node.request("POST", "/compat/segment/v1/batch", json.dumps(late).encode())
    check(status == 200, f"a late call answered {status}: {answer}")
    node.stop()
    found = [str(path.relative_to(node.data)) for path in node.data.rglob("*") if path.is_file() and name.encode() in path.read_bytes()]
    check(not found, f"{name} is in {found}")
    node.start()
    check(lookup(node, "user_id", f"u-{name}") is None, "a late call made the person again")
    return "nothing is found, and nothing comes back"


def main():
    with Workspace() as workspace:
        node = workspace.node()
        node.start()
        steps = Steps()
        python = {"segment-python": segment_python, "rudder-python": rudder_python}
        for name, send in python.items():
            steps.run(f"{name} sends", lambda send=send: send(node.url))
        for name in ("segment", "rudder"):
            steps.run(f"{name}-node sends", lambda name=name: node_sdk(name, node.url))
        define_flags(node)
        steps.run("posthog-python sends, and gets flags", lambda: flags_are(posthog_python(node.url)))
        steps.run("posthog-node sends, and gets flags", lambda: flags_are(node_sdk("posthog", node.url)))
        for name in ("segment-python", "rudder-python", "segment-node", "rudder-node", "posthog-python", "posthog-node"):
            steps.run(f"{name} is one profile", lambda name=name: is_unified(node, name))
        steps.run("erasing one leaves nothing", lambda: erased(node, "segment-python"))
        return steps.exit_code()


if __name__ == "__main__":
    os.environ.setdefault("TOL_BIN", "")
    sys.exit(main())
