"""Writes torchjd.json: what TorchJD makes of a few sets of gradients. Run once, where there is

    pip install 'torchjd[cagrad]==0.18.0' torch==2.13.0

and never by the tests: they read the values it left.
"""

import json
import pathlib

import torch
from torchjd import aggregation

AGGREGATORS = {
    "pcgrad": aggregation.PCGrad(),
    "cagrad": aggregation.CAGrad(c=0.5),
    "mgda": aggregation.MGDA(epsilon=1e-14, max_iters=100_000),
    "imtl_g": aggregation.IMTLG(),
}


def gradients() -> dict[str, torch.Tensor]:
    """Sets of gradients, [tasks, parameters]: agreeing, in conflict, of very different lengths."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    two, three = normal(2, 6), normal(3, 6)
    conflict = torch.stack([two[0], -0.7 * two[0] + 0.3 * two[1]])
    return {
        "two": two,
        "conflict": conflict,
        "agreement": torch.stack([two[0], 0.5 * two[0] + 0.2 * two[1]]),
        "a hundredfold": conflict * torch.tensor([[0.02], [2.0]], dtype=torch.float64),
        "mild conflict": torch.stack([two[0] + two[1], 0.9 * two[1] - two[0]]),
        "three": three,
        "three lengths": three * torch.tensor([[0.1], [1.0], [10.0]], dtype=torch.float64),
    }


def main() -> None:
    cases = []
    for name, jacobian in gradients().items():
        jacobian = jacobian.to(torch.float32).to(torch.float64)  # what the tests can represent
        methods = dict(AGGREGATORS)
        if len(jacobian) > 2:
            del methods["pcgrad"]  # the order of its projections is drawn at random
        combined = {method: make(jacobian).tolist() for method, make in methods.items()}
        cases.append({"name": name, "gradients": jacobian.tolist(), "combined": combined})
    path = pathlib.Path(__file__).with_name("torchjd.json")
    path.write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
