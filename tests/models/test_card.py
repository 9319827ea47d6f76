"""The card of a saved model: a title, facts, and snippets that run and print what they say; and the way to the Hub."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments
from sentence_transformers.multi_vector_encoder.model_card import MultiVectorEncoderModelCardData
from sentence_transformers.util import load_file_path

from serotine.evaluation import ColBERTInformationRetrievalEvaluator, NanoBEIREvaluator
from serotine.losses import CachedContrastive, Distillation
from serotine.models import ColBERT
from serotine.models.card_examples import DEFAULT_EXAMPLES, example_texts, query_column
from serotine.scores import SimilarityMLP, TokenWeights
from serotine.utils import KDProcessing
from tests.evaluation.evaluators.conftest import QUESTIONS, RELEVANT, TEXTS
from tests.evaluation.evaluators.test_nano_beir import write_nano


def learnt(kind: type) -> Any:
    torch.manual_seed(0)
    scorer = TokenWeights(16) if kind is TokenWeights else SimilarityMLP(query_tokens=12, document_tokens=40)
    for parameter in scorer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return scorer


def save(model: ColBERT, folder: Path, **options: Any) -> str:
    model.save_pretrained(str(folder), **options)
    return (folder / "README.md").read_text()


def snippets(card: str) -> list[str]:
    found = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(found) == 2
    return found


def printed(snippet: str, folder: Path) -> str:
    """Run a snippet on the saved model in place of the one on the Hub; return what it prints."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(snippet.replace("user/tiny", str(folder)), "snippet", "exec"), {})  # noqa: S102
    return output.getvalue()


def comments(snippet: str) -> list[str]:
    """What a snippet says that it prints: comments that are no sentences."""
    lines = [line.removeprefix("# ") for line in snippet.splitlines() if line.startswith("# ")]
    return [line.strip() for line in lines if line.startswith(("tensor", "(", " "))]


@pytest.mark.parametrize("kind", [None, TokenWeights, SimilarityMLP])
def test_both_snippets_run_and_print_what_they_say(
    model: ColBERT, kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model.use_scorer(None if kind is None else learnt(kind))
    ours, plain = snippets(save(model, tmp_path / "model", model_name="user/tiny"))
    assert "from serotine import" in ours
    assert "serotine" not in plain.split("queries = [")[0]
    for snippet, expected in [(ours, 0 if kind is None else 1), (plain, 2)]:
        output = printed(snippet, tmp_path / "model")
        assert len(comments(snippet)) == expected
        assert all(line in output for line in comments(snippet)), output
    assert ("score_metric=model.scorer" in ours) == (kind is not None)
    assert comments(ours)[-1:] != comments(plain)[-1:]
    if kind is TokenWeights:  # the index finds by the learnt score
        search, rerank = (ast.literal_eval(line) for line in printed(ours, tmp_path / "model").splitlines()[:2])
        assert [hit["id"] for hit in search[0]] == [hit["id"] for hit in rerank[0]][:2]
        assert [hit["score"] for hit in search[0]] == pytest.approx([hit["score"] for hit in rerank[0]][:2], abs=0.05)


def test_the_learnt_score_is_described_and_its_folder_named(model: ColBERT, tmp_path: Path) -> None:
    assert "learnt" not in save(model, tmp_path)
    model.use_scorer(TokenWeights(16, documents=False))
    assert "`TokenWeights(dim=16, documents=False)`, in the folder `scorer`" in save(model, tmp_path)


def test_the_title_names_the_base_model_and_no_folder_of_this_machine(
    model: ColBERT, tmp_path: Path, backbone: Path
) -> None:
    card = save(model, tmp_path / "a")
    assert "\n# ColBERT\n" in card
    assert "Base model | not recorded" in card
    assert str(tmp_path.parent) not in card
    assert str(backbone) not in card
    fresh = ColBERT(str(backbone), device="cpu", document_length=40)
    fresh.model_card_data.base_model = "organization/name"
    card = save(fresh, tmp_path / "b")
    assert "\n# ColBERT based on organization/name\n" in card
    assert "\nbase_model: organization/name\n" in card


def test_a_base_model_of_the_hub_is_believed_without_a_network(
    model: ColBERT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("sentence_transformers.base.model_card.get_model_info", offline)
    model[0].auto_model.config._name_or_path = "organization/name"
    assert "# ColBERT based on organization/name" in save(model, tmp_path)


def test_a_card_of_a_model_that_was_not_trained_here_is_kept_and_gets_its_name(model: ColBERT, tmp_path: Path) -> None:
    card = save(model, tmp_path / "a")
    assert 'ColBERT("multi_vector_encoder_model_id")' in card
    (tmp_path / "a" / "README.md").write_text(card + "\nWritten by hand.\n")
    again = save(ColBERT(str(tmp_path / "a"), device="cpu"), tmp_path / "b", model_name="user/tiny")
    assert again == card.replace("multi_vector_encoder_model_id", "user/tiny") + "\nWritten by hand.\n"


def test_another_class_of_card_data_is_accepted(backbone: Path, tmp_path: Path) -> None:
    data = MultiVectorEncoderModelCardData(model_name="Mine", language="en")
    model = ColBERT(str(backbone), device="cpu", document_length=40, model_card_data=data)
    assert "\n# Mine\n" in save(model, tmp_path)


@pytest.mark.slow
def test_the_card_of_a_trained_model_has_its_recipe_and_its_figures(model: ColBERT, tmp_path: Path) -> None:
    words = ["bat", "moth", "river", "cave", "tree", "night", "sound", "wings"]
    data = Dataset.from_dict({"query": [f"a {w}" for w in words], "answer": [f"the {w} in it" for w in words]})
    evaluators = [
        ColBERTInformationRetrievalEvaluator(QUESTIONS, TEXTS, RELEVANT, name="dev"),
        NanoBEIREvaluator(["msmarco", "arguana"], write_nano(tmp_path / "nano")),
    ]
    arguments = MultiVectorEncoderTrainingArguments(
        output_dir=str(tmp_path / "run"),
        max_steps=2,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        use_cpu=True,
    )
    trainer = MultiVectorEncoderTrainer(
        model=model,
        args=arguments,
        train_dataset=data,
        evaluator=evaluators,
        loss=CachedContrastive(model, mini_batch_size=2, temperature=0.5),
    )
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "eval_dev_MaxSim_ndcg@10" in entry]
    assert [entry["step"] for entry in logged] == [1, 2]
    card = save(model, tmp_path / "model")
    value = round(logged[-1]["eval_dev_MaxSim_ndcg@10"], 4)
    assert f"**MaxSim_ndcg@10** | **{value}**" in re.sub(" +", " ", card)
    assert "### Information Retrieval" in card
    assert "### NanoBEIR" in card
    assert "Data: `NanoBEIR_mean`" in card
    assert '"temperature": 0.5' in card
    assert "`serotine.losses.cached_contrastive.CachedContrastive`" in card
    assert "- `learning_rate`: 0.001" in card
    assert "* Rows: 8" in card
    assert "NanoBEIR_mean_MaxSim_ndcg@10" in card.split("### Log")[1]
    assert "- loss:CachedContrastive" in card
    assert "khattab-2020-colbert" in card
    assert str(tmp_path) not in card
    ours, plain = snippets(card)
    assert "'a bat'" in plain
    assert "'the bat in it'" in ours


def test_the_card_of_a_distilled_model_shows_texts_where_the_data_has_ids(model: ColBERT, tmp_path: Path) -> None:
    processing = KDProcessing(queries=QUESTIONS, documents=TEXTS)
    rows = [{"query_id": "q1", "document_ids": ["d1", "d2", "d4"], "scores": [0.9, 0.1, 0.2]}] * 2
    arguments = MultiVectorEncoderTrainingArguments(output_dir=str(tmp_path / "run"), report_to="none", use_cpu=True)
    dataset = processing.dataset(rows)
    MultiVectorEncoderTrainer(model=model, args=arguments, train_dataset=dataset, loss=Distillation(model))
    card = save(model, tmp_path / "model", model_name="user/tiny")
    assert repr(QUESTIONS["q1"]) in card
    assert repr(TEXTS["d4"]) in card
    assert '"normalize_scores": true' in card
    for snippet in snippets(card):
        assert "'q1'" not in snippet


def test_examples_are_the_shortest_row_and_the_same_each_time() -> None:
    rows = {
        "anchor_id": ["1", "2", "3"],
        "anchor": ["a long question", "short", "empty"],
        "positive": ["its answer", "yes", ""],
        "negative": ["no answer at all", "no", "none"],
    }
    dataset = Dataset.from_dict(rows)
    assert example_texts(dataset) == ["short", "yes", "no", "its answer"]
    assert example_texts(DatasetDict({"first": dataset, "second": dataset})) == example_texts(dataset)
    assert query_column(dataset) == "anchor"
    for unreadable in (None, {}, Dataset.from_dict({"text": ["a"], "other": ["b"]}), dataset.to_iterable_dataset()):
        assert example_texts(unreadable) is None
        assert query_column(unreadable) is None
    assert len(DEFAULT_EXAMPLES) == 4


class FakeHub:
    """Stands in for huggingface_hub.HfApi: keeps what is uploaded."""

    def __init__(self, **_: Any) -> None:
        self.files: dict[str, bytes] = {}
        self.options: dict[str, Any] = {}

    def create_repo(self, **options: Any) -> Any:
        return SimpleNamespace(repo_id=f"user/{options['repo_id']}")

    def create_branch(self, **options: Any) -> None:
        self.options["branch"] = options["branch"]

    def upload_folder(self, *, folder_path: str, **options: Any) -> Any:
        root = Path(folder_path)
        self.files = {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}
        self.options.update(options)
        return SimpleNamespace(commit_url="https://hub/commit", pr_url="https://hub/pull")


def without_the_hub(name: str, filename: str, **options: Any) -> str | None:
    """A repository on the hub has no files yet."""
    return load_file_path(name, filename, **options) if Path(name).is_dir() else None


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    hub = FakeHub()
    monkeypatch.setattr("sentence_transformers.base.model.HfApi", lambda **_: hub)
    monkeypatch.setattr("sentence_transformers.base.model.load_file_path", without_the_hub)
    return hub


def test_push_to_hub_uploads_the_model_its_score_and_a_card_with_its_name(
    model: ColBERT, hub: FakeHub, tmp_path: Path
) -> None:
    model.use_scorer(learnt(TokenWeights))
    assert model.push_to_hub("tiny") == "https://hub/commit"
    assert {"README.md", "modules.json", "model.safetensors", "1_Dense/model.safetensors"} <= set(hub.files)
    assert {"scorer/config.json", "scorer/model.safetensors"} <= set(hub.files)
    assert hub.options["commit_message"] == "Add new ColBERT model"
    ours, plain = snippets(hub.files["README.md"].decode())
    assert 'models.ColBERT("user/tiny")' in ours
    assert 'MultiVectorEncoder("user/tiny")' in plain
    for name, content in hub.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    loaded = ColBERT(str(tmp_path), device="cpu")
    texts = [["a bat"], ["the bat", "a moth"]]
    scores = [each.similarity(each.encode_query(texts[0]), each.encode_document(texts[1])) for each in (model, loaded)]
    torch.testing.assert_close(scores[0], scores[1])


def test_the_tip_of_a_pull_request_imports_the_class_from_where_it_is(model: ColBERT, hub: FakeHub) -> None:
    assert model.push_to_hub("tiny", create_pr=True, revision="dev") == "https://hub/pull"
    tip = hub.options["commit_description"]
    assert "from serotine.models import ColBERT\n" in tip
    assert "from sentence_transformers import" not in tip
    code = re.search(r"```python\n(.*?)```", tip, re.DOTALL)[1]
    namespace: dict[str, Any] = {}
    exec(code.split("\n\n")[0], namespace)  # noqa: S102
    assert namespace["ColBERT"] is ColBERT

    class Mine(ColBERT):
        pass

    assert f"from {Mine.__module__} import Mine" in Mine._push_to_hub_usage_tip(model_of(Mine, model), "user/mine")


def model_of(kind: type, model: ColBERT) -> Any:
    model.__class__ = kind
    return model
