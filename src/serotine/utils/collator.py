"""How do rows of a data set become a batch?  `ColBERTCollator`, the ``data_collator`` of a trainer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from serotine.errors import InvalidInput
from serotine.utils.columns import LABEL_COLUMNS, ColumnRoles, assign_roles, read_texts

__all__ = ["ColBERTCollator"]

logger = logging.getLogger(__name__)

Mapped = Mapping[str, Any] | None


class ColBERTCollator:
    """Tokenises rows as queries and documents, by the names of their columns.

    Which column is what: see `columns.assign_roles`. A column may hold a list of documents in each row, of any length.
    Every column is padded to its own longest text. Queries and documents get the markers and prompts of the model, as
    in inference, without being asked; the order of columns in the data does not matter.

    Without labels only the first document of a row is the positive. So rows whose column is named positive must hold
    one text or a list of one: a second would be trained as a negative.

    This collator sees none of the trainer's arguments: prompts, router_mapping and the like are to be given here.

    Args:
        tokenize_fn: ``model.tokenize`` of a `serotine.models.ColBERT`, or ``model.preprocess`` of any
            `MultiVectorEncoder`.
        valid_label_columns: names that a column of labels may have; None for label, labels, score, scores.
        router_mapping: "query" or "document" by column, or by data set and column, where names do not tell.
        prompts: instead of the model's own: one for all, or by column, or by task ("query", "document"), or any of
            these by data set. A model's markers stay before them.

    Returns, when called with a list of rows: ``<column>_input_ids``, ``<column>_attention_mask`` and the like, the
    query's first; ``<column>_num_documents``, int64 ``(num_rows,)``, for lists; ``label``, float32 ``(num_rows,)`` or
    ``(num_rows, most)``, NaN after the end of a shorter list; ``dataset_name`` if rows have it.

    Raises:
        InvalidInput: a column is missing, holds no text or several positives, or a label is no finite number; column
            and row are named.

    Example:
        >>> from datasets import Dataset
        >>> from serotine import losses, models, utils
        >>> from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
        >>> def train(model: models.ColBERT, data: Dataset) -> None:
        ...     SentenceTransformerTrainer(
        ...         model=model,
        ...         args=SentenceTransformerTrainingArguments(output_dir="output", per_device_train_batch_size=32),
        ...         train_dataset=data,  # columns query, positive, negative
        ...         loss=losses.Contrastive(model=model),
        ...         data_collator=utils.ColBERTCollator(model.tokenize),
        ...     ).train()
    """

    def __init__(
        self,
        tokenize_fn: Callable[..., Mapping[str, Any]],
        valid_label_columns: Sequence[str] | None = None,
        router_mapping: Mapped = None,
        prompts: str | Mapped = None,
    ) -> None:
        if not callable(tokenize_fn):
            raise InvalidInput(f"tokenize_fn must be model.tokenize, got {tokenize_fn!r}")
        self.tokenize_fn = tokenize_fn
        self.valid_label_columns = list(LABEL_COLUMNS if valid_label_columns is None else valid_label_columns)
        self.router_mapping = router_mapping or {}
        self.prompts = prompts or {}
        self._told: set[tuple[str, ...]] = set()

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Make a batch of rows."""
        if not features:
            raise InvalidInput("a batch needs a row at least, got none")
        batch: dict[str, Any] = {"return_loss": True}
        dataset = _dataset_name(features)
        if dataset is not None:
            batch["dataset_name"] = dataset
        roles = assign_roles(
            (name for name in features[0] if name != "dataset_name"),
            label_columns=self.valid_label_columns,
            tasks=_of_dataset(self.router_mapping, dataset, "router_mapping"),
        )
        self._tell(roles)
        prompts = self.prompts if isinstance(self.prompts, str) else _of_dataset(self.prompts, dataset, "prompts")
        if roles.label is not None:
            batch["label"] = _labels(roles.label, features)
        for name in (roles.query, *roles.documents):
            task = "query" if name == roles.query else "document"
            prompt = prompts if isinstance(prompts, str) else prompts.get(name, prompts.get(task))
            texts, counts = read_texts(name, features, lists=task == "document")
            if counts is not None and name == roles.documents[0]:
                _check_positives(name, counts, has_labels=roles.label is not None)
            batch.update(self._column(name, texts, counts, task=task, prompt=prompt))
        return batch

    def _column(
        self, name: str, texts: list[Any], counts: list[int] | None, *, task: str, prompt: str | None
    ) -> dict[str, Any]:
        """Tokenise a column. counts: texts of each row, None for one each."""
        if not texts:  # no row of this batch has further documents
            return {}
        column = {**self.tokenize_fn(texts, task=task, prompt=prompt), "task": task}
        if counts is not None:
            column["num_documents"] = torch.tensor(counts)
        return {f"{name}_{key}": value for key, value in column.items()}

    def _tell(self, roles: ColumnRoles) -> None:
        """Log once what each column is taken for: a column too many trains as a document."""
        names = (roles.query, *roles.documents)
        if names not in self._told:
            self._told.add(names)
            logger.info(
                "Columns: query %r, documents %s, labels %r, not used %s",
                roles.query,
                roles.documents,
                roles.label,
                roles.skipped,
            )


def _check_positives(name: str, counts: list[int], *, has_labels: bool) -> None:
    """Check the lists of the first column of documents, whose first document is the positive if there are no labels."""
    if 0 in counts:
        raise InvalidInput(f"column {name!r}: row {counts.index(0)} holds no document, expected one at least")
    if max(counts) > 1 and not has_labels and name.lower().startswith("positive"):
        row = next(row for row, count in enumerate(counts) if count > 1)
        raise InvalidInput(
            f"column {name!r}: row {row} holds {counts[row]} texts, expected one: without labels only the first "
            "document of a row is its positive, and the others would be negatives. Make a row of each positive; if "
            "only the first is one, name the column documents"
        )


def _dataset_name(rows: Sequence[Mapping[str, Any]]) -> str | None:
    names = {row.get("dataset_name") for row in rows}
    if len(names) > 1:
        raise InvalidInput(f"a batch must come from one data set, got rows of {sorted(map(str, names))}")
    return names.pop()


def _of_dataset(setting: Mapping[str, Any], dataset: str | None, what: str) -> Any:
    """Return the part of a setting that is for a data set, all of it if it does not name data sets."""
    if dataset is not None and dataset in setting:
        return setting[dataset]
    if any(isinstance(value, Mapping) for value in setting.values()):
        if dataset is None:
            raise InvalidInput(
                f"{what} is given by data set ({sorted(setting)}), but the rows do not say which they are of: train on "
                "a DatasetDict, or give it by column"
            )
        return {}
    return setting


def _labels(name: str, rows: Sequence[Mapping[str, Any]]) -> Tensor:
    """Return numbers as a vector, lists as a matrix filled up with NaN."""
    values = []
    for number, row in enumerate(rows):
        try:
            value = np.asarray(row[name], dtype=np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(
                f"column {name!r}: row {number} holds {row.get(name)!r}, expected a number or a list of numbers"
            ) from error
        if value.ndim > 1 or not np.isfinite(value).all():
            raise InvalidInput(f"column {name!r}: row {number} holds {row[name]!r}, expected finite numbers")
        values.append(torch.from_numpy(value))
    if len({value.ndim for value in values}) > 1:
        raise InvalidInput(f"column {name!r} holds numbers in some rows and lists in others, expected one of them")
    if values[0].ndim == 0:
        return torch.stack(values)
    return torch.nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=torch.nan)
