"""Depthwise convolutions as sums, against XLA's own, SciPy's, and the single node in ONNX."""

import jax
import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.export import symbolic_shape
from scipy.ndimage import correlate
from tiny_networks import images

from defect_jax.deploy.onnx import to_onnx
from defect_jax.distributed.sharding import batch_sharding, make_mesh, replicated
from defect_jax.models.depthwise import convolution, depthwise

TOLERANCE = {"float32": 1e-5, "bfloat16": 2**-8}


def drawn(batch, height, width, channels, size, stride):
    """Maps, a kernel, and a gradient of the result, in float32."""
    shapes = (batch, height, width, channels), (size, size, 1, channels)
    out = (batch, -(-height // stride), -(-width // stride), channels)
    return [np.asarray(images(*s, seed=n)) for n, s in enumerate((*shapes, out))]


def everything(function, x, kernel, gradient):
    """The value, and the gradients by maps and kernel."""
    value, pullback = jax.vjp(function, x, kernel)
    return value, *pullback(gradient)


def assert_close(actual, expected, tolerance):
    """Each by the size of the largest number: sums cancel."""
    for one, other in zip(actual, expected, strict=True):
        one, other = np.float64(one), np.float64(other)
        assert one.shape == other.shape
        largest = max(1, np.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * largest)


def scipys(x, kernel, stride):
    """Correlation with zeros around, in float64; every `stride`-th pixel from the first that
    TensorFlow's "SAME" takes: the middle of the kernel at odd sizes, one further at even ones."""
    first = [stride - 1 if n % stride == 0 else 0 for n in x.shape[1:3]]
    whole = np.stack(
        [
            [correlate(np.float64(m[..., c]), kernel[..., 0, c], mode="constant") for m in x]
            for c in range(x.shape[-1])
        ],
        -1,
    )
    return whole[:, first[0] :: stride, first[1] :: stride]


CASES = [
    (size, stride, *shape, dtype)
    for size in (3, 5, 7)
    for stride in (1, 2)
    for *shape, dtype in ((8, 6, "float32"), (7, 9, "float32"), (9, 8, "bfloat16"))
]


@pytest.mark.parametrize("size, stride, height, width, dtype", [*CASES, (7, 2, 2, 1, "float32")])
def test_value_and_gradients_are_those_of_the_convolution(size, stride, height, width, dtype):
    """Of short numbers the sums are those of long ones, rounded once."""
    arrays = [np.asarray(a, dtype) for a in drawn(2, height, width, 3, size, stride)]
    x, kernel, gradient = (np.float32(each) for each in arrays)

    @jax.jit
    def both(arrays, kernel):
        x, _, gradient = arrays
        long = [each.astype("float32") for each in arrays]
        one = everything(lambda *of: convolution(stride, *of), *long)
        return one, everything(lambda *of: depthwise(*of, stride), x, kernel, gradient)

    expected, actual = both(arrays, kernel)
    assert [each.dtype for each in actual] == [dtype, dtype, "float32"]
    assert_close(actual, expected, TOLERANCE[dtype])
    assert_close(actual[:1], [scipys(x, kernel, stride)], TOLERANCE[dtype])


@settings(max_examples=15)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12), st.integers(1, 4)),
    size=st.sampled_from([3, 5, 7]),
    stride=st.sampled_from([1, 2]),
)
def test_any_size(shape, size, stride):
    """The value is SciPy's, and the gradients are its adjoints: <g, y> = <x, dx> = <k, dk>."""
    x, kernel, gradient = drawn(*shape, size, stride)
    function = jax.jit(lambda *of: everything(lambda *of: depthwise(*of, stride), *of))
    value, *gradients = function(x, kernel, gradient)
    expected = scipys(x, kernel, stride)
    assert_close([value], [expected], 1e-5)
    products = [np.sum(gradient * expected)]
    products += [np.sum(np.float64(a) * b) for a, b in zip((x, kernel), gradients, strict=True)]
    assert_close(products[1:], products[:1] * 2, 1e-4)


@pytest.mark.parametrize("size, stride", [(3, 1), (5, 2)])
def test_eight_devices_compute_what_one_does(size, stride):
    x, kernel, gradient = arrays = drawn(8, 7, 6, 4, size, stride)
    mesh = make_mesh(8, 1)
    function = jax.jit(lambda *of: everything(lambda *of: depthwise(*of, stride), *of))
    expected = function(*arrays)
    own, everywhere = batch_sharding(mesh), replicated(mesh)
    placed = jax.device_put([x, kernel, gradient], [own, everywhere, own])
    compiled = function.lower(*placed).compile()
    actual = compiled(*placed)
    assert_close(actual, expected, 1e-5)
    assert len(actual[0].sharding.device_set) == len(actual[1].sharding.device_set) == 8
    text = compiled.as_text()
    assert "all-gather" not in text and "all-to-all" not in text and "permute" not in text
    assert "all-reduce" in text  # of the kernel's gradient, and of nothing else


@pytest.mark.parametrize("stride", [1, 2])
def test_the_layer_takes_the_way_of_its_platform(stride):
    function = jax.jit(lambda x, kernel: depthwise(x, kernel, stride))
    traced = function.trace(images(1, 4, 4, 6), images(5, 5, 1, 6))
    for platform in ("cpu", "cuda", "tpu"):
        lowered = traced.lower(lowering_platforms=(platform,)).as_text()
        assert lowered.count("stablehlo.convolution") == (platform != "cpu"), platform
        assert ("feature_group_count = 6" in lowered) == (platform != "cpu"), platform


@pytest.mark.parametrize("size, stride", [(3, 1), (3, 2), (5, 1), (5, 2), (7, 2)])
def test_an_exported_one_is_a_single_node(size, stride):
    kernel = images(size, size, 1, 6, seed=1)
    (batch,) = symbolic_shape("b")
    function, image = lambda x: depthwise(x, kernel, stride), images(2, 6, 10, 7)[..., :6]
    spec = {"x": jax.ShapeDtypeStruct((batch, *image.shape[1:]), image.dtype)}
    model = to_onnx(function, spec, ["y"])
    plain = to_onnx(lambda x: convolution(stride, x, kernel), spec, ["y"])
    operators = [node.op_type for node in model.graph.node]
    assert operators == [node.op_type for node in plain.graph.node]
    (node,) = [node for node in model.graph.node if node.op_type == "Conv"]
    assert {each.name: each.i for each in node.attribute}["group"] == 6
    assert not {"Slice", "Mul", "Add", "Pad"} & set(operators)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (actual,) = session.run(None, {"x": np.asarray(image)})
    assert_close([actual], [function(image)], 1e-5)
