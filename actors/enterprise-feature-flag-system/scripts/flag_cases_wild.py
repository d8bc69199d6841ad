"""Cases for flag-differences --wild: nothing is left out, definitions are malformed and contexts odd. An SDK may throw where ours answers; what it answers
is compared."""

import random

import flag_cases as tame

TEXTS = tame.WORDS + tame.VERSIONS + tame.DATES[:4] + ["\u0000", "\u2028", "a\nb", "𝒳", "e\u0301", "Σ", "ς", "ﬁ", "null", "undefined", "[object Object]", "1,2", "-0", "1e21", "١"]
NUMBERS = [0, 1, -1, 2, 5, 0.5, 1.5, 1e21, 1e-7, -1e300, 9007199254740993, 2**31, -2**31, 0.1, 1e308, 5e-324, -0.0, 100, 18]
IDS = ["", "0", "1", "a", "user@example.com", "😀é", "名前", "\u0000", " ", "-1", "1.0"]


def scalar(rng):
    return rng.choice([None, True, False, rng.choice(NUMBERS), rng.choice(NUMBERS), rng.choice(TEXTS), rng.choice(TEXTS), str(rng.randint(0, 50))])


def value(rng, depth=3):
    if depth and rng.random() < 0.3:
        if rng.random() < 0.5:
            return [value(rng, depth - 1) for _ in range(rng.randint(0, 3))]
        return {rng.choice(["a", "b", "2", "10", "deep", "", "a.b", "size", "$in", "é"]): value(rng, depth - 1) for _ in range(rng.randint(0, 3))}
    return scalar(rng)


# GrowthBook

GB_FIELDS = ["id", "plan", "age", "tags", "nested", "nested.deep", "nested.deep.a", "nested.2", "version", "flag", "tags.0", "tags.1.a", "tags.length", "missing", "", "a.b", "nested."]
GB_OPERATORS = ["$eq", "$ne", "$lt", "$lte", "$gt", "$gte", "$exists", "$in", "$nin", "$ini", "$nini", "$inGroup", "$notInGroup", "$regex", "$regexi", "$type", "$size", "$all", "$alli",
                "$elemMatch", "$not", "$veq", "$vne", "$vgt", "$vgte", "$vlt", "$vlte", "$unknown", "$or", "$and", "$"]
GB_PATTERNS = tame.PATTERNS + ["a/b", "a\\/b", "[/]", "^(?:a|b)+$", "\\u00e9", "\\x41", "\\cA", "[\\w-]+", "[]", "[^]", "a**", "\\", "{", "}", "]", "a{,2}", "a{2", "x{3,1}", "\\d{3}", ".", "^$", "(a)(b)?", "\\S+",
                               "\\0", "\\.", "[a-\\d]", "[z-a]", "(?<n>a)", "\\W", "\\D", "\\B", "[\\b]", "\\/", "$^", "🙂", ".{2}", "^.{1}$", "\\$", "[[:alpha:]]", "[a&&b]", "[a~~b]", "\\pL", "\\A", "\\z", "#", "x y"]
GB_URLS = ["", "https://www.example.com/shop?exp=1", "http://example.com/?exp2=0&exp=1#top", "/shop/cart", "https://example.com/?exp=2", "https://example.com/?exp=abc", "https://example.com?feature0=1",
           "https://example.com/?exp=-1", "https://example.com/?a=b?exp=1", "https://example.com/?exp", "https://example.com/?exp=1.9&exp=0", "not a url", "https://example.com/#?exp=1", "https://EXAMPLE.com:8080/Shop/"]


def gb_operator_object(rng, depth):
    found = {}
    for _ in range(rng.choice([0, 1, 1, 1, 2])):
        operator = rng.choice(GB_OPERATORS)
        if operator in ("$in", "$nin", "$ini", "$nini", "$all", "$alli"):
            expected = [value(rng, 1) for _ in range(rng.randint(0, 5))] if rng.random() < 0.9 else value(rng)
            if operator in ("$all", "$alli") and isinstance(expected, list) and rng.random() < 0.3 and depth:
                expected.append(gb_operator_object(rng, depth - 1))
        elif operator in ("$regex", "$regexi"):
            expected = rng.choice(GB_PATTERNS) if rng.random() < 0.95 else value(rng, 1)
        elif operator in ("$inGroup", "$notInGroup"):
            expected = rng.choice(["ids", "plans", "list", "rule", "unknown", "odd", "", None, 1])
        elif operator == "$type":
            expected = rng.choice(["string", "number", "boolean", "array", "object", "null", "undefined", "unknown", None, 1])
        elif operator == "$elemMatch":
            expected = gb_operator_object(rng, depth - 1) if depth and rng.random() < 0.6 else gb_condition(rng, depth - 1)
        elif operator in ("$not", "$size"):
            expected = gb_operator_object(rng, depth - 1) if depth and rng.random() < 0.6 else value(rng, 1)
        else:
            expected = value(rng, 1)
        found[operator] = expected
    if rng.random() < 0.03:
        found["plain"] = value(rng, 1)
    return found


def gb_condition(rng, depth=2):
    found = {}
    for _ in range(rng.choice([0, 1, 1, 2])):
        if depth > 0 and rng.random() < 0.3:
            key = rng.choice(["$or", "$and", "$nor", "$not", "$savedGroup"])
            if rng.random() < 0.04:
                found[key] = value(rng, 1)
            elif key == "$not":
                found[key] = gb_condition(rng, depth - 1)
            elif key == "$savedGroup":
                found[key] = rng.choice([{"id": "list"}, {"id": "rule"}, {"id": "loop"}, {"id": "list", "attributeKey": rng.choice(["plan", "tags", "nested.deep", None, 1])}, {"id": "unknown"}, {"id": "ids"}, {"id": "odd"}, {"id": 1}, "list", None])
            else:
                found[key] = [gb_condition(rng, depth - 1) for _ in range(rng.randint(0, 3))]
        else:
            found[rng.choice(GB_FIELDS)] = gb_operator_object(rng, depth) if rng.random() < 0.75 else value(rng)
    return found


def gb_malformed(rng, rule):
    """One field of a rule is of another form, missing or out of range."""
    field = rng.choice(["coverage", "weights", "namespace", "filters", "ranges", "range", "seed", "hashAttribute", "hashVersion", "meta", "key", "condition", "variations", "parentConditions",
                        "bucketVersion", "minBucketVersion", "fallbackAttribute", "force", "id"])
    choice = rng.random()
    if field == "force" and "force" not in rule:
        return
    if choice < 0.15:
        rule.pop(field, None)
    elif field == "coverage":
        rule[field] = rng.choice([-1, -0.5, 1.5, 2, "0.5", "abc", None, True, False, [], [0.5], {}, 1e-9, 0.999999])
    elif field == "weights":
        rule[field] = rng.choice([[], [1], [0.5, 0.5], [0.7, 0.3, 0], [1, 1], [0.495, 0.495], [0.51, 0.5], [-0.5, 1.5], [None, 1], [True, False], None, 0, "", {}, [0, 1], [0.2, 0.3, 0.5], [1.0, 0, 0]])
    elif field == "namespace":
        rule[field] = rng.choice([["ns", 0, 1], ["ns", 0, 0], ["ns", 0.4, 0.6], ["ns", 1, 0], ["ns", 0], ["ns"], [], ["", 0, 1], [1, 0, 0.5], ["ns", "0", "0.5"], ["ns", None, 1], None, {}, ["ns", 0, 2], ["ns", -1, 0.5]])
    elif field == "filters":
        one = {"seed": rng.choice(["f", "", "ß"]), "ranges": rng.choice([[[0, 1]], [[0, 0.5]], [], [[0.5, 0]], [["0", "0.5"]], [[0]], [[None, 0.5]], [[]]]), "hashVersion": rng.choice([1, 2, 3, 0, None])}
        rule[field] = rng.choice([[], [one], [one, {"seed": "5", "ranges": [[0, 0.9]]}], [{**one, "attribute": rng.choice(["plan", "", "missing", "age"])}], None])
    elif field == "ranges":
        rule[field] = rng.choice([[], [[0, 0.5]], [[0, 0.3], [0.3, 0.6], [0.6, 0.9], [0.9, 1], [0, 1]], [[0.5, 1], [0, 0.5]], [["0", "0.5"], ["0.5", 1]], [[0]], [[None, 1]], None, {}, [[0, 1, 2], [0.5]], 5])
    elif field == "range":
        rule[field] = rng.choice([[0, 1], [0, 0.5], [0.5, 0], [0.3], [], None, ["0", "0.5"], [None, 0.5], [0, 2], [-1, 0.1], {}])
    elif field in ("seed", "key", "hashAttribute", "fallbackAttribute", "id"):
        rule[field] = rng.choice(["", "plan", "age", "id", "ß", "missing", None])
    elif field == "hashVersion":
        rule[field] = rng.choice([0, 1, 2, 3, -1, "2", None, 1.5, True])
    elif field == "meta":
        rule[field] = rng.choice([None, [{"key": "a"}, {"key": "b"}, {"key": "a"}, {}], [{}, {}, {}, {}], [{"key": ""}, {"key": "x", "passthrough": 1}, {"passthrough": "y"}, {"name": ""}], [{"key": 5}, {"key": 0}, {"key": None}, {"key": "1"}]])
    elif field == "condition":
        rule[field] = rng.choice([None, {}, "", 0, 5, True, [], "abc", [{"a": 1}]])
    elif field == "variations":
        rule[field] = rng.choice([[], ["only"], None, ["a", "b"], [1, 2, 3, 4, 5], [None, False], [{}, []]])
    elif field == "parentConditions":
        rule[field] = rng.choice([None, [], [{"id": "feature0"}], [{"id": "feature0", "condition": None}], [{"id": "unknown", "condition": {"value": None}, "gate": True}], [{"id": "unknown", "condition": {"value": {"$exists": False}}}],
                                  [{"condition": {}}], [{"id": "feature1", "condition": {"value": {"$exists": True}}, "gate": rng.choice([True, False, 1, 0, "x"])}]])
    elif field in ("bucketVersion", "minBucketVersion"):
        rule[field] = rng.choice([0, 1, 2, 3, -1, 1.5, None, "1"])
    else:
        rule[field] = value(rng, 1)


def gb_rule(rng, names):
    rule = {"id": rng.choice(["r1", "r2", ""])} if rng.random() < 0.3 else {}
    if rng.random() < 0.6:
        rule["condition"] = gb_condition(rng)
    if rng.random() < 0.25:
        parent = {"id": rng.choice(names), "condition": gb_condition(rng, 1) if rng.random() < 0.3 else {"value": gb_operator_object(rng, 1) if rng.random() < 0.6 else value(rng, 1)}}
        if rng.random() < 0.4:
            parent["gate"] = True
        rule["parentConditions"] = [parent]
    for field, make in (("seed", lambda: rng.choice(["seed", "ß", "", "1"])), ("hashVersion", lambda: rng.choice([1, 2, 2, 3])), ("hashAttribute", lambda: rng.choice(["id", "plan", "age", "missing", "flag", "tags", "nested"])),
                        ("coverage", lambda: rng.choice([0, 0.1, 0.5, 0.99, 1, 1.5, rng.random()])), ("fallbackAttribute", lambda: rng.choice(["id", "plan", "age", "missing"])),
                        ("disableStickyBucketing", lambda: rng.random() < 0.5), ("bucketVersion", lambda: rng.choice([0, 1, 2])), ("minBucketVersion", lambda: rng.choice([0, 1, 2]))):
        if rng.random() < 0.2:
            rule[field] = make()
    if rng.random() < 0.4:
        rule["force"] = value(rng)
        if rng.random() < 0.2:
            low = rng.random()
            rule["range"] = [low, low + rng.random()]
    else:
        count = rng.randint(2, 4)
        rule["variations"] = [value(rng, 1) for _ in range(count)]
        for field, make in (("key", lambda: rng.choice(["exp", "exp2", "эксп", "0"])), ("weights", lambda: rng.choice([[1 / count] * count, [0.1] * count, [1] + [0] * (count - 1), [0.5], [0.34, 0.33, 0.33][:count]])),
                            ("ranges", lambda: [[index / count, (index + 1) / count] for index in range(count)]), ("namespace", lambda: ["ns", rng.choice([0, 0.2]), rng.choice([0.5, 1])]),
                            ("meta", lambda: [{"key": f"k{index}", **({"passthrough": True} if rng.random() < 0.2 else {})} for index in range(count)])):
            if rng.random() < 0.35:
                rule[field] = make()
    if rng.random() < 0.2:
        gb_malformed(rng, rule)
    return rule


def gb_attributes(rng):
    found = {"id": rng.choice([str(rng.randint(0, 10**6)), str(rng.randint(0, 10**6)), rng.randint(0, 10**6), rng.choice(IDS), value(rng, 2)])}
    for name, make in (("plan", lambda: rng.choice(["pro", "free", "Pro", "", None, value(rng, 1)])), ("age", lambda: rng.choice([rng.choice(NUMBERS), str(rng.randint(0, 99)), value(rng, 1)])), ("tags", lambda: [value(rng, 2) for _ in range(rng.randint(0, 4))]),
                       ("nested", lambda: rng.choice([{"deep": value(rng, 2), "2": value(rng, 1), "": value(rng, 1)}, value(rng, 2)])), ("version", lambda: rng.choice(tame.VERSIONS + [1, 2.5, None, []])), ("flag", lambda: value(rng, 2)), ("a.b", lambda: scalar(rng)), ("", lambda: scalar(rng))):
        if rng.random() < 0.7:
            found[name] = make()
    return found


def gb_context(rng, names):
    attributes = gb_attributes(rng)
    if rng.random() < 0.5:
        return attributes
    context = {"attributes": attributes}
    keys = ["exp", "exp2", "эксп", "0", *names]
    for field, make in (("url", lambda: rng.choice(GB_URLS)), ("enabled", lambda: rng.random() < 0.7), ("qaMode", lambda: rng.random() < 0.5),
                        ("forcedVariations", lambda: {rng.choice(keys): rng.choice([0, 1, 2, 5, -1]) for _ in range(rng.randint(0, 2))}),
                        ("forcedFeatureValues", lambda: {rng.choice(names): value(rng, 1) for _ in range(rng.randint(0, 2))}),
                        ("attributeOverrides", lambda: {key: found for key, found in gb_attributes(rng).items() if rng.random() < 0.4}),
                        ("savedGroups", lambda: gb_groups(rng)), ("overrides", lambda: {rng.choice(keys): gb_override(rng) for _ in range(rng.randint(0, 2))}),
                        ("groups", lambda: {"beta": rng.random() < 0.5, "staff": 1}), ("stickyBucketAssignmentDocs", lambda: gb_sticky(rng, attributes, keys))):
        if rng.random() < 0.25:
            context[field] = make()
    return context


def gb_override(rng):
    found = {}
    for field, make in (("condition", lambda: gb_condition(rng, 1)), ("weights", lambda: rng.choice([[0.5, 0.5], [0, 1], [1, 0, 0]])), ("active", lambda: rng.random() < 0.5), ("status", lambda: rng.choice(["draft", "running", "stopped"])),
                        ("force", lambda: rng.choice([0, 1, 3, -1])), ("coverage", lambda: rng.random()), ("groups", lambda: [rng.choice(["beta", "staff", "none"])]), ("namespace", lambda: ["ns", 0, rng.random()]),
                        ("url", lambda: rng.choice(["^/shop", "example\\.com", "("])), ("hashAttribute", lambda: rng.choice(["id", "plan"])),
                        ("urlPatterns", lambda: [{"type": rng.choice(["simple", "regex"]), "include": rng.random() < 0.7, "pattern": rng.choice(["/shop/*", "*.example.com/*", "^https://", "example.com", "/shop?exp=1", "/#top"])}])):
        if rng.random() < 0.25:
            found[field] = make()
    return found


def gb_sticky(rng, attributes, keys):
    documents = {}
    for name in ("id", "plan", "age"):
        held = attributes.get(name)
        if isinstance(held, str) and rng.random() < 0.7:
            documents[f"{name}||{held}"] = {"attributeName": name, "attributeValue": held,
                                            "assignments": {f"{rng.choice(keys)}__{rng.choice([0, 0, 1, 2])}": rng.choice(["k0", "k1", "0", "1", "unknown"]) for _ in range(rng.randint(0, 4))}}
    return documents


def gb_groups(rng):
    return {"ids": [scalar(rng) for _ in range(rng.randint(0, 4))], "plans": ["pro", "free"],
            "list": {"type": "list", "attributeKey": rng.choice(["id", "plan", "tags", "nested.deep"]), "values": ["1", 2, "abc", "pro"]}, "rule": {"type": "condition", "condition": gb_condition(rng, 1)},
            "loop": {"type": "condition", "condition": {"$savedGroup": {"id": "loop"}}}, "odd": rng.choice([None, 5, "x", {}, {"type": "list"}, {"type": "list", "values": 5, "attributeKey": "id"}, {"type": "condition"}, {"type": "new"}])}


def growthbook(rng, contexts):
    names = [f"feature{index}" for index in range(rng.randint(3, 7))]
    features = {}
    for name in names:
        features[name] = {"rules": [gb_rule(rng, [*names, "unknown"]) for _ in range(rng.randint(0, 4))]}
        if rng.random() < 0.9:
            features[name]["defaultValue"] = value(rng)
        if rng.random() < 0.03:
            features[name] = rng.choice([{}, {"defaultValue": 1}, {"rules": []}, {"rules": None, "defaultValue": "x"}])
    return {"features": features, "savedGroups": gb_groups(rng)}, [*names, "unknown"], [gb_context(rng, names) for _ in range(contexts)]


# Unleash

UN_FIELDS = tame.FIELDS + ["missing", "", "properties", "userid", "plan.x", "seats"]
UN_STICKY = ["default", "userId", "sessionId", "plan", "email", "appName", "seats", "", "environment", "remoteAddress"]


def un_text(rng):
    return rng.choice([rng.choice(TEXTS), rng.choice(TEXTS), str(rng.randint(0, 30)), rng.choice(tame.NUMBERS), rng.choice(tame.ADDRESSES)])


def un_constraint(rng, odd):
    operator = rng.choice([*tame.OPERATORS, "NEW_OPERATOR"] if rng.random() < odd else tame.OPERATORS)
    pools = {"NUM": tame.NUMBERS, "DATE": tame.DATES, "SEMVER": tame.VERSIONS, "REGEX": tame.PATTERNS + GB_PATTERNS}
    pool = pools.get(operator.split("_")[0], tame.NETWORKS if operator == "IN_CIDR" else TEXTS)
    found = {"contextName": rng.choice(UN_FIELDS), "operator": operator}
    if operator.split("_")[0] in pools:
        found["value"] = rng.choice(pool if rng.random() < odd or operator == "REGEX" else pool[:3])
    else:
        found["values"] = [rng.choice(pool) for _ in range(rng.randint(0 if rng.random() < odd else 1, 4))]
    for field in ("inverted", "caseInsensitive"):
        if rng.random() < 0.35:
            found[field] = rng.random() < 0.8
    if rng.random() < 0.1 * odd:
        found[rng.choice(["value", "values"])] = None
    if rng.random() < 0.1 * odd:
        found["values" if "value" in found else "value"] = [un_text(rng)] if "value" in found else un_text(rng)
    return found


def un_variants(rng, feature):
    found = []
    for index in range(rng.randint(0, 4)):
        variant = {"name": rng.choice([f"v{index}", f"v{index}", "", "é"]), "weight": rng.choice([0, 1, 10, 333, 1000, 5000])}
        if rng.random() < 0.7:
            variant["stickiness"] = rng.choice(UN_STICKY)
        if rng.random() < 0.5:
            variant["payload"] = rng.choice([{"type": rng.choice(["string", "json", "csv", "number"]), "value": un_text(rng)}, None])
        if feature and rng.random() < 0.3:
            variant["overrides"] = rng.choice([None, [{"contextName": rng.choice(UN_FIELDS), "values": [un_text(rng) for _ in range(rng.randint(0, 3))]} for _ in range(rng.randint(0, 2))]])
        found.append(variant)
    return found


def un_strategy(rng, name, odd):
    kind = rng.choice(["default", "flexibleRollout", "flexibleRollout", "flexibleRollout", "userWithId", "gradualRolloutUserId", "gradualRolloutSessionId", "remoteAddress", "gradualRolloutRandom", "applicationHostname", "custom", ""])
    percentage = rng.choice([str(rng.randint(0, 100)), str(rng.randint(0, 100)), "0", "100"] + (["101", "050", "+5", "12.5", "-1", "", "1e2", " 7", "abc", "99999999999"] if rng.random() < odd else []))
    group = rng.choice([name, "group", "gr:up", "グループ", "", 'gr"oup', "a\\", "\n"] if rng.random() < odd else [name, "group", "グループ"])
    parameters = {"flexibleRollout": {"rollout": percentage, "groupId": group, "stickiness": rng.choice(UN_STICKY)}, "userWithId": {"userIds": rng.choice([",", ", ", " ,"]).join(un_text(rng) for _ in range(rng.randint(0, 6)))},
                  "gradualRolloutUserId": {"percentage": percentage, "groupId": group}, "gradualRolloutSessionId": {"percentage": percentage, "groupId": group}, "gradualRolloutRandom": {"percentage": rng.choice(["0", "100"])},
                  "remoteAddress": {"IPs": rng.choice([",", ", "]).join(rng.choice(tame.NETWORKS + tame.ADDRESSES) for _ in range(rng.randint(0, 4)))}}.get(kind, {})
    if rng.random() < 0.1 * odd and parameters:
        parameters.pop(rng.choice(list(parameters)))
    strategy = {"name": kind, "parameters": parameters}
    if rng.random() < 0.05 * odd:
        strategy.pop("parameters") if rng.random() < 0.5 else strategy.update(parameters=None)
    if rng.random() < 0.5:
        strategy["constraints"] = rng.choice([None, [], *[[un_constraint(rng, odd) for _ in range(rng.randint(1, 3))]] * 5])
    if rng.random() < 0.25:
        strategy["segments"] = rng.choice([None, [], [1], [2, 3], [99] if rng.random() < odd else [3], [1, 1]])
    if rng.random() < 0.3:
        strategy["variants"] = rng.choice([None, un_variants(rng, False), un_variants(rng, False)])
    if rng.random() < 0.1:
        strategy.update(sortOrder=rng.choice([0, 1, 5, None]), disabled=False, title="t")
    return strategy


def unleash(rng, contexts):
    odd = rng.choice([0.02, 0.3, 1.0])
    features, names = [], []
    for index in range(rng.randint(4, 9)):
        name = rng.choice(["f", "flag ", "フラグ", "a/b.", "é", '"', "\\"] if rng.random() < odd else ["f", "a/b."]) + str(index)
        feature = {"name": name, "enabled": rng.random() < 0.92, "strategies": [un_strategy(rng, name, odd) for _ in range(rng.randint(0, 3))]}
        if rng.random() < 0.7:
            feature["variants"] = rng.choice([None, un_variants(rng, True), un_variants(rng, True)])
        if names and rng.random() < 0.3:
            feature["dependencies"] = [{"feature": rng.choice([*names, "missing", name]), **rng.choice([{}, {"enabled": False}, {"enabled": True}, {"enabled": None, "variants": None}, {"variants": ["v0", "v1"]}, {"variants": []}, {"variants": ["disabled"]},
                                                                                                        {"enabled": False, "variants": ["v0"]}])} for _ in range(rng.randint(1, 2))]
        names.append(name)
        features.append(feature)
    segments = [{"id": identifier, "constraints": [un_constraint(rng, odd / 2) for _ in range(rng.randint(0, 2))]} for identifier in (1, 2, 3)]
    return {"version": 2, "features": features, "segments": segments}, [*names, "unknown"], [un_context(rng) for _ in range(contexts)]


def un_context(rng):
    # Every field that something is sticky by is there with a value: without one, a share is drawn anew by every SDK.
    context = {"sessionId": str(rng.randint(0, 10**6)), "userId": rng.choice([str(rng.randint(0, 10**6)), rng.choice([text for text in TEXTS if text])]), "appName": rng.choice(["a", "pro", "é"]), "environment": rng.choice(["dev", "prod"]),
               "remoteAddress": rng.choice([address for address in tame.ADDRESSES if address])}
    if rng.random() < 0.6:
        context["currentTime"] = rng.choice(tame.DATES + ["2022-01-29T13:00:00+0200", "2022-01-29 13:00:00", "1643461200", "2022-01-29T13:00Z", "2022-W04-6"])
    properties = {"plan": rng.choice(["a", "pro", "Pro", "10"]), "email": rng.choice(["user@example.com", "é", "1.2.3"]), "seats": str(rng.randint(0, 30)), "": un_text(rng) or "x"}
    for name, make in (("age", lambda: rng.choice(tame.NUMBERS)), ("version", lambda: rng.choice(tame.VERSIONS)), ("näme", lambda: un_text(rng)), ('quo"te', lambda: un_text(rng)), ("userId", lambda: un_text(rng)), ("missing", lambda: None)):
        if rng.random() < 0.6:
            properties[name] = make()
    if rng.random() < 0.1:
        properties["age"] = rng.choice([1, 5, 1.5, -3, 0, True, None, 1e3])
    context["properties"] = properties
    return context


# flagd

FD_OPERATORS = ["if", "if", "if", "?:", "==", "===", "!=", "!==", "<", "<=", ">", ">=", "and", "or", "!", "!!", "in", "cat", "+", "-", "*", "/", "%", "max", "min", "merge", "substr", "missing", "missing_some", "map", "filter", "all", "none", "some",
                "reduce", "starts_with", "ends_with", "sem_ver", "fractional", "fractional", "fractional"]
FD_COMPARISONS = ["==", "===", "!=", "!==", "<", "<=", ">", ">="]
FD_FIELDS = ["plan", "age", "email", "version", "nested.deep", "nested.2", "nested", "missing", "targetingKey", "tags", "tags.0", "tags.1", "$flagd.flagKey", "flag", "seats"]


def fd_variable(rng):
    field = rng.choice(FD_FIELDS)
    return {"var": rng.choice([field, field, field, [field], [field, scalar(rng)]])}


def fd_argument(rng, depth):
    choice = rng.random()
    if depth > 0 and choice < 0.45:
        return fd_rule(rng, depth - 1)
    return fd_variable(rng) if choice < 0.8 else rng.choice(["on", "off", "pro", "", "1", None, True, False, *NUMBERS[:6], rng.choice(TEXTS), [scalar(rng) for _ in range(rng.randint(0, 3))]])


def fd_rule(rng, depth=2):
    kind = rng.choice(FD_OPERATORS)
    argument = lambda: fd_argument(rng, depth)
    if kind in ("if", "?:"):
        count = rng.choice([3, 3, 3, 2, 4, 5, 1])
        return {kind: [argument() if place % 2 == 0 and place < count - 1 else rng.choice(["on", "off", "blue", "1", "true", None, argument()]) for place in range(count)]}
    if kind in ("starts_with", "ends_with"):
        return {kind: [fd_variable(rng), rng.choice(["a", "@x", "pro", "", "é", 1, argument()])][: rng.choice([2, 2, 2, 2, 1])]}
    if kind == "sem_ver":
        return {kind: [rng.choice([fd_variable(rng), {"var": "version"}, rng.choice(tame.VERSIONS), 1, 1.5, -1, 1e21]), rng.choice(["=", "!=", "<", "<=", ">", ">=", "^", "~", "?", "==", "", None, 1]), rng.choice([*tame.VERSIONS, argument()])][: rng.choice([3, 3, 3, 3, 2])]}
    if kind == "fractional":
        weight = lambda: rng.choice([0, 1, 25, 50, 100, 100, 2**30, 2**31 - 1, -5, 1.5, "50", None, True, argument()] if rng.random() < 0.3 else [1, 25, 50, 100, 0])
        buckets = [[rng.choice(["on", "off", "blue", "1", True, False, 1, None, argument()] if rng.random() < 0.3 else ["on", "off", "blue"]), weight()] for _ in range(rng.randint(0, 4))]
        if buckets and rng.random() < 0.3:
            buckets[0] = rng.choice([buckets[0][:1], [], [*buckets[0], 1], "on", {"x": 1}.get("y")])
        return {kind: rng.choice([[], [fd_variable(rng)], [{"cat": [{"var": "$flagd.flagKey"}, fd_variable(rng)]}], ["fixed"], [argument()]]) + buckets}
    if kind in ("map", "filter", "all", "none", "some"):
        return {kind: [rng.choice([{"var": "tags"}, {"var": "missing"}, {"merge": [{"var": "tags"}, 1]}]), rng.choice([{"var": ""}, {"==": [{"var": ""}, "a"]}, {">": [{"var": ""}, 1]}, {"!!": [{"var": ""}]}, True])]}
    if kind == "reduce":
        return {kind: [rng.choice([{"var": "tags"}, [1, 2, 3]]), {"+": [{"var": "current"}, {"var": "accumulator"}]}, 0]}
    if kind == "missing":
        return {kind: [rng.choice(FD_FIELDS) for _ in range(rng.randint(1, 3))]}
    if kind == "missing_some":
        return {kind: [rng.choice([1, 2]), [rng.choice(FD_FIELDS) for _ in range(rng.randint(1, 3))]]}
    if kind in ("!", "!!"):
        return {kind: rng.choice([[argument()], fd_variable(rng)])}
    if kind == "in":
        return {kind: [argument(), rng.choice([["pro", "free", 1, None], "approve", {"var": "email"}, {"var": "tags"}, {"merge": [{"var": "tags"}, {"var": "plan"}]}, fd_variable(rng)])]}
    if kind == "cat":
        # Its compiled `and` and `or` have no parentheses there, nor below `in`.
        return {kind: [rng.choice([fd_variable(rng), scalar(rng), "-", {"if": [fd_variable(rng), "a", "b"]}, {"+": [{"var": "seats"}, 1]}]) for _ in range(rng.randint(1, 3))]}
    if kind == "substr":
        return {kind: [rng.choice([{"var": "email"}, {"var": "plan"}, {"var": "age"}, "onward", "😀é"]), rng.choice([0, 1, -1, -2, 5]), *([rng.choice([2, 0, -1, 3])] if rng.random() < 0.6 else [])]}
    if kind in FD_COMPARISONS:
        # The core's compiled code forgets a comparison's first side while it computes one like `{"+": [{"var": "age"}, 1]}` on the second.
        return {kind: [argument(), rng.choice([fd_variable(rng), scalar(rng), "pro", 18])]}
    if kind in ("+", "-", "*", "/", "%", "max", "min") and rng.random() < 0.2:
        return {kind: [rng.choice([{"var": "seats"}, {"var": "age"}, 2, "3"])]}
    return {kind: [argument() for _ in range(rng.choice([2, 2, 2, 3]))]}


def flagd(rng, contexts):
    flags = {}
    for index in range(rng.randint(3, 8)):
        flag = {"state": "ENABLED" if rng.random() < 0.95 else "DISABLED", "variants": {"on": True, "off": False, "blue": {"x": [1, "a"]}, "1": 1.5, "true": "yes", "false": "no", "null": None, "0": 0, "": "empty"}}
        if rng.random() < 0.85:
            flag["defaultVariant"] = rng.choice(["on", "off", "blue", "0", "", None])
        if rng.random() < 0.95:
            flag["targeting"] = rng.choice([fd_rule(rng), fd_rule(rng), fd_rule(rng, 3), {"if": [{"$ref": "shared"}, "on", fd_rule(rng)]}, {"if": [fd_rule(rng), {"$ref": "nested"}]}, {}, None, "on", {"$ref": "missing"}, {"unknown": [1]}])
        flags[f"flag{index}"] = flag
    evaluators = {"shared": {"==": [{"var": "plan"}, "pro"]}, "nested": {"if": [{"in": ["a", {"var": "email"}]}, fd_rule(rng, 1)]}}
    return {"flags": flags, "$evaluators": evaluators}, [*flags, "unknown"], [fd_context(rng) for _ in range(contexts)]


def fd_context(rng):
    found = {}
    for name, make in (("targetingKey", lambda: rng.choice(["user", str(rng.randint(0, 10**6)), str(rng.randint(0, 10**6)), ""])), ("plan", lambda: rng.choice(["pro", "free", "", None, scalar(rng)])), ("age", lambda: rng.choice([0, 5, 18, 18.5, -1, "18", "old", None])),
                       ("email", lambda: rng.choice(["a@x", "b@y", str(rng.randint(0, 10**6)), ""])), ("version", lambda: rng.choice([*tame.VERSIONS, 1, 1.2, None])), ("nested", lambda: rng.choice([{"deep": scalar(rng), "2": 1}, None, "x", [1, 2, 3]])),
                       ("tags", lambda: [scalar(rng) for _ in range(rng.randint(0, 3))]), ("flag", lambda: value(rng, 1)), ("$flagd", lambda: {"flagKey": "x"}), ("seats", lambda: rng.randint(0, 30))):
        if rng.random() < 0.8:
            found[name] = make()
    return found


def generate(sdk, rng):
    """Definitions, flags and contexts for an SDK."""
    return {"growthbook-js": growthbook, "growthbook-py": growthbook, "yggdrasil": unleash, "unleash-js": unleash, "flagd-js": flagd}[sdk](rng, 6)
