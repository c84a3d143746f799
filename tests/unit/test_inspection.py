from copy import deepcopy

import pytest
import torch
from tiny import batch, make_solver, model_config, scalars, spec

from lsm.errors import InputError
from lsm.model.inspection import inspect_latents
from lsm.solver import build_solver

PATCH = (3, 2)
GRID = spec(sites=(7, 6))

#: A small LSM-2 with blocks at two scales.
SECOND = {
    "name": "lsm2",
    "width": 8,
    "num_scales": 2,
    "latent_scales": 2,
    "block": {"name": "global_spectral", "heads": 4, "num_tokens": 3, "num_basis": 2},
}


def second_solver(fields, **options):
    solver = build_solver({"model": SECOND | options, "normalization": {"inputs": "none", "targets": "none"}}, fields)
    solver.fit_normalizers(lambda: [batch(fields)])
    for parameter in solver.model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return solver.eval()


def solver_of(fields, patch=PATCH, **config):
    solver = make_solver(fields, inputs="none", targets="none", patch=patch, **config)
    for parameter in solver.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return solver.eval()


def block_traffic(solver, samples):
    """What goes into and comes out of each block in a prediction, ``(patches, points, c)``."""
    traffic, hooks = {}, []
    for scale, block in enumerate(solver.model.trunk.blocks):
        hooks.append(
            block.register_forward_hook(lambda _, given, out, scale=scale: traffic.update({scale: (given[0], out)}))
        )
    with torch.no_grad():
        solver(samples)
    for hook in hooks:
        hook.remove()
    return [traffic[scale] for scale in range(len(traffic))]


def test_what_is_shown_is_what_a_prediction_does():
    """Site by site: the maps, in the field's order of sites, and the tokens of a site's patch give the block's output."""
    solver, samples = solver_of(GRID), batch(GRID, size=2)
    scales = inspect_latents(solver, samples)
    padded = [(12, 8), (6, 4)]
    for seen, (given, out), block, shape in zip(
        scales, block_traffic(solver, samples), solver.model.trunk.blocks, padded, strict=True
    ):
        patches = (shape[0] // 3, shape[1] // 2)
        size = given.shape[-1] // 4
        for b, i, j in [(0, 0, 0), (1, 3, 1), (0, 2, 2), (1, 1, 2)]:
            patch = (i // 3) * patches[1] + j // 2
            row, point = b * patches[0] * patches[1] + patch, (i % 3) * 2 + j % 2
            for head in range(4):
                received = seen.spreading[b, head, :, i, j] @ seen.solved[b, patch, head]
                channels = slice(head * size, (head + 1) * size)
                expected = out[row, point, channels] - given[row, point, channels]
                torch.testing.assert_close(received, expected, rtol=1e-4, atol=1e-5)
        assert seen.gathering.shape == (2, 4, 2, *((7, 6) if seen is scales[0] else (4, 3)))
        tokens = block.gather(given)[0].reshape(seen.tokens.shape)
        torch.testing.assert_close(seen.tokens, tokens)


def test_shares_of_a_patch_and_of_the_tokens_sum_to_one():
    finest, _ = inspect_latents(solver_of(GRID), batch(GRID))
    whole_patches = finest.gathering[..., :6, :6].unfold(-2, 3, 3).unfold(-2, 2, 2).sum((-1, -2))
    torch.testing.assert_close(whole_patches, torch.ones_like(whole_patches))
    torch.testing.assert_close(finest.spreading.sum(2), torch.ones(3, 4, 7, 6))


def test_basis_weights_are_those_of_the_sum():
    solver = solver_of(GRID)
    for seen, block in zip(inspect_latents(solver, batch(GRID)), solver.model.trunk.blocks, strict=True):
        basis = seen.basis
        t = torch.full((1, len(basis.sines)), 0.7)
        phases = 0.7 * basis.frequencies
        expected = t + (basis.sines * phases.sin() + basis.cosines * phases.cos()).sum(-1)
        torch.testing.assert_close(block.spectral(t), expected)


def test_a_cloud_is_seen_on_its_latent_grid():
    fields = spec(geometry="points", sites=(20,), inputs=2, code=3)
    solver, samples = solver_of(fields, projection={"modes": 2, "resolution": 10}), batch(fields, size=2)
    samples.coords = 20 * samples.coords - 3  # far from the unit square, to which the solver brings them
    solver.fit_normalizers(lambda: [samples])
    finest, coarser = inspect_latents(solver, samples)
    assert finest.gathering.shape == (2, 4, 2, 10, 10)
    assert coarser.gathering.shape == (2, 4, 2, 5, 5)
    for seen, (given, _), block in zip(
        (finest, coarser), block_traffic(solver, samples), solver.model.trunk.blocks, strict=True
    ):
        torch.testing.assert_close(seen.tokens, block.gather(given)[0].reshape(seen.tokens.shape))


def test_parameters_are_seen_too():
    fields = spec(sites=(7, 6), parameters=scalars("mach"))
    solver, samples = solver_of(fields), batch(fields)
    finest, _ = inspect_latents(solver, samples)
    (given, _), _ = block_traffic(solver, samples)
    tokens = solver.model.trunk.blocks[0].gather(given)[0].reshape(finest.tokens.shape)
    torch.testing.assert_close(finest.tokens, tokens)


def test_ablated_solvers_say_what_they_lack():
    samples = batch(GRID)
    others = [{"name": "unet", "width": 4, "num_scales": 2}, {"name": "fno", "width": 4, "modes": 2}]
    without = [model_config() | {"block": {"name": "neural_spectral", "latent": False}}]
    without += [{**model, "block": {"name": "identity"}} for model in (model_config(), SECOND)]
    for model in (*others, *without):
        solver = build_solver({"model": model}, GRID).eval()
        with pytest.raises(InputError, match="only LSM and LSM-2 whose spectral blocks have latent tokens"):
            inspect_latents(solver, samples)
    (seen, *_) = inspect_latents(solver_of(GRID, block={"spectral": False}), samples)
    assert seen.basis is None
    torch.testing.assert_close(seen.solved, seen.tokens)


def updates_of(block, seen):
    """What the block adds to each site according to its maps and tokens, ``(b, n, c)``."""
    received = seen.spreading.flatten(3).transpose(2, 3) @ seen.solved[:, 0]
    return block.out(received.transpose(1, 2).flatten(2))


@torch.no_grad()
def test_blocks_of_the_second_generation_are_seen_in_the_order_of_a_prediction():
    solver, samples = second_solver(GRID), batch(GRID, size=2)
    layers = [solver.model.body.down[1][1], solver.model.body.up[0][1]]
    traffic, hooks = [], []
    for layer in layers:
        hooks.append(layer.register_forward_hook(lambda _, given, out: traffic.append((given[0], out))))
    solver(samples)
    for hook in hooks:
        hook.remove()
    seen = inspect_latents(solver, samples)
    assert [(latents.scale, latents.patch, latents.patches) for latents in seen] == [
        (1, (4, 3), (1, 1)),
        (0, (7, 6), (1, 1)),
    ]
    for latents, layer, (given, out) in zip(seen, layers, traffic, strict=True):
        change = (out - given).flatten(2).transpose(1, 2)
        torch.testing.assert_close(updates_of(layer.block, latents), change, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(latents.update, out - given)
        torch.testing.assert_close(latents.gathering.flatten(3).sum(-1), torch.ones(2, 4, 3))
        basis, tokens = latents.basis, torch.full((1, len(latents.basis.sines)), 0.7)
        expected = tokens + (
            basis.sines * (0.7 * basis.frequencies).sin() + basis.cosines * (0.7 * basis.frequencies).cos()
        ).sum(-1)
        torch.testing.assert_close(layer.block.solve[0](tokens), expected)


@torch.no_grad()
def test_points_of_clouds_of_different_sizes_are_seen_without_the_padding():
    fields = spec("points", (20,), inputs=2, ragged=True)
    solver, samples = second_solver(fields, lattice=6, point_blocks=True), batch(fields, size=4)
    *on_lattice, on_points = inspect_latents(solver, samples)
    assert [latents.gathering.shape[3:] for latents in on_lattice] == [(3, 3), (6, 6)]
    assert all(latents.positions is None for latents in on_lattice)
    torch.testing.assert_close(on_points.positions, solver.encode(samples.inputs, samples.coords)[1])
    outside = on_points.gathering.transpose(1, 3)[~samples.mask]
    assert outside.numel() > 0
    assert not outside.any()
    torch.testing.assert_close(on_points.gathering.sum(-1), torch.ones(4, 4, 3))
    first = samples.sample(3)
    alone = inspect_latents(solver, first.stack([first]))
    torch.testing.assert_close(alone[-1].tokens, on_points.tokens[3:])


def test_a_solver_is_inspected_in_evaluation_mode():
    solver, samples = solver_of(GRID), batch(GRID)
    expected, before = inspect_latents(solver, samples), deepcopy(solver.state_dict())
    found = inspect_latents(solver.train(), samples)
    assert solver.training
    assert all(torch.equal(before[name], value) for name, value in solver.state_dict().items())
    for latents, others in zip(found, expected, strict=True):
        torch.testing.assert_close(latents.tokens, others.tokens, rtol=0, atol=0)


@torch.no_grad()
def test_padding_of_a_cloud_has_no_influence_on_what_is_seen():
    fields = spec("points", (20,), inputs=2, ragged=True)
    for solver in (
        second_solver(fields, lattice=6),
        make_solver(fields, inputs="none", projection={"modes": 2, "resolution": 10}).eval(),
    ):
        samples = batch(fields, size=4)
        before = inspect_latents(solver, samples)
        samples.inputs = torch.where(samples.mask[..., None], samples.inputs, 7.0)
        for latents, changed in zip(before, inspect_latents(solver, samples), strict=True):
            torch.testing.assert_close(latents.tokens, changed.tokens)
