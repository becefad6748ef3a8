// The kernel's side of a call: where things lie in its memory (see kernel.c: Model, Linear, Layer, Request).
const PAGE = 65536, ALIGNMENT = 64, REQUEST_WORDS = 15, WANT_POOLED = 1, SECTION_ALIGNMENT = 4096;
const aligned = (size) => Math.ceil(size / ALIGNMENT) * ALIGNMENT;

/** The sections of a model artifact, as views of its bytes. */
export function openArtifact(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (new TextDecoder().decode(bytes.subarray(0, 8)) !== "ZENSOMDL") throw new Error("this is no model artifact");
  const length = view.getUint32(12, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(16, 16 + length)));
  const base = Math.ceil((16 + length) / SECTION_ALIGNMENT) * SECTION_ALIGNMENT;
  const section = (name) => {
    const { offset, length: size } = header.sections[name];
    return bytes.subarray(base + offset, base + offset + size);
  };
  return { config: header.config, kernel: section("kernel"), words: section("words"), shifts: section("shifts") };
}

/** Place, within the kernel's section, of a high bit of a weight: of the first layer's first product. */
export function placeOfAWeight(section) {
  const model = new DataView(section.buffer, section.byteOffset, section.byteLength);
  const layerTable = model.getInt32(4 * 15, true);
  const weights = model.getInt32(layerTable + 8, true);
  return { byte: weights + 1, bit: 6 }; // of the high byte of the first int16
}

/** Run a text, given as token ids, and return its vector as int16 little-endian in a Uint8Array. */
export function encode(instance, artifact, ids) {
  const { memory, __heap_base: heap, zenso_encode, zenso_workspace } = instance.exports;
  const hidden = artifact.config.hidden, rows = ids.length;
  const reserve = (end) => {
    const missing = end - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE));
  };
  const model = aligned(heap.value);
  const workspace = aligned(model + artifact.kernel.length);
  reserve(workspace);
  new Uint8Array(memory.buffer).set(artifact.kernel, model);
  const room = aligned(Number(zenso_workspace(BigInt(model), BigInt(artifact.kernel.length), BigInt(hidden), BigInt(rows), 1n)));
  if (room < 0) throw new Error("the kernel does not know this model");

  const at = {};
  const request = workspace + room;
  let end = request + aligned(8 * REQUEST_WORDS);
  const sizes = { lengths: 4, words: 2 * rows * hidden, shifts: 4 * rows, weights: 4 * rows, cells: 0, pooled: 2 * hidden, tokens: 2 * rows * hidden, slots: 0 };
  for (const [name, size] of Object.entries(sizes)) {
    at[name] = end;
    end = aligned(end + size);
  }
  reserve(end);
  const bytes = new Uint8Array(memory.buffer), words = new Int32Array(memory.buffer);
  words[at.lengths / 4] = rows;
  ids.forEach((id, row) => {
    bytes.set(artifact.words.subarray(2 * hidden * id, 2 * hidden * (id + 1)), at.words + 2 * hidden * row);
    words[at.shifts / 4 + row] = artifact.shifts[id];
    words[at.weights / 4 + row] = 1;
  });
  const fields = [model, workspace, room, 1, rows, at.lengths, at.words, at.shifts, at.weights, WANT_POOLED, at.pooled, at.tokens, at.cells, 0, at.slots];
  new BigInt64Array(memory.buffer).set(fields.map(BigInt), request / 8);
  const status = zenso_encode(BigInt(request));
  if (status) throw new Error(`the kernel refused the text (status ${status})`);
  return new Uint8Array(memory.buffer).slice(at.pooled, at.pooled + 2 * hidden);
}
