"""Balancing several losses by their gradients: optax transforms, for any network and optimizer.

Imports nothing else of defect_jax. `transform.py` says how a step uses them.
"""

from defect_jax.balance.cagrad import cagrad
from defect_jax.balance.dynamic_average import dynamic_weight_average
from defect_jax.balance.famo import famo
from defect_jax.balance.fixed import fixed
from defect_jax.balance.gradients import TaskGradients, in_encoder, supervised_mean, task_gradients
from defect_jax.balance.gradnorm import gradnorm
from defect_jax.balance.imtl_g import imtl_g
from defect_jax.balance.mgda import mgda
from defect_jax.balance.pcgrad import pcgrad
from defect_jax.balance.state import BalanceState, measures
from defect_jax.balance.uncertainty import uncertainty

__all__ = [
    "BalanceState",
    "TaskGradients",
    "cagrad",
    "dynamic_weight_average",
    "famo",
    "fixed",
    "gradnorm",
    "imtl_g",
    "in_encoder",
    "measures",
    "mgda",
    "pcgrad",
    "supervised_mean",
    "task_gradients",
    "uncertainty",
]
