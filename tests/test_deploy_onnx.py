"""ONNX graphs under onnxruntime, against the JAX functions that they were written from."""

import collections
import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import onnx
import onnxruntime
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax
from jax.export import symbolic_shape
from onnx_cases import CONVOLUTIONS, TABLE, conv, first, floats, gathered, pooled
from tiny_networks import TINY
from tiny_predictor import RULE, surface, tiny_config, tiny_network

from defect_jax.decision.apply import Decision
from defect_jax.deploy.onnx import Unsupported, convert, to_onnx
from defect_jax.deploy.program import make_program
from defect_jax.models.initialise import initial_variables
from defect_jax.models.network import SegmentationNetwork

ELEMENTWISE, SUMMED = 1e-6, 1e-5  # tolerances, relative


def session(model):
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def converted(function, specs, outputs, **options):
    names = {f"input_{place}": spec for place, spec in enumerate(specs)}
    return to_onnx(function, names, [f"output_{n}" for n in range(outputs)], **options)


def run(running, *arrays):
    return running.run(None, {f"input_{n}": array for n, array in enumerate(arrays)})


def assert_agree(got, wanted, tolerance):
    """Integers exactly; floats by their own size, and what is summed by that of the largest or 1:
    a single logit may cancel to nearly nothing."""
    wanted = [np.asarray(each) for each in jax.tree.leaves(wanted)]
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        if not np.issubdtype(other.dtype, np.floating):
            np.testing.assert_array_equal(one, other)
            continue
        largest = np.abs(other, where=np.isfinite(other), out=np.zeros_like(other)).max(initial=1)
        slack = 0.0 if tolerance == ELEMENTWISE else tolerance * largest
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=slack)


def check(function, shapes, cases, tolerance=ELEMENTWISE, wanted=None):
    """One model for inputs of symbolic `shapes`, run on each of the cases.

    Returns:
        The model, and what it made of the first case.
    """
    specs = [jax.ShapeDtypeStruct(s, x.dtype) for s, x in zip(shapes, cases[0], strict=True)]
    wanted = wanted or [jax.jit(function)(*arrays) for arrays in cases]
    model = converted(function, specs, len(jax.tree.leaves(wanted[0])))
    running = session(model)
    results = [run(running, *arrays) for arrays in cases]
    for got, answer in zip(results, wanted, strict=True):
        assert_agree(got, answer, tolerance)
    return model, results[0]


@functools.cache
def answers(section):
    """What JAX makes of each case: of two elements and of the first alone, by one program."""
    cases = TABLE[section]
    functions = {name: function for name, (function, *_) in cases.items()}
    arrays = {name: [given, [x[:1] for x in given]] for name, (_, *given) in cases.items()}

    def of_all(arrays):
        return {
            name: [function(*given) for given in arrays[name]]
            for name, function in functions.items()
        }

    return jax.device_get(jax.jit(of_all)(arrays))


@pytest.mark.parametrize(
    "section, name", [(section, name) for section in TABLE for name in TABLE[section]]
)
def test_each_primitive(section, name):
    """Two sizes of the first axis through one model; as JAX stores axes, and channels first.

    The second is asked for by transposing the inputs inside: that moves nothing, but from there on
    the tensors are stored otherwise than JAX has them.
    """
    function, *arrays = TABLE[section][name]
    back = [(0, *range(2, x.ndim), 1) if x.ndim > 2 else None for x in arrays]

    def both(*given):
        plain, moved = given[: len(arrays)], given[len(arrays) :]
        pairs = zip(moved, back, strict=True)
        return function(*plain), function(*(lax.transpose(x, p) if p else x for x, p in pairs))

    (batch,) = symbolic_shape("b")
    inputs = [*arrays, *(np.moveaxis(x, -1, 1) if x.ndim > 2 else x for x in arrays)]
    check(
        both,
        [(batch, *x.shape[1:]) for x in inputs],
        [inputs, [x[:1] for x in inputs]],
        SUMMED if section in ("sums", "convolutions") else ELEMENTWISE,
        [(answer, answer) for answer in answers(section)[name]],
    )


def sized(x):
    """Calculates with sizes that are not known when it is traced."""
    b, h, w = x.shape
    rows = jnp.arange(2 * h + 1, dtype=jnp.float32)
    return (
        jnp.float32(h // 2) + rows,
        x.reshape(b, h * w).sum(1),
        x.reshape(b * w, h).sum(1),
        jnp.broadcast_to(jnp.float32(h * w - 1), (w % 3 + 1, h)),
        jnp.pad(x, ((0, 0), (0, -h % 4), (1, w // 2))),
        x[:, 1 : h - 1, : w // 2],
        jnp.flip(x[:, ::2], 2),
        x[:, h // 2 :],
        jnp.full((h + 3 * w - 1, h**2 // w), 2, jnp.int32),
        jnp.mean(x, axis=(1, 2)),
        lax.broadcasted_iota(jnp.int32, (b, h, w), 1)
        - lax.broadcasted_iota(jnp.int32, (b, h, w), 2),
        jnp.ones_like(x) * 2,
        jnp.concatenate([x, x[:, :1]], 1),
        jnp.stack([x, 2 * x], 2).reshape(b, 2 * h, w),
    )


def test_symbolic_sizes():
    shape = symbolic_shape("b, h, w")
    cases = [(floats(2, 5, 6),), (floats(1, 8, 3),)]
    model, _ = check(sized, [shape], cases, SUMMED)
    sizes = [each.dim_param for each in model.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == ["b", "h", "w"]


def test_a_size_read_off_its_multiple():
    shape = symbolic_shape("4*h, b")
    cases = [(floats(8, 3),), (floats(16, 1),)]
    model, _ = check(
        lambda x: x.reshape(x.shape[0] // 4, 4, x.shape[1]).sum((1, 2)), [shape], cases
    )
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "4*h"


def variables_of(network, channels=1, seed=0):
    """Random parameters, and running statistics that a batch norm cannot do without."""
    flat = flatten_dict(initial_variables(network, (1, 32, 32, channels), seed))
    rng = np.random.default_rng(seed)
    drawn = {}
    for path, value in flat.items():
        noise = rng.normal(0.0, 0.1, value.shape).astype(np.float32)
        drawn[path] = value * np.exp(noise) if path[-1] == "var" else value + noise
    return unflatten_dict(drawn)


def tiny(**fields):
    return SegmentationNetwork(
        **{"widths": TINY, "decoder": "unet", "localisation_widths": (4, 8)} | fields
    )


NETWORKS = {
    "unet": tiny(),
    "unet, scse, group norm": tiny(attention="scse", norm="group", widths=(8, 16)),
    "unet, gates": tiny(attention="gates"),
    "unet++": tiny(decoder="unetplusplus"),
    "unet++, separable, pruned": tiny(decoder="unetplusplus", block="separable", prune=1),
    "unet++, scse": tiny(decoder="unetplusplus", attention="scse", classification_head=False),
    "unet++, gates, group norm, classes": tiny(
        decoder="unetplusplus", attention="gates", norm="group", num_classes=3
    ),
    "grid": tiny(decoder="grid", localisation="backbone", classification_head=False),
    "grid on the encoder": tiny(decoder="grid", localisation="encoder", classification_head=False),
    "learnt confidence": tiny(
        pixel_confidence="learnt", localisation="encoder", embedding=True, window_px=3
    ),
    "learnt confidence, classes": tiny(
        pixel_confidence="learnt", localisation="backbone", embedding=True, num_classes=3
    ),
    "fixed confidence": tiny(
        pixel_confidence="fixed", window_px=3, localisation="backbone", widths=(4, 8)
    ),
    "fixed confidence, classes": tiny(
        pixel_confidence="fixed", num_classes=3, decoder="unetplusplus", classification_head=False
    ),
}


@pytest.fixture
def symbolic_sizes_allowed():
    """No contracts: a symbolic size is not the int that they ask for."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_networks(network, symbolic_sizes_allowed):
    """The second image in a batch of two and alone; JAX computes the two once."""
    variables = variables_of(network)
    images = floats(2, 32, 32, 1)

    def outputs(image):
        return network.apply(variables, image, train=False)

    wanted = jax.device_get(jax.jit(outputs)(images))
    alone = wanted._replace(
        mask_logits=wanted.mask_logits[:, 1:],
        **{
            name: None if each is None else each[1:]
            for name, each in wanted._asdict().items()
            if name != "mask_logits"  # heads before images
        },
    )
    shape = (*symbolic_shape("b"), 32, 32, 1)
    _, got = check(outputs, [shape], [(images,), (images[1:],)], SUMMED, [wanted, alone])
    assert np.std(got[0]) > 0.01  # one that says nothing would agree with any


def test_what_attention_multiplies_is_resized_in_blocks_of_channels(symbolic_sizes_allowed):
    network = tiny(decoder="unetplusplus", attention="scse", classification_head=False)
    variables = variables_of(network)
    image = {"image": jax.ShapeDtypeStruct((*symbolic_shape("b"), 32, 32, 1), "float32")}
    model = to_onnx(lambda image: network.apply(variables, image, train=False)[0], image, ["mask"])
    makers = {node.output[0]: node for node in model.graph.node}
    resized = [makers[node.input[0]] for node in model.graph.node if node.op_type == "Resize"]
    assert {node.op_type for node in resized} == {"MaxPool", "Relu"}  # a Relu behind a convolution
    pooled = [makers[node.input[0]] for node in resized if node.op_type == "MaxPool"]
    assert {node.op_type for node in pooled} == {"Mul"}


def test_a_network_of_any_size(symbolic_sizes_allowed):
    network = tiny()
    variables = variables_of(network, channels=3)
    shape = (*symbolic_shape("b, 4*h, 4*w"), 3)
    cases = [(floats(2, 16, 24, 3),), (floats(1, 32, 8, 3),)]
    check(lambda image: network.apply(variables, image, train=False), [shape], cases, SUMMED)


def test_from_bytes_of_any_size_to_decisions_over_mirror_images(symbolic_sizes_allowed):
    config = tiny_config(
        **{"evaluation.flips": True, "model.pixel_confidence": "learnt", "model.window_px": 3}
    )
    network, average = tiny_network(config)
    cases = [(surface(21, 34)[None, ..., None],), (surface(40, 10, seed=1)[None, ..., None],)]
    cases[0] = (np.concatenate([cases[0][0], 255 - cases[0][0]]),)
    deployed = make_program(network, config, average, RULE)
    model, got = check(deployed, [(*symbolic_shape("b, h, w"), 1)], cases, SUMMED)
    assert 0 < got[Decision._fields.index("mask")].mean() < 1
    kernels = [tensor for tensor in model.graph.initializer if len(tensor.dims) == 4]
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    # Four views, and each kernel is in the file once; the maps of four are no kernels.
    assert len(convolutions) == 4 * len({node.input[1] for node in convolutions})
    assert len({node.input[1] for node in convolutions}) == len(kernels)


RUN_EMPTY = """
import json, sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.stdin.buffer.read())
for shape in json.loads(sys.argv[1]):
    try:
        session.run(None, {"image": np.zeros((*shape, 1), np.uint8)})
    except onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument as error:
        print("must_be_at_least_1" in str(error))
"""
EMPTY = [(0, 20, 30), (1, 0, 30), (1, 20, 0), (0, 0, 0)]


@pytest.mark.parametrize("changes", [{}, {"data.tile_overlap_px": 16}], ids=["whole", "tiles"])
def test_no_image_and_an_image_without_pixels_are_errors(symbolic_sizes_allowed, changes):
    """onnxruntime once divided by their sizes, and the process died of SIGFPE.

    So a program of its own runs them: a death would end all tests.
    """
    config = tiny_config(**changes)
    network, average = tiny_network(config)
    image = {"image": jax.ShapeDtypeStruct((*symbolic_shape("b, h, w"), 1), jnp.uint8)}
    model = to_onnx(make_program(network, config, average, RULE), image, Decision._fields)
    running = session(model)
    assert running.run(["score"], {"image": surface(5, 9)[None, ..., None]})[0].shape == (1,)
    done = subprocess.run(
        [sys.executable, "-c", RUN_EMPTY, json.dumps(EMPTY)],
        input=model.SerializeToString(),
        capture_output=True,
    )
    assert (done.returncode, done.stdout.split()) == (0, [b"True"] * len(EMPTY)), done.stderr


def operators(model):
    return collections.Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("channels, transposes", [(1, 0), (3, 1)])
def test_a_unet_is_transposed_for_its_input_alone(channels, transposes):
    network = tiny()
    variables = variables_of(network, channels)
    spec = jax.ShapeDtypeStruct((*symbolic_shape("b"), 32, 32, channels), jnp.float32)
    model = converted(lambda image: network.apply(variables, image, train=False), [spec], 2)
    assert operators(model)["Transpose"] == transposes
    # What was batch norm is in the kernels, so ReLU comes directly behind each of the ten.
    behind = {node.input[0]: node.op_type for node in model.graph.node if node.op_type == "Relu"}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert [node.output[0] in behind for node in convolutions] == [True] * 10 + [False]
    assert all(len(node.input) == 3 for node in convolutions)


def test_folding_keeps_the_numbers():
    network = tiny()
    variables = variables_of(network)
    image = {"input_0": jax.ShapeDtypeStruct((1, 32, 32, 1), jnp.float32)}
    names = ["output_0", "output_1"]
    arguments = lambda x: network.apply(variables, x, train=False), image, names
    plain, folded = convert.graph_of(*arguments).model(18), to_onnx(*arguments)
    assert operators(plain)["Mul"] - operators(folded)["Mul"] == 10
    assert operators(plain)["Sub"] - operators(folded)["Sub"] == 10
    assert operators(plain)["Conv"] == operators(folded)["Conv"]
    pixels = floats(1, 32, 32, 1)
    assert_agree(run(session(folded), pixels), run(session(plain), pixels), SUMMED)


KERNEL = floats(3, 3, 6, 6)
CHANNELS = floats(1, 1, 1, 6, seed=5)
FOLDED = {
    "all four": (lambda x: ((conv(x, KERNEL) - CHANNELS) * CHANNELS + 2) / CHANNELS, 1),
    "from the other side": (lambda x: 3 + CHANNELS * conv(x, KERNEL), 1),
    "not what is taken from a number": (lambda x: 1 - conv(x, KERNEL), 2),
    "not what divides a number": (lambda x: 1 / conv(jnp.abs(x), np.abs(KERNEL)), 2),
    "not what is used twice": (lambda x: (lambda y: (y + 1) * y)(conv(x, KERNEL)), 3),
    "not a map": (lambda x: conv(x, KERNEL) + floats(1, 8, 9, 6), 2),
    "not what makes more channels": (lambda x: conv(x, KERNEL[..., :1]) * CHANNELS, 2),
    "not beyond an output": (lambda x: [y := conv(x, KERNEL), y + 1], 2),
    "depthwise": (lambda x: conv(x, KERNEL[:, :, :1], feature_group_count=6) * CHANNELS, 1),
}


@pytest.mark.parametrize("function, calculations", FOLDED.values(), ids=FOLDED)
def test_what_is_folded(function, calculations):
    shape = (*symbolic_shape("b"), 8, 9, 6)
    model, _ = check(function, [shape], [(floats(2, 8, 9, 6),)], SUMMED)
    counted = operators(model)
    assert sum(counted[each] for each in ("Conv", "Add", "Sub", "Mul", "Div")) == calculations


def test_nested_functions_are_written_in_place():
    @jax.custom_vjp
    def doubled(x):
        return 2 * x

    doubled.defvjp(lambda x: (2 * x, None), lambda _, g: (2 * g,))

    def nested(x):
        total, rows = lax.scan(
            lambda sum, row: (sum + row, sum * row), first(x)[0], first(x), reverse=True
        )
        return jax.jit(doubled)(x), jax.nn.relu(x), total, rows

    model, _ = check(nested, [symbolic_shape("b, 3, c")], [(floats(2, 3, 4),), (floats(1, 3, 1),)])
    assert not {"If", "Loop", "Scan"} & set(operators(model))


def running_means(x, reverse=False):
    """Carries two values through the rows of `x` and collects three things of each step."""
    kernel, offset = floats(3, 3), jnp.abs(x).sum() + 1

    def step(carried, row):
        total, count = carried
        total = total / 2 + kernel @ (row.sum() * jnp.arange(3.0)) / offset
        return (total, count + 1), (row + count, total.sum(), jnp.stack([row, 2 * row], 1))

    return lax.scan(step, (jnp.ones(3), 2), x, reverse=reverse)


def nested_loops(x):
    """In the inner loop what both outer ones and the whole know; sizes and orders asked twice."""
    b, h, w, _ = x.shape
    moved = jnp.transpose(x, (0, 3, 1, 2)) * 2

    def of_column(row, column):
        lines = moved.at[..., column[None]].get(mode="clip") + jnp.float32(h // 2)
        return lines.sum(3) * row + moved[..., 0], moved.mean(2)

    def of_row(total, row):
        last, means = lax.scan(lambda _, i: of_column(row, i), moved[..., 0] * 0, jnp.arange(w))
        return total + last, (means.sum(0), row)

    total, (means, rows) = lax.scan(of_row, jnp.zeros((b, 3, h)), jnp.arange(h, dtype=jnp.float32))
    return total, means, rows, jnp.float32(h // 2) + conv(x, floats(3, 3, 3, 2)), moved.sum(3)


def convolved(x):
    """Inside the loop the convolution as it is, outside what is added to it: not to be folded."""
    y = conv(x, floats(3, 3, 3, 2))
    total, _ = lax.scan(
        lambda total, row: (total + row.sum() * y, None), 0 * x[..., :2], first(x)[:, 0]
    )
    return total, y + 1.0


LOOPS = {
    "no step, one, many": (lambda x: running_means(x[1:]), "n, w", [(5, 4), (2, 7), (1, 3)]),
    "backwards": (lambda x: running_means(x, reverse=True), "n, w", [(5, 4), (1, 7)]),
    "no step": (lambda x: lax.scan(lambda c, e: (c + e, e * 2), x[0], x[:0]), "3, w", [(3, 2)]),
    "a known number": (
        lambda x: lax.fori_loop(0, 99, lambda i, y: y + 1 / (i + 1), x),
        "n",
        [(3,)],
    ),
    "of a convolution": (convolved, "b, h, w, 3", [(2, 5, 4, 3), (1, 1, 7, 3)]),
    "in a loop": (nested_loops, "b, h, w, 3", [(2, 5, 4, 3), (1, 1, 1, 3)]),
}


@pytest.mark.parametrize("function, shape, sizes", LOOPS.values(), ids=LOOPS)
def test_loops(function, shape, sizes):
    model, _ = check(
        function, [symbolic_shape(shape)], [(floats(*size),) for size in sizes], SUMMED
    )
    assert "Loop" in operators(model)


def test_a_body_is_written_once_folded_and_holds_what_it_alone_reads(symbolic_sizes_allowed):
    network = tiny(classification_head=False)
    variables = variables_of(network)

    def each(images):
        last, logits = lax.scan(
            lambda last, image: (image, network.apply(variables, image, train=False)),
            images[0],
            images,
        )
        return logits.mask_logits.sum(0), last, conv(images[-1], floats(3, 3, 1, 2))

    shape = (*symbolic_shape("n, b"), 16, 16, 1)
    cases = [(floats(3, 1, 16, 16, 1),), (floats(1, 2, 16, 16, 1),)]
    model, _ = check(each, [shape], cases, SUMMED)
    (loop,) = (node for node in model.graph.node if node.op_type == "Loop")
    body = onnx.helper.get_node_attr_value(loop, "body")
    convolutions = [node for node in body.node if node.op_type == "Conv"]
    assert len(convolutions) == 11 and all(len(node.input) == 3 for node in convolutions)
    kernels = {node.input[1] for node in convolutions}
    inside, outside = ({each.name for each in g.initializer} for g in (body, model.graph))
    assert kernels <= inside and not inside & outside
    written = [name for node in (*model.graph.node, *body.node) for name in node.output]
    assert len(written) == len(set(written))


def test_what_is_known_is_calculated_once_and_only_what_is_needed_is_written():
    table = jnp.asarray(floats(1, 64))

    def wasteful(x):
        jnp.sort(table) @ table.T
        jnp.exp(x)
        return x * jnp.sqrt(jnp.abs(table) + 1), x / 2 * jnp.sqrt(jnp.abs(table) + 1)

    model, _ = check(wasteful, [(2, 64)], [(floats(2, 64),)])
    assert operators(model) == {"Mul": 2, "Div": 1, "Identity": 2}
    assert len(model.graph.initializer) == 2  # the roots, and 2


def test_what_depends_on_the_platform_is_written_as_for_none_of_jaxs():
    def function(x):
        y = lax.platform_dependent(x, cpu=lambda x: (x + x) + x, default=lambda x: 3.0 * x)
        return lax.switch(9, [jnp.exp, jnp.negative], y)  # the last one, as there is no tenth

    model, _ = check(function, [(2, 4)], [(floats(2, 4),)])
    assert operators(model) == {"Mul": 1, "Neg": 1, "Identity": 1}


def test_zeros_are_not_stored():
    model = converted(
        lambda x: x + jnp.zeros((512, 512)), [jax.ShapeDtypeStruct((512, 1), jnp.float32)], 1
    )
    assert model.ByteSize() < 4096


def test_outputs_that_are_inputs_or_constants():
    got, _ = check(lambda x: (x, jnp.arange(3), x), [(2,)], [(floats(2),)])
    assert [each.name for each in got.graph.output] == ["output_0", "output_1", "output_2"]


def test_newer_opsets():
    spec = jax.ShapeDtypeStruct((2, 8, 8, 4), jnp.float32)

    def function(x):
        y = conv(x, floats(3, 3, 4, 2))
        pools = [
            CONVOLUTIONS[each](jnp.concatenate([y, y, y], 3)) for each in ("max", "sum, padded")
        ]
        return [y.reshape(2, -1) @ floats(128, 2), jnp.pad(y, 1), y.max(3), *pools]

    x = floats(2, 8, 8, 4)
    wanted = jax.jit(function)(x)
    for opset in (18, 21, 23):
        model = converted(function, [spec], len(wanted), opset=opset)
        assert model.opset_import[0].version == opset
        assert_agree(run(session(model), x), wanted, SUMMED)


TWO = jax.ShapeDtypeStruct((2, 4, 4, 6), jnp.float32)
REFUSED = {
    "primitive sort": lambda x: jnp.sort(x),
    "primitive while": lambda x: lax.while_loop(lambda y: y.sum() < 9, lambda y: y + 1, x),
    "cond: its branch": lambda x: lax.cond(x.sum() > 0, jnp.exp, jnp.sin, x),
    "platform_index: of .*cpu.*, without a default": lambda x: lax.platform_dependent(
        x, cpu=jnp.exp
    ),
    "primitive scatter": lambda x: x.at[0].set(1.0),
    "primitive cbrt": lambda x: jax.jit(jnp.cbrt)(x),
    "primitive erfc: the converter does not know it": jax.scipy.special.erfc,
    "clamp: of float32, must be of floats between two numbers": lambda x: lax.clamp(-x, x, x + 1),
    "primitive le": lambda x: x <= 1,
    "primitive dynamic_slice": lambda x: lax.dynamic_slice_in_dim(x, x[0, 0, 0, 0].astype(int), 1),
    "primitive cumsum": lambda x: jnp.cumsum(x, 1),
    "primitive (checkpoint|remat)": jax.checkpoint(lambda x: x + 1),
    "convert_element_type: dtype bfloat16": lambda x: x.astype(jnp.bfloat16).sum(),
    "primitive complex": lambda x: lax.complex(x, x),
    "pad: padding between": lambda x: lax.pad(x, 0.0, ((0, 0, 0), (0, 0, 1), (0, 0, 0), (0, 0, 0))),
    "lhs_dilation": lambda x: conv(x, KERNEL, lhs_dilation=(2, 2), padding=((0, 0), (0, 0))),
    "batch_group_count": lambda x: conv(x, KERNEL[..., :2], batch_group_count=2),
    "conv_general_dilated: padding": lambda x: conv(x, KERNEL, padding=((-1, 0), (0, 0))),
    "conv_general_dilated: of int32": lambda x: conv(x.astype(int), KERNEL.astype(int)),
    'gather: mode "fill"': lambda x: jnp.take(x, x[0, 0, 0].astype(int), axis=1),
    "gather: windows": lambda x: gathered(x[0, 0], [[0], [2]], (2, 6), (1, 2), ()),
    "gather: batched": lambda x: jnp.take_along_axis(x, x.astype(int), 1, mode="clip"),
    "reduce_window_sum: window_dilation": lambda x: lax.reduce_window(
        x, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "VALID", window_dilation=(1, 2, 1, 1)
    ),
    "reduce_window_max: windows: padding": pooled(
        -np.inf, lax.max, (1, 2, 2, 1), (1, 1, 1, 1), ((0, 0), (2, 0), (0, 0), (0, 0))
    ),
    "reduce_window_max: windows of int32": lambda x: lax.reduce_window(
        x.astype(int), np.iinfo(np.int32).min, lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "VALID"
    ),
    "reduce_or: of int32": lambda x: lax.reduce_or(x.astype(int), (1,)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_not_known_is_named(message):
    with pytest.raises(Unsupported, match=message):
        converted(REFUSED[message], [TWO], 1)


def test_a_size_that_no_input_shows():
    h, w = symbolic_shape("h, w")
    with pytest.raises(Unsupported, match="size h"):
        converted(lambda x: x + h, [jax.ShapeDtypeStruct((h + w,), jnp.float32)], 1)


@pytest.mark.parametrize(
    "outputs, options, message",
    [
        (["y", "z"], {}, "the function has 1"),
        (["x"], {}, "a name is there twice"),
        (["y"], {"opset": 17}, "opset 17: must be from 18"),
    ],
)
def test_names_and_opset(outputs, options, message):
    with pytest.raises(ValueError, match=message):
        to_onnx(lambda x: x + 1, {"x": TWO}, outputs, **options)


def test_the_converter_imports_nothing_else_of_this_package():
    for path in Path(convert.__file__).parent.glob("*.py"):
        imported = re.findall(
            r"^\s*(?:from|import) (defect_jax\S*)", path.read_text(), re.MULTILINE
        )
        assert all(name.startswith("defect_jax.deploy.onnx") for name in imported), path.name
