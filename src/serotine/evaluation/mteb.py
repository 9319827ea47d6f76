"""How does MTEB evaluate a Serotine model and index?  `SearchModel` is what it asks; `use_local_data` what it reads.

MTEB (2.x, extra ``mteb``) hands a task's corpus and queries to an object with its ``SearchProtocol`` and computes the
metrics itself. Its own wrapper for late interaction scores every document; this one asks an index of this package, so
that what is measured is what is deployed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from serotine._lazy import require
from serotine.errors import InvalidInput
from serotine.evaluation.datasets import Dataset
from serotine.indexes import PLAID, Index
from serotine.rank import rerank
from serotine.retrieve import ColBERT as Retriever
from serotine.types import RerankResult, TokenMatrix

if TYPE_CHECKING:
    from serotine.models import ColBERT

__all__ = ["SearchModel", "use_local_data"]


class SearchModel:
    """A model and the index it is searched with, as MTEB's ``SearchProtocol``.

    model: a `serotine.models.ColBERT`. new_index: called once per task and split; returns an empty index. None: a
    `PLAID` in memory with its default settings. For a corpus larger than memory give one on disk,
    ``lambda: PLAID(folder, "mteb", override=True)``; for figures without approximation ``Exact``.

    meta: MTEB's ``ModelMeta``; None: what MTEB reads from the model. name, revision: put into it. MTEB files results
    under them, so give another name for another index.

    A reranking task brings candidates: those are encoded and ranked by their full MaxSim, and no index is made.
    Documents of equal score stay in the order of this package, which MTEB would else order by id.

    Raises:
        MissingExtra: mteb is not installed.

    Example:
        >>> import mteb  # doctest: +SKIP
        >>> mteb.evaluate(SearchModel(model, name="me/bats"), mteb.get_task("SciFact"))  # doctest: +SKIP
    """

    def __init__(
        self,
        model: ColBERT,
        new_index: Callable[[], Index] | None = None,
        *,
        meta: Any = None,
        name: str | None = None,
        revision: str | None = None,
    ) -> None:
        require("mteb", extra="mteb", purpose="serotine.evaluation.mteb")
        from mteb.models import ModelMeta

        if meta is not None and not isinstance(meta, ModelMeta):
            raise InvalidInput(f"meta must be an mteb.models.ModelMeta, got {type(meta).__name__}")
        meta = meta or ModelMeta.from_multi_vector_encoder_model(model)
        chosen = {key: value for key, value in (("name", name), ("revision", revision)) if value is not None}
        self.mteb_model_meta: Any = meta.model_copy(update=chosen)
        self.model = model
        self._new_index = new_index or (lambda: PLAID(None, show_progress=False))
        self._corpus: Any = None
        self._index: Index | None = None

    def index(
        self,
        corpus: Any,
        *,
        task_metadata: Any,
        **_unused: Any,
    ) -> None:
        """Take note of a corpus, MTEB's table of ``id``, ``text`` and perhaps ``title``.

        Encoding waits for `search`, which knows whether all documents are needed or a few candidates. _unused: what
        else the protocol hands over and nothing here depends on.

        Raises:
            InvalidInput: the task is not about text alone.
        """
        modalities = set(task_metadata.modalities)
        if modalities != {"text"}:
            raise InvalidInput(f"{task_metadata.name} has the modalities {sorted(modalities)}; this adapter takes text")
        self.close()
        self._corpus = corpus

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        top_k: int,
        encode_kwargs: Mapping[str, Any],
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        num_proc: int | None = None,
        **_unused: Any,
    ) -> dict[str, dict[str, float]]:
        """Return for each query id its best documents, ``{document id: score}``; with top_ranked, of those alone.

        encode_kwargs: arguments of `ColBERT.encode_stream`. _unused: as in `index`.

        Raises:
            InvalidInput: `index` was not called, or a candidate is not in the corpus.
        """
        if self._corpus is None:
            raise InvalidInput("there is no corpus: call index before search")
        reading = (task_metadata, encode_kwargs, num_proc)
        query_ids = [str(query) for query in queries["id"]]
        vectors = TokenMatrix.concatenate(list(self._encoded(queries, "query", *reading)))
        if top_ranked is None:
            if self._index is None:
                self._index = self._filled_index(*reading)
            results = Retriever(self._index).retrieve(vectors, k=top_k)
        else:
            candidates = [list(top_ranked.get(query, ())) for query in query_ids]
            results = [ranking[:top_k] for ranking in self._reranked(vectors, candidates, *reading)]
        return {query: _falling_scores(ranking) for query, ranking in zip(query_ids, results, strict=True)}

    def close(self) -> None:
        """Let go of the corpus and close the index."""
        if self._index is not None:
            self._index.close()
        self._index = self._corpus = None

    def _filled_index(self, task_metadata: Any, encode_kwargs: Mapping[str, Any], num_proc: int | None) -> Index:
        index = self._new_index()
        if len(index):
            raise InvalidInput(f"new_index must return an empty index, this one holds {len(index)} documents")
        encoded = self._encoded(self._corpus, "document", task_metadata, encode_kwargs, num_proc)
        ids = [str(document) for document in self._corpus["id"]]
        return index.add_documents(ids, (vectors for chunk in encoded for vectors in chunk))

    def _reranked(
        self,
        queries: TokenMatrix,
        candidates: list[list[str]],
        task_metadata: Any,
        encode_kwargs: Mapping[str, Any],
        num_proc: int | None,
    ) -> list[list[RerankResult]]:
        """Rank given documents. All candidates of all queries are encoded, each once, and held in memory."""
        wanted = {document for documents in candidates for document in documents}
        rows = [row for row, document in enumerate(self._corpus["id"]) if document in wanted]
        if len(rows) < len(wanted):
            known = set(self._corpus["id"])
            missing = sorted(wanted - known)
            raise InvalidInput(f"{len(missing)} candidates are not in the corpus, such as {missing[0]!r}")
        if not wanted:
            return [[] for _ in candidates]
        corpus = self._corpus.select(rows)
        chunks = self._encoded(corpus, "document", task_metadata, encode_kwargs, num_proc)
        vectors = dict(zip(corpus["id"], (vectors for chunk in chunks for vectors in chunk), strict=True))
        return rerank(candidates, queries, [[vectors[document] for document in each] for each in candidates])

    def _encoded(
        self, texts: Any, task: Any, task_metadata: Any, encode_kwargs: Mapping[str, Any], num_proc: int | None
    ) -> Iterator[TokenMatrix]:
        # What a task's rows are as text (titles, instructions, conversations) is MTEB's to say, and its own wrappers
        # ask this function; it has no public name.
        from mteb._create_dataloaders import create_dataloader
        from mteb.models.abs_encoder import get_prompt
        from mteb.types import PromptType

        prompt_type = PromptType.query if task == "query" else PromptType.document
        batches = create_dataloader(
            texts, task_metadata=task_metadata, prompt_type=prompt_type, batch_size=256, num_proc=num_proc
        )
        return self.model.encode_stream(
            (text for batch in batches for text in batch["text"]),
            task=task,
            prompt=get_prompt(self.model.prompts, task_metadata, prompt_type) or None,
            **encode_kwargs,
        )


def _falling_scores(ranking: Sequence[RerankResult]) -> dict[str, float]:
    """Return ``{id: score}`` with scores that fall strictly in float32, in which MTEB's metrics compare them.

    A score not below the one before becomes the next smaller float32. Documents without tokens, at ``-inf``, are left
    out: they rank nowhere.
    """
    scores = np.array([result["score"] for result in ranking], dtype=np.float32)
    for place in np.flatnonzero(np.diff(scores) >= 0) + 1:
        while place < len(scores) and scores[place] >= scores[place - 1]:
            scores[place] = np.nextafter(scores[place - 1], np.float32(-np.inf))
            place += 1
    return {
        str(result["id"]): float(score)
        for result, score in zip(ranking, scores, strict=True)
        if result["score"] != -np.inf
    }


def use_local_data(
    task: Any,
    dataset: Dataset,
    *,
    split: str = "test",
    subset: str = "default",
    top_ranked: Mapping[str, Sequence[str]] | None = None,
) -> Any:
    """Give a retrieval or reranking task of MTEB the collection to work on instead of a download; return the task.

    task: such as ``mteb.get_task("SciFact")``. dataset: as `load_beir` or `load_custom_dataset` return it.
    top_ranked: for reranking, the candidates of each query id.

    Raises:
        InvalidInput: it is no retrieval task, or has no such split.
        MissingExtra: mteb is not installed.
    """
    require("mteb", extra="mteb", purpose="serotine.evaluation.mteb")
    import datasets
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    if not isinstance(task, AbsTaskRetrieval):
        raise InvalidInput(f"task must be a retrieval or reranking task of mteb, got {type(task).__name__}")
    if split not in task.eval_splits:
        raise InvalidInput(f"{task.metadata.name} is evaluated on {list(task.eval_splits)}, not on {split!r}")
    corpus = [{"id": document["id"], "title": "", "text": document["text"]} for document in dataset.documents]
    task.dataset = {
        subset: {
            split: {
                "corpus": datasets.Dataset.from_list(corpus),
                "queries": datasets.Dataset.from_list([{"id": q, "text": text} for q, text in dataset.queries.items()]),
                "relevant_docs": {query: dict(judged) for query, judged in dataset.qrels.items()},
                "top_ranked": None if top_ranked is None else {q: list(ids) for q, ids in top_ranked.items()},
            }
        }
    }
    task.data_loaded = True
    return task
