"""What torchrun may not start, refused before the processes meet."""

import platform
from pathlib import Path

import pytest

from sslmlflow.config.pretrain import Pretrain
from sslmlflow.config.sweep import Sweep
from sslmlflow.errors import ConfigError
from sslmlflow.launch import joined
from sslmlflow.restarts import forget, remember, remembered


@pytest.mark.parametrize(
    ("config", "given", "why"),
    [
        (Sweep(), {}, "this command runs in one process"),
        (Pretrain(processes=3), {}, r"processes: 3 \(must be auto, 1 or 2, as started by torchrun\)"),
        (Pretrain(device="meta"), {}, r"device: meta \(must be cpu or cuda for several processes\)"),
        (
            Pretrain(),
            {"TORCHELASTIC_MAX_RESTARTS": "1"},
            r"TORCH_DISABLE_SHARE_RDZV_TCP_STORE:  \(must be 1 for torchrun --max-restarts",
        ),
    ],
)
def test_it_is_refused(config: object, given: dict[str, str], why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launched = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, text in {**launched, **given}.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError, match=why), joined(config):
        raise AssertionError("the processes met")


def test_of_torchruns_that_are_gone_nothing_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLMLFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    kept = tmp_path / "restarts"
    kept.mkdir()
    for name in (f"{platform.node()}-999999999-1.00", f"{platform.node()}-2-999999999-1.00"):
        (kept / name).write_text("a run")
    assert remembered() is None
    remember("this run")
    assert remembered() == "this run"
    assert len(list(kept.iterdir())) == 2
    forget()
    assert [path.name for path in kept.iterdir()] == [f"{platform.node()}-2-999999999-1.00"]
