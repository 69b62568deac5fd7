"""`python -m fewtune` is the command `fewtune`."""

from fewtune.cli.main import main

main()
