"""LiteLLM's SDK; prints what it got as JSON. Arguments: the service's address, a folder with pictures."""

import json
import sys
from pathlib import Path

import litellm

address, folder = sys.argv[1], Path(sys.argv[2])
where = {
    "api_base": f"{address}/openai/v1",
    "api_key": "any",
    "model": "openai/stabilityai/stable-diffusion-xl-base-1.0",
}
generated = litellm.image_generation(prompt="a red circle", n=2, size="128x64", quality="low", seed=7, **where)
edited = litellm.image_edit(
    prompt="a red circle",
    image=(folder / "image.png").open("rb"),
    mask=(folder / "mask.png").open("rb"),
    quality="low",
    **where,
)
try:
    litellm.image_generation(prompt="a red circle", size="7x7", **where)
    failure = None
except litellm.BadRequestError as error:
    failure = str(error)
print(
    json.dumps(
        {
            "generated": [[item.b64_json, item.url] for item in generated.data],
            "usage": generated.usage.model_dump() if generated.usage else None,
            "edited": [item.b64_json for item in edited.data],
            "failure": failure,
        }
    )
)
