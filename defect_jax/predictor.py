"""A trained network in a program of your own; the public name of `deploy.predictor`.

from defect_jax.predictor import load

decision = load("runs/folder").predict(image)  # NumPy, [h, w] or [h, w, channels]
"""

from defect_jax.decision.apply import Decision
from defect_jax.deploy.image_decision import ImageDecision
from defect_jax.deploy.part_in_progress import PartInProgress, PartVerdict
from defect_jax.deploy.predictor import Predictor, load
from defect_jax.deploy.regions import Region

__all__ = [
    "Decision",
    "ImageDecision",
    "PartInProgress",
    "PartVerdict",
    "Predictor",
    "Region",
    "load",
]
