"""Episodes are shown as text and as pictures."""

import farm_gym.render
import gymnasium as gym
import pytest
from gymnasium.error import DependencyNotInstalled

ID = "farm_gym:farm/Farm-v0"


def episode(mode, steps):
    env = gym.make(ID, render_mode=mode)
    env.reset(seed=1)
    for _ in range(steps):
        env.step(2)
    return env.render()


def test_the_text_has_a_line_for_every_step():
    text = episode("ansi", 5)
    lines = text.splitlines()
    assert len(lines) == 6
    assert "workers" in lines[0]
    assert " 17 " in lines[-1]
    assert "nothing was decided yet" in episode("ansi", 0)


def test_the_picture_is_an_array_of_pixels():
    pytest.importorskip("matplotlib")
    first, second = episode("rgb_array", 0), episode("rgb_array", 30)
    for picture in (first, second):
        assert picture.dtype == "uint8"
        assert picture.shape == (700, 800, 3)
    assert (first != second).any()


def test_without_matplotlib_the_text_remains_and_the_picture_says_what_to_install(monkeypatch):
    monkeypatch.setattr(farm_gym.render.importlib.util, "find_spec", lambda _: None)
    assert farm_gym.render.modes() == ["ansi"]
    with pytest.raises(DependencyNotInstalled, match=r"pip install 'farm-gym\[plot\]'"):
        farm_gym.render.check_mode("rgb_array")
