// Run kernel.wasm in V8 on a file of calls, as engine_driver.c does with the twin: the files are described there.
//
// node engine_node.mjs MODULE INPUT OUTPUT

import { closeSync, openSync, readFileSync, writeSync } from "node:fs";

const [modulePath, inputPath, outputPath] = process.argv.slice(2);
const WANT = { pooled: 1, tokens: 2, documentSlots: 4, querySlots: 8 };
const SELF_TEST_ROOM = 2_000_000;
const PAGE = 65536;
const aligned = (size) => Math.ceil(size / 64) * 64;

const { instance } = await WebAssembly.instantiate(readFileSync(modulePath), {});
const kernel = instance.exports;
const input = readFileSync(inputPath);
const output = openSync(outputPath, "w");
let at = 0;

function readNumber() {
  at += 8;
  return Number(input.readBigInt64LE(at - 8));
}

function take(size) {
  at += size;
  if (at > input.length) throw new Error("the input ends too early");
  return input.subarray(at - size, at);
}

function reserve(end) {
  const missing = end - kernel.memory.buffer.byteLength;
  if (missing > 0) kernel.memory.grow(Math.ceil(missing / PAGE));
}

// Memory is handed out upwards; each call starts again where the model and its cells end.
let end = aligned(Number(kernel.__heap_base.value));

function room(size) {
  const start = end;
  end = aligned(end + size);
  reserve(end);
  return start;
}

function place(data) {
  const start = room(data.length);
  new Uint8Array(kernel.memory.buffer, start, data.length).set(data);
  return start;
}

reserve(end + SELF_TEST_ROOM);
console.log(String(kernel.zenso_self_test(BigInt(end), BigInt(SELF_TEST_ROOM))));

const [imageSize, calls, cellCount] = [readNumber(), readNumber(), readNumber()];
const model = place(take(imageSize));
const width = new DataView(kernel.memory.buffer).getInt32(model + 12, true); // Model.hidden
const cells = place(take(cellCount * width * 2));
const base = end;

for (let call = 0; call < calls; call++) {
  end = base;
  const [want, texts, rows] = [readNumber(), readNumber(), readNumber()];
  const size = Number(kernel.zenso_workspace(...[model, imageSize, width, rows, cellCount].map(BigInt)));
  const workspace = room(size);
  const [lengths, words] = [place(take(texts * 4)), place(take(rows * width * 2))];
  const [shifts, weights] = [place(take(rows * 4)), place(take(rows * 4))];
  const slotBytes = texts * cellCount * width * (want & WANT.querySlots ? 4 : 2);
  const sizes = [texts * width * 2, rows * width * 2, slotBytes];
  const [pooled, tokens, slots] = sizes.map(room);
  const request = [model, workspace, size, texts, rows, lengths, words, shifts, weights, want, pooled, tokens, cells];
  const words64 = BigInt64Array.from([...request, cellCount, slots], BigInt);
  if (kernel.zenso_encode(BigInt(place(new Uint8Array(words64.buffer))))) throw new Error("the kernel refused a call");
  const wanted = [WANT.pooled, WANT.tokens, WANT.documentSlots | WANT.querySlots];
  [pooled, tokens, slots].forEach((start, i) => {
    if (!(want & wanted[i])) return;
    const data = new Uint8Array(kernel.memory.buffer, start, sizes[i]);
    for (let done = 0; done < data.length; ) done += writeSync(output, data, done);
  });
  console.log(String(call + 1));
}
closeSync(output);
