"""Photographs that are part of scikit-image's wheel, for demonstrations and tests.

The splits were fixed before any network was trained on these images. The two motorcycle images
are a stereo pair and stay in the same split.
"""

from importlib.resources import files
from pathlib import Path

from srnas.data.images import ImagePair
from srnas.errors import UserError, did_you_mean

PACKAGED: dict[str, tuple[str, ...]] = {
    "train": (
        "astronaut.png",
        "brick.png",
        "coins.png",
        "gravel.png",
        "ihc.png",
        "motorcycle_left.png",
        "motorcycle_right.png",
    ),
    "alpha": ("grass.png", "hubble_deep_field.jpg"),
    "val": ("rocket.jpg",),
    "test": ("camera.png", "chelsea.png", "coffee.png"),
}


def packaged_pairs(split: str) -> list[ImagePair]:
    """Return the pairs of one or several splits.

    Args:
        split: "train", "alpha", "val" or "test", or several joined as in "train+alpha".

    Raises:
        UserError: The split is unknown, or the installed scikit-image lacks a file.
    """
    folder = Path(str(files("skimage"))) / "data"
    pairs = []
    for part in split.split("+"):
        if part not in PACKAGED:
            raise UserError(f"packaged: no split {part!r}; {did_you_mean(part, PACKAGED)}")
        pairs += [ImagePair(Path(name).stem, folder / name) for name in PACKAGED[part]]
    for pair in pairs:
        if not pair.hr.is_file():
            raise UserError(f"{pair.hr}: not in this scikit-image; install scikit-image>=0.21")
    return pairs
