"""How does the model that ships rank on the dev sets?

    python examples/train/bundled/dev.py --data build/bundled

nDCG@10 of exact MaxSim in float32, with what `serotine.models.bundled` loads. Ten minutes on two cores.
`--before-projection` takes the 384 dimensions that come out of the adapted transformer instead: what a better
projection could bring. `--query-skiplist` takes words that queries are to drop.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from teacher import ndcg, read_texts

from serotine.models import bundled
from serotine.scores import maxsim_packed
from serotine.types import TokenMatrix


def main() -> None:
    """Print the figure of each dev set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("build/bundled"))
    parser.add_argument("--before-projection", action="store_true", help="all 384 dimensions of the trained model")
    parser.add_argument("--query-skiplist", nargs="+", default=[], metavar="WORD", help="not scored in queries")
    arguments = parser.parse_args()
    model = bundled(query_skiplist_words=arguments.query_skiplist)
    if arguments.before_projection:
        del model[1]
    for folder in sorted((arguments.data / "dev").iterdir()):
        texts = read_texts(folder)
        queries = TokenMatrix.from_arrays(model.encode(texts["queries"], is_query=True))
        documents = TokenMatrix.from_arrays(model.encode(texts["documents"], is_query=False))
        scores = torch.from_numpy(maxsim_packed(queries, documents))
        print(folder.name, round(ndcg(scores, texts["relevant"]), 4), flush=True)


if __name__ == "__main__":
    main()
