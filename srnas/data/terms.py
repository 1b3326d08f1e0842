"""The terms of folders of images, as far as they are known."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from srnas.data.images import TrainingImage

# Terms of well-known image collections, by a word of their folders' names.
TERMS = {
    "div2k": "DIV2K is provided for academic research purposes only",
    "flickr2k": "Flickr2K has photographs under several licences of Flickr",
    "bsd": "BSDS500 is provided for non-commercial research and educational purposes",
}
PACKAGED_TERMS = "photographs of scikit-image, whose package names the licence of each"
UNKNOWN_TERMS = "not recorded; ask who provided the images"
FILES = ("LICENSE", "LICENCE", "COPYING", "TERMS")  # beginnings of names, in any case
START = 2000  # bytes of such a file that are read
LONGEST = 160


def terms_of(folder: Path) -> str:
    """Return the terms of a folder of images.

    They are the first two lines of a file LICENSE, COPYING or TERMS in the folder (with any
    suffix), or those of a collection after which the folder is named.
    """
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.is_file() and file.name.upper().startswith(FILES):
            with open(file, "rb") as opened:
                text = opened.read(START).decode("utf-8", "replace")
            lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
            if lines:
                first = lines[0] if len(lines[0]) > LONGEST // 3 else " ".join(lines[:2])
                return first[:LONGEST].rstrip(".")
    return named_terms(folder.name) or UNKNOWN_TERMS


def named_terms(name: str) -> str:
    """Return the terms of collections that a name contains, or ""."""
    return "; ".join(text for word, text in TERMS.items() if word in name.lower())


def sources_of(images: Sequence[TrainingImage]) -> list[dict[str, Any]]:
    """Count images by folder.

    Returns:
        {"folder": its name, "images": count, "terms": text} for each folder, in order.
    """
    counts = Counter(image.file.parent for image in images)
    return [
        {"folder": folder.absolute().name, "images": count, "terms": terms_of(folder)}
        for folder, count in counts.items()
    ]
