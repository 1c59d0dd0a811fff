"""Depthwise convolution: one small filter for each channel."""

import os
import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

LAYOUT = ("NHWC", "HWIO", "NHWC")
BAR = os.environ.get("BAR", "1") == "1"
SAVE = os.environ.get("SAVE", "xp")
UN = int(os.environ.get("UN", "2"))


def depthwise(x, kernel, stride=1):
    kernel = kernel.astype(x.dtype)
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(shifted_sums, stride),
        default=functools.partial(convolution, stride),
    )


def convolution(stride, x, kernel):
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=LAYOUT,
        feature_group_count=x.shape[-1],
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def shifted_sums(stride, x, kernel):
    return forward(stride, x, kernel)[0]


def geometry(size, k, s):
    out = -(-size // s)
    total = max((out - 1) * s + k - size, 0)
    return out, total // 2, total - total // 2


def barrier(x):
    return lax.optimization_barrier(x) if BAR else x


def pad_hw(x, k, s):
    zero = jnp.zeros((), x.dtype)
    _, top, bottom = geometry(x.shape[1], k, s)
    _, left, right = geometry(x.shape[2], k, s)
    return barrier(lax.pad(x, zero, ((0, 0, 0), (top, bottom, 0), (left, right, 0), (0, 0, 0))))


def window(x, row, column, height, width, s):
    b, _, _, c = x.shape
    stop = (b, row + (height - 1) * s + 1, column + (width - 1) * s + 1, c)
    return lax.slice(x, (0, row, column, 0), stop, (1, s, s, 1))


def forward(stride, x, kernel):
    k = kernel.shape[0]
    xp = pad_hw(x, k, stride)
    o, p = (geometry(n, k, stride)[0] for n in x.shape[1:3])
    f32 = jnp.promote_types(x.dtype, jnp.float32)
    kk = kernel.astype(f32)
    y = sum(
        window(xp, i, j, o, p, stride).astype(f32) * kk[i, j, 0]
        for i in range(k)
        for j in range(k)
    )
    return y.astype(x.dtype), ((xp if SAVE == "xp" else x), kernel, (x.shape[1], x.shape[2]))


def backward(stride, res, g):
    xp, kernel, (h, w) = res
    h, w = int(h), int(w)
    k = kernel.shape[0]
    if SAVE != "xp":
        xp = pad_hw(xp, k, stride)
    return igrad(stride, g, kernel, h, w), wgrad(stride, xp, g, kernel)


def igrad(s, g, kernel, h, w):
    k = kernel.shape[0]
    b, o, p, c = g.shape
    _, top, _ = geometry(h, k, s)
    _, left, _ = geometry(w, k, s)
    P = k // s + 1
    gp = barrier(lax.pad(g, jnp.zeros((), g.dtype), ((0, 0, 0), (P, P, 0), (P, P, 0), (0, 0, 0))))
    hh, ww = -(-h // s), -(-w // s)
    f32 = jnp.promote_types(g.dtype, jnp.float32)
    kk = kernel.astype(f32)
    rows = []
    for r in range(s):
        cols = []
        for q in range(s):
            t = sum(
                window(gp, (r + top - i) // s + P, (q + left - j) // s + P, hh, ww, 1).astype(f32)
                * kk[i, j, 0]
                for i in range(k)
                if (r + top - i) % s == 0
                for j in range(k)
                if (q + left - j) % s == 0
            )
            cols.append(t.astype(g.dtype))
        rows.append(jnp.stack(cols, 3))
    x = jnp.stack(rows, 2).reshape(b, hh * s, ww * s, c)
    return x[:, :h, :w]


def wgrad(s, xp, g, kernel):
    k = kernel.shape[0]
    b, o, p, c = g.shape
    f32 = jnp.promote_types(g.dtype, jnp.float32)

    def body(row, sums):
        X = lax.dynamic_slice_in_dim(xp, row * s, k, 1)
        G = lax.dynamic_slice_in_dim(g, row, 1, 1).astype(f32)
        return [
            a + window(X, 0, j, 1, p, s).astype(f32) * G
            if False
            else a
            + lax.slice(X, (0, 0, j, 0), (b, k, j + (p - 1) * s + 1, c), (1, 1, s, 1)).astype(f32)
            * G
            for j, a in enumerate(sums)
        ]

    sums = lax.fori_loop(0, o, body, [jnp.zeros((b, k, p, c), f32)] * k, unroll=UN)
    out = jnp.stack([jnp.einsum("bipc->ic", a) for a in sums], 1)
    return out[:, :, None].astype(kernel.dtype)


def fwd(stride, x, kernel):
    y, (a, kernel, hw) = forward(stride, x, kernel)
    return y, (a, kernel, hw)


shifted_sums.defvjp(fwd, backward)
