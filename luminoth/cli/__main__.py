"""`python -m luminoth.cli`: the same as `lumi`."""

from luminoth.cli.main import main

main()
