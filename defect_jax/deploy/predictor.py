"""A trained network in a program of your own: no flags, no globals, safe to call from threads.

    from defect_jax.predictor import load

    predictor = load("runs/folder")
    decision = predictor.predict(image)  # [h, w] or [h, w, channels], uint8 or uint16
    decision.rejected, decision.probability, decision.mask
    decision.heat_map, decision.regions(), decision.overlay(image)  # why
    decision.unlike, decision.is_unlike, decision.look  # whether the network knows such images

Images may have any size, and be arrays of NumPy, JAX or PyTorch, or Pillow's. The thresholds are
those of the workdir's decision.json.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from defect_jax.data.geometry.input_spec import InputSpec
from defect_jax.data.geometry.region import HIDDEN
from defect_jax.decision import DecisionRule
from defect_jax.decision.apply import Thresholds, decide, why_undecided
from defect_jax.decision.look import WATCHED, appearance
from defect_jax.decision.unlike import UNLIKE_RATE, Known
from defect_jax.deploy.arrays import checked, checked_ignored, listed_images
from defect_jax.deploy.image_decision import ImageDecision, Taken, on_host
from defect_jax.deploy.markers import MARKERS, Frames, Ready
from defect_jax.deploy.part_in_progress import PartInProgress
from defect_jax.distributed.sharding import one_device_mesh
from defect_jax.models.initialise import Variables
from defect_jax.models.network import SegmentationNetwork
from defect_jax.models.probabilities import Ensemble, make_probabilities
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.forks import refuse_fork
from defect_jax.runtime.paths import AnyPath, as_path
from defect_jax.workdir.best_weights import restore_known, restore_trained

if TYPE_CHECKING:
    from defect_jax.deploy.monitor import Monitor

BATCH_SIZE = 8


def load(
    workdir: AnyPath | str,
    batch_size: int = BATCH_SIZE,
    mesh: Mesh | None = None,
    unlike_rate: float = UNLIKE_RATE,
) -> "Predictor":
    """Restore the best checkpoint of a workdir, with the decision made for it.

    Args:
        batch_size: most images that the network sees at once; it changes results by rounding alone.
        mesh: where to compute; the first device if not given. A predictor on several devices is
            for one thread alone.
        unlike_rate: share of parts like those of validation that `is_unlike` may call unlike.

    Raises:
        UserError: there is no trained network, or no decision for its best checkpoint, or a file
            of the workdir is none.
    """
    refuse_fork()
    mesh = mesh or one_device_mesh()
    trained = restore_trained(as_path(workdir), mesh)
    known = restore_known(as_path(workdir), trained)
    return Predictor(*trained, mesh, batch_size, known, unlike_rate)


class Predictor:
    """Decides on images; made by `load`."""

    def __init__(
        self,
        network: SegmentationNetwork,
        config: ConfigDict,
        ema: Variables | Ensemble,
        rule: DecisionRule,
        mesh: Mesh,
        batch_size: int = BATCH_SIZE,
        known: Known | None = None,
        unlike_rate: float = UNLIKE_RATE,
    ):
        """Take averaged weights, on the devices of `mesh`, the rule made for them, and what is
        known of the images that they were trained with."""
        refuse_fork()
        self.known, self.unlike_rate = known, unlike_rate
        self.config, self.rule, self.mesh, self.spec = config, rule, mesh, InputSpec.of(config)
        self.batch_size = -(-batch_size // mesh.size) * mesh.size
        program = make_probabilities(network, config.data_info, config.evaluation)
        frames = Frames(program, ema, mesh, self.batch_size)
        marks = self.spec, frames, Thresholds.of(rule), known is not None
        self._marker = MARKERS[type(self.spec.framing)](*marks)
        classes = tuple(config.data_info.classes)
        self._taken = Taken(classes, self.spec.lights, self.spec.float_range)

    def predict(self, images: Any, ignored: Any = None) -> ImageDecision | list[ImageDecision]:
        """Decide on one image, or on several of any sizes.

        Args:
            images: one of shape [h w] or [h w c]; or several, as a list of such or as [b h w c].
                Grey or RGB, as the network was trained (grey is widened, and RGB that is grey
                narrowed), or all channels of a shot's lights, uint8 or uint16; an
                array of whatever NumPy reads, see `arrays.listed_images`.
            ignored: what is not to be judged, not 0 there, [h w]; of several images a list of
                such, or of None where all of an image is judged. What `config.data.region` leaves
                out is never judged.

        Returns:
            One decision, or a list of them in the order of the images.

        Raises:
            UserError: an image that the network cannot take, or has no number for, with its
                position.
        """
        listed, alone = listed_images(images)
        if alone:
            return self.decide([self.ready(listed[0], ignored=ignored)])[0]
        planes = [None] * len(listed) if ignored is None else list(ignored)
        if len(planes) != len(listed):
            raise UserError(f"ignored: is for {len(planes)} images, and there are {len(listed)}")
        named = enumerate(zip(listed, planes, strict=True))
        return self.decide([self.ready(image, f"image {n}", own) for n, (image, own) in named])

    def part(self) -> PartInProgress:
        """Return a part, whose shots are given one after the other: `part.look(image)`.

        Raises:
            UserError: there is no decision on parts.
        """
        return PartInProgress(self.predict, self.rule)

    def monitor(self, promised_images: int) -> "Monitor":
        """Return what watches a line: `monitor.see(decision.watched)`, for one image a part.

        Its reference is an image of each validation part. For results that must not depend on when
        the program was started, keep it: `monitor.to_json`.

        Args:
            promised_images: images without a change for each false alarm, at most.

        Raises:
            UserError: the workdir has no known.safetensors, or too few validation parts.
        """
        # A program that only decides does not load it.
        from defect_jax.deploy.monitor import Monitor
        from defect_jax.deploy.watched_numbers import MOST_PARTS

        if self.known is None:
            raise UserError(
                "what is unlike the training images is not known: run --mode=evaluate, which "
                "writes known.safetensors into the workdir"
            )
        parts = self.known.watched[:MOST_PARTS]
        return Monitor.of(dict(zip(WATCHED, parts.T, strict=False)), promised_images)

    def ready(self, image: Any, name: str = "the image", ignored: Any = None) -> Ready:
        """Check an image and bring it into the form that `decide` takes: the part for threads.

        Args:
            ignored: what of it is not to be judged, as of `predict`.

        Raises:
            UserError: it cannot be used; `name` is named.
        """
        given = checked(image, name, self.spec.lights, self.spec.float_range)
        image = self.spec.common(given, name)
        plane = self.spec.ignored(image.shape[:2], name, checked_ignored(ignored, image, name))
        shown = self.spec.hidden(image, plane)
        if given.dtype != np.uint8:  # how 8 bits become 16 is known
            self.spec.refuse_other_depth(shown, name)
        return self._marker.ready(shown, None if plane is None else plane == HIDDEN, name)

    def decide(self, images: Sequence[Ready]) -> list[ImageDecision]:
        """Decide on images that `ready` returned, as many at once as the network takes.

        Raises:
            UserError: in a process that was forked after the network was loaded; or the network's
                answer to an image is no number, and its position is named.
        """
        decisions = self.decide_each(images)
        for place, decision in enumerate(decisions):
            if why := why_undecided(decision.score, decision.mask_score):
                raise UserError(f"{f'image {place}' if len(images) > 1 else 'the image'}: {why}")
        return decisions

    def decide_each(self, images: Sequence[Ready]) -> list[ImageDecision]:
        """Do the same, but hand out what is no number: rejected, see `apply.why_undecided`."""
        refuse_fork()
        decisions = []
        for marked, label, seen in self._marker.mark(images):
            decision = on_host(decide(marked, label, self.rule))
            looks = appearance(seen.sums, self.known, self.spec, self.unlike_rate)
            decisions.append(ImageDecision.of(decision, seen, self._taken, looks))
        return decisions
