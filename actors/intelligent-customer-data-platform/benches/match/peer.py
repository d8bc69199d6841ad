"""Splink 5.0 on a case: python peer.py CASE.json... prints a line of JSON each. Its settings are those of its own examples for these data sets."""
import json, logging, os, sys, time, warnings

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import pandas as pd
import splink.comparison_library as cl
from splink import DuckDBAPI, Linker, SettingsCreator, block_on


def comparison(field, kind, date_format):
    if kind == "name":
        return cl.NameComparison(field)
    if kind == "date":
        return cl.DateOfBirthComparison(field, input_is_string=True, datetime_format=date_format)
    if kind == "email":
        return cl.EmailComparison(field)
    if field in ("soc_sec_id", "postcode"):
        return cl.DamerauLevenshteinAtThresholds(field, [1, 2]).configure(term_frequency_adjustments=True)
    if kind == "code" or field == "city":
        return cl.ExactMatch(field).configure(term_frequency_adjustments=True)
    return cl.JaroWinklerAtThresholds(field, [0.9, 0.7]).configure(term_frequency_adjustments=True)


def match(request):
    fields = request["fields"]
    frame = lambda rows: pd.DataFrame(rows, columns=["id", *fields]).replace({"": None, float("nan"): None})
    tables = [frame(request["left"])] + ([frame(request["right"])] if "right" in request else [])
    dates = [field for field, kind in fields.items() if kind == "date"]
    date_format = "%Y-%m-%d" if "dob" in fields else "%Y%m%d"
    if "dob" in fields:
        rules = [block_on("first_name", "surname"), block_on("surname", "dob"), block_on("first_name", "dob"), block_on("email"), block_on("first_name"), block_on("surname"), block_on("dob")]
        training = [block_on("first_name", "surname"), block_on("dob"), block_on("email")]
    else:
        rules = [block_on(field) for field in ("given_name", "surname", "date_of_birth", "postcode", "soc_sec_id", "address_1", "address") if field in fields]
        training = [block_on("date_of_birth"), block_on("surname", "given_name"), block_on("postcode")]
    settings = SettingsCreator(
        unique_id_column_name="id", link_type="link_only" if len(tables) > 1 else "dedupe_only", blocking_rules_to_generate_predictions=rules,
        comparisons=[comparison(field, kind, date_format) for field, kind in fields.items()],
    )
    database = DuckDBAPI()
    linker = Linker([database.register(table) for table in tables], settings)
    training_of = linker.training
    sure = [block_on(*(field for field in list(fields)[:2] + dates))]
    training_of.estimate_probability_two_random_records_match(sure, recall=0.6)
    training_of.estimate_u_using_random_sampling(max_pairs=1e6, seed=1)
    for rule in training:
        training_of.estimate_parameters_using_expectation_maximisation(rule)
    found = linker.inference.predict(threshold_match_probability=request["threshold"]).as_pandas_dataframe()
    return [tuple(sorted(pair)) for pair in zip(found["id_l"], found["id_r"])]


def scores(case, pairs):
    """Precision, recall and F1 over pairs."""
    people, request = case["people"], case["request"]
    sides = [[record["id"] for record in request[side]] for side in ("left", "right") if side in request]
    count = lambda ids: {who: sum(1 for _ in group) for who, group in grouped(people[one] for one in ids)}
    counts = [count(ids) for ids in sides]
    true = sum(number * counts[1].get(who, 0) for who, number in counts[0].items()) if len(sides) > 1 else sum(number * (number - 1) // 2 for number in counts[0].values())
    hits = sum(people[one] == people[other] for one, other in pairs)
    precision, recall = hits / max(len(pairs), 1), hits / max(true, 1)
    return precision, recall, 2 * hits / max(len(pairs) + true, 1)


def grouped(items):
    import itertools
    return itertools.groupby(sorted(items))


def main():
    for path in sys.argv[1:]:
        case = json.loads(open(path).read())
        began = time.time()
        devnull, saved = os.open(os.devnull, os.O_WRONLY), os.dup(1)
        os.dup2(devnull, 1)
        try:
            pairs = set(match(case["request"]))
        finally:
            os.dup2(saved, 1)
        precision, recall, f1 = scores(case, pairs)
        print(json.dumps({"name": case["name"], "precision": precision, "recall": recall, "f1": f1, "seconds": time.time() - began}), flush=True)


if __name__ == "__main__":
    main()
