"""Predict the figures of all genotypes from those that were trained.

scikit-learn is imported only where it is used; it belongs to the extra `table`.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from srnas.choice import Genotype, OpenChoices
from srnas.errors import UserError
from srnas.spaces import SpaceLike, check_space, open_choices, space_class
from srnas.table.results import Result

FOLDS = 10
REPEATS = 200  # simulated measurements behind the ceiling of Kendall's tau

Array = NDArray[np.float64]


class Encoder:
    """Turn genotypes into vectors of 0 and 1, as their choices encode themselves.

    Attributes:
        widths: Number of features of each position.
    """

    def __init__(self, space: SpaceLike) -> None:
        self.space = check_space(space).name
        self.choices: OpenChoices = open_choices(space)
        first = [choice.alternatives()[0] for choice in self.choices.whole]
        self.widths = [
            len(block)
            for choice, value in zip(self.choices.whole, first, strict=True)
            for block in choice.encode(value).values()
        ]

    def __call__(self, genotypes: Sequence[Genotype]) -> Array:
        """Return an array (number of genotypes, number of features) of 0 and 1."""
        return np.array([self._encode(genotype) for genotype in genotypes], dtype=float)

    def pairs(self, x: Array) -> Array:
        """Append the products of all features of two different positions or links."""
        blocks = np.split(x, np.cumsum(self.widths)[:-1], axis=1)
        products = [
            (a[:, :, None] * b[:, None, :]).reshape(len(x), -1) for a, b in combinations(blocks, 2)
        ]
        return np.concatenate([x, *products], axis=1)

    def _encode(self, genotype: Genotype) -> list[float]:
        values = space_class(self.space).read_choices(genotype.choices)
        blocks = [choice.encode(values[choice.place]) for choice in self.choices.whole]
        return [feature for block in blocks for row in block.values() for feature in row]


@dataclass(frozen=True)
class Measured:
    """Means of the trainings of each genotype.

    All networks see the same batches with the same seed, so a seed moves all of them alike. This
    effect is estimated on the genotypes with several seeds, relative to the smallest seed, and
    subtracted.

    Attributes:
        genotypes: The genotypes, in the order of the sample.
        values: Mean of a figure over the seeds, without their effects.
        counts: Number of seeds.
        repeats: Values by seed of each genotype that was trained more than once.
        effects: Effect of each seed.
    """

    genotypes: list[Genotype]
    values: Array
    counts: Array
    repeats: list[dict[int, float]]
    effects: dict[int, float]

    @property
    def retraining(self) -> float:
        """Standard deviation of retraining with another seed: within genotypes, as measured."""
        squares = sum(float(np.var(list(row.values())) * len(row)) for row in self.repeats)
        freedom = sum(len(row) - 1 for row in self.repeats)
        return float(np.sqrt(squares / freedom)) if freedom else float("nan")

    @property
    def noise(self) -> float:
        """Standard deviation of a training within its seed: what is left of `retraining` when the
        effects of the seeds are subtracted.
        """
        rows = [[v - self.effects[s] for s, v in row.items()] for row in self.repeats]
        squares = sum(float(np.var(row) * len(row)) for row in rows)
        freedom = sum(len(row) - 1 for row in rows) - (len(self.effects) - 1)
        return float(np.sqrt(squares / freedom)) if freedom > 0 else float("nan")


def measured(results: Sequence[Result], space: str, dataset: str, figure: str) -> Measured:
    """Collect one figure of results by genotype; UserError if a result has no such figure."""
    groups: dict[str, dict[int, float]] = defaultdict(dict)
    genotypes: dict[str, Genotype] = {}
    for result in results:
        genotype = result.genotype(space)
        try:
            groups[str(genotype)][result.seed] = result.scores[dataset][figure]
        except KeyError as error:
            raise UserError(f"results: {genotype} has no {dataset} {figure}") from error
        genotypes[str(genotype)] = genotype
    repeats = [row for row in groups.values() if len(row) > 1]
    effects = _seed_effects(repeats, {seed for row in groups.values() for seed in row})
    return Measured(
        list(genotypes.values()),
        np.array([np.mean([v - effects[s] for s, v in row.items()]) for row in groups.values()]),
        np.array([float(len(row)) for row in groups.values()]),
        repeats,
        effects,
    )


def _seed_effects(repeats: Sequence[dict[int, float]], seeds: set[int]) -> dict[int, float]:
    first = min(seeds)
    effects = {}
    for seed in sorted(seeds):
        gaps = [row[seed] - row[first] for row in repeats if seed in row and first in row]
        effects[seed] = float(np.mean(gaps)) if gaps else 0.0
    return effects


def models(encoder: Encoder) -> dict[str, Any]:
    """Return the models to choose from, by name; each has fit(x, y, weight) and predict(x).

    They are a ridge regression on one-hot candidates, one with all pairs of them, a Gaussian
    process whose covariance has one length for each position, and boosted trees.

    Raises:
        UserError: scikit-learn is not installed.
    """
    if find_spec("sklearn") is None:
        raise UserError("scikit-learn is missing: pip install 'srnas[table]'")
    return {
        "additive": _Ridge(None),
        "pairwise": _Ridge(encoder.pairs),
        "gaussian_process": _GaussianProcess(encoder.widths),
        "boosted_trees": _Trees(),
    }


def leave_one_out(x: Array, y: Array, weight: Array, alphas: Array) -> Array:
    """Return the mean squared errors, weighted, of ridge regressions that leave one row out each.

    With the hat matrix H of all rows, a row that is left out has the residual r_i / (1 - H_ii)
    (Golub, Heath, Wahba, 1979). scikit-learn's RidgeCV does the same, but gave NaN for a few rows
    in versions 1.5 to 1.8.

    Args:
        x: Features (N, F).
        y: Values (N,).
        weight: Weights of the rows (N,).
        alphas: Penalties (A,).

    Returns:
        Errors (A,).
    """
    root = np.sqrt(weight)
    centred = root[:, None] * (x - np.average(x, axis=0, weights=weight))
    target = root * (y - np.average(y, weights=weight))
    vectors, singular, _ = np.linalg.svd(centred, full_matrices=False)  # (N, min(N, F))
    kept = singular**2 / (singular**2 + alphas[:, None])  # (A, min(N, F))
    fitted = (kept * (vectors.T @ target)) @ vectors.T
    leverage = kept @ (vectors**2).T + weight / weight.sum()
    return np.asarray((((target - fitted) / (1 - leverage)) ** 2).mean(1))


class _Ridge:
    def __init__(self, features: Any) -> None:
        self.features = features or (lambda x: x)

    def fit(self, x: Array, y: Array, weight: Array) -> "_Ridge":
        from sklearn.linear_model import Ridge

        features, alphas = self.features(x), np.logspace(-2, 3, 21)
        errors = leave_one_out(features, y, weight, alphas)
        # A few figures may not tell penalties apart, and rounding would choose: take the largest.
        alpha = alphas[errors <= errors.min() * (1 + 1e-6)][-1]
        self.model = Ridge(alpha).fit(features, y, sample_weight=weight)
        return self

    def predict(self, x: Array) -> Array:
        return np.asarray(self.model.predict(self.features(x)))


class _GaussianProcess:
    """Covariance s^2 prod_k exp(-[candidates at k differ] / l_k) plus noise / number of seeds."""

    def __init__(self, widths: Sequence[int]) -> None:
        self.edges = np.cumsum([0, *widths])

    def fit(self, x: Array, y: Array, weight: Array) -> "_GaussianProcess":
        from scipy.optimize import minimize

        self.x, self.mean, self.scale = x, float(np.average(y, weights=weight)), float(y.std())
        target = (y - self.mean) / self.scale
        differs = self._differs(x, x)

        def loss(theta: Array) -> float:
            try:
                factor, solved = self._solve(theta, differs, target, weight)
            except np.linalg.LinAlgError:
                return 1e10
            prior = 0.5 * float(((theta - start) ** 2).sum()) / 9  # keeps flat directions in place
            return 0.5 * float(target @ solved) + float(np.log(np.diag(factor)).sum()) + prior

        start = np.log(np.array([1.0, *[1.0] * (len(self.edges) - 1), 0.3]))
        bounds = [(-7.0, 7.0)] * len(start)
        found = minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60})
        self.theta = found.x
        self.solved = self._solve(self.theta, differs, target, weight)[1]
        return self

    def predict(self, x: Array) -> Array:
        parts = np.array_split(x, max(1, len(x) // 2000))
        return np.concatenate(
            [
                self.mean
                + self.scale * (self._kernel(self.theta, self._differs(part, self.x)) @ self.solved)
                for part in parts
            ]
        )

    def _differs(self, one: Array, other: Array) -> Array:
        """Return (positions, len(one), len(other)): half the number of differing features."""
        return np.stack(
            [
                np.abs(one[:, None, a:b] - other[None, :, a:b]).sum(2) / 2
                for a, b in zip(self.edges, self.edges[1:], strict=False)
            ]
        )

    def _kernel(self, theta: Array, differs: Array) -> Array:
        rates = np.exp(theta[1:-1])
        return np.asarray(np.exp(2 * theta[0] - np.tensordot(rates, differs, 1)))

    def _solve(
        self, theta: Array, differs: Array, target: Array, weight: Array
    ) -> tuple[Array, Array]:
        from scipy.linalg import cho_solve, cholesky

        noise = np.exp(2 * theta[-1]) / weight
        matrix = self._kernel(theta, differs) + np.diag(noise + 1e-8)
        factor = cholesky(matrix, lower=True)
        return factor, np.asarray(cho_solve((factor, True), target))


class _Trees:
    def fit(self, x: Array, y: Array, weight: Array) -> "_Trees":
        from sklearn.ensemble import HistGradientBoostingRegressor

        self.model = HistGradientBoostingRegressor(
            max_iter=300, learning_rate=0.05, max_leaf_nodes=8, random_state=0
        )
        self.model.fit(x, y, sample_weight=weight)
        return self

    def predict(self, x: Array) -> Array:
        return np.asarray(self.model.predict(x))


@dataclass(frozen=True)
class Quality:
    """The agreement of predictions with values.

    Attributes:
        mean_error: Mean absolute error.
        rms_error: Root mean square error.
        tau: Kendall's tau-b.
        spearman: Spearman's rank correlation.
    """

    mean_error: float
    rms_error: float
    tau: float
    spearman: float

    @classmethod
    def of(cls, predicted: Array, values: Array) -> "Quality":
        """Compare predictions with values."""
        error = predicted - values
        return cls(
            float(np.abs(error).mean()),
            float(np.sqrt((error**2).mean())),
            float(stats.kendalltau(predicted, values).statistic),
            float(stats.spearmanr(predicted, values).statistic),
        )


def cross_validate(model: Any, x: Array, y: Array, weight: Array) -> Array:
    """Return the prediction of each genotype by a model that has not seen it.

    Args:
        x: Features (n, features).
        y: Values (n,).
        weight: Number of seeds of each (n,).
    """
    order = np.random.default_rng(0).permutation(len(y))
    predicted = np.empty(len(y))
    for fold in range(FOLDS):
        out = order[fold::FOLDS]
        kept = np.setdiff1d(order, out)
        predicted[out] = model.fit(x[kept], y[kept], weight[kept]).predict(x[out])
    return predicted


def ceiling(values: Array, counts: Array, noise: float) -> Quality:
    """Return the quality of a perfect predictor against values as noisy as the measured ones.

    The true values are simulated as the measured ones, shrunk to the spread that is left after
    subtracting the noise; each measurement adds noise / sqrt(number of seeds).

    Args:
        values: Measured values (n,).
        counts: Number of seeds of each.
        noise: Standard deviation of retraining.
    """
    rng = np.random.default_rng(0)
    deviation = noise / np.sqrt(counts)
    spread = max(0.0, float(values.var() - (deviation**2).mean()))
    true = values.mean() + (values - values.mean()) * np.sqrt(spread / values.var())
    found = [Quality.of(true, true + rng.normal(0, deviation)) for _ in range(REPEATS)]
    names = Quality.__dataclass_fields__
    return Quality(**{n: float(np.mean([getattr(q, n) for q in found])) for n in names})
