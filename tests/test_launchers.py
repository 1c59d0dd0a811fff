"""The launchers for clusters, run against stand-ins for SLURM, SkyPilot and kubectl."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from launch import gke

ROOT = Path(__file__).resolve().parent.parent
ODD = ["--config.a=b c", "it's", '"$HOME" `id` $(id) ${NAME}', "a\\b & c; d", "", "*", "é #: gpu"]

if sys.platform != "linux":
    # They would have to be written twice: setsid and flock are Linux's, and so are the clusters.
    pytest.skip("the launchers' stand-ins need Linux", allow_module_level=True)


def write_script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path):
    """Copies the launchers to a folder of their own, with stand-ins for what they start."""
    folder = tmp_path / "check out"
    for path in (ROOT / "launch").iterdir():
        if path.suffix in {".sh", ".sbatch", ".yaml", ".py"}:
            write_script(folder / "launch" / path.name, path.read_text())
    write_script(folder / "launch" / "set_up.sh", '#!/bin/sh\nexit "${SET_UP_EXITS:-0}"\n')
    return folder


def start(checkout, *command, **environment):
    """Runs a launcher at the root of the checkout, the stand-ins first on PATH."""
    path = f"{checkout.parent / 'bin'}:{os.environ['PATH']}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return subprocess.run(
        command,
        cwd=checkout,
        env=clean | {"PATH": path, "RECORD": str(checkout.parent / "record")} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


# Records its name and arguments, as JSON, one line a call.
RECORD = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["RECORD"], "a") as file:
    print(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]), file=file)
"""


def recorded(checkout):
    file = checkout.parent / "record"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_batch_script_parses_and_may_be_run():
    script = ROOT / "launch" / "slurm.sbatch"
    subprocess.run(["bash", "-n", script], check=True)
    assert os.access(script, os.X_OK)


# SLURM.

# Runs the command as each task, and ends as srun does: with the highest exit code.
SRUN = (
    RECORD
    + """
import subprocess
words = sys.argv[1:]
tasks = int(os.environ["SLURM_NTASKS"])
while words[0].startswith("--"):
    tasks = int(words[0].removeprefix("--ntasks=")) if words[0].startswith("--ntasks=") else tasks
    del words[0]
codes = [
    subprocess.run(words, env=os.environ | {"SLURM_PROCID": str(task)}).returncode
    for task in range(tasks)
]
sys.exit(max(codes))
"""
)
# Takes the exit code of its task from $EXITS.
PROGRAM = RECORD + 'sys.exit(int(os.environ["EXITS"].split()[int(os.environ["SLURM_PROCID"])]))\n'


@pytest.fixture
def slurm(checkout):
    """Starts slurm.sbatch as a job; returns the process and what it did with the queue."""
    tools = checkout.parent / "bin"
    write_script(tools / "srun", SRUN)
    write_script(tools / "scontrol", RECORD)
    write_script(tools / "squeue", '#!/bin/sh\necho "${STATE:-RUNNING}"\n')
    for name in ("local.sh", "ablation.sh"):
        write_script(checkout / "launch" / name, PROGRAM)

    def submit(*arguments, exits="0", **environment):
        result = start(
            checkout,
            "launch/slurm.sbatch",
            *arguments,
            EXITS=exits,
            SLURM_NTASKS=str(len(exits.split())),
            **{"SLURM_JOB_ID": "7"} | environment,
        )
        return result, [call for call in recorded(checkout) if call[0] == "scontrol"]

    return submit


@pytest.mark.parametrize(
    "exits, code, requeued",
    [
        ("0 0", 0, False),
        ("143 143", 143, True),  # time limit or preemption: saved
        ("143 0", 143, True),
        ("75 75", 75, True),  # a host was lost
        ("2", 2, False),
        ("75 2 75", 2, False),  # the others lost the one that found a fault
        ("143 2", 2, False),
        ("1 75", 1, False),
        ("75 137", 137, False),  # killed, for its memory perhaps
        ("130 130", 130, False),  # a person's SIGINT: save and end
    ],
)
def test_job_is_requeued_where_trying_again_helps(slurm, exits, code, requeued):
    result, queue = slurm("--config=x", exits=exits)
    assert result.returncode == code
    assert queue == ([["scontrol", "requeue", "7"]] if requeued else [])


def test_restarts_are_bounded(slurm):
    assert slurm(exits="75", SLURM_RESTART_COUNT="19")[1]
    result, queue = slurm(exits="75", SLURM_RESTART_COUNT="20")
    assert (result.returncode, len(queue)) == (75, 1)  # of the first
    assert "after 20 restarts (MAX_RESTARTS): not requeued" in result.stderr
    assert len(slurm(exits="75", SLURM_RESTART_COUNT="3", MAX_RESTARTS="3")[1]) == 1


@pytest.mark.parametrize("state", ["CANCELLED", "COMPLETING", "PREEMPTED", ""])
def test_job_that_slurm_ends_is_left_to_slurm(slurm, state):
    result, queue = slurm(exits="143", STATE=state or " ")
    assert (result.returncode, queue) == (143, [])


def test_arguments_arrive_on_every_task(slurm, checkout):
    slurm(*ODD, exits="0 0")
    assert [call for call in recorded(checkout) if call[0] == "local.sh"] == [
        ["local.sh", *ODD]
    ] * 2


def test_array_runs_one_cell_an_element_and_requeues_that_alone(slurm, checkout):
    array = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}  # the last has the array's id
    _, queue = slurm("--ablation", "--config=x", exits="143", **array)
    assert ["ablation.sh", "--config=x", "--cell=3"] in recorded(checkout)
    assert queue == [["scontrol", "requeue", "7_3"]]


def test_every_node_is_set_up_once_before_the_tasks(slurm, checkout):
    slurm(exits="0 0 0 0", SLURM_JOB_NUM_NODES="2")
    sruns = [call for call in recorded(checkout) if call[0] == "srun"]
    assert sruns[0][1:] == ["--ntasks=2", "--ntasks-per-node=1", "launch/set_up.sh", "run"]
    assert len(sruns) == 2 and "bash" in sruns[1]


def test_failed_set_up_ends_the_job(slurm, checkout):
    assert slurm(SET_UP_EXITS="2")[0].returncode == 2
    assert recorded(checkout) == []


def test_dry_run_prints_what_a_job_runs(slurm, checkout):
    job = {"SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "3"}
    printed = slurm("--dry-run", *ODD, exits="0 0", **job)[0].stdout
    assert recorded(checkout) == []
    slurm(*ODD, exits="0 0", **job)
    first, *sruns = re.split(r"\n(?=srun )", printed)
    assert first == "launch/set_up.sh run"
    assert [shlex.split(line) for line in sruns] == [
        call for call in recorded(checkout) if call[0] == "srun"
    ]


def test_dry_run_needs_no_slurm(checkout):
    result = start(checkout, "launch/slurm.sbatch", "--dry-run", "--config=x")
    assert result.returncode == 0
    assert result.stdout.endswith("task launch/local.sh --config=x\n")


@pytest.mark.parametrize(
    "environment, words",
    [
        ({}, "sbatch launch/slurm.sbatch"),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_GPUS_PER_TASK": "1"}, "--gpus-per-node"),
    ],
)
def test_what_slurm_cannot_do_is_one_line_and_exit_2(checkout, environment, words):
    result = start(checkout, "launch/slurm.sbatch", "--config=x", **environment)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert words in result.stderr


def test_job_submitted_elsewhere_says_so(checkout, tmp_path):
    result = start(checkout, "bash", "-c", 'cd / && exec "$OLDPWD/launch/slurm.sbatch" --dry-run')
    assert result.returncode == 2
    assert "/ is no checkout" in result.stderr


def test_directives_are_where_sbatch_reads_them():
    head = re.match(r"(#.*\n)+", (ROOT / "launch" / "slurm.sbatch").read_text())[0]
    directives = re.findall(r"^#SBATCH (\S+)$", head, re.MULTILINE)
    assert {"--requeue", "--open-mode=append", "--signal=TERM@120"} <= set(directives)


# SkyPilot.

WORKDIR = "--workdir=gs://bucket/run"
HOST = {
    "ARGS": f"--config=x {WORKDIR} '--config.a=b c'",
    "SKYPILOT_NODE_IPS": "10.0.0.5\n10.0.0.6",
    "SKYPILOT_NUM_NODES": "2",
    "SKYPILOT_NODE_RANK": "1",
    "SKYPILOT_NUM_GPUS_PER_NODE": "8",
}
ALWAYS = ["--config=x", WORKDIR, "--config.a=b c"]


@pytest.fixture
def sky(checkout):
    """Runs a step of sky.yaml as SkyPilot does on a host; returns it and what it started."""
    task = yaml.safe_load((ROOT / "launch" / "sky.yaml").read_text())
    for name in ("local.sh", "set_up.sh"):
        write_script(checkout / "launch" / name, RECORD + 'sys.exit(int(os.environ["EXITS"]))\n')
    write_script(checkout.parent / "bin" / "sudo", RECORD)
    for name in ("python3", "python3.11"):  # as on Ubuntu 22.04, before packages of 3.11 are there
        write_script(checkout.parent / "bin" / name, "#!/bin/sh\nexit 1\n")

    def step(name, exits="0", **environment):
        result = start(checkout, "bash", "-c", task[name], **HOST | environment, EXITS=exits)
        return result, recorded(checkout)

    return step


@pytest.mark.parametrize(
    "environment, flags",
    [
        ({}, ["--coordinator_address=10.0.0.5:8476", "--num_processes=2", "--process_id=1"]),
        ({"SKYPILOT_NUM_NODES": "1", "SKYPILOT_NODE_IPS": "10.0.0.5"}, []),
        ({"SKYPILOT_NUM_GPUS_PER_NODE": "0"}, []),  # hosts of a TPU slice find each other
    ],
)
def test_sky_host_is_told_of_the_others_where_it_has_gpus(sky, environment, flags):
    result, started = sky("run", **environment)
    assert started == [["local.sh", *ALWAYS, *flags]]
    assert result.returncode == 0


@pytest.mark.parametrize("code", ["2", "75", "143"])
def test_sky_sees_the_exit_code_of_the_program(sky, code):
    assert sky("run", exits=code)[0].returncode == int(code)


def test_sky_goes_on_after_the_codes_that_say_so():
    task = yaml.safe_load((ROOT / "launch" / "sky.yaml").read_text())
    recovery = task["resources"]["job_recovery"]
    # Without a strategy of its own SkyPilot 0.14 fails; a fault is never tried again.
    assert recovery == {"strategy": "EAGER_NEXT_REGION", "recover_on_exit_codes": [75, 143]}
    assert task["envs"] == {"ARGS": None}  # SkyPilot asks for it


def test_sky_sets_up_with_buckets_and_a_python_that_fits(sky):
    result, started = sky("setup")
    assert result.returncode == 0, result.stderr
    assert [call[:2] for call in started if call[0] == "sudo"] == [["sudo", "apt-get"]] * 2
    assert started[-1] == ["set_up.sh", "run"]


def test_sky_set_up_ends_with_the_first_failure(sky):
    assert sky("setup", exits="2")[0].returncode == 2
    result, started = sky("setup", ARGS="--config=x --workdir=runs/x")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "--workdir=gs://" in result.stderr


# GKE.

TPU_POOL = ["tpu", "--image=r.example/i:1", "--accelerator=tpu-v5-lite-podslice", "--topology=4x4"]
GPU_POOL = ["gpu", "--image=r.example/i:1", "--accelerator=nvidia-h100-80gb"]
KUBECTL = RECORD + 'open(os.environ["RECORD"] + ".yaml", "w").write(sys.stdin.read())\n'


def rendered(checkout, *options, arguments=(WORKDIR,)):
    """What kubectl was given, parsed."""
    write_script(checkout.parent / "bin" / "kubectl", KUBECTL)
    result = start(checkout, sys.executable, "launch/gke.py", *options, "--", *arguments)
    assert result.returncode == 0, result.stderr
    return yaml.safe_load((checkout.parent / "record.yaml").read_text())


def parts(jobset):
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    return job, pod, pod["containers"][0]


def test_tpu_slice_has_a_pod_a_machine(checkout):
    jobset = rendered(checkout, *TPU_POOL, "--spot", "--name=a", "--namespace=mine")
    assert recorded(checkout) == [["kubectl", "apply", "--namespace=mine", "-f", "-"]]
    job, pod, container = parts(jobset)
    assert job["completions"] == job["parallelism"] == 4
    assert container["resources"] == {"limits": {"google.com/tpu": 4}}
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
        "cloud.google.com/gke-spot": "true",
    }
    assert "env" not in container  # jax asks GKE
    assert jobset["metadata"]["annotations"]


def test_gpu_machines_find_the_first(checkout):
    options = ["--hosts=2", "--devices=8", "--name=a", "--max-restarts=3", "--service-account=s"]
    jobset = rendered(checkout, *GPU_POOL, *options)
    job, pod, container = parts(jobset)
    assert job["completions"] == job["parallelism"] == 2
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 8}}
    variables = {each["name"]: each for each in container["env"]}
    assert variables["JAX_COORDINATOR_ADDRESS"]["value"] == "a-hosts-0-0.a:8476"
    assert variables["JAX_NUM_PROCESSES"]["value"] == "2"
    index = variables["JAX_PROCESS_ID"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert index == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] == 3
    assert pod["serviceAccountName"] == "s"
    assert pod["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}
    assert "annotations" not in jobset["metadata"]
    assert "tolerations" not in pod and "privileged" not in container["securityContext"]


def test_one_gpu_machine_is_no_cluster(checkout):
    _, _, container = parts(rendered(checkout, *GPU_POOL))
    assert "env" not in container
    assert container["resources"] == {"limits": {"nvidia.com/gpu": 1}}


@pytest.mark.parametrize("pool", [TPU_POOL, GPU_POOL], ids=["tpu", "gpu"])
def test_fault_ends_the_jobset_and_all_else_starts_it_again(checkout, pool):
    jobset = rendered(checkout, *pool)
    policy, (job, pod, container) = jobset["spec"]["failurePolicy"], parts(jobset)
    assert policy["maxRestarts"] == 20
    rule = policy["rules"][0]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    assert job["backoffLimit"] == 0  # a pod that is lost fails its job, for the JobSet to restart
    (pods,) = job["podFailurePolicy"]["rules"]
    assert pods["action"] == "FailJob"
    assert pods["onExitCodes"] == {
        "containerName": container["name"],
        "operator": "In",
        "values": [1, 2],
    }
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] >= 60


def test_arguments_arrive_in_the_container(checkout):
    _, _, container = parts(rendered(checkout, *GPU_POOL, arguments=[WORKDIR, *ODD, "a\nb\t🙂"]))
    # What Kubernetes makes of $$(NAME).
    arrive = [word.replace("$$(", "$(") for word in container["args"]]
    assert arrive == [WORKDIR, *ODD, "a\nb\t🙂"]
    assert not re.search(r"(?<!\$)\$\(", " ".join(container["args"]))


def test_dry_run_prints_a_command_that_does_the_same(checkout):
    jobset = rendered(checkout, *TPU_POOL, "--context=it's", arguments=[WORKDIR, *ODD])
    printed = start(
        *[checkout, sys.executable, "launch/gke.py", "--dry-run", *TPU_POOL, "--context=it's"],
        *["--", WORKDIR, *ODD],
    ).stdout
    (checkout.parent / "record.yaml").unlink()
    assert len(recorded(checkout)) == 1
    assert start(checkout, "bash", "-ec", printed).returncode == 0
    assert yaml.safe_load((checkout.parent / "record.yaml").read_text()) == jobset
    assert recorded(checkout)[0] == recorded(checkout)[1]


@pytest.mark.parametrize(
    "options, words",
    [
        (["tpu", "--accelerator=a", "--topology=4x4"], "--image"),
        (["gpu", "--image=i"], "--accelerator"),
        (["tpu", "--image=i", "--accelerator=a"], "--topology"),
        ([*TPU_POOL, "--devices=3"], "16 chips in machines of 3"),
        ([*GPU_POOL, "--name=Upper"], "--name=Upper"),
        ([*GPU_POOL, f"--name={'a' * 41}"], "--name"),
        (["gpu", "--image=a b", "--accelerator=a"], "--image"),
    ],
)
def test_what_gke_cannot_do_is_one_line_and_exit_2(checkout, options, words):
    result = start(checkout, sys.executable, "launch/gke.py", *options, "--", WORKDIR)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert words in result.stderr


def test_workdir_of_a_pod_must_be_a_bucket(checkout):
    result = start(checkout, sys.executable, "launch/gke.py", *GPU_POOL, "--", "--workdir=runs/a")
    assert result.returncode == 2
    assert "--workdir=gs://" in result.stderr


def test_missing_kubectl_is_one_line_and_exit_2(checkout):
    command = [sys.executable, "launch/gke.py", *GPU_POOL, "--", WORKDIR]
    result = start(checkout, *command, PATH=str(checkout))
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)


def test_manifest_keeps_the_lines_of_its_kind():
    template = "# a\n# b\na: ${A}\nb: 1 #: spot\nc: 2 #: gpu several\nd: 3 # tpu"
    assert gke.manifest(template, {"gpu", "spot"}, {"A": "$x"}) == "a: $x\nb: 1\nd: 3 # tpu"
    with pytest.raises(KeyError):
        gke.manifest("a: ${B}", (), {"A": ""})


# The image.


def dockerfile():
    """The instructions, with comments and continued lines out of the way."""
    text = re.sub(r"^#.*\n", "", (ROOT / "launch" / "Dockerfile").read_text(), flags=re.MULTILINE)
    return [line.split(None, 1) for line in text.replace("\\\n", "").splitlines() if line]


def test_image_copies_files_that_are_there_and_not_ignored():
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    assert ignore[1] == "*"
    accelerators = ["cpu", "cuda12", "cuda13", "tpu"]
    copied = [words.split()[:-1] for verb, words in dockerfile() if verb == "COPY"]
    for source in (name for names in copied for name in names if not names[0].startswith("--")):
        for accelerator in accelerators:
            path = source.replace("${ACCELERATOR}", accelerator)
            assert (ROOT / path).exists()
            assert path in allowed or any(Path(path).match(pattern) for pattern in allowed)


def test_image_runs_the_program_without_a_shell_and_not_as_root():
    instructions = dockerfile()
    assert json.loads(dict(instructions)["ENTRYPOINT"]) == ["python", "-m", "defect_jax.main"]
    assert dict(instructions)["USER"] not in {"root", "0"}
    assert not {"ADD", "CMD"} & {verb for verb, _ in instructions}


def test_image_stands_on_a_digest_and_trusts_no_mounted_folder():
    instructions = dockerfile()
    python = next(words for verb, words in instructions if verb == "ARG")
    assert re.fullmatch(r"PYTHON=3\.\d+-slim-\w+@sha256:[0-9a-f]{64}", python)
    assert all(
        words.split()[0] == "python:${PYTHON}" for verb, words in instructions if verb == "FROM"
    )
    (environment,) = (words for verb, words in instructions if verb == "ENV")
    assert {"PYTHONSAFEPATH=1", "ORT_DISABLE_TELEMETRY=1"} < set(environment.split())


def test_image_installs_pinned_packages_alone():
    runs = [words for verb, words in dockerfile() if verb == "RUN"]
    commands = [part.split() for words in runs for part in words.split("&&")]
    pip, uv = [words for words in commands if "install" in words or "sync" in words]
    build = "/launch/requirements-build.txt"
    files = ['"/launch/requirements-${ACCELERATOR}.txt"', "/launch/requirements-cloud.txt"]
    assert pip[-3:] == ["--require-hashes", "--requirement", build]
    assert uv[-3:] == ["--require-hashes", *files]
    assert uv[uv.index("--build-constraint") + 1] == build
