"""The Latent Spectral Model in plain loops, written from its equations alone; shares no code with the library.

Every function takes a state dict with the names of the public reference code, so that one random state dict can be handed
to the oracle and, by import, to the library. Loops run over heads, tokens, basis functions, wave numbers, sites of a patch;
only points and batch are arrays, since nothing mixes there but by the sums that are written out.
"""

import itertools
import math

import torch
from torch.nn import functional

HEADS = 8
CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
MAX_POOL = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


def part(state, name):
    """The entries below ``name.``, without that prefix."""
    return {key[len(name) + 1 :]: value for key, value in state.items() if key.startswith(name + ".")}


def linear(values, layer):
    """``(..., c_in) -> (..., c_out)``; a 1x1 convolution is the same with trailing axes of one."""
    weight = layer["weight"].reshape(layer["weight"].shape[:2])
    return values @ weight.T + layer["bias"]


# ---------------------------------------------------------------------------------------------- neural spectral block


def spectral_block(points, block):
    """``(n, p, c) -> (n, p, c)``: every ``n`` is a patch of its own."""
    latent, weights = block["latent"], block["weights"]
    heads, num_tokens, size = latent.shape
    num_basis = weights.shape[1] // 2
    pairs, queries = linear(points, part(block, "encoder_attn")), linear(points, part(block, "decoder_attn"))
    channels = []
    for head in range(heads):
        rows = [head * size + channel for channel in range(size)]
        keys, values = pairs[..., [2 * row for row in rows]], pairs[..., [2 * row + 1 for row in rows]]
        tokens = []
        for token in range(num_tokens):
            seen = torch.exp((keys * latent[head, token]).sum(-1))
            share = seen / seen.sum(-1, keepdim=True)
            t = (share[..., None] * values).sum(-2) + latent[head, token]
            solved = t
            for i in range(num_basis):
                solved = solved + weights[rows, i] * torch.sin(i * math.pi * t / num_basis)
                solved = solved + weights[rows, num_basis + i] * torch.cos(i * math.pi * t / num_basis)
            tokens.append(solved)
        seen = [torch.exp((queries[..., rows] * token[:, None]).sum(-1)) for token in tokens]
        total = sum(seen)
        channels.append(sum((s / total)[..., None] * token[:, None] for s, token in zip(seen, tokens, strict=True)))
    return torch.cat(channels, dim=-1) + points


def spectral_block_by_scalars(points, block):
    """The same for one patch, ``p`` lists of ``c`` numbers, without any array arithmetic."""
    weight, latent = block["weights"].tolist(), block["latent"].tolist()
    heads, num_tokens, size = len(latent), len(latent[0]), len(latent[0][0])
    num_basis = len(weight[0]) // 2
    channels = heads * size
    encoder, encoder_bias = block["encoder_attn.weight"].reshape(2 * channels, -1).tolist(), block["encoder_attn.bias"]
    decoder, decoder_bias = block["decoder_attn.weight"].reshape(channels, -1).tolist(), block["decoder_attn.bias"]

    def apply(matrix, bias, row, point):
        return float(bias[row]) + sum(matrix[row][c] * point[c] for c in range(channels))

    out = [list(point) for point in points]
    for head in range(heads):
        first = head * size
        keys = [[apply(encoder, encoder_bias, 2 * (first + c), x) for c in range(size)] for x in points]
        values = [[apply(encoder, encoder_bias, 2 * (first + c) + 1, x) for c in range(size)] for x in points]
        queries = [[apply(decoder, decoder_bias, first + c, x) for c in range(size)] for x in points]
        tokens = []
        for token in range(num_tokens):
            start = latent[head][token]
            seen = [math.exp(sum(start[c] * key[c] for c in range(size))) for key in keys]
            solved = []
            for c in range(size):
                t = sum(s / sum(seen) * value[c] for s, value in zip(seen, values, strict=True)) + start[c]
                row = weight[first + c]
                waves = [
                    row[i] * math.sin(i * math.pi * t / num_basis)
                    + row[num_basis + i] * math.cos(i * math.pi * t / num_basis)
                    for i in range(num_basis)
                ]
                solved.append(t + sum(waves))
            tokens.append(solved)
        for index, query in enumerate(queries):
            seen = [math.exp(sum(query[c] * token[c] for c in range(size))) for token in tokens]
            for c in range(size):
                out[index][first + c] += sum(s / sum(seen) * token[c] for s, token in zip(seen, tokens, strict=True))
    return out


# ------------------------------------------------------------------------------------------------------------ the trunk


def patch_members(grid, patch):
    """``(patches, points)``: which flat sites belong to each patch, found site by site."""
    counts = [size // sites for size, sites in zip(grid, patch, strict=True)]
    members = [[] for _ in range(math.prod(counts))]
    for flat, site in enumerate(itertools.product(*map(range, grid))):
        number = 0
        for position, sites, count in zip(site, patch, counts, strict=True):
            number = number * count + position // sites
        members[number].append(flat)
    return torch.tensor(members)


def block_on_grid(features, block, patch):
    """The spectral block on each patch of ``(b, c, *n)``."""
    batch, channels, *grid = features.shape
    members = patch_members(grid, patch)
    points = features.reshape(batch, channels, -1)[:, :, members]  # (b, c, patches, points)
    points = points.permute(0, 2, 3, 1).reshape(-1, members.shape[1], channels)
    solved = spectral_block(points, block).reshape(batch, members.numel(), channels)
    back = torch.empty(members.numel(), dtype=torch.long)
    back[members.flatten()] = torch.arange(members.numel())
    return solved[:, back].movedim(-1, 1).reshape(features.shape)


def double_conv(features, layers, training):
    """[3^d convolution, batch norm, ReLU] twice; running statistics in ``layers`` are changed in training."""
    for conv, norm in (("0", "1"), ("3", "4")):
        features = CONV[features.dim() - 2](features, layers[f"{conv}.weight"], padding=1)
        features = functional.batch_norm(
            features,
            layers[f"{norm}.running_mean"],
            layers[f"{norm}.running_var"],
            layers[f"{norm}.weight"],
            layers[f"{norm}.bias"],
            training=training,
        ).clamp(min=0)
    return features


def upsample(features):
    """Twice the sites along each axis, linear between them, first and last site kept."""
    for axis in range(2, features.dim()):
        size = features.shape[axis]
        columns = []
        for site in range(2 * size):
            position = site * (size - 1) / (2 * size - 1)
            left = min(int(position), max(size - 2, 0))
            right = min(left + 1, size - 1)
            share = position - left
            columns.append((1 - share) * features.select(axis, left) + share * features.select(axis, right))
        features = torch.stack(columns, dim=axis)
    return features


def trunk(grid, state, patch, training, num_scales=5):
    """``(b, w, *n) -> (b, w, *n)``: pad, five scales down and up, the last 1x1 convolution, crop."""
    rank = grid.dim() - 2
    padded = []
    for size, sites in zip(grid.shape[2:], patch, strict=True):
        unit = 2 ** (num_scales - 1) * sites
        padded.append(math.ceil(size / unit) * unit)
    features = grid.new_zeros(*grid.shape[:2], *padded)
    inside = (slice(None), slice(None), *(slice(0, size) for size in grid.shape[2:]))
    features[inside] = grid
    scales = [double_conv(features, part(state, "inc.double_conv"), training)]
    for scale in range(1, num_scales):
        pooled = MAX_POOL[rank](scales[-1], 2)
        scales.append(double_conv(pooled, part(state, f"down{scale}.maxpool_conv.1.double_conv"), training))
    solved = [block_on_grid(f, part(state, f"process{s + 1}"), patch) for s, f in enumerate(scales)]
    features = solved[-1]
    for up in range(1, num_scales):
        joined = torch.cat([solved[num_scales - 1 - up], upsample(features)], dim=1)
        features = double_conv(joined, part(state, f"up{up}.conv.double_conv"), training)
    mixed = linear(features.movedim(1, -1), part(state, "outc.conv")).movedim(-1, 1)
    return mixed[inside]


def head(features, state):
    """``(..., w) -> (..., c_out)`` with the exact GELU."""
    hidden = linear(features, part(state, "fc1"))
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    return linear(hidden, part(state, "fc2"))


def grid_model(inputs, state, patch, training, num_scales=5):
    """``(b, *grid, c_in) -> (b, *grid, c_out)``."""
    grid = inputs.shape[1:-1]
    own = inputs.new_empty(*grid, len(grid))
    for site in itertools.product(*map(range, grid)):
        for axis, size in enumerate(grid):
            own[(*site, axis)] = site[axis] / (size - 1)
    lifted = linear(torch.cat([inputs, own.expand(len(inputs), *own.shape)], dim=-1), part(state, "fc0"))
    return head(trunk(lifted.movedim(-1, 1), state, patch, training, num_scales).movedim(1, -1), state)


# --------------------------------------------------------------------------------------------------------- point clouds


def deformation(coords, code, state, bands=8):
    """``xi = x + x f(x, code)`` of points ``(b, n, 2)``; ``code`` may be None."""
    x, y = coords[..., 0], coords[..., 1]
    four = [x, y, torch.atan2(y - 1e-4, x - 1e-4), torch.sqrt((x - 1e-4) ** 2 + (y - 1e-4) ** 2)]
    sines = [torch.sin(math.pi * 2**band * value) for value in four for band in range(bands)]
    cosines = [torch.cos(math.pi * 2**band * value) for value in four for band in range(bands)]
    features = [linear(torch.stack(four, -1), part(state, "fc0")), torch.stack(sines, -1), torch.stack(cosines, -1)]
    if code is None:
        hidden = linear(torch.cat(features, dim=-1), part(state, "fc_no_code"))
    else:
        shape = torch.stack([linear(code, part(state, "fc_code"))] * coords.shape[1], dim=1)
        hidden = torch.cat([shape, *features], dim=-1)
    for layer in ("fc1", "fc2", "fc3"):
        hidden = torch.tanh(linear(hidden, part(state, layer)))
    return coords + coords * linear(hidden, part(state, "fc4"))


def wave_rows(modes):
    """``k1`` in stored order, each with its weight tensor's name and its row there."""
    return [(k, "weights1", k) for k in range(modes)] + [(k, "weights2", k + modes) for k in range(-modes, 0)]


def wave(points, k1, k2):
    """``exp(2 pi i <k, xi>)``, ``(b, n, 1)``."""
    phase = 2 * math.pi * (k1 * points[..., :1] + k2 * points[..., 1:])
    return torch.complex(torch.cos(phase), torch.sin(phase))


def turns(k, resolution, like):
    """``exp(2 pi i k j / r)`` for every site ``j`` of a grid's axis."""
    phase = torch.tensor([2 * math.pi * k * site / resolution for site in range(resolution)], dtype=like.dtype)
    return torch.complex(torch.cos(phase), torch.sin(phase))


def points_to_grid(values, points, weights, modes, resolution):
    """Values ``(b, n, w)`` at ``points`` to ``(b, w, r, r)``: weighted coefficients, summed as a real Fourier series."""
    batch, _, width = values.shape
    grid = values.new_zeros(batch, width, resolution, resolution)
    for k1, name, row in wave_rows(modes):
        for k2 in range(modes):
            coefficient = (values * wave(points, k1, k2).conj()).sum(1)
            mixed = coefficient @ weights[name][:, :, row, k2]
            plane = turns(k1, resolution, values)[:, None] * turns(k2, resolution, values)
            grid = grid + (1 if k2 == 0 else 2) * (mixed[..., None, None] * plane).real / resolution**2
    return grid


def grid_to_points(grid, points, weights, modes, rows):
    """A grid ``(b, w, r, r)`` to the points, ``(b, n, w)``: weighted coefficients, both halves of ``k2``, direct sum."""
    resolution = grid.shape[-1]
    kept = {}
    for k1, name, row in wave_rows(modes):
        for k2 in range(modes):
            plane = turns(-k1, resolution, grid)[:, None] * turns(-k2, resolution, grid)
            kept[k1, k2] = (grid * plane).sum((-2, -1)) @ weights[name][:, :, row, k2]
    values = 0
    for (k1, k2), coefficient in kept.items():
        values = values + (coefficient[:, None] * wave(points, k1, k2)).real
        if k2 > 0:
            # The wave at -k is the partner of that at k; the published code puts it one row off, at -k1 - 1.
            partner = -k1 if rows == "symmetric" else -k1 - 1
            values = values + (coefficient.conj()[:, None] * wave(points, partner, -k2)).real
    return values


def cloud_model(inputs, coords, code, state, deform, patch, training, rows, modes=12, resolution=96, num_scales=5):
    """``(b, n, c_in)`` at ``coords (b, n, 2)`` to ``(b, n, c_out)``."""
    points = deformation(coords, code, deform)
    lifted = linear(inputs, part(state, "fc0"))
    grid = points_to_grid(lifted, points, part(state, "fftproject_in"), modes, resolution)
    axis = [site / (resolution - 1) for site in range(resolution)]
    own = torch.tensor([[[x, y] for y in axis] for x in axis], dtype=inputs.dtype)
    grid = functional.gelu(grid + linear(own, part(state, "convproject_in")).movedim(-1, 0))
    grid = trunk(grid, state, patch, training, num_scales)
    values = grid_to_points(grid, points, part(state, "fftproject_out"), modes, rows)
    return head(values + linear(coords, part(state, "convproject_out")), state)


# ------------------------------------------------------------------------------------- random weights, reference's names


def random_state(shapes, generator):
    """Random values that keep fields of order one: weights scaled by what they sum over, variances positive."""
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(3)
        elif "fftproject" in name:
            parts = torch.randn(2, *shape, generator=generator, dtype=torch.float64) / shape[0]
            state[name] = torch.complex(parts[0], parts[1])
        else:
            values = torch.randn(shape, generator=generator, dtype=torch.float64)
            if name.endswith("running_var"):
                values = 0.5 + values.abs()
            elif len(shape) > 1 and not name.endswith(("latent", ".weights")):
                values = values / math.sqrt(math.prod(shape[1:]))
            elif name.endswith(".weight"):
                values = 1 + 0.2 * values
            else:
                values = 0.3 * values
            state[name] = values
    return state


def grid_shapes(rank, width, in_channels, out_channels, num_scales=5, num_tokens=4, num_basis=12):
    """Names and shapes of the reference's state dict of a grid model."""
    shapes = {}

    def add_linear(name, fan_in, fan_out, trailing=0):
        shapes[f"{name}.weight"] = (fan_out, fan_in, *[1] * trailing)
        shapes[f"{name}.bias"] = (fan_out,)

    def add_double_conv(name, fan_in, fan_out, mid):
        for conv, norm, source, end in (("0", "1", fan_in, mid), ("3", "4", mid, fan_out)):
            shapes[f"{name}.double_conv.{conv}.weight"] = (end, source, *[3] * rank)
            for entry in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{name}.double_conv.{norm}.{entry}"] = (end,)
            shapes[f"{name}.double_conv.{norm}.num_batches_tracked"] = ()

    channels = [width * 2**scale for scale in range(num_scales)]
    if num_scales > 1:
        channels[-1] = channels[-2]
    add_linear("fc0", in_channels + rank, width)
    add_linear("fc1", width, 128)
    add_linear("fc2", 128, out_channels)
    add_linear("outc.conv", width, width, rank)
    add_double_conv("inc", width, width, width)
    for scale in range(1, num_scales):
        add_double_conv(f"down{scale}.maxpool_conv.1", channels[scale - 1], channels[scale], channels[scale])
    for up in range(1, num_scales):
        count = channels[num_scales - 1 - up]
        add_double_conv(f"up{up}.conv", 2 * count, channels[max(num_scales - 2 - up, 0)], count)
    for scale, count in enumerate(channels, start=1):
        shapes[f"process{scale}.weights"] = (count, 2 * num_basis)
        shapes[f"process{scale}.latent"] = (HEADS, num_tokens, count // HEADS)
        add_linear(f"process{scale}.encoder_attn", count, 2 * count, rank)
        add_linear(f"process{scale}.decoder_attn", count, count, rank)
    return shapes


def cloud_shapes(width, in_channels, out_channels, modes=12, num_scales=5):
    """Names and shapes of the reference's state dict of a point-cloud model, without the deformation."""
    shapes = grid_shapes(2, width, in_channels - 2, out_channels, num_scales)
    for way in ("in", "out"):
        shapes[f"fftproject_{way}.weights1"] = shapes[f"fftproject_{way}.weights2"] = (width, width, modes, modes)
    return shapes | {
        "convproject_in.weight": (width, 2, 1, 1),
        "convproject_in.bias": (width,),
        "convproject_out.weight": (width, 2, 1),
        "convproject_out.bias": (width,),
    }


def deformation_shapes(code=42):
    """Names and shapes of the reference's deformation network."""
    sizes = {"fc0": (32, 4), "fc_code": (32, code), "fc_no_code": (128, 96)}
    sizes |= {"fc1": (128, 128), "fc2": (128, 128), "fc3": (128, 128), "fc4": (2, 128)}
    return {
        name: shape
        for layer, size in sizes.items()
        for name, shape in ((f"{layer}.weight", size), (f"{layer}.bias", size[:1]))
    }


def differentiable(state):
    """A copy whose parameters gather gradients and whose running statistics may be changed."""
    learned = {name: not name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in state}
    return {name: value.clone().requires_grad_(learned[name]) for name, value in state.items()}
