"""Proves that hard negatives are what brute force finds, in every form, and that no positive is ever one of them."""

from __future__ import annotations

import logging
import zlib
from collections import Counter

import datasets
import numpy as np
import pytest

from serotine.errors import InvalidInput
from serotine.indexes import PLAID, Exact
from serotine.retrieve import mine_hard_negatives
from serotine.retrieve.mining.candidates import Candidate
from serotine.retrieve.mining.choice import Rules
from serotine.scores import maxsim
from tests.models.conftest import backbone, model

__all__ = ["backbone", "model"]

DIM = 16
POSITIVES = [f"answer {number}" for number in range(12)]
CORPUS = [f"text {number}" for number in range(40)]
ROWS = [{"question": f"question {number % 9}", "answer": POSITIVES[number]} for number in range(12)]
QUERIES = [f"question {number}" for number in range(9)]
ANSWERS = {query: [row["answer"] for row in ROWS if row["question"] == query] for query in QUERIES}


class RandomModel:
    """Gives each text vectors of norm 1 that depend on it alone, in half of the space, so that scores are positive."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str], dict]] = []

    def vectors(self, text, task):
        generator = np.random.default_rng(zlib.crc32(f"{task} {' '.join(text.split())}".encode()))
        if text.split()[0] == "answer" and task == "document":  # near the question that it answers
            question = self.vectors(f"question {int(text.split()[1]) % 9}", "query")
            rows = question + 0.15 * generator.standard_normal(question.shape)
        else:
            rows = generator.standard_normal((generator.integers(3, 6), DIM)) + 0.7
        # Values that float16 holds exactly, in which PLAID keeps them.
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)

    def encode_query(self, texts, **options):
        self.calls.append(("query", list(texts), options))
        return [self.vectors(text, "query") for text in texts]

    def encode_document(self, texts, **options):
        self.calls.append(("document", list(texts), options))
        return [self.vectors(text, "document") for text in texts]


def score(query, document, encoder=None):
    encoder = encoder or RandomModel()
    return float(maxsim([encoder.vectors(query, "query")], [encoder.vectors(document, "document")])[0, 0])


def ranked(query, corpus, *, positives=()):
    """Every text but the positives, best first, with its score."""
    scores = {text: score(query, text) for text in dict.fromkeys(corpus) if text not in positives}
    return sorted(scores.items(), key=lambda item: -item[1])


def mine(rows=None, **options):
    return mine_hard_negatives(list(ROWS if rows is None else rows), RandomModel(), **options)


@pytest.mark.parametrize("index", [None, "plaid", "exact"])
def test_negatives_are_the_best_texts_that_are_no_positives(index):
    found = mine(corpus=CORPUS, num_negatives=4, index=index, output_scores=True)
    expected = []
    for query in QUERIES:
        best = ranked(query, [*CORPUS, *POSITIVES], positives=ANSWERS[query])[:4]
        for positive in ANSWERS[query]:
            expected += [(query, positive, text, score(query, positive), negative) for text, negative in best]
    assert [(row["question"], row["answer"], row["negative"]) for row in found] == [each[:3] for each in expected]
    assert list(found[0]) == ["question", "answer", "negative", "scores"]
    np.testing.assert_allclose([row["scores"] for row in found], [each[3:] for each in expected], rtol=1e-4)


def test_without_a_corpus_the_positives_of_other_queries_are_searched():
    found = mine(num_negatives=3)
    for row in found:
        best = ranked(row["question"], POSITIVES, positives=ANSWERS[row["question"]])[:3]
        assert row["negative"] in [text for text, _ in best]
    assert len(found) == 12 * 3


def test_ranks_are_counted_without_positives_and_before_thresholds():
    found = mine(corpus=CORPUS, range_min=2, range_max=9, max_score=2.6, num_negatives=5, output_format="labeled-list")
    for row in found:
        candidates = ranked(row["question"], [*CORPUS, *POSITIVES], positives=ANSWERS[row["question"]])[2:9]
        assert row["answer"][1:] == [text for text, value in candidates if value <= 2.6][:5]


@pytest.mark.parametrize(
    ("options", "keeps"),
    [
        ({"max_score": 2.4}, lambda value, limit: value <= 2.4),
        ({"min_score": 2.3}, lambda value, limit: value >= 2.3),
        ({"absolute_margin": 1.0}, lambda value, limit: value <= limit - 1.0),
        ({"relative_margin": 0.35}, lambda value, limit: value <= limit * 0.65),
        ({"relative_margin": 0.3, "min_score": 2.2}, lambda value, limit: 2.2 <= value <= limit * 0.7),
    ],
)
def test_thresholds_compare_with_the_lowest_positive_of_a_query(options, keeps, caplog):
    found = mine(corpus=CORPUS, range_max=30, num_negatives=6, output_format="labeled-list", **options)
    by_query = {row["question"]: row["answer"][1:] for row in found}
    expected = {}
    for query in QUERIES:
        limit = min(score(query, positive) for positive in ANSWERS[query])
        candidates = ranked(query, [*CORPUS, *POSITIVES], positives=ANSWERS[query])[:30]
        kept = [text for text, value in candidates if keeps(value, limit)][:6]
        if kept:
            expected[query] = kept
    assert by_query == expected
    assert sum(map(len, expected.values())) > 10
    assert ("9 queries have too few negatives" in caplog.text) == (len(expected) < 9)


def test_a_margin_of_a_negative_score_lowers_it():
    rules = Rules(0, None, None, None, None, 0.5, 3, "top", 0)
    candidates = [Candidate("near", -2.5), Candidate("far", -3.5)]
    assert rules.choose(candidates, [-2.0], 0, Counter()) == candidates[1:]


def test_a_text_of_a_positive_is_no_negative_under_any_id():
    texts = {"a": "answer 0", 7: " answer  0\n", "7": "text 1", "b": "text 2", "c": "text 2", "q": "question 0"}
    index = Exact()
    encoder = RandomModel()
    index.add_documents(list(texts), [encoder.vectors(text, "document") for text in texts.values()])
    # The copies score best, and use up the places of a search for few.
    rows = [{"query": "question 0", "positive": "answer 0"}]
    found = mine_hard_negatives(rows, encoder, corpus=texts, index=index, num_negatives=2, output_format="n-tuple")
    assert [sorted([row["negative_1"], row["negative_2"]]) for row in found] == [["text 1", "text 2"]]
    many = dict.fromkeys(range(50), "text 5") | {50: "text 6"}
    found = mine_hard_negatives(rows, encoder, corpus=many, num_negatives=2, output_format="n-tuple")
    assert [sorted([row["negative_1"], row["negative_2"]]) for row in found] == [["text 5", "text 6"]]


@pytest.mark.parametrize("make", [Exact, lambda: PLAID(None)])
def test_an_index_that_is_there_is_searched_with_texts_by_id(make):
    encoder = RandomModel()
    index = make()
    index.add_documents([f"id-{text}" for text in CORPUS], [encoder.vectors(text, "document") for text in CORPUS])
    texts = {f"id-{text}": text for text in CORPUS}
    found = mine_hard_negatives(list(ROWS), encoder, corpus=texts, index=index, num_negatives=3, output_scores=True)
    for number, row in enumerate(found):
        best = ranked(row["question"], CORPUS)[:3]
        assert row["negative"] == best[number % 3][0]
        # Positives are not in this index, and are encoded.
        assert row["scores"][0] == pytest.approx(score(row["question"], row["answer"]), rel=1e-4)
    encoded = [text for task, texts, _ in encoder.calls if task == "document" for text in texts]
    assert sorted(encoded) == sorted(POSITIVES)


def test_an_empty_index_is_filled(tmp_path):
    with PLAID(tmp_path, "mined") as index:
        assert mine(corpus=CORPUS, index=index) == mine(corpus=CORPUS)
        assert len(index) == len(CORPUS) + len(POSITIVES)


def test_a_token_index_is_reranked():
    from tests.retrieve.test_colbert import TokenIndex

    encoder = RandomModel()

    class Tokens(TokenIndex):
        def __init__(self):
            self.vectors = {text: encoder.vectors(text, "document") for text in CORPUS}
            self.tokens = np.concatenate(list(self.vectors.values()))
            self.owners = [text for text, rows in self.vectors.items() for _ in rows]
            self.calls = []

        def get_documents_embeddings(self, documents_ids):
            return [[self.vectors[each] for each in some] for some in documents_ids]

    texts = {text: text for text in CORPUS}
    found = mine_hard_negatives(list(ROWS), encoder, corpus=texts, index=Tokens(), num_negatives=2)
    assert [row["negative"] for row in found[:2]] == [text for text, _ in ranked("question 0", CORPUS)[:2]]


def test_random_choices_depend_on_the_seed_and_the_query_only(monkeypatch):
    from serotine.retrieve.mining import mine as module

    options = {"corpus": CORPUS, "sampling_strategy": "random", "range_max": 20, "output_format": "labeled-list"}
    found = mine(seed=1, **options)
    monkeypatch.setattr(module, "_QUERIES", 2)
    assert mine(seed=1, **options) == found
    assert mine(seed=2, **options) != found
    drawn = set()
    for row in found:
        best = [text for text, _ in ranked(row["question"], [*CORPUS, *POSITIVES], positives=ANSWERS[row["question"]])]
        places = [best.index(text) for text in row["answer"][1:]]
        assert places == sorted(places)
        assert max(places) < 20
        drawn.update(places)
    assert len(drawn) > 8


def test_forms_have_the_rows_and_columns_of_their_names():
    rows = [{"query": "q", "positive": ["p", "r"]}]
    options = {"corpus": ["a", "b"], "num_negatives": 2}
    assert mine(rows, **options) == [
        {"query": "q", "positive": positive, "negative": negative}
        for positive in ("p", "r")
        for negative in (text for text, _ in ranked("q", ["a", "b"]))
    ]
    pairs = mine(rows, output_format="labeled-pair", **options)
    assert [row["label"] for row in pairs] == [1, 1, 0, 0]
    scored = mine(rows, output_format="labeled-pair", output_scores=True, **options)
    assert scored[0] == {"query": "q", "positive": "p", "score": pytest.approx(score("q", "p"), rel=1e-4)}
    lists = mine(rows, output_format="labeled-list", **options)
    assert [row["labels"] for row in lists] == [[1, 0, 0]] * 2
    scored = mine(rows, output_format="labeled-list", output_scores=True, **options)
    assert list(scored[0]) == ["query", "positive", "scores"]
    tuples = mine(rows, output_format="n-tuple", output_scores=True, **options)
    assert list(tuples[0]) == ["query", "positive", "negative_1", "negative_2", "scores"]
    assert len(tuples[0]["scores"]) == 3


def test_a_query_without_enough_negatives_has_no_row_and_is_counted(caplog):
    rows = [{"query": "q", "positive": "p"}]
    assert mine(rows, corpus=["a", "b"], num_negatives=3, output_format="n-tuple") == []
    assert "1 of 1 queries have too few negatives in the ranks 0 to 3" in caplog.text
    assert len(mine(rows, corpus=["a", "b"], num_negatives=3)) == 2


def test_rankings_include_positives_on_request():
    found = mine(corpus=CORPUS, include_positives=True, num_negatives=52)
    assert len(found) == 12
    for row in found:
        texts = [row[f"negative_{number}"] for number in range(1, 53)]
        assert texts == [text for text, _ in ranked(row["question"], [*CORPUS, *POSITIVES])]


def test_a_data_set_comes_back_as_one():
    found = mine_hard_negatives(datasets.Dataset.from_list(ROWS), RandomModel(), corpus=CORPUS)
    assert isinstance(found, datasets.Dataset)
    assert found.to_list() == mine(corpus=CORPUS)
    empty = mine_hard_negatives(datasets.Dataset.from_list(ROWS), RandomModel(), corpus=CORPUS, max_score=-1e6)
    assert (len(empty), empty.column_names) == (0, ["question", "answer", "negative"])


def test_a_cross_encoder_replaces_the_scores_of_candidates():
    class Judge:
        def predict(self, pairs, batch_size):
            return np.array([-len(text) - int(text.split()[-1]) / 100 for _, text in pairs])

    found = mine(corpus=CORPUS, cross_encoder=Judge(), range_max=15, num_negatives=15, output_format="labeled-list")
    for row in found:
        candidates = ranked(row["question"], [*CORPUS, *POSITIVES], positives=ANSWERS[row["question"]])[:15]
        texts = [text for text, _ in candidates]
        assert row["answer"][1:] == sorted(texts, key=lambda text: (len(text), int(text.split()[-1])))


def test_prompts_and_batch_size_reach_the_model():
    encoder = RandomModel()
    mine_hard_negatives(list(ROWS), encoder, query_prompt_name="q", corpus_prompt="d: ", batch_size=7)
    options = {task: kept for task, _, kept in encoder.calls}
    assert options["query"]["prompt_name"] == "q"
    assert "prompt" not in options["query"]
    assert options["document"]["prompt"] == "d: "
    assert {each["batch_size"] for each in options.values()} == {7}


def test_a_model_mines_what_it_ranks(model):
    rows = [
        {"query": "where is the bat", "positive": "Bats fly at night."},
        {"query": "what is late", "positive": "it is late!"},
    ]
    corpus = ["moth", "the river and the sound of wings", "insects, insects", "a small cave; under the tree"]
    found = mine_hard_negatives(rows, model, corpus=corpus, num_negatives=2, output_scores=True)
    for row in found:
        documents = [text for text in [*corpus, *(each["positive"] for each in rows)] if text != row["positive"]]
        scores = model.similarity(model.encode_query([row["query"]]), model.encode_document(documents))[0]
        best = [documents[number] for number in scores.argsort(descending=True)[:2]]
        assert row["negative"] in best
        assert row["scores"][1] == pytest.approx(float(scores[documents.index(row["negative"])]), rel=1e-3)
    assert len(found) == 4


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([], {}, "no rows"),
        ([{"query": "q", "positive": ""}], {}, "row 0: column 'positive' holds ''"),
        ([{"query": "q", "positive": "p"}, {"query": None, "positive": "p"}], {}, "row 1: column 'query' holds None"),
        ([{"query": "q", "positive": []}], {}, "row 0: column 'positive' holds an empty list"),
        ([{"query": "q", "positive": "p"}, {"query": "q"}], {}, "row 1 has no column 'positive'"),
        ([{"first": "q", "second": "p"}], {}, "do not tell which is the query"),
        ([{"query": "q", "positive": "p"}], {"anchor_column_name": "qestion"}, "anchor_column_name='qestion' is none"),
        ("rows.jsonl", {}, "must be a datasets.Dataset or a list of dicts, got str"),
        (None, {"num_negatives": 0}, "num_negatives must be a whole number >= 1"),
        (None, {"range_min": 5, "range_max": 7}, "need range_max >= 8, got 7"),
        (None, {"range_min": -1}, "range_min must be"),
        (None, {"relative_margin": float("nan")}, "relative_margin must be a finite number"),
        (None, {"min_score": 2, "max_score": 1}, "min_score=2 is above max_score=1"),
        (None, {"sampling_strategy": "best"}, "'top' or 'random', got 'best'"),
        (None, {"output_format": "pairs"}, "output_format must be one of triplet, n-tuple"),
        (None, {"output_format": "triplet", "include_positives": True}, "include_positives=True makes rankings"),
        (None, {"index": "hnsw"}, "'plaid', 'exact' or an index, got 'hnsw'"),
        (None, {"corpus": "text"}, "list of texts or a dict"),
        (None, {"corpus": ["a", 3]}, r"corpus\[1\] is 3"),
        (None, {"corpus": {"x": None}}, r"corpus\['x'\] is None"),
        (None, {"batch_size": 0}, "batch_size"),
        (None, {"seed": -1}, "seed"),
    ],
)
def test_bad_input_is_named(rows, options, message):
    with pytest.raises(InvalidInput, match=message):
        mine_hard_negatives(list(ROWS) if rows is None else rows, RandomModel(), **options)


def test_an_index_and_texts_that_do_not_go_together_are_refused():
    index = Exact().add_documents(["a", "b"], [np.eye(DIM)[:2], np.eye(DIM)[2:4]])
    with pytest.raises(InvalidInput, match=r"needs corpus=\{id: text\}"):
        mine(index=index, corpus=CORPUS)
    with pytest.raises(InvalidInput, match="document 'b' of the index is not in corpus"):
        mine(index=index, corpus={"a": "text"})


def test_a_positive_of_which_nothing_is_scored_is_named():
    rows = [{"query": "what is late", "positive": "it is late"}, {"query": "a bat", "positive": "!!!"}]
    encoder = RandomModel()
    encoder.vectors = lambda text, task: np.ones((0 if text == "!!!" else 2, DIM), np.float32)
    with pytest.raises(InvalidInput, match="the positive '!!!' of 'a bat' has the score -inf"):
        mine_hard_negatives(rows, encoder, corpus=["moth", "river"], num_negatives=1)


def test_what_thresholds_took_is_logged(caplog):
    caplog.set_level(logging.INFO)
    mine(corpus=CORPUS, max_score=2.5, range_max=30)
    assert "max_score=2.5 took" in caplog.text


def test_utils_exports_it_too():
    from serotine import utils

    assert utils.mine_hard_negatives is mine_hard_negatives
