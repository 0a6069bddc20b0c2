"""The data contract: Great Expectations suites built from `params.validate`. The only importer of great_expectations."""

from __future__ import annotations

import html
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.files import output_directory
from models.params import Validate

if TYPE_CHECKING:
    import pandas as pd

Ranges = Mapping[str, Mapping[str, tuple[float, float]]]  # slice → descriptor → lowest and highest
CRITICAL, WARNING = "critical", "warning"
CLOCKS_DAYS = 1.0  # tolerance for times without a zone and for wrong clocks


@dataclass(frozen=True)
class Outcome:
    """Result of one expectation. `rows` are the keys of the rows that fail; empty if the rule concerns the whole dataset.

    `severity` is critical or warning. An expectation that could not be checked is always critical.
    """

    rule: str  # its key in params.validate.severity
    severity: str
    asks: str  # the rule in words
    reason: str  # the reason given for rows that fail
    column: str
    holds: bool
    rows: tuple[str, ...] = ()
    checked: bool = True  # False: the expectation itself raised an error


class Contract:
    """The expectation suites, and the Data Docs about all of them. Keeps everything in memory."""

    def __init__(self, rules: Validate) -> None:
        import great_expectations as gx
        from great_expectations.data_context.types.base import (
            DataContextConfig,
            InMemoryStoreBackendDefaults,
            ProgressBarsConfig,
        )

        logging.getLogger("great_expectations").setLevel(logging.ERROR)
        self.rules = rules
        # By default, every context would leave a site in a folder of /tmp.
        defaults = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
        config = DataContextConfig(store_backend_defaults=defaults)
        self.context = gx.get_context(mode="ephemeral", project_config=config)
        self.context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
        self.source = self.context.data_sources.add_pandas("dataset")

    def check_images(self, images: pd.DataFrame, ranges: Ranges) -> list[Outcome]:
        """Check each image against the contract.

        `images` has the annotations' columns, `label_age_days` and `label_date_error`, and is indexed by delivery path;
        `ranges` are the typical ranges of each slice. Images that a person accepted are only checked for readability and
        label.
        """
        return self._check("images", _with_judged(images), list(self._of_images(ranges)), key="image")

    def check_dataset(self, counts: pd.DataFrame, label_age_days: float | None) -> list[Outcome]:
        """Check the whole dataset. `counts` has class, split, parts, missing; the age is that of the newest label."""
        import great_expectations.expectations as gxe
        import pandas as pd

        wanted = self.rules.min_parts_per_class
        asks = f"every class has {wanted.train} training, {wanted.validation} validation and {wanted.test} test parts"
        outcomes = []
        if rule := self._rule("parts_per_class", asks, "too few parts"):
            outcomes += self._check("parts", counts, [self._between(rule, "missing", None, 0)], key="key")
        oldest = self.rules.max_label_age_days
        if oldest is None or self.rules.severity.label_age == "off":
            return outcomes
        asks = f"the newest label is at most {oldest:g} days old"
        newest = pd.DataFrame({"key": ["newest label"], "age_days": [label_age_days]}, index=["newest label"])
        newest["age_days"] = newest["age_days"].astype(float)
        dated = self._rule("label_age", "labels are dated", "no label has a date")
        young = self._rule("label_age", asks, f"the newest label is more than {oldest:g} days old")
        fresh = [
            gxe.ExpectColumnValuesToNotBeNull(column="age_days", **dated),
            self._between(young, "age_days", None, oldest),
        ]
        return outcomes + self._check("freshness", newest, fresh, key="key")

    def write_docs(self, folder: Path) -> None:
        """Write the Data Docs of everything checked so far to `folder`, replacing its content: one page per suite."""
        with output_directory(folder) as new:
            backend = {
                "class_name": "TupleFilesystemStoreBackend",
                "base_directory": str(new.resolve()).replace("$", r"\$"),
            }  # escaped, because Great Expectations expands variables
            site = {"class_name": "SiteBuilder", "show_how_to_buttons": False, "store_backend": backend}
            # Results show their expectations: pages with these alone would only take time.
            sections = {"site_section_builders": {"expectations": "None", "profiling": "None"}}
            self.context.add_data_docs_site("contract", site | sections)
            self.context.build_data_docs(site_names=["contract"], build_index=False)

    def _of_images(self, ranges: Ranges) -> Iterator[Any]:
        import great_expectations.expectations as gxe
        from great_expectations.expectations.row_conditions import Column

        rules, classes = self.rules, ", ".join(self.rules.classes)
        judged = Column("exempt_for").is_null()
        readable = self._rule("readable", "every image can be decoded", "unreadable image")
        yield gxe.ExpectColumnValuesToBeNull(column="decode_error", **readable)
        labelled = self._rule("label", "every image has a label", "no label")
        yield gxe.ExpectColumnValuesToNotBeNull(column="label", **labelled)
        known_label = self._rule("label", f"labels are {classes}", f"label is not one of {classes}")
        yield gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(rules.classes), **known_label)
        if rule := self._rule("label_source", "every label names its labeller", "labeller is not named"):
            yield gxe.ExpectColumnValuesToNotBeNull(column="labelled_by", row_condition=judged, **rule)
        pattern = rules.label_source
        if pattern and (
            rule := self._rule("label_source", f"labellers match {pattern}", f"labeller does not match {pattern}")
        ):
            yield gxe.ExpectColumnValuesToMatchRegex(column="labelled_by", regex=pattern, row_condition=judged, **rule)
        if rule := self._rule("label_age", "no label is dated in the future", "label is dated in the future"):
            yield self._between(rule, "label_age_days", -CLOCKS_DAYS, None, judged)
        if rule := self._rule("label_age", "dates of labels are ISO 8601", "date of the label is invalid"):
            yield gxe.ExpectColumnValuesToBeNull(column="label_date_error", row_condition=judged, **rule)
        for side in ("width", "height"):
            within = f"within {rules.min_side_px}…{rules.max_side_px} px"
            if rule := self._rule("size", f"{side} is {within}", f"{side} is not {within}"):
                yield self._between(rule, f"{side}_px", rules.min_side_px, rules.max_side_px, judged)
        depths = ", ".join(map(str, rules.bit_depths))
        if rule := self._rule("bit_depth", f"bit depth is one of {depths}", f"bit depth is not one of {depths}"):
            yield gxe.ExpectColumnValuesToBeInSet(
                column="bit_depth", value_set=list(rules.bit_depths), row_condition=judged, **rule
            )
        for name, of_slice in ranges.items():
            for descriptor, (low, high) in of_slice.items():
                within = f"within {low:.3g}…{high:.3g}, typical of slice {name}"
                if rule := self._rule("typical_range", f"{descriptor} is {within}", f"{descriptor} is not {within}"):
                    yield self._between(rule, descriptor, low, high, Column("judged_slice") == name)

    def _rule(self, name: str, asks: str, reason: str) -> dict[str, Any]:
        """Return an expectation's severity, reason and description for the Data Docs. Empty if the rule is off."""
        severity = getattr(self.rules.severity, name)
        if severity == "off":
            return {}
        meta = {"rule": name, "asks": asks, "reason": reason}
        return {"severity": severity, "meta": meta, "description": html.escape(f"{severity.capitalize()}: {asks}")}

    def _between(
        self, rule: dict[str, Any], column: str, low: float | None, high: float | None, rows: Any = None
    ) -> Any:
        import great_expectations.expectations as gxe

        return gxe.ExpectColumnValuesToBeBetween(
            column=column, min_value=low, max_value=high, row_condition=rows, **rule
        )

    def _check(self, name: str, frame: pd.DataFrame, expectations: list[Any], *, key: str) -> list[Outcome]:
        import great_expectations as gx

        frame = inert(frame)
        batches = self.source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        suite = self.context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
        definition = gx.ValidationDefinition(name=name, data=batches, suite=suite)
        # Failing rows are named by the index; naming them by a column takes Great Expectations minutes.
        result = self.context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": frame},
            result_format={"result_format": "COMPLETE", "return_unexpected_index_query": False},
        )
        return [_outcome(one, frame[key]) for one in result.results]


def _with_judged(images: pd.DataFrame) -> pd.DataFrame:
    """Add the columns that decide which rules apply to an image: `exempt_for`, the reason for exempting it from most rules,
    and `judged_slice`, the slice whose typical ranges it must be in.

    Great Expectations copies the row condition hundreds of times per expectation. A comparison with one column takes half
    the time of the whole condition.
    """
    import pandas as pd

    exempt = pd.Series(None, index=images.index, dtype=object)
    exempt[images["accepted_by"].notna()] = "a person accepted it"
    exempt[images["decode_error"].notna()] = "it cannot be decoded"
    return images.assign(exempt_for=exempt, judged_slice=images["slice"].where(exempt.isna(), None))


def inert(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with markup escaped in all texts, because Great Expectations writes values unescaped into its pages.

    A file may be named `<img src=x onerror=…>`. Texts without `<` are not changed, so that patterns and sets of values still
    match.
    """

    def escaped(value: Any) -> Any:
        return html.escape(value) if isinstance(value, str) and "<" in value else value

    texts = frame.select_dtypes(["object", "string"])
    return frame.assign(**{name: texts[name].map(escaped) for name in texts}).set_axis(frame.index.map(escaped))


def _outcome(result: Any, keys: pd.Series) -> Outcome:
    config = result.expectation_config
    rule, asks, reason = (config.meta[name] for name in ("rule", "asks", "reason"))
    column = config.kwargs["column"]
    errors = [info for info in _exceptions(result.exception_info) if info.get("raised_exception")]
    if errors:
        message = str(errors[0].get("exception_message")).splitlines()[0]
        reason_not_checked = f"could not be checked ({message}): {reason}"
        return Outcome(rule, CRITICAL, asks, reason_not_checked, column, holds=False, checked=False)
    at_fault = [] if result.success else list(result.result.get("unexpected_index_list") or [])
    rows = tuple(keys.loc[at_fault].astype(str)) if at_fault else ()
    return Outcome(rule, str(config.severity.value), asks, reason, column, bool(result.success), rows)


def _exceptions(info: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the exceptions. Great Expectations gives a single one flat, and several by metric."""
    return [info] if "raised_exception" in info else [item for item in info.values() if isinstance(item, dict)]
