"""Random definitions and contexts for flag-differences: everything comes from the seed. Each generator gives (definitions, flags, contexts)."""

import random

WORDS = ["", "a", "A", "pro", "Pro", "free", "été", "ÉTÉ", "ß", "名前", "😀", "null", "true", "0", "1", "1.0", "10", "9", " 5 ", "-3", "1e3", "abc123",
         "a,b", "user@example.com", "example.com", "İ", "ΟΔΟΣ", "it's", 'say "hi"', "back\\slash", "NaN", "Infinity", "v1.2.3", "0x10"]
VERSIONS = ["1.0.0", "1.2.3", "1.2.3-alpha", "1.2.3-alpha.1", "1.2.3-beta.11", "2.0.0", "10.0.0", "1.2.3+build", "v1.2.3", "1.2", "1", "01.2.3", "1.2.3.4",
            "1.2.3-", "", "abc", "0.0.0", "999999999999.0.0"]
DATES = ["2022-01-29T13:00:00.000Z", "2022-01-29T13:00:00Z", "2030-06-01T00:00:00+02:00", "1999-12-31T23:59:59.999-11:30", "2022-13-01T00:00:00Z",
         "2022-01-29", "now", "", "2022-01-29T13:00:00.12Z"]
NUMBERS = ["0", "-0", "1", "1.5", "-1", "1e3", "1E-2", "+7", "5.", ".5", "abc", "", " 5 ", "9007199254740993", "1e400", "Infinity", "0.1"]
ADDRESSES = ["127.0.0.1", "10.1.2.3", "192.168.1.77", "::1", "2001:db8::1", "256.1.1.1", "", "10.0.0.1 ", "::ffff:10.1.2.3"]
NETWORKS = ["10.0.0.0/8", "10.1.2.3", "192.168.1.0/24", "192.168.1.64/255.255.255.192", "2001:db8::/32", "::1", "0.0.0.0/0", "bad", "10.0.0.0/33", "::/0"]
PATTERNS = ["^a", "a$", "[a-z]+[0-9]+", "(", "", "^.$", "\\d+", "\\w+@", "(?i)PRO", "a|b", "é", "\\bpro\\b", "[^a]", "a{2,}", "\\.com$", "^\\s*$"]
FIELDS = ["userId", "sessionId", "environment", "appName", "remoteAddress", "currentTime", "plan", "age", "version", "email", "näme", 'quo"te', "tail\\"]
OPERATORS = ["IN", "NOT_IN", "STR_STARTS_WITH", "STR_ENDS_WITH", "STR_CONTAINS", "NUM_EQ", "NUM_GT", "NUM_GTE", "NUM_LT", "NUM_LTE", "DATE_AFTER",
             "DATE_BEFORE", "SEMVER_EQ", "SEMVER_GT", "SEMVER_GTE", "SEMVER_LT", "SEMVER_LTE", "REGEX", "IN_CIDR"]


def some(rng, items, most=4, least=0):
    return [rng.choice(items) for _ in range(rng.randint(least, most))]


def unleash_constraint(rng, strange):
    operator = rng.choice(OPERATORS)
    pools = {"NUM": NUMBERS, "DATE": DATES, "SEMVER": VERSIONS}
    constraint = {"contextName": rng.choice(FIELDS if rng.random() < strange else FIELDS[:10]), "operator": operator}
    family = operator.split("_")[0]
    if family in pools:
        pool = pools[family] if rng.random() > strange / 4 else rng.choice([NUMBERS, DATES, VERSIONS, WORDS])
        # Most literals are well formed: one that is not switches the whole feature off, and nothing else would be compared.
        constraint["value"] = rng.choice(pool if rng.random() < strange else pool[:3])
        if constraint["contextName"] in FIELDS[:2]:
            constraint["contextName"] = {"NUM": "age", "DATE": "currentTime", "SEMVER": "version"}[family]
    elif operator == "REGEX":
        constraint["value"] = rng.choice(PATTERNS)
    else:
        pool = NETWORKS if operator == "IN_CIDR" else WORDS + DATES[:2] + VERSIONS[:4]
        constraint["values"] = some(rng, pool, 5, 0 if rng.random() < strange / 4 else 1)
        if operator == "IN_CIDR":
            constraint["contextName"] = "remoteAddress"
    if rng.random() < 0.3:
        constraint["inverted"] = True
    if rng.random() < 0.3:
        constraint["caseInsensitive"] = True
    if rng.random() < 0.01 * strange:
        constraint.pop("value", None)
        constraint.pop("values", None)
    return constraint


def unleash_strategy(rng, name, strange):
    kind = rng.choice(["default", "flexibleRollout", "flexibleRollout", "flexibleRollout", "userWithId", "gradualRolloutUserId",
                       "gradualRolloutSessionId", "remoteAddress", "gradualRolloutRandom", "custom"])
    percentage = str(rng.randint(0, 100)) if rng.random() > 0.05 * strange else rng.choice(["101", "050", "+5", "12.5", "-1", "", "1000000", " 7"])
    group = rng.choice([name, "group", "gr:up", "グループ"]) if rng.random() > 0.02 * strange else rng.choice(['gr"oup', "a\\", 'a\\"b'])
    parameters = {
        "default": {},
        "custom": {"x": "y"},
        # Random stickiness is only comparable at 0 and 100 percent.
        "flexibleRollout": {"rollout": percentage, "groupId": group, "stickiness": rng.choice(["default", "userId", "sessionId", "plan", "email", "appName"])},
        "userWithId": {"userIds": ", ".join(some(rng, WORDS, 6))},
        "gradualRolloutUserId": {"percentage": percentage, "groupId": group},
        "gradualRolloutSessionId": {"percentage": percentage, "groupId": group},
        "gradualRolloutRandom": {"percentage": rng.choice(["0", "100", "250"])},
        "remoteAddress": {"IPs": ",".join(some(rng, NETWORKS, 4, 1))},
    }[kind]
    if kind == "flexibleRollout" and rng.random() < 0.1:
        parameters.pop(rng.choice(["stickiness", "groupId", "rollout"]))
    if kind == "flexibleRollout" and rng.random() < 0.1:
        parameters.update(stickiness="random", rollout=rng.choice(["0", "100"]))
    strategy = {"name": kind, "parameters": parameters}
    if rng.random() < 0.6:
        strategy["constraints"] = [unleash_constraint(rng, strange) for _ in range(rng.randint(0, 3))]
    if rng.random() < 0.2:
        strategy["segments"] = some(rng, [1, 2, 3] + ([99] if rng.random() < 0.1 * strange else []), 2)
    # Where the sticky field may be missing, variants are random.
    if rng.random() < 0.3 and parameters.get("stickiness") not in ("random", "appName"):
        strategy["variants"] = unleash_variants(rng, False)
    return strategy


def unleash_variants(rng, feature):
    variants = []
    for index in range(rng.randint(0, 4)):
        variant = {"name": f"v{index}", "weight": rng.choice([1, 10, 333, 1000]), "stickiness": rng.choice(["userId", "sessionId", "plan", "email"])}
        if rng.random() < 0.5:
            variant["payload"] = {"type": rng.choice(["string", "json", "csv", "number"]), "value": rng.choice(WORDS)}
        if feature and rng.random() < 0.3:
            variant["overrides"] = [{"contextName": rng.choice(FIELDS[:10]), "values": some(rng, WORDS, 3)} for _ in range(rng.randint(0, 2))]
        variants.append(variant)
    return variants


def unleash(rng, contexts, strange=1.0):
    features, names = [], []
    for index in range(rng.randint(4, 10)):
        name = rng.choice(["f", "flag ", "フラグ", "a/b."] if strange else ["f", "flag ", "a/b."]) + str(index)
        feature = {"name": name, "enabled": rng.random() < 0.92, "strategies": [unleash_strategy(rng, name, strange) for _ in range(rng.randint(0, 3))],
                   "variants": unleash_variants(rng, True)}
        if names and rng.random() < 0.2:
            feature["dependencies"] = [{"feature": rng.choice(names + ["missing", name]), **rng.choice([{}, {"enabled": False}, {"variants": ["v0", "v1"]}, {"variants": []}])}
                                       for _ in range(rng.randint(1, 2))]
        names.append(name)
        features.append(feature)
    segments = [{"id": identifier, "constraints": [unleash_constraint(rng, strange / 2) for _ in range(rng.randint(0, 2))]} for identifier in (1, 2, 3)]
    # A parent's variant is random too where its sticky field is missing.
    users = 1.0 if any("dependencies" in feature for feature in features) else 0.9
    return {"version": 2, "features": features, "segments": segments}, names + ["unknown"], [unleash_context(rng, strange, users) for _ in range(contexts)]


def unleash_context(rng, strange, users):
    # Without a sticky value a bucket is random and nothing can be compared. The session is always there, the user mostly: without one, variants
    # are not compared (flag-differences).
    context = {"sessionId": str(rng.randint(0, 10**6))}
    if rng.random() < users:
        context["userId"] = rng.choice([str(rng.randint(0, 10**6)), rng.choice(WORDS)])
    for field, pool in (("environment", ["dev", "prod"]), ("appName", WORDS), ("remoteAddress", ADDRESSES), ("currentTime", DATES)):
        if rng.random() < 0.7:
            context[field] = rng.choice(pool)
    properties = {"plan": rng.choice(WORDS), "email": rng.choice(WORDS)}
    if rng.random() < 0.8:
        properties["age"] = rng.choice(NUMBERS) if rng.random() < 0.6 else rng.choice([1, 5, 1.5, -3, 0, True, None, 1e3] if strange else [1, 5, 1.5, -3, 0])
    if rng.random() < 0.8:
        properties["version"] = rng.choice(VERSIONS)
    if rng.random() < 0.2:
        properties.update({"näme": rng.choice(WORDS), 'quo"te': rng.choice(WORDS), "tail\\": "x"})
    context["properties"] = properties
    if rng.random() < 0.1 * strange:
        context[rng.choice(["appName", "other", "age"])] = rng.choice([None, 7, 1.5, True, "top", [], {}])
        context[rng.choice(["userId", "plan"])] = rng.choice([7, 1.5, True, "top", 1e16, 12345678901234567890])
    return context


SCALARS = [None, True, False, 0, 1, -1, 1.5, 10, 1e21, 1e-7, 12345678901234567890, "", "0", "1", "10", " 8 ", "0x1F", "abc", "ABC", "Été", "😀", "\uffff", "null", "true"]
ATTRIBUTES = ["id", "plan", "age", "tags", "nested.deep", "nested", "version", "flag", "tags.0", "tags.length", "missing"]


def json_value(rng, depth=2):
    if SCALARS == PLAIN:
        depth = 0
    if depth and rng.random() < 0.3:
        if rng.random() < 0.5:
            return [json_value(rng, depth - 1) for _ in range(rng.randint(0, 3))]
        return {rng.choice(["a", "b", "2", "10", "deep"]): json_value(rng, depth - 1) for _ in range(rng.randint(0, 3))}
    return rng.choice(SCALARS)


def gb_operators(rng, depth):
    operators = {}
    for _ in range(rng.randint(1, 2)):
        operator = rng.choice(["$eq", "$ne", "$lt", "$lte", "$gt", "$gte", "$exists", "$in", "$nin", "$ini", "$nini", "$inGroup", "$notInGroup", "$regex",
                               "$regexi", "$type", "$size", "$all", "$alli", "$elemMatch", "$not", "$veq", "$vne", "$vgt", "$vgte", "$vlt", "$vlte", "$unknown"])
        if SCALARS == PLAIN and (operator.startswith("$v") or operator in ("$unknown", "$regex", "$regexi", "$type", "$lt", "$lte", "$gt", "$gte")):
            operator = "$in"
        if operator in ("$in", "$nin", "$ini", "$nini"):
            value = some(rng, SCALARS, 5)
        elif operator in ("$all", "$alli"):
            value = some(rng, SCALARS, 2)
        elif operator in ("$inGroup", "$notInGroup"):
            value = rng.choice(["ids", "plans", "list", "rule", "unknown"])
        elif operator in ("$regex", "$regexi"):
            value = rng.choice(["^a", "b$", "[0-9]+", "^.$", "(", "a|1", "^\\d{1,2}$", "[^a-z]", "\\.", "^\\s", "null", "\\w", "a{2}", "é", "/", "x++"])
        elif operator == "$type":
            value = rng.choice(["string", "number", "boolean", "array", "object", "null", "undefined"])
        elif operator == "$size":
            value = rng.choice([0, 1, 2, {"$gt": 1}, "2"])
        elif operator.startswith("$v"):
            value = rng.choice(VERSIONS + [1, 2.5, None])
        elif operator == "$elemMatch":
            value = gb_operators(rng, depth - 1) if depth > 0 and rng.random() < 0.7 else gb_condition(rng, depth - 1)
        elif operator == "$not":
            value = gb_operators(rng, depth - 1) if depth > 0 else "abc"
        else:
            value = rng.choice(SCALARS)
        operators[operator] = value
    return operators


def gb_condition(rng, depth=2):
    condition = {}
    for _ in range(rng.randint(0, 2) if depth < 2 else rng.randint(1, 2)):
        if depth > 0 and rng.random() < 0.25:
            key = rng.choice(["$or", "$and", "$nor", "$not", "$savedGroup"])
            if key == "$not":
                condition[key] = gb_condition(rng, depth - 1)
            elif key == "$savedGroup":
                condition[key] = rng.choice([{"id": "list"}, {"id": "rule"}, {"id": "loop"}, {"id": "list", "attributeKey": "plan"}, {"id": "unknown"}, {"id": "ids"}])
            else:
                condition[key] = [gb_condition(rng, depth - 1) for _ in range(rng.randint(0, 2))]
        else:
            condition[rng.choice(ATTRIBUTES)] = gb_operators(rng, depth) if rng.random() < 0.7 else "abc" if SCALARS == PLAIN else json_value(rng)
    if SCALARS == PLAIN and "version" in condition:
        condition["version"] = {rng.choice(["$veq", "$vne", "$vgt", "$vgte", "$vlt", "$vlte"]): rng.choice(VERSIONS)}
    return condition


def gb_rule(rng, parents, plain):
    rule = {"id": f"r{rng.randint(0, 99)}"} if rng.random() < 0.5 else {}
    if rng.random() < 0.5:
        rule["condition"] = gb_condition(rng)
    if parents and rng.random() < 0.2:
        rule["parentConditions"] = [{"id": rng.choice(parents), "condition": {"value": rng.choice(["a", {"$exists": True}, {"$ne": False}] if plain else [True, 1, "a", {"$exists": True}, {"$ne": False}])},
                                     **({"gate": True} if rng.random() < 0.4 else {})}]
    for key, make in (("seed", lambda: rng.choice(["seed", "ß", ""])), ("hashVersion", lambda: rng.choice([1, 2, 2, 3])), ("hashAttribute", lambda: rng.choice(["id", "plan", "age", "missing"])),
                      ("coverage", lambda: rng.choice([0, 0.10005, 0.50005, 1, 1.5] if plain else [0, 0.1, 0.5, 0.99, 1, 1.5])),
                      ("filters", lambda: [{"seed": "f", "ranges": [[0, rng.random()], [0.7, 0.9]], "attribute": rng.choice(["id", "plan"]), "hashVersion": rng.choice([1, 2])}])):
        if rng.random() < 0.25:
            rule[key] = make()
    if rng.random() < 0.5:
        rule["force"] = json_value(rng)
        if plain and rule["force"] is None:
            rule["force"] = 1
        if rng.random() < 0.2:
            low = rng.random()
            rule["range"] = [low, low + rng.random()]
    else:
        count = rng.randint(1, 4)
        rule["variations"] = [json_value(rng, 1) for _ in range(count)]
        if rng.random() < 0.5:
            rule["key"] = rng.choice(["exp", "exp2", "эксп"])
        if rng.random() < 0.4:
            rule["weights"] = rng.choice([[1 / count] * count, [0.1] * count, [1] + [0] * (count - 1), [0.5]])
        if rng.random() < 0.2:
            rule["ranges"] = [[index / count, (index + 1) / count] for index in range(count)]
        if rng.random() < 0.2:
            rule["namespace"] = ["ns", rng.choice([0, 0.2]), rng.choice([0.5, 1])]
        if rng.random() < 0.3:
            rule["meta"] = [{"key": f"k{index}", "name": "n", **({"passthrough": True} if rng.random() < 0.2 else {})} for index in range(count)]
    return rule


# The Python SDK has Python's truth, comparisons and texts where JavaScript's differ: what shows them is left out for it (README, "Where the SDKs
# differ").
PLAIN = [1, -1, 1.5, 10, "0", "1", "10", "abc", "ABC", "Été", "😀", "null", "true"]


def growthbook(rng, contexts, plain=False):
    if plain:
        saved = SCALARS[:], ATTRIBUTES[:]
        SCALARS[:], ATTRIBUTES[:] = PLAIN, ["id", "plan", "age", "version", "flag", "missing", "tags"]
        try:
            return growthbook_any(rng, contexts, plain)
        finally:
            SCALARS[:], ATTRIBUTES[:] = saved
    return growthbook_any(rng, contexts, plain)


def growthbook_any(rng, contexts, plain):
    features, names = {}, []
    for index in range(rng.randint(3, 8)):
        name = f"feature{index}"
        feature = {"rules": [gb_rule(rng, names + (["feature0", "unknown"] if rng.random() < 0.3 else []), plain) for _ in range(rng.randint(0, 4))]}
        if rng.random() < 0.9:
            feature["defaultValue"] = json_value(rng)
        features[name] = feature
        names.append(name)
    groups = {"ids": some(rng, ["1", "2", 3, 4], 4), "plans": ["pro", "free"], "list": {"type": "list", "attributeKey": "id", "values": ["1", 2, "abc"]},
              "rule": {"type": "condition", "condition": gb_condition(rng, 1)}, "loop": {"type": "condition", "condition": {"$savedGroup": {"id": "loop"}}}}
    return {"features": features, "savedGroups": groups}, names + ["unknown"], [gb_attributes(rng, plain) for _ in range(contexts)]


def gb_attributes(rng, plain):
    attributes = {"id": rng.choice([str(rng.randint(0, 10**5)), rng.randint(0, 10**5), "", None, 1.5, "😀é"] + ([] if plain else [True]))}
    for name, make in (("plan", lambda: rng.choice(["pro", "free", "Pro", "", None])), ("age", lambda: rng.choice([0, 5, 18.5, "18", None, "old", -1])),
                       ("tags", lambda: json_value(rng, 2)), ("nested", lambda: rng.choice([{"deep": json_value(rng, 1)}, None, 5, {}])),
                       ("version", lambda: rng.choice(VERSIONS + [1, 2.5])), ("flag", lambda: rng.choice(SCALARS))):
        if rng.random() < 0.75:
            attributes[name] = make()
    if plain:
        attributes["version"] = rng.choice(VERSIONS)
    return attributes


def fd_argument(rng, depth):
    if depth <= 0 or rng.random() < 0.3:
        return rng.choice([{"var": rng.choice(["plan", "age", "email", "version", "nested.deep", "missing", "targetingKey"])}, rng.choice(["pro", "a", "10", "", "é"]), rng.choice([0, 1, 5, 1.5, -2]), True, None])
    return fd_rule(rng, depth - 1)


def fd_rule(rng, depth=2):
    kind = rng.choice(["if", "if", "==", "===", "!=", "!==", "and", "or", "!", "!!", "in", "starts_with", "ends_with", "sem_ver", "fractional", "cat", "<", ">", "+", "substr"])
    argument = lambda: fd_argument(rng, depth)
    if kind == "if":
        return {"if": [argument(), rng.choice(["on", "off", argument()])] + ([rng.choice(["off", "blue", None, argument()])] if rng.random() < 0.7 else [])}
    if kind in ("==", "!="):
        # Loose comparison of different types is where JSONLogic's implementations differ from each other.
        return {kind: [{"var": rng.choice(["plan", "email", "version"])}, rng.choice(["pro", "free", "", "a@x", "1.2.3", None])]}
    if kind in ("<", ">"):
        return {kind: [{"var": "age"}, rng.choice([0, 5, 18])]}
    if kind == "+":
        return {kind: [rng.choice([1, 2]), rng.choice([0, 1])]}
    if kind == "substr":
        return {kind: [rng.choice(["onward", "offer"]), 0, rng.choice([2, 3])]}
    if kind in ("starts_with", "ends_with"):
        return {kind: [{"var": rng.choice(["email", "plan", "age"])}, rng.choice(["a", "@x", "pro", "", "é"])]}
    if kind == "sem_ver":
        return {kind: [rng.choice([{"var": "version"}, rng.choice(VERSIONS), 1, 1.5]), rng.choice(["=", "!=", "<", "<=", ">", ">=", "^", "~", "?"]), rng.choice(VERSIONS)]}
    if kind == "fractional":
        buckets = [[rng.choice(["on", "off", "blue", "1"]), rng.choice([0, 1, 25, 50, 100, 2**30, -5])] for _ in range(rng.randint(1, 4))]
        if rng.random() < 0.2:
            buckets[0] = buckets[0][:1]
        head = rng.choice([[], [{"var": "email"}], [{"cat": [{"var": "$flagd.flagKey"}, {"var": "email"}]}], ["fixed"]])
        return {kind: head + buckets}
    if kind in ("!", "!!"):
        return {kind: [argument()]}
    if kind == "in":
        return {kind: [rng.choice(["pro", "a", {"var": "plan"}]), rng.choice([["pro", "free"], "approve", {"var": "email"}])]}
    if kind == "cat":
        return {kind: [rng.choice(["o", "b"]), rng.choice(["n", "lue", {"var": "plan"}])]}
    return {kind: [argument(), argument()]}


def flagd(rng, contexts):
    flags = {}
    for index in range(rng.randint(3, 8)):
        flag = {"state": "ENABLED" if rng.random() < 0.95 else "DISABLED", "variants": {"on": True, "off": False, "blue": {"x": [1, "a"]}, "1": 1.5, "true": "yes", "false": "no"}}
        if rng.random() < 0.85:
            flag["defaultVariant"] = rng.choice(["on", "off", "blue", None])
        if rng.random() < 0.9:
            flag["targeting"] = rng.choice([fd_rule(rng), {"if": [{"$ref": "shared"}, "on", fd_rule(rng)]}, {}])
        flags[f"flag{index}"] = flag
    contexts = [{key: value for key, value in (("targetingKey", rng.choice(["user", str(rng.randint(0, 10**6)), ""])), ("plan", rng.choice(["pro", "free", "", None])),
                                               ("age", rng.choice([0, 5, 18, 18.5, -1])), ("email", rng.choice(["a@x", "b@y", str(rng.randint(0, 10**6))])),
                                               ("version", rng.choice(VERSIONS)), ("nested", {"deep": rng.choice(["a", 1, None])}))
                 # What `cat` makes of nothing differs too.
                 if key == "email" or rng.random() < 0.9} for _ in range(contexts)]
    return {"flags": flags, "$evaluators": {"shared": {"==": [{"var": "plan"}, "pro"]}}}, list(flags) + ["unknown"], contexts


def generate(sdk, rng):
    """Definitions, flags and contexts that this SDK can be asked about."""
    if sdk == "yggdrasil":
        return unleash(rng, 8, rng.choice([0.1, 1.0]))
    if sdk == "unleash-js":
        return unleash_js(rng, 8)
    if sdk == "growthbook-js":
        return growthbook(rng, 8)
    if sdk == "growthbook-py":
        return growthbook(rng, 8, plain=True)
    return flagd(rng, 8)


def unleash_js(rng, contexts):
    """Without what Unleash's Node SDK does otherwise than Unleash's engine (README, "Where the SDKs differ")."""
    definitions, names, asked = unleash(rng, contexts, 0.0)
    for name, feature in zip(names, definitions["features"]):
        for strategy in feature["strategies"]:
            parameters = strategy["parameters"]
            if strategy["name"] == "flexibleRollout":
                parameters.setdefault("rollout", "50")
                parameters.setdefault("stickiness", "default")
            if "rollout" in parameters or "percentage" in parameters:
                parameters["groupId"] = "group"
            if strategy["name"] == "gradualRolloutRandom":
                parameters["percentage"] = rng.choice(["0", "100"])
            if "userIds" in parameters:
                parameters["userIds"] = "1, abc,10"
            if "IPs" in parameters:
                parameters["IPs"] = "10.0.0.0/8,192.168.1.0/24,127.0.0.1"
            for variant in strategy.get("variants", []):
                variant["stickiness"] = parameters.get("stickiness", "default")
            if "rollout" not in parameters:
                strategy.pop("variants", None)
            # A text constraint's empty or padded value is left out there.
            for constraint in strategy.get("constraints", []):
                plain_constraint(rng, constraint)
        for variant in feature["variants"]:
            variant.pop("overrides", None)
        feature.pop("dependencies", None)
    for segment in definitions["segments"]:
        for constraint in segment["constraints"]:
            plain_constraint(rng, constraint)
    for index, context in enumerate(asked):
        # Its hash takes the low byte of each character, and its stickiness an empty text for none; only a full context is alike.
        context.update(userId=str(rng.randint(0, 10**6)), sessionId=str(rng.randint(0, 10**6)), appName=rng.choice(["a", "pro", "abc123"]), environment="dev",
                       remoteAddress=rng.choice(["10.1.2.3", "127.0.0.1", "192.168.1.77"]), currentTime=rng.choice(DATES[:2]))
        context["properties"] = {"plan": rng.choice(["a", "pro", "Pro", "abc123"]), "email": rng.choice(["user@example.com", "example.com", "a"]),
                                 "age": rng.choice(["0", "1", "1.5", "-1", "1e3"]), "version": rng.choice(["1.0.0", "1.2.3", "1.2.3-alpha", "2.0.0"])}
    return definitions, names, asked


def plain_constraint(rng, constraint):
    if "values" in constraint:
        words = ["10.0.0.0/8", "127.0.0.1"] if constraint["operator"] == "IN_CIDR" else ["a", "A", "pro", "Pro", "10", "abc123", "example.com"]
        constraint["values"] = some(rng, words, 4, 1)
    elif constraint["operator"].startswith("DATE"):
        constraint.update(contextName="currentTime", value=rng.choice(DATES[:2] + DATES[2:3]))
    elif constraint["operator"].startswith("NUM"):
        constraint.update(contextName="age", value=rng.choice(["0", "1", "1.5", "-1", "1e3"]))
    elif constraint["operator"].startswith("SEMVER"):
        constraint.update(contextName="version", value=rng.choice(["1.0.0", "1.2.3", "1.2.3-alpha.1", "10.0.0"]))
    elif constraint["operator"] == "REGEX":
        constraint["value"] = rng.choice(["^a", "a$", "[a-z]+[0-9]+", "(", "^.$", "a|b", "(?i)PRO", "[^a]"])
