"""What the hash chain costs, and how fast a search is among a million inspections. Run: python -m benchmarks.ledger

Storing is measured by turns with and without the chain, each in a ledger of its own, with `synchronous = FULL`.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from sqlalchemy import create_engine

from benchmarks import page
from pipelines.ledger import chain, inspections, verification
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.search import Filters, search
from pipelines.ledger.tables import Inspection

LINE = "widgets"
START = datetime(2026, 1, 1, tzinfo=UTC)
EVERY = timedelta(seconds=20)
MOST_PAGES = 60
SHARE, PAGE_MS = 0.10, 100  # promised: the chain's share of the time, and the time of one page
SEARCHES = {
    "everything": Filters(),
    "one part": Filters(part="p77"),
    "one day": Filters(since=START + timedelta(days=59), until=START + timedelta(days=60)),
    "2 % failed": Filters(verdict="fail"),
    "one version, failed, one slice": Filters(model_version="1", verdict="fail", slice="poly"),
    "a slice that does not exist": Filters(slice="none"),
    "a verdict that does not exist, since March": Filters(since=START + timedelta(days=59), verdict="none"),
}


def values(number: int, total: int, chance: random.Random) -> dict[str, Any]:
    """Return the columns of one inspection; its descriptors are those of a real one in number and size."""
    score = chance.random()
    moment = START + number * EVERY
    return {
        "request_id": f"sha256:{number:064x}",
        "line": LINE,
        "part": f"p{number // 3}",
        "slice": chance.choice(("mono", "poly")),
        "source": "press",
        "image": f"{number:064x}",
        "captured_at": moment,
        "inspected_at": moment,
        "model_version": str(1 + number * 5 // total),
        "artefact_sha256": "c" * 64,
        "score": score,
        "raw_score": score,
        "verdict": "pass" if score < 0.95 else "review" if score < 0.98 else "fail",
        "latency_ms": 7.125,
        "descriptors": {f"projection_{axis}": chance.gauss(0, 1) for axis in range(22)},
        "regions": [{"x": 1, "y": 2, "width": 30, "height": 40, "score": score, "defect_type": None}],
        "class_probabilities": {"crack": score},
        "pass_below": 0.3,
        "fail_from": 0.7,
    }


def storing(folder: Path, batch: int, rounds: int) -> tuple[float, float]:
    """Return the median times in ms of storing a batch with and without the chain."""
    chance = random.Random(0)
    times: dict[bool, list[float]] = {True: [], False: []}
    with (
        Ledger.open(f"sqlite:///{folder}/with-{batch}.db") as chained,
        Ledger.open(f"sqlite:///{folder}/without-{batch}.db") as plain,
    ):
        for number in range(rounds):
            rows = [values(number * batch + k, 10**6, chance) for k in range(batch)]
            for with_chain in (True, False) if number % 2 else (False, True):
                records = [Inspection(**row) for row in rows]
                left_out = mock.patch.object(chain, "close")
                started = time.perf_counter()
                if with_chain:
                    inspections.add_once(chained, records)
                else:
                    with left_out:
                        inspections.add_once(plain, records)
                times[with_chain].append((time.perf_counter() - started) * 1000)
    return statistics.median(times[True]), statistics.median(times[False])


def filled(path: Path, total: int) -> float:
    """Make a ledger of `total` inspections without their chain, then chain them. Returns the seconds of the second step."""
    url = f"sqlite:///{path}"
    Ledger.open(url).__exit__(None, None, None)
    with create_engine(url).connect() as connection:
        connection.exec_driver_sql("PRAGMA synchronous = OFF")
        chance = random.Random(0)
        names = list(values(0, total, chance))
        insert = f"INSERT INTO inspections ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        for start in range(0, total, 10_000):
            rows = (values(number, total, chance).values() for number in range(start, min(start + 10_000, total)))
            connection.exec_driver_sql(insert, [tuple(map(_stored, row)) for row in rows])
        connection.commit()
        started = time.perf_counter()
        chain.begin(connection, LINE, {"inspections": chain.columns_of(Inspection)})
        connection.commit()
        return time.perf_counter() - started


def _stored(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime(chain.MOMENT)
    return json.dumps(value) if isinstance(value, dict | list) else value


def searches(path: Path) -> Iterator[tuple[str, int, int, float, float]]:
    """Yield of each search: its name, pages, inspections found, and ms of the median and the slowest page."""
    with Ledger.open(f"sqlite:///{path}") as ledger:
        for name, filters in SEARCHES.items():
            times: list[float] = []
            found, cursor = 0, None
            while len(times) < MOST_PAGES and (cursor is not None or not times):
                started = time.perf_counter()
                got = search(ledger, LINE, filters, cursor)
                times.append((time.perf_counter() - started) * 1000)
                found, cursor = found + len(got.inspections), got.next
            yield name, len(times), found, statistics.median(times), max(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inspections", type=int, default=10**6)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        stored = []
        for batch in (1, 64):
            with_chain, without = storing(folder, batch, args.rounds)
            stored.append([f"{batch}", f"{without:.1f}", f"{with_chain:.1f}", f"{with_chain / without - 1:+.0%}"])
        path = folder / "ledger.db"
        began = filled(path, args.inspections)
        started = time.perf_counter()
        with Ledger.open(f"sqlite:///{path}") as ledger:
            problems = verification.verify(ledger, LINE).problems
        verified = time.perf_counter() - started
        found = list(searches(path))
    assert not problems, problems[:3]
    text = page.table(["inspections stored together", "ms without chain", "ms with chain", "difference"], stored)
    text += f"\n\nPromised: at most {SHARE:+.0%}, medians by turns, SQLite with `synchronous = FULL`.\n\n"
    text += (
        f"Of {args.inspections:,} inspections: their chain is begun (migration of an older ledger) in {began:.0f} s, "
    )
    text += f"`ledger verify` takes {verified:.0f} s. Searches among them, pages of 50:\n\n"
    rows = [[name, f"{pages}", f"{n}", f"{median:.0f}", f"{most:.0f}"] for name, pages, n, median, most in found]
    text += page.table(["search", "pages", "found", "ms, median", "ms, slowest page"], rows)
    text += f"\n\nPromised: below {PAGE_MS} ms a page. At most {MOST_PAGES} pages of a search were read."
    print(text)
    if args.write:
        page.write("Ledger: chain and search", text, page.DETECTORS)


if __name__ == "__main__":
    main()
