"""`hrat` as a shell would run it."""

from __future__ import annotations

from typer.testing import CliRunner

from hrat.cli import app


class Shell:
    """Runs commands; a traceback that nobody asked for fails the test."""

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        words = [str(part) for part in arguments]
        result = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        if "--debug" not in words:
            assert "Traceback" not in result.output
        return result.exit_code, result.stdout, result.stderr

    def works(self, *arguments: object) -> str:
        code, out, err = self(*arguments)
        assert code == 0, err
        return out

    def refuses(self, *arguments: object) -> str:
        code, _, err = self(*arguments)
        assert code == 2, err
        return err
