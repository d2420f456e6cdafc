"""Logistic regressions of hundreds or thousands of labels on the same documents, fitted together."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from jaxtyping import Bool, Float16, Float32, Float64, Int

if TYPE_CHECKING:  # answering must not import them
    from scipy.sparse import csr_array

    from clinlm.metrics.classification import Targets

BLOCK: Final = 512
"""Labels, or documents, computed at once."""

FEW: Final = 12_000
"""Documents whose products are held in memory: 0.6 GB. Of more, terms are multiplied each time."""

_CELLS: Final = BLOCK * FEW
"""Labels x documents computed at once, at most."""

_NARROW: Final = 32
"""Labels multiplied by terms at once: a row of 128 bytes a term, so that those of frequent terms stay in caches."""

_CLOSE: Final = 0.05
_STEPS: Final = 20
_INNER: Final = 60
_SHARE: Final = 0.1
_HALVINGS: Final = 12

Rows = Float32[np.ndarray, "labels documents"]
Values = Float64[np.ndarray, " labels"]


@final
class JointRegressions:
    """L2-penalised logistic regressions in the products of documents, for blocks of labels at once.

    The weights of a regression are a sum of its documents, `rows.T @ duals`, so that labels x documents numbers stand
    for labels x terms. All regressions share the products of documents, and Newton's steps are matrix products: with
    the products themselves of `FEW` documents, with the terms of more. The penalty covers the bias, as in liblinear.
    Newton's system I + W^1/2 K W^1/2 is solved by conjugate gradients to a tenth; they are preconditioned by its
    diagonal and the mean product. A label is done after the step that was expected to move its weights (in the norm of
    the Hessian, which is at least that of the weights) by less than 0.05, so that about a hundredth is left. What is
    not done after 20 steps is left to `alone`: frequent labels at the largest strengths, where Newton's steps must be
    short. Without `alone` they stay where they are, between the optimum of the strength before and their own.

    Args:
        rows: weighted terms of the training documents.
        alone: returns weights and bias of one label, given its targets (documents x 1) and C.
    """

    def __init__(self, rows: "csr_array", alone: Callable[["Targets", float], tuple[Any, Any]] | None) -> None:
        self._rows, self._alone, documents = rows, alone, rows.shape[0]
        self._across = rows.T.tocsr()
        self._gram = self.products(rows) if documents <= FEW else None
        own = np.asarray(rows.multiply(rows).sum(axis=1), dtype=np.float32).ravel() + np.float32(1)
        total = np.square(np.asarray(rows.sum(axis=0), dtype=np.float64)).sum() + documents**2
        self._mean = np.float32((total - own.sum(dtype=np.float64)) / max(1, documents * (documents - 1)))
        self._spread = own - self._mean
        self._block = max(1, min(BLOCK, _CELLS // documents))

    def products(self, rows: "csr_array") -> Float32[np.ndarray, "others documents"]:
        """Return the products of other documents with those of training; their biases are a term of value 1."""
        found = np.empty((rows.shape[0], self._rows.shape[0]), np.float32)
        for at in range(0, len(found), BLOCK):
            found[at : at + BLOCK] = (rows[at : at + BLOCK] @ self._across).toarray()
        found += np.float32(1)
        return found

    def fit(self, targets: Bool[np.ndarray, "documents labels"], strength: float, duals: Rows) -> None:
        """Move `duals` to the optimum of a strength (C), or towards it.

        Args:
            targets: of labels that are not constant.
            duals: changed in place; zeros, or the optimum of a lower strength.
        """
        order = np.argsort(-targets.sum(axis=0), kind="stable")  # those of a block take about as many steps
        for at in range(0, len(order), self._block):
            labels = order[at : at + self._block]
            signs = np.where(targets[:, labels].T, np.float32(1), np.float32(-1))
            duals[labels], left = self._solved(signs, np.float32(strength), duals[labels])
            if self._alone is None:
                continue
            for label in labels[left].tolist():
                weights, bias = self._alone(targets[:, [label]], strength)
                values = self._rows @ weights[0] + bias[0]
                duals[label] = strength * (targets[:, label] - _share(values))
            # At a large C, small errors of `alone` are larger ones of these duals; near the optimum a step mends them.
            duals[labels[left]], _ = self._solved(signs[left], np.float32(strength), duals[labels[left]])

    def weights(self, duals: Rows) -> tuple[Float16[np.ndarray, "terms labels"], Float32[np.ndarray, " labels"]]:
        """Return weights, in half precision and by term, and biases."""
        found = np.empty((self._across.shape[0], len(duals)), np.float16)
        for at in range(0, len(duals), BLOCK // 4):
            found[:, at : at + BLOCK // 4] = self._across @ np.ascontiguousarray(duals[at : at + BLOCK // 4].T)
        return found, duals.sum(axis=1)

    def _times(self, rows: Rows) -> Rows:
        """Return rows of numbers of the training documents times the products of these documents."""
        if self._gram is not None:
            return np.asarray(rows @ self._gram)
        found = np.empty_like(rows)
        for at in range(0, len(rows), _NARROW):
            part = np.ascontiguousarray(rows[at : at + _NARROW].T)
            found[at : at + _NARROW] = (self._rows @ (self._across @ part) + part.sum(axis=0)).T
        return found

    def _solved(self, signs: Rows, strength: np.float32, start: Rows) -> tuple[Rows, Int[np.ndarray, " left"]]:
        """Return the duals of a block, and the numbers of the labels that are not solved."""
        duals, values = start.copy(), self._times(start)
        losses = _losses(duals, values, signs, strength)
        active = np.arange(len(duals))
        for _ in range(_STEPS):
            duals_now, values_now, signs_now = duals[active], values[active], signs[active]
            step, change = self._newton(duals_now, values_now, signs_now, strength)
            expected = _dots(strength * _share(-values_now * signs_now) * signs_now - duals_now, change)
            size, reached = _searched(
                (duals_now, values_now, signs_now), (step, change), losses[active], expected, strength
            )
            duals[active] += size[:, None] * step
            values[active] += size[:, None] * change
            losses[active] = reached
            active = active[(expected > _CLOSE**2) | (size < 1)]
            if not len(active):
                break
        return duals, active

    def _newton(self, duals: Rows, values: Rows, signs: Rows, strength: np.float32) -> tuple[Rows, Rows]:
        """Return Newton's step, and by how much it changes the values (logits) of the training documents."""
        wrong = _share(-values * signs)
        slope = strength * wrong * signs - duals
        root = np.sqrt(strength * wrong * (1 - wrong))
        lifted = self._times(slope)
        diagonal = 1 + root * root * self._spread
        deflated = root / diagonal
        factor = (self._mean / (1 + self._mean * _dots(root, deflated)))[:, None].astype(np.float32)

        def conditioned(rest: Rows, labels: Int[np.ndarray, " live"]) -> Rows:
            own = deflated[labels]
            along = _dots(own, rest)[:, None].astype(np.float32)
            return np.asarray(rest / diagonal[labels] - factor[labels] * along * own)

        found, moved, rest = np.zeros_like(slope), np.zeros_like(slope), root * lifted
        direction = conditioned(rest, np.arange(len(rest)))
        left = _dots(rest, direction)
        end = _SHARE**2 * left
        live = np.flatnonzero(left > 0)
        for _ in range(_INNER):
            if not len(live):
                break
            along, own = direction[live], root[live]
            seen = self._times(own * along)
            size = (left[live] / _dots(along, along + own * seen))[:, None].astype(np.float32)
            found[live] += size * along
            moved[live] += size * seen
            rest[live] -= size * (along + own * seen)
            ahead = conditioned(rest[live], live)
            now = _dots(rest[live], ahead)
            direction[live] = ahead + (now / left[live])[:, None].astype(np.float32) * along
            left[live] = now
            live = live[now > end[live]]
        return slope - root * found, lifted - moved


def _searched(
    point: tuple[Rows, Rows, Rows], step: tuple[Rows, Rows], before: Values, expected: Values, strength: np.float32
) -> tuple[Float32[np.ndarray, " labels"], Values]:
    """Return the share of a step, halved until the loss falls as it should, or 0, and the loss that it leads to."""
    duals, values, signs = point
    size, reached = np.ones(len(duals), np.float32), before.copy()
    todo = np.arange(len(duals))
    for _ in range(_HALVINGS):
        part = size[todo, None]
        ahead = duals[todo] + part * step[0][todo], values[todo] + part * step[1][todo]
        reached[todo] = _losses(*ahead, signs[todo], strength)
        allowed = before[todo] - 1e-4 * size[todo] * expected[todo] + 1e-6 * np.abs(before[todo])
        todo = todo[~(reached[todo] <= allowed)]
        if not len(todo):
            return size, reached
        size[todo] /= 2
    size[todo], reached[todo] = 0, before[todo]
    return size, reached


def _losses(duals: Rows, values: Rows, signs: Rows, strength: np.float32) -> Values:
    margins = values * signs
    softplus = np.maximum(-margins, 0) + np.log1p(np.exp(-np.abs(margins)))
    return np.asarray(0.5 * _dots(duals, values) + float(strength) * softplus.sum(axis=1, dtype=np.float64))


def _dots(one: Rows, other: Rows) -> Values:
    return np.asarray(np.einsum("ij,ij->i", one, other, dtype=np.float64))


def _share(values: np.ndarray) -> Any:
    return 1 / (1 + np.exp(-np.clip(values, -60, 60)))
