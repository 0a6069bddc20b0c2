"""What ingest and audit cost: taking in, taking in again, validating with the audit. Run: python -m benchmarks.ingest

The promise is that memory stays flat: nothing but the table and 1 KB of fingerprint an image is kept.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from benchmarks import page

SIDE_PX = 96
SIZES = (1_000, 10_000, 100_000)
STEPS = ("ingest", "ingest again", "validate and audit")


def deliver(folder: Path, n: int) -> None:
    """`n` different rough surfaces, a third of them with a dark scratch, as JPEG in class folders."""
    random = np.random.default_rng(0)
    sheet = ndimage.gaussian_filter(random.standard_normal((2048, 2048)), 1.2) * 60 + 120
    for number in range(n):
        top, left = random.integers(0, 2048 - SIDE_PX, 2)
        own = ndimage.zoom(random.standard_normal((24, 24)), SIDE_PX / 24, order=1) * 25
        pixels = sheet[top : top + SIDE_PX, left : left + SIDE_PX] + own
        kind = "good" if number % 3 else "scratch"
        if kind == "scratch":
            pixels[30:60, 40:43] = 20
        sink = io.BytesIO()
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(sink, format="JPEG", quality=90)
        path = folder / kind / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sink.getvalue())


def step(name: str, root: Path, delivery: Path) -> dict[str, float]:
    """Run one step in a process of its own: seconds from inside, the largest resident memory in MB."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.ingest", "--step", name, str(root), str(delivery)],
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def run_step(name: str, root: Path, delivery: Path) -> None:
    import resource

    from pipelines import workspace
    from pipelines.ingest.ingest import ingest
    from pipelines.validation.validate import validate

    place = workspace.at(root)
    started = time.perf_counter()
    if name == "validate and audit":
        validate(place)
    else:
        ingest(place, str(delivery))
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def measure(where: Path, n: int) -> dict[str, dict[str, float]]:
    from pipelines.initialise import init

    delivery = where / f"delivery-{n}" / "parts"
    deliver(delivery, n)
    root = init(where / f"line-{n}", "bench").root
    found = {}
    for name in STEPS:
        found[name] = step(name, root, delivery)
        print(f"  {n:,} images, {name}: {found[name]['seconds']:.1f} s, {found[name]['mb']:.0f} MB", file=sys.stderr)
    shutil.rmtree(where / f"delivery-{n}")
    shutil.rmtree(root)
    return found


def report(results: dict[int, dict[str, dict[str, float]]]) -> str:
    rows = [
        [f"{n:,}", name, f"{cost['seconds']:.1f}", f"{n / cost['seconds']:,.0f}", f"{cost['mb']:.0f}"]
        for n, steps in results.items()
        for name, cost in steps.items()
    ]
    return page.table(["images", "step", "seconds", "images/s", "peak MB"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--where", type=Path, help="a directory for the workspaces; default: a temporary one")
    parser.add_argument("--write", action="store_true", help="write the section of docs/benchmarks-data.md")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        run_step(given.step[0], Path(given.step[1]), Path(given.step[2]))
        return
    where = Path(tempfile.mkdtemp(prefix="defectloop-bench-", dir=given.where))
    try:
        text = report({n: measure(where, n) for n in given.sizes})
    finally:
        shutil.rmtree(where)
    print(text)
    if given.write:
        page.write("Ingest, validation and audit", text)


if __name__ == "__main__":
    main()
