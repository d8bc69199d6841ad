"""One node on one Apache Kafka that stay up for the clients of all systems: shared.py FILE (by `run --program`).

Writes TOL_URL and TOL_KAFKA to FILE, as lines NAME=VALUE, when the node is ready, and stops both when it is told to end.
A system's clients may need settings: each line of its `clients/settings` is a KEY=VALUE, as for `tol run --set`.
"""

import sys
import time
from pathlib import Path

from support import ROOT, Workspace


def settings():
    """Of all systems whose clients need any."""
    files = sorted(ROOT.glob("actors/*/clients/settings"))
    return [line for file in files for line in file.read_text().splitlines() if line and not line.startswith("#")]


def main():
    told = Path(sys.argv[1])
    with Workspace() as space:
        broker = space.broker()
        node = space.node(kafka=broker.address, settings=settings())
        node.start()
        part = told.with_suffix(".part")
        part.write_text(f"TOL_URL={node.url}\nTOL_KAFKA={broker.address}\n")
        part.rename(told)
        while node.process.poll() is None:
            time.sleep(0.2)
        print(f"the shared node ended with {node.process.returncode}:\n{node.tail()}", file=sys.stderr)
    return 1


sys.exit(main())
