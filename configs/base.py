"""Defaults that every config starts from; a data set's own file changes what it needs.

Full size is for an accelerator. `cpu` and `debug` shrink a config in place, `lite` its model alone.
"""

import functools

import ml_collections
from ml_collections import config_dict

from defect_jax.workdir.config_fields import PLANNED


def base() -> ml_collections.ConfigDict:
    """Return every field that all data sets share."""
    config = ml_collections.ConfigDict()
    config.seed = 0  # of initial weights, order of images, augmentation and dropout

    config.data = data = ml_collections.ConfigDict()
    data.root = ""  # raw data: a folder, or an archive where the data set comes as one
    data.data_dir = ""  # prepared data; empty: the user's cache folder
    data.seed = 0  # of splits and of generated images
    data.folds = 0  # networks of a cross-fitted run, each scores the parts it has not seen; 0: none
    data.max_megapixels = 100.0  # a larger image is refused before it is decoded
    data.mask_threshold = 0  # mask values above it are defect; 0: soft edges are refused
    data.mask_alpha = False  # the masks' transparency holds the defect: what is opaque
    data.trust_masks = False  # masks are taken as they are, however implausible they look
    data.masked_positives = config_dict.placeholder(int)  # training masks that are used; None: all
    data.drop_unmasked = False  # leave defective images without a mask out of training
    data.ignore_value = config_dict.placeholder(int)  # of mask pixels that nobody is sure of
    data.region = ""  # image of what is judged, white on black, of every image of a fixture
    data.classes = ()  # names of mask values 1, 2, …, where masks tell kinds of defect apart
    data.lights = 1  # images of one shot as channels: x.1.png, x.2.png, … or the pages of a TIFF
    data.float_range = ()  # least and highest value of float images, which become 0 and 65535
    data.size = (256, 256)  # height and width that the network sees, px
    data.min_scale = 0.0  # an image that would be shrunk below this is refused
    data.max_scale = 1.0  # images are never enlarged above this
    data.max_stretch = 1.0  # one side may be scaled this times as much, to fill size; 1: none
    data.tile_overlap_px = 0  # above 0: images are not scaled, but cut into tiles
    data.positive_fraction = config_dict.placeholder(float)  # of each batch; None: as in the set
    data.positive_fraction = 0.5
    data.adaptive = adaptive = ml_collections.ConfigDict()
    adaptive.most_often = 1.0  # what is missed comes up to this times as often; 1: all alike
    adaptive.every_steps = 50  # the order follows what is missed, where it does
    data.threads = 2  # that load images
    data.workers = 0  # processes that load images, beside the threads
    data.cache_mb = 2000  # most memory of a process for images that it has decoded, 10^6 bytes
    data.augment = augment = ml_collections.ConfigDict()
    augment.shrink = 0.3  # images are placed up to this share smaller, anywhere in the frame
    augment.stretch = 0.3  # and one side up to exp(this) longer against the other
    augment.paste = 0.0  # share of the defects shown that are pasted onto another, good surface
    augment.changes = changes = ml_collections.ConfigDict()  # see data/pipeline/augmentation.py
    changes.flip_horizontal = True
    changes.flip_vertical = True
    changes.shift_px = 3
    changes.brightness = 0.05
    changes.contrast = 0.1
    changes.gamma = 0.15
    changes.noise = 0.01
    changes.blur_px = 0.5

    config.model = model = ml_collections.ConfigDict()
    model.encoder = "plain"  # from scratch; pretrained ones: see models/encoders
    model.weights = "imagenet"  # of a pretrained encoder; or a .safetensors, hf://OWNER/NAME; ""
    model.frozen_statistics = True  # the batch statistics that come with the weights stay
    model.decoder = "unetplusplus"  # or unet
    # Channels of each level; one level more halves once more. A pretrained encoder has its own.
    model.widths = (32, 64, 128, 256, 512)
    model.attention = "scse"  # or none, gates
    model.deep_supervision = True
    model.prune = 0  # j: masks of X(0,j) alone, without what only the rest needs; 0: all of it
    model.classification_head = True
    model.label_head = "deepest"  # or rows: of four levels, and of the masks
    model.dropout = 0.2  # before the classification head's last layer
    model.norm = "batch"  # or group, for batches below about 4 a device
    model.block = "plain"  # or separable: for edge devices
    model.dtype = "bfloat16"  # of the computation; weights stay float32
    model.num_classes = 1  # of defects that the mask tells apart; 1: defect or not
    model.localisation = "none"  # coarse grid from a light backbone, or from the shared encoder
    model.localisation_widths = (16, 32, 64, 128, 128)  # of its own backbone: cells of 16 px
    model.embedding = False  # write the grid into the deepest encoder features
    model.pixel_confidence = "none"  # learnt, or fixed: neighbours may raise a defect's probability
    model.window_px = 7  # side of that neighbourhood

    config.loss = loss = ml_collections.ConfigDict()
    loss.bce_weight = 0.5
    loss.dice_weight = 1.0
    loss.defect_weight = 0.0  # how much more pixels near a defect weigh in the cross-entropy
    loss.weight_localised = False  # near a defect by localisation too, not by the true mask alone
    loss.highest_pixel_weight = 0.0  # of the label's cross-entropy with the mask's highest pixel
    loss.weight_dilation_px = 5  # by which the true mask grows for that
    loss.refined_share = 0.5  # of the loss that is taken after pixel confidence
    config.balance = balance = ml_collections.ConfigDict()
    balance.method = "fixed"  # gradnorm, uncertainty, dwa, famo, pcgrad, cagrad, mgda or imtl_g
    balance.shared = (
        "encoder"  # parameters on which gradients are compared, for example encoder/x_0_0
    )
    balance.initial_steps = 20  # batches over which the initial loss of each task is averaged
    balance.measure_every_steps = 10  # gradient norms, unless fixed; GradNorm's weights move then
    balance.fixed = _group(weights=_group(segmentation=0.5, classification=0.5, localisation=0.5))
    balance.gradnorm = _group(alpha=1.5, learning_rate=0.025, floor=0.05)
    balance.uncertainty = _group(learning_rate=0.025)
    balance.dwa = _group(temperature=2.0, window_steps=50)
    balance.famo = _group(learning_rate=0.025, decay=0.01)
    balance.cagrad = _group(c=0.5)

    config.optimizer = optimizer = ml_collections.ConfigDict()
    optimizer.learning_rate = 1e-3  # peak
    optimizer.encoder_rate = 0.1  # share of it for an encoder that begins with weights
    optimizer.warmup_steps = 200
    optimizer.weight_decay = 1e-4
    optimizer.clip_norm = 1.0
    optimizer.average_decay = 0.999  # of the averaged weights used for evaluation

    config.train = train = ml_collections.ConfigDict()
    train.localisation_steps = 0  # that localisation learns alone before; 0: with the rest
    train.batch_size = 16  # over all devices of all hosts
    length(config, steps=4000, logs=80, evaluations=8)

    config.evaluation = evaluation = ml_collections.ConfigDict()
    evaluation.dtype = "float32"  # so that exported files decide alike on every machine
    evaluation.flips = False  # average over the mirror images: steadier, four times the work

    # The rule of every threshold, applied to validation images; see decision/rules.py.
    config.decision = decision = ml_collections.ConfigDict()
    decision.rule = "best_f1"  # or one of the four below
    decision.decides = ""  # score, mask, either or logistic; empty: chosen on validation
    decision.recall = 0.95  # target_recall: at least this
    decision.false_positive_rate = 0.05  # target_false_positive_rate: at most this
    decision.miss_cost = 100.0  # least_cost: of a defective image accepted,
    decision.false_alarm_cost = 1.0  # of a good one rejected,
    decision.defect_rate = 0.01  # and the share of defective ones in production
    decision.miss_rate = 0.1  # guaranteed_miss_rate: of parts, at most this
    decision.confidence = 0.9  # with this probability
    decision.min_area_px = config_dict.placeholder(int)  # that a mask marks; None: chosen
    decision.shots = ""  # of one part, taken together: max, mean or noisy_or; empty: chosen
    decision.sequential = "empirical"  # shots one by one; or wald, which promises that it
    decision.early_miss_rate = 0.01  # accepts at most so many defective parts early
    decision.early_false_alarm_rate = 0.01  # and rejects at most so many good ones early

    config.mesh = ml_collections.ConfigDict({"data": -1, "fsdp": 1})  # -1: all devices
    config.compilation_cache = ""  # folder for compiled programs; empty: none is kept
    config.profile = ""  # START:STOP: steps to record for TensorBoard, into workdir/profile
    config.track = ""  # wandb or mlflow: where numbers and images go, besides TensorBoard
    return config


def length(config: ml_collections.ConfigDict, steps: int, logs: int, evaluations: int) -> None:
    """Set `train.steps`, and how often a run logs and validates, whatever its steps then become.

    A validation comes with a checkpoint, and one more after the last step.

    Args:
        logs: lines of the training, over the whole run; a multiple of `evaluations`.
        evaluations: validations, at even distances.
    """
    config.train.steps = steps
    of = config.train.get_ref("steps")
    config.train.log_every_steps = (of + (logs - 1)) // logs
    # Not made of the one before: who logs more often does not validate more often.
    config.train.eval_every_steps = (of + (logs - 1)) // logs * (logs // evaluations)


def _group(**fields) -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(fields)


def pretrained(config: ml_collections.ConfigDict) -> None:
    """Begin with an encoder that has learnt from ImageNet: few defective parts are enough then."""
    config.model.encoder = "efficientnet_lite0"
    config.model.label_head = "rows"


def planned(config: ml_collections.ConfigDict) -> None:
    """Leave open what the plan of a run chooses by its data and its machine; see `plan`."""
    config.minutes = 10.0  # that a run on a CPU may take
    config.data.min_scale = 0.0  # how far images are scaled is for the plan to say
    # The intervals first: they are made of the steps.
    for section, _, name in (field.rpartition(".") for field in reversed(PLANNED)):
        group = functools.reduce(getattr, section.split("."), config)
        group[name] = config_dict.placeholder(type(group[name]))


def from_scratch(config: ml_collections.ConfigDict) -> None:
    """Undo `pretrained`."""
    config.model.encoder = "plain"
    config.model.label_head = "deepest"


def scratch_variant(variant: str) -> str:
    """Return the variant of the same size whose network is made to begin from nothing."""
    return "cpu_scratch" if variant == "cpu" else variant


def debug(config: ml_collections.ConfigDict) -> None:
    """Shrink a config to a run of seconds that goes through everything and learns nothing."""
    from_scratch(config)
    config.model.widths = (4, 8, 8)
    config.model.dtype = "float32"
    length(config, steps=8, logs=4, evaluations=2)
    config.train.batch_size = 8
    config.optimizer.warmup_steps = 2
    config.balance.measure_every_steps = 1  # one program to compile, not two, with any method


def cpu(config: ml_collections.ConfigDict) -> None:
    """Shrink the network to what two laptop cores train in minutes."""
    config.model.widths = (8, 16, 32, 64, 128)
    config.model.dtype = "float32"  # bfloat16 is slower than float32 on a CPU
    config.optimizer.learning_rate = 4e-3  # few steps, so larger ones
    config.optimizer.warmup_steps = 50
    config.optimizer.average_decay = 0.99
    config.balance.measure_every_steps = 5
    config.balance.gradnorm.learning_rate = 0.05
    config.train.batch_size = 8


def pretrained_cpu(config: ml_collections.ConfigDict) -> None:
    """Shrink a config with a pretrained encoder to what two laptop cores train in minutes."""
    cpu(config)
    config.model.decoder = "unet"
    config.model.widths = (16, 32, 48, 64, 96)
    config.optimizer.learning_rate = 2e-3
    # The label's branch learns the few parts by heart long before the masks have learnt anything.
    config.balance.fixed.weights.update(segmentation=0.8, classification=0.2)
    config.balance.measure_every_steps = 25
    config.train.batch_size = 16


def lpcnet(config: ml_collections.ConfigDict, variant: str) -> None:
    """Add the two modules of LPC-Net (Wang et al. 2025, Sensors 25(15), 4548) to a config.

    First localisation learns alone, then its grid is embedded in the encoder of the whole network
    and weighs the pixels of its loss; pixel confidence refines the mask.
    """
    model, small = config.model, variant != ""
    model.localisation = "backbone"
    model.localisation_widths = (4, 8, 16, 32, 32) if small else (16, 32, 64, 128, 128)
    model.embedding = True
    model.pixel_confidence = "learnt"
    config.loss.defect_weight = 4.0
    config.loss.weight_localised = True
    steps = config.train.get_ref("steps")
    config.train.localisation_steps = steps // 2 if variant == "debug" else steps // 4


def lite(config: ml_collections.ConfigDict) -> None:
    """Make it a network for edge devices, trained as the whole one: separable, a row less, half
    as wide."""
    from_scratch(config)
    config.model.block = "separable"
    config.model.widths = (16, 32, 64, 128)


def lite_small(config: ml_collections.ConfigDict) -> None:
    """Make it the same, half as wide again."""
    lite(config)
    config.model.widths = (8, 16, 32, 64)


def choose(
    config: ml_collections.ConfigDict, variant: str, **variants
) -> ml_collections.ConfigDict:
    """Apply the function of the chosen variant; the empty one leaves the config at full size.

    Every config has the variants `lite`, `lite_small` and `planned`.
    """
    variants |= {"lite": lite, "lite_small": lite_small, "planned": planned}
    if variant:
        if variant not in variants:
            raise ValueError(f"--config: no variant {variant!r}; there are {', '.join(variants)}")
        variants[variant](config)
    config.lock()
    return config
