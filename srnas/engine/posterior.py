"""Bayesian linear regression with an unknown scale of the noise.

y = w^T x + e with e ~ N(0, s^2), w ~ N(0, r s^2 I), and p(s^2) proportional to 1 / s^2: the
normal-inverse-gamma model (Gelman et al., *Bayesian Data Analysis*, 3rd ed., ch. 14), so that no
constant depends on the unit of y.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEAST = 1e-12  # of the sum of squared residuals


class Posterior:
    """The posterior of the coefficients.

    Args:
        x: Features, (n, F), n at least 2.
        y: Values, (n,); their mean is taken for the intercept.
        ratio: Prior variance of a coefficient, as a multiple of that of the noise.

    Attributes:
        mean: Posterior mean of the coefficients, (F,).
        intercept: Mean of the values.
        scale: s^2 in expectation of 1 / s^2.
    """

    def __init__(self, x: Array, y: Array, ratio: float) -> None:
        self.intercept = float(y.mean())
        centred = y - self.intercept
        self.precision = x.T @ x + np.eye(x.shape[1]) / ratio
        self.root = np.linalg.cholesky(self.precision)
        self.mean: Array = np.linalg.solve(self.precision, x.T @ centred)
        self.freedom = len(y) - 1
        left = centred @ centred - self.mean @ self.precision @ self.mean
        self.rest = max(float(left), LEAST)
        self.scale = self.rest / self.freedom

    def draw(self, generator: np.random.Generator) -> Array:
        """Draw coefficients (F,)."""
        scale = self.rest / generator.chisquare(self.freedom)
        noise = generator.standard_normal(len(self.mean))
        drawn: Array = self.mean + np.sqrt(scale) * np.linalg.solve(self.root.T, noise)
        return drawn

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation (n,) of w^T x at features (n, F), without noise.

        The standard deviation is that of the normal distribution with the posterior's scale.
        """
        mean = self.intercept + x @ self.mean
        spread = np.linalg.solve(self.root, x.T)
        return mean, np.sqrt(self.scale * (spread**2).sum(0))
