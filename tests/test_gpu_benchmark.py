"""The benchmark of an accelerator runs from end to end where there is none."""

import json

import jax
import pytest

from benchmarks import gpu


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="it would measure the card")
def test_without_a_card_it_says_so(capsys, monkeypatch):
    monkeypatch.delenv("JAXSOC_GPU_DRY", raising=False)
    gpu.main(["--json"])
    said, found = capsys.readouterr().out.splitlines()
    assert said == gpu.NO_CARD
    assert json.loads(found) == {"skipped": gpu.NO_CARD}


def test_a_section_that_fails_does_not_stop_the_rest(monkeypatch):
    def broken(bench):
        raise MemoryError("the card is full")

    def sound(bench):
        return {"number": 1}

    said = []
    monkeypatch.setattr(gpu, "SECTIONS", (broken, sound))
    found = gpu.run(gpu.Bench(gpu.DRY, True, said.append))
    assert found["broken"] == {"failed": "MemoryError: the card is full"}
    assert found["sound"] == {"number": 1}
    assert "failed: MemoryError: the card is full" in said


@pytest.mark.slow
def test_every_section_runs_dry(capsys):
    gpu.main(["--json", "--dry-run"])
    lines = capsys.readouterr().out.splitlines()
    found = json.loads(lines[-1])
    for section in gpu.SECTIONS:
        assert found[section.__name__], section
        assert "failed" not in found[section.__name__], section
    assert len(gpu.table(found)) == 1 + len(found["runs"])
    assert all(one["error"] < 1e-5 for one in found["runs"].values())
