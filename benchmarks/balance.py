"""Step time and memory of every balancing method, over the plain sum of the losses.

    python -m benchmarks.balance

UNet++ 32 to 512 channels, 256x256 px, batch 4, float32 by default; on a GPU give
`--batch_size=32 --dtype=bfloat16`. All programs are compiled first and then run in turn, round by
round, so that a machine that slows down slows down all of them; ratios are of the same round.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from defect_jax import balance
from defect_jax.losses.classification import classification_loss
from defect_jax.losses.segmentation import segmentation_loss
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.runtime.compiler_options import training_options

TASKS = ("segmentation", "classification")
REFRESH_STEPS = 10
FLAGS = flags.FLAGS
flags.DEFINE_string("decoder", "unetplusplus", "unet or unetplusplus.")
flags.DEFINE_integer("first_width", 32, "Channels of the finest of five rows.")
flags.DEFINE_integer("size_px", 256, "Side of the square images.")
flags.DEFINE_integer("batch_size", 4, "Images a step.")
flags.DEFINE_integer("rounds", 7, "Timed rounds, after one that is not.")
flags.DEFINE_string("dtype", "float32", "float32 or bfloat16.")
flags.DEFINE_string("only", "", "Comma-separated names of programs; empty: all. The sum always is.")

Gradients = Callable[..., tuple[dict[str, Any], Any, Any]]


def main(argv: list[str]) -> None:
    """Compile, run and print the table."""
    del argv
    problem = make_problem()
    programs = {}
    for name, step, start in all_steps(problem):
        if name != "plain sum" and FLAGS.only and name not in FLAGS.only.split(","):
            continue
        began = time.monotonic()
        jitted = jax.jit(step, compiler_options=training_options((FLAGS.first_width,)))
        programs[name] = (jitted.lower(*start).compile(), start)
        print(f"compiled {name} in {time.monotonic() - began:.1f} s", flush=True)
    seconds = {name: [] for name in programs}
    for number in range(FLAGS.rounds + 1):
        for name, (program, start) in programs.items():
            began = time.monotonic()
            jax.block_until_ready(program(*start))
            if number:
                seconds[name].append(time.monotonic() - began)
        print(f"round {number} of {FLAGS.rounds}", flush=True)
    print_table({name: program for name, (program, _) in programs.items()}, seconds)


def make_problem() -> tuple[Callable[..., Any], Any, Any]:
    """Return `loss_fn(params, image)` -> losses and batch statistics, the params, and a random
    image."""
    size, batch_size = FLAGS.size_px, FLAGS.batch_size
    widths = tuple(FLAGS.first_width * 2**row for row in range(5))
    network = SegmentationNetwork(FLAGS.decoder, widths, "scse", dtype=FLAGS.dtype)
    variables = initial_variables(network, (1, size, size, 1), 0)
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(batch_size, size, size, 1)), jnp.float32)
    mask = jnp.asarray(rng.random((batch_size, size, size, 1)) < 0.05, jnp.float32)
    label = jnp.asarray(np.arange(batch_size) % 2, jnp.float32)

    def loss_fn(params: Any, image: Any) -> Any:
        outputs, updated = network.apply(
            {"params": params, "batch_stats": variables["batch_stats"]},
            image,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        valid = jnp.ones_like(mask)
        losses = {
            "segmentation": segmentation_loss(outputs.mask_logits, mask, valid, 0.5, 1.0),
            "classification": classification_loss(
                outputs.label_logits, label, jnp.ones_like(label)
            ),
        }
        return losses, updated["batch_stats"]

    return loss_fn, variables["params"], image


def all_steps(problem: Any) -> Iterator[tuple[str, Callable[..., Any], tuple[Any, ...]]]:
    """Yield a name, `step(params, opt_state, image)` and its arguments."""
    loss_fn, params, image = problem

    def named(name: str, transform: Any, gradients: Gradients, **options: Any) -> Any:
        after = (optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
        tx = optax.chain(*([transform] if transform else []), *after)

        def step(params: Any, opt_state: Any, image: Any) -> Any:
            losses, grads, aux = gradients(loss_fn, params, image)
            given = {"task_losses": losses} | options if transform else {}
            updates, opt_state = tx.update(grads, opt_state, params, **given)
            return optax.apply_updates(params, updates), opt_state, aux

        return name, step, (params, tx.init(params), image)

    def ours(*args: Any) -> Any:
        return balance.task_gradients(*args, has_aux=True)

    yield named("plain sum", None, plain_sum)
    yield named("fixed", balance.fixed(TASKS), ours, measure=False)
    yield named("gradnorm", balance.gradnorm(TASKS), ours)
    yield named("gradnorm between measurings", balance.gradnorm(TASKS), ours, measure=False)
    one_layer = balance.gradnorm(TASKS, shared=lambda path: path[:2] == ("encoder", "x_4_0"))
    yield named("gradnorm on the last shared block", one_layer, ours)
    yield named("uncertainty", balance.uncertainty(TASKS), ours, measure=False)
    yield named("dwa", balance.dynamic_weight_average(TASKS), ours, measure=False)
    yield named("famo", balance.famo(TASKS), ours, measure=False)
    for method in (balance.pcgrad, balance.cagrad, balance.mgda, balance.imtl_g):
        yield named(method.__name__, method(TASKS), ours)
    yield named("naive: a jax.grad for each task", balance.gradnorm(TASKS), gradient_each)
    zeros = "naive: one jax.vjp, cotangents (1, 0) and (0, 1)"
    yield named(zeros, balance.gradnorm(TASKS), with_zeros)
    yield named("naive: jax.jacrev", balance.gradnorm(TASKS), jacobian)


def plain_sum(loss_fn: Callable[..., Any], params: Any, image: Any) -> Any:
    """Return what everything is compared with."""

    def total(params: Any) -> Any:
        losses, aux = loss_fn(params, image)
        return sum(losses.values()), (losses, aux)

    gradient, (losses, aux) = jax.grad(total, has_aux=True)(params)
    return losses, gradient, aux


def gradient_each(loss_fn: Callable[..., Any], params: Any, image: Any) -> Any:
    """Return forward and backward once a task."""
    gradients, losses, aux = {}, {}, None
    for task in TASKS:

        def one(params: Any, task: str = task) -> Any:
            losses, aux = loss_fn(params, image)
            return losses[task], aux

        (losses[task], aux), gradients[task] = jax.value_and_grad(one, has_aux=True)(params)
    return losses, gradients, aux


def with_zeros(loss_fn: Callable[..., Any], params: Any, image: Any) -> Any:
    """Return one forward pass, and the whole backward pass once a task, zeros included."""
    losses, pull, aux = jax.vjp(lambda params: loss_fn(params, image), params, has_aux=True)
    zeros = {task: jnp.zeros(()) for task in TASKS}
    return losses, {task: pull(zeros | {task: jnp.ones(())})[0] for task in TASKS}, aux


def jacobian(loss_fn: Callable[..., Any], params: Any, image: Any) -> Any:
    """Return all rows of the Jacobian at once."""

    def both(params: Any) -> Any:
        losses, aux = loss_fn(params, image)
        return jnp.stack([losses[task] for task in TASKS]), (losses, aux)

    rows, (losses, aux) = jax.jacrev(both, has_aux=True)(params)
    gradients = {t: jax.tree.map(lambda row, i=i: row[i], rows) for i, t in enumerate(TASKS)}
    return losses, gradients, aux


def print_table(programs: dict[str, Any], seconds: dict[str, list[float]]) -> None:
    """Print medians, ratios to the plain sum round by round, memory and operations."""
    device = jax.devices()[0]
    print(f"\n{device.device_kind}, jax {jax.__version__}, {FLAGS.decoder}, {FLAGS.dtype}\n")
    print("| | step, s | over the sum | memory, MB | over the sum | GFLOP |")
    print("| --- | --- | --- | --- | --- | --- |")
    base = _memory_mb(programs["plain sum"])
    ratios = {}
    for name, program in programs.items():
        each = [a / b for a, b in zip(seconds[name], seconds["plain sum"], strict=True)]
        ratios[name] = statistics.median(each)
        spread = f"{ratios[name]:.3f} ({min(each):.3f} to {max(each):.3f})"
        memory, operations = _memory_mb(program), program.cost_analysis()["flops"] / 1e9
        print(
            f"| {name} | {statistics.median(seconds[name]):.3f} | {spread} "
            f"| {memory:.0f} | {memory / base:.3f} | {operations:.0f} |"
        )
    if "gradnorm" in ratios and "gradnorm between measurings" in ratios:
        between, refresh = ratios["gradnorm between measurings"], ratios["gradnorm"]
        mean = (refresh + (REFRESH_STEPS - 1) * between) / REFRESH_STEPS
        print(f"\nGradNorm with norms at every {REFRESH_STEPS}th step, from the two: {mean:.3f}")


def _memory_mb(program: Any) -> float:
    """Return what the program needs besides its arguments, which all have in common but for
    scalars."""
    analysis = program.memory_analysis()
    return (analysis.temp_size_in_bytes + analysis.output_size_in_bytes) / 1e6


if __name__ == "__main__":
    app.run(main)
