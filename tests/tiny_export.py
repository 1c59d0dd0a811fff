"""Exports a tiny network into the folder OUTPUT with the images of INPUT, as --mode=export does.

python tests/no_network.py tiny_export INPUT OUTPUT
"""

import sys
from pathlib import Path
from unittest import mock

from tiny_predictor import RULE, tiny_config, tiny_network

from defect_jax.deploy import export as mode
from defect_jax.workdir.best_weights import Trained

if __name__ == "__main__":
    network, ema = tiny_network(config := tiny_config())
    trained = Trained(network, config, ema, RULE)
    with mock.patch.object(mode, "restore_trained", lambda workdir, mesh: trained):
        mode.export(Path("no workdir"), output=sys.argv[2], input=sys.argv[1])
