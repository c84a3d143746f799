"""What families share that keep a token at every site: pre-norm residual blocks, mixers of tokens, small initial weights.

A mixer maps ``(b, *sites, c)`` to ``(b, *sites, c)``; a family is its mixer between a lift and a head. A mask ``(b, n)``, True
where a point of a ragged cloud exists, keeps padding out of the values at all other points.
"""

from __future__ import annotations

from collections.abc import Callable

from einops import pack, rearrange, unpack
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from lsm.errors import OptionError
from lsm.model.precision import at_least_single, full_precision

#: The sites that :func:`split_heads` has flattened.
Sites = list[tuple[int, ...] | list[int]]


class PreNormBlock(nn.Module):
    """``u + mixer(norm(u))``, then ``u + feedforward(norm(u))``, with layer norm over the channels.

    Args:
        width: channels.
        mixer: maps ``(b, *sites, c)`` and a mask to the same shape, and lets sites exchange information.
        feedforward: acts at each site alone.
    """

    def __init__(self, width: int, mixer: nn.Module, feedforward: nn.Module) -> None:
        super().__init__()
        self.mixer_norm, self.mixer = nn.LayerNorm(width), mixer
        self.feedforward_norm, self.feedforward = nn.LayerNorm(width), feedforward

    def forward(self, field: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``(b, *sites, c)`` to ``(b, *sites, c)``."""
        field = field + self.mixer(self.mixer_norm(field), mask)
        return field + self.feedforward(self.feedforward_norm(field))


class Blocks(nn.Sequential):
    """Blocks ``(b, *sites, c) -> (b, *sites, c)`` one after the other, which share a mask."""

    def forward(self, field: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``(b, *sites, c)`` to ``(b, *sites, c)``."""
        for block in self:
            field = block(field, mask)
        return field


def repeat(count: int, make_block: Callable[[], nn.Module]) -> Blocks:
    """Several blocks ``(b, *sites, c) -> (b, *sites, c)`` one after the other, each with weights of its own."""
    return Blocks(*(make_block() for _ in range(count)))


def key_mask(mask: Tensor | None) -> Tensor | None:
    """A mask of points ``(b, n)`` as one of attention among all heads and queries, ``(b, 1, 1, n)``."""
    return None if mask is None else mask[:, None, None, :]


def attention(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """``softmax(scale q k^T) v``, on a CPU in single precision: in bfloat16 a training step of it takes up to ten times as long.

    Args:
        queries: ``(b, h, q, c)``.
        keys: ``(b, h, k, c)``.
        values: ``(b, h, k, c)``.
        mask: points ``(b, k)`` that exist; others have no influence.
        scale: ``1 / sqrt(c)`` by default.
    Returns:
        ``(b, h, q, c)``, in the precision of the values.
    """
    if queries.device.type != "cpu":
        return scaled_dot_product_attention(queries, keys, values, key_mask(mask), scale=scale)
    given = values.dtype
    with full_precision(queries):
        queries, keys, values = map(at_least_single, (queries, keys, values))
        return scaled_dot_product_attention(queries, keys, values, key_mask(mask), scale=scale).to(given)


def split_heads(field: Tensor, heads: int) -> tuple[Tensor, Sites]:
    """Tokens by head: ``(b, *sites, h * c)`` to ``(b, h, n, c)``, and the sites for :func:`join_heads`."""
    tokens, sites = pack([field], "b * c")
    return rearrange(tokens, "b n (h c) -> b h n c", h=heads), sites


def join_heads(tokens: Tensor, sites: Sites) -> Tensor:
    """The inverse of :func:`split_heads`: ``(b, h, n, c)`` to ``(b, *sites, h * c)``."""
    (field,) = unpack(rearrange(tokens, "b h n c -> b n (h c)"), sites, "b * c")
    return field


def require_heads(heads: int, width: int) -> None:
    """Check that the channels can be shared among heads.

    Raises:
        OptionError: they cannot.
    """
    if width % heads:
        raise OptionError("heads", f"is {heads}, which does not divide {width} channels; give a width that it divides")


def start_small(model: nn.Module) -> None:
    """Draw the weights of all linear layers from a normal distribution of std 0.02; biases become zero."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
