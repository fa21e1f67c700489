"""The command line: ``attent teach``, ``plan``, ``judge``, ``report``, ``diff`` and ``backends``."""


def main() -> None:
    """Run the command line with the program's arguments."""
    from attent.cli.app import app  # brings typer, which importing this package must not

    app(prog_name="attent")
