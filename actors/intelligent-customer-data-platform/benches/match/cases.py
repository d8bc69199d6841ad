"""Cases for matching: the data sets as they are and damaged further, with opaque ids, and who each record really is.

A case is {"name", "request": {"fields", "left", "right"?}, "people": {id: person}}. Damage is seeded: the same seed, the same case.
"""
import csv, json, pathlib, random

FEBRL = {
    "given_name": "name", "surname": "name", "street_number": "code", "address_1": "text", "address_2": "text", "suburb": "text",
    "postcode": "code", "state": "code", "date_of_birth": "date", "soc_sec_id": "code",
}
FAKE = {"first_name": "name", "surname": "name", "dob": "date", "city": "text", "email": "email"}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def febrl(path):
    """Rows with the person they are about: rec-12-org and rec-12-dup-3 are the same."""
    with open(path, newline="") as file:
        rows = [{key.strip(): value.strip() for key, value in row.items()} for row in csv.DictReader(file)]
    return [(row.pop("rec_id").split("-"), row) for row in rows]


def fake(path):
    with open(path, newline="") as file:
        rows = [{key.strip(): value.strip() for key, value in row.items()} for row in csv.DictReader(file)]
    return [(["rec", row.pop("cluster"), row.pop("unique_id")], row) for row in rows]


def typo(text, dice):
    """One slip of the hand: a letter put in, left out, exchanged, or two turned."""
    alphabet = "0123456789" if text.isdigit() else LETTERS
    place = dice.randrange(len(text))
    slip = dice.randrange(4)
    if slip == 0:
        return text[:place] + dice.choice(alphabet) + text[place:]
    if slip == 1 and len(text) > 1:
        return text[:place] + text[place + 1:]
    if slip == 2 and len(text) > 1:
        place = min(place, len(text) - 2)
        return text[:place] + text[place + 1] + text[place] + text[place + 2:]
    return text[:place] + dice.choice(alphabet) + text[place + 1:]


def damaged(row, fields, rates, dice):
    row = dict(row)
    typos, missing, swapped = rates
    for name in row:
        if row[name] and dice.random() < typos:
            row[name] = typo(row[name], dice)
        if dice.random() < missing:
            row[name] = ""
    if dice.random() < swapped:
        names = [name for name, kind in fields.items() if kind == "name"]
        one, other = names if dice.random() < 0.6 and len(names) == 2 else dice.sample(sorted(row), 2)
        row[one], row[other] = row[other], row[one]
    return row


def case(name, rows, fields, rates=(0, 0, 0), seed=0, linked=False):
    dice = random.Random(f"{name} {seed}")
    rows = [(who, damaged({field: row[field] for field in fields}, fields, rates, dice)) for who, row in rows]
    dice.shuffle(rows)
    ids = [f"{number:012x}" for number in dice.sample(range(1 << 40), len(rows))]
    people, left, right = {}, [], []
    for opaque, (who, row) in zip(ids, rows):
        people[opaque] = who[1]
        record = {"id": opaque, **{field: value for field, value in row.items() if value}}
        (right if linked and who[2] == "dup" else left).append(record)
    request = {"fields": fields, "left": left, "threshold": 0.5}
    if linked:
        request["right"] = right
    return {"name": name, "request": request, "people": people}


def together(rows):
    """Given name, surname, date of birth, postcode, and the whole address in one field."""
    parts = ("street_number", "address_1", "address_2", "suburb", "state")
    return [(who, {**row, "address": " ".join(filter(None, (row[part] for part in parts)))}) for who, row in rows]


def with_households(rows, dice):
    """Three of ten people get somebody who shares surname and address; given name, birthday and number are those of nobody else together."""
    originals = [(who, row) for who, row in rows if who[2] == "org"]
    others = []
    for who, row in originals:
        if dice.random() < 0.3:
            own = {field: dice.choice(originals)[1][field] for field in ("given_name", "date_of_birth")}
            others.append((["rec", f"{who[1]}-household", "org"], {**row, **own, "soc_sec_id": str(dice.randrange(1_000_000, 10_000_000))}))
    return rows + others


LIGHT, HEAVY = (0.08, 0.08, 0.05), (0.2, 0.2, 0.1)


def cases(data, seeds):
    """All cases of the data sets."""
    data = pathlib.Path(data)
    sets = {f"febrl{number}": febrl(data / f"dataset{number}.csv") for number in (1, 2, 3)}
    fake_rows = fake(data / "splink_fake_1000.csv")
    for name, rows in sets.items():
        yield case(name, rows, FEBRL)
    yield case("fake", fake_rows, FAKE)
    yield case("febrl2-linked", sets["febrl2"], FEBRL, linked=True)
    without = {field: kind for field, kind in FEBRL.items() if field != "soc_sec_id"}
    few = {"given_name": "name", "surname": "name", "date_of_birth": "date", "postcode": "code", "address": "text"}
    households = with_households(sets["febrl2"], random.Random("households"))
    yield case("febrl2-households", households, FEBRL)
    yield case("febrl2-households-no-number", households, without)
    yield case("febrl2-households-five-fields", together(households), few)
    for name, rows in sets.items():
        yield case(f"{name}-no-number", rows, without)
        yield case(f"{name}-five-fields", together(rows), few)
    for seed in seeds:
        for how, rates in (("light", LIGHT), ("heavy", HEAVY)):
            for name, rows in sets.items():
                yield case(f"{name}-{how}-{seed}", rows, FEBRL, rates, seed)
            yield case(f"febrl3-no-number-{how}-{seed}", sets["febrl3"], without, rates, seed)
            yield case(f"febrl2-five-fields-{how}-{seed}", together(sets["febrl2"]), few, rates, seed)
            yield case(f"febrl2-linked-{how}-{seed}", sets["febrl2"], without, rates, seed, linked=True)
            yield case(f"fake-{how}-{seed}", fake_rows, FAKE, rates, seed)


def write(data, folder, seeds):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for one in cases(data, seeds):
        (folder / f"{one['name']}.json").write_text(json.dumps(one))
        names.append(one["name"])
    return names
