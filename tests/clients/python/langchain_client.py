"""LangChain's DALL·E wrapper; prints the addresses that it got. Argument: the service's address."""

import sys

from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper

wrapper = DallEAPIWrapper(
    model="stabilityai/stable-diffusion-xl-base-1.0",
    n=2,
    size="256x256",
    quality="low",
    separator=" ",
    api_key="any",
    base_url=f"{sys.argv[1]}/openai/v1",
)
print(wrapper.run("a red circle"))
