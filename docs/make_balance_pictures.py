"""Images for docs/balance.md: what each method makes of two losses that differ a hundredfold.

    python -m docs.make_balance_pictures

Two parameters shared by two tasks, so that the path of a training run can be drawn. The second loss
is a hundred times as large as the first and has its minimum elsewhere.
"""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from defect_jax import balance

HERE = pathlib.Path(__file__).parent
STEPS = 600
TASKS = ("small", "large")
COLOURS = {"small": "#0072b2", "large": "#d55e00"}
SCALE = {"small": 1.0, "large": 100.0}
MINIMUM = {"small": np.array([-1.0, 0.6]), "large": np.array([1.0, -0.4])}
START = np.array([-0.2, -1.6])
METHODS = {
    "fixed 1/1": balance.fixed(TASKS),
    "GradNorm, α = 0": balance.gradnorm(TASKS, alpha=0.0, floor=1e-3),
    "GradNorm, α = 1.5": balance.gradnorm(TASKS, alpha=1.5, floor=1e-3),
    "uncertainty": balance.uncertainty(TASKS),
    "dynamic weight average": balance.dynamic_weight_average(TASKS),
    "FAMO": balance.famo(TASKS),
    "PCGrad": balance.pcgrad(TASKS),
    "CAGrad": balance.cagrad(TASKS),
    "MGDA": balance.mgda(TASKS),
    "IMTL-G": balance.imtl_g(TASKS),
}
STYLE = {"font.size": 9, "axes.titlesize": 9, "axes.titlelocation": "left"}


class Run(NamedTuple):
    """What is drawn, step by step."""

    path: np.ndarray  # [steps + 1, 2]
    numbers: dict[str, np.ndarray]  # of `balance.measures`, and loss_<task>


def losses_at(point: Any) -> dict[str, Any]:
    """Return two bowls, the second a hundred times as steep; the noise of batches is left out."""
    stretch = {"small": jnp.array([1.0, 1.8]), "large": jnp.array([1.6, 0.8])}
    return {
        task: SCALE[task] * (0.02 + jnp.sum((stretch[task] * (point - MINIMUM[task])) ** 2))
        for task in TASKS
    }


def run(transform: Any) -> Run:
    """Return steps of equal, shrinking length, as Adam takes them: the balance decides the
    direction."""
    length = optax.cosine_decay_schedule(0.02, STEPS)
    tx = optax.chain(
        transform, optax.normalize_by_update_norm(), optax.scale_by_learning_rate(length)
    )
    params = {"encoder": jnp.asarray(START, jnp.float32)}

    def body(carry: Any, _: Any) -> Any:
        params, opt_state = carry
        losses, gradients, _ = balance.task_gradients(
            lambda params: losses_at(params["encoder"]), params
        )
        updates, opt_state = tx.update(gradients, opt_state, params, task_losses=losses)
        numbers = balance.measures(opt_state[0], TASKS)
        numbers |= {f"loss_{task}": loss for task, loss in losses.items()}
        return (optax.apply_updates(params, updates), opt_state), (params["encoder"], numbers)

    (last, _), (path, numbers) = jax.lax.scan(body, (params, tx.init(params)), length=STEPS)
    path = np.concatenate([path, last["encoder"][None]])
    return Run(path, {name: np.asarray(values) for name, values in numbers.items()})


def draw_paths(runs: Mapping[str, Run]) -> Figure:
    """Return one small map a method: both bowls, where nothing is left to trade, and the way
    taken."""
    figure = Figure(figsize=(10.0, 4.6), layout="constrained")
    for axes, (name, one) in zip(figure.subplots(2, 5).flat, runs.items(), strict=True):
        draw_map(axes)
        axes.plot(*one.path.T, color="black", linewidth=1.6)
        axes.plot(*one.path[-1], "o", color="black", markersize=5)
        ratio = [one.numbers[f"loss_{task}"][-1] / one.numbers[f"loss_{task}"][0] for task in TASKS]
        axes.set_title(f"{name}\nleft: {ratio[0]:.0%} small, {ratio[1]:.0%} large")
    return figure


def draw_map(axes: Axes) -> None:
    """Draw contours of both losses, their minima, the start and the line between the minima."""
    x, y = np.meshgrid(np.linspace(-1.7, 1.7, 80), np.linspace(-1.9, 1.3, 80))
    values = jax.vmap(losses_at)(jnp.stack([x.ravel(), y.ravel()], axis=1))
    for task in TASKS:
        levels = SCALE[task] * np.array([0.1, 0.5, 1.5, 3.5, 7.0])
        height = np.asarray(values[task]).reshape(x.shape)
        axes.contour(x, y, height, levels, colors=COLOURS[task], linewidths=0.7, alpha=0.6)
        axes.plot(*MINIMUM[task], "*", color=COLOURS[task], markersize=9)
    front = np.array([pareto_point(share) for share in np.linspace(0.0, 1.0, 60)])
    axes.plot(*front.T, color="#888888", linewidth=3.5, alpha=0.5, zorder=0.5)
    axes.plot(*START, "s", color="black", markersize=4)
    axes.set(xticks=[], yticks=[], aspect="equal")


def pareto_point(share: float) -> np.ndarray:
    """Return the minimum of a weighted sum of the two bowls, `share` on the first."""
    stretch = {"small": np.array([1.0, 1.8]), "large": np.array([1.6, 0.8])}
    weight = {"small": share, "large": 1.0 - share}
    pull = {task: weight[task] * stretch[task] ** 2 for task in TASKS}
    total = sum(pull.values())
    return sum(pull[task] * MINIMUM[task] for task in TASKS) / total


def draw_numbers(runs: Mapping[str, Run]) -> Figure:
    """Return fixed weights beside GradNorm: weights, weighted gradient norms, and what is left."""
    chosen = ["fixed 1/1", "GradNorm, α = 0", "GradNorm, α = 1.5"]
    figure = Figure(figsize=(10.0, 6.0), layout="constrained")
    all_axes = figure.subplots(3, 3, sharex=True, sharey="row")
    for column, name in zip(all_axes.T, chosen, strict=True):
        numbers = runs[name].numbers
        for task in TASKS:
            style = {"color": COLOURS[task], "label": f"{task} loss"}
            weight, loss = numbers[f"weight_{task}"], numbers[f"loss_{task}"]
            column[0].semilogy(weight, **style)
            column[1].semilogy(weight * numbers[f"gradient_norm_{task}"], **style)
            column[2].semilogy(loss / loss[0], **style)
        column[0].set_title(name)
        column[2].set_xlabel("step")
    for axes, text in zip(
        all_axes[:, 0], ("weight", "weighted gradient norm", "loss / first loss"), strict=True
    ):
        axes.set_ylabel(text)
    all_axes[0, 0].legend(frameon=False)
    return figure


def main() -> None:
    """Run every method and write the images."""
    runs = {name: run(transform) for name, transform in METHODS.items()}
    with rc_context(STYLE):
        for name, figure in (("paths", draw_paths(runs)), ("numbers", draw_numbers(runs))):
            path = HERE / f"balance_{name}.png"
            figure.savefig(path, dpi=120, metadata={"Software": None})
            print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
