"""Count and sum per key with quixstreams, exactly once: BOOTSTRAP GROUP STATE_DIR INPUT OUTPUT. Ends on SIGTERM."""

import sys

from quixstreams import Application

bootstrap, group, state, source, target = sys.argv[1:6]
application = Application(
    broker_address=bootstrap,
    consumer_group=group,
    state_dir=state,
    auto_offset_reset="earliest",
    processing_guarantee="exactly-once",
    loglevel="WARNING",
)
records = application.topic(source, key_deserializer="str", value_deserializer="json")
results = application.topic(target, key_serializer="str", value_serializer="json")


def count(value, state):
    known = state.get("sum", default=[0, 0])
    known = [known[0] + 1, known[1] + value["amount"]]
    state.set("sum", known)
    return {"key": value["key"], "count": known[0], "sum": known[1]}


frame = application.dataframe(records)
frame = frame.apply(count, stateful=True)
frame = frame.to_topic(results)
print('{"event":"started"}', flush=True)
application.run()
