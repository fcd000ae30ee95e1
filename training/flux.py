"""Trains FLUX's transformers on the world: `python -m training.flux {schnell,fill}`.

Straight flows from noise to picture. Of schnell's rows, half are at the few times that it will be called at, and a
quarter at the noisy end, where the words are all there is to go by. Fill goes on from schnell's weights, with the
picture around a hole and the hole's mask as further inputs, which weigh nothing at first.

FLUX has no text mask and is served with 256 or 512 tokens of text, most of them padding, and dear. Most steps
have few, some as many as are served, so that their number does not matter.
"""

from __future__ import annotations

import torch
from diffusers import FluxFillPipeline, FluxTransformer2DModel
from torch import Tensor

from training.architectures import flux_transformer
from training.batches import Batch, Captioned
from training.data import FluxText
from training.holes import HoledBatches, pack
from training.runs import Run, denoiser_options, load_trained

COUNT = 9000  # pictures of the smallest size, for schnell
TOKENS = {"schnell": 256, "fill": 512}  # as served
FEW_TOKENS = 40
SERVED_TIMES = (1.0, 1.0, 0.75, 0.5, 0.25)  # of the first, most depends on the words
GUIDANCES = (30.0, 30.0, 10.0, 3.5, 1.0)  # Fill reads a number; here it means nothing


def main() -> None:
    parser = denoiser_options("python -m training.flux", __doc__, steps=40000)
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
    large = options.large
    batches = HoledBatches(large) if fills else Captioned(16, large, name="all", count=COUNT, seed=1)

    def loss() -> Tensor:
        batch = batches.draw()
        plain = [one.plain for one in batch.told]
        return flow_loss(model, batch, *text.encode(batch.prompts, plain, _tokens(options.name)))

    run.train(loss)


def flow_loss(model: FluxTransformer2DModel, batch: Batch, embeddings: Tensor, pooled: Tensor) -> Tensor:
    """Mean squared error of the direction from picture to noise."""
    clean, given = batch.clean, batch.given
    count, height, width = len(clean), clean.shape[2] // 2, clean.shape[3] // 2
    packed, noise = pack(clean), pack(torch.randn_like(clean))
    times = _times(count, is_schnell=given is None)
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
    loss: Tensor = (pack(batch.loss_weights.expand_as(clean)) * (output - (noise - packed)).square()).mean()
    return loss


def begin_as(model: FluxTransformer2DModel, other: FluxTransformer2DModel) -> None:
    """Gives Fill's transformer the weights of schnell's, and none to what schnell has not."""
    state = other.state_dict()
    own = model.state_dict()
    embedder = torch.zeros_like(own["x_embedder.weight"])
    embedder[:, : other.config.in_channels] = state.pop("x_embedder.weight")
    model.load_state_dict(own | state | {"x_embedder.weight": embedder})
    torch.nn.init.zeros_(model.time_text_embed.guidance_embedder.linear_2.weight)
    torch.nn.init.zeros_(model.time_text_embed.guidance_embedder.linear_2.bias)


def _times(count: int, *, is_schnell: bool) -> Tensor:
    """Of each row, from 0 (picture) to 1 (noise), of shape (count,). Fill is called at many, and learns all alike."""
    way = torch.rand(count) if is_schnell else 0.5 + 0.5 * torch.rand(count)
    served = torch.tensor(SERVED_TIMES)[torch.randint(0, len(SERVED_TIMES), (count,))]
    noisy = 1 - 0.15 * torch.rand(count)
    return torch.where(way < 0.5, served, torch.where(way < 0.75, noisy, torch.rand(count)))


def _tokens(name: str) -> int:
    return FEW_TOKENS if torch.rand(()) < 0.95 else TOKENS[name]


if __name__ == "__main__":
    main()
