"""The command line: flags in, one function a mode.

python -m defect_jax.main --config=configs/synthetic.py:cpu
defect-jax train --config=synthetic:cpu
"""

from absl import flags
from ml_collections import ConfigDict

from defect_jax import command_line
from defect_jax.command_help import help_text
from defect_jax.command_line import CONFIG, WORKDIR, chosen_workdir, given_config, trained_workdir
from defect_jax.distributed import cluster
from defect_jax.runtime import compilation
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import AnyPath, as_path, reached

SPLITS = ("train", "val", "test", "folds")
SPLIT = flags.DEFINE_enum(
    "split", None, SPLITS, "Judged by --mode=evaluate and compare: test; without one, the folds."
)
RESUME = flags.DEFINE_enum(
    "resume", "auto", ("auto", "must"), "must: refuse to begin anew where no checkpoint is."
)
COORDINATOR = flags.DEFINE_string("coordinator_address", None, "HOST:PORT of the first host.")
PROCESSES = flags.DEFINE_integer("num_processes", None, "Of all hosts together.", lower_bound=1)
PROCESS = flags.DEFINE_integer("process_id", None, "Of this one, from 0.", lower_bound=0)
HOST_TIMEOUT_S = flags.DEFINE_integer(
    "host_timeout_s", 60, "A host silent for this long ends the run on all.", lower_bound=5
)
INPUT = flags.DEFINE_string(
    "input",
    None,
    "An image, folder, .tar or .zip, to predict; of export, to write int8 with; of import, the "
    "annotations.",
)
OUTPUT = flags.DEFINE_string(
    "output", None, "Folder that --mode=predict, export, check and import write into."
)
GROUP = flags.DEFINE_string(
    "group",
    None,
    "Of predict, which images show one part: folder, or a regular expression of ids whose one "
    "group is the part; without it, groups.csv in or beside --input.",
)
STRICT = flags.DEFINE_bool("strict", False, "End at the first image that cannot be used.")
HEATMAPS = flags.DEFINE_bool("heatmaps", True, "Of predict: write heat maps, and into overlays.")
UNLIKE_RATE = flags.DEFINE_float(
    "unlike_rate",
    0.05,
    "Of predict: share of parts like those of validation that may be called unlike them.",
    lower_bound=0.0,
    upper_bound=1.0,
)
WORKDIRS = flags.DEFINE_list("workdirs", [], "Of --mode=compare: the first is the reference.")


def join_hosts() -> None:
    """Join the other hosts that run the same command; on most clusters the environment names
    them."""
    given = cluster.Given(COORDINATOR.value, PROCESSES.value, PROCESS.value)
    cluster.join(given, HOST_TIMEOUT_S.value)


# Each mode imports its own module: a bad flag is answered at once, and `check` waits for no more
# than it needs.


def train() -> None:
    """Train, evaluate the best checkpoint and write the report."""
    workdir, config = chosen_workdir(), given_config()
    join_hosts()
    from defect_jax.training.train import train

    compilation.start_cache(config.compilation_cache)
    train(config, workdir, must_resume=RESUME.value == "must")


def evaluate() -> None:
    """Evaluate the best checkpoint of a workdir, with its own config."""
    workdir = trained_workdir()
    join_hosts()
    from defect_jax.evaluation.evaluate import evaluate
    from defect_jax.workdir import kept_split

    evaluate(judged_config(workdir), workdir, SPLIT.value or kept_split.judged(workdir)[-1])


def stress() -> None:
    """Evaluate a workdir under graded disturbances, at its fixed thresholds."""
    workdir = trained_workdir()
    join_hosts()
    from defect_jax.evaluation.stress import stress

    stress(judged_config(workdir), workdir)


def judged_config(workdir: AnyPath) -> ConfigDict:
    """Return the config of a workdir whose network is judged on its data; starts the cache."""
    from defect_jax.workdir import places, run_config

    config = run_config.of_workdir(workdir, CONFIG.value)
    run_config.check_values(config)
    run_config.refuse_unresolved(config, workdir)
    places.refuse_unknown(config, workdir)
    compilation.start_cache(config.compilation_cache)
    return config


def predict() -> None:
    """Decide on every image of a folder."""
    workdir = trained_workdir()
    require("input", INPUT.value)
    require("output", OUTPUT.value)
    from defect_jax.deploy.predict import predict
    from defect_jax.workdir import run_config

    config = run_config.of_workdir(workdir, CONFIG.value)
    compilation.start_cache(config.compilation_cache)
    limit, lights = config.data.max_megapixels, config.data.lights
    how = STRICT.value, GROUP.value, lights, HEATMAPS.value, UNLIKE_RATE.value
    predict(INPUT.value, OUTPUT.value, workdir, limit, *how)


def export() -> None:
    """Write the best checkpoint of a workdir as files that need no defect_jax.

    With --input, in eight bits too.
    """
    workdir = trained_workdir()
    require("output", OUTPUT.value)
    from defect_jax.deploy.export import export

    export(workdir, OUTPUT.value, INPUT.value)


def require(flag: str, value: str | None) -> None:
    """Refuse a mode that lacks a flag.

    Raises:
        UserError: it is not given.
    """
    if not value:
        raise UserError(f"--{flag} is missing: --mode={MODE.value} needs it")


def check() -> None:
    """List every fault and every note of a config and its data set, as training finds them."""
    from defect_jax.training.check import check

    config = given_config()
    compilation.start_cache(config.compilation_cache)
    check(config, as_path(OUTPUT.value) if OUTPUT.value else None)


def import_() -> None:
    """Write images and masks from annotations of labelme, CVAT, COCO and others."""
    require("input", INPUT.value)
    require("output", OUTPUT.value)
    from defect_jax.data.annotations.import_parts import import_parts
    from defect_jax.data.files.bounded import MEGAPIXELS

    config = CONFIG.value
    limit = config.data.max_megapixels if config is not None else MEGAPIXELS
    import_parts(INPUT.value, OUTPUT.value, limit)


def compare() -> None:
    """Compare the evaluations of several workdirs."""
    from defect_jax.evaluation.compare import compare

    output = reached(WORKDIR.value or "runs/compare")
    workdirs = [reached(workdir) for workdir in WORKDIRS.value]
    compare(workdirs, output, SPLIT.value or "test", CONFIG.value)


RUN = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "export": export,
    "check": check,
    "import": import_,
    "compare": compare,
    "stress": stress,
}
MODE = flags.DEFINE_enum("mode", "train", list(RUN), "What to do.")


def main() -> None:
    """Do what the arguments of the process ask for."""
    command_line.start(lambda: RUN[MODE.value](), help_text(RUN), RUN)


if __name__ == "__main__":
    main()
