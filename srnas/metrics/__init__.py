"""Metrics of images, by name: a file for each kind."""

from collections.abc import Iterable
from typing import cast

from srnas.components import Registry
from srnas.metrics.metric import Metric

__all__ = ["METRICS", "Metric", "best_of", "find_metric", "in_words", "show_value", "title_of"]

METRICS: Registry[Metric] = Registry("metric", packages=("srnas.metrics",), base=Metric)


def find_metric(name: str) -> type[Metric] | None:
    """Return the class of a metric, None if none has this name (a plugin's that is not loaded)."""
    return cast(type[Metric], METRICS[name]) if name in METRICS else None


def title_of(name: str) -> str:
    """Return the title of a metric with its unit; the name itself if there is no such metric.

    >>> title_of("psnr"), title_of("ssim")
    ('PSNR, dB', 'SSIM')
    """
    metric = find_metric(name)
    if metric is None:
        return name
    return f"{metric.title}, {metric.unit}" if metric.unit else metric.title


def show_value(name: str, value: float) -> str:
    """Return a value with the decimals of its metric.

    >>> show_value("psnr", 37.99601), show_value("ssim", 0.960493)
    ('37.996', '0.9605')
    """
    return f"{value:.{(find_metric(name) or Metric).digits}f}"


def in_words(name: str, value: float) -> str:
    """Return a value with its metric and unit.

    >>> in_words("psnr_rgb", 30.5), in_words("ssim", 0.9)
    ('PSNR on RGB 30.500 dB', 'SSIM 0.9000')
    """
    metric = find_metric(name)
    title, unit = (metric.title, metric.unit) if metric else (name, "")
    return f"{title} {show_value(name, value)} {unit}".rstrip()


def best_of(name: str, values: Iterable[float]) -> float | None:
    """Return the best of the values of a metric; None if there is no such metric.

    >>> best_of("psnr", [30.0, 31.0])
    31.0
    """
    metric = find_metric(name)
    if metric is None:
        return None
    return max(values) if metric.higher_is_better else min(values)
