"""The same network from bytes to decisions in six ways, each a program for `benchmarks.turns`.

The packages are imported by the function that needs them: the rivals' environment lacks ours.
"""

import importlib.metadata
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.turns import serve, use_processors

OUTPUTS = ("probability", "rejected", "mask", "score", "mask_score", "mask_rejected")
Call = Callable[[], Sequence[Any]]  # decides on the images; arrays in the order of OUTPUTS
Ready = Callable[[np.ndarray], Call]  # compiles for images [b h w c]


def predictor(folder: Path, threads: int) -> Ready:
    """Return `defect_jax.predictor.Predictor`, as `load` makes it."""
    from benchmarks.predict_networks import read
    from defect_jax.deploy.predictor import Predictor
    from defect_jax.distributed.sharding import one_device_mesh

    del threads  # XLA takes the processors that the process may use
    made = Predictor(*read(folder), one_device_mesh())

    def ready(images: np.ndarray) -> Call:
        def call() -> Sequence[Any]:
            decisions = made.predict(images)
            return [np.stack([getattr(each, name) for each in decisions]) for name in OUTPUTS]

        call()  # compiles
        return call

    return ready


def stablehlo(folder: Path, threads: int) -> Ready:
    """Return model.stablehlo, jitted once for each shape."""
    import jax
    from jax import export

    from defect_jax.runtime.compiler_options import compiler_options

    del threads
    model = export.deserialize(bytearray((folder / "model.stablehlo").read_bytes()))

    def ready(images: np.ndarray) -> Call:
        jitted = jax.jit(model.call, compiler_options=compiler_options())
        compiled = jitted.lower(images).compile()
        return lambda: [np.asarray(each) for each in compiled(images)]

    return ready


def onnx(name: str) -> Callable[[Path, int], Ready]:
    """Return an ONNX file under onnxruntime: of both networks under the same one."""

    def contender(folder: Path, threads: int) -> Ready:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        path, providers = str(folder / name), ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(path, options, providers=providers)
        return lambda images: lambda: session.run(list(OUTPUTS), {"image": images})

    return contender


def torch_eager(folder: Path, threads: int) -> Ready:
    """Return PyTorch as it is, channels last."""
    import torch

    from benchmarks.rivals.torch_folder import deployed

    torch.set_num_threads(threads)
    model = deployed(folder).to(memory_format=torch.channels_last)

    def ready(images: np.ndarray) -> Call:
        tensor = torch.from_numpy(images)

        def call() -> Sequence[Any]:
            with torch.inference_mode():
                return [each.numpy() for each in model(tensor)]

        return call

    return ready


def torch_compiled(folder: Path, threads: int) -> Ready:
    """Return torch.compile, channels last, parameters frozen: batch norm goes into the
    convolutions."""
    import torch
    import torch._inductor.config as inductor

    from benchmarks.rivals.torch_folder import deployed

    torch.set_num_threads(threads)
    inductor.freezing = True
    model = torch.compile(deployed(folder).to(memory_format=torch.channels_last), dynamic=False)

    def ready(images: np.ndarray) -> Call:
        tensor = torch.from_numpy(images)

        def call() -> Sequence[Any]:
            with torch.no_grad():
                return [each.numpy() for each in model(tensor)]

        call()  # compiles
        return call

    return ready


CONTENDERS: dict[str, Callable[[Path, int], Ready]] = {
    "JAX, Predictor": predictor,
    "JAX, model.stablehlo": stablehlo,
    "onnxruntime, model.onnx": onnx("model.onnx"),
    "onnxruntime, PyTorch's ONNX": onnx("torch.onnx"),
    "PyTorch, eager": torch_eager,
    "PyTorch, torch.compile": torch_compiled,
}
OURS = ("JAX, Predictor", "JAX, model.stablehlo", "onnxruntime, model.onnx")
IN_RIVALS_PYTHON = ("PyTorch, eager", "PyTorch, torch.compile")
PACKAGES = ("jax", "jaxlib", "flax", "onnxruntime", "torch", "numpy")


class Contender:
    """What the parent may ask for."""

    def __init__(self, name: str, folder: Path, threads: int):
        self.folder, self.make_ready = folder, CONTENDERS[name](folder, threads)
        self.call: Call | None = None
        self.outputs: Sequence[Any] = ()

    def ready(self, batch: int) -> float:
        """Compile for the first `batch` images; return seconds."""
        images, began = np.load(self.folder / "images.npy")[:batch], time.perf_counter()
        self.call = self.make_ready(images)
        return time.perf_counter() - began

    def run(self, calls: int) -> list[float]:
        """Return seconds of each call."""
        seconds = []
        for _ in range(calls):
            began = time.perf_counter()
            self.outputs = self.call()
            seconds.append(time.perf_counter() - began)
        return seconds

    def save(self, path: str) -> None:
        """Write what the last call returned."""
        np.savez(path, **dict(zip(OUTPUTS, self.outputs, strict=True)))


def versions() -> dict[str, str]:
    """Return those of the packages that this process has imported."""
    used = [name for name in PACKAGES if name in sys.modules]
    return {"python": sys.version.split()[0]} | {n: importlib.metadata.version(n) for n in used}


def main() -> None:
    name, folder, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    use_processors(threads)
    contender = Contender(name, folder, threads)
    functions = {name: getattr(contender, name) for name in ("ready", "run", "save")}
    serve(functions | {"versions": versions})


if __name__ == "__main__":
    main()
