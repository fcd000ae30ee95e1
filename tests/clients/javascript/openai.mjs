// The official JavaScript SDK; prints what it got as JSON. Arguments: the service's address, a folder with pictures.
import fs from "node:fs";
import OpenAI, { toFile } from "openai";

const [address, folder] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${address}/openai/v1`, apiKey: "any", maxRetries: 0 });
const model = "stabilityai/stable-diffusion-xl-base-1.0";
const common = { model, prompt: "a red circle", quality: "low" };

async function failure(promise) {
  try {
    await promise;
    return null;
  } catch (error) {
    const { status, code, param, type, requestID } = error;
    return { kind: error.constructor.name, status, code, param, type, hasRequestId: Boolean(requestID) };
  }
}

const generated = await client.images.generate({ ...common, size: "128x64", n: 2 });

const edits = {};
for (const [name, image] of Object.entries({
  stream: fs.createReadStream(`${folder}/image.png`), // chunked, without a length
  array: [await toFile(fs.readFileSync(`${folder}/image.png`), "blob")], // image[], application/octet-stream
})) {
  const answer = await client.images.edit({
    ...common,
    image,
    mask: await toFile(fs.readFileSync(`${folder}/mask.png`), "mask.png", { type: "image/png" }),
    response_format: "b64_json",
  });
  edits[name] = answer.data[0].b64_json;
}

const events = [];
const stream = await client.images.generate({ ...common, size: "64x64", stream: true, partial_images: 2 });
for await (const event of stream) {
  events.push(event);
}

console.log(
  JSON.stringify({
    generated,
    edits,
    events,
    models: (await client.models.list()).data.map((each) => each.id),
    badSize: await failure(client.images.generate({ ...common, size: "banana" })),
    badModel: await failure(client.images.generate({ ...common, model: "dall-e-3" })),
    noPose: await failure(
      client.images.edit({
        ...common,
        model: "easel/stable-diffusion-xl-pose",
        size: "64x64",
        image: fs.createReadStream(`${folder}/image.png`),
      }),
    ),
  }),
);
