"""Train on a small machine: low-rank adapters, batches as large as the patience, memory as small as a mini-batch.

    python examples/train/sample.py build/sample
    python examples/train/lora.py --data build/sample/triplets --dev build/sample/dev
    python examples/train/lora.py --data sentence-transformers/msmarco-bm25     # downloads the triplets

The base model is frozen; two thin matrices beside each projection of its attention, and the new projection to 128
dimensions, are trained: 1 % of the weights, and gradients and Adam's two moments of as many. Texts go through the model
in mini-batches of ``--mini-batch-tokens`` tokens, sorted by length, so that little is padding. No row's positive is
another's negative in a batch.

These settings are this project's own, nobody's published: all-MiniLM-L6-v2 (22 M parameters), without markers, which
are new tokens that an adapter has no place for, and without query expansion; rank 16; batches of 32; a temperature of
1; a learning rate of 5e-4 with a tenth of the steps to warm up. Source of the method: Hu et al. 2021, "LoRA".

With ``--query-length 32 --document-length 96 --batch-size 8 --steps 40`` nDCG@10 on the sample's 69 dev questions goes
from .476 to .543, in 480 s on one core of a machine that many shared. Extras: ``train``, ``demo``; for dev ``eval``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import recipe
from peft import LoraConfig
from sentence_transformers import MultiVectorEncoderTrainer

from serotine import losses, models, utils

OWN = {
    "model": "minilm",
    "data": "sentence-transformers/msmarco-bm25",
    "output": Path("output/lora"),
    "epochs": 1,
    "batch_size": 32,
    "learning_rate": 5e-4,
    "query_length": 64,
    "document_length": 180,
}


def main(words: Sequence[str] | None = None) -> models.ColBERT:
    """Train, and return the model as it is loaded from its folder."""
    parser = recipe.parser(__doc__, **OWN)
    parser.add_argument("--rank", type=int, default=16, help="of the adapters")
    parser.add_argument("--targets", nargs="+", default=["query", "key", "value"], help="layers that get adapters")
    parser.add_argument("--mini-batch-tokens", type=int, default=4096, help="tokens in the model at a time")
    options = recipe.read(parser, words)
    evaluator = recipe.dev_evaluator(options.dev)
    model = recipe.load_model(options, query_prefix="", document_prefix="", do_query_expansion=False)
    model.add_adapter(LoraConfig(r=options.rank, lora_alpha=2 * options.rank, target_modules=options.targets))
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    print(f"training {trained:,} of {sum(weight.numel() for weight in model.parameters()):,} weights")
    loss = losses.CachedContrastive(model, mini_batch_num_tokens=options.mini_batch_tokens, score_mini_batch_size=32)
    trainer = MultiVectorEncoderTrainer(
        model=model,
        args=recipe.training_arguments(
            options,
            evaluate=evaluator is not None,
            batch_sampler=utils.NoDuplicatesSampler,
            warmup_steps=0.1,
        ),
        train_dataset=utils.load_table(options.data, name="triplet"),
        loss=loss,
        evaluator=evaluator,
        data_collator=utils.ColBERTCollator(model.tokenize),
    )
    return recipe.run(trainer, options)


if __name__ == "__main__":
    main()
