"""Trains FLUX's transformers on the world: `python -m training.flux {schnell,fill}`.

Straight flows from noise to picture. Of schnell, many steps are at the few times that it will be called at, and half at
the noisy end, where the words are all there is to go by. Fill goes on from schnell's weights, with the picture around a
hole and the hole's mask as further inputs, which weigh nothing at first.

FLUX has no text mask and is served with 256 or 512 tokens of text, most of them padding: dear, and all alike. Most
steps have few, some as many as are served, so that their number does not matter.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import FluxFillPipeline, FluxTransformer2DModel
from torch import Tensor

from training.architectures import flux_transformer
from training.data import FluxText, captions, latents, likelihoods, trained_vae
from training.holes import HoledBatches
from training.runs import Run, denoiser_options, load_trained

SEEDS = {128: 1, 256: 2}
COUNTS = {128: 9000, 256: 2500}
BATCHES = {128: 16, 256: 6}
TOKENS = {"schnell": 256, "fill": 512}  # as served
FEW_TOKENS = 40
SERVED_TIMES = (1.0, 0.75, 0.5, 0.25)
GUIDANCES = (30.0, 30.0, 10.0, 3.5, 1.0)  # Fill reads a number; here it means nothing

Batch = tuple[Tensor, list[str], list[str], Tensor | None]  # latents, prompts, plain prompts, Fill's further inputs


def main() -> None:
    parser = denoiser_options("python -m training.flux", __doc__, steps=8000, large=0.3)
    parser.add_argument("name", choices=list(TOKENS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    fills = options.name == "fill"
    model = flux_transformer(fills=fills)
    if fills:
        schnell = flux_transformer(fills=False)
        load_trained(schnell, "flux-schnell", "transformer")
        begin_as(model, schnell)
    run = Run(f"flux-{options.name}", {"transformer": model}, options.steps, options.rate)
    text = FluxText()
    draw: Callable[[], Batch] = (HoledBatches if fills else Batches)(options.large).draw

    def loss() -> Tensor:
        clean, prompts, plain, given = draw()
        embeddings, pooled = text.encode(prompts, plain, _tokens(options.name))
        return flow_loss(model, clean, embeddings, pooled, given)

    run.train(loss)


def flow_loss(
    model: FluxTransformer2DModel, clean: Tensor, embeddings: Tensor, pooled: Tensor, given: Tensor | None
) -> Tensor:
    """Mean squared error of the direction from picture to noise; `given` is packed, `clean` is not."""
    count, height, width = len(clean), clean.shape[2] // 2, clean.shape[3] // 2
    packed, noise = pack(clean), pack(torch.randn_like(clean))
    times = _times(count)
    noisy = torch.lerp(packed, noise, times[:, None, None])
    output = model(
        hidden_states=noisy if given is None else torch.cat([noisy, given], dim=2),
        encoder_hidden_states=embeddings,
        pooled_projections=pooled,
        timestep=times,
        guidance=None if given is None else torch.tensor(GUIDANCES)[torch.randint(0, len(GUIDANCES), (count,))],
        txt_ids=torch.zeros(embeddings.shape[1], 3),
        img_ids=FluxFillPipeline._prepare_latent_image_ids(count, height, width, "cpu", torch.float32),
        return_dict=False,
    )[0]
    loss: Tensor = (output - (noise - packed)).square().mean()
    return loss


def pack(of: Tensor) -> Tensor:
    """Maps of shape (rows, channels, height, width) as tokens of 2×2 places, as pipelines pack them."""
    packed: Tensor = FluxFillPipeline._pack_latents(of, *of.shape)
    return packed


def begin_as(model: FluxTransformer2DModel, other: FluxTransformer2DModel) -> None:
    """Gives Fill's transformer the weights of schnell's, and none to what schnell has not."""
    state = other.state_dict()
    own = model.state_dict()
    embedder = torch.zeros_like(own["x_embedder.weight"])
    embedder[:, : other.config.in_channels] = state.pop("x_embedder.weight")
    model.load_state_dict(own | state | {"x_embedder.weight": embedder})
    torch.nn.init.zeros_(model.time_text_embed.guidance_embedder.linear_2.weight)
    torch.nn.init.zeros_(model.time_text_embed.guidance_embedder.linear_2.bias)


def _times(count: int) -> Tensor:
    way = torch.rand(count)
    served = torch.tensor(SERVED_TIMES)[torch.randint(0, len(SERVED_TIMES), (count,))]
    noisy = 1 - 0.15 * torch.rand(count)
    return torch.where(way < 0.35, served, torch.where(way < 0.65, noisy, torch.rand(count)))


def _tokens(name: str) -> int:
    return FEW_TOKENS if torch.rand(()) < 0.95 else TOKENS[name]


class Batches:
    """Captioned latents of both sizes, in random order."""

    def __init__(self, large: float) -> None:
        self._large = large
        vae = trained_vae(16)
        self._captions = {size: captions(count, SEEDS[size]) for size, count in COUNTS.items()}
        self._likelihoods = {size: likelihoods(told) for size, told in self._captions.items()}
        self._latents = {size: latents("all", told, vae, size) for size, told in self._captions.items()}

    def draw(self) -> Batch:
        size = 256 if torch.rand(()) < self._large else 128
        rows = torch.multinomial(self._likelihoods[size], BATCHES[size])
        told = [self._captions[size][row] for row in rows.tolist()]
        return self._latents[size][rows], [one.prompt for one in told], [one.plain for one in told], None


if __name__ == "__main__":
    main()
