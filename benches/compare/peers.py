"""How the other contestants are started, and what each of them guarantees."""

from harness import ROOT, VENV, java

GUARANTEES = {
    "us": "exactly once by numbered, claimed groups (E1 to E11), no transactions; a crash at any point loses and repeats nothing that a reader by E3 and E4 accepts",
    "kafka-streams": "exactly once by Kafka transactions (`exactly_once_v2`, default commit interval of 100 ms); readers need `read_committed`",
    "kafka-streams-1s": "the same with a commit interval of 1 s: fewer, larger transactions, outputs readable up to a second later",
    "quixstreams": "exactly once by Kafka transactions (`processing_guarantee=\"exactly-once\"`, default commit interval of 5 s); readers need `read_committed`",
}


def command(contestant, bootstrap, group, data, workload, query=False):
    if contestant.startswith("kafka-streams"):
        asked = [str(workload["keys"]), "7"] if query else []
        # The session of our own group: a process that starts again waits for the last one's session to end.
        return java("CountSum", bootstrap, group, str(data), "input", "output", "2", *asked,
                    options=["-Dstreams.session.timeout.ms=6000", *(["-Dstreams.commit.interval.ms=1000"] if contestant == "kafka-streams-1s" else [])])
    if contestant == "quixstreams":
        return [VENV / "bin/python", ROOT / "benches/compare/peers/count_sum_quix.py", bootstrap, group, data, "input", "output"]
    raise ValueError(contestant)
