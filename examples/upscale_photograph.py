"""Enlarge a photograph with a trained model, as a numpy image and as a torch tensor.

    python examples/upscale_photograph.py MODEL PHOTO OUT.png

MODEL is the model.safetensors that `srnas train` or `srnas demo` wrote.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import torch

import srnas


def main() -> None:
    parser = argparse.ArgumentParser(description="Enlarge a photograph with a trained model.")
    parser.add_argument("model", help="a model file: model.safetensors")
    parser.add_argument("photo", help="an image file of any format that OpenCV reads")
    parser.add_argument("out", help="the PNG file to write")
    arguments = parser.parse_args()

    photo = cv2.imread(arguments.photo)
    if photo is None:
        sys.exit(f"error: {arguments.photo}: not a readable image")
    image = cv2.cvtColor(photo, cv2.COLOR_BGR2RGB)  # OpenCV's channels are BGR, srnas's RGB

    try:
        model = srnas.load(arguments.model)
        # A numpy image, (H, W, 3) uint8, becomes a numpy image, (scale*H, scale*W, 3) uint8.
        enlarged = srnas.upscale(model, image)
        # A tensor, (3, H, W) in [0, 1], becomes a tensor, which is not rounded to 8 bits.
        exact = srnas.upscale(model, as_tensor(image))
        _, png = cv2.imencode(".png", cv2.cvtColor(enlarged, cv2.COLOR_RGB2BGR))
        Path(arguments.out).write_bytes(png.tobytes())
    except (srnas.UserError, OSError) as error:  # each says in one line what is wrong
        sys.exit(f"error: {error}")

    rounding = 255 * (exact - as_tensor(enlarged)).abs().max()
    print(f"{model.space.name}: {model.genotype}")
    print(f"{arguments.out}: {size(image)} -> {size(enlarged)}")
    print(f"the tensor differs by at most {rounding:.2f} of 255 before rounding")


def as_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1) / 255


def size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


if __name__ == "__main__":
    main()
