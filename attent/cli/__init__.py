"""The command line: ``attent teach``, ``plan``, ``judge``, ``report``, ``diff`` and ``backends``."""


def main() -> None:
    """Run the command line with the program's arguments."""
    import io
    import sys

    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that it cannot show must not end a run

    from attent.cli.app import app  # brings typer, which importing this package must not

    app(prog_name="attent")
