"""What does a saved model say about itself?  `ColBERTModelCardData`: the README of a model, from what is known of it.

Sentence Transformers collects the facts in training: data sets, losses and their settings, arguments, metrics. Here are
the title, the examples, and two snippets that run as they stand: with Serotine, and with Sentence Transformers alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from sentence_transformers.multi_vector_encoder.model_card import MultiVectorEncoderModelCardData
from torch import Tensor

import serotine
from serotine.models.card_examples import DEFAULT_EXAMPLES, example_texts, query_column
from serotine.scores import TokenWeights, maxsim

__all__ = ["PLACEHOLDER_ID", "ColBERTModelCardData", "with_model_id"]

PLACEHOLDER_ID = "multi_vector_encoder_model_id"
"""Stands for the model's name in snippets until it has one."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+|[\w.-]+")

_FOLDING = (
    "",
    "# The learnt weights of tokens move into the vectors: an index then searches by the learnt score",
    "query_folded = model.scorer.fold(query_embeddings, is_query=True)",
    "document_folded = model.scorer.fold(document_embeddings, is_query=False)",
)

_COLBERT_CITATION = """
@inproceedings{khattab-2020-colbert,
    title = "ColBERT: Efficient and Effective Passage Search via Contextualized Late Interaction over BERT",
    author = "Khattab, Omar and Zaharia, Matei",
    booktitle = "Proceedings of the 43rd International ACM SIGIR Conference on Research and Development in Information Retrieval",
    year = "2020",
    url = "https://arxiv.org/abs/2004.12832",
}
"""  # noqa: E501


@dataclass
class ColBERTModelCardData(MultiVectorEncoderModelCardData):  # type: ignore[misc]
    """The facts of a model card; its constructor's arguments are those of Sentence Transformers' class.

    base_model, which the title and the Hub's search use, is found by itself for models from the Hub. Where only a local
    folder is known, set it: ``model.model_card_data.base_model = "organization/name"``.
    """

    base_model: str | None = field(default=None, init=False)
    tags: list[str] = field(
        default_factory=lambda: ["sentence-transformers", "serotine", "multi-vector", "colbert", "late-interaction"]
    )
    model_type: str = field(default="late-interaction (ColBERT)", init=False, repr=False)
    template_path: Path = field(default=Path(__file__).with_name("card_template.md"), init=False, repr=False)
    model: Any = field(default=None, init=False, repr=False)
    usage_examples: list[Any] | None = field(default=None, init=False)
    plain_scores: str | None = field(default=None, init=False, repr=False)
    learnt_scores: str | None = field(default=None, init=False, repr=False)

    def get_default_model_name(self) -> str:
        """Return the title: what it is, and what it was made from."""
        kind = type(self.model).__name__
        return f"{kind} based on {self.base_model}" if self.base_model else kind

    def set_losses(self, losses: list[torch.nn.Module]) -> None:
        """Note the losses for tags and citations."""
        super().set_losses(losses)
        self.citations["ColBERT"] = _COLBERT_CITATION

    def set_widget_examples(self, dataset: Any) -> None:
        """Take the examples from a data set."""
        examples = example_texts(dataset)
        if examples is None:
            if any(modality not in ("text", "message") for modality in self.model.modalities):
                super().set_widget_examples(dataset)
            return
        self.usage_examples = examples
        self.widget = [{"text": examples[0]}]

    def try_to_set_base_model(self) -> None:
        """Find the base model's name; without a network, a name that is no local folder is believed."""
        super().try_to_set_base_model()
        backbone = self.model.transformers_model
        name = "" if self.base_model or backbone is None else str(backbone.config._name_or_path)
        if _HUB_ID.fullmatch(name) and not Path(name).exists():
            self.base_model = name

    def run_usage_snippet(self) -> None:
        """Compute what the snippets print: Sentence Transformers' by MaxSim, Serotine's by the learnt score, if any."""
        if self.usage_examples is None:
            self.usage_examples = list(DEFAULT_EXAMPLES)
        if not self.generate_widget_examples:
            return
        queries, documents = self.usage_examples[:1], self.usage_examples[1:]
        query_embeddings = self.model.encode_query(queries, show_progress_bar=False)
        document_embeddings = self.model.encode_document(documents, show_progress_bar=False)
        self.usage_query_shape = tuple(query_embeddings[0].shape)
        self.usage_document_shape = tuple(document_embeddings[0].shape)
        normalize = self.model.similarity_fn_name == "meanmaxsim"
        plain = torch.as_tensor(maxsim(query_embeddings, document_embeddings, length_normalize=normalize))
        self.plain_scores = _as_comment(plain)
        self.learnt_scores = None
        if self.model.scorer is not None:
            self.learnt_scores = _as_comment(self.model.similarity(query_embeddings, document_embeddings).detach())

    def generate_usage_snippet(self) -> str:
        """Return the snippet for Sentence Transformers alone."""
        lines = [
            "from sentence_transformers import MultiVectorEncoder",
            "",
            f'model = MultiVectorEncoder("{self._id()}")',
            *self._texts("queries", 0, 1),
            *self._texts("documents", 1, None),
            "query_embeddings = model.encode_query(queries)",
            "document_embeddings = model.encode_document(documents)",
            "print(tuple(query_embeddings[0].shape), tuple(document_embeddings[0].shape))",
            *([f"# {self.usage_query_shape} {self.usage_document_shape}"] if self.usage_query_shape else []),
            "",
            "print(model.similarity(query_embeddings, document_embeddings))",
            *([self.plain_scores] if self.plain_scores else []),
        ]
        return _code(lines)

    def serotine_snippet(self) -> str:
        """Return the snippet for Serotine: index, search and rerank, by the learnt score where there is one."""
        scorer = self.model.scorer
        vectors, folding = ("embeddings", []) if not isinstance(scorer, TokenWeights) else ("folded", list(_FOLDING))
        num_documents = len(self._examples()) - 1
        lines = [
            "from serotine import indexes, models, rank, retrieve",
            "",
            f'model = models.ColBERT("{self._id()}")',
            *self._texts("queries", 0, 1),
            *self._texts("documents", 1, None),
            f"ids = {[f'd{number + 1}' for number in range(num_documents)]!r}",
            "query_embeddings = model.encode(queries, is_query=True)",
            "document_embeddings = model.encode(documents, is_query=False)",
            *folding,
            "",
            "# Search",
            'index = indexes.PLAID("indexes", "documents", override=True)',
            f"index.add_documents(ids, document_{vectors})",
            f"print(retrieve.ColBERT(index).retrieve(query_{vectors}, k=2))",
            "",
            "# Rerank candidates of any origin" + ("" if scorer is None else ", by the learnt score"),
            "print(rank.rerank([ids], query_embeddings, [document_embeddings]"
            + ("))" if scorer is None else ", score_metric=model.scorer))"),
        ]
        if self.learnt_scores:
            lines += ["", "print(model.similarity(query_embeddings, document_embeddings))", self.learnt_scores]
        return _code(lines)

    def compute_dataset_metrics(
        self, dataset: Any, dataset_info: Any, loss: Any, router_mapping: Any = None
    ) -> dict[str, Any]:
        """Describe a data set; tokens of queries are counted as queries' are."""
        query = query_column(dataset)
        tasks = {**({query: "query"} if query else {}), **(router_mapping or {})}
        facts: dict[str, Any] = super().compute_dataset_metrics(dataset, dataset_info, loss, router_mapping=tasks)
        return facts

    def _compute_column_stats(self, dataset: Any, column: str, task: str | None = None) -> dict[str, Any]:
        # A missing text is for training to name, with its row: describing the data must not stumble over it before.
        rows = range(min(len(dataset), 100))  # those that are described
        there = [row for row in rows if dataset[row][column] is not None]
        described = dataset if len(there) == len(rows) else dataset.select(there)
        if not there:
            return {"dtype": "None", "modality": "", "data": {}}
        facts: dict[str, Any] = super()._compute_column_stats(described, column, task=task)
        return facts

    def get_model_specific_metadata(self) -> dict[str, Any]:
        """Return what the template says of the model itself."""
        model = self.model
        if model is None:
            return {}
        scorer = model.scorer
        settings = None if scorer is None else ", ".join(f"{k}={v}" for k, v in scorer.get_config_dict().items())
        return {
            **super().get_model_specific_metadata(),
            "serotine_snippet": self.serotine_snippet(),
            "serotine_version": serotine.__version__,
            "query_marker": model.query_prefix,
            "document_marker": model.document_prefix,
            "expansion": model.do_query_expansion,
            "scorer": None if scorer is None else f"{type(scorer).__name__}({settings})",
        }

    def _id(self) -> str:
        return self.model_id or PLACEHOLDER_ID

    def _examples(self) -> list[Any]:
        return list(self.usage_examples_display or self.usage_examples or DEFAULT_EXAMPLES)

    def _texts(self, name: str, start: int, stop: int | None) -> list[str]:
        texts = self._examples()[start:stop]
        return [f"{name} = [", *(f"    {self._format_snippet_value(text)}," for text in texts), "]"]


def with_model_id(card: str, model_id: str) -> str:
    """Return the text of a card with a model's name in the place of the placeholder."""
    return card.replace(f'("{PLACEHOLDER_ID}"', f'("{model_id}"')


def _as_comment(scores: Tensor) -> str:
    with torch._tensor_str.printoptions(precision=4, sci_mode=False):
        return "\n".join(f"# {line}" for line in str(scores.cpu()).splitlines())


def _code(lines: list[str]) -> str:
    return "\n".join(["```python", *lines, "```"])
