"""What a training step predicts of a roll-out: from true frames, or fed back."""

from dataclasses import replace

import pytest
import torch
from tiny import batch, make_solver, moving, scalars, spec

from lsm.errors import OptionError
from lsm.training.unrolling import UNROLLINGS, true_windows

MOVING = moving(3, 4, fields=2, parameters=scalars("viscosity"))
FORCED = {"name": "teacher_forcing", "finish": 0.25}


def unrolled(config, solver, samples, done=0.0, seed=0):
    return UNROLLINGS.make(config)(solver, samples, done, torch.Generator().manual_seed(seed))


def make(fields=MOVING, **options):
    solver = make_solver(fields, **options).eval()
    solver.fit_normalizers(lambda: [batch(fields)])
    return solver


def test_windows_are_the_true_frames_before_each_target():
    numbers = torch.arange(20.0).reshape(1, 1, 20)  # frames of two fields: five before, five after
    samples = replace(batch(moving(5, 5, fields=2, sites=(1,)), 1), inputs=numbers[..., :10], targets=numbers[..., 10:])
    windows = true_windows(samples, 5)
    assert windows.shape == (5, 1, 10)
    assert [window[0, 0].item() for window in windows] == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert [window[0, -1].item() for window in windows] == [9.0, 11.0, 13.0, 15.0, 17.0]


def test_teacher_forcing_is_a_step_from_the_truth_for_each_frame():
    """With each sample's own parameters."""
    solver, samples = make(), batch(MOVING)
    (found,) = unrolled(FORCED, solver, samples)
    frames = torch.cat([samples.inputs, samples.targets], dim=-1)
    expected = [solver.step(frames[..., 2 * t : 2 * t + 6], None, None, samples.parameters) for t in range(4)]
    torch.testing.assert_close(found, torch.cat(expected, dim=-1))
    assert not torch.allclose(found, solver(samples))


def test_the_finish_is_fed_back():
    solver, samples = make(), batch(MOVING)
    (forced,) = unrolled(FORCED, solver, samples, done=0.75)
    (finish,) = unrolled(FORCED, solver, samples, done=0.76)
    assert torch.equal(finish, solver(samples))
    assert not torch.equal(forced, finish)
    assert torch.equal(unrolled("fed_back", solver, samples)[0], finish)


def test_batch_norm_keeps_the_statistics_of_true_frames_while_frames_are_fed_back():
    solver, samples = make().train(), batch(MOVING)
    running = {name: buffer for name, buffer in solver.model.named_buffers() if "running" in name}

    def changed_by(config, done):
        before = {name: buffer.clone() for name, buffer in running.items()}
        predicted = unrolled(config, solver, samples, done=done)[0]
        return predicted, any(not torch.equal(before[name], buffer) for name, buffer in running.items())

    assert changed_by(FORCED, 0.5)[1]
    finish, changed = changed_by(FORCED, 0.76)
    assert not changed
    assert torch.equal(finish, solver.eval()(samples))
    solver.train()
    assert changed_by({**FORCED, "finish": 1.0}, 0.0)[1], "there are no statistics of true frames"


def test_fields_at_rest_are_predicted_by_one_call():
    solver, samples = make(spec()), batch(spec())
    assert torch.equal(unrolled({**FORCED, "noise": 0.5}, solver, samples)[0], solver(samples))


def test_noise_comes_from_the_generator_and_has_the_std_of_the_field():
    solver, samples = make(), batch(MOVING)
    received = []
    solver.step_at_scales = lambda windows, *_: received.append(windows) or [windows[..., :2]]
    for seed in (0, 0, 1):
        torch.manual_seed(seed + 5)
        unrolled({**FORCED, "noise": 0.1}, solver, samples, seed=seed)
    assert torch.equal(received[0], received[1])
    assert not torch.equal(received[0], received[2])
    noise = (received[0] - true_windows(samples, 4)) / solver.input_normalizer.deviation
    # 2160 numbers of std 0.1: the std of their own std is 0.0015.
    assert 0.09 < noise.std() < 0.11


@pytest.mark.parametrize(("option", "value"), [("finish", 1.5), ("noise", -1.0)])
def test_numbers_out_of_range_are_named(option, value):
    with pytest.raises(OptionError, match=f"^{option} is {value}, expected a finite number"):
        UNROLLINGS.make({"name": "teacher_forcing", option: value})


@pytest.mark.parametrize(
    ("epochs", "finish", "expected"),
    [(4, 0.1, 1), (9, 0.1, 1), (10, 0.1, 1), (13, 0.1, 2), (20, 0.1, 2), (7, 0, 0), (7, 1, 7)],
)
def test_the_last_tenth_is_fed_back_however_few_the_epochs(epochs, finish, expected):
    unroll = UNROLLINGS.make({"name": "teacher_forcing", "finish": float(finish)})
    found = [unroll.feeds_back((epoch + 1) / epochs) for epoch in range(epochs)]
    assert found == [False] * (epochs - expected) + [True] * expected
