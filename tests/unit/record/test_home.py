"""Where Footplate's home is."""

import os
import stat
import sys
from pathlib import Path

import pytest

from footplate.errors import InputError
from footplate.record.home import get_home


def test_home_is_made_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTPLATE_HOME", str(tmp_path / "a" / "home"))
    home = get_home()
    assert home == tmp_path / "a" / "home"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert get_home() == home


def test_a_relative_home_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOOTPLATE_HOME", "here")
    assert get_home() == tmp_path / "here"


@pytest.mark.skipif(sys.platform == "darwin", reason="XDG_DATA_HOME means nothing on macOS")
def test_without_the_variable_the_platforms_data_folder_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FOOTPLATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert get_home() == tmp_path / ".local" / "share" / "footplate"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert get_home() == tmp_path / "data" / "footplate"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert get_home() == tmp_path / ".local" / "share" / "footplate"


def test_a_file_in_the_way_is_told_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FOOTPLATE_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(InputError, match="cannot make Footplate's home") as caught:
        get_home()
    assert "FOOTPLATE_HOME" in caught.value.hint
    assert os.listdir(tmp_path) == ["file"]
