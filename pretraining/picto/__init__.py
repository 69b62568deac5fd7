"""How the embedded pictogram CLIP `picto` is made: download, render, train, align, evaluate."""
