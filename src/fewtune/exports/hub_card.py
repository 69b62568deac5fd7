"""The README.md of an export: a model card that the Hugging Face hub understands."""

from collections.abc import Mapping
from pathlib import Path

from fewtune.backbones.model_names import resolve
from fewtune.core.files import write_text
from fewtune.core.naming import counted
from fewtune.training.load_run import Tuned


def write_card(
    tuned: Tuned, folder: Path, library: str, usage: str, more: Mapping[str, str]
) -> None:
    """Write the card.

    Args:
        library: The hub's name of the library that loads it.
        usage: Python that classifies "image.jpg" from within the folder.
        more: Rows of the table of facts.
    """
    spec = tuned.spec
    assert spec is not None
    source = resolve(spec.backbone)
    licence = source.licence
    front = ["---", f"library_name: {library}", "pipeline_tag: image-classification"]
    if source.kind == "hub":
        front.append(f"base_model: {source.repo}")
    if licence:
        front.append(f"license: {licence.lower()}")
    front += [f"tags: [clip, fewtune, {spec.strategy}]", "---", ""]
    options = ", ".join(f"{name} {value}" for name, value in sorted(spec.options.items()))
    facts = {
        "Base model": source.repo or spec.backbone,
        "Revision": spec.revision,
        "Licence of the base model": licence or "unknown",
        "Strategy": f"{spec.strategy} ({options})" if options else spec.strategy,
        "Task": f"{spec.task}, {counted(len(tuned.classes), 'class')}",
        "Shots": "all images" if spec.shots is None else str(spec.shots),
        "Seed": str(spec.seed),
        "Run": spec.folder(),
        "Precision": f"fp32; the run was scored in {spec.precision}",
        **more,
    }
    lines = [f"# {spec.strategy} on {spec.task}", "", "CLIP, tuned with FewTune.", ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())]
    lines += ["", "## Use", "", "```python", *usage.splitlines(), "```", ""]
    write_text(folder / "README.md", "\n".join(front + lines))
