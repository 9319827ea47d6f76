"""How do two trained adapters become one?  By their mean, which ranks claims better than either.

    cd build/bundled
    python ../../examples/train/bundled/average.py --start first --runs second-a second-b --out trained

The adapters must have begun at the same weights. Their factors stand side by side, the upper ones divided by their
number, so that their product is the mean of the products: the rank is the sum of the ranks. `--scale` counts the mean
as many times; `--turn` rotates projections beforehand. Runs with "again" in their settings have learnt what is to be
added to the adapter of `--start`: its factors stand beside theirs, also if there is one run only; mean.safetensors is
what they have learnt alone, for `train.py --resume`. Importances of query tokens, if any run has learnt them, are left
out. Writes adapter.safetensors, cut to `--rank` if it is of a higher one, and log.json (recipes and logs of all runs).

Source: Wortsman et al. 2022, "Model soups".
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


def adapted_layers(adapter: dict[str, Tensor]) -> list[str]:
    """Return the names of the layers that have factors."""
    return [key.removesuffix(".down") for key in adapter if key.endswith(".down")]


def average(adapters: list[dict[str, Tensor]], *, scale: float = 1.0) -> dict[str, Tensor]:
    """Return the mean of what `Adapted.save` wrote, times `scale`."""
    mean = {"projection": torch.stack([adapter["projection"] for adapter in adapters]).mean(dim=0)}
    for name in adapted_layers(adapters[0]):
        ups = [adapter[f"{name}.up"].float() * (scale / len(adapters)) for adapter in adapters]
        mean[f"{name}.down"] = torch.cat([adapter[f"{name}.down"] for adapter in adapters]).contiguous()
        mean[f"{name}.up"] = torch.cat(ups, dim=1).half().contiguous()
    return mean


def turned(adapters: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """Return the adapters with projections rotated to lie as close to the first one's as they can.

    Similarities stay as they are. Source: Schönemann 1966, the orthogonal Procrustes problem.
    """
    first = adapters[0]["projection"]
    rotated = []
    for adapter in adapters:
        left, _, right = torch.linalg.svd(first @ adapter["projection"].T)
        rotated.append({**adapter, "projection": left @ right @ adapter["projection"]})
    return rotated


def added(first: dict[str, Tensor], second: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return both adapters in one, with the projection of the second, which was trained last."""
    both = {**first, **second}
    for name in first.keys() & second.keys() - {"projection"}:
        both[name] = torch.cat([first[name], second[name]], dim=int(name.endswith(".up"))).contiguous()
    return both


def compressed(adapter: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    """Return the adapter whose products come closest with factors of that rank, if theirs are of a higher one."""
    thin = dict(adapter)
    for name in adapted_layers(adapter):
        if len(adapter[f"{name}.down"]) > rank:
            product = adapter[f"{name}.up"].float() @ adapter[f"{name}.down"].float()
            left, values, right = torch.linalg.svd(product, full_matrices=False)
            root = values[:rank].sqrt()
            thin[f"{name}.up"] = (left[:, :rank] * root).half().contiguous()
            thin[f"{name}.down"] = (root[:, None] * right[:rank]).half().contiguous()
    return thin


def main() -> None:
    """Write the mean of runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="folder that train.py had as --start")
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="folders that train.py wrote")
    parser.add_argument("--out", type=Path, default=Path("build/bundled/trained"))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--turn", action="store_true", help="the projections onto the first one's, before the mean")
    parser.add_argument("--rank", type=int, default=88, help="of the factors that are written, at most")
    parser.add_argument(
        "--resumed", type=Path, help="folder whose mean.safetensors train.py had as --resume, for the log"
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    adapters = [load_file(run / "adapter.safetensors") for run in arguments.runs]
    runs: dict[str, Any] = {}
    for folder in (arguments.start, *([arguments.resumed] if arguments.resumed else []), *arguments.runs):
        log = json.loads((folder / "log.json").read_text())
        runs |= {**log.pop("runs", {}), folder.name: log}
    mean = average(turned(adapters) if arguments.turn else adapters, scale=arguments.scale)
    again = {bool(runs[run.name]["recipe"].get("again")) for run in arguments.runs}
    if len(again) > 1:
        raise SystemExit("runs that began anew and runs that went on from the trained model have no mean")
    if again == {True}:
        save_file(mean, arguments.out / "mean.safetensors")
        mean = added(load_file(arguments.start / "adapter.safetensors"), mean)
    save_file(compressed(mean, arguments.rank), arguments.out / "adapter.safetensors")
    how = {"scale": arguments.scale, "turn": arguments.turn, "rank": arguments.rank, "start": arguments.start.name}
    if arguments.resumed:
        how["resumed"] = arguments.resumed.name
    log = {"mean of": [run.name for run in arguments.runs], **how, "runs": runs}
    (arguments.out / "log.json").write_text(json.dumps(log, indent=1) + "\n")


if __name__ == "__main__":
    main()
