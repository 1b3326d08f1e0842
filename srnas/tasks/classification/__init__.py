"""Classification: labelled images, cross-entropy, accuracy."""

from srnas.tasks.classification.task import Classification

__all__ = ["Classification"]
