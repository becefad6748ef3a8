// Fetches kernel and weights, hashes them, and runs texts; in a thread of its own, so that the page stays live.
import { blake3, hex } from "./blake3.js";
import { encode, openArtifact, placeOfAWeight } from "./kernel.js";

let loaded = null; // { kernel, model, module, digests }
let flipped = false;

const tell = (step, share) => postMessage({ step, share });

async function download(address, total, step) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address} was not sent (${answer.status})`);
  const bytes = new Uint8Array(total);
  let done = 0;
  for (const reader = answer.body.getReader(); ;) {
    const { done: over, value } = await reader.read();
    if (over) break;
    if (done + value.length > total) throw new Error("more was sent than announced");
    bytes.set(value, done);
    done += value.length;
    tell(step, done / total);
  }
  if (done !== total) throw new Error(`${done} of ${total} bytes were sent`);
  return bytes;
}

async function load({ kernel, model, bytes }) {
  const code = new Uint8Array(await (await fetch(`/verify/kernel/${kernel}`)).arrayBuffer());
  const weights = await download(`/verify/model/${model}`, bytes, "Fetching the weights");
  tell("Hashing kernel and weights", null);
  const digests = { kernel: hex(blake3(code)), model: hex(blake3(weights)) };
  loaded = { weights, artifact: openArtifact(weights), module: await WebAssembly.compile(code), digests };
}

function setFlipped(wanted) {
  if (wanted === flipped) return;
  const { byte, bit } = placeOfAWeight(loaded.artifact.kernel);
  loaded.artifact.kernel[byte] ^= 1 << bit;
  flipped = wanted;
  tell("Hashing the weights again", null);
  loaded.digests.model = hex(blake3(loaded.weights));
}

async function run(given) {
  if (!loaded) await load(given);
  setFlipped(given.flip);
  tell("Running the kernel", null);
  const instance = await WebAssembly.instantiate(loaded.module);
  const began = performance.now();
  const vector = encode(instance, loaded.artifact, given.ids);
  postMessage({ result: { vector, hash: hex(blake3(vector)), digests: loaded.digests, milliseconds: performance.now() - began } });
}

onmessage = ({ data }) => run(data).catch((error) => postMessage({ error: error.message }));
