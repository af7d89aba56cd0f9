from pathlib import Path

import pytest

from lrbench.spec import ConfigError
from lrbench.tracking.sync import publish_folder


def test_a_folder_without_finished_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        publish_folder(tmp_path, None)
    assert str(raised.value) == (
        f"{tmp_path}: must have finished runs in {tmp_path / 'trials'}. Use the folder of a sweep, such as runs/quick."
    )
