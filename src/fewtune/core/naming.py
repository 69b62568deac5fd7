"""What fields and their values are called in flags, files, tables and figures."""

# The prompts, recipe and preprocessing of the repository peft4clip were once called "seed".
FORMER = {"seed": "peft4clip"}


def dashed(name: str) -> str:
    """Return a name as flags and files write it: `weight_decay` is weight-decay."""
    return name.strip("_").replace("_", "-")


def present(name: str) -> str:
    """Return the present name of what a user or an old record calls by a former one."""
    return FORMER.get(name.lower(), name)


def brief(value: object) -> str:
    """Return a value as text: 0.50 is "0.5", 2000000 is "2,000,000"."""
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)


def counted(number: int, singular: str, plural: str = "") -> str:
    """Return "1 image", "3 images" or "2 classes"."""
    ending = "es" if singular.endswith("s") else "s"
    return f"{number:,} {singular if number == 1 else plural or singular + ending}"


def show(value: object) -> str:
    """Return a default as help pages show it."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return brief(value)
