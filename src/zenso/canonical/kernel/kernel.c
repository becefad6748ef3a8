/* The canonical kernel: a transformer encoder in integer arithmetic, without libc.
 *
 * Every result is a sum, product, shift, comparison, one division or one square root of integers, so it is the same
 * for any batch, order, vector width, compiler and processor.  There is no floating-point instruction in the module.
 *
 * Fixed point.  "Q16" is a 32-bit integer that stands for value * 2^-16.  The residual stream is Q16; the sum of the
 * embedding tables is Q20.  Operands of a matrix product are 16-bit: activations keep 12 magnitude bits of their row's
 * peak, weights are scaled so that sum(|w|) * 2^12 < 2^31 for each output channel; hence no 32-bit sum can overflow,
 * for any input.  A model is checked before its first use (check_model): one that passes cannot make the kernel read or
 * write outside its buffers or run without end; where its numbers exceed a bound, arithmetic wraps (-fwrapv) and stays
 * defined.
 *
 * Weights come packed in panels of 16 output channels: panel[k / 2][channel][k % 2].  One row of a panel (64 bytes) is
 * one AVX-512 register, two AVX2 or four SIMD128 registers, so all builds read the same artifact.
 */
#include <stdint.h>

#if defined(__wasm_simd128__)
#include <wasm_simd128.h>
#elif defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#ifdef __wasm__
#define EXPORT(name) __attribute__((export_name(name)))
#else
#define EXPORT(name) __attribute__((visibility("default")))
#endif
#define PANEL 16           /* output channels in a panel */
#define ACTIVATION_BITS 12 /* magnitude bits of an activation that enters a product */
#define VALUE_BITS 13      /* the same for attention values: sum(weights) < 2^17 + rows, see attend_head */
#define ROW_BLOCK 60       /* rows whose activations are kept in cache while the weights stream by */
#define MAX_HIDDEN 1024
#define MAX_WIDE 16384      /* of the feed-forward layer */
#define MAX_LAYERS 64
#define MAX_POSITIONS 512
#define MAX_GELU 65536
#define MAX_ROWS 8192 /* tokens in a call */
#define MAX_CELLS 256
#define CLAMP ((1 << 26) - 1) /* |input| of a layer norm: the sum of MAX_HIDDEN squares stays below 2^62 */

typedef int16_t i16x8 __attribute__((vector_size(16), aligned(2)));
typedef uint16_t u16x8 __attribute__((vector_size(16), aligned(2)));
typedef int32_t i32x4 __attribute__((vector_size(16), aligned(4)));
typedef uint32_t u32x4 __attribute__((vector_size(16), aligned(4)));
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
    int32_t pooling;           /* 0 = mean of the token states, 1 = the first */
    int32_t relative_bias;     /* int32[heads][2 * positions - 1], Q24, at most 2^29: added to the score of query i and
                                * key j, entry positions - 1 + j - i; 0 = none */
} Model;

enum { WANT_POOLED = 1, WANT_TOKENS = 2, WANT_DOCUMENT_SLOTS = 4, WANT_QUERY_SLOTS = 8 };

/* Addresses are 64-bit in every build, so that one request serves them all. */
typedef struct {
    int64_t model, workspace; /* of a model that zenso_workspace has accepted */
    int64_t room;             /* bytes of workspace */
    int64_t texts, rows;      /* rows is the sum of the lengths */
    int64_t lengths;     /* int32[texts] */
    int64_t words;       /* int16[rows][hidden]: rows of the word embedding */
    int64_t word_shifts; /* int32[rows]: left shift that makes a row Q20, 0 to 15 */
    int64_t weights;     /* int32[rows]: of each token in a query's slots; their sum times 2^15 fits 31 bits */
    int64_t want;
    int64_t pooled; /* int16[texts][hidden], scale 32767 */
    int64_t tokens; /* int16[rows][hidden], scale 32767 */
    int64_t cells;  /* int16[cell_count][hidden] */
    int64_t cell_count;
    int64_t slots; /* int16[texts][cell_count][hidden] for documents, int32 of the same shape for queries */
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

/* sums[r][0..15] = sum over k of a[r][k] * panel[k / 2][0..15][k % 2] for `rows` rows of `stride` numbers.  `rows` is a
 * constant at each call (see tile), so the accumulators stay in registers; TILE_ROWS is what the registers hold. */
#define INLINE static inline __attribute__((always_inline))

#if defined(__wasm_simd128__) /* 8 accumulators: of the shapes tried, the fastest on 16 registers */
#define TILE_ROWS 2
typedef v128_t Lanes;
#define VECTORS 4
INLINE Lanes load_panel(const int16_t *p, int v) { return wasm_v128_load(p + 8 * v); }
INLINE Lanes load_pair(const int16_t *a) { return wasm_v128_load32_splat(a); }
INLINE Lanes multiply_add(Lanes sum, Lanes x, Lanes w) { return wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(x, w)); }
INLINE void store_lanes(int32_t *to, int v, Lanes x) { wasm_v128_store(to + 4 * v, x); }
INLINE Lanes zero_lanes(void) { return wasm_i32x4_const_splat(0); }
#elif defined(__AVX512BW__)
#define TILE_ROWS 12
typedef __m512i Lanes;
#define VECTORS 1
INLINE Lanes load_panel(const int16_t *p, int v) { return _mm512_loadu_si512(p + 32 * v); }
INLINE Lanes load_pair(const int16_t *a) { return _mm512_set1_epi32(*(const int32_t *)a); }
INLINE Lanes multiply_add(Lanes sum, Lanes x, Lanes w) {
#ifdef __AVX512VNNI__
    return _mm512_dpwssd_epi32(sum, w, x);
#else
    return _mm512_add_epi32(sum, _mm512_madd_epi16(x, w));
#endif
}
INLINE void store_lanes(int32_t *to, int v, Lanes x) { _mm512_storeu_si512(to + 16 * v, x); }
INLINE Lanes zero_lanes(void) { return _mm512_setzero_si512(); }
#elif defined(__AVX2__)
#define TILE_ROWS 4
typedef __m256i Lanes;
#define VECTORS 2
INLINE Lanes load_panel(const int16_t *p, int v) { return _mm256_loadu_si256((const __m256i *)(p + 16 * v)); }
INLINE Lanes load_pair(const int16_t *a) { return _mm256_set1_epi32(*(const int32_t *)a); }
INLINE Lanes multiply_add(Lanes sum, Lanes x, Lanes w) { return _mm256_add_epi32(sum, _mm256_madd_epi16(x, w)); }
INLINE void store_lanes(int32_t *to, int v, Lanes x) { _mm256_storeu_si256((__m256i *)(to + 8 * v), x); }
INLINE Lanes zero_lanes(void) { return _mm256_setzero_si256(); }
#elif defined(__ARM_NEON)
#define TILE_ROWS 4
typedef int32x4_t Lanes;
#define VECTORS 4
typedef int16x4x2_t PanelLanes; /* four channels: even and odd k apart */
INLINE PanelLanes load_panel(const int16_t *p, int v) { return vld2_s16(p + 8 * v); }
INLINE int16x4_t load_pair(const int16_t *a) { return vreinterpret_s16_s32(vdup_n_s32(*(const int32_t *)a)); }
INLINE Lanes multiply_add(Lanes sum, int16x4_t x, PanelLanes w) {
    return vmlal_lane_s16(vmlal_lane_s16(sum, w.val[0], x, 0), w.val[1], x, 1);
}
INLINE void store_lanes(int32_t *to, int v, Lanes x) { vst1q_s32(to + 4 * v, x); }
INLINE Lanes zero_lanes(void) { return vdupq_n_s32(0); }
#elif defined(__SSE2__)
#define TILE_ROWS 2
typedef __m128i Lanes;
#define VECTORS 4
INLINE Lanes load_panel(const int16_t *p, int v) { return _mm_loadu_si128((const __m128i *)(p + 8 * v)); }
INLINE Lanes load_pair(const int16_t *a) { return _mm_set1_epi32(*(const int32_t *)a); }
INLINE Lanes multiply_add(Lanes sum, Lanes x, Lanes w) { return _mm_add_epi32(sum, _mm_madd_epi16(x, w)); }
INLINE void store_lanes(int32_t *to, int v, Lanes x) { _mm_storeu_si128((__m128i *)(to + 4 * v), x); }
INLINE Lanes zero_lanes(void) { return _mm_setzero_si128(); }
#else /* any machine: four channels at a time in plain C */
#define TILE_ROWS 2
#define VECTORS 4
typedef i32x4 Lanes;
typedef struct { i32x4 even, odd; } PanelLanes;
typedef struct { int32_t even, odd; } Pair;
INLINE PanelLanes load_panel(const int16_t *p, int v) {
    p += 8 * v;
    return (PanelLanes){{p[0], p[2], p[4], p[6]}, {p[1], p[3], p[5], p[7]}};
}
INLINE Pair load_pair(const int16_t *a) { return (Pair){a[0], a[1]}; }
INLINE Lanes multiply_add(Lanes sum, Pair x, PanelLanes w) { return sum + w.even * x.even + w.odd * x.odd; }
INLINE void store_lanes(int32_t *to, int v, Lanes x) { *(i32x4 *)(to + 4 * v) = x; }
INLINE Lanes zero_lanes(void) { return (i32x4){0, 0, 0, 0}; }
#endif

#if defined(__ARM_NEON) || !(defined(__wasm_simd128__) || defined(__SSE2__))
typedef PanelLanes Weights;
#else
typedef Lanes Weights;
#endif

INLINE void tile_rows(const int rows, const int16_t *a, int stride, const int16_t *panel, int pairs, int32_t *sums) {
    Lanes sum[TILE_ROWS][VECTORS];
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < VECTORS; v++) sum[r][v] = zero_lanes();
    for (int k = 0; k < pairs; k++, panel += 2 * PANEL) {
        Weights w[VECTORS];
#pragma clang loop unroll(full)
        for (int v = 0; v < VECTORS; v++) w[v] = load_panel(panel, v);
#pragma clang loop unroll(full)
        for (int r = 0; r < rows; r++)
#pragma clang loop unroll(full)
            for (int v = 0; v < VECTORS; v++)
                sum[r][v] = multiply_add(sum[r][v], load_pair(a + r * stride + 2 * k), w[v]);
    }
#pragma clang loop unroll(full)
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < VECTORS; v++) store_lanes(sums + r * PANEL, v, sum[r][v]);
}

/* The same for 1 to TILE_ROWS rows. */
static void tile(const int16_t *a, int stride, int rows, const int16_t *panel, int pairs, int32_t *sums) {
    if (rows == TILE_ROWS) {
        tile_rows(TILE_ROWS, a, stride, panel, pairs, sums);
        return;
    }
    for (; rows >= 4 && TILE_ROWS > 4; rows -= 4, a += 4 * stride, sums += 4 * PANEL)
        tile_rows(4 < TILE_ROWS ? 4 : TILE_ROWS, a, stride, panel, pairs, sums);
    for (; rows > 0; rows--, a += stride, sums += PANEL) tile_rows(1, a, stride, panel, pairs, sums);
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
        u32x4 magnitude = (u32x4)((v ^ sign) - sign); /* unsigned: -2^31 has one too */
        i32x4 u = (i32x4)__builtin_elementwise_min(magnitude, (u32x4){} + (uint32_t)last);
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
#elif defined(__SSSE3__)
    return (i16x8)_mm_mulhrs_epi16((__m128i)a, (__m128i)b);
#elif defined(__ARM_NEON)
    return (i16x8)vqrdmulhq_s16((int16x8_t)a, (int16x8_t)b);
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

/* Add the bias of each key to a row of scores with `bits` fraction bits; returns the fraction bits of the sums. Scores
 * are below 2^30 and biases at most 2^29, so the sums fit. */
static int add_bias(int32_t *scores, int n, int bits, const int32_t *bias) {
    int cut = max32(0, bits - 24), down = 24 - (bits - cut);
    for (int j = 0; j < n; j++) scores[j] = round_shift(scores[j], cut) + round_shift(bias[j], down > 30 ? 30 : down);
    return bits - cut;
}

/* One head of one text: out[r][0..head_width) = attention of row r, Q16.  qkv rows hold queries, keys and values of
 * all heads, `hidden` numbers each; `bias` is the head's for relative position 0, or null. */
static void attend_head(const int32_t *qkv, int n, int hidden, int width, const int32_t *bias, const HeadBuffers *b,
                        int32_t *out) {
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
        for (int r = 0; r < count; r++) {
            int bits = 32 - key_shift - b->shift[row + r];
            if (bias) bits = add_bias(b->scores + r * padded, n, bits, bias - (row + r));
            totals[r] = soft_weights(b->scores + r * padded, n, padded, bits - 12, b->weights + r * padded);
        }
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
    int64_t *sums;      /* [hidden] */
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
    w->sums = (int64_t *)(base + reserve(&at, (int64_t)m->hidden * 8));
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
    const int32_t *table = (const int32_t *)(model + m->position_table), *shifts = (const int32_t *)(uintptr_t)q->word_shifts;
    const int16_t *words = (const int16_t *)(uintptr_t)q->words;
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
    const int32_t *bias = m->relative_bias ? (const int32_t *)(model + m->relative_bias) : 0;
    for (int l = 0; l < m->layers; l++) {
        for (int row = 0; row < q->rows; row += ROW_BLOCK) {
            int count = q->rows - row < ROW_BLOCK ? q->rows - row : ROW_BLOCK;
            quantise_block(w->x + row * row_stride(m->hidden), count, m->hidden, w);
            linear(model, &layers[l].qkv, w->activation, w->shifts, count, w->qkv + row * row_stride(3 * m->hidden));
        }
        for (int text = 0, row = 0; text < q->texts; row += lengths[text++])
            for (int h = 0; h < m->heads; h++)
                attend_head(w->qkv + row * row_stride(3 * m->hidden) + h * m->head_width, lengths[text], m->hidden,
                            m->head_width, bias ? bias + h * (2 * m->positions - 1) + m->positions - 1 : 0, &w->head,
                            w->attended + row * row_stride(m->hidden) + h * m->head_width);
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

/* out = x / ||x|| in Q15, within two units; zero stays zero. */
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
    if (!peak) {
        for (int i = 0; i < width; i++) out[i] = 0;
        return;
    }
    int cut = peak >> 26 ? 38 - __builtin_clzll(peak) : 0;
    uint64_t small = 0;
    for (int i = 0; i < width; i++) {
        uint64_t a = (uint64_t)(v[i] < 0 ? -v[i] : v[i]) >> cut; /* below 2^26 */
        small += a * a;
    }
    InverseRoot inverse = inverse_root(small);
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

/* `n` is the number of rows to sum: all for mean pooling, 1 for the first token's state. */
static void pool(const int32_t *x, int n, int width, int64_t *sums, int16_t *out) {
    for (int i = 0; i < width; i++) sums[i] = 0;
    for (int r = 0; r < n; r++)
        for (int i = 0; i < width; i++) sums[i] += clamp(x[r * row_stride(width) + i], CLAMP);
    normalise_exact(sums, width, out);
}

/* Slots of one text: per cell the sum of its tokens' directions.  A document's slots are normalised, and an empty one
 * takes the nearest token; a query's stay sums, weighted by token. */
static void fill_slots(const Request *q, const int16_t *tokens, const int32_t *weights, int n, int width,
                       const Workspace *w, int text) {
    int32_t *dots = w->dots, *sums = (int32_t *)w->sums;
    const int16_t *cells = (const int16_t *)(uintptr_t)q->cells;
    int count = (int)q->cell_count, weighted = q->want & WANT_QUERY_SLOTS;
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
            int32_t *out = (int32_t *)(uintptr_t)q->slots + at;
            for (int i = 0; i < width; i++) out[i] = sums[i];
        } else {
            int16_t *out = (int16_t *)(uintptr_t)q->slots + at;
            if (members) normalise_fast(sums, width, out);
            else for (int i = 0; i < width; i++) out[i] = tokens[nearest * width + i];
        }
    }
}

/* ---------------------------------------------------------------------------------------------------------------
 * SoftF64: IEEE-754 binary64 in integers, rounding to nearest even, with subnormals, infinities and one NaN.
 * For float vectors that come from elsewhere (CFS-010, sections 8 and 9).
 * ------------------------------------------------------------------------------------------------------------- */

typedef uint64_t F64; /* the bits of a binary64 number */

#define F64_SIGN ((F64)1 << 63)
#define F64_INFINITY ((F64)0x7FF << 52)
#define F64_NAN ((F64)0x7FF8 << 48)
#define F64_FRACTION (((F64)1 << 52) - 1)

static inline uint64_t shift_right_sticky(uint64_t x, int n) { /* bits shifted out leave a 1 behind */
    if (n == 0) return x;
    return n < 64 ? (x >> n) | ((x << (64 - n)) != 0) : x != 0;
}

/* sign | significand * 2^(exponent - 1023 - 62), rounded; the significand is in [2^62, 2^63), its lowest bit sticky. */
static F64 f64_round(F64 sign, int32_t exponent, uint64_t significand) {
    if (exponent >= 2047) return sign | F64_INFINITY;
    if (exponent < 1) {
        significand = shift_right_sticky(significand, 1 - exponent);
        exponent = 1;
        if (significand < ((uint64_t)1 << 62)) exponent = 0;
    }
    uint64_t tail = significand & 0x3FF;
    significand = (significand + 0x200) >> 10;
    if (tail == 0x200) significand &= ~(uint64_t)1;
    /* the leading bit, if there, adds 1 to the exponent; so does a carry, up to infinity */
    return sign | (((F64)(exponent ? exponent - 1 : 0) << 52) + significand);
}

typedef struct {
    F64 sign;
    int32_t exponent;     /* biased */
    uint64_t significand; /* in [2^52, 2^53), 0 for zero */
} Unpacked;

static Unpacked f64_unpack(F64 a) {
    Unpacked u = {a & F64_SIGN, (int32_t)(a >> 52 & 0x7FF), a & F64_FRACTION};
    if (u.exponent) {
        u.significand |= (uint64_t)1 << 52;
    } else if (u.significand) {
        int shift = __builtin_clzll(u.significand) - 11;
        u.significand <<= shift;
        u.exponent = 1 - shift;
    }
    return u;
}

static inline int f64_is_nan(F64 a) { return (a & ~F64_SIGN) > F64_INFINITY; }
static inline int f64_is_infinite(F64 a) { return (a & ~F64_SIGN) == F64_INFINITY; }

static F64 f64_multiply(F64 a, F64 b) {
    F64 sign = (a ^ b) & F64_SIGN;
    if (f64_is_nan(a) || f64_is_nan(b)) return F64_NAN;
    int zero = !(a & ~F64_SIGN) || !(b & ~F64_SIGN);
    if (f64_is_infinite(a) || f64_is_infinite(b)) return zero ? F64_NAN : sign | F64_INFINITY;
    if (zero) return sign;
    Unpacked x = f64_unpack(a), y = f64_unpack(b);
    Wide product = wide_product(x.significand << 10, y.significand << 11); /* in [2^125, 2^127) */
    uint64_t significand = product.high | (product.low != 0);
    int32_t exponent = x.exponent + y.exponent - 1023;
    if (significand >> 62) exponent++;
    else significand <<= 1;
    return f64_round(sign, exponent, significand);
}

static F64 f64_add(F64 a, F64 b) {
    if (f64_is_nan(a) || f64_is_nan(b)) return F64_NAN;
    if (f64_is_infinite(a)) return f64_is_infinite(b) && a != b ? F64_NAN : a;
    if (f64_is_infinite(b)) return b;
    if ((a & ~F64_SIGN) < (b & ~F64_SIGN)) {
        F64 swap = a;
        a = b;
        b = swap;
    }
    if (!(b & ~F64_SIGN)) return a & ~F64_SIGN ? a : a & b; /* -0 only from two of them */
    Unpacked x = f64_unpack(a), y = f64_unpack(b);
    uint64_t large = x.significand << 10, small = shift_right_sticky(y.significand << 10, x.exponent - y.exponent);
    if (x.sign == y.sign) {
        uint64_t sum = large + small;
        int carry = (int)(sum >> 63);
        return f64_round(x.sign, x.exponent + carry, shift_right_sticky(sum, carry));
    }
    uint64_t difference = large - small;
    if (!difference) return 0;
    int shift = __builtin_clzll(difference) - 1;
    return f64_round(x.sign, x.exponent - shift, difference << shift);
}

static F64 f64_divide(F64 a, F64 b) {
    F64 sign = (a ^ b) & F64_SIGN;
    if (f64_is_nan(a) || f64_is_nan(b)) return F64_NAN;
    if (f64_is_infinite(a)) return f64_is_infinite(b) ? F64_NAN : sign | F64_INFINITY;
    if (f64_is_infinite(b)) return sign;
    if (!(b & ~F64_SIGN)) return a & ~F64_SIGN ? sign | F64_INFINITY : F64_NAN;
    if (!(a & ~F64_SIGN)) return sign;
    Unpacked x = f64_unpack(a), y = f64_unpack(b);
    int32_t exponent = x.exponent - y.exponent + 1023;
    if (x.significand < y.significand) {
        x.significand <<= 1;
        exponent--;
    }
    uint64_t rest = x.significand, quotient = 0; /* 63 bits, the first of them 1 */
    for (int bit = 0; bit < 63; bit++) {
        int fits = rest >= y.significand;
        if (fits) rest -= y.significand;
        quotient = quotient << 1 | (uint64_t)fits;
        rest <<= 1;
    }
    return f64_round(sign, exponent, quotient | (rest != 0));
}

static F64 f64_square_root(F64 a) {
    if (f64_is_nan(a) || !(a & ~F64_SIGN)) return f64_is_nan(a) ? F64_NAN : a;
    if (a & F64_SIGN) return F64_NAN;
    if (f64_is_infinite(a)) return a;
    Unpacked x = f64_unpack(a);
    int32_t exponent = x.exponent - 1023;
    if (exponent & 1) x.significand <<= 1;
    exponent = (exponent - (exponent & 1)) / 2;
    uint64_t root = 0, rest = 0; /* 55 bits of root from 27 pairs of bits and 28 pairs of zeros */
    for (int pair = 54; pair >= 0; pair--) {
        uint64_t bits = pair >= 28 ? x.significand >> (2 * (pair - 28)) & 3 : 0;
        rest = rest << 2 | bits;
        uint64_t trial = root << 2 | 1;
        int fits = rest >= trial;
        if (fits) rest -= trial;
        root = root << 1 | (uint64_t)fits;
    }
    return f64_round(0, exponent + 1023, root << 8 | (rest != 0));
}

static F64 f64_from_f32(uint32_t a) {
    F64 sign = (F64)(a >> 31) << 63;
    uint32_t exponent = a >> 23 & 0xFF, fraction = a & 0x7FFFFF;
    if (exponent == 0xFF) return fraction ? F64_NAN : sign | F64_INFINITY;
    if (exponent) return sign | (F64)(exponent + 896) << 52 | (F64)fraction << 29;
    if (!fraction) return sign;
    int shift = __builtin_clz(fraction) - 8;
    return sign | (F64)(897 - shift) << 52 | ((F64)(fraction << shift) << 29 & F64_FRACTION);
}

static uint32_t f64_to_f32(F64 a) {
    uint32_t sign = (uint32_t)(a >> 32) & 0x80000000u;
    if (f64_is_nan(a)) return 0x7FC00000u;
    if (f64_is_infinite(a)) return sign | 0x7F800000u;
    Unpacked x = f64_unpack(a);
    int32_t exponent = x.exponent - 896;
    if (!x.significand) return sign;
    if (exponent >= 255) return sign | 0x7F800000u;
    uint64_t significand = x.significand;
    if (exponent < 1) {
        significand = shift_right_sticky(significand, 1 - exponent);
        exponent = 0;
    }
    uint64_t tail = significand & 0x1FFFFFFF, rounded = (significand + 0x10000000) >> 29;
    if (tail == 0x10000000) rounded &= ~(uint64_t)1;
    return sign | (uint32_t)(((uint64_t)(exponent ? exponent - 1 : 0) << 23) + rounded);
}

enum { SOFT_ADD, SOFT_MULTIPLY, SOFT_DIVIDE, SOFT_SQUARE_ROOT, SOFT_FROM_F32, SOFT_TO_F32 };

/* One operation on `count` pairs: uint64 bits in and out (binary32 in the low half); -1 for an unknown operation. */
EXPORT("zenso_soft_f64") int32_t zenso_soft_f64(int64_t operation, int64_t a, int64_t b, int64_t out, int64_t count) {
    const F64 *x = (const F64 *)(uintptr_t)a, *y = (const F64 *)(uintptr_t)b;
    F64 *to = (F64 *)(uintptr_t)out;
    for (int64_t i = 0; i < count; i++) {
        switch (operation) {
        case SOFT_ADD: to[i] = f64_add(x[i], y[i]); break;
        case SOFT_MULTIPLY: to[i] = f64_multiply(x[i], y[i]); break;
        case SOFT_DIVIDE: to[i] = f64_divide(x[i], y[i]); break;
        case SOFT_SQUARE_ROOT: to[i] = f64_square_root(x[i]); break;
        case SOFT_FROM_F32: to[i] = f64_from_f32((uint32_t)x[i]); break;
        case SOFT_TO_F32: to[i] = f64_to_f32(x[i]); break;
        default: return -1;
        }
    }
    return 0;
}

/* out = in / ||in||, binary32: squares added up in order, root and quotients in binary64, each rounded to binary32.
 * A vector whose norm is zero is returned as it is. */
EXPORT("zenso_normalise_f32") void zenso_normalise_f32(int64_t in, int64_t out, int64_t width) {
    const uint32_t *x = (const uint32_t *)(uintptr_t)in;
    uint32_t *to = (uint32_t *)(uintptr_t)out;
    F64 sum = 0;
    for (int64_t i = 0; i < width; i++) {
        F64 v = f64_from_f32(x[i]);
        sum = f64_add(sum, f64_multiply(v, v));
    }
    F64 norm = f64_square_root(sum);
    for (int64_t i = 0; i < width; i++) to[i] = norm ? f64_to_f32(f64_divide(f64_from_f32(x[i]), norm)) : x[i];
}

#define DEAD_ZONE_BITS 16 /* a scaled value within 2^-16 of k + 1/2 goes to the smaller magnitude */

/* out = 32767 * in, to the nearest integer except in the dead zone; beyond +-1 it saturates, NaN gives 0. */
EXPORT("zenso_quantise_f32") void zenso_quantise_f32(int64_t in, int64_t out, int64_t width) {
    const uint32_t *x = (const uint32_t *)(uintptr_t)in;
    int16_t *to = (int16_t *)(uintptr_t)out;
    for (int64_t i = 0; i < width; i++) {
        Unpacked v = f64_unpack(f64_from_f32(x[i] & 0x7FFFFFFF));
        int32_t magnitude = 0, exponent = v.exponent - 1023;
        if (f64_is_nan(f64_from_f32(x[i]))) magnitude = 0;
        else if (exponent >= 0) magnitude = 32767;
        else if (exponent > -34) {
            /* significand * 32767 * 2^(exponent - 52), cut to 24 fraction bits: exact enough for the dead zone, because
             * a binary32 number has 24 significant bits and a sticky bit keeps what is cut */
            Wide product = wide_product(v.significand, 32767);
            uint64_t scaled = product.high << 12 | product.low >> 52; /* 2^52 units at exponent 0: integer part */
            uint64_t fraction = product.low << 12;
            int down = -exponent;
            uint64_t whole = scaled >> down;
            uint64_t rest = shift_right_sticky(fraction, down) | (down < 64 ? scaled << (64 - down) : 0);
            const uint64_t half = (uint64_t)1 << 63, zone = (uint64_t)1 << (64 - DEAD_ZONE_BITS);
            magnitude = (int32_t)(whole + (rest > half + zone));
        }
        to[i] = (int16_t)(x[i] >> 31 ? -magnitude : magnitude);
    }
}

/* ---------------------------------------------------------------------------------------------------------------
 * Entry points
 * ------------------------------------------------------------------------------------------------------------- */

/* Version of the request's layout and of every result: a change of any output bit raises it. */
EXPORT("zenso_version") int32_t zenso_version(void) { return 1; }

/* Instruction sets of this processor that its operating system has switched on: 1 = AVX2 and what comes with it
 * (x86-64-v3), 2 = AVX-512 with VNNI (x86-64-v4 and vpdpwssd). */
EXPORT("zenso_processor") int32_t zenso_processor(void) {
#ifdef __x86_64__
    uint32_t a, b, c, d, state, ignored;
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0), "c"(0));
    if (a < 7) return 0;
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(1), "c"(0));
    const uint32_t wide = 1u << 12 | 1u << 22 | 1u << 27 | 1u << 28 | 1u << 29; /* FMA MOVBE OSXSAVE AVX F16C */
    if ((c & wide) != wide) return 0;
    __asm__("xgetbv" : "=a"(state), "=d"(ignored) : "c"(0));
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
    const uint32_t v3 = 1u << 3 | 1u << 5 | 1u << 8;                        /* BMI1 AVX2 BMI2 */
    const uint32_t v4 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31; /* AVX512 F DQ CD BW VL */
    if ((b & v3) != v3 || (state & 6) != 6) return 0;
    return (b & v4) == v4 && (c & 1u << 11) && (state & 0xE6) == 0xE6 ? 3 : 1;
#else
    return 0;
#endif
}

/* Whether `count` numbers of `bytes` each lie inside the model at `at`, aligned. */
static int inside(const Model *m, int64_t at, int64_t count, int bytes) {
    return at >= (int64_t)sizeof(Model) && at % 4 == 0 && at + count * bytes <= m->size;
}

static int check_norm(const Model *m, const Norm *norm) {
    return inside(m, norm->gain, m->hidden, 4) && inside(m, norm->bias, m->hidden, 4);
}

static int check_linear(const Model *m, const Linear *layer, int inputs, int outputs) {
    if (layer->inputs != inputs || layer->outputs != outputs) return 0;
    if (!inside(m, layer->weights, (int64_t)inputs * outputs, 2) || !inside(m, layer->mantissa, outputs, 4) ||
        !inside(m, layer->shift, outputs / PANEL, 4) || !inside(m, layer->bias, outputs, 4))
        return 0;
    const int32_t *shift = (const int32_t *)((const char *)m + layer->shift);
    for (int panel = 0; panel < outputs / PANEL; panel++) /* less the 0 to 20 of a row, they shift 64-bit numbers */
        if (shift[panel] < 21 || shift[panel] > 62) return 0;
    return 1;
}

/* Whether the kernel may read `size` bytes at `m` as a model of width `hidden`: every table inside, every number that
 * counts or shifts in its range. */
static int check_model(const Model *m, int64_t size, int64_t hidden) {
    if (size < (int64_t)sizeof(Model) || m->magic != MODEL_MAGIC || m->version != MODEL_VERSION || m->size != size)
        return 0;
    if (m->hidden != hidden || m->hidden < PANEL || m->hidden > MAX_HIDDEN || m->head_width < PANEL ||
        m->head_width > m->hidden || m->head_width % PANEL || m->heads != m->hidden / m->head_width ||
        m->hidden % m->head_width)
        return 0;
    if (m->intermediate < PANEL || m->intermediate > MAX_WIDE || m->intermediate % PANEL) return 0;
    if (m->layers < 1 || m->layers > MAX_LAYERS || m->positions < 1 || m->positions > MAX_POSITIONS) return 0;
    if (m->gelu_entries < 1 || m->gelu_entries > MAX_GELU || !inside(m, m->gelu_table, m->gelu_entries, 4)) return 0;
    if (m->pooling < 0 || m->pooling > 1 || m->embedding_epsilon < 0 || m->epsilon < 0) return 0;
    if (!inside(m, m->position_table, (int64_t)m->positions * m->hidden, 4) || !check_norm(m, &m->embedding_norm))
        return 0;
    if (m->relative_bias && !inside(m, m->relative_bias, (int64_t)m->heads * (2 * m->positions - 1), 4)) return 0;
    if (!inside(m, m->layer_table, m->layers, sizeof(Layer))) return 0;
    const Layer *layers = (const Layer *)((const char *)m + m->layer_table);
    for (int l = 0; l < m->layers; l++)
        if (!check_linear(m, &layers[l].qkv, m->hidden, 3 * m->hidden) ||
            !check_linear(m, &layers[l].attention_output, m->hidden, m->hidden) ||
            !check_linear(m, &layers[l].up, m->hidden, m->intermediate) ||
            !check_linear(m, &layers[l].down, m->intermediate, m->hidden) ||
            !check_norm(m, &layers[l].attention_norm) || !check_norm(m, &layers[l].output_norm))
            return 0;
    return 1;
}

/* Bytes of workspace for calls of up to `rows` tokens and `cells` cells, or -1: the `size` bytes at `model` are not a
 * model of width `hidden` that this kernel runs, or so many rows or cells cannot be had. */
EXPORT("zenso_workspace") int64_t zenso_workspace(int64_t model, int64_t size, int64_t hidden, int64_t rows, int64_t cells) {
    const Model *m = (const Model *)(uintptr_t)model;
    Workspace ignored;
    if (rows < 1 || rows > MAX_ROWS || cells < 0 || cells > MAX_CELLS || !check_model(m, size, hidden)) return -1;
    return lay_out(m, rows, cells, 0, &ignored);
}

/* Run a request; 0 when done, 1 when a text is longer than the model's positions or the lengths do not add up, 2 when the
 * workspace is too small, 3 when a word's shift is out of range. */
EXPORT("zenso_encode") int32_t zenso_encode(int64_t request) {
    const Request *q = (const Request *)(uintptr_t)request;
    const char *model = (const char *)(uintptr_t)q->model;
    const Model *m = (const Model *)model;
    const int32_t *lengths = (const int32_t *)(uintptr_t)q->lengths;
    Workspace w;
    int64_t total = 0;
    if (q->texts < 1 || q->texts > MAX_ROWS) return 1;
    for (int text = 0; text < q->texts; text++) {
        if (lengths[text] < 1 || lengths[text] > m->positions) return 1;
        total += lengths[text];
    }
    if (total != q->rows) return 1;
    if (q->rows < 1 || q->rows > MAX_ROWS || q->cell_count < 0 || q->cell_count > MAX_CELLS) return 2;
    if (lay_out(m, q->rows, q->cell_count, (char *)(uintptr_t)q->workspace, &w) > q->room) return 2;
    const int32_t *word_shifts = (const int32_t *)(uintptr_t)q->word_shifts;
    for (int row = 0; row < q->rows; row++)
        if (word_shifts[row] < 0 || word_shifts[row] > 15) return 3;
    embed(model, m, q, lengths, &w);
    run_layers(model, m, q, lengths, &w);
    int16_t *tokens = (int16_t *)(uintptr_t)q->tokens;
    for (int text = 0, row = 0; text < q->texts; row += lengths[text++]) {
        int n = lengths[text];
        const int32_t *x = w.x + row * row_stride(m->hidden);
        int16_t *unit = tokens + row * m->hidden;
        if (q->want & WANT_POOLED)
            pool(x, m->pooling ? 1 : n, m->hidden, w.sums, (int16_t *)(uintptr_t)q->pooled + text * m->hidden);
        if (q->want & (WANT_TOKENS | WANT_DOCUMENT_SLOTS | WANT_QUERY_SLOTS))
            for (int r = 0; r < n; r++) normalise_fast(x + r * row_stride(m->hidden), m->hidden, unit + r * m->hidden);
        if (q->want & (WANT_DOCUMENT_SLOTS | WANT_QUERY_SLOTS))
            fill_slots(q, unit, (const int32_t *)(uintptr_t)q->weights + row, n, m->hidden, &w, text);
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------------------------------
 * Self-test
 * ------------------------------------------------------------------------------------------------------------- */

enum { TEST_HIDDEN = 64, TEST_HEADS = 2, TEST_WIDE = 160, TEST_LAYERS = 2, TEST_POSITIONS = 48, TEST_CELLS = 5, TEST_TEXTS = 6 };

/* Numbers of a 64-bit linear congruential generator (Knuth's MMIX constants), -range to range. */
static int32_t random_number(uint64_t *state, int32_t range) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (int32_t)((*state >> 33) % (2 * (uint32_t)range + 1)) - range;
}

static int32_t random_block(char *base, int64_t *at, int count, int bytes, int32_t range, int32_t offset, uint64_t *state) {
    int64_t start = reserve(at, (int64_t)count * bytes);
    for (int i = 0; i < count; i++) {
        int32_t value = offset + random_number(state, range);
        if (bytes == 2) ((int16_t *)(base + start))[i] = (int16_t)value;
        else ((int32_t *)(base + start))[i] = value;
    }
    return (int32_t)start;
}

static Linear random_linear(char *base, int64_t *at, int inputs, int outputs, uint64_t *state) {
    Linear out = {inputs, outputs, 0, 0, 0, 0};
    /* the largest weights that the bound sum(|w|) * 2^12 < 2^31 allows at their worst */
    out.weights = random_block(base, at, inputs * outputs, 2, ((1 << 19) - 1) / inputs, 0, state);
    out.mantissa = random_block(base, at, outputs, 4, 1 << 28, 1 << 30, state);
    out.shift = random_block(base, at, outputs / PANEL, 4, 1, 44, state);
    out.bias = random_block(base, at, outputs, 4, 1 << 15, 0, state);
    return out;
}

static Norm random_norm(char *base, int64_t *at, uint64_t *state) {
    Norm out;
    out.gain = random_block(base, at, TEST_HIDDEN, 4, 1 << 18, 1 << 20, state);
    out.bias = random_block(base, at, TEST_HIDDEN, 4, 1 << 14, 0, state);
    return out;
}

/* A model of pseudo-random integers at `base`, which grows `at` past it. */
static Model *random_model(char *base, int64_t *at, uint64_t *state) {
    Model *m = (Model *)(base + reserve(at, sizeof(Model)));
    *m = (Model){.magic = MODEL_MAGIC, .version = MODEL_VERSION, .hidden = TEST_HIDDEN, .layers = TEST_LAYERS,
                 .heads = TEST_HEADS, .head_width = TEST_HIDDEN / TEST_HEADS, .intermediate = TEST_WIDE,
                 .positions = TEST_POSITIONS, .embedding_epsilon = 1, .epsilon = 43};
    m->position_table = random_block(base, at, TEST_POSITIONS * TEST_HIDDEN, 4, 1 << 18, 0, state);
    m->embedding_norm = random_norm(base, at, state);
    m->relative_bias = random_block(base, at, TEST_HEADS * (2 * TEST_POSITIONS - 1), 4, 1 << 26, 0, state);
    m->gelu_entries = 704;
    m->gelu_table = random_block(base, at, m->gelu_entries, 4, 1 << 30, 0, state);
    Layer *layers = (Layer *)(base + (m->layer_table = (int32_t)reserve(at, TEST_LAYERS * sizeof(Layer))));
    for (int l = 0; l < TEST_LAYERS; l++) { /* one statement each: initialisers have no order */
        layers[l].qkv = random_linear(base, at, TEST_HIDDEN, 3 * TEST_HIDDEN, state);
        layers[l].attention_output = random_linear(base, at, TEST_HIDDEN, TEST_HIDDEN, state);
        layers[l].up = random_linear(base, at, TEST_HIDDEN, TEST_WIDE, state);
        layers[l].down = random_linear(base, at, TEST_WIDE, TEST_HIDDEN, state);
        layers[l].attention_norm = random_norm(base, at, state);
        layers[l].output_norm = random_norm(base, at, state);
    }
    m->size = (int32_t)*at;
    return m;
}

/* Run a random model on texts of 1 to 48 tokens, with every output, in `room` bytes at `base` (2 MB are plenty); the
 * result is a 64-bit FNV-1a hash of all output bits, or 0 when there is not enough room. */
EXPORT("zenso_self_test") int64_t zenso_self_test(int64_t where, int64_t room) {
    static const int32_t lengths[TEST_TEXTS] = {1, 2, 15, 16, 33, 48};
    char *base = (char *)(uintptr_t)where;
    int64_t at = 0;
    uint64_t state = 1;
    if (room < 2000000) return 0;
    const Model *m = random_model(base, &at, &state);
    int32_t rows = 0;
    for (int t = 0; t < TEST_TEXTS; t++) rows += lengths[t];
    Request q = {.model = where, .texts = TEST_TEXTS, .rows = rows, .lengths = (int64_t)(uintptr_t)lengths, .cell_count = TEST_CELLS};
    q.words = where + random_block(base, &at, rows * TEST_HIDDEN, 2, 32767, 0, &state);
    q.word_shifts = where + random_block(base, &at, rows, 4, 2, 3, &state);
    q.weights = where + random_block(base, &at, rows, 4, 60, 61, &state);
    q.cells = where + random_block(base, &at, TEST_CELLS * TEST_HIDDEN, 2, 4000, 0, &state);
    int64_t outputs = at;
    q.pooled = where + reserve(&at, TEST_TEXTS * TEST_HIDDEN * 2);
    q.tokens = where + reserve(&at, rows * TEST_HIDDEN * 2);
    q.slots = where + reserve(&at, TEST_TEXTS * TEST_CELLS * TEST_HIDDEN * 4);
    int64_t end = at;
    q.workspace = where + at;
    q.room = room - at;
    int64_t needed = zenso_workspace(where, m->size, TEST_HIDDEN, rows, TEST_CELLS);
    if (needed < 0 || needed > q.room) return 0;
    uint64_t hash = 0xCBF29CE484222325;
    for (int64_t i = outputs; i < end; i++) base[i] = 0;
    for (int run = 0; run < 2; run++) {
        q.want = WANT_POOLED | WANT_TOKENS | (run ? WANT_QUERY_SLOTS : WANT_DOCUMENT_SLOTS);
        if (zenso_encode((int64_t)(uintptr_t)&q)) return 0;
        for (int64_t i = outputs; i < end; i++) {
            int64_t byte = i;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ /* the hash is of little-endian numbers: 32-bit ones in a query's slots */
            byte ^= run && i >= q.slots - where ? 3 : 1;
#endif
            hash = (hash ^ (uint8_t)base[byte]) * 0x100000001B3;
        }
    }
    return (int64_t)hash;
}
