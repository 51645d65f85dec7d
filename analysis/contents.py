"""What a report says of what is in the pairs: how they are made up, and what of a benchmark's test items they hold."""

from collections import defaultdict
from typing import Any

import pyarrow as pa

from analysis import composed
from analysis.logs import Logs

Rows = list[dict[str, Any]]


def composition(logs: Logs, runs: Rows, names: dict[str, str]) -> Rows:
    """Of every pool its facets; a selection that several runs made in the same way stands there once, one of all pairs not."""
    found = [
        composed.only(pool, [k for k, size in enumerate(pool.sizes) if size < pool.pairs])
        for pool in composed.pools(logs, runs)
    ]
    return [_made_up(pool, names) for pool in found if pool.runs]


def _made_up(pool: composed.Pool, names: dict[str, str]) -> dict[str, Any]:
    alike = defaultdict(list)
    for place in range(len(pool.runs)):
        alike[tuple(value.selected[place] for values in pool.facets.values() for value in values)].append(place)
    shown = composed.only(pool, [places[0] for places in alike.values()])
    run = pool.runs[0]
    return {
        "name": f"{pool.pairs:,} pairs of {run['data']}, scorer {run['scorer']}",
        "pairs": pool.pairs,
        "selections": [
            {"label": " = ".join(dict.fromkeys(names[pool.runs[k]["run"]] for k in places)), "pairs": size}
            for places, size in zip(alike.values(), shown.sizes, strict=True)
        ],
        "facets": [
            {"facet": facet, "values": [_value(value, shown.sizes, pool.pairs) for value in values]}
            for facet, values in shown.facets.items()
        ],
    }


def _value(value: composed.Value, sizes: list[int], pairs: int) -> dict[str, Any]:
    chance = [
        composed.by_chance(count, size, value.pool, pairs) for count, size in zip(value.selected, sizes, strict=True)
    ]
    return {"value": value.name, "pool": value.pool, "selected": list(value.selected), "chance": chance}


def leakage(logs: Logs, runs: Rows, names: dict[str, str]) -> dict[str, Rows]:
    """`tli`: a row for each benchmark of all pairs of a data set, and of each selection; `worst`: the test items that are
    leaked most, each with the pair that leaks them and everywhere it was found."""
    known = {run["run"]: run for run in runs}
    parts = {(run, part): _part(known[run], part, names) for run in known for part in ("data", "selection")}
    return {"tli": _tli(logs, known, parts), "worst": _worst(logs, known, parts)}


def _part(run: dict[str, Any], part: str, names: dict[str, str]) -> str:
    return f"all pairs of {run['data']}" if part == "data" else names[run["run"]]


def _tli(logs: Logs, known: dict[str, dict[str, Any]], parts: dict[tuple[str, str], str]) -> Rows:
    """All pairs first; the same row of several runs once."""
    rows = [row for row in logs.tli.to_pylist() if (row["run"], row["part"]) in parts]
    order = {key: place for place, key in enumerate(parts)}
    rows.sort(key=lambda row: (row["benchmark"], row["part"] != "data", order[row["run"], row["part"]]))
    shown = ("benchmark", "tli", "tasks", "pairs", "leaking", "note")
    held = [{"of": parts[row["run"], row["part"]], "data": known[row["run"]]["data_digest"], "all": row["part"] == "data",
             **{name: row[name] for name in shown}} for row in rows]  # fmt: skip
    return [row for place, row in enumerate(held) if row not in held[:place]]


def _worst(logs: Logs, known: dict[str, dict[str, Any]], parts: dict[tuple[str, str], str]) -> Rows:
    """The rows that have texts, the highest similarity first. A query that is not there is looked up among the pairs."""
    queries, held = _queries(logs.pairs), {}
    for row in logs.leakage.to_pylist():
        if row["test"] is None or (row["run"], row["part"]) not in parts:
            continue
        query = row["query"] or queries.get((known[row["run"]]["data_digest"], row["id"]))
        what = (row["benchmark"], row["task_id"], row["id"], row["similarity"])
        one = held.setdefault(what, {**{name: row[name] for name in ("benchmark", "task_id", "similarity", "id", "test")},
                                     "query": query, "of": []})  # fmt: skip
        one["of"] = list(dict.fromkeys([*one["of"], parts[row["run"], row["part"]]]))
    return sorted(held.values(), key=lambda one: (one["benchmark"], -one["similarity"], one["task_id"]))


def _queries(pairs: pa.Table | None) -> dict[tuple[str, str], str]:
    if pairs is None:
        return {}
    columns = [pairs[name].to_pylist() for name in ("data_digest", "id", "query")]
    return {(digest, id): query for digest, id, query in zip(*columns, strict=True)}
