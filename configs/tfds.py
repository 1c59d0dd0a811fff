"""A data set that TFDS has prepared as array_record, of any name; TensorFlow is not needed.

    python -m defect_jax.main --config=configs/tfds.py --config.data.root=tensorflow_datasets \
        --config.data.tfds=my_parts:1.0.0 --mode=check

NAME[/CONFIG][:VERSION] below the TFDS data folder; without a version, the highest. Image and mask
are features of it, and so may be label, id and the group of images that show the same part. As in
configs/folder.py, what is not named is chosen by images and machine; the variants are the same.
"""

import ml_collections

from defect_jax.configs import folder


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    config = folder.get_config(variant)
    config.data.name = "tfds"
    with config.unlocked():
        data = config.data
        data.tfds = ""
        data.tfds_image = "image"
        data.tfds_mask = "mask"
        data.tfds_label = ""  # good is 0, or a class called good, ok, …; empty: as the masks say
        data.tfds_id = ""  # of an image; empty: its place in the set
        data.tfds_group = ""  # the part that is shown; empty: each image is a part of its own
    return config
