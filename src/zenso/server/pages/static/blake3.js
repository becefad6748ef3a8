// BLAKE3, hash mode, 32 bytes of output (O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020).
const IV = Uint32Array.of(0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19);
const CHUNK = 1024, BLOCK = 64;
const CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8;

// Words of the message in the order in which each of the seven rounds reads them.
const ORDER = (() => {
  const step = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
  const all = [...Array(16).keys()];
  for (let row = all, round = 1; round < 7; round++) all.push(...(row = step.map((place) => row[place])));
  return Uint8Array.from(all);
})();
const COLUMNS = Uint8Array.of(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 5, 10, 15, 1, 6, 11, 12, 2, 7, 8, 13, 3, 4, 9, 14);
const state = new Int32Array(16);

function compress(chain, words, at, counter, length, flags) {
  const v = state;
  for (let i = 0; i < 8; i++) v[i] = chain[i];
  v[8] = IV[0]; v[9] = IV[1]; v[10] = IV[2]; v[11] = IV[3];
  v[12] = counter; v[13] = Math.floor(counter / 2 ** 32); v[14] = length; v[15] = flags;
  for (let round = 0, next = 0; round < 7; round++) {
    for (let mix = 0; mix < 32; mix += 4) {
      const ia = COLUMNS[mix], ib = COLUMNS[mix + 1], ic = COLUMNS[mix + 2], id = COLUMNS[mix + 3];
      let a = v[ia], b = v[ib], c = v[ic], d = v[id];
      a = (a + b + words[at + ORDER[next++]]) | 0; d ^= a; d = (d >>> 16) | (d << 16);
      c = (c + d) | 0; b ^= c; b = (b >>> 12) | (b << 20);
      a = (a + b + words[at + ORDER[next++]]) | 0; d ^= a; d = (d >>> 8) | (d << 24);
      c = (c + d) | 0; b ^= c; b = (b >>> 7) | (b << 25);
      v[ia] = a; v[ib] = b; v[ic] = c; v[id] = d;
    }
  }
  const out = new Int32Array(8);
  for (let i = 0; i < 8; i++) out[i] = v[i] ^ v[i + 8];
  return out;
}

// The last block of a node is held back: only the root's last block carries the flag ROOT.
function chunkNode(bytes, start, end, counter) {
  const size = Math.max(BLOCK, Math.ceil((end - start) / BLOCK) * BLOCK);
  const padded = new Uint8Array(size);
  padded.set(bytes.subarray(start, end));
  const words = new Int32Array(padded.buffer);
  let chain = IV, flags = CHUNK_START;
  for (let at = 0; at < size - BLOCK; at += BLOCK, flags = 0) chain = compress(chain, words, at / 4, counter, BLOCK, flags);
  return { chain, words, at: (size - BLOCK) / 4, counter, length: end - start - (size - BLOCK), flags: flags | CHUNK_END };
}

function parentNode(left, right) {
  const words = new Int32Array(16);
  words.set(left);
  words.set(right, 8);
  return { chain: IV, words, at: 0, counter: 0, length: BLOCK, flags: PARENT };
}

const finish = (node, flags = 0) => compress(node.chain, node.words, node.at, node.counter, node.length, node.flags | flags);

/** BLAKE3 of a Uint8Array, as a Uint8Array of 32 bytes. */
export function blake3(bytes) {
  const chunks = Math.max(1, Math.ceil(bytes.length / CHUNK));
  const left = []; // chaining values of whole subtrees, the largest first
  for (let chunk = 0; chunk < chunks - 1; chunk++) {
    let value = finish(chunkNode(bytes, chunk * CHUNK, (chunk + 1) * CHUNK, chunk));
    for (let done = chunk + 1; done % 2 === 0; done /= 2) value = finish(parentNode(left.pop(), value));
    left.push(value);
  }
  let node = chunkNode(bytes, (chunks - 1) * CHUNK, bytes.length, chunks - 1);
  while (left.length) node = parentNode(left.pop(), finish(node));
  return new Uint8Array(finish(node, ROOT).buffer);
}

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
