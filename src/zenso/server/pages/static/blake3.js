// BLAKE3, hash mode, 32 bytes of output (O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020).
const IV = Int32Array.of(0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19);
const CHUNK = 1024, BLOCK = 64;
const CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8;

// Words of the message in the order in which each of the seven rounds reads them.
const ORDER = (() => {
  const step = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
  const all = [...Array(16).keys()];
  for (let row = all, round = 1; round < 7; round++) all.push(...(row = step.map((place) => row[place])));
  return Uint8Array.from(all);
})();

// The mixing of four words, written out eight times: in variables of their own they stay in registers.
function compress(chain, words, at, counter, length, flags) {
  let [v0, v1, v2, v3, v4, v5, v6, v7] = chain;
  let [v8, v9, v10, v11] = IV;
  let v12 = counter | 0, v13 = Math.floor(counter / 2 ** 32), v14 = length, v15 = flags;
  for (let next = 0; next < 112; next += 16) {
    v0 = (v0 + v4 + words[at + ORDER[next]]) | 0; v12 ^= v0; v12 = (v12 >>> 16) | (v12 << 16);
    v8 = (v8 + v12) | 0; v4 ^= v8; v4 = (v4 >>> 12) | (v4 << 20);
    v0 = (v0 + v4 + words[at + ORDER[next + 1]]) | 0; v12 ^= v0; v12 = (v12 >>> 8) | (v12 << 24);
    v8 = (v8 + v12) | 0; v4 ^= v8; v4 = (v4 >>> 7) | (v4 << 25);
    v1 = (v1 + v5 + words[at + ORDER[next + 2]]) | 0; v13 ^= v1; v13 = (v13 >>> 16) | (v13 << 16);
    v9 = (v9 + v13) | 0; v5 ^= v9; v5 = (v5 >>> 12) | (v5 << 20);
    v1 = (v1 + v5 + words[at + ORDER[next + 3]]) | 0; v13 ^= v1; v13 = (v13 >>> 8) | (v13 << 24);
    v9 = (v9 + v13) | 0; v5 ^= v9; v5 = (v5 >>> 7) | (v5 << 25);
    v2 = (v2 + v6 + words[at + ORDER[next + 4]]) | 0; v14 ^= v2; v14 = (v14 >>> 16) | (v14 << 16);
    v10 = (v10 + v14) | 0; v6 ^= v10; v6 = (v6 >>> 12) | (v6 << 20);
    v2 = (v2 + v6 + words[at + ORDER[next + 5]]) | 0; v14 ^= v2; v14 = (v14 >>> 8) | (v14 << 24);
    v10 = (v10 + v14) | 0; v6 ^= v10; v6 = (v6 >>> 7) | (v6 << 25);
    v3 = (v3 + v7 + words[at + ORDER[next + 6]]) | 0; v15 ^= v3; v15 = (v15 >>> 16) | (v15 << 16);
    v11 = (v11 + v15) | 0; v7 ^= v11; v7 = (v7 >>> 12) | (v7 << 20);
    v3 = (v3 + v7 + words[at + ORDER[next + 7]]) | 0; v15 ^= v3; v15 = (v15 >>> 8) | (v15 << 24);
    v11 = (v11 + v15) | 0; v7 ^= v11; v7 = (v7 >>> 7) | (v7 << 25);
    v0 = (v0 + v5 + words[at + ORDER[next + 8]]) | 0; v15 ^= v0; v15 = (v15 >>> 16) | (v15 << 16);
    v10 = (v10 + v15) | 0; v5 ^= v10; v5 = (v5 >>> 12) | (v5 << 20);
    v0 = (v0 + v5 + words[at + ORDER[next + 9]]) | 0; v15 ^= v0; v15 = (v15 >>> 8) | (v15 << 24);
    v10 = (v10 + v15) | 0; v5 ^= v10; v5 = (v5 >>> 7) | (v5 << 25);
    v1 = (v1 + v6 + words[at + ORDER[next + 10]]) | 0; v12 ^= v1; v12 = (v12 >>> 16) | (v12 << 16);
    v11 = (v11 + v12) | 0; v6 ^= v11; v6 = (v6 >>> 12) | (v6 << 20);
    v1 = (v1 + v6 + words[at + ORDER[next + 11]]) | 0; v12 ^= v1; v12 = (v12 >>> 8) | (v12 << 24);
    v11 = (v11 + v12) | 0; v6 ^= v11; v6 = (v6 >>> 7) | (v6 << 25);
    v2 = (v2 + v7 + words[at + ORDER[next + 12]]) | 0; v13 ^= v2; v13 = (v13 >>> 16) | (v13 << 16);
    v8 = (v8 + v13) | 0; v7 ^= v8; v7 = (v7 >>> 12) | (v7 << 20);
    v2 = (v2 + v7 + words[at + ORDER[next + 13]]) | 0; v13 ^= v2; v13 = (v13 >>> 8) | (v13 << 24);
    v8 = (v8 + v13) | 0; v7 ^= v8; v7 = (v7 >>> 7) | (v7 << 25);
    v3 = (v3 + v4 + words[at + ORDER[next + 14]]) | 0; v14 ^= v3; v14 = (v14 >>> 16) | (v14 << 16);
    v9 = (v9 + v14) | 0; v4 ^= v9; v4 = (v4 >>> 12) | (v4 << 20);
    v3 = (v3 + v4 + words[at + ORDER[next + 15]]) | 0; v14 ^= v3; v14 = (v14 >>> 8) | (v14 << 24);
    v9 = (v9 + v14) | 0; v4 ^= v9; v4 = (v4 >>> 7) | (v4 << 25);
  }
  return Int32Array.of(v0 ^ v8, v1 ^ v9, v2 ^ v10, v3 ^ v11, v4 ^ v12, v5 ^ v13, v6 ^ v14, v7 ^ v15);
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
