"""The metrics that a run's config asks for beside the core's: called per image, averaged like the core's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from segframe.catalog import build
from segframe.dataset import foreground
from segframe.errors import SegframeError
from segframe.manager import Plugins
from segframe.metrics import image_scores, mean_defined, split_scores


class RequestedMetrics:
    """What `segframe_metrics` builders returned, under the labels of the config's section `metrics`.

    Args:
        metrics: {label: metric}; segframe.hooks.segframe_metrics says what a metric is.

    Raises:
        SegframeError: two metrics give a score of one name, or one gives a name of the core's.
    """

    def __init__(self, metrics: Mapping[str, Any], class_names: Sequence[str]):
        self.metrics, self.class_names = dict(metrics), tuple(class_names)
        owners = dict.fromkeys(_core_names(self.class_names), "the core")
        for label, metric in self.metrics.items():
            for name in metric.larger_is_better:
                if name in owners:
                    raise SegframeError(
                        f"metrics.{label}",
                        expected="scores of names that nothing else gives",
                        got=f"{name!r}, which {owners[name]} gives too",
                        remedy=f"Leave it out with ~metrics.{label}.",
                    )
                owners[name] = f"metrics.{label}"

    def __bool__(self) -> bool:
        return bool(self.metrics)

    def contract(self) -> dict[str, dict[str, Any]]:
        """By label: the metric's contract, and which way its scores are better. Stored with the result."""
        return {
            label: {**metric.contract, "larger_is_better": dict(metric.larger_is_better)}
            for label, metric in self.metrics.items()
        }

    def image_scores(self, mask: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
        """All scores of one image, {"hd95", "hd95/CLASS", ...}, nan where undefined.

        What a metric gives for each class becomes NAME/CLASS; NAME is its mean over the defined foreground.

        Args:
            mask: (height, width) uint8 class ids, IGNORED where nothing is known; without padding.
            prediction: (height, width) uint8 class ids.

        Raises:
            SegframeError: a metric breaks its contract.
        """
        chosen = foreground(self.class_names)
        scores: dict[str, float] = {}
        by_class: dict[str, float] = {}
        for label, metric in self.metrics.items():
            given = metric(mask, prediction)
            if set(given) != set(metric.larger_is_better):
                raise _broken(label, f"the scores {sorted(metric.larger_is_better)}", str(sorted(given)))
            for name, value in given.items():
                values = np.asarray(value, np.float64)
                if values.shape not in ((), (len(self.class_names),)) or np.isinf(values).any():
                    raise _broken(label, f"{name} as one number or one a class, finite or nan", repr(value))
                scores[name] = float(mean_defined(values[chosen]) if values.ndim else values)
                if values.ndim:
                    by_class |= {
                        f"{name}/{of}": float(v) for of, v in zip(self.class_names, values, strict=True)
                    }
        return scores | by_class


def build_requested(
    plugins: Plugins, sections: Mapping[str, Any], class_names: Sequence[str], **facts: Any
) -> RequestedMetrics:
    """What a config's section `metrics` asks for.

    Args:
        facts: of the data (segframe.builder_facts.mask_facts).

    Raises:
        SegframeError: as segframe.catalog.build, or two scores have one name.
    """
    built = {
        label: build(plugins, "metrics", section, f"metrics.{label}", **facts)
        for label, section in sections.items()
    }
    return RequestedMetrics(built, class_names)


def split_means(per_image: Mapping[str, np.ndarray]) -> dict[str, float]:
    """{key: (images,) float64} -> {key: mean over the images where it is defined, nan where it never is}."""
    return {key: float(mean_defined(values)) for key, values in per_image.items()}


def _core_names(class_names: Sequence[str]) -> list[str]:
    nothing = np.zeros((1, len(class_names), len(class_names)), np.int64)
    return ["id", "loss", *image_scores(nothing, class_names), *split_scores(nothing, class_names)]


def _broken(label: str, expected: str, got: str) -> SegframeError:
    return SegframeError(
        f"metrics.{label}",
        expected=expected,
        got=got,
        remedy=f"The metric breaks its contract (segframe/hooks.py); leave it out with ~metrics.{label}.",
    )
