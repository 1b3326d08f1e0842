"""Search with a regularizer of one's own, then train what was found.

    python examples/search_with_own_regularizer.py [--out FOLDER] [--quick]

This takes about a minute on two cores, on photographs that come with scikit-image. Started again,
it continues where it stopped. The command line can use the same regularizer:

    srnas --plugin examples/search_with_own_regularizer.py search -opt FILE
"""

import argparse
import sys
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

import srnas
from srnas.choice import Supernet
from srnas.regularizers import REGULARIZERS, Regularizer


@REGULARIZERS.register("choice_entropy")
class ChoiceEntropy(Regularizer):
    """The mean entropy of the choices, in nats: low once each position prefers one candidate.

    The keyword-only arguments of a regularizer are its options. What a search gives for them is
    checked against the annotations.

    Args:
        floor: The mean entropy, in nats, below which the term vanishes.
    """

    def __init__(self, *, floor: Annotated[float, Ge(0)] = 0.0) -> None:
        self.floor = floor

    def __call__(self, supernet: Supernet) -> Tensor:
        rows = supernet.probabilities().values()  # a position each: (N,), its sum is 1
        entropies = [-(p * p.clamp(min=1e-12).log()).sum() for p in rows]
        return (torch.stack(entropies).mean() - self.floor).clamp(min=0)


def main() -> None:
    parser = argparse.ArgumentParser(description="Search with a regularizer of one's own.")
    parser.add_argument("--out", default="experiments/examples", help="the folder of both runs")
    parser.add_argument("--quick", action="store_true", help="seconds instead of a minute")
    arguments = parser.parse_args()

    space = {"name": "imdn", "scale": 2, "num_feat": 16, "num_block": 2}
    epochs, steps_per_epoch, train_steps = 10, 15, 150
    if arguments.quick:
        space["num_block"] = 1
        epochs, steps_per_epoch, train_steps = 3, 5, 10

    options = {  # what a YAML file for `srnas search` would hold
        "space": space,
        "data": {
            "train": {"packaged": "train"},
            "alpha": {"packaged": "alpha"},
            "batch_size": 8,
            "hr_patch": 48,
        },
        "partial_channels": 4,
        "weight_optimizer": {"lr": 2e-3},
        "alpha_optimizer": {"lr": 1e-2, "betas": [0.5, 0.999]},
        "regularizers": [
            {
                "term": {"name": "choice_entropy", "floor": 0.5},
                "weight": {"name": "linear", "start": 0, "end": 0.1},
            }
        ],
    }
    try:
        found = srnas.search(
            options,
            name="own_regularizer_search",
            experiments=arguments.out,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            warmup_epochs=1,
            log_every=steps_per_epoch,
            resume=True,
        )
        print(f"found: {found.genotype}")
        trained = srnas.train(
            "train/imdn_demo.yml",  # a file of options that comes with srnas
            genotype=found.genotype,
            name="own_regularizer_train",
            experiments=arguments.out,
            space=space,
            steps=train_steps,
            resume=True,
        )
    except srnas.Interrupted:  # Ctrl-C
        sys.exit("stopped, everything is saved; the same command continues")
    except srnas.UserError as error:
        sys.exit(f"error: {error}")
    psnr = trained.model.provenance["val"]["psnr"]
    print(f"trained for {train_steps} steps: {psnr:.2f} dB on the validation photograph")
    print(f"the logs are in {found.folder} and {trained.folder}")


if __name__ == "__main__":
    main()
