"""An ONNX program: uint8 images in, class scores and probabilities out, for every strategy.

What the run learned, the class embeddings, the temperature and the normalisation are inside; how
images are resized and what the classes are called stands in the program's metadata. A short client
comes with it that needs numpy, Pillow and onnxruntime.
"""

import inspect
import json
import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewtune.backbones.config_files import processor_settings
from fewtune.core.errors import AdapterError, ConfigError
from fewtune.core.files import write_text
from fewtune.exports import pixels
from fewtune.exports.hub_card import write_card
from fewtune.exports.parity_probe import Probe
from fewtune.model.towers import Activations
from fewtune.training import scoring
from fewtune.training.load_run import Tuned

PROGRAM, CLIENT = "model.onnx", "classify.py"
INLINE_BYTES = 2**30  # of weights; more lie next to the program, which holds 2 GiB at most
NEEDED = ("onnx", "onnxscript", "onnxruntime")

USAGE = """\
from classify import classify

print(classify(["image.jpg"]))
"""
CLASSIFY = '''

import json
import sys
from pathlib import Path

import onnxruntime

SESSION = onnxruntime.InferenceSession(Path(__file__).with_name("model.onnx"))
ABOUT = SESSION.get_modelmeta().custom_metadata_map
NAMES, SETTINGS = json.loads(ABOUT["classes"]), json.loads(ABOUT["preprocessing"])


def classify(files):
    """Return a dictionary of probabilities by class for each image file."""
    images = np.stack([pixels(file, SETTINGS) for file in files])
    shares = SESSION.run(["probabilities"], {"images": images})[0]
    return [dict(zip(NAMES, row.tolist(), strict=True)) for row in shares]


if __name__ == "__main__":
    for file, found in zip(sys.argv[1:], classify(sys.argv[1:]), strict=True):
        print(file, max(found, key=found.get), f"{max(found.values()):.4f}")
'''


class Program(nn.Module):
    """What is exported: uint8 images (B, S, S, 3) to logits and probabilities, both (B, C)."""

    mean: Tensor
    std: Tensor

    def __init__(self, tuned: Tuned, classes: Activations | None) -> None:
        super().__init__()
        self.head, self.net, self.classes = tuned.head, tuned.head.model.net, classes
        how = tuned.head.model.preprocess
        self.register_buffer("mean", 255 * torch.tensor(how.mean).view(3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(how.std).view(3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalise, encode and score."""
        x = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        logits = self.head(self.head.model.pixels(x), self.classes).logits
        return logits, logits.softmax(-1)


def refuse(tuned: Tuned) -> None:
    """Refuse to begin without the packages.

    Raises:
        ConfigError: One is missing.
    """
    if missing := [name for name in NEEDED if not find_spec(name)]:
        raise ConfigError(
            f"--to onnx needs {', '.join(missing)}.", hint='Type: pip install "fewtune[onnx]"'
        )


def write(tuned: Tuned, folder: Path, probe: Probe) -> None:
    """Write the program, the client and a card; the model in memory is merged.

    Raises:
        AdapterError: The strategy computes something that cannot be written as ONNX.
    """
    import onnxruntime

    model = tuned.head.model
    classes = scoring.encode_classes(tuned.head, tuned.classes, "fp32")
    if classes is not None:
        classes.embeddings()  # once, so that the program holds the result
    model.merge()
    program = _traced(Program(tuned, classes).eval(), model.preprocess.size_px)
    about = {
        "classes": json.dumps(tuned.classes.names),
        "preprocessing": json.dumps(processor_settings(model.preprocess)),
        "temperature": str(1 / model.logit_scale),
        "strategy": tuned.spec.strategy if tuned.spec else "",
        "opset": str(program.model.opset_imports[""]),
        "compared with": f"onnxruntime {onnxruntime.__version__}",
    }
    program.model.metadata_props.update(about)
    size = sum(p.numel() * p.element_size() for p in model.net.parameters())
    program.save(folder / PROGRAM, external_data=size > INLINE_BYTES)
    write_text(folder / CLIENT, inspect.getsource(pixels) + CLASSIFY)
    facts = {"ONNX opset": about["opset"], "Compared with": about["compared with"]}
    write_card(tuned, folder, "onnx", USAGE, facts)


def _traced(program: Program, side: int) -> Any:
    """Return torch's ONNX program, for any number of images.

    Raises:
        AdapterError: The strategy computes something that cannot be written as ONNX.
    """
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    shapes = ({0: torch.export.Dim("batch")},)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.onnx.export(
                program,
                (example,),
                input_names=["images"],
                output_names=["logits", "probabilities"],
                dynamic_shapes=shapes,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        first = str(error.__cause__ or error).splitlines()[0]
        raise AdapterError(
            f"This strategy computes what cannot be written as ONNX: {first}",
            hint="The run serves through `fewtune predict` and fewtune.Classifier.load.",
        ) from error


def logits(tuned: Tuned, folder: Path, probe: Probe) -> list[Tensor]:
    """Return the probe's logits (N, C) by onnxruntime, from one image and from many.

    Raises:
        AdapterError: The program takes only some numbers of images.
    """
    from onnxruntime import InferenceSession

    session = InferenceSession(folder / PROGRAM, providers=["CPUExecutionProvider"])
    size = session.get_inputs()[0].shape[0]
    if isinstance(size, int):
        raise AdapterError(
            f"The export was refused: the strategy computes with {size} images only.",
            hint="In its code, write x.shape[0] in the place of len(x).",
        )
    parts = probe.exported[:1], probe.exported[1:]
    rows = [torch.tensor(session.run(["logits"], {"images": part})[0]) for part in parts]
    return [torch.cat(rows)]
