import torch

from lsm.rollout import rollout


def test_windows_by_hand():
    """``next = 2 old + new``: 1, 3 -> 5, 11, 21. Any other order of the window gives other numbers."""
    seen = []

    def step(window):
        seen.append(window[0, 0].tolist())
        return 2 * window[..., :1] + window[..., 1:]

    frames = list(rollout(step, torch.tensor([[[1.0, 3.0]]]), num_steps=3))
    assert [frame.item() for frame in frames] == [5.0, 11.0, 21.0]
    assert seen == [[1.0, 3.0], [3.0, 5.0], [5.0, 11.0]]


def test_a_step_of_several_channels_moves_the_window_by_as_many():
    seen = []

    def step(window):
        seen.append(window.flatten().tolist())
        return window[..., :2] + 10

    list(rollout(step, torch.tensor([[1.0, 2.0, 3.0, 4.0]]), num_steps=3))
    assert seen == [[1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 11.0, 12.0], [11.0, 12.0, 13.0, 14.0]]


def test_gradients_reach_the_first_frames_through_all_steps():
    """Fibonacci: the fourth frame is 3 old + 5 new."""
    first = torch.tensor([[1.0, 1.0]], requires_grad=True)
    *_, last = rollout(lambda window: window.sum(-1, keepdim=True), first, num_steps=4)
    last.sum().backward()
    assert last.item() == 8
    assert first.grad.tolist() == [[3.0, 5.0]]


def test_frames_come_one_by_one():
    calls = []
    frames = rollout(lambda window: calls.append(1) or window, torch.zeros(1, 1), num_steps=5)
    assert not calls
    next(frames)
    assert len(calls) == 1
    assert not list(rollout(lambda window: window, torch.zeros(1, 1), num_steps=0))
