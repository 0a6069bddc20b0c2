"""The data contract: Great Expectations suites built from `params.validate`. The only importer of great_expectations."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.params import Validate

if TYPE_CHECKING:
    import pandas as pd

Ranges = Mapping[str, Mapping[str, tuple[float, float]]]  # slice → descriptor → lowest and highest


@dataclass(frozen=True)
class Failure:
    """One expectation that does not hold. `rows` are the keys of the rows at fault, empty for the table as a whole.

    `severity` is critical or warning; an expectation that could not be checked is critical whatever its rule says.
    """

    rule: str
    severity: str
    reason: str
    rows: tuple[str, ...]


class Contract:
    """Suites checked one after the other, and the Data Docs about all of them. Keeps everything in memory."""

    def __init__(self, rules: Validate) -> None:
        import great_expectations as gx
        from great_expectations.data_context.types.base import (
            DataContextConfig,
            InMemoryStoreBackendDefaults,
            ProgressBarsConfig,
        )

        logging.getLogger("great_expectations").setLevel(logging.ERROR)
        self.rules = rules
        defaults = InMemoryStoreBackendDefaults(
            init_temp_docs_sites=False
        )  # else every context leaves a folder in /tmp
        config = DataContextConfig(store_backend_defaults=defaults)
        self.context = gx.get_context(mode="ephemeral", project_config=config)
        self.context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
        self.source = self.context.data_sources.add_pandas("dataset")

    def check_images(self, images: pd.DataFrame, ranges: Ranges) -> list[Failure]:
        """Hold each image against the contract.

        `images` has the annotations' columns and `label_age_days`; `ranges` are how each slice usually looks. Images
        that somebody accepted are asked for their readability and label only.
        """
        return self._check("images", images, list(self._of_images(ranges)), key="image")

    def check_dataset(self, counts: pd.DataFrame, label_age_days: float | None) -> list[Failure]:
        """Hold the whole against it: `counts` has class, split, parts, missing; the age is the newest label's."""
        import pandas as pd

        rule = self._rule("parts_per_class", "too few parts")
        found = []
        if rule:
            found += self._check("parts", counts, list(self._between(rule, "missing", None, 0)), key="key")
        oldest = self.rules.max_label_age_days
        rule = self._rule("label_age", f"no label is younger than {oldest:g} days" if oldest else "")
        if rule and oldest and label_age_days is not None:
            newest = pd.DataFrame([{"key": "newest label", "age_days": label_age_days}])
            found += self._check("freshness", newest, list(self._between(rule, "age_days", None, oldest)), key="key")
        return found

    def write_docs(self, folder: Path) -> Path:
        """Data Docs of everything checked so far, in place of what `folder` held. Returns the page to begin with."""
        shutil.rmtree(folder, ignore_errors=True)
        backend = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)}
        site = {"class_name": "SiteBuilder", "show_how_to_buttons": False, "store_backend": backend}
        self.context.add_data_docs_site(
            "contract", site | {"site_index_builder": {"class_name": "DefaultSiteIndexBuilder"}}
        )
        self.context.build_data_docs(site_names=["contract"])
        return folder / "index.html"

    def _of_images(self, ranges: Ranges) -> Iterator[Any]:
        import great_expectations.expectations as gxe
        from great_expectations.expectations.row_conditions import Column

        rules = self.rules
        checked = Column("decode_error").is_null() & Column("accepted_by").is_null()
        readable, label = self._rule("readable", "unreadable image"), self._rule("label", "no label")
        yield gxe.ExpectColumnValuesToBeNull(column="decode_error", **readable)
        yield gxe.ExpectColumnValuesToNotBeNull(column="label", **label)
        other = self._rule("label", f"label is none of {', '.join(rules.classes)}")
        yield gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(rules.classes), **other)
        if rule := self._rule("label_source", "nobody is named who labelled it"):
            yield gxe.ExpectColumnValuesToNotBeNull(column="labelled_by", row_condition=checked, **rule)
        if rules.label_source and (rule := self._rule("label_source", f"labelled by none of {rules.label_source}")):
            yield gxe.ExpectColumnValuesToMatchRegex(
                column="labelled_by", regex=rules.label_source, row_condition=checked, **rule
            )
        if rule := self._rule("label_age", "labelled in the future"):
            yield from self._between(rule, "label_age_days", 0, None, checked)
        for side in ("width", "height"):
            if rule := self._rule("size", f"{side} is not within {rules.min_side_px}…{rules.max_side_px} px"):
                yield from self._between(rule, f"{side}_px", rules.min_side_px, rules.max_side_px, checked)
        if rule := self._rule("bit_depth", f"bit depth is none of {', '.join(map(str, rules.bit_depths))}"):
            depths = list(rules.bit_depths)
            yield gxe.ExpectColumnValuesToBeInSet(column="bit_depth", value_set=depths, row_condition=checked, **rule)
        for name, looks in ranges.items():
            for descriptor, (low, high) in looks.items():
                if rule := self._rule(
                    "looks", f"{descriptor} is not within {low:.3f}…{high:.3f}, usual in slice {name}"
                ):
                    yield from self._between(rule, descriptor, low, high, checked & (Column("slice") == name))

    def _rule(self, name: str, reason: str) -> dict[str, Any]:
        """What an expectation says of itself, in our words and in the Data Docs; empty when it is off."""
        severity = getattr(self.rules.severity, name)
        if severity == "off":
            return {}
        return {"severity": severity, "meta": {"rule": name, "reason": reason}, "notes": f"{severity}: {reason}"}

    def _between(
        self, rule: dict[str, Any], column: str, low: float | None, high: float | None, rows: Any = None
    ) -> Iterator[Any]:
        import great_expectations.expectations as gxe

        condition = {} if rows is None else {"row_condition": rows}
        yield gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high, **condition, **rule)

    def _check(self, name: str, frame: pd.DataFrame, expectations: list[Any], *, key: str) -> list[Failure]:
        import great_expectations as gx

        batches = self.source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        suite = self.context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
        definition = gx.ValidationDefinition(name=name, data=batches, suite=suite)
        shown = {"result_format": "COMPLETE", "unexpected_index_column_names": [key]}
        checkpoint = gx.Checkpoint(
            name=name, validation_definitions=[self.context.validation_definitions.add(definition)], result_format=shown
        )
        result = self.context.checkpoints.add(checkpoint).run({"dataframe": frame})
        return [
            _failure(outcome, key)
            for suite_result in result.run_results.values()
            for outcome in suite_result.results
            if not outcome.success
        ]


def _failure(outcome: Any, key: str) -> Failure:
    config = outcome.expectation_config
    rule, severity, reason = config.meta["rule"], str(config.severity.value), config.meta["reason"]
    errors = [info for info in _exceptions(outcome.exception_info) if info.get("raised_exception")]
    if errors:
        message = str(errors[0].get("exception_message")).splitlines()[0]
        return Failure(rule, "critical", f"could not be checked ({message}): {reason}", ())
    at_fault = outcome.result.get("unexpected_index_list") or []
    return Failure(rule, severity, reason, tuple(str(row[key]) for row in at_fault))


def _exceptions(info: dict[str, Any]) -> list[dict[str, Any]]:
    """Great Expectations gives one exception flat and several by metric."""
    return [info] if "raised_exception" in info else [item for item in info.values() if isinstance(item, dict)]
