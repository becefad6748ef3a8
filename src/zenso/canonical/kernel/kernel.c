/* The canonical kernel: a transformer encoder in integer arithmetic, without libc.
 *
 * Every result is a sum, product, shift, comparison, one division or one square root of integers, so it is the same
 * for any batch, order, vector width, compiler and processor.  There is no floating-point instruction in the module.
 *
 * Fixed point.  "Q16" is a 32-bit integer that stands for value * 2^-16.  The residual stream is Q16; the sum of the
 * embedding tables is Q20.  Operands of a matrix product are 16-bit: activations keep 12 magnitude bits of their row's
 * peak, weights are scaled so that sum(|w|) * 2^12 < 2^31 for each output channel; hence no 32-bit sum can overflow,
 * for any input.  Where a malformed model could exceed a bound, arithmetic wraps (-fwrapv) and stays defined.
 *
 * Weights come packed in panels of 16 output channels: panel[k / 2][channel][k % 2].  One row of a panel (64 bytes) is
 * one AVX-512 register, two AVX2 or four SIMD128 registers, so all builds read the same artifact.
 */
#include <stdint.h>

#ifdef __wasm_simd128__
#include <wasm_simd128.h>
#endif

#define EXPORT(name) __attribute__((export_name(name)))
#define PANEL 16           /* output channels in a panel */
#define ACTIVATION_BITS 12 /* magnitude bits of an activation that enters a product */
#define VALUE_BITS 13      /* the same for attention values: sum(weights) < 2^17 + rows, see attend_head */
#define ROW_BLOCK 64       /* rows whose activations are kept in cache while the weights stream by */
#define CLAMP (1 << 26)    /* |input| of a layer norm: sum of squares of 4,096 such values fits 64 bits */

typedef int16_t i16x8 __attribute__((vector_size(16), aligned(2)));
typedef uint16_t u16x8 __attribute__((vector_size(16), aligned(2)));
typedef int32_t i32x4 __attribute__((vector_size(16), aligned(4)));
typedef uint32_t u32x8 __attribute__((vector_size(32), aligned(4)));
typedef int64_t i64x4 __attribute__((vector_size(32), aligned(8)));
typedef uint64_t u64x4 __attribute__((vector_size(32), aligned(8)));

/* ---------------------------------------------------------------------------------------------------------------
 * Formats shared with the host (canonical/artifact.py and canonical/engine.py write them)
 * ------------------------------------------------------------------------------------------------------------- */

#define MODEL_MAGIC 0x314B4E5A /* "ZNK1" */
#define MODEL_VERSION 1

typedef struct {
    int32_t inputs, outputs; /* outputs is a multiple of PANEL, inputs of 2 */
    int32_t weights;         /* int16 panels */
    int32_t mantissa;        /* int32[outputs]; result = (sum * mantissa) >> (shift - input shift) + bias */
    int32_t shift;           /* int32[outputs / PANEL] */
    int32_t bias;            /* int32[outputs], Q16 */
} Linear;

typedef struct {
    int32_t gain; /* int32[width], Q20 */
    int32_t bias; /* int32[width], Q16 */
} Norm;

typedef struct {
    Linear qkv, attention_output, up, down;
    Norm attention_norm, output_norm;
} Layer;

/* The first bytes of a model; offsets count from here. */
typedef struct {
    int32_t magic, version, size;
    int32_t hidden, layers, heads, head_width, intermediate, positions;
    int32_t position_table;  /* int32[positions][hidden], Q20: position plus token type */
    Norm embedding_norm;
    int32_t embedding_epsilon; /* of the layer norm, in Q40 */
    int32_t epsilon;           /* of the other layer norms, in Q32 */
    int32_t gelu_table;        /* int32[gelu_entries]: value (Q17) in the high half, step to the next in the low */
    int32_t gelu_entries;      /* 128 a unit; the last value is 0 */
    int32_t layer_table;       /* Layer[layers] */
} Model;

enum { WANT_POOLED = 1, WANT_TOKENS = 2, WANT_DOCUMENT_SLOTS = 4, WANT_QUERY_SLOTS = 8 };

typedef struct {
    int32_t model, workspace;
    int32_t texts, rows; /* rows is the sum of the lengths */
    int32_t lengths;     /* int32[texts] */
    int32_t words;       /* int16[rows][hidden]: rows of the word embedding */
    int32_t word_shifts; /* int32[rows]: left shift that makes a row Q20 */
    int32_t weights;     /* int32[rows]: of each token in a query's slots; their sum times 2^15 fits 31 bits */
    int32_t want;
    int32_t pooled; /* int16[texts][hidden], scale 32767 */
    int32_t tokens; /* int16[rows][hidden], scale 32767 */
    int32_t cells;  /* int16[cell_count][hidden] */
    int32_t cell_count;
    int32_t slots; /* int16[texts][cell_count][hidden] for documents, int32 of the same shape for queries */
} Request;

/* ---------------------------------------------------------------------------------------------------------------
 * Integers
 * ------------------------------------------------------------------------------------------------------------- */

static inline int bit_length(uint32_t x) { return x ? 32 - __builtin_clz(x) : 0; }

static inline int32_t round_shift(int32_t x, int n) { return n ? (x + (1 << (n - 1))) >> n : x; }

static inline int32_t max32(int32_t a, int32_t b) { return a > b ? a : b; }

static inline int32_t clamp(int32_t x, int32_t limit) { return x > limit ? limit : x < -limit ? -limit : x; }

/* floor(sqrt(x)), bit by bit. */
static uint32_t square_root(uint64_t x) {
    uint64_t root = 0, bit = (uint64_t)1 << 62;
    while (bit > x) bit >>= 2;
    for (; bit; bit >>= 2) {
        if (x >= root + bit) {
            x -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    return (uint32_t)root;
}

typedef struct {
    uint64_t high, low;
} Wide; /* an unsigned 128-bit number */

static Wide wide_product(uint64_t a, uint64_t b) {
    const uint64_t mask = 0xFFFFFFFF;
    uint64_t ll = (a & mask) * (b & mask), lh = (a & mask) * (b >> 32), hl = (a >> 32) * (b & mask);
    uint64_t middle = (ll >> 32) + (lh & mask) + (hl & mask);
    return (Wide){(a >> 32) * (b >> 32) + (lh >> 32) + (hl >> 32) + (middle >> 32), (middle << 32) | (ll & mask)};
}

static int wide_compare(Wide a, Wide b) {
    if (a.high != b.high) return a.high < b.high ? -1 : 1;
    return a.low == b.low ? 0 : a.low < b.low ? -1 : 1;
}

/* (a * b + half) >> shift for each lane; |a * b| < 2^62, 1 <= shift <= 62, and the result fits 32 bits.
 * The shift is done on a non-negative number because SIMD128 on AVX2 has no arithmetic 64-bit shift. */
static inline i32x4 scaled_product(i32x4 a, i32x4 b, int shift) {
    uint64_t lift = ((uint64_t)1 << 62) + ((uint64_t)1 << (shift - 1));
#ifdef __wasm_simd128__
    v128_t raise = wasm_i64x2_splat((int64_t)lift);
    v128_t low = wasm_u64x2_shr(wasm_i64x2_add(wasm_i64x2_extmul_low_i32x4((v128_t)a, (v128_t)b), raise), (uint32_t)shift);
    v128_t high = wasm_u64x2_shr(wasm_i64x2_add(wasm_i64x2_extmul_high_i32x4((v128_t)a, (v128_t)b), raise), (uint32_t)shift);
    i32x4 result = (i32x4)wasm_i32x4_shuffle(low, high, 0, 2, 4, 6);
#else
    u64x4 product = (u64x4)(__builtin_convertvector(a, i64x4) * __builtin_convertvector(b, i64x4)) + lift;
    i32x4 result = __builtin_convertvector((i64x4)(product >> (uint64_t)shift), i32x4);
#endif
    return result - (int32_t)(uint32_t)(((uint64_t)1 << 62) >> shift);
}

/* Two halves of numbers that fit 16 bits. */
static inline i16x8 narrow(i32x4 low, i32x4 high) {
#ifdef __wasm_simd128__
    return (i16x8)wasm_i16x8_narrow_i32x4((v128_t)low, (v128_t)high);
#else
    return __builtin_convertvector(__builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7), i16x8);
#endif
}

/* The same for numbers of 0 to 65535. */
static inline u16x8 pack(i32x4 low, i32x4 high) {
#ifdef __wasm_simd128__
    return (u16x8)wasm_u16x8_narrow_i32x4((v128_t)low, (v128_t)high);
#else
    return __builtin_convertvector(__builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7), u16x8);
#endif
}

/* A number r and a shift s with value * r / 2^s = value / sqrt(x): s in [bits, 61 - bits], r < 2^31. x > 0, < 2^62. */
typedef struct {
    int32_t factor;
    int shift;
} InverseRoot;

static InverseRoot inverse_root(uint64_t x) {
    int lead = (__builtin_clzll(x) - 2) & ~1; /* even, so that the root shifts by half of it */
    uint32_t root = square_root(x << lead);   /* in [2^30, 2^31) */
    return (InverseRoot){(int32_t)((((uint64_t)1 << 61) - 1) / root), 61 - lead / 2};
}

/* ---------------------------------------------------------------------------------------------------------------
 * Matrix products
 * ------------------------------------------------------------------------------------------------------------- */

#define TILE_ROWS 2

/* sums[r][0..15] = sum over k of a[r][k] * panel[k / 2][0..15][k % 2], for 1 or 2 rows of `stride` numbers.
 * With SIMD128, 2 rows of a whole panel are 8 accumulators: of the shapes tried, the fastest on 16 registers. */
#if defined(__wasm_simd128__)
#define MULTIPLY_ADD(sum, x, w) sum = wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(x, w))

static void tile2(const int16_t *a, int stride, const int16_t *panel, int pairs, int32_t *sums) {
    const v128_t zero = wasm_i32x4_const_splat(0);
    v128_t a0 = zero, a1 = zero, a2 = zero, a3 = zero, b0 = zero, b1 = zero, b2 = zero, b3 = zero;
    const int16_t *b = a + stride;
    for (int k = 0; k < pairs; k++, panel += 2 * PANEL) {
        v128_t w0 = wasm_v128_load(panel), w1 = wasm_v128_load(panel + 8);
        v128_t w2 = wasm_v128_load(panel + 16), w3 = wasm_v128_load(panel + 24);
        v128_t x = wasm_v128_load32_splat(a + 2 * k);
        MULTIPLY_ADD(a0, x, w0);
        MULTIPLY_ADD(a1, x, w1);
        MULTIPLY_ADD(a2, x, w2);
        MULTIPLY_ADD(a3, x, w3);
        v128_t y = wasm_v128_load32_splat(b + 2 * k);
        MULTIPLY_ADD(b0, y, w0);
        MULTIPLY_ADD(b1, y, w1);
        MULTIPLY_ADD(b2, y, w2);
        MULTIPLY_ADD(b3, y, w3);
    }
    wasm_v128_store(sums, a0);
    wasm_v128_store(sums + 4, a1);
    wasm_v128_store(sums + 8, a2);
    wasm_v128_store(sums + 12, a3);
    wasm_v128_store(sums + 16, b0);
    wasm_v128_store(sums + 20, b1);
    wasm_v128_store(sums + 24, b2);
    wasm_v128_store(sums + 28, b3);
}

static void tile1(const int16_t *a, const int16_t *panel, int pairs, int32_t *sums) {
    const v128_t zero = wasm_i32x4_const_splat(0);
    v128_t a0 = zero, a1 = zero, a2 = zero, a3 = zero;
    for (int k = 0; k < pairs; k++, panel += 2 * PANEL) {
        v128_t x = wasm_v128_load32_splat(a + 2 * k);
        MULTIPLY_ADD(a0, x, wasm_v128_load(panel));
        MULTIPLY_ADD(a1, x, wasm_v128_load(panel + 8));
        MULTIPLY_ADD(a2, x, wasm_v128_load(panel + 16));
        MULTIPLY_ADD(a3, x, wasm_v128_load(panel + 24));
    }
    wasm_v128_store(sums, a0);
    wasm_v128_store(sums + 4, a1);
    wasm_v128_store(sums + 8, a2);
    wasm_v128_store(sums + 12, a3);
}
#else
static void tile1(const int16_t *a, const int16_t *panel, int pairs, int32_t *sums) {
    for (int c = 0; c < PANEL; c++) sums[c] = 0;
    for (int k = 0; k < pairs; k++)
        for (int c = 0; c < PANEL; c++)
            sums[c] += a[2 * k] * panel[(k * PANEL + c) * 2] + a[2 * k + 1] * panel[(k * PANEL + c) * 2 + 1];
}

static void tile2(const int16_t *a, int stride, const int16_t *panel, int pairs, int32_t *sums) {
    tile1(a, panel, pairs, sums);
    tile1(a + stride, panel, pairs, sums + PANEL);
}
#endif

static inline void tile(const int16_t *a, int stride, int rows, const int16_t *panel, int pairs, int32_t *sums) {
    if (rows == TILE_ROWS) tile2(a, stride, panel, pairs, sums);
    else tile1(a, panel, pairs, sums);
}

/* Distance between rows of 32-bit numbers: an odd number of cache lines, so that a column of panels written down the
 * rows does not fall into few cache sets (measured: a third of the run time). */
static inline int row_stride(int width) { return width / PANEL % 2 ? width : width + PANEL; }

/* Cut one row to ACTIVATION_BITS: returns the shift. */
static int quantise_row(const int32_t *x, int width, int bits, int16_t *out) {
    uint32_t peak = 0;
    for (int i = 0; i < width; i++) peak |= (uint32_t)(x[i] < 0 ? -x[i] : x[i]); /* same bit length as the peak */
    int shift = max32(0, bit_length(peak) - bits);
    int32_t half = shift ? 1 << (shift - 1) : 0;
    for (int i = 0; i < width; i += 8)
        *(i16x8 *)(out + i) = narrow((*(const i32x4 *)(x + i) + half) >> shift, (*(const i32x4 *)(x + i + 4) + half) >> shift);
    return shift;
}

/* out[r][c] = (sum_k a[r][k] w[c][k]) rescaled to Q16, plus bias; row r of `a` was cut by shifts[r].  Rows of `out` lie
 * row_stride(outputs) apart. */
static void linear(const char *model, const Linear *layer, const int16_t *a, const int32_t *shifts, int rows,
                   int32_t *out) {
    const int16_t *weights = (const int16_t *)(model + layer->weights);
    const int32_t *mantissa = (const int32_t *)(model + layer->mantissa);
    const int32_t *shift = (const int32_t *)(model + layer->shift);
    const int32_t *bias = (const int32_t *)(model + layer->bias);
    const int stride = row_stride(layer->outputs);
    int32_t sums[TILE_ROWS * PANEL];
    for (int panel = 0; panel < layer->outputs / PANEL; panel++) {
        const int16_t *w = weights + panel * PANEL * layer->inputs;
        for (int row = 0; row < rows; row += TILE_ROWS) {
            int count = rows - row < TILE_ROWS ? rows - row : TILE_ROWS;
            tile(a + row * layer->inputs, layer->inputs, count, w, layer->inputs / 2, sums);
            for (int r = 0; r < count; r++) {
                int32_t *to = out + (row + r) * stride + panel * PANEL;
                for (int c = 0; c < PANEL; c += 4) {
                    i32x4 m = *(const i32x4 *)(mantissa + panel * PANEL + c);
                    i32x4 b = *(const i32x4 *)(bias + panel * PANEL + c);
                    i32x4 s = *(const i32x4 *)(sums + r * PANEL + c);
                    *(i32x4 *)(to + c) = scaled_product(s, m, shift[panel] - shifts[row + r]) + b;
                }
            }
        }
    }
}

/* ---------------------------------------------------------------------------------------------------------------
 * Layer norm, GELU, attention
 * ------------------------------------------------------------------------------------------------------------- */

/* x := (x - mean) / sqrt(variance + epsilon) * gain + bias, in place; the result is Q16.  epsilon has twice the
 * fraction bits of x. */
static void layer_norm(const char *model, const Norm *norm, int32_t epsilon, int width, int32_t *x) {
    const int32_t *gain = (const int32_t *)(model + norm->gain);
    const int32_t *bias = (const int32_t *)(model + norm->bias);
    int64_t sum = 0;
    for (int i = 0; i < width; i++) {
        x[i] = clamp(x[i], CLAMP);
        sum += x[i];
    }
    int32_t mean = (int32_t)(sum / width);
    int64_t squares = 0;
    for (int i = 0; i < width; i++) {
        x[i] -= mean;
        squares += (int64_t)x[i] * x[i];
    }
    uint64_t variance = (uint64_t)squares / (uint32_t)width + (uint32_t)epsilon;
    InverseRoot inverse = inverse_root(variance ? variance : 1);
    for (int i = 0; i < width; i += 4) { /* normalised to Q22: at most sqrt(width) in magnitude */
        i32x4 unit = scaled_product(*(i32x4 *)(x + i), (i32x4){} + inverse.factor, inverse.shift - 22);
        i32x4 scaled = scaled_product(unit, *(const i32x4 *)(gain + i), 22 + 20 - 16);
        *(i32x4 *)(x + i) = scaled + *(const i32x4 *)(bias + i);
    }
}

/* GELU(x) = max(x, 0) - g(|x|) with g(u) = u * (1 - Phi(u)), which is small, even and soon 0: a table of g with
 * linear interpolation, 128 steps a unit. */
static void gelu(const int32_t *table, int entries, int32_t *x, int width) {
    int32_t last = (entries << 9) - 1;
    for (int i = 0; i < width; i += 4) {
        i32x4 v = *(i32x4 *)(x + i);
        i32x4 sign = v >> 31;
        i32x4 u = (v ^ sign) - sign;
        u = __builtin_elementwise_min(u, (i32x4){} + last);
        i32x4 at = u >> 9;
        i32x4 entry = {table[at[0]], table[at[1]], table[at[2]], table[at[3]]};
        i32x4 step = (entry << 16) >> 16;
        i32x4 g = (entry >> 16) + ((step * (u & 511) + 256) >> 9);
        *(i32x4 *)(x + i) = (v & ~sign) - ((g + 1) >> 1);
    }
}

static inline i16x8 multiply_q15(i16x8 a, i16x8 b) { /* (a * b + 2^14) >> 15; no operand is -2^15 */
#ifdef __wasm_simd128__
    return (i16x8)wasm_i16x8_q15mulr_sat((v128_t)a, (v128_t)b);
#else
    i16x8 out;
    for (int i = 0; i < 8; i++) out[i] = (int16_t)((a[i] * b[i] + (1 << 14)) >> 15);
    return out;
#endif
}

/* x >> bit in the lanes of which `count` has that bit. */
static inline u16x8 halve(u16x8 x, u16x8 count, int bit) {
    u16x8 chosen = (u16x8)((count & (uint16_t)bit) != 0);
    return x ^ ((x ^ (x >> (uint16_t)bit)) & chosen);
}

/* 2^-t in Q14 for t in Q12; 0 for t = EXP2_ZERO.  The quartic is the one with the least error among all with
 * integer coefficients nearby, rounding included: 1.8 units of 2^-15 at most, .6 in the mean square. */
#define EXP2_ZERO (15 << 12)
static inline i16x8 exp2_negative(u16x8 t) {
    i16x8 f = (i16x8)((t & 4095) << 3);
    i16x8 p = multiply_q15(f, (i16x8){} + (int16_t)256) + (int16_t)-1805;
    p = multiply_q15(f, p) + (int16_t)7878;
    p = multiply_q15(f, p) + (int16_t)-22712;
    p = multiply_q15(f, p) + (int16_t)32767;
    u16x8 whole = t >> 12, e = (u16x8)p;
    e = halve(e, whole, 8);
    e = halve(e, whole, 4);
    e = halve(e, whole, 2);
    e = halve(e, whole, 1);
    return (i16x8)((e + 1) >> 1);
}

typedef struct {
    int16_t *query;     /* [rows][head_width] */
    int32_t *shift;     /* [rows]: right shift that cut each query row */
    int16_t *key;       /* panels of 16 keys: [ceil(rows / 16)][head_width / 2][16][2] */
    int16_t *value;     /* panels of 16 channels: [head_width / 16][ceil(rows / 2)][16][2] */
    int32_t *scores;    /* [TILE_ROWS][padded] */
    int16_t *weights;   /* [TILE_ROWS][padded] */
} HeadBuffers;

static int32_t round_up(int32_t x, int32_t unit) { return (x + unit - 1) / unit * unit; }

/* Bit length of the largest magnitude in a rows x width block with the given row stride. */
static int block_bits(const int32_t *x, int rows, int stride, int width) {
    uint32_t peak = 0;
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < width; i++) {
            int32_t v = x[r * stride + i];
            peak |= (uint32_t)(v < 0 ? -v : v);
        }
    return bit_length(peak);
}

/* Scores of one query row -> attention weights, unnormalised; returns their sum.  A score is a power-of-two logarithm
 * (log2(e) / sqrt(head_width) is folded into the query's weights) with 12 + shift fraction bits. */
static int32_t soft_weights(const int32_t *scores, int n, int padded, int shift, int16_t *weights) {
    int32_t peak = scores[0], sum = 0;
    for (int j = 1; j < n; j++) peak = max32(peak, scores[j]);
    uint32_t half = shift > 0 ? 1u << (shift - 1) : 0;
    int right = shift > 0 ? shift : 0, left = shift > 0 ? 0 : shift < -16 ? 16 : -shift;
    for (int j = 0; j < padded; j += 8) {
        u32x8 t = (uint32_t)peak - *(const u32x8 *)(scores + j);
        t = (t + half) >> (uint32_t)right;
        t = __builtin_elementwise_min(t, (u32x8){} + EXP2_ZERO);
        t <<= (uint32_t)left;
        t = __builtin_elementwise_min(t, (u32x8){} + EXP2_ZERO);
        i32x4 t0 = (i32x4)__builtin_shufflevector(t, t, 0, 1, 2, 3), t1 = (i32x4)__builtin_shufflevector(t, t, 4, 5, 6, 7);
        *(i16x8 *)(weights + j) = exp2_negative(pack(t0, t1));
    }
    for (int j = n; j < padded; j++) weights[j] = 0;
    for (int j = 0; j < n; j++) sum += weights[j];
    /* Cut so that the sum stays below 2^17 + rows: with 13-bit values a product then stays below 2^31. */
    int cut = max32(0, bit_length((uint32_t)sum) - 17);
    if (cut) {
        sum = 0;
        for (int j = 0; j < n; j++) {
            weights[j] = (int16_t)round_shift(weights[j], cut);
            sum += weights[j];
        }
    }
    return sum;
}

/* One head of one text: out[r][0..head_width) = attention of row r, Q16.  qkv rows hold queries, keys and values of
 * all heads, `hidden` numbers each. */
static void attend_head(const int32_t *qkv, int n, int hidden, int width, const HeadBuffers *b, int32_t *out) {
    const int stride = row_stride(3 * hidden), out_stride = row_stride(hidden);
    const int padded = round_up(n, PANEL), pairs = (n + 1) / 2;
    const int32_t *key = qkv + hidden, *value = qkv + 2 * hidden;
    const int key_shift = max32(0, block_bits(key, n, stride, width) - ACTIVATION_BITS);
    const int value_shift = max32(0, block_bits(value, n, stride, width) - VALUE_BITS);
    for (int r = 0; r < n; r++) b->shift[r] = quantise_row(qkv + r * stride, width, ACTIVATION_BITS, b->query + r * width);
    for (int j = 0; j < padded; j++) {
        int16_t *to = b->key + (j / PANEL) * PANEL * width + (j % PANEL) * 2;
        for (int i = 0; i < width; i++)
            to[(i / 2) * 2 * PANEL + i % 2] = j < n ? (int16_t)round_shift(key[j * stride + i], key_shift) : 0;
    }
    for (int j = 0; j < 2 * pairs; j++) {
        int16_t *to = b->value + (j / 2) * 2 * PANEL + j % 2;
        for (int i = 0; i < width; i++)
            to[(i / PANEL) * pairs * 2 * PANEL + (i % PANEL) * 2] =
                j < n ? (int16_t)round_shift(value[j * stride + i], value_shift) : 0;
    }
    int32_t sums[TILE_ROWS * PANEL], totals[TILE_ROWS];
    for (int row = 0; row < n; row += TILE_ROWS) {
        int count = n - row < TILE_ROWS ? n - row : TILE_ROWS;
        for (int panel = 0; panel < padded / PANEL; panel++) {
            tile(b->query + row * width, width, count, b->key + panel * PANEL * width, width / 2, sums);
            for (int r = 0; r < count; r++)
                for (int c = 0; c < PANEL; c++) b->scores[r * padded + panel * PANEL + c] = sums[r * PANEL + c];
        }
        for (int r = 0; r < count; r++)
            totals[r] = soft_weights(b->scores + r * padded, n, padded, 32 - 12 - key_shift - b->shift[row + r],
                                     b->weights + r * padded);
        for (int panel = 0; panel < width / PANEL; panel++) {
            tile(b->weights, padded, count, b->value + panel * pairs * 2 * PANEL, pairs, sums);
            for (int r = 0; r < count; r++) {
                int32_t inverse = (int32_t)(((int64_t)1 << 44) / totals[r]); /* totals >= 2^14 */
                int32_t *to = out + (row + r) * out_stride + panel * PANEL;
                for (int c = 0; c < PANEL; c += 4)
                    *(i32x4 *)(to + c) = scaled_product(*(const i32x4 *)(sums + r * PANEL + c),
                                                        (i32x4){} + inverse, 44 - value_shift);
            }
        }
    }
}

/* ---------------------------------------------------------------------------------------------------------------
 * The encoder
 * ------------------------------------------------------------------------------------------------------------- */

typedef struct {
    int32_t *x;         /* [rows][hidden] residual stream; 32-bit matrices have rows row_stride(width) apart */
    int32_t *qkv;       /* [rows][3 * hidden] */
    int32_t *wide;      /* [ROW_BLOCK][intermediate] */
    int32_t *attended;  /* [rows][hidden] */
    int32_t *shifts;    /* [ROW_BLOCK] */
    int16_t *activation; /* [ROW_BLOCK][intermediate] */
    int32_t *dots;      /* [longest text][cell_count] */
    HeadBuffers head;
} Workspace;

static int64_t reserve(int64_t *at, int64_t bytes) {
    int64_t start = *at;
    *at += (bytes + 63) / 64 * 64;
    return start;
}

/* Lay the buffers out after `base`; returns the bytes needed. */
static int64_t lay_out(const Model *m, int64_t rows, int64_t cells, char *base, Workspace *w) {
    int64_t at = 0, padded = (rows + PANEL - 1) / PANEL * PANEL;
    int64_t wide = m->intermediate > 3 * m->hidden ? m->intermediate : 3 * m->hidden;
    w->x = (int32_t *)(base + reserve(&at, rows * row_stride(m->hidden) * 4));
    w->qkv = (int32_t *)(base + reserve(&at, rows * row_stride(3 * m->hidden) * 4));
    w->wide = (int32_t *)(base + reserve(&at, (int64_t)ROW_BLOCK * row_stride(m->intermediate) * 4));
    w->attended = (int32_t *)(base + reserve(&at, rows * row_stride(m->hidden) * 4));
    w->shifts = (int32_t *)(base + reserve(&at, ROW_BLOCK * 4));
    w->activation = (int16_t *)(base + reserve(&at, ROW_BLOCK * wide * 2));
    w->dots = (int32_t *)(base + reserve(&at, rows * cells * 4));
    w->head.query = (int16_t *)(base + reserve(&at, rows * m->head_width * 2));
    w->head.shift = (int32_t *)(base + reserve(&at, rows * 4));
    w->head.key = (int16_t *)(base + reserve(&at, padded * m->head_width * 2));
    w->head.value = (int16_t *)(base + reserve(&at, padded * m->head_width * 2));
    w->head.scores = (int32_t *)(base + reserve(&at, TILE_ROWS * padded * 4));
    w->head.weights = (int16_t *)(base + reserve(&at, TILE_ROWS * padded * 2));
    return at;
}

static void quantise_block(const int32_t *x, int rows, int width, const Workspace *w) {
    for (int r = 0; r < rows; r++)
        w->shifts[r] = quantise_row(x + r * row_stride(width), width, ACTIVATION_BITS, w->activation + r * width);
}

/* x := layer_norm(x + y) for each row of a block. */
static void add_and_normalise(const char *model, const Model *m, const Norm *norm, const int32_t *y, int rows,
                              int32_t *x) {
    for (int r = 0; r < rows; r++, x += row_stride(m->hidden), y += row_stride(m->hidden)) {
        for (int i = 0; i < m->hidden; i++) x[i] += y[i];
        layer_norm(model, norm, m->epsilon, m->hidden, x);
    }
}

static void feed_forward(const char *model, const Model *m, const Layer *layer, const Workspace *w, int row, int rows) {
    int32_t *x = w->x + row * row_stride(m->hidden), *out = w->attended + row * row_stride(m->hidden);
    const int32_t *table = (const int32_t *)(model + m->gelu_table);
    quantise_block(out, rows, m->hidden, w);
    linear(model, &layer->attention_output, w->activation, w->shifts, rows, out);
    add_and_normalise(model, m, &layer->attention_norm, out, rows, x);
    quantise_block(x, rows, m->hidden, w);
    linear(model, &layer->up, w->activation, w->shifts, rows, w->wide);
    for (int r = 0; r < rows; r++)
        gelu(table, m->gelu_entries, w->wide + r * row_stride(m->intermediate), m->intermediate);
    quantise_block(w->wide, rows, m->intermediate, w);
    linear(model, &layer->down, w->activation, w->shifts, rows, out);
    add_and_normalise(model, m, &layer->output_norm, out, rows, x);
}

static void embed(const char *model, const Model *m, const Request *q, const int32_t *lengths, const Workspace *w) {
    const int32_t *table = (const int32_t *)(model + m->position_table), *shifts = (const int32_t *)(intptr_t)q->word_shifts;
    const int16_t *words = (const int16_t *)(intptr_t)q->words;
    for (int text = 0, row = 0; text < q->texts; text++)
        for (int position = 0; position < lengths[text]; position++, row++) {
            int32_t *x = w->x + row * row_stride(m->hidden);
            for (int i = 0; i < m->hidden; i++)
                x[i] = ((int32_t)words[row * m->hidden + i] << shifts[row]) + table[position * m->hidden + i];
            layer_norm(model, &m->embedding_norm, m->embedding_epsilon, m->hidden, x);
        }
}

static void run_layers(const char *model, const Model *m, const Request *q, const int32_t *lengths, const Workspace *w) {
    const Layer *layers = (const Layer *)(model + m->layer_table);
    for (int l = 0; l < m->layers; l++) {
        for (int row = 0; row < q->rows; row += ROW_BLOCK) {
            int count = q->rows - row < ROW_BLOCK ? q->rows - row : ROW_BLOCK;
            quantise_block(w->x + row * row_stride(m->hidden), count, m->hidden, w);
            linear(model, &layers[l].qkv, w->activation, w->shifts, count, w->qkv + row * row_stride(3 * m->hidden));
        }
        for (int text = 0, row = 0; text < q->texts; row += lengths[text++])
            for (int h = 0; h < m->heads; h++)
                attend_head(w->qkv + row * row_stride(3 * m->hidden) + h * m->head_width, lengths[text], m->hidden,
                            m->head_width, &w->head, w->attended + row * row_stride(m->hidden) + h * m->head_width);
        for (int row = 0; row < q->rows; row += ROW_BLOCK)
            feed_forward(model, m, &layers[l], w, row, q->rows - row < ROW_BLOCK ? q->rows - row : ROW_BLOCK);
    }
}

/* ---------------------------------------------------------------------------------------------------------------
 * Vectors out of token states
 * ------------------------------------------------------------------------------------------------------------- */

static inline i32x4 between(i32x4 x, int32_t limit) {
    return __builtin_elementwise_max(__builtin_elementwise_min(x, (i32x4){} + limit), (i32x4){} - limit);
}

/* out = x / ||x|| in Q15, within one unit; zero stays zero. */
static void normalise_fast(const int32_t *x, int width, int16_t *out) {
    int64_t squares = 0;
    for (int i = 0; i < width; i++) {
        int64_t v = clamp(x[i], CLAMP);
        squares += v * v;
    }
    InverseRoot inverse = inverse_root(squares ? (uint64_t)squares : 1);
    i32x4 factor = (i32x4){} + inverse.factor;
    for (int i = 0; i < width; i += 8) {
        i32x4 low = scaled_product(between(*(const i32x4 *)(x + i), CLAMP), factor, inverse.shift - 15);
        i32x4 high = scaled_product(between(*(const i32x4 *)(x + i + 4), CLAMP), factor, inverse.shift - 15);
        *(i16x8 *)(out + i) = narrow(between(low, 32767), between(high, 32767));
    }
}

static Wide wide_times(Wide a, uint32_t b) {
    Wide low = wide_product(a.low, b);
    return (Wide){a.high * b + low.high, low.low};
}

/* out[i] = round_half_even(32767 * v[i] / sqrt(sum of squares)), exactly: q is right when
 * (2q - 1)^2 * squares <= 4 * (32767 v)^2 < (2q + 1)^2 * squares.  An approximation starts the search, the comparison
 * of 128-bit integers ends it. */
static void normalise_exact(const int64_t *v, int width, int16_t *out) {
    Wide squares = {0, 0};
    uint64_t peak = 0;
    for (int i = 0; i < width; i++) {
        uint64_t a = (uint64_t)(v[i] < 0 ? -v[i] : v[i]);
        Wide square = wide_product(a, a);
        squares.low += square.low;
        squares.high += square.high + (squares.low < square.low);
        peak |= a;
    }
    int cut = peak >> 26 ? 38 - __builtin_clzll(peak) : 0;
    uint64_t small = 0;
    for (int i = 0; i < width; i++) small += (uint64_t)((v[i] >> cut) * (v[i] >> cut));
    InverseRoot inverse = inverse_root(small ? small : 1);
    for (int i = 0; i < width; i++) {
        uint64_t a = (uint64_t)(v[i] < 0 ? -v[i] : v[i]);
        Wide target = wide_product(32767 * a, 32767 * a);
        target = wide_times(target, 4);
        uint64_t guess = (((a >> cut) * (uint64_t)inverse.factor) >> (inverse.shift - 15));
        uint32_t q = guess > 32767 ? 32767 : (uint32_t)guess;
        while (q && wide_compare(wide_times(squares, (2 * q - 1) * (2 * q - 1)), target) > 0) q--;
        while (q < 32767 && wide_compare(wide_times(squares, (2 * q + 1) * (2 * q + 1)), target) <= 0) q++;
        if (q % 2 && wide_compare(wide_times(squares, (2 * q - 1) * (2 * q - 1)), target) == 0) q--;
        out[i] = (int16_t)(v[i] < 0 ? -(int32_t)q : (int32_t)q);
    }
}

static int32_t dot(const int16_t *a, const int16_t *b, int width) { /* unit vectors: at most 2^30 by Cauchy-Schwarz */
    int32_t sum = 0;
    for (int i = 0; i < width; i++) sum += a[i] * b[i];
    return sum;
}

#define MAX_WIDTH 4096

static void pool(const int32_t *x, int n, int width, int16_t *out) {
    static int64_t sums[MAX_WIDTH];
    for (int i = 0; i < width; i++) sums[i] = 0;
    for (int r = 0; r < n; r++)
        for (int i = 0; i < width; i++) sums[i] += clamp(x[r * row_stride(width) + i], CLAMP);
    normalise_exact(sums, width, out);
}

/* Slots of one text: per cell the sum of its tokens' directions.  A document's slots are normalised, and an empty one
 * takes the nearest token; a query's stay sums, weighted by token. */
static void fill_slots(const Request *q, const int16_t *tokens, const int32_t *weights, int n, int width, int32_t *dots,
                       int text) {
    static int32_t sums[MAX_WIDTH];
    const int16_t *cells = (const int16_t *)(intptr_t)q->cells;
    int count = q->cell_count, weighted = q->want & WANT_QUERY_SLOTS;
    for (int r = 0; r < n; r++)
        for (int c = 0; c < count; c++) dots[r * count + c] = dot(tokens + r * width, cells + c * width, width);
    for (int c = 0; c < count; c++) {
        int members = 0, nearest = 0;
        for (int i = 0; i < width; i++) sums[i] = 0;
        for (int r = 0; r < n; r++) {
            const int32_t *row = dots + r * count;
            int best = 0;
            for (int k = 1; k < count; k++) best = row[k] > row[best] ? k : best;
            if (row[c] > dots[nearest * count + c]) nearest = r;
            if (best != c) continue;
            members++;
            int32_t weight = weighted ? weights[r] : 1;
            for (int i = 0; i < width; i++) sums[i] += weight * tokens[r * width + i];
        }
        int64_t at = ((int64_t)text * count + c) * width;
        if (weighted) {
            int32_t *out = (int32_t *)(intptr_t)q->slots + at;
            for (int i = 0; i < width; i++) out[i] = sums[i];
        } else {
            int16_t *out = (int16_t *)(intptr_t)q->slots + at;
            if (members) normalise_fast(sums, width, out);
            else for (int i = 0; i < width; i++) out[i] = tokens[nearest * width + i];
        }
    }
}

/* ---------------------------------------------------------------------------------------------------------------
 * Entry points
 * ------------------------------------------------------------------------------------------------------------- */

/* Version of the request's layout and of every result: a change of any output bit raises it. */
EXPORT("zenso_version") int32_t zenso_version(void) { return 1; }

/* Bytes of workspace for `rows` tokens in a call, -1 when they cannot be had or the model is not one. */
EXPORT("zenso_workspace") int32_t zenso_workspace(int32_t model, int32_t rows, int32_t cells) {
    const Model *m = (const Model *)(intptr_t)model;
    Workspace ignored;
    if (m->magic != MODEL_MAGIC || m->version != MODEL_VERSION || rows < 1 || cells < 0) return -1;
    if (m->hidden > MAX_WIDTH || m->hidden != m->heads * m->head_width || m->head_width % PANEL) return -1;
    int64_t bytes = lay_out(m, rows, cells, 0, &ignored);
    return bytes < ((int64_t)1 << 31) ? (int32_t)bytes : -1;
}

/* Run a request; 0 when done, 1 when a text is longer than the model's positions or the lengths do not add up. */
EXPORT("zenso_encode") int32_t zenso_encode(int32_t request) {
    const Request *q = (const Request *)(intptr_t)request;
    const char *model = (const char *)(intptr_t)q->model;
    const Model *m = (const Model *)model;
    const int32_t *lengths = (const int32_t *)(intptr_t)q->lengths;
    Workspace w;
    int64_t total = 0;
    for (int text = 0; text < q->texts; text++) {
        if (lengths[text] < 1 || lengths[text] > m->positions) return 1;
        total += lengths[text];
    }
    if (total != q->rows) return 1;
    lay_out(m, q->rows, q->cell_count, (char *)(intptr_t)q->workspace, &w);
    embed(model, m, q, lengths, &w);
    run_layers(model, m, q, lengths, &w);
    int16_t *tokens = (int16_t *)(intptr_t)q->tokens;
    for (int text = 0, row = 0; text < q->texts; row += lengths[text++]) {
        int n = lengths[text];
        const int32_t *x = w.x + row * row_stride(m->hidden);
        int16_t *unit = tokens + row * m->hidden;
        if (q->want & WANT_POOLED) pool(x, n, m->hidden, (int16_t *)(intptr_t)q->pooled + text * m->hidden);
        if (q->want & (WANT_TOKENS | WANT_DOCUMENT_SLOTS | WANT_QUERY_SLOTS))
            for (int r = 0; r < n; r++) normalise_fast(x + r * row_stride(m->hidden), m->hidden, unit + r * m->hidden);
        if (q->want & (WANT_DOCUMENT_SLOTS | WANT_QUERY_SLOTS))
            fill_slots(q, unit, (const int32_t *)(intptr_t)q->weights + row, n, m->hidden, w.dots, text);
    }
    return 0;
}
