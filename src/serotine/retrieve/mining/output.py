"""How do mined negatives become a data set?  The four forms of rows, in the names of Sentence Transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from serotine._lazy import require
from serotine.errors import InvalidInput
from serotine.retrieve.mining.candidates import Candidate
from serotine.retrieve.mining.pairs import Pairs

__all__ = ["Mined", "OutputFormat", "read_format"]

Row = dict[str, Any]


class Mined(NamedTuple):
    """A query with its positives and their scores, and the negatives that were chosen, best first."""

    anchor: str
    positives: list[Candidate]
    negatives: list[Candidate]


class OutputFormat(NamedTuple):
    """Makes rows of what was mined. See `mine_hard_negatives` for the forms."""

    name: str
    pairs: Pairs
    num_negatives: int
    with_scores: bool

    def rows(self, mined: Mined) -> Iterator[Row]:
        """Yield the rows of one query, none if it has too few negatives for the form."""
        return _FORMATS[self.name](self, mined)

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        texts = {
            "triplet": ["negative"],
            "n-tuple": [f"negative_{number}" for number in range(1, self.num_negatives + 1)],
        }.get(self.name, [])
        labels = {"labeled-pair": ["label"], "labeled-list": ["labels"]}.get(self.name, [])
        scores = ["score" if self.name == "labeled-pair" else "scores"]
        return [self.pairs.anchor_column, self.pairs.positive_column, *texts, *(scores if self.with_scores else labels)]

    def least_negatives(self) -> int:
        """How many negatives a query must have, to have a row."""
        return self.num_negatives if self.name == "n-tuple" else 1

    def like(self, dataset: Any, rows: list[Row]) -> Any:
        """Return rows in the form of the data set they were mined for: a `datasets.Dataset` or a list of dicts."""
        if isinstance(dataset, list):
            return rows
        datasets = require("datasets", extra="train", purpose="serotine.retrieve.mine_hard_negatives")
        return datasets.Dataset.from_dict({name: [row[name] for row in rows] for name in self.columns})

    def _row(self, *values: Any) -> Row:
        return dict(zip(self.columns, values, strict=True))


def read_format(name: str | None, *, include_positives: bool) -> str:
    """Return the name of a form: "triplet" for None, "n-tuple" if rankings are wanted.

    Raises:
        InvalidInput: there is no such form, or it cannot hold positives among the negatives.
    """
    if name is None:
        return "n-tuple" if include_positives else "triplet"
    if name not in _FORMATS:
        raise InvalidInput(f"output_format must be one of {', '.join(_FORMATS)}, got {name!r}")
    if include_positives and name != "n-tuple":
        raise InvalidInput(f"include_positives=True makes rankings, in output_format='n-tuple', not {name!r}")
    return name


def _triplets(form: OutputFormat, mined: Mined) -> Iterator[Row]:
    for positive in mined.positives:
        for negative in mined.negatives:
            scores = [[positive.score, negative.score]] if form.with_scores else []
            yield form._row(mined.anchor, positive.text, negative.text, *scores)


def _tuples(form: OutputFormat, mined: Mined) -> Iterator[Row]:
    if len(mined.negatives) < form.num_negatives:
        return
    for positive in mined.positives:
        scores = [[positive.score, *(each.score for each in mined.negatives)]] if form.with_scores else []
        yield form._row(mined.anchor, positive.text, *(each.text for each in mined.negatives), *scores)


def _labeled_pairs(form: OutputFormat, mined: Mined) -> Iterator[Row]:
    if not mined.negatives:
        return
    for label, documents in ((1, mined.positives), (0, mined.negatives)):
        for document in documents:
            yield form._row(mined.anchor, document.text, document.score if form.with_scores else label)


def _labeled_lists(form: OutputFormat, mined: Mined) -> Iterator[Row]:
    if not mined.negatives:
        return
    for positive in mined.positives:
        documents = [positive, *mined.negatives]
        labels = [1] + [0] * len(mined.negatives)
        scores = [each.score for each in documents]
        yield form._row(mined.anchor, [each.text for each in documents], scores if form.with_scores else labels)


_FORMATS: dict[str, Callable[[OutputFormat, Mined], Iterator[Row]]] = {
    "triplet": _triplets,
    "n-tuple": _tuples,
    "labeled-pair": _labeled_pairs,
    "labeled-list": _labeled_lists,
}
