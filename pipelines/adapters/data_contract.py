"""The data contract: a Great Expectations suite built from `params.validate`. The only importer of great_expectations."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.params import Validate


@dataclass(frozen=True)
class Failure:
    """One expectation that does not hold. `rows` are the keys of the rows at fault, empty for the table as a whole."""

    expectation: str
    reason: str
    rows: tuple[str, ...]


def check_rows(rows: Sequence[Mapping[str, Any]], rules: Validate) -> list[Failure]:
    """Hold each image against the contract; `rows` carry the annotations' columns. An expectation that errors fails."""
    import great_expectations.expectations as gxe

    sides = {"min_value": rules.min_side_px, "max_value": rules.max_side_px}
    readable = {"row_condition": "decode_error.isnull()", "condition_parser": "pandas"}
    suite = [
        (gxe.ExpectColumnValuesToBeNull(column="decode_error"), "unreadable image"),
        (gxe.ExpectColumnValuesToNotBeNull(column="label"), "no label"),
        (
            gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(rules.classes)),
            f"label is none of {', '.join(rules.classes)}",
        ),
        (
            gxe.ExpectColumnValuesToBeBetween(column="width_px", **sides, **readable),
            f"width is not within {rules.min_side_px}…{rules.max_side_px} px",
        ),
        (
            gxe.ExpectColumnValuesToBeBetween(column="height_px", **sides, **readable),
            f"height is not within {rules.min_side_px}…{rules.max_side_px} px",
        ),
        (
            gxe.ExpectColumnValuesToBeInSet(column="bit_depth", value_set=list(rules.bit_depths), **readable),
            f"bit depth is none of {', '.join(map(str, rules.bit_depths))}",
        ),
    ]
    columns = ("image", "decode_error", "label", "width_px", "height_px", "bit_depth")
    return _check([{name: row[name] for name in columns} for row in rows], suite, key="image")


def check_counts(counts: Sequence[Mapping[str, Any]]) -> list[Failure]:
    """Hold the numbers of parts against the contract: rows of class, split, parts, min_parts."""
    import great_expectations.expectations as gxe

    rows = [
        {**row, "key": f"{row['class']}/{row['split']}", "missing": row["min_parts"] - row["parts"]} for row in counts
    ]
    suite = [(gxe.ExpectColumnValuesToBeBetween(column="missing", max_value=0), "too few parts")]
    return _check(rows, suite, key="key")


def _check(rows: list[dict[str, Any]], suite: list[tuple[Any, str]], *, key: str) -> list[Failure]:
    import great_expectations as gx
    import pandas as pd
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    frame = pd.DataFrame(rows)
    asset = context.data_sources.add_pandas("deliveries").add_dataframe_asset("images")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    expectations = gx.ExpectationSuite(name="contract", expectations=[expectation for expectation, _ in suite])
    result = batch.validate(
        expectations, result_format={"result_format": "COMPLETE", "unexpected_index_column_names": [key]}
    )
    reasons = {_identity(expectation): reason for expectation, reason in suite}
    failures = []
    for outcome in result.results:
        if outcome.success:
            continue
        config = outcome.expectation_config
        reason = reasons[(config.type, config.kwargs["column"])]
        errors = [info for info in _exceptions(outcome.exception_info) if info.get("raised_exception")]
        if errors:
            reason = f"could not be checked ({errors[0].get('exception_message')}): {reason}"
        at_fault = outcome.result.get("unexpected_index_list") or []
        failures.append(Failure(config.type, reason, tuple(str(row[key]) for row in at_fault)))
    return failures


def _identity(expectation: Any) -> tuple[str, str]:
    return expectation.configuration.type, expectation.configuration.kwargs["column"]


def _exceptions(info: dict[str, Any]) -> list[dict[str, Any]]:
    """Great Expectations gives one exception flat and several by metric."""
    return [info] if "raised_exception" in info else [item for item in info.values() if isinstance(item, dict)]
