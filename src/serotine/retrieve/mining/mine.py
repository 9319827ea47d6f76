"""`mine_hard_negatives`: search a corpus for each training query, and keep what ranks high and is no positive."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from tqdm.auto import tqdm

from serotine.errors import InvalidInput
from serotine.indexes.checks import positive_int
from serotine.retrieve.mining.candidates import Candidate, Encoders, Searched, prepare
from serotine.retrieve.mining.choice import Rules
from serotine.retrieve.mining.output import Mined, OutputFormat, read_format
from serotine.retrieve.mining.pairs import Pairs, read_pairs, text_key
from serotine.types import DocumentId

__all__ = ["mine_hard_negatives"]

logger = logging.getLogger(__name__)

# Queries that are encoded and searched together.
_QUERIES = 1024


def mine_hard_negatives(
    dataset: Any,
    model: Any,
    anchor_column_name: str | None = None,
    positive_column_name: str | None = None,
    corpus: Sequence[str] | Mapping[DocumentId, str] | None = None,
    cross_encoder: Any = None,
    range_min: int = 0,
    range_max: int | None = None,
    max_score: float | None = None,
    min_score: float | None = None,
    absolute_margin: float | None = None,
    relative_margin: float | None = None,
    num_negatives: int = 3,
    sampling_strategy: Literal["random", "top"] = "top",
    query_prompt_name: str | None = None,
    query_prompt: str | None = None,
    corpus_prompt_name: str | None = None,
    corpus_prompt: str | None = None,
    include_positives: bool = False,
    output_format: Literal["triplet", "n-tuple", "labeled-pair", "labeled-list"] | None = None,
    output_scores: bool = False,
    batch_size: int = 32,
    *,
    index: Any = None,
    seed: int = 42,
    show_progress_bar: bool = False,
) -> Any:
    """Return training rows with hard negatives: documents that the model ranks high for a query and are no positives.

    Arguments are those of Sentence Transformers' function of this name, where they have a meaning here.

    Args:
        dataset: a `datasets.Dataset` or a list of dicts, of queries and a positive, or a list of positives, each. Rows
            of one query are pooled. What comes back has the same form.
        model: encodes, by ``encode_query`` and ``encode_document``: a `serotine.models.ColBERT`, a MultiVectorEncoder.
        anchor_column_name, positive_column_name: None: told by their names, as in training.
        corpus: texts to search beside the positives of all queries; None: only these. Or a dict of id and text, which
            alone is searched.
        cross_encoder: something with ``predict(pairs, batch_size=)``. Its scores take the place of MaxSim for the
            thresholds, the order of negatives and the output; which documents are candidates the index says.
        range_min, range_max: candidates are documents of these ranks, from 0, the last one excluded. A rank counts the
            documents that are no positives, before any threshold. None: as many as are wanted, or ten times as many
            if there are thresholds or the choice is random.
        max_score, min_score: of a negative, in MaxSim: a sum over query tokens.
        absolute_margin: a negative scores less than the query's lowest positive, by this much at least.
        relative_margin: the same, as a share of the positive's score: .05 for 5 %.
        num_negatives: of each query, at most.
        sampling_strategy: the best of the candidates that are left ("top"), or some of them ("random").
        query_prompt_name, query_prompt, corpus_prompt_name, corpus_prompt: prompts to encode with instead of the
            model's.
        include_positives: rank positives, too, instead of leaving them out: for reranking data. n-tuples only.
        output_format: ``"triplet"`` (None): a row per positive and negative: query, positive, ``negative``.
            ``"n-tuple"``: a row per positive: query, positive, ``negative_1``, ...; only with all negatives.
            ``"labeled-pair"``: a row per document: query, document, ``label`` 1 or 0.
            ``"labeled-list"``: a row per positive: query, list of the positive and the negatives, ``labels``.
        output_scores: add a column ``scores``, of the positive and the negatives; in the labelled forms it
            (``score`` in pairs) replaces the labels, as `losses.Distillation` wants them.
        batch_size: texts per forward pass.
        index: ``"plaid"`` (None) or ``"exact"``: build one in memory. Or an index, such as one on disk: an empty one is
            filled; one that holds documents needs their texts as ``corpus={id: text}``, and the model that made it.
        seed: of the random choice, which depends on it and the query's place in the data set only.
        show_progress_bar: over batches of queries.

    No negative has the text of a positive of its query, or of the query itself, up to spaces, whatever its id; and no
    two have the same text. Thresholds compare scores of the same kind: positives are scored by the index's vectors,
    too, if it holds them.

    How much the thresholds took, and queries without enough negatives, are logged. Those have no row.

    Raises:
        InvalidInput: a column or a text is missing, which is named with its row or id; arguments that do not go
            together, before anything is encoded; a positive without a token that is scored.
        MissingExtra: dataset is a `datasets.Dataset`, and that package is gone.

    Cost: one encoding of the corpus and the queries, one search of ``range_max`` and the positives for each query.
    Memory: the index and the texts; vectors of 4,096 texts.

    Source of the margins: Moreira et al. 2024, "NV-Retriever" (95 % of the positive: ``relative_margin=.05``).

    Example:
        >>> mine_hard_negatives(dataset, model, relative_margin=0.05, num_negatives=5)  # doctest: +SKIP
    """
    rules = Rules(
        range_min,
        range_max,
        max_score,
        min_score,
        absolute_margin,
        relative_margin,
        num_negatives,
        sampling_strategy,
        seed,
    )
    name = read_format(output_format, include_positives=include_positives)
    pairs = read_pairs(dataset, anchor_column_name, positive_column_name)
    form = OutputFormat(name, pairs, rules.num_negatives, output_scores)
    batch_size = positive_int(batch_size, name="batch_size")
    encoders = Encoders(
        partial(_encode, model, "encode_query", batch_size, query_prompt_name, query_prompt),
        partial(_encode, model, "encode_document", batch_size, corpus_prompt_name, corpus_prompt),
    )
    searched = prepare(corpus, index, pairs, encoders)
    predict = None if cross_encoder is None else partial(_predict, cross_encoder, batch_size)
    removed: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    without = 0
    for batch in _batches(len(pairs.anchors), show_progress_bar=show_progress_bar):
        for mined in _mine(batch, pairs, searched, encoders, rules, predict, removed, keep=include_positives):
            without += len(mined.negatives) < form.least_negatives()
            rows += form.rows(mined)
    _report(rules, removed, without, pairs)
    return form.like(dataset, rows)


def _batches(number: int, *, show_progress_bar: bool) -> Iterator[slice]:
    starts = range(0, number, _QUERIES)
    for start in tqdm(starts, desc="Mine hard negatives", disable=not show_progress_bar):
        yield slice(start, start + _QUERIES)


def _mine(
    batch: slice,
    pairs: Pairs,
    searched: Searched,
    encoders: Encoders,
    rules: Rules,
    predict: Any,
    removed: Counter[str],
    *,
    keep: bool,
) -> Iterator[Mined]:
    """Yield what is mined for some queries. keep: rank positives, too."""
    anchors, positives = pairs.anchors[batch], pairs.positives[batch]
    vectors = encoders.queries(anchors)
    excluded = [
        {text_key(text) for text in (anchor, *(() if keep else texts))}
        for anchor, texts in zip(anchors, positives, strict=True)
    ]
    found = searched.search(vectors, excluded, rules.end)
    scores = searched.scores(vectors, positives)
    for number, anchor in enumerate(anchors):
        known = [Candidate(text, score) for text, score in zip(positives[number], scores[number], strict=True)]
        candidates = found[number][rules.range_min : rules.end]
        for positive in known:
            if not np.isfinite(positive.score):
                raise InvalidInput(
                    f"the positive {positive.text!r} of {anchor!r} has the score {positive.score}: the model scores "
                    "none of its tokens. Remove the row, or the model's skiplist words"
                )
        if predict is not None:
            judged = predict(anchor, [*known, *candidates])
            known, candidates = judged[: len(known)], judged[len(known) :]
        chosen = rules.choose(candidates, [each.score for each in known], batch.start + number, removed)
        yield Mined(anchor, known, chosen)


def _encode(
    model: Any, method: str, batch_size: int, prompt_name: str | None, prompt: str | None, texts: list[str]
) -> list[Any]:
    encode = getattr(model, method, None)
    if encode is None:
        raise InvalidInput(f"model must have encode_query and encode_document, {type(model).__name__} has not")
    prompts = {name: value for name, value in (("prompt_name", prompt_name), ("prompt", prompt)) if value is not None}
    embeddings = encode(texts, batch_size=batch_size, convert_to_numpy=True, show_progress_bar=False, **prompts)
    return list(embeddings)


def _predict(cross_encoder: Any, batch_size: int, anchor: str, documents: list[Candidate]) -> list[Candidate]:
    scores = cross_encoder.predict([(anchor, each.text) for each in documents], batch_size=batch_size)
    return [each._replace(score=float(score)) for each, score in zip(documents, scores, strict=True)]


def _report(rules: Rules, removed: Counter[str], without: int, pairs: Pairs) -> None:
    for name, number in removed.items():
        logger.info("%s=%s took %d candidates", name, getattr(rules, name), number)
    if without:
        logger.warning(
            "%d of %d queries have too few negatives in the ranks %d to %d, and no row. Raise range_max%s",
            without,
            len(pairs.anchors),
            rules.range_min,
            rules.end,
            ", or loosen " + ", ".join(removed) if removed else "",
        )
