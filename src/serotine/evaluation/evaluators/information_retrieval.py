"""How well does a model find the documents of a collection?  `ColBERTInformationRetrievalEvaluator`.

Metrics are those of `serotine.evaluation.evaluate`, by the same code; this file knows the collection and the names.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tqdm.auto import tqdm

from serotine.errors import InvalidInput, MissingExtra
from serotine.evaluation._files import write_lines
from serotine.evaluation.beir import load_beir
from serotine.evaluation.datasets import Dataset
from serotine.evaluation.evaluators.base import ColBERTEvaluator
from serotine.evaluation.evaluators.collection import Collection, read_collection
from serotine.evaluation.evaluators.corpus_search import Chunk, Rankings, rank_corpus, rank_corpus_by_functions
from serotine.evaluation.evaluators.encoding import encode, score_name
from serotine.evaluation.evaluators.retrieval_metrics import RetrievalMetrics
from serotine.evaluation.metrics import evaluate_run
from serotine.evaluation.run import Run
from serotine.evaluation.self_matches import has_self_matches
from serotine.indexes.base import Index
from serotine.indexes.checks import positive_int
from serotine.losses.scoring import metric_name
from serotine.types import TokenMatrix

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ColBERTInformationRetrievalEvaluator"]


class ColBERTInformationRetrievalEvaluator(ColBERTEvaluator):
    """Ranks a corpus for each query and reports accuracy, precision, recall, nDCG, MRR and MAP at cutoffs.

    Metrics are named ``<name>_<score>_<metric>@<k>``, as in ``dev_MaxSim_ndcg@10``, which is the primary one (the
    largest ``ndcg_at_k``). <score> is MaxSim or MeanMaxSim, or the class of the model's learnt score.

    Args:
        queries: ``{query id: text}``; those without judgements are left out.
        corpus: ``{document id: text}``.
        relevant_docs: ``{query id: ids}``, all of them equally relevant, or ``{query id: {document id: grade}}``.
        corpus_chunk_size: documents encoded and searched at a time: only their vectors are in memory.
        mrr_at_k, ndcg_at_k, accuracy_at_k, precision_recall_at_k, map_at_k: cutoffs. Accuracy is the share of queries
            with a relevant document among the first k.
        name: of the collection, in metrics and file names.
        truncate_dim: evaluate the leading dimensions only.
        score_functions: ``{name: function}`` to score by instead of the model's own, each of ``(queries, documents)``
            as lists of tensors.
        main_score_function: name of the one that the primary metric is of; the best one if None.
        query_prompt, query_prompt_name, corpus_prompt, corpus_prompt_name: instead of the model's prompts; its markers
            stay.
        write_predictions: write the rankings beside the csv file, one JSON object per query.
        index: returns an empty index, such as ``lambda: PLAID(folder, "dev", override=True)``: it is called in each
            evaluation, as vectors change in training. None: exact search, chunk by chunk.
        num_candidates: documents found by MaxSim that a learnt score orders (`TokenWeights` order all documents).
        remove_self_matches: drop the document whose id is the query's: the rule of ArguAna and Quora only.
        allow_missing_documents: count relevant documents that the corpus lacks as not found, as BEIR does, instead of
            raising.

    Cost: encoding, and ``query tokens * document tokens * dim`` multiply-adds. Results are Sentence Transformers'
    except that MAP@k is divided by all relevant documents (trec_eval; there by at most k), that grades count in nDCG,
    and that equal scores keep the order of the corpus.

    Raises:
        InvalidInput: no queries with judgements, an empty corpus, a relevant document that is not in it, a text that is
            none, a cutoff below 1, a score that ranks tokens of the whole corpus (XTR).

    Example:
        >>> evaluator = ColBERTInformationRetrievalEvaluator(
        ...     queries={"q": "who hunts at night?"}, corpus={"d": "Bats hunt at night."}, relevant_docs={"q": {"d"}}
        ... )
        >>> results = evaluator(model)  # doctest: +SKIP
        >>> results[evaluator.primary_metric]  # doctest: +SKIP
        1.0
    """

    title: ClassVar[str] = "Information Retrieval"

    def __init__(
        self,
        queries: Mapping[Any, str],
        corpus: Mapping[Any, str],
        relevant_docs: Mapping[Any, Any],
        *,
        corpus_chunk_size: int = 5_000,
        mrr_at_k: Sequence[int] = (10,),
        ndcg_at_k: Sequence[int] = (10,),
        accuracy_at_k: Sequence[int] = (1, 3, 5, 10),
        precision_recall_at_k: Sequence[int] = (1, 3, 5, 10),
        map_at_k: Sequence[int] = (100,),
        show_progress_bar: bool = False,
        batch_size: int = 32,
        name: str = "",
        write_csv: bool = True,
        truncate_dim: int | None = None,
        score_functions: Mapping[str, Callable[..., Any]] | None = None,
        main_score_function: str | None = None,
        query_prompt: str | None = None,
        query_prompt_name: str | None = None,
        corpus_prompt: str | None = None,
        corpus_prompt_name: str | None = None,
        write_predictions: bool = False,
        index: Callable[[], Index] | None = None,
        num_candidates: int = 100,
        remove_self_matches: bool = False,
        allow_missing_documents: bool = False,
    ) -> None:
        super().__init__(
            name=name,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            write_csv=write_csv,
            truncate_dim=truncate_dim,
        )
        if importlib.util.find_spec("ranx") is None:  # before the training, not at its first evaluation
            raise MissingExtra("ranx", extra="eval", purpose=type(self).__name__)
        self.collection: Collection = read_collection(
            queries, corpus, relevant_docs, allow_missing_documents=allow_missing_documents
        )
        self.metrics = RetrievalMetrics.at(
            accuracy=accuracy_at_k,
            precision_recall=precision_recall_at_k,
            mrr=mrr_at_k,
            ndcg=ndcg_at_k,
            map=map_at_k,
        )
        self.corpus_chunk_size = positive_int(corpus_chunk_size, name="corpus_chunk_size")
        self.num_candidates = positive_int(num_candidates, name="num_candidates")
        self.score_functions = _checked_functions(score_functions, main_score_function, index)
        self.main_score_function = main_score_function
        self.query_prompt, self.query_prompt_name = query_prompt, query_prompt_name
        self.corpus_prompt, self.corpus_prompt_name = corpus_prompt, corpus_prompt_name
        self.write_predictions = write_predictions
        self.index = index
        self.remove_self_matches = remove_self_matches
        self._stem = "Information-Retrieval_evaluation" + (f"_{name}" if name else "")
        self.csv_file = f"{self._stem}_results.csv"
        self.csv_headers = ["epoch", "steps"]

    @classmethod
    def from_dataset(cls, dataset: Dataset, **options: Any) -> Self:
        """Make an evaluator from what `load_beir` and `load_custom_dataset` return; options are the constructor's."""
        documents, queries, qrels = dataset
        corpus = {document["id"]: document["text"] for document in documents}
        return cls(queries, corpus, qrels, **options)

    @classmethod
    def from_beir(
        cls,
        dataset_name: str | os.PathLike[str],
        split: str = "test",
        *,
        cache_folder: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> Self:
        """Make an evaluator of a BEIR collection: a name, or a local folder in its layout, which needs no network.

        Its name is the collection's, its rule on self-matches the benchmark's (by the folder's name), and judged
        documents that it lacks count as not found; options override all three.
        """
        # resolve() for ".", not for links: a link is named by the one who made it.
        name = Path(dataset_name).name or Path(dataset_name).resolve().name
        options = {
            "name": name,
            "remove_self_matches": has_self_matches(name),
            "allow_missing_documents": True,
            **options,
        }
        return cls.from_dataset(load_beir(dataset_name, split, cache_folder=cache_folder), **options)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Evaluate a model; return each metric under its full name.

        output_path: folder of the csv file and the predictions; None writes nothing.
        """
        self._log_start(epoch, steps)
        with self._truncating(model):
            rankings = self._rankings(model)
        values = {score: self._metrics_of(results) for score, results in rankings.items()}
        main = self.main_score_function or max(values, key=lambda score: values[score][self.metrics.primary])
        self.primary_metric = f"{main}_{self.metrics.primary}"
        self.csv_headers = ["epoch", "steps", *self.metrics.csv_headers(values)]
        if output_path is not None and self.write_predictions:
            for score, results in rankings.items():
                self._write_predictions(Path(output_path), score, results)
        named = self.metrics.named(values)
        return self._report(model, named, output_path, epoch, steps, row=self.metrics.csv_values(values, named))

    def _rankings(self, model: Any) -> dict[str, Rankings]:
        """Return the rankings by each score."""
        queries = self._encode(model, self.collection.query_texts, is_query=True)
        # One more, for the query's own document that may be among them.
        depth = self.metrics.depth + self.remove_self_matches
        if self.score_functions is not None:
            return rank_corpus_by_functions(self.score_functions, queries, self._chunks(model), depth)
        rankings = rank_corpus(
            queries,
            self._chunks(model),
            depth,
            scorer=getattr(model, "scorer", None),
            num_candidates=self.num_candidates,
            make_index=self.index,
        )
        name = score_name(model)
        if name == "MeanMaxSim":  # the same order; the numbers are seen in the predictions
            for ranking, length in zip(rankings, queries.lengths.tolist(), strict=True):
                for hit in ranking:
                    hit["score"] /= max(1, length)
        return {name: rankings}

    def _chunks(self, model: Any) -> Iterator[Chunk]:
        ids, texts, step = self.collection.document_ids, self.collection.document_texts, self.corpus_chunk_size
        bar = tqdm(total=len(ids), desc="Corpus", unit="document", disable=not self.show_progress_bar)
        with bar:
            for start in range(0, len(ids), step):
                some = slice(start, start + step)
                yield ids[some], self._encode(model, texts[some], is_query=False)
                bar.update(len(ids[some]))

    def _encode(self, model: Any, texts: Sequence[str], *, is_query: bool) -> TokenMatrix:
        return encode(
            model,
            texts,
            is_query=is_query,
            prompt=self.query_prompt if is_query else self.corpus_prompt,
            prompt_name=self.query_prompt_name if is_query else self.corpus_prompt_name,
            batch_size=self.batch_size,
            show_progress_bar=False,
        )

    def _metrics_of(self, rankings: Rankings) -> dict[str, float]:
        run = Run.from_results(rankings, self.collection.query_ids)
        means = evaluate_run(
            run, self.collection.qrels, self.metrics.measures(), remove_self_matches=self.remove_self_matches
        ).means()
        return {metric: means[measure] for metric, measure in self.metrics.names.items()}

    def _write_predictions(self, folder: Path, score: str, rankings: Rankings) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        lines = (
            json.dumps(
                {
                    "query_id": query,
                    "query": text,
                    "results": [{"corpus_id": hit["id"], "score": hit["score"]} for hit in ranking],
                },
                ensure_ascii=False,
            )
            for query, text, ranking in zip(
                self.collection.query_ids, self.collection.query_texts, rankings, strict=True
            )
        )
        write_lines(folder / f"{self._stem}_predictions_{score}.jsonl", lines)

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings that are not at their defaults, for the model card."""
        names = ("query_prompt", "query_prompt_name", "corpus_prompt", "corpus_prompt_name")
        config = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.remove_self_matches:
            config["remove_self_matches"] = True
        return {**super().get_config_dict(), **config}


def _checked_functions(functions: Any, main: str | None, index: Any) -> dict[str, Callable[..., Any]] | None:
    if index is not None and (isinstance(index, Index) or not callable(index)):
        raise InvalidInput(
            f"index must be a function that returns an empty index, got {type(index).__name__}: vectors change in "
            "training, so each evaluation needs its own, as in index=lambda: PLAID(folder, 'dev', override=True)"
        )
    if functions is None:
        if main is not None:
            raise InvalidInput(f"main_score_function={main!r} needs score_functions to choose from")
        return None
    if not isinstance(functions, Mapping) or not functions or not all(map(callable, functions.values())):
        raise InvalidInput(f"score_functions must be {{name: function}}, got {functions!r}")
    if index is not None:
        raise InvalidInput("give either index or score_functions: an index scores by MaxSim")
    if main is not None and main not in functions:
        raise InvalidInput(f"main_score_function={main!r} is none of score_functions: {', '.join(functions)}")
    for name, function in functions.items():
        if getattr(function, "pools_documents", False) or "xtr" in metric_name(function).lower():
            raise InvalidInput(
                f"score function {name!r} ranks the tokens of all documents together, which a corpus in chunks does "
                "not allow: evaluate an XTR model with MaxSim"
            )
    return dict(functions)
