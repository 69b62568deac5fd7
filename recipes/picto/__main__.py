from pathlib import Path
from recipes.picto.render import render
if __name__ == "__main__":
    import sys; render(Path(sys.argv[1]))
