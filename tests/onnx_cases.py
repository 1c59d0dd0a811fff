"""A function for each primitive that becomes ONNX, with the arrays that it is tried on."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def floats(*shape, low=-3.0, high=3.0, seed=0):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def integers(*shape, low=0, high=256, dtype=np.int32, seed=0):
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def first(x):
    """The first element along an axis of any size, where `x[0]` is a `dynamic_slice`."""
    return lax.squeeze(lax.slice_in_dim(x, 0, 1), (0,))


FLOATS = floats(2, 3, 4, 5)
POSITIVE = floats(2, 3, 4, 5, low=0.01, high=9.0, seed=1)
OTHERS = floats(2, 3, 4, 5, seed=2)
HALVES = np.arange(-12, 12, dtype=np.float32).reshape(2, 3, 4) / 4
TINY_ONES = np.float32(10.0) ** -np.arange(24, dtype=np.float32).reshape(2, 3, 4)
WIDE = np.linspace(-80, 80, 24, dtype=np.float32).reshape(2, 3, 4)
ODD_ONES = np.array([[[0.0, np.inf, -np.inf, np.nan, 1.0, -2.0]]] * 2, np.float32)
INTS = integers(2, 3, 4, low=-50, high=50)
DIVISORS = integers(2, 3, 4, low=-4, high=5, seed=3)
BYTES, MORE_BYTES = integers(2, 3, 4, dtype=np.uint8), integers(2, 3, 4, dtype=np.uint8, seed=1)
WORDS = integers(2, 3, 4, high=2**16, dtype=np.uint16)
TRUTHS, MORE_TRUTHS = BYTES > 99, MORE_BYTES > 99
SMALL = [TINY_ONES, -TINY_ONES / 2, POSITIVE[:, 0, :3, :4]]


def away(x):
    return lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO)


ELEMENTS = {
    "abs neg floor": (lambda x: (jnp.abs(x), -x, jnp.floor(x)), HALVES),
    "round": (lambda x: (jnp.round(x), away(x)), HALVES),
    "round just below a half": (away, np.full((2, 1), 0.49999997, np.float32)),
    "sign, is_finite": (lambda x: (jnp.sign(x), jnp.isfinite(x), jnp.isnan(x)), ODD_ONES),
    "exp": (jnp.exp, WIDE),
    "log rsqrt sqrt": (lambda x: (jnp.log(x), lax.rsqrt(x), jnp.sqrt(x)), POSITIVE),
    "log1p": (jnp.log1p, np.concatenate(SMALL, 1)),
    "log1p at its ends": (jnp.log1p, np.array([[np.inf, -1.0, 0.0]] * 2, np.float32)),
    "logistic": (jax.nn.sigmoid, WIDE),
    "square cube": (lambda x: (jnp.square(x), x**3, x**7, x**-2), FLOATS),
    "add sub mul div rem": (
        lambda x, y: (x + y, x - y, x * y, x / y, lax.rem(x, y)),
        FLOATS,
        OTHERS,
    ),
    "with scalars": (lambda x: (2 - x, 0.75 * x, x / 3, 3 / x), FLOATS),
    "with channels": (lambda x: x * np.arange(5, dtype=np.float32)[None, None, None], FLOATS),
    "with maps and means": (lambda x, y: (x + y[..., :1], x - y[:, :1, :1] * 2), FLOATS, OTHERS),
    "max min": (lambda x, y: (jnp.maximum(x, y), jnp.minimum(x, y)), FLOATS, OTHERS),
    "max of nan": (lambda x: (jnp.maximum(x, 1.0), jnp.minimum(x, 1.0)), ODD_ONES),
    "relu clip": (lambda x: (jax.nn.relu(x), jnp.maximum(0.0, x), jnp.clip(x, -1, 2)), FLOATS),
    "clamp": (lambda x: (lax.clamp(-1.0, x, 2.0), lax.clamp(first(x).min(), x, 2.0)), FLOATS),
    "clamp of nan": (lambda x: lax.clamp(0.0, x, 6.0), ODD_ONES),
    "erf": (lax.erf, FLOATS),
    "erf of small and large ones": (lax.erf, np.concatenate([*SMALL, WIDE], 1)),
    "comparisons": (lambda x, y: (x < y, x > y, x >= y, x == y, x != y), HALVES, -HALVES),
    "select": (lambda x, y: jnp.where(x > y, x, 2 * y), FLOATS, OTHERS),
    "select of three": (lambda x: lax.select_n(x % 3, x, -x, 2 * x), np.abs(INTS)),
    "softplus": (lambda x: (jax.nn.softplus(x), jax.nn.log_sigmoid(x)), WIDE),
    "int32": (lambda x, y: (x + y, x - y, x * y, -x, abs(x), jnp.sign(x)), INTS, DIVISORS),
    "int32 divided": (lambda x, y: (lax.div(x, y), lax.rem(x, y)), INTS, DIVISORS),
    "int32 divided as Python does": (lambda x: (x // 7, x % 7, x // -3), INTS),
    "int32 max": (lambda x, y: (jnp.maximum(x, y), jnp.maximum(x, 0)), INTS, DIVISORS),
    "int32 clip, power, bits": (
        lambda x, y: (jnp.clip(x, 1, 9), x**5, x & y, x | y, x ^ y),
        INTS,
        DIVISORS,
    ),
    "uint8": (lambda x, y: (x + y, x - y, x * y, jnp.maximum(x, y)), BYTES, MORE_BYTES),
    "uint8 divided": (lambda x, y: (lax.div(x, y // 99), x > y), BYTES, MORE_BYTES),
    "uint8 selected": (
        lambda x, y: (jnp.where(x > y, x, y), jnp.clip(x, 9, 99)),
        BYTES,
        MORE_BYTES,
    ),
    "uint16": (lambda x: (x + x, x * x, -x, x > 999, jnp.where(x > 999, x, 0)), WORDS),
    "truths": (lambda x, y: (x & y, x | y, x ^ y, x == y, jnp.maximum(x, y)), TRUTHS, MORE_TRUTHS),
    "truths selected": (lambda x, y: jnp.where(x, y, x == y), TRUTHS, MORE_TRUTHS),
    "to float": (lambda x: (x.astype(jnp.float32), x / jnp.float32(65535)), WORDS),
    "to integers": (lambda x: [x.astype(each) for each in ("int32", "uint8", "int16")], WIDE),
    "to bytes, wrapped": (lambda x: (x.astype(jnp.uint8), x.astype(jnp.int8)), INTS),
    "to and from truth": (lambda x: ((x > 5).astype(jnp.float32), x.astype(jnp.bool_)), INTS),
    "unchanged": (lax.stop_gradient, FLOATS),
}


def shaped(x, *shape):
    """The same numbers in another shape behind the first axis."""
    return x.reshape(x.shape[0], *shape)


def gathered(x, places, sizes, offset, collapsed):
    """A `gather` that NumPy's indexing does not write."""
    numbers = lax.GatherDimensionNumbers(offset, collapsed, (0,))
    return lax.gather(x, jnp.array(places), numbers, sizes, mode="promise_in_bounds")


AXES = {
    "transpose": lambda x: jnp.transpose(x, (0, 3, 2, 1)) * 2,
    "transpose of a result": lambda x: jnp.transpose(x[:, :, 0] + 1, (0, 2, 1)),
    "expand": lambda x: (x[:, None], x[..., None], x[:, :, None, :, None]),
    "squeeze": lambda x: (jnp.squeeze(x[:, :, :1], 2), jnp.squeeze(x[:, :1, :, 2:3], (1, 3))),
    "broadcast": lambda x: jnp.broadcast_to(x[:, :1], (*x.shape[:1], 7, *x.shape[2:])),
    "to new axes": lambda x: lax.broadcast_in_dim(x, (x.shape[0], 6, 4, 6, 6), (0, 2, 3, 4)),
    "broadcast of a constant": lambda x: x + jnp.broadcast_to(jnp.float32(3), x.shape),
    "stack": lambda x: (jnp.stack([x, 2 * x], 0)[0], jnp.stack([x, x + 1, x], 2)),
    "stack with a constant": lambda x: jnp.stack([first(x)[0], np.ones((6, 6), "f")], 1)[None],
    "repeat as up-sampling does": lambda x: shaped(jnp.stack([x, -x], 2), 8, 6, 6),
    "reshape, join": lambda x: (shaped(x, 24, 6), shaped(x, 4, 36)),
    "reshape, all": lambda x: (shaped(x, -1), x.reshape(-1, 6).reshape(x.shape[0], 24, 6)),
    "reshape, split": lambda x: (shaped(x, 2, 2, 6, 6), shaped(x, 4, 6, 2, 3)),
    "reshape, regroup": lambda x: shaped(x, 8, 3, 6),
    "reshape, ones": lambda x: (shaped(x, 1, 4, 6, 1, 6), shaped(x[:, :1], 6, 6)),
    "iota": lambda x: x + lax.broadcasted_iota(jnp.float32, (1, 4, 6, 6), 2),
    "large constants": lambda x: x[:, :1, :1] + lax.iota(jnp.float32, 40000)[None, None, :, None],
}
FLAT = ((0, 0),) * 4
PIECES = {
    "slice": lambda x: (x[:, 1:3], x[:, :, ::2], x[..., 1:6:3], x[:, -2:, 1:-1]),
    "one of an axis": lambda x: (x[:, 2], x[..., -1], x[:, 0, 0, 0], x[:, None, 1]),
    "rev": lambda x: (x[:, ::-1], jnp.flip(x, (1, 2)), lax.rev(x, (3,)), x[:, ::-2]),
    "split": lambda x: jnp.split(x, [1, 4], axis=3),
    "concatenate": lambda x: jnp.concatenate([x, x + 1, x[:, :, :1]], 2),
    "concatenate ones": lambda x: jnp.concatenate([x, jnp.ones((x.shape[0], 4, 6, 2))], -1),
    "pad": lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 3), (0, 0)), constant_values=7.0),
    "pad by less than nothing": lambda x: lax.pad(
        x, jnp.float32(0), ((0, 0, 0), (-1, 2, 0), (0, -2, 0), (0, 0, 0))
    ),
    "pad, mirrored": lambda x: jnp.pad(x, ((0, 0), (2, 2), (3, 3), (0, 0)), mode="reflect"),
    "pad, edges": lambda x: jnp.pad(x, ((0, 0), (2, 0), (0, 1), (0, 0)), mode="edge"),
    "pad a word": lambda x: jnp.pad(x.astype(jnp.uint16), ((0, 0), (1, 1), *FLAT[:2])),
    "gather": lambda x: (x[:, :, np.array([4, 0, 0])], x[:, np.array([[3, 1], [0, 2]])]),
    "gather of pairs": lambda x: x[:, np.array([1, 3]), np.array([5, 0])],
    "gather, computed": lambda x: x[:, :, jnp.abs(first(x)[0, :, 0]).astype(jnp.int32)],
    "gather of parts of lines": lambda x: (
        x[:, :3, :3, 0] + gathered(first(x)[0], [[0], [2], [5]], (1, 3), (1,), (0,))[None]
    ),
    "gather, clipped": lambda x: x.at[:, :, jnp.array([2, 9])].get(mode="clip"),
}
SUMS = {
    "sum": lambda x: (x.sum((1, 2)), x.sum(3, keepdims=True), x.sum(), x.sum(0)),
    "mean": lambda x: (x.mean((1, 2), keepdims=True), x.mean(), x.var(3)),
    "softmax": lambda x: (jax.nn.softmax(x), jax.nn.log_softmax(x)),
    "logsumexp": lambda x: jax.nn.logsumexp(x, axis=(1, 3)),
    "max min": lambda x: (x.max((1, 2)), x.min(-1), x.max(), x.min((0, 3))),
    "argmax": lambda x: (x.argmax(3), x.argmax(1), jnp.round(x).argmax(-1)),
    "any": lambda x: ((x > 1).any((1, 2)), (x > 2.9).any(3), (x > 5).any()),
    "counts": lambda x: ((x > 0).sum((1, 2), dtype=jnp.int32), (x > 0).sum()),
    "of bytes": lambda x: (x.astype(jnp.uint8).sum((1, 2)), x.astype(jnp.uint8).max(3)),
    "over nothing": lambda x: lax.reduce_sum_p.bind(x, axes=(), out_sharding=None),
    "dot": lambda x: x @ floats(6, 3),
    "einsum": lambda x: (
        jnp.einsum("bhwc,nh->bnwc", x, floats(5, 4)),
        jnp.einsum("bhwc,bhvc->bhwv", x, x),
        jnp.einsum("bhwc,bhwc->b", x, x),
        jnp.einsum("bhwc,hw->c", x, floats(4, 6)),
    ),
    "products of integers": lambda x: jnp.einsum(
        "bhwc,c->bhw", (9 * x).astype(jnp.int32), jnp.arange(6)
    ),
}


def conv(x, kernel, strides=(1, 1), padding="SAME", **more):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=numbers, **more)


def conv_row(x, kernel):
    numbers = ("NWC", "WIO", "NWC")
    return lax.conv_general_dilated(x, kernel, (1,), "SAME", dimension_numbers=numbers)


def pooled(start, operation, window, strides, padding):
    return lambda x: lax.reduce_window(x, start, operation, window, strides, padding)


EVEN = ((0, 0), (1, 1), (1, 1), (0, 0))
UNEVEN = ((0, 0), (1, 0), (1, 2), (0, 0))
CONVOLUTIONS = {
    "same": lambda x: conv(x, floats(3, 3, 6, 5)),
    "strided": lambda x: conv(x, floats(3, 3, 6, 5), (2, 3)),
    "valid": lambda x: conv(x, floats(2, 3, 6, 5), padding="VALID"),
    "padded unevenly": lambda x: conv(x, floats(3, 3, 6, 5), padding=((0, 2), (3, 1))),
    "dilated": lambda x: conv(x, floats(3, 3, 6, 2), rhs_dilation=(2, 1)),
    "depthwise": lambda x: conv(x, floats(3, 3, 1, 6), feature_group_count=6),
    "depthwise, halved": lambda x: conv(x, floats(5, 5, 1, 6), (2, 2), feature_group_count=6),
    "in groups": lambda x: conv(x, floats(3, 3, 3, 4), feature_group_count=2),
    "twice": lambda x: conv(jax.nn.relu(conv(x, floats(3, 3, 6, 5))), floats(1, 1, 5, 3)),
    "one axis": lambda x: conv_row(x[:, 0], floats(3, 6, 2)),
    "with a computed kernel": lambda x: conv(x, jnp.abs(first(x)[:3, :3, :, None])),
    "max": pooled(-np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), FLAT),
    "max, padded": pooled(-np.inf, lax.max, (1, 3, 3, 1), (1, 2, 1, 1), UNEVEN),
    "max, of three": pooled(-np.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), EVEN),
    "max, along one axis": pooled(-np.inf, lax.max, (1, 1, 3, 1), (1, 1, 1, 1), FLAT),
    "max, over channels": pooled(-np.inf, lax.max, (1, 1, 1, 2), (1, 1, 1, 2), FLAT),
    "sum": pooled(0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), FLAT),
    "sum, padded": pooled(0.0, lax.add, (1, 3, 3, 1), (1, 1, 2, 1), UNEVEN),
    "sum, along rows": pooled(0.0, lax.add, (1, 3, 1, 1), (1, 1, 1, 1), FLAT),
    "everywhere": lambda x: pooled(0.0, lax.add, (2, 2), (1, 1), ((1, 1), (0, 0)))(
        first(x)[..., 0]
    ),
}


def on(image, functions):
    """A case of each function, on the same image."""
    return {name: (function, image) for name, function in functions.items()}


IMAGE, ODD_IMAGE = floats(2, 4, 6, 6), floats(2, 8, 9, 6)
TABLE = {  # section -> name -> function and its arrays
    "elements": ELEMENTS,
    "axes": on(IMAGE, AXES),
    "pieces": on(IMAGE, PIECES),
    "sums": on(IMAGE, SUMS),
    "convolutions": on(ODD_IMAGE, CONVOLUTIONS),
}
