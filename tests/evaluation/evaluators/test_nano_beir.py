"""Proves that NanoBEIR is read from a folder or the Hub, and that its figures are those of its collections."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest

from serotine.errors import DownloadFailed, InvalidInput, MissingExtra
from serotine.evaluation import ColBERTInformationRetrievalEvaluator, NanoBEIREvaluator
from serotine.evaluation.evaluators.nano_datasets import NANO_DATASETS, load_nano_dataset, nano_name
from serotine.models import ColBERT
from tests.evaluation import collection as bats
from tests.evaluation.evaluators.conftest import QUESTIONS, RELEVANT, TEXTS


def write_nano(folder: Path) -> Path:
    """Two collections: one of bats, and one whose queries are documents, in ArguAna's name."""
    bats.write(folder / "NanoMSMARCO")
    arguana = folder / "arguana"
    (arguana / "qrels").mkdir(parents=True)
    rows = [{"_id": name, "text": text} for name, text in TEXTS.items()]
    (arguana / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (arguana / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    (arguana / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nd1\td3\t1\nd2\td4\t1\n")
    return folder


def test_figures_are_those_of_the_collections_and_their_means(model: ColBERT, tmp_path: Path) -> None:
    folder = write_nano(tmp_path / "nano")
    evaluator = NanoBEIREvaluator(["msmarco", "ArguAna"], folder)
    found = evaluator(model, str(tmp_path / "out"), epoch=1, steps=2)
    each = [
        ColBERTInformationRetrievalEvaluator.from_beir(folder / "NanoMSMARCO", name="NanoMSMARCO")(model),
        ColBERTInformationRetrievalEvaluator.from_beir(folder / "arguana", name="NanoArguAna")(model),
    ]
    assert {key: value for key, value in found.items() if "mean" not in key} == each[0] | each[1]
    assert evaluator.primary_metric == "NanoBEIR_mean_MaxSim_ndcg@10"
    for metric in ("ndcg@10", "accuracy@1", "map@100"):
        values = [value for result in each for key, value in result.items() if key.endswith(f"_MaxSim_{metric}")]
        assert found[f"NanoBEIR_mean_MaxSim_{metric}"] == pytest.approx(sum(values) / 2)
    header, row = (tmp_path / "out" / "NanoBEIR_evaluation_mean_results.csv").read_text().splitlines()
    named = dict(zip(header.split(","), row.split(","), strict=True))
    assert (named["epoch"], named["steps"]) == ("1", "2")
    assert float(named["MaxSim-NDCG@10"]) == found["NanoBEIR_mean_MaxSim_ndcg@10"]
    assert (tmp_path / "out" / "Information-Retrieval_evaluation_NanoMSMARCO_results.csv").exists()


def test_self_matches_are_dropped_where_queries_are_documents(model: ColBERT, tmp_path: Path) -> None:
    folder = write_nano(tmp_path)
    rules = {
        each.name: each.remove_self_matches for each in NanoBEIREvaluator(["msmarco", "arguana"], folder).evaluators
    }
    assert rules == {"NanoMSMARCO": False, "NanoArguAna": True}
    # A text is nearest to itself: with it, the relevant document is second at best.
    kept = ColBERTInformationRetrievalEvaluator.from_beir(folder / "arguana", remove_self_matches=False)
    dropped = NanoBEIREvaluator(["arguana"], folder)
    assert dropped(model)["NanoArguAna_MaxSim_mrr@10"] > kept(model)["arguana_MaxSim_mrr@10"]


def test_truncation_prompts_and_the_way_to_aggregate_have_their_place_in_the_names(
    model: ColBERT, tmp_path: Path
) -> None:
    folder = write_nano(tmp_path / "a folder")
    evaluator = NanoBEIREvaluator(
        ["msmarco", "arguana"],
        folder,
        truncate_dim=4,
        aggregate_fn=min,
        aggregate_key="worst",
        query_prompts={"msmarco": "a ", "arguana": "the "},
        corpus_prompts="of ",
    )
    found = evaluator(model)
    assert evaluator.primary_metric == "NanoBEIR_worst_4_MaxSim_ndcg@10"
    assert found[evaluator.primary_metric] == min(
        found["NanoMSMARCO_4_MaxSim_ndcg@10"], found["NanoArguAna_4_MaxSim_ndcg@10"]
    )
    assert [(each.query_prompt, each.corpus_prompt) for each in evaluator.evaluators] == [
        ("a ", "of "),
        ("the ", "of "),
    ]
    # The model card tells no paths of this machine.
    assert evaluator.get_config_dict() == {
        "dataset_names": ["msmarco", "arguana"],
        "dataset_id": "a folder",
        "truncate_dim": 4,
        "query_prompts": {"msmarco": "a ", "arguana": "the "},
        "corpus_prompts": {"msmarco": "of ", "arguana": "of "},
    }


def hub_of(tables: dict[str, list[dict[str, Any]]]) -> Callable[..., Any]:
    """Stand in for `datasets.load_dataset`: the same three tables for each split."""

    def load(dataset_id: str, subset: str, split: str) -> datasets.Dataset:
        if dataset_id != "user/nano" or split not in NANO_DATASETS:
            raise ConnectionError("no network")
        return datasets.Dataset.from_list(tables[subset])

    return load


HUB = {
    "corpus": [{"_id": name, "text": text} for name, text in TEXTS.items()] + [{"_id": "none", "text": ""}],
    "queries": [{"_id": name, "text": text} for name, text in QUESTIONS.items()],
    "qrels": [{"query-id": query, "corpus-id": name} for query, names in RELEVANT.items() for name in sorted(names)],
}


def test_the_hub_s_data_set_is_read_also_with_lists_of_relevant_documents(
    model: ColBERT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.load_dataset", hub_of(HUB))
    expected = ColBERTInformationRetrievalEvaluator(QUESTIONS, TEXTS, RELEVANT, name="NanoNQ")(model)
    assert expected.items() <= NanoBEIREvaluator(["nq"], "user/nano")(model).items()
    lists = [{"query-id": query, "corpus-id": sorted(names)} for query, names in RELEVANT.items()]
    monkeypatch.setattr("datasets.load_dataset", hub_of({**HUB, "qrels": lists}))
    documents, _, qrels = load_nano_dataset("NanoNQ", "user/nano")
    assert "none" not in [document["id"] for document in documents]
    assert {query: set(grades) for query, grades in qrels.items()} == RELEVANT


def test_what_the_hub_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.load_dataset", hub_of({**HUB, "corpus": [{"id": "a"}]}))
    with pytest.raises(InvalidInput, match=r"'corpus' of 'user/nano' lacks the columns \['_id', 'text'\]"):
        NanoBEIREvaluator(["nq"], "user/nano")
    with pytest.raises(DownloadFailed, match=r"no network.*local folder"):
        NanoBEIREvaluator(["nq"], "user/else")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises((MissingExtra, ImportError), match="datasets"):
        NanoBEIREvaluator(["nq"], "user/nano")


@pytest.mark.parametrize("spelling", ["msmarco", "MSMARCO", "NanoMSMARCO", "nanomsmarco"])
def test_a_collection_is_known_in_any_spelling(spelling: str) -> None:
    assert nano_name(spelling) == "NanoMSMARCO"


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["trec"], {}, "'trec' is no collection of NanoBEIR; there are: climatefever"),
        ([3], {}, "3 is no collection"),
        ([], {}, "dataset_names is empty"),
        ("msmarco", {}, "must be a list"),
        (["msmarco", "MSMARCO"], {}, "NanoMSMARCO more than once"),
        (["msmarco", "nq"], {}, "has no subfolder NanoNQ"),
        (["msmarco"], {"split": "train"}, "no qrels for the split 'train'; the splits that exist: dev, test"),
        (["msmarco"], {"query_prompts": {"MSMARCO": "x"}}, "query_prompts lacks msmarco"),
    ],
)
def test_wrong_names_are_refused(names: Any, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=message):
        NanoBEIREvaluator(names, write_nano(tmp_path), **options)


def test_one_collection_is_not_told_twice_to_the_model_card(tmp_path: Path) -> None:
    folder = write_nano(tmp_path)
    for names, expected in [(["arguana"], 1), (["arguana", "msmarco"], 3)]:
        told: list[str] = []
        card = SimpleNamespace(set_evaluation_metrics=lambda evaluator, *_, told=told: told.append(evaluator.name))
        evaluator = NanoBEIREvaluator(names, folder)
        for each in [*evaluator.evaluators, evaluator]:
            each.store_metrics_in_model_card_data(SimpleNamespace(model_card_data=card), {}, 0, 0)
        assert len(told) == expected
