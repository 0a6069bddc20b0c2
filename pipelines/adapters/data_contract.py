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
CLOCKS_DAYS = 1.0  # a time without a zone, or a clock that is wrong by hours, is not the future


@dataclass(frozen=True)
class Outcome:
    """What came of one expectation. `rows` are the keys of those at fault, none for the table as a whole.

    `severity` is critical or warning; an expectation that could not be checked is critical whatever its rule says.
    """

    rule: str  # its key in params.validate.severity
    severity: str
    asks: str  # what is expected, in words
    reason: str  # what is said of whatever breaks it
    column: str
    holds: bool
    rows: tuple[str, ...] = ()
    checked: bool = True  # False: the expectation itself errored


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
        # The default is a site in a folder of /tmp, which every context would leave behind.
        defaults = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
        config = DataContextConfig(store_backend_defaults=defaults)
        self.context = gx.get_context(mode="ephemeral", project_config=config)
        self.context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
        self.source = self.context.data_sources.add_pandas("dataset")

    def check_images(self, images: pd.DataFrame, ranges: Ranges) -> list[Outcome]:
        """Hold each image against the contract.

        `images` has the annotations' columns, `label_age_days` and `label_date_error`, and the names of the images as
        index; `ranges` are the typical ranges of each slice. Images that somebody accepted are asked for their readability
        and label only.
        """
        return self._check("images", _with_judged(images), list(self._of_images(ranges)), key="image")

    def check_dataset(self, counts: pd.DataFrame, label_age_days: float | None) -> list[Outcome]:
        """Hold the whole against it: `counts` has class, split, parts, missing; the age is the newest label's."""
        import great_expectations.expectations as gxe
        import pandas as pd

        wanted = self.rules.min_parts_per_class
        asks = f"every class has {wanted.train} parts to train, {wanted.validation} to validate, {wanted.test} to test"
        outcomes = []
        if rule := self._rule("parts_per_class", asks, "too few parts"):
            outcomes += self._check("parts", counts, [self._between(rule, "missing", None, 0)], key="key")
        oldest = self.rules.max_label_age_days
        if oldest is None or self.rules.severity.label_age == "off":
            return outcomes
        asks = f"the newest label is at most {oldest:g} days old"
        newest = pd.DataFrame({"key": ["newest label"], "age_days": [label_age_days]}, index=["newest label"])
        newest["age_days"] = newest["age_days"].astype(float)
        dated = self._rule("label_age", "some label says when it was given", "no label says when it was given")
        young = self._rule("label_age", asks, f"no label is younger than {oldest:g} days")
        fresh = [
            gxe.ExpectColumnValuesToNotBeNull(column="age_days", **dated),
            self._between(young, "age_days", None, oldest),
        ]
        return outcomes + self._check("freshness", newest, fresh, key="key")

    def write_docs(self, folder: Path) -> None:
        """Data Docs of everything checked so far, in place of what `folder` held: a page per suite, and no first page."""
        with output_directory(folder) as new:
            backend = {
                "class_name": "TupleFilesystemStoreBackend",
                "base_directory": str(new.resolve()).replace("$", r"\$"),
            }  # it expands variables
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
        known_label = self._rule("label", f"labels are {classes}", f"label is none of {classes}")
        yield gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(rules.classes), **known_label)
        if rule := self._rule("label_source", "it is said who labelled", "nobody is named who labelled it"):
            yield gxe.ExpectColumnValuesToNotBeNull(column="labelled_by", row_condition=judged, **rule)
        pattern = rules.label_source
        if pattern and (
            rule := self._rule("label_source", f"who labelled matches {pattern}", f"labelled by none of {pattern}")
        ):
            yield gxe.ExpectColumnValuesToMatchRegex(column="labelled_by", regex=pattern, row_condition=judged, **rule)
        if rule := self._rule("label_age", "no label is from the future", "labelled in the future"):
            yield self._between(rule, "label_age_days", -CLOCKS_DAYS, None, judged)
        if rule := self._rule("label_age", "dates of labels are ISO 8601", "its label's date can't be read"):
            yield gxe.ExpectColumnValuesToBeNull(column="label_date_error", row_condition=judged, **rule)
        for side in ("width", "height"):
            within = f"within {rules.min_side_px}…{rules.max_side_px} px"
            if rule := self._rule("size", f"{side} is {within}", f"{side} is not {within}"):
                yield self._between(rule, f"{side}_px", rules.min_side_px, rules.max_side_px, judged)
        depths = ", ".join(map(str, rules.bit_depths))
        if rule := self._rule("bit_depth", f"bit depth is one of {depths}", f"bit depth is none of {depths}"):
            yield gxe.ExpectColumnValuesToBeInSet(
                column="bit_depth", value_set=list(rules.bit_depths), row_condition=judged, **rule
            )
        for name, of_slice in ranges.items():
            for descriptor, (low, high) in of_slice.items():
                within = f"within {low:.3g}…{high:.3g}, typical of slice {name}"
                if rule := self._rule("typical_range", f"{descriptor} is {within}", f"{descriptor} is not {within}"):
                    yield self._between(rule, descriptor, low, high, Column("judged_slice") == name)

    def _rule(self, name: str, asks: str, reason: str) -> dict[str, Any]:
        """What an expectation says of itself, in our words and in the Data Docs; empty when it is off."""
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
        # The index names the rows at fault: by a column, Great Expectations looks each of them up, which takes minutes.
        result = self.context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": frame},
            result_format={"result_format": "COMPLETE", "return_unexpected_index_query": False},
        )
        return [_outcome(one, frame[key]) for one in result.results]


def _with_judged(images: pd.DataFrame) -> pd.DataFrame:
    """With what decides which rules an image is asked about: `exempt_for`, the reason why most of them are not, and
    `judged_slice`, where it is to look as usual.

    Great Expectations copies the condition on rows hundreds of times for each expectation: one comparison with a column
    takes half the time that the whole condition takes.
    """
    import pandas as pd

    exempt = pd.Series(None, index=images.index, dtype=object)
    exempt[images["accepted_by"].notna()] = "a person accepted it"
    exempt[images["decode_error"].notna()] = "it can't be decoded"
    return images.assign(exempt_for=exempt, judged_slice=images["slice"].where(exempt.isna(), None))


def inert(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with every text that holds markup escaped: Great Expectations writes values into its pages as they are.

    A file may be named `<img src=x onerror=…>`. Texts without `<` stay as they are, so that patterns and sets of values
    mean what they say.
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
    """Great Expectations gives one exception flat and several by metric."""
    return [info] if "raised_exception" in info else [item for item in info.values() if isinstance(item, dict)]
