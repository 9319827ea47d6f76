"""Train Reason-ModernColBERT: contrastive, with thousands of long documents to tell apart in each step.

    torchrun --nproc_per_node 8 examples/train/reason_modern_colbert.py # downloads the model, the data and the texts
    python examples/train/sample.py build/sample
    python examples/train/reason_modern_colbert.py --model minilm --data build/sample/reasoning \
        --documents build/sample/reasoning --query-length 64 --document-length 256 --batch-size 16

Gradients are cached, so that memory is that of ``--mini-batch-size`` texts at any batch size, and the documents of all
GPUs are negatives of each query.

Published, and the defaults here: lightonai/GTE-ModernColBERT-v1; the part ``hq`` of reasonir/reasonir-data, of each row
the first positive and the first negative, with the texts of positives from xlangai/BRIGHT; batches of 256 per GPU in
mini-batches of 32, gathered; temperature 1; three epochs; a learning rate of 1e-5, falling linearly; bf16; queries of
128 tokens, documents of 8,192; no skipped punctuation. Source: PyLate, examples/train/reason_moderncolbert.py. It took
less than three hours on eight H100; source: Chaffin & Sourty 2025 (PyLate), section 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import recipe
from sentence_transformers import MultiVectorEncoderTrainer

from serotine import losses, models, utils
from serotine.errors import UnknownDocument

PUBLISHED = {
    "model": "lightonai/GTE-ModernColBERT-v1",
    "data": "reasonir/reasonir-data",
    "output": Path("output/Reason-ModernColBERT"),
    "epochs": 3,
    "batch_size": 256,
    "learning_rate": 1e-5,
    "query_length": 128,
    "document_length": 8192,
}


def load_triplets(data: str, documents: str) -> Any:
    """Return the columns query, positive and negative, of which the source has positives as ids.

    Raises:
        UnknownDocument: an id without a text, with the row that names it.
    """
    texts = utils.load_table(documents, name="documents", split="all")
    rows = {str(name): row for row, name in enumerate(texts["id"])}

    def triplet(row: dict[str, Any], number: int) -> dict[str, str]:
        instruction, name = row["pos"][0]
        if name not in rows:
            raise UnknownDocument(f"row {number} of {data}: its positive {name!r} is not in {documents}")
        return {
            "query": " ".join(row["query"]),
            "positive": f"{instruction} {texts[rows[name]]['content']}",
            "negative": " ".join(row["neg"][0]),
        }

    source = utils.load_table(data, name="hq")
    return source.map(triplet, with_indices=True, remove_columns=source.column_names)


def main(words: Sequence[str] | None = None) -> models.ColBERT:
    """Train, and return the model as it is loaded from its folder."""
    parser = recipe.parser(__doc__, **PUBLISHED)
    parser.add_argument("--documents", default="xlangai/BRIGHT", help="name or folder of the positives' texts")
    parser.add_argument("--mini-batch-size", type=int, default=32, help="texts that go through the model together")
    options = recipe.read(parser, words)
    train = load_triplets(options.data, options.documents)
    evaluator = recipe.dev_evaluator(options.dev)
    model = recipe.load_model(options, skiplist_words=[])
    loss = losses.CachedContrastive(model, mini_batch_size=options.mini_batch_size, gather_across_devices=True)
    trainer = MultiVectorEncoderTrainer(
        model=model,
        # All GPUs need as many queries in each step.
        args=recipe.training_arguments(options, evaluate=evaluator is not None, dataloader_drop_last=True),
        train_dataset=train,
        loss=loss,
        evaluator=evaluator,
        data_collator=utils.ColBERTCollator(model.tokenize),
    )
    return recipe.run(trainer, options)


if __name__ == "__main__":
    main()
