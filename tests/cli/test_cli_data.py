"""`fewtune data sample`: the embedded images as a folder."""

from pathlib import Path

from click.testing import CliRunner

from fewtune.cli.data import command
from fewtune.core.errors import ConfigError
from fewtune.data.layouts import open_task


def test_sample_is_a_folder_that_every_command_reads(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["sample", str(tmp_path / "clothes")])
    assert done.exit_code == 0, done.output
    task = open_task(tmp_path / "clothes")
    assert (len(task.classes), len(task.train), len(task.test)) == (10, 160, 1000)
    again = CliRunner().invoke(command, ["sample", str(tmp_path / "clothes")])
    assert isinstance(again.exception, ConfigError)
