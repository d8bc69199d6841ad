"""What OpenAPI cannot say about which requests are good ones. Loaded by schemathesis (SCHEMATHESIS_HOOKS)."""

import schemathesis
from schemathesis import GenerationMode

# Only what the node gave before is good here; both are tested by tests/http_interface and tests/spine.rs.
GIVEN = ("cursor", "last_event_id", "min_position")
# Of these only one may be given, or the first must not be later than the second.
PAIRS = (("as_of", "known_at"), ("from", "to"))


@schemathesis.hook
def filter_case(context, case):
    """Leaves out what is said to be good and cannot be; requests that are meant to be wrong all go out."""
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return True
    query, headers = case.query or {}, case.headers or {}
    if any(query.get(name) for name in GIVEN) or any(name.lower() == "last-event-id" for name in headers):
        return False
    # `start` or a time: a text as far as the document can say.
    if case.operation.path == "/events/stream" and query.get("from") not in (None, "start"):
        return False
    # Rows of only some projections are about one subject, whose past can be asked for.
    if case.operation.path == "/projections/{name}/{key}" and ("as_of" in query or "known_at" in query):
        return False
    return not any(first in query and second in query for first, second in PAIRS)
