"""The `lumi` command.

Only this folder prints, prompts and exits; the library below it raises. Modules here import click and
light parts of Luminoth at their top, and everything else inside command bodies, so that every `--help`
answers at once.
"""
