"""Proves that the figures are `evaluate`'s and trec_eval's, whatever the chunks, the index and the score; and the
names, files and errors around them.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
import torch
from ir_measures import AP, RR, P, R, Success, nDCG
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder.evaluation import MultiVectorInformationRetrievalEvaluator

from serotine.errors import InvalidInput, MissingExtra
from serotine.evaluation import ColBERTInformationRetrievalEvaluator, Run, evaluate
from serotine.indexes import PLAID, Exact
from serotine.models import ColBERT
from serotine.scores import SimilarityMLP, TokenWeights, XTRScores, colbert_scores, maxsim
from tests.evaluation import collection as bats
from tests.evaluation.evaluators.conftest import QUESTIONS, RELEVANT, TEXTS, LookupModel, random_collection

CUTOFFS: dict[str, Any] = {
    "accuracy_at_k": [1, 3],
    "precision_recall_at_k": [1, 5],
    "mrr_at_k": [3, 10],
    "ndcg_at_k": [3, 10],
    "map_at_k": [4, 30],
}
MEASURES = {
    "accuracy@1": ("hit_rate@1", Success @ 1),
    "accuracy@3": ("hit_rate@3", Success @ 3),
    "precision@1": ("precision@1", P @ 1),
    "precision@5": ("precision@5", P @ 5),
    "recall@1": ("recall@1", R @ 1),
    "recall@5": ("recall@5", R @ 5),
    "ndcg@3": ("ndcg@3", nDCG @ 3),
    "ndcg@10": ("ndcg@10", nDCG @ 10),
    "mrr@3": ("mrr@3", RR @ 3),
    "mrr@10": ("mrr@10", RR @ 10),
    "map@4": ("map@4", AP @ 4),
    "map@30": ("map@30", AP @ 30),
}


def only(k: int) -> dict[str, Any]:
    """The same cutoff for every metric."""
    return {name: [k] for name in CUTOFFS}


def brute_force(model: LookupModel, queries: dict[str, str], corpus: dict[str, str]) -> list[list[dict[str, Any]]]:
    """Rank by MaxSim in python; equal scores in the order of the corpus."""
    rankings = []
    for text in queries.values():
        scores = {
            document: float((model.queries[text] @ model.documents[other].T).max(axis=1).sum())
            for document, other in corpus.items()
        }
        rankings.append([{"id": each, "score": score} for each, score in sorted(scores.items(), key=lambda x: -x[1])])
    return rankings


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("chunk", [1, 7, 1_000])
def test_metrics_equal_evaluate_and_ir_measures_on_random_collections_with_ties(seed: int, chunk: int) -> None:
    model, queries, corpus, qrels = random_collection(seed)
    evaluator = ColBERTInformationRetrievalEvaluator(
        queries, corpus, qrels, corpus_chunk_size=chunk, write_csv=False, **CUTOFFS
    )
    found = evaluator(model)
    rankings = brute_force(model, queries, corpus)
    scores = [hit["score"] for hit in rankings[0]]
    assert len(set(scores)) < len(scores) / 4
    ours = evaluate(rankings, qrels, queries, [measure for measure, _ in MEASURES.values()])
    run = Run.from_results(rankings, queries).by_rank().rankings
    theirs = ir_measures.calc_aggregate([measure for _, measure in MEASURES.values()], qrels, run)
    assert set(found) == {f"MaxSim_{metric}" for metric in MEASURES}
    for metric, (name, measure) in MEASURES.items():
        assert found[f"MaxSim_{metric}"] == pytest.approx(ours[name], abs=1e-12)
        assert found[f"MaxSim_{metric}"] == pytest.approx(theirs[measure], abs=1e-9)
    assert evaluator.primary_metric == "MaxSim_ndcg@10"


def peak_bytes() -> int:
    """Most memory of this process so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak of memory cannot be reset here")
def test_the_corpus_is_encoded_in_chunks_and_no_large_tensor_is_made() -> None:
    rng = np.random.default_rng(0)
    queries = {f"q{n}": rng.standard_normal((32, 8)).astype(np.float32) for n in range(100)}
    documents = {f"t{n}": rng.standard_normal((32, 8)).astype(np.float32) for n in range(4_000)}
    model = LookupModel(queries, documents)
    evaluator = ColBERTInformationRetrievalEvaluator(
        {key: key for key in queries},
        {key: key for key in documents},
        {key: {"t0"} for key in queries},
        corpus_chunk_size=2_000,
        write_csv=False,
    )
    small = ColBERTInformationRetrievalEvaluator({"q0": "q0"}, {"t0": "t0"}, {"q0": {"t0"}}, write_csv=False)
    small(model)
    model.calls.clear()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak_bytes()
    evaluator(model)
    grown = peak_bytes() - before
    # All similarities of a chunk are 100 * 2,000 * 32 * 32 float32, 0.8 GB.
    assert grown < 100e6
    assert [(side, size) for side, size, _ in model.calls] == [("query", 100), ("document", 2_000), ("document", 2_000)]


def test_results_are_those_of_sentence_transformers_where_the_definitions_agree(
    model: ColBERT, collection: Any
) -> None:
    options: dict[str, Any] = {"name": "bats", "write_csv": False, "map_at_k": [7]}
    ours = ColBERTInformationRetrievalEvaluator(*collection, **options)(model)
    theirs = MultiVectorInformationRetrievalEvaluator(*collection, **options)(model)
    assert ours == pytest.approx({key.replace("_maxsim_", "_MaxSim_"): value for key, value in theirs.items()})


def test_a_plain_sentence_transformers_model_is_evaluated_alike(
    model: ColBERT, collection: Any, tmp_path: Path
) -> None:
    model.save_pretrained(str(tmp_path), create_model_card=False)
    evaluator = ColBERTInformationRetrievalEvaluator(*collection)
    expected = evaluator(model)
    assert evaluator(MultiVectorEncoder(str(tmp_path), device="cpu")) == pytest.approx(expected)


def test_an_index_is_made_filled_in_chunks_searched_and_closed_in_each_evaluation(
    model: ColBERT, collection: Any, tmp_path: Path
) -> None:
    made: list[Exact] = []

    def make() -> Exact:
        made.append(Exact(tmp_path, "dev", override=True))
        return made[-1]

    evaluator = ColBERTInformationRetrievalEvaluator(*collection, index=make, corpus_chunk_size=3)
    expected = ColBERTInformationRetrievalEvaluator(*collection)(model)
    assert evaluator(model) == expected
    assert evaluator(model) == expected
    assert len(made) == 2
    with pytest.raises(InvalidInput, match="closed"):
        len(made[0])
    plaid = ColBERTInformationRetrievalEvaluator(*collection, index=lambda: PLAID(tmp_path, "plaid", override=True))
    assert plaid(model)["MaxSim_recall@10"] == expected["MaxSim_recall@10"]
    full = ColBERTInformationRetrievalEvaluator(*collection, index=lambda: Exact(tmp_path, "dev"))
    with pytest.raises(InvalidInput, match="must be empty"):
        full(model)


def scorer_of(kind: str) -> Any:
    torch.manual_seed(3)
    scorer = TokenWeights(16) if kind == "TokenWeights" else SimilarityMLP(query_tokens=12, document_tokens=40)
    for parameter in scorer.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return scorer


@pytest.mark.parametrize("kind", ["TokenWeights", "SimilarityMLP"])
@pytest.mark.parametrize("indexed", [False, True])
def test_a_learnt_score_of_the_model_orders_the_documents(
    model: ColBERT, collection: Any, kind: str, indexed: bool, tmp_path: Path
) -> None:
    model.use_scorer(scorer_of(kind))
    queries, corpus, _ = collection
    scores = model.similarity(model.encode_query(list(queries.values())), model.encode_document(list(corpus.values())))
    plain = maxsim(model.encode_query(list(queries.values())), model.encode_document(list(corpus.values())))
    assert scores.argsort(descending=True).tolist() != torch.as_tensor(plain).argsort(descending=True).tolist()
    evaluator = ColBERTInformationRetrievalEvaluator(
        *collection, corpus_chunk_size=3, index=Exact if indexed else None, write_predictions=True, ndcg_at_k=[7]
    )
    evaluator(model, str(tmp_path))
    assert evaluator.primary_metric == f"{kind}_ndcg@7"
    lines = (tmp_path / f"Information-Retrieval_evaluation_predictions_{kind}.jsonl").read_text().splitlines()
    for line, row in zip(map(json.loads, lines), scores, strict=True):
        assert {hit["corpus_id"]: hit["score"] for hit in line["results"]} == pytest.approx(
            dict(zip(corpus, row.tolist(), strict=True)), rel=1e-4
        )
        assert [hit["corpus_id"] for hit in line["results"]] == [list(corpus)[n] for n in row.argsort(descending=True)]


def test_a_learnt_score_orders_no_more_than_the_candidates_of_maxsim(model: ColBERT, collection: Any) -> None:
    scorer = scorer_of("SimilarityMLP")
    model.use_scorer(scorer)
    sizes: list[int] = []
    scorer.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[1]))
    ColBERTInformationRetrievalEvaluator(*collection, num_candidates=4, **only(2))(model)
    assert sizes == [4, 4, 4]


def test_score_functions_take_the_place_of_the_models_score(model: ColBERT, collection: Any) -> None:
    functions = {"plain": maxsim, "inverse": lambda queries, documents: -torch.as_tensor(maxsim(queries, documents))}
    evaluator = ColBERTInformationRetrievalEvaluator(*collection, score_functions=functions, corpus_chunk_size=2)
    found = evaluator(model)
    expected = ColBERTInformationRetrievalEvaluator(*collection)(model)
    assert {key: value for key, value in found.items() if key.startswith("plain")} == pytest.approx(
        {key.replace("MaxSim", "plain"): value for key, value in expected.items()}
    )
    best = max(functions, key=lambda name: found[f"{name}_ndcg@10"])
    assert evaluator.primary_metric == f"{best}_ndcg@10"
    fixed = ColBERTInformationRetrievalEvaluator(*collection, score_functions=functions, main_score_function="inverse")
    fixed(model)
    assert fixed.primary_metric == "inverse_ndcg@10"
    with pytest.raises(InvalidInput, match=r"'wrong' must return \(3, 7\)"):
        ColBERTInformationRetrievalEvaluator(*collection, score_functions={"wrong": lambda q, d: np.zeros((2, 2))})(
            model
        )


def test_the_mean_of_maxsim_is_named_and_ranks_alike(model: ColBERT, collection: Any, tmp_path: Path) -> None:
    expected = ColBERTInformationRetrievalEvaluator(*collection)(model)
    model.similarity_fn_name = "meanmaxsim"
    found = ColBERTInformationRetrievalEvaluator(*collection, write_predictions=True)(model, str(tmp_path))
    assert found == {key.replace("MaxSim", "MeanMaxSim"): value for key, value in expected.items()}
    lines = (tmp_path / "Information-Retrieval_evaluation_predictions_MeanMaxSim.jsonl").read_text().splitlines()
    best = json.loads(lines[0])["results"][0]
    score = model.similarity(model.encode_query([QUESTIONS["q1"]]), model.encode_document([TEXTS[best["corpus_id"]]]))
    assert best["score"] == pytest.approx(score.item(), rel=1e-5)


def test_self_matches_count_unless_the_rule_of_the_collection_drops_them(tmp_path: Path) -> None:
    vectors = {"same": np.float32([[2, 0]]), "other": np.float32([[1, 0]]), "far": np.float32([[0, 1]])}
    model = LookupModel({"ask": np.float32([[1, 0]])}, vectors)
    corpus = {"q": "same", "d": "other", "e": "far"}
    arguments = ({"q": "ask"}, corpus, {"q": {"d"}})
    assert ColBERTInformationRetrievalEvaluator(*arguments, **only(1))(model)["MaxSim_mrr@1"] == 0.0
    dropped = ColBERTInformationRetrievalEvaluator(*arguments, remove_self_matches=True, **only(1))
    # One document more is retrieved, so that the depth of the metrics is still reached.
    assert dropped(model)["MaxSim_mrr@1"] == 1.0
    assert dropped.get_config_dict()["remove_self_matches"] is True
    for name, rule in [("arguana", True), ("quora", True), ("fiqa", False)]:
        evaluator = ColBERTInformationRetrievalEvaluator.from_beir(bats.write(tmp_path / name))
        assert (evaluator.name, evaluator.remove_self_matches) == (name, rule)
    override = ColBERTInformationRetrievalEvaluator.from_beir(
        tmp_path / "quora", split="dev", remove_self_matches=False, name="mine"
    )
    assert (override.name, override.remove_self_matches, override.collection.query_ids) == ("mine", False, ["late"])


def test_prompts_and_batch_size_reach_the_model(collection: Any) -> None:
    vector = np.float32([[1, 0]])
    model = LookupModel(dict.fromkeys(QUESTIONS.values(), vector), dict.fromkeys(TEXTS.values(), vector))
    ColBERTInformationRetrievalEvaluator(*collection, query_prompt="ask: ", corpus_prompt_name="passage", batch_size=5)(
        model
    )
    (_, _, query), (_, _, document) = model.calls
    assert (query["prompt"], query["prompt_name"], query["batch_size"]) == ("ask: ", None, 5)
    assert (document["prompt"], document["prompt_name"], document["batch_size"]) == (None, "passage", 5)


def test_truncation_is_of_the_evaluation_alone(model: ColBERT, collection: Any) -> None:
    evaluator = ColBERTInformationRetrievalEvaluator(*collection, truncate_dim=3)
    truncated = evaluator(model)
    assert model.truncate_dim is None
    model.truncate_dim = 3
    assert ColBERTInformationRetrievalEvaluator(*collection)(model) == truncated
    with pytest.raises(InvalidInput, match="truncate_dim=17 needs"):
        ColBERTInformationRetrievalEvaluator(*collection, truncate_dim=17)(model)


def test_rows_and_rankings_are_written_as_sentence_transformers_writes_them(
    model: ColBERT, collection: Any, tmp_path: Path
) -> None:
    evaluator = ColBERTInformationRetrievalEvaluator(*collection, name="bats", write_predictions=True)
    first = evaluator(model, str(tmp_path / "ours"), epoch=0.5, steps=10)
    evaluator(model, str(tmp_path / "ours"), epoch=1.0, steps=20)
    MultiVectorInformationRetrievalEvaluator(*collection, name="bats")(model, str(tmp_path / "theirs"), 0.5, 10)
    rows, theirs = (
        list(csv.reader((tmp_path / side / "Information-Retrieval_evaluation_bats_results.csv").open()))
        for side in ("ours", "theirs")
    )
    assert rows[0] == [header.replace("maxsim", "MaxSim") for header in theirs[0]]
    assert [row[:2] for row in rows[1:]] == [["0.5", "10"], ["1.0", "20"]]
    named = dict(zip(rows[0], rows[1], strict=True))
    assert float(named["MaxSim-NDCG@10"]) == first["bats_MaxSim_ndcg@10"]
    assert float(named["MaxSim-Precision@3"]) == first["bats_MaxSim_precision@3"]
    line = json.loads(
        (tmp_path / "ours" / "Information-Retrieval_evaluation_bats_predictions_MaxSim.jsonl")
        .read_text()
        .split("\n")[1]
    )
    assert (line["query_id"], line["query"]) == ("q2", "a moth?")
    assert {hit["corpus_id"] for hit in line["results"]} == set(TEXTS)
    quiet = tmp_path / "quiet"
    ColBERTInformationRetrievalEvaluator(*collection, write_csv=False)(model, str(quiet))
    assert not quiet.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"corpus": {}}, "corpus is empty"),
        ({"corpus": ["text"]}, "corpus must be {id: text}, got list"),
        ({"queries": {"x": "text"}}, "none of the 1 queries has a judgement: queries have ids such as 'x'"),
        ({"queries": {}}, "none of the 0 queries"),
        ({"queries": {"q1": None}}, "queries: the text of 'q1' is NoneType"),
        ({"queries": {"q1": "a", 1: "b", "1": "c"}}, "the id '1' twice"),
        ({"relevant_docs": {"q1": {"d1", "gone"}}}, "names 1 documents that corpus lacks, the first is 'gone'"),
        ({"relevant_docs": {"q1": "d1"}}, "relevant_docs of query 'q1' must be a set"),
        ({"relevant_docs": {"q1": {"d1": 0.5}}}, "grade of document 'd1' for query 'q1' must be an integer"),
        ({"relevant_docs": [{"d1"}]}, "relevant_docs must be"),
        ({"ndcg_at_k": []}, "ndcg_at_k is empty"),
        ({"mrr_at_k": [0]}, "mrr_at_k must be"),
        ({"mrr_at_k": 10}, "mrr_at_k must be a list"),
        ({"batch_size": 0}, "batch_size"),
        ({"corpus_chunk_size": 0}, "corpus_chunk_size"),
        ({"index": Exact()}, "index must be a function"),
        ({"index": Exact, "score_functions": {"a": maxsim}}, "either index or score_functions"),
        ({"score_functions": {}}, "score_functions must be"),
        ({"score_functions": {"a": maxsim}, "main_score_function": "b"}, "'b' is none of score_functions: a"),
        ({"main_score_function": "b"}, "needs score_functions"),
        ({"score_functions": {"xtr": XTRScores()}}, "'xtr' ranks the tokens of all documents together"),
    ],
)
def test_bad_arguments_are_refused_when_the_evaluator_is_made(change: dict[str, Any], message: str) -> None:
    arguments = {"queries": QUESTIONS, "corpus": TEXTS, "relevant_docs": RELEVANT, **change}
    with pytest.raises(InvalidInput, match=message):
        ColBERTInformationRetrievalEvaluator(**arguments)


def test_a_missing_relevant_document_counts_as_not_found_where_that_is_allowed(model: ColBERT) -> None:
    relevant = {"q2": {"d2", "d4", "gone"}}
    evaluator = ColBERTInformationRetrievalEvaluator(QUESTIONS, TEXTS, relevant, allow_missing_documents=True)
    assert evaluator(model)["MaxSim_recall@10"] == pytest.approx(2 / 3)
    assert evaluator.collection.query_ids == ["q2"]


def test_vectors_that_are_not_numbers_are_an_error_and_no_low_score(model: ColBERT, collection: Any) -> None:
    torch.nn.init.constant_(model[1].linear.weight, float("nan"))
    with pytest.raises(InvalidInput, match=r"(?i)nan"):
        ColBERTInformationRetrievalEvaluator(*collection)(model)


def test_a_missing_ranx_is_said_before_the_training_begins(monkeypatch: pytest.MonkeyPatch, collection: Any) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "ranx" else object())
    with pytest.raises(MissingExtra, match=r"serotine\[eval\]"):
        ColBERTInformationRetrievalEvaluator(*collection)


def test_colbert_scores_is_a_score_function(model: ColBERT, collection: Any) -> None:
    evaluator = ColBERTInformationRetrievalEvaluator(*collection, score_functions={"colbert": colbert_scores})
    expected = ColBERTInformationRetrievalEvaluator(*collection)(model)["MaxSim_ndcg@10"]
    assert evaluator(model)["colbert_ndcg@10"] == pytest.approx(expected)
