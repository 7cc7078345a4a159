"""Central differences of functions whose derivative is known, and how far they trust themselves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnxscope.run.derivative import STEP_SIZES, Line, least_noisy

X0 = np.array([[0.25, 0.5], [0.75, 1.5]])
V = np.array([[1.0, -0.5], [0.25, 1.0]])
SMOOTH: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "linear": (lambda x: 3 * x - 1, lambda x: 3 * np.ones_like(x)),
    "cubic": (lambda x: x**3, lambda x: 3 * x**2),
    "exp": (np.exp, np.exp),
    "sqrt": (np.sqrt, lambda x: 0.5 / np.sqrt(x)),
}


def line(f: Callable[[np.ndarray], np.ndarray], x0: np.ndarray = X0, v: np.ndarray = V) -> Line:
    return Line(f, x0, f(x0), v)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_derivative_is_recognised_and_nothing_else(name: str) -> None:
    f, derivative = SMOOTH[name]
    right = least_noisy(line(f), derivative(X0) * V, 1e-16, 1e-16)
    assert right.error <= right.noise < 1e-3 and right.step in STEP_SIZES
    wrong = least_noisy(line(f), 1.01 * derivative(X0) * V, 1e-16, 1e-16)
    assert wrong.noise == right.noise
    assert wrong.error == pytest.approx(0.01, rel=0.1)


def test_a_kink_and_a_jump_are_noise() -> None:
    zeros = np.zeros_like(X0)
    assert least_noisy(line(np.abs, zeros), zeros, 0, 0).noise > 0.1
    assert least_noisy(line(np.sign, zeros), zeros, 0, 0).noise > 0.1


def test_rounding_rules_out_small_steps() -> None:
    f, slope = np.exp, np.exp(X0) * V
    exact, rounded = least_noisy(line(f), slope, 0, 0), least_noisy(line(f), slope, 1e-4, 0)
    assert rounded.step > exact.step and rounded.noise > exact.noise
    assert least_noisy(line(f), slope, 0, 1e-4).step > exact.step


def test_steps_out_of_the_domain_do_not_count() -> None:
    """√x is not defined at 0.1 + h·v for the larger steps."""
    x0 = np.array([0.1, 1.0])
    with np.errstate(invalid="ignore"):
        found = least_noisy(line(np.sqrt, x0, np.ones(2)), 0.5 / np.sqrt(x0), 1e-16, 1e-16)
    assert found.step < 0.1 and found.error <= found.noise


def test_steps_keep_the_type_of_the_image() -> None:
    seen = []

    def f(x: np.ndarray) -> np.ndarray:
        seen.append(x.dtype)
        return x.astype(np.float64)

    least_noisy(line(f, X0.astype(np.float32)), V, 1e-7, 1e-7)
    assert set(seen) == {np.dtype(np.float32)}
