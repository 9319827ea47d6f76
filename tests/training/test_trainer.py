"""Proves that models train under both of Sentence Transformers' trainers, with their options."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

import pytest
import torch
from datasets import DatasetDict
from sentence_transformers import MultiVectorEncoderTrainer, SentenceTransformerTrainer

from serotine import evaluation
from serotine.losses import CachedContrastive, Contrastive, Distillation, MarginMSE, Matryoshka
from serotine.models import ColBERT
from serotine.scores import TokenWeights
from serotine.utils import ColBERTCollator, KDProcessing, NoDuplicatesSampler, TemperatureSampler
from tests.training.conftest import assert_same_weights, lists, losses_of, trainer_of, triplets, weights_of


def test_both_trainers_lower_the_loss_in_the_same_way(calm, tmp_path):
    before, found = weights_of(calm), []
    for kind in (SentenceTransformerTrainer, MultiVectorEncoderTrainer):
        calm.load_state_dict(before)
        trainer = trainer_of(calm, Contrastive(calm), triplets(), tmp_path, kind=kind, num_train_epochs=8)
        trainer.train()
        found.append(losses_of(trainer))
    assert found[0] == found[1]
    assert sum(found[0][-2:]) < 0.7 * sum(found[0][:2])


def test_without_our_collator_one_trainer_asks_for_it_and_the_other_has_its_own(calm, tmp_path):
    none = {"data_collator": None}
    with pytest.raises(ValueError, match="column 0 was tokenised neither as queries nor as documents"):
        trainer_of(calm, Contrastive(calm), triplets(), tmp_path, trainer_options=none).train()
    own = trainer_of(
        calm, Contrastive(calm), triplets(), tmp_path, kind=MultiVectorEncoderTrainer, trainer_options=none
    )
    own.train()
    assert losses_of(own)
    listed = trainer_of(
        calm, Distillation(calm), of_two(lists()), tmp_path, kind=MultiVectorEncoderTrainer, trainer_options=none
    )
    with pytest.raises(ValueError, match="is a list of texts"):
        listed.train()


def of_two(data):
    """Rows with two documents each: a score for both, as `MarginMSE` and `Distillation` take them."""
    return data.map(lambda row: {"documents": row["documents"][:2], "scores": row["scores"][:2]})


LOSSES = {
    "contrastive": (Contrastive, triplets),
    "cached": (partial(CachedContrastive, mini_batch_size=2), triplets),
    "distillation of lists of different lengths": (Distillation, lists),
    "margins": (partial(MarginMSE, temperature=10), lambda: of_two(lists())),
    "matryoshka": (lambda model: Matryoshka(model, Contrastive(model), [16, 8, 4]), triplets),
    "matryoshka, cached": (
        lambda model: Matryoshka(model, CachedContrastive(model, mini_batch_size=2), [16, 4], n_dims_per_step=1),
        triplets,
    ),
    "matryoshka, distillation of lists": (lambda model: Matryoshka(model, Distillation(model), [16, 8]), lists),
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_trains_and_is_evaluated(calm, tmp_path, name):
    make, data = LOSSES[name]
    trainer = trainer_of(
        calm, make(calm), data(), tmp_path, num_train_epochs=6, trainer_options={"eval_dataset": data()}
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert 0 < trainer.evaluate()["eval_loss"] < before


CHECKPOINTING = [
    {"gradient_checkpointing": True},
    {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}},
]


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        # Of a contrastive loss parts of a batch have other negatives than the whole.
        (Distillation, {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}),
        *((loss, options) for loss in (Distillation, CachedContrastive) for options in CHECKPOINTING),
    ],
)
def test_accumulation_and_checkpointing_take_the_same_step(calm, tmp_path, loss, options):
    data = lists() if loss is Distillation else triplets()
    step = {"num_train_epochs": 1, "per_device_train_batch_size": 8, "optim": "sgd", "max_grad_norm": 0.0}
    before = weights_of(calm)

    def after(**more):
        calm.load_state_dict(before)
        trainer_of(calm, loss(calm), data, tmp_path, **{**step, **more}).train()
        return weights_of(calm)

    assert_same_weights(after(**options), after(), before)


def test_bfloat16_runs_the_model_in_it_and_keeps_the_weights_in_float32(calm, tmp_path):
    seen = set()
    calm[0].register_forward_hook(lambda _, inputs, outputs: seen.add(outputs["token_embeddings"].dtype))
    hidden = calm[1].register_forward_hook(lambda _, inputs, outputs: seen.add(outputs["token_embeddings"].dtype))
    for loss in (Contrastive(calm), CachedContrastive(calm, mini_batch_size=2)):
        seen.clear()
        trainer = trainer_of(calm, loss, triplets(), tmp_path, bf16=True, num_train_epochs=8)
        trainer.train()
        values = losses_of(trainer)
        assert torch.bfloat16 in seen
        assert sum(values[-2:]) < sum(values[:2])
    hidden.remove()
    assert {value.dtype for value in calm.parameters()} == {torch.float32}


@pytest.mark.slow
def test_the_trainers_own_compilation(calm, tmp_path):
    trainer = trainer_of(
        calm, Contrastive(calm), triplets(), tmp_path, torch_compile=True, torch_compile_backend="eager", max_steps=2
    )
    trainer.train()
    plain = trainer_of(calm, Contrastive(calm), triplets(), tmp_path, max_steps=2)
    assert len(losses_of(trainer)) == 2
    assert type(trainer.model_wrapped).__name__ == "OptimizedModule"
    assert type(plain.model) is ColBERT


def test_the_models_prompts_are_trained_on(calm, tmp_path):
    calm.prompts["query"] += "at night: "
    seen = []
    preprocess = calm.preprocess
    calm.preprocess = lambda inputs, **options: seen.append(preprocess(inputs, **options)) or seen[-1]
    trainer_of(calm, Contrastive(calm), triplets(), tmp_path, max_steps=1).train()
    queries = next(features for features in seen if features["task"] == "query")
    assert calm.tokenizer.convert_ids_to_tokens(queries["input_ids"][0])[1:5] == ["[Q] ", "at", "night", ":"]
    expected = calm.encode(["where is the cave"], is_query=True)
    assert expected[0].shape == (12, 16)


def batches_of(trainer):
    """The batches of an epoch, as lists of query texts."""
    rows = []
    trainer.data_collator = type(
        "Spy",
        (ColBERTCollator,),
        {"__call__": lambda _, features: rows.append([row["query"] for row in features]) or {}},
    )(len)
    loader = trainer.get_train_dataloader()
    for _ in loader:
        pass
    return rows


def test_samplers_are_given_in_the_arguments(calm, tmp_path):
    twice = triplets().map(lambda row, number: {"positive": ["bats", "moth"][number % 2]}, with_indices=True)
    trainer = trainer_of(calm, Contrastive(calm), twice, tmp_path, batch_sampler=NoDuplicatesSampler)
    positives = dict(zip(twice["query"], twice["positive"], strict=True))
    assert all(len({positives[query] for query in batch}) == len(batch) == 2 for batch in batches_of(trainer))

    data = DatasetDict(
        one=triplets(), other=triplets().select(range(4)).map(lambda row: {"query": row["query"] + " at night"})
    )
    trainer = trainer_of(
        calm,
        {"one": Contrastive(calm), "other": Contrastive(calm)},
        data,
        tmp_path,
        batch_sampler=NoDuplicatesSampler,
        multi_dataset_batch_sampler=partial(TemperatureSampler, temperature=4),
        per_device_train_batch_size=2,
        save_strategy="epoch",
    )
    trainer.train()  # its arguments are written with the checkpoint
    assert len(losses_of(trainer)) == 12
    assert all(len({query.endswith("at night") for query in batch}) == 1 for batch in batches_of(trainer))


def test_each_epoch_has_another_order(calm, tmp_path):
    orders = []
    plan = NoDuplicatesSampler._plan

    class Spy(NoDuplicatesSampler):
        def __iter__(self):
            orders.append(plan(self))
            return super().__iter__()

    trainer_of(calm, Contrastive(calm), triplets(), tmp_path, batch_sampler=Spy, num_train_epochs=3).train()
    assert len(orders) == 3
    assert orders[0] != orders[1] != orders[2]


def test_an_interrupted_run_goes_on_where_it_was(calm, tmp_path):
    before = weights_of(calm)
    scorer = TokenWeights(16)

    def run(epochs: int, folder: Path, **options) -> dict:
        trainer = trainer_of(
            calm, Contrastive(calm, scorer), triplets(), folder, num_train_epochs=epochs, save_strategy="epoch",
            batch_sampler=NoDuplicatesSampler, lr_scheduler_type="constant",
        )  # fmt: skip
        trainer.train(**options)
        return weights_of(trainer.loss)

    start = scorer.state_dict()
    start = {name: value.clone() for name, value in start.items()}
    expected = run(3, tmp_path / "whole")
    calm.load_state_dict({**before, **{f"scorer.{name}": value for name, value in start.items()}})
    run(1, tmp_path / "parts")
    found = run(3, tmp_path / "parts", resume_from_checkpoint=True)
    assert_same_weights(
        found,
        expected,
        {**{f"model.{k}": v for k, v in before.items()}, **{f"score_metric.{k}": v for k, v in start.items()}},
    )


def test_batches_may_be_made_by_other_processes(calm, tmp_path):
    rows = [{"query_id": number, "document_ids": [0, 1, 2, 3], "scores": [0.9, 0.1, 0.2, 0.3]} for number in range(8)]
    texts = dict(enumerate(triplets()["query"]))
    data = KDProcessing(texts, texts, n_ways=3, sample=True).dataset(rows)
    trainer = trainer_of(calm, Distillation(calm), data, tmp_path, dataloader_num_workers=2)
    trainer.train()
    assert len(losses_of(trainer)) == 4


def evaluator():
    data = triplets()
    return evaluation.ColBERTTripletEvaluator(
        data["query"], data["positive"], data["negative"], name="dev", write_csv=False
    )


def test_tensorboard_gets_losses_and_metrics(calm, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    trainer = trainer_of(
        calm, Contrastive(calm), triplets(), tmp_path, report_to="tensorboard", eval_strategy="epoch",
        trainer_options={"evaluator": evaluator()},
    )  # fmt: skip
    trainer.train()
    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()
    logged = {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert logged["train/loss"] == pytest.approx(losses_of(trainer), rel=1e-5)
    assert len(logged["eval/dev_accuracy"]) == 2


def test_wandb_gets_losses_and_metrics_without_a_network(calm, tmp_path, monkeypatch):
    if importlib.util.find_spec("wandb") is None:
        pytest.skip("wandb is not installed")
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_DIR", str(tmp_path)), ("WANDB_SILENT", "true")):
        monkeypatch.setenv(name, value)
    trainer_of(
        calm, Contrastive(calm), triplets(), tmp_path, report_to="wandb", run_name="tiny", eval_strategy="epoch",
        trainer_options={"evaluator": evaluator()},
    ).train()  # fmt: skip
    import wandb

    assert wandb.run is not None
    assert {"train/loss", "eval/dev_accuracy"} <= set(dict(wandb.run.summary))
    wandb.finish()
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


def test_trackio_gets_losses_and_metrics_without_a_network(calm, tmp_path, monkeypatch):
    if importlib.util.find_spec("trackio") is None:
        pytest.skip("trackio is not installed")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trainer_of(calm, Contrastive(calm), triplets(), tmp_path, report_to="trackio", run_name="tiny").train()
    assert list(Path(tmp_path / "trackio").glob("*.db"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="float16 training needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_sixteen_bits_on_a_gpu(calm, tmp_path, precision):
    calm.to("cuda")
    for loss in (Contrastive(calm), CachedContrastive(calm, mini_batch_size=2)):
        options = {precision: True, "use_cpu": False, "num_train_epochs": 8}
        trainer = trainer_of(calm, loss, triplets(), tmp_path, **options)
        trainer.train()
        values = losses_of(trainer)
        assert sum(values[-2:]) < sum(values[:2])
