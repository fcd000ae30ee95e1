// Vercel's AI SDK, with its two providers that speak OpenAI's images; prints what it got as JSON.
// Arguments: the service's address, a folder with pictures.
import fs from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateImage } from "ai";

const [address, folder] = process.argv.slice(2);
const baseURL = `${address}/openai/v1`;
const id = "stabilityai/stable-diffusion-xl-base-1.0";
const compatible = createOpenAICompatible({ name: "easel", baseURL, apiKey: "any" });
const openai = createOpenAI({ baseURL, apiKey: "any" });

async function pictures(options) {
  const { images } = await generateImage({ maxRetries: 0, ...options });
  return images.map((image) => ({ mediaType: image.mediaType, base64: image.base64 }));
}

const results = {
  compatible: await pictures({
    model: compatible.imageModel(id),
    prompt: "a red circle",
    size: "128x64",
    n: 2,
    providerOptions: { easel: { seed: 3, num_steps: 2 } },
  }),
  openai: await pictures({ model: openai.image(id), prompt: "a red circle", size: "64x64", n: 2 }),
  edit: await pictures({
    model: compatible.imageModel(id),
    prompt: {
      text: "a red circle",
      images: [fs.readFileSync(`${folder}/image.png`)],
      mask: fs.readFileSync(`${folder}/mask.png`),
    },
    providerOptions: { easel: { num_steps: 2 } },
  }),
};
try {
  await pictures({ model: compatible.imageModel(id), prompt: "a red circle", size: "7x7" });
} catch (error) {
  results.failure = { name: error.name, status: error.statusCode, message: error.message };
}
console.log(JSON.stringify(results));
